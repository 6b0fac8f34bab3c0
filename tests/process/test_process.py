"""The program as a process among others: pipes, signals, terminals, encodings, hostile input."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from support.in_process import Outcome
from support.in_process import run as run_here
from support.process import (
    ENVIRONMENT,
    LIMIT,
    PROGRAM,
    Terminal,
    assert_complains,
    on_terminal,
    run,
)

GRAD = ["grad", "2.0", "1.0", "0.1", "-t", "0"]
VIEWS: dict[str, list[str]] = {
    "table": [*GRAD, "--check"],
    "json": [*GRAD, "--json"],
    "markdown": [*GRAD, "--markdown"],
    "help": ["--help"],
    "command help": ["grad", "-h"],
    "version": ["--version"],
    "bare": [],
}


def run_in_shell(redirection: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program with a redirection as the shell makes it."""
    return run(*arguments, program=["sh", "-c", f'exec "$@" {redirection}', "sh", *PROGRAM])


# --- Pipes, devices, closed streams -------------------------------------------------------------


@pytest.mark.parametrize("arguments", VIEWS.values(), ids=VIEWS)
def test_a_closed_pipe_ends_it_silently(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        outcome = run(*arguments, stdout=writer)
    finally:
        os.close(writer)
    assert outcome.returncode == -signal.SIGPIPE
    assert outcome.stderr == b""


def test_much_json_into_a_closed_pipe(tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", np.zeros(200_000))
    with subprocess.Popen(
        [*PROGRAM, "softmax", "z.npy", "--json", "--arrays"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(LIMIT) == -signal.SIGPIPE


@pytest.mark.parametrize("arguments", VIEWS.values(), ids=VIEWS)
def test_a_full_disk_is_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        outcome = run(*arguments, stdout=full)
    assert outcome.returncode == 2
    assert outcome.stderr.decode().endswith("No space left on device\n")
    assert outcome.stderr.count(b"\n") == 1


def test_a_full_disk_for_a_file() -> None:
    assert_complains(run(*GRAD, "-o", "/dev/full"), "/dev/full", "No space left on device")


def test_a_file_that_grows_too_large(tmp_path: Path) -> None:
    """The disk fills up while a file is written: the older one stays, and nothing else."""
    np.save(tmp_path / "z.npy", np.zeros(10_000))
    (tmp_path / "out.npy").write_text("older")
    outcome = run(
        *("softmax", "z.npy", "-o", "out.npy"),
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert_complains(outcome, "cannot write out.npy")
    assert (tmp_path / "out.npy").read_text() == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.npy", "z.npy"]


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1"])
def test_a_file_may_be_a_pipe(name: str) -> None:
    """Such a name leads to a pipe, which has no place in the file system."""
    outcome = run(*GRAD, "-o", name, "--json")
    assert (outcome.returncode, outcome.stderr) == (0, b"")
    assert outcome.stdout.startswith(b"\x93NUMPY")


def test_a_file_may_be_a_named_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out.json")
    with subprocess.Popen(["cat", tmp_path / "out.json"], stdout=subprocess.PIPE) as reader:
        outcome = run(*GRAD, "-o", str(tmp_path / "out.json"))
        assert (outcome.returncode, outcome.stderr) == (0, b"")
        assert json.loads(reader.communicate(timeout=LIMIT)[0])["target"] == 0
    assert (tmp_path / "out.json").is_fifo()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    assert_complains(run(*GRAD, "-o", str(tmp_path / "out.npy")), "Permission denied")


@pytest.mark.parametrize("arguments", VIEWS.values(), ids=VIEWS)
def test_a_closed_stdout_is_like_a_full_one(arguments: list[str]) -> None:
    outcome = run_in_shell(">&-", *arguments)
    assert outcome.returncode == 2
    assert outcome.stderr.startswith(b"cecli: cannot write to standard output")
    assert outcome.stderr.count(b"\n") == 1


def test_a_closed_stdin() -> None:
    assert_complains(run_in_shell("<&-", "softmax"), "no logits")
    assert_complains(run_in_shell("<&-", "softmax", "-"), "no logits")
    outcome = run_in_shell("<&-", *GRAD, "--json")
    assert (outcome.returncode, outcome.stderr) == (0, b"")
    assert json.loads(outcome.stdout)["target"] == 0


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "<&- >&- 2>&-", ">/dev/full 2>&-"])
def test_an_error_that_cannot_be_told_is_still_status_2(redirection: str) -> None:
    outcome = run_in_shell(redirection, "loss", "1", "2")
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (2, b"", b"")


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_results_need_no_stderr(redirection: str) -> None:
    outcome = run_in_shell(redirection, *GRAD, "--check", "--json")
    assert outcome.returncode == 0
    assert json.loads(outcome.stdout)["check"]["passed"]


# --- Signals ------------------------------------------------------------------------------------


def interrupted(arguments: Sequence[str], number: signal.Signals) -> tuple[int, bytes, bytes]:
    """How the program ends by a signal that arrives when it has read its logits and works."""
    logits = json.dumps(np.random.default_rng(1).normal(size=(60, 1000)).tolist()).encode()
    with subprocess.Popen(
        [*PROGRAM, *arguments],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        # A pipe holds 64 KiB: when all is written, nearly all is read.
        assert len(logits) > 2**20
        process.stdin.write(logits)
        process.stdin.close()
        process.stdin = None
        time.sleep(0.3)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=LIMIT)
        return process.returncode, stdout, stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("work", ["--check", "--exact"])
def test_a_signal_ends_long_work(work: str, number: signal.Signals) -> None:
    arguments = ["grad", "-t", ",".join(["0"] * 60), work]
    status, stdout, stderr = interrupted(arguments, number)
    assert (status, stdout, stderr.strip()) == (-number, b"", b"")


def test_a_signal_while_waiting_for_input() -> None:
    with subprocess.Popen(
        [*PROGRAM, "softmax"],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b"1 " * 2**17)
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=LIMIT)
        assert (process.returncode, stdout, stderr.strip()) == (-signal.SIGINT, b"", b"")


# The last argument is the number of a signal, which arrives instead of the renaming, and again
# before anything is removed and when the program ends.
INTERRUPTED = """
import os, pathlib, signal, sys, time
number = int(sys.argv.pop())
def interrupt(*_):
    signal.signal = once_more(signal.signal)
    os.kill(os.getpid(), number)
    time.sleep(10)
def once_more(function):
    def interrupted(*arguments, **options):
        os.kill(os.getpid(), number)
        time.sleep(0.01)
        return function(*arguments, **options)
    return interrupted
os.replace = os.rename = pathlib.Path.replace = pathlib.Path.rename = interrupt
os.unlink, pathlib.Path.unlink = map(once_more, (os.unlink, pathlib.Path.unlink))
from cecli.__main__ import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("suffix", ["npy", "json", "svg"])
def test_a_signal_leaves_the_older_file(
    tmp_path: Path, suffix: str, number: signal.Signals
) -> None:
    """It arrives when everything is written, and the file is about to get its name."""
    older = tmp_path / f"out.{suffix}"
    older.write_text("older")
    program = [sys.executable, "-c", INTERRUPTED]
    outcome = run(*GRAD, "-o", str(older), str(int(number)), program=program)
    assert (outcome.returncode, outcome.stdout, outcome.stderr.strip()) == (-number, b"", b"")
    assert older.read_text() == "older"
    assert list(tmp_path.iterdir()) == [older]


# --- Files that are written ---------------------------------------------------------------------


def test_what_a_killed_run_left_is_in_nobody_s_way(tmp_path: Path) -> None:
    script = (
        f'for name in "$1".$$ "$1".$$.tmp; do : > "$name"; done; shift; exec {sys.executable} "$@"'
    )
    program = ["sh", "-c", script, "sh", str(tmp_path / "g.npy"), "-m", "cecli"]
    outcome = run(*GRAD, "-o", str(tmp_path / "g.npy"), program=program)
    assert outcome.returncode == 0, outcome.stderr
    assert len(np.load(tmp_path / "g.npy")) == 3


def test_links_that_go_round(tmp_path: Path) -> None:
    for one, other in (("a.npy", "b.npy"), ("b.npy", "a.npy")):
        (tmp_path / one).symlink_to(other)
    outcome = run(*GRAD, "-o", str(tmp_path / "a.npy"))
    assert_complains(outcome, "cannot write", "a.npy", "symbolic links")


@pytest.mark.parametrize("suffix", ["npy", "json"])
def test_the_longest_name(tmp_path: Path, suffix: str) -> None:
    for letter in ("a", "\N{GREEK SMALL LETTER OMEGA}"):
        path = tmp_path / (letter * (250 // len(letter.encode())) + "." + suffix)
        outcome = run(*GRAD, "-o", str(path))
        assert outcome.returncode == 0, outcome.stderr
        assert list(tmp_path.iterdir()) == [path]
        path.unlink()


@pytest.mark.parametrize("option", [["-o", "/dev/stdout"], ["-o", "/dev/fd/1"]])
def test_output_to_the_file_that_is_printed_to(tmp_path: Path, option: list[str]) -> None:
    log = tmp_path / "log"
    log.write_text("kept\n")
    (tmp_path / "z.json").symlink_to(log)
    for other in (option, ["-o", str(tmp_path / "z.json")]):
        with log.open("a") as file:
            outcome = run(*GRAD, *other, stdout=file)
        assert outcome.returncode == 2
        assert b"standard output goes there too" in outcome.stderr
        assert log.read_text() == "kept\n"


def test_an_empty_name() -> None:
    assert_complains(run(*GRAD, "-o", ""), "cannot write '': -o takes the name of a file")


# --- Terminals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["softmax"], ["grad", "-t", "0"], ["loss", "--json"]])
def test_nothing_to_read_on_a_terminal(arguments: list[str]) -> None:
    master, slave = pty.openpty()
    try:
        assert_complains(run(*arguments, stdin=slave), "no logits")
    finally:
        os.close(master)
        os.close(slave)


def test_a_dash_reads_from_the_terminal() -> None:
    terminal = Terminal()
    process = terminal.start("softmax", "-", "--json", stdin=terminal)
    os.write(terminal.master, b"0 0\n\x04")
    text = terminal.finish(process)
    assert process.returncode == 0
    assert '"softmax": [0.5, 0.5]' in text


@pytest.mark.parametrize(
    ("environment", "styled", "coloured"),
    [
        ({}, True, True),
        ({"NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"FORCE_COLOR": "1"}, True, True),
    ],
)
def test_styles_on_a_terminal(environment: dict[str, str], styled: bool, coloured: bool) -> None:
    status, text = on_terminal(*GRAD, environment=environment)
    assert status == 0
    assert ("\x1b[" in text) == styled
    assert (re.search(r"\x1b\[[0-9;]*3[0-9]", text) is not None) == coloured


@pytest.mark.parametrize(
    ("environment", "styled", "coloured"),
    [
        ({}, False, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
        ({"FORCE_COLOR": ""}, False, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"COLUMNS": "20"}, False, False),
    ],
)
def test_styles_in_a_pipe(environment: dict[str, str], styled: bool, coloured: bool) -> None:
    text = run(*GRAD, environment=environment).stdout.decode()
    assert ("\x1b[" in text) == styled
    assert (re.search(r"\x1b\[[0-9;]*3[0-9]", text) is not None) == coloured
    if not styled:
        assert text == run(*GRAD).stdout.decode()


@pytest.mark.parametrize("view", ["--json", "--markdown"])
def test_json_and_markdown_have_no_styles(view: str) -> None:
    status, text = on_terminal(*GRAD, view, environment={"FORCE_COLOR": "1"})
    assert status == 0
    assert "\x1b" not in text


def test_a_table_is_as_wide_as_the_terminal() -> None:
    for width, environment in ((60, {}), (120, {}), (120, {"COLUMNS": "60"})):
        status, text = on_terminal(*GRAD, "--check", width=width, environment=environment)
        lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
        widest = max(map(cell_len, lines))
        assert status == 0
        assert widest <= int(environment.get("COLUMNS", width))
        assert width == 60 or environment or widest > 60


LONG = ["grad", "z.npy", "-t", ",".join(["0"] * 200), "--check"]


@pytest.fixture
def long_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory of LONG, which takes about five seconds."""
    monkeypatch.chdir(tmp_path)
    np.save("z.npy", np.random.default_rng(1).normal(size=(200, 1000)))


@pytest.mark.usefixtures("long_check")
def test_long_work_shows_a_bar_and_stops_at_control_c() -> None:
    terminal = Terminal()
    start = time.monotonic()
    process = terminal.start(*LONG, "--json", stdout=subprocess.PIPE)
    terminal.read_until("checking")
    assert time.monotonic() - start > 1.0
    process.send_signal(signal.SIGINT)
    text = terminal.finish(process)
    assert process.returncode == -signal.SIGINT
    assert process.stdout is not None
    assert process.stdout.read() == b""
    process.stdout.close()
    assert "Traceback" not in text
    assert "%" in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")  # the cursor is back


AT_ONCE = """
import sys
from cecli.cli import progress
progress.SECONDS_BEFORE_A_BAR = -1.0
from cecli.__main__ import main
main()
"""


def test_a_bar_is_for_terminals_only() -> None:
    """Even where it would be shown at once, a pipe never sees it, and short work is too short."""
    program = [sys.executable, "-c", AT_ONCE]
    outcome = run(*GRAD, "--check", "--json", program=program)
    assert (outcome.returncode, outcome.stderr) == (0, b"")
    status, text = on_terminal(*GRAD, "--check", "--json", stdout=subprocess.DEVNULL)
    assert (status, text) == (0, "")


# --- Encodings ----------------------------------------------------------------------------------

C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ENCODINGS: dict[str, tuple[str, dict[str, str]]] = {
    "ascii": ("ascii", {"PYTHONIOENCODING": "ascii"}),
    "C": ("ascii", C_LOCALE),
    "latin-1": ("latin-1", {"PYTHONIOENCODING": "latin-1"}),
    "cp437": ("cp437", {"PYTHONIOENCODING": "cp437"}),
}
NAMED = json.dumps({"logits": [2, 1, "-Infinity"], "labels": ["é", "日本語", "|"], "target": 0})
parametrise_encodings = pytest.mark.parametrize(
    ("encoding", "environment"), ENCODINGS.values(), ids=ENCODINGS
)


@parametrise_encodings
@pytest.mark.parametrize("check", [[], ["--check"]])
def test_tables_have_plain_stand_ins(
    encoding: str, environment: dict[str, str], check: list[str]
) -> None:
    outcome = run("grad", *check, stdin=NAMED.encode(), environment=environment)
    assert (outcome.returncode, outcome.stderr) == (0, b"")
    text = outcome.stdout.decode(encoding)
    model = run("grad", *check, stdin=NAMED.encode()).stdout.decode()
    assert len(text.splitlines()) == len(model.splitlines())
    number = r"[0-9]+\.[0-9e-]+"
    for line, wanted in zip(text.splitlines(), model.splitlines(), strict=True):
        assert line.isprintable()
        assert re.findall(number, line) == re.findall(number, wanted)
        places = [match.start() for match in re.finditer(number, line)]
        assert places == [
            cell_len(wanted[: match.start()]) for match in re.finditer(number, wanted)
        ]
    assert "-inf" in text or "−inf" in text
    assert "> " in text or "▸ " in text


@parametrise_encodings
def test_markdown_has_plain_stand_ins(encoding: str, environment: dict[str, str]) -> None:
    outcome = run("grad", "--markdown", stdin=NAMED.encode(), environment=environment)
    assert (outcome.returncode, outcome.stderr) == (0, b"")
    rows = [row for row in outcome.stdout.decode(encoding).splitlines() if row.startswith("|")]
    assert len(rows) == 5
    assert len({len(re.split(r"(?<!\\)\|", row)) for row in rows}) == 1


@parametrise_encodings
def test_json_is_escaped(encoding: str, environment: dict[str, str]) -> None:
    outcome = run("grad", "--json", stdin=NAMED.encode(), environment=environment)
    assert (outcome.returncode, outcome.stderr) == (0, b"")
    assert outcome.stdout.isascii()
    assert json.loads(outcome.stdout)["labels"] == ["é", "日本語", "|"]


@parametrise_encodings
def test_errors_have_plain_stand_ins(encoding: str, environment: dict[str, str]) -> None:
    outcome = run("grad", "-t", "größe", stdin=NAMED.encode(), environment=environment)
    assert outcome.returncode == 2
    assert outcome.stdout == b""
    assert outcome.stderr.decode(encoding)[:-1].isprintable()


@parametrise_encodings
def test_files_are_utf_8_everywhere(
    tmp_path: Path, encoding: str, environment: dict[str, str]
) -> None:
    for suffix, name in (("json", "日本語"), ("svg", "日本語")):
        path = tmp_path / f"out.{suffix}"
        run("grad", "-o", str(path), stdin=NAMED.encode(), environment=environment)
        assert name in path.read_text(encoding="utf-8")


def test_json_is_utf_8_where_that_can_be_printed() -> None:
    outcome = run("grad", "--json", stdin=NAMED.encode())
    assert "日本語" in outcome.stdout.decode()


@pytest.mark.parametrize(
    "arguments",
    [
        [b"softmax", b"\xff"],
        [b"softmax", b"1", b"-\xff"],
        [b"softmax", b"\xff.npy"],
        [b"loss", b"1", b"2", b"-t", b"\xff"],
        [b"loss", b"1", b"2", b"-q", b"\xff"],
        [b"softmax", b"1", b"2", b"--labels", b"\xff,b"],
        [b"softmax", b"1", b"2", b"--\xff"],
        [b"softmax", b"1", b"2", b"-o", b"\xff.txt"],
        [b"softmax", b"1", b"2", b"--temperature", b"\xff"],
        [b"\xff"],
    ],
)
@pytest.mark.parametrize("environment", [{}, C_LOCALE], ids=["UTF-8", "C"])
def test_arguments_that_are_not_utf_8(arguments: list[bytes], environment: dict[str, str]) -> None:
    assert_complains(run(*arguments, environment=environment))


def test_a_file_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff.npy"
    outcome = run(b"softmax", b"1", b"1", b"-o", name)
    assert (outcome.returncode, outcome.stderr) == (0, b"")
    outcome = run(b"softmax", name, b"--json")
    assert json.loads(outcome.stdout)["logits"] == [0.5, 0.5]


# --- Start-up -----------------------------------------------------------------------------------


def imported(*arguments: str, environment: Mapping[str, str] | None = None) -> set[str]:
    """The top-level modules that a command imports."""
    program = [sys.executable, "-X", "importtime", "-m", "cecli"]
    outcome = run(*arguments, program=program, environment=environment)
    assert outcome.returncode == 0
    names = re.findall(r"^import time:.*\| +([\w.]+)$", outcome.stderr.decode(), re.MULTILINE)
    assert "click" in names
    return {name.partition(".")[0] for name in names}


COMPLETION = {"_CECLI_COMPLETE": "bash_complete", "COMP_WORDS": "cecli grad --", "COMP_CWORD": "2"}


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--help"], {}),
        (["--version"], {}),
        ([], {}),
        (["grad", "--help"], {}),
        (["softmax", "-h"], {}),
        ([], {"_CECLI_COMPLETE": "bash_source"}),
        ([], {"_CECLI_COMPLETE": "zsh_source"}),
        ([], {"_CECLI_COMPLETE": "fish_source"}),
        ([], COMPLETION),
    ],
)
def test_help_and_completion_start_quickly(
    arguments: list[str], environment: dict[str, str]
) -> None:
    assert not {"numpy", "rich"} & imported(*arguments, environment=environment)


def test_json_never_imports_rich(tmp_path: Path) -> None:
    output = ["-o", str(tmp_path / "out.npy")]
    modules = imported(*GRAD, "--check", "--json", *output)
    assert "numpy" in modules
    assert "rich" not in modules
    assert "rich" in imported(*GRAD)


def test_completion_offers_the_options() -> None:
    outcome = run(environment=COMPLETION)
    assert (outcome.returncode, outcome.stderr) == (0, b"")
    assert "plain,--check" in outcome.stdout.decode().splitlines()


# --- Hostile input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stdin",
    [
        b"[" * 1_000_000,
        b"[" * 1_000_000 + b"]" * 1_000_000,
        b'{"logits":' * 200_000,
        b'{"logits": [1, 2], "labels": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"(" * 100_000,
        b"\xff" * 100_000,
        b"\x00" * 100_000,
        b"9" * 1_000_000,
        b"[" + b"9" * 1_000_000 + b"]",
        b"-" * 100_000,
        b'"' + b"\\u0000" * 10_000 + b'"',
        b"1 2\n" * 50_000 + b"x",
        b"1," * 100_000 + b",",
        b"\n" * 500_000,
        b"\x1b[2J\x1b]0;owned\x07",
    ],
    ids=range(15),
)
def test_hostile_standard_input(stdin: bytes) -> None:
    assert_complains(run("softmax", stdin=stdin), "standard input")


def test_a_long_hostile_argument() -> None:
    assert_complains(run("softmax", "[" * 100_000))
    assert_complains(run("loss", "1", "2", "-t", "[" * 100_000))
    assert_complains(run("loss", "1", "2", "-t", "0", "--weight", "[" * 100_000))
    assert_complains(run("softmax", "1", "--labels", "[" * 100_000))


def test_much_json_is_read() -> None:
    logits = np.random.default_rng(2).normal(size=300_000)
    outcome = run("softmax", "--json", "--no-arrays", stdin=json.dumps(logits.tolist()).encode())
    assert (outcome.returncode, outcome.stderr) == (0, b"")
    assert json.loads(outcome.stdout)["omitted"] == ["logits", "softmax", "log_softmax"]


WORDS = [
    *("-t", "--target", "-q", "--labels", "--axis", "--temperature", "--softcap", "--weight"),
    *("--ignore-index", "--label-smoothing", "--reduction", "--z-loss", "--exact", "--check"),
    *("--step", "--seed", "--json", "--markdown", "--digits", "--top", "--arrays", "--no-arrays"),
    *("-h", "--", "-", "0", "1", "2", "-1", "1.5", "-inf", "inf", "nan", "1e308", "-1e308"),
    *("5e-324", "[1, 2]", "[[1, 2], [3, 4]]", "[[[1], [2]]]", "0,1", "1,2", "0.5,0.5", "a,b"),
    *("tensor([1., 2.])", "{}", '{"logits": [1, 2], "target": 0}', "mean", "none", "sum", ""),
]
# An argument holds no NUL; a byte that is not UTF-8 arrives as a lone surrogate.
CHARACTERS = st.one_of(
    st.characters(exclude_characters="\x00", exclude_categories=["Cs"]),
    st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"]),
    st.sampled_from("0123456789.,-+e[](){}:\"' \n"),
)
ARGUMENTS = st.lists(
    st.one_of(st.sampled_from(WORDS), st.text(CHARACTERS, max_size=12)), max_size=8
)
JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=6),
        st.sampled_from(["Infinity", "-Infinity", "NaN", "mean", "sum"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(st.sampled_from(["logits", "target", "labels"]), st.text(max_size=4)),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)
NUMBERS = st.lists(st.floats(), max_size=4) | st.lists(
    st.lists(st.floats(), max_size=3), max_size=3
)
DOCUMENTS = st.fixed_dictionaries(
    {"logits": st.one_of(NUMBERS, JSON)},
    optional={
        "target": st.one_of(st.integers(-2, 4), st.lists(st.integers(-2, 4), max_size=3), JSON),
        "soft_target": st.one_of(NUMBERS, JSON),
        "labels": st.one_of(st.lists(st.text(max_size=3), max_size=4), JSON),
        "objective": st.one_of(
            JSON,
            st.fixed_dictionaries(
                {},
                optional={
                    "weight": st.lists(st.floats(), max_size=4),
                    "ignore_index": st.integers(-3, 3),
                    "label_smoothing": st.floats(0, 1),
                    "reduction": st.sampled_from(["mean", "sum", "none"]),
                    "temperature": st.floats(),
                    "softcap": st.floats(),
                    "z_loss": st.floats(),
                    "axis": st.integers(-3, 3),
                },
            ),
        ),
    },
)
COMMANDS = st.sampled_from(["softmax", "loss", "grad"])


def assert_mannered(outcome: Outcome) -> None:
    """Done, or one line that says why not."""
    assert outcome.status in (0, 2), outcome
    if outcome.status == 0:
        assert outcome.stdout
        assert outcome.stderr == ""
    else:
        assert outcome.stdout == ""
        assert outcome.stderr.startswith("cecli")
        assert outcome.stderr.endswith("\n")
        assert outcome.stderr[:-1].isprintable()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory in which nothing can be broken."""
    monkeypatch.chdir(tmp_path)


@given(COMMANDS, ARGUMENTS)
@example("softmax", ["1", "2", "--labels", "\udcff,b"])
@example("grad", ["[[1, 2], [3, 4]]", "-t", "0,1", "--axis", "2"])
@example("grad", ["1e308", "-1e308", "-t", "0", "--temperature", "5e-324", "--check"])
@example("grad", ["1", "2", "-t", "0", "--softcap", "5e-324", "--check"])
@example("grad", ["1", "2", "-t", "0", "--z-loss", "1e308", "--check"])
@example("grad", ["1", "2", "-t", "0", "--weight", "1e308,1e308", "--reduction", "sum"])
@pytest.mark.usefixtures("elsewhere")
def test_any_arguments(command: str, arguments: list[str]) -> None:
    assert_mannered(run_here(command, *arguments))


@given(COMMANDS, st.text(), st.sampled_from([[], ["-t", "0"], ["--json"], ["--markdown"]]))
def test_any_text_on_standard_input(command: str, text: str, arguments: list[str]) -> None:
    assert_mannered(run_here(command, *arguments, stdin=text))


@given(COMMANDS, st.binary(max_size=40))
def test_any_bytes_on_standard_input(command: str, data: bytes) -> None:
    assert_mannered(run_here(command, "-t", "0", stdin=data))


@given(COMMANDS, st.one_of(JSON, DOCUMENTS), st.sampled_from([[], ["--json"], ["--exact"]]))
def test_any_json(command: str, value: object, arguments: list[str]) -> None:
    text = json.dumps(value)
    assert_mannered(run_here(command, *arguments, stdin=text))
    assert_mannered(run_here(command, *arguments, text))


@given(COMMANDS, DOCUMENTS, st.sampled_from([[], ["--check"], ["--check", "--json"]]))
def test_any_document(command: str, document: dict[str, object], check: list[str]) -> None:
    arguments = check if command == "grad" else []
    assert_mannered(run_here(command, *arguments, stdin=json.dumps(document)))


@given(
    st.sampled_from(["-t", "-q", "--labels", "--weight", "--axis", "--temperature", "--reduction"]),
    st.one_of(st.text(CHARACTERS), JSON.map(json.dumps)),
)
def test_any_value_of_an_option(option: str, value: str) -> None:
    assert_mannered(run_here("loss", "[[1, 2], [3, 4]]", "-t", "0,1", option, value))
