"""Programs as implementations: whatever they do there is a verdict, and nothing keeps running."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from cecli.conformance.model import Case, Failure, Inputs, NotSupported
from cecli.conformance.run import verify
from cecli.conformance.runners import program as runner
from cecli.conformance.runners.program import Program
from cecli.conformance.suite.cases import all_cases, select
from cecli.errors import CecliError
from support.cases import CASES, FEW
from support.paths import MANUAL
from support.process import (
    ENVIRONMENT,
    LIMIT,
    PROGRAM,
    SOON,
    Terminal,
    ends,
    is_running,
    run,
    wait_for,
)

PAGE = MANUAL / "cecli-verify.1"
SMALL = Inputs(np.array([[2.0, 1.0, 0.1]]), np.array([0]))
# More than a pipe holds.
LARGE = Inputs(np.full((40, 1000), 0.123456789), np.zeros(40, dtype=np.int64))
ANSWER = '{"loss": 1, "grad": [[0, 0, 0]]}'


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends by itself has the time for it on a busy machine too."""
    monkeypatch.setattr(runner, "GRACE", LIMIT)


def python(code: str) -> list[str]:
    """A command that runs Python, started as quickly as can be."""
    return [sys.executable, "-I", "-S", "-c", code]


def failure_of(code: str, inputs: Inputs = SMALL, timeout: float = LIMIT) -> Failure:
    """How a program of one line of Python fails, which does not take long."""
    with no_longer_than(SOON), closing(Program(python(code), timeout=timeout)) as program:
        pid = pid_of(program)
        with pytest.raises(Failure) as caught:
            program.run(inputs)
        assert not is_running(pid)
    return caught.value


def reason_of(program: Program) -> str:
    """Why the program fails, if it does."""
    try:
        program.run(SMALL)
    except Failure as failure:
        return str(failure)
    return ""


def pid_of(program: Program) -> int:
    assert program._conversation is not None
    return program._conversation._process.pid


@contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


# --- What goes wrong --------------------------------------------------------------------------

READ = "import sys, os, time; line = sys.stdin.readline(); "


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit(3)", "it exited with status 3 before it answered"),
        (READ + "raise SystemExit(0)", "it exited with status 0 before it answered"),
        (READ + "1 / 0", "status 1 before it answered: 'ZeroDivisionError: division by zero'"),
        (READ + "os.kill(os.getpid(), 11)", "it was killed by SIGSEGV before it answered"),
        ("import os; os.abort()", "it was killed by SIGABRT before it answered"),
        (READ + "print('ready', flush=True); time.sleep(600)", "what is not JSON: 'ready'"),
        (READ + r"os.write(1, b'\xff\xfe\n'); time.sleep(600)", "it wrote what is not JSON"),
        (READ + "print('[' * 9999, flush=True)", "it wrote what is not JSON"),
        (READ + "print('[1]', flush=True)", "it wrote a list, not an object"),
        (READ + "print('{}', flush=True)", "its answer has no loss"),
        (READ + """print('{"loss": 1}', flush=True)""", "its answer has no grad"),
        (READ + """print('{"loss": null, "grad": [[0]]}', flush=True)""", "loss is null"),
        (READ + """print('{"loss": 1, "grad": [[0, true]]}', flush=True)""", "grad[0][1] is true"),
        (
            READ + """print('{"loss": 1, "grad": [[0], [1, 2]]}', flush=True)""",
            "grad[1] has length",
        ),
        (READ + """print('{"loss": "one", "grad": [[0]]}', flush=True)""", "loss is 'one'"),
        (READ + f"print('{ANSWER}\\nmore', flush=True)", "it wrote more than one line: 'more'"),
        ("while True: print('x' * 999, end='')", "bytes without ending the line"),
        ("while True: print(1)", "it wrote"),
    ],
)
@pytest.mark.usefixtures("patience")
def test_a_fault_is_told_in_a_line(code: str, reason: str) -> None:
    failure = failure_of(code)
    assert reason in str(failure)
    assert str(failure).isprintable()


def test_an_output_that_is_closed_is_told_without_waiting_for_the_end() -> None:
    failure = failure_of(READ + "os.close(1); time.sleep(600)")
    assert str(failure) == "it closed its output without an answer"
    assert failure.fatal


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "inputs"),
    [
        ("import time; time.sleep(600)", SMALL),
        ("import time; time.sleep(600)", LARGE),  # the request does not fit the pipe
        (READ + "time.sleep(600)", SMALL),
        (READ + "print('{\"loss\": 1,', end='', flush=True); time.sleep(600)", SMALL),
        ("import sys\nwhile True: sys.stderr.write('e' * 9999)", SMALL),
        ("import signal, time; signal.signal(15, lambda *_: 0); time.sleep(600)", SMALL),
    ],
    ids=["sleeps", "does not read", "reads", "stops halfway", "babbles on stderr", "ignores TERM"],
)
def test_a_program_without_an_answer_is_cut_off_in_time(code: str, inputs: Inputs) -> None:
    with no_longer_than(SOON):
        failure = failure_of(code, inputs, timeout=0.5)
    assert str(failure) == "no answer within 0.5 seconds"
    assert failure.fatal


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.stdout.write('x' * 999_999 + chr(10)); sys.stdin.readline()",
        "import sys; sys.stderr.write('x' * 999_999); sys.stdout.write('x' * 999_999)",
        "import os; os.close(0); import time; time.sleep(1)",
    ],
    ids=["writes before it reads", "fills both its pipes", "closes its input"],
)
def test_full_pipes_in_both_directions_block_nobody(code: str) -> None:
    failure_of(code, LARGE)


def test_a_program_may_write_much_on_both_its_pipes() -> None:
    code = (
        "import sys, json\n"
        "sys.stderr.write('e' * 300_000)\n"
        "case = json.loads(sys.stdin.readline())\n"
        "print(json.dumps({'loss': 1, 'grad': case['logits']}), flush=True)\n"
    )
    with closing(Program(python(code))) as program:
        reply = program.run(LARGE)
    assert np.array_equal(reply.grad, LARGE.logits)


def test_what_is_written_without_being_asked_is_found_out() -> None:
    code = f"import sys\nfor line in sys.stdin: print('{ANSWER}'); print('{ANSWER}', flush=True)"
    with closing(Program(python(code))) as program:
        reasons = [reason_of(program) for _ in range(3)]
    assert any(f"more than one line: {ANSWER!r}" in reason for reason in reasons) or any(
        f"without being asked: {ANSWER!r}" in reason for reason in reasons
    )


@pytest.mark.parametrize("pause", [0.0, 0.1])
def test_a_blank_line_more_does_no_harm(pause: float) -> None:
    answer = f"print('{ANSWER}', flush=True); time.sleep({pause}); print(flush=True)"
    code = f"import sys, time\nfor line in sys.stdin: {answer}"
    with closing(Program(python(code))) as program:
        for _ in range(3):
            assert program.run(SMALL).loss == 1.0


# --- Nothing is left --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("end", ["sleep 600", "exit 0", "exec sleep 600", "wait"])
def test_the_children_of_a_program_that_is_cut_off_end_with_it(end: str, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    command = ["sh", "-c", f"sleep 600 & echo $! > {told}; {end}"]
    with no_longer_than(SOON), closing(Program(command, timeout=0.5)) as program:
        child = int(wait_for(told))
        with pytest.raises(Failure):
            program.run(SMALL)
        assert ends(child)


def test_the_children_that_a_program_leaves_behind_end_too(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    code = f"sleep 600 <&- >&- 2>&- & echo $! > {told}; read line; echo '{ANSWER}'"
    with no_longer_than(SOON):
        program = Program(["sh", "-c", code])
        pid = pid_of(program)
        assert program.run(SMALL).loss == 1.0
        program.close()
    assert not is_running(pid)
    assert ends(int(wait_for(told)))


@pytest.mark.slow
def test_a_program_that_goes_on_when_its_input_ends_is_killed() -> None:
    program = Program(python(READ + f"print('{ANSWER}', flush=True); time.sleep(600)"))
    program.run(SMALL)
    pid = pid_of(program)
    with no_longer_than(SOON):
        program.close()
    assert not is_running(pid)


@pytest.mark.usefixtures("patience")
def test_a_program_may_end_by_itself(tmp_path: Path) -> None:
    told = tmp_path / "ended"
    code = f"import sys\nfor line in sys.stdin: print('{ANSWER}', flush=True)\n"
    with closing(Program(python(f"{code}open({str(told)!r}, 'w').write('yes')"))) as program:
        program.run(SMALL)
    assert told.read_text() == "yes"


def test_no_pipe_is_left_open() -> None:
    before = len([*Path("/dev/fd").iterdir()])
    for code in ("raise SystemExit(3)", "import time; time.sleep(600)", f"print('{ANSWER}')"):
        with closing(Program(python(code), timeout=0.2)) as program:
            assert reason_of(program) + reason_of(program)
    assert len([*Path("/dev/fd").iterdir()]) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_program_and_cecli_at_once(
    number: signal.Signals, tmp_path: Path
) -> None:
    told = tmp_path / "pids"
    script = f"sleep 600 & echo $$ $! > {told}; wait"
    process = subprocess.Popen(
        [*PROGRAM, "verify", "--timeout", "600", "--", "sh", "-c", script],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    pids = [int(pid) for pid in wait_for(told).split()]
    with no_longer_than(SOON):
        process.send_signal(number)
        shown = process.communicate(timeout=LIMIT)
    assert process.returncode == -number
    assert [text.strip() for text in shown] == [b"", b""]  # Click goes to a new line
    assert all(map(ends, pids))


# The signal arrives when the program runs and nothing here knows of it yet.
WHILE_STARTING = """
import os, signal, subprocess, sys
class Popen(subprocess.Popen):
    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        print(self.pid, file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
subprocess.Popen = Popen
from cecli.__main__ import main
main()
"""


def test_a_signal_while_a_program_starts_ends_it_too() -> None:
    process = subprocess.run(
        [sys.executable, "-c", WHILE_STARTING, "verify", "--", "sleep", "60"],
        env=ENVIRONMENT,
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )
    assert (process.returncode, process.stdout) == (-signal.SIGTERM, b"")
    assert ends(int(process.stderr))


# --- One case after another -------------------------------------------------------------------


def test_after_a_time_out_the_rest_fails_unrun(tmp_path: Path) -> None:
    told = tmp_path / "starts"
    code = f"import time; open({str(told)!r}, 'a').write('started\\n'); time.sleep(600)"
    cases = all_cases()[:5]
    with no_longer_than(SOON), closing(Program(python(code), timeout=0.5)) as program:
        wait_for(told)
        verdicts = list(verify(program, cases))
    assert [verdict.outcome for verdict in verdicts] == ["failed"] * 5
    assert {verdict.reason for verdict in verdicts} == {"no answer within 0.5 seconds"}
    assert told.read_text() == "started\n"


def test_after_a_crash_the_program_is_started_anew() -> None:
    code = READ + f"print('{ANSWER}', flush=True); line = sys.stdin.readline(); sys.exit(7)"
    with closing(Program(python(code))) as program:
        for _ in range(2):
            assert program.run(SMALL).loss == 1.0
            with pytest.raises(Failure, match="status 7"):
                program.run(SMALL)


def test_after_an_error_that_it_tells_it_goes_on() -> None:
    code = 'import sys\nfor line in sys.stdin: print(\'{"error": "no"}\', flush=True)'
    with closing(Program(python(code))) as program:
        pid = pid_of(program)
        for _ in range(3):
            with pytest.raises(Failure, match=r"^no$"):
                program.run(SMALL)
        assert pid_of(program) == pid


def test_what_a_program_calls_unsupported_is() -> None:
    code = 'import sys\nfor line in sys.stdin: print(\'{"unsupported": "masks"}\', flush=True)'
    with closing(Program(python(code))) as program, pytest.raises(NotSupported, match=r"^masks$"):
        program.run(SMALL)


def test_a_program_is_told_what_its_features_name(tmp_path: Path) -> None:
    told = tmp_path / "cases"
    code = f"{READ}open({str(told)!r}, 'w').write(line); print(1, flush=True)"
    options = {"weight": np.array([1.0, 2.0], np.float32), "ignore_index": -1, "reduction": "sum"}
    inputs = Inputs(
        np.array([[-np.inf, 0.5], [np.nan, 1.0]], np.float16),
        np.array([1, -1]),
        options,
        upstream=np.array([2.0, -4.0]),
        dtype="float16",
    )
    with closing(Program(python(code))) as program, pytest.raises(Failure):
        program.run(inputs)
    assert told.read_text() == (
        '{"logits": [["-Infinity", 0.5], ["NaN", 1.0]], "target": [1, -1], "weight": [1.0, 2.0], '
        '"ignore_index": -1, "reduction": "sum", "upstream": [2.0, -4.0], "dtype": "float16"}\n'
    )


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["./nothing"], "cannot start './nothing': No such file or directory"),
        (["/"], "cannot start '/': Permission denied"),
        ([""], "cannot start ''"),
    ],
)
def test_a_program_that_cannot_be_started_is_bad_input(command: list[str], reason: str) -> None:
    with pytest.raises(CecliError, match=re.escape(reason)):
        Program(command)


def test_a_closed_pipe_of_the_program_does_not_end_cecli() -> None:
    program = ["sh", "-c", "exec <&-; sleep 0.1; exit 5"]
    outcome = run("verify", "-k", "classes/65537", "--", *program)
    assert (outcome.returncode, outcome.stderr) == (1, b"")
    assert b"it exited with status 5 before it answered" in outcome.stdout


@pytest.mark.slow
def test_progress_is_shown_on_a_terminal_only() -> None:
    terminal = Terminal()
    code = READ + "time.sleep(0.3)"
    process = terminal.start(
        "verify", "-k", "ordinary", "--", *python(code), stdout=subprocess.DEVNULL
    )
    assert "verifying" in terminal.finish(process)
    assert process.returncode == 1


# --- Right and wrong programs, in three languages ---------------------------------------------

JAVASCRIPT = r"""
const numbers = (row) => row.map(Number);
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { logits, target } = JSON.parse(line);
  let loss = 0;
  const grad = logits.map(numbers).map((z, n) => {
    const t = target[n];
    const m = z.reduce((a, b) => Math.max(a, b));
    const top = z.indexOf(m);
    const e = z.map((x) => (x === -Infinity ? 0 : Math.exp(x - m)));
    const rest = e.reduce((sum, x, i) => (i === top ? sum : sum + x), 0);
    const others = e.reduce((sum, x, i) => (i === t ? sum : sum + x), 0);
    loss += m - z[t] + Math.log1p(rest);
    const scale = 1 / (1 + rest) / DIVISOR;
    return e.map((x, i) => (i === t ? -others : x) * scale);
  });
  loss /= logits.length;
  console.log(JSON.stringify({ loss: loss === Infinity ? "Infinity" : loss, grad }));
});
"""

C = r"""
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *at;

/* The next number up to the end of the outer list: 1 if there is one, 2 if a list ends first. */
static int next(double *number) {
    int ended = 0;
    for (; strchr(" ,[]\"", *at); at++)
        if (*at == ']' && ++ended == 2) return 0;
    *number = strtod(at, &at);
    if (*at == '"') at++;
    return ended ? 2 : 1;
}

int main(void) {
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, stdin) > 0) {
        size_t room = strlen(line), count = 0, rows = 1;
        double *z = malloc(room * sizeof *z), number;
        int kind;
        at = strstr(line, "\"logits\":") + 9;
        while ((kind = next(&number))) {
            rows += kind == 2;
            z[count++] = number;
        }
        size_t classes = count / rows;
        long double loss = 0;
        at = strstr(line, "\"target\":") + 9;
        for (size_t n = 0; n < rows; n++) {
            double *row = z + n * classes, m = -INFINITY, rest = 0, others = 0;
            size_t top = 0, t;
            at += strspn(at, " ,[");
            t = strtoul(at, &at, 10);
            for (size_t i = 0; i < classes; i++)
                if (row[i] > m) m = row[top = i];
            loss += m - row[t];
            for (size_t i = 0; i < classes; i++) {
                row[i] = exp(row[i] - m);
                if (i != top) rest += row[i];
                if (i != t) others += row[i];
            }
            loss += log1p(rest);
            for (size_t i = 0; i < classes; i++)
                row[i] = (i == t ? -others : row[i]) / (1 + rest) / DIVISOR;
        }
        printf(isinf(loss) ? "{\"loss\": \"Infinity\"" : "{\"loss\": %.17g", (double)(loss / rows));
        printf(", \"grad\": [");
        for (size_t k = 0; k < count; k++)
            printf("%s%.17g%s", k % classes ? ", " : k ? ", [" : "[", z[k],
                   k % classes == classes - 1 ? "]" : "");
        printf("]}\n");
        fflush(stdout);
        free(z);
    }
    free(line);
    return 0;
}
"""


def javascript(source: str, directory: Path) -> list[str]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    script = directory / "answer.js"
    script.write_text(source)
    return [node, str(script)]


def compiled(source: str, directory: Path) -> list[str]:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    (directory / "answer.c").write_text(source)
    subprocess.run([compiler, "-O1", "-o", "answer", "answer.c", "-lm"], cwd=directory, check=True)
    return [str(directory / "answer")]


PROGRAMS = {
    "JavaScript": (javascript, JAVASCRIPT, "logits.length"),
    "C": (compiled, C, "rows"),
}


@pytest.mark.parametrize(
    ("cases", "most"),
    [
        pytest.param(FEW, 80, id="small"),
        pytest.param(CASES, 100, id="all", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("language", PROGRAMS)
def test_a_right_program_in_another_language_passes(
    language: str, cases: list[Case], most: int, tmp_path: Path
) -> None:
    make, source, divisor = PROGRAMS[language]
    with closing(Program(make(source.replace("DIVISOR", divisor), tmp_path))) as program:
        verdicts = list(verify(program, cases))
    ran = [verdict for verdict in verdicts if verdict.outcome != "not supported"]
    assert len(ran) > most
    assert [(v.case.name, v.outcome, v.reason) for v in ran if not v.passed()] == []


@pytest.mark.parametrize("language", PROGRAMS)
def test_a_mistake_in_another_language_is_found_and_named(language: str, tmp_path: Path) -> None:
    make, source, _ = PROGRAMS[language]
    with closing(Program(make(source.replace("DIVISOR", "1"), tmp_path))) as program:
        verdicts = {v.case.name: v for v in verify(program, select(all_cases(), ["ordinary"]))}
    assert verdicts["ordinary/textbook"].passed()
    for verdict in (verdicts["ordinary/small-batch"], verdicts["ordinary/two-classes"]):
        assert verdict.outcome == "wrong"
        assert [found.id for found in verdict.diagnosis] == ["not-averaged"]
        assert verdict.loss is not None
        assert verdict.loss.grade in ("exact", "accurate", "acceptable")


def test_the_example_of_the_manual_answers_and_is_found_wanting(tmp_path: Path) -> None:
    page = PAGE.read_text()
    found = re.search(r"^import json, sys\n.*?(?=^\.Ed)", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    example = found[0].replace("\\-", "-")
    assert example.count("\n") == 10
    (tmp_path / "answer.py").write_text(example)
    with closing(Program([sys.executable, str(tmp_path / "answer.py")])) as program:
        verdicts = list(verify(program, select(all_cases(), ["ordinary", "far-losers"])))
    outcomes = {verdict.case.name: verdict.outcome for verdict in verdicts}
    assert {v.case.family for v in verdicts if not v.passed()} == {"far-losers"}
    assert "wrong" in outcomes.values()
