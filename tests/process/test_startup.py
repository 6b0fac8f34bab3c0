"""Starting: what is imported, and in which locale."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.process import assert_complains, run

GRAD = ["grad", "2.0", "1.0", "0.1", "-t", "0"]


def imported(
    *arguments: str, environment: Mapping[str, str] | None = None, status: int = 0
) -> set[str]:
    """The top-level modules that a command imports."""
    program = [sys.executable, "-X", "importtime", "-m", "cecli"]
    outcome = run(*arguments, program=program, environment=environment)
    assert outcome.returncode == status
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


C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.slow
@pytest.mark.parametrize("environment", [C_LOCALE, {"PYTHONIOENCODING": "latin-1"}], ids=str)
def test_the_encoding_is_that_of_the_locale(environment: dict[str, str]) -> None:
    """The C locale's is ASCII: there and in Latin-1 what is not to be had has a stand-in."""
    named = json.dumps({"logits": [2, 1, "-Infinity"], "labels": ["é", "日本語", "|"], "target": 0})
    outcome = run("grad", "--check", stdin=named.encode(), environment=environment)
    assert (outcome.returncode, outcome.stderr) == (0, b"")
    assert b"> " in outcome.stdout
    outcome = run("grad", "--json", stdin=named.encode(), environment=environment)
    assert outcome.stdout.isascii()
    assert json.loads(outcome.stdout)["labels"][0] == "é"
    assert_complains(run(b"softmax", b"\xff", environment=environment))
    assert_complains(run(b"softmax", b"\xff.npy", environment=environment))


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["explain", "-h"], 0),
        (["explain", "1", "2", "-t0", "--json"], 0),
        (["explain", "1", "-t0"], 0),
        (["compare", "2", "1", "0.1", "-t", "0", "--grad", "0,0,0", "--json"], 1),
    ],
)
def test_only_what_is_used_is_imported(arguments: list[str], status: int) -> None:
    modules = imported(*arguments, status=status)
    assert ("numpy" in modules) == ("-h" not in arguments)
    assert ("rich" in modules) == (arguments[1:] == ["1", "-t0"])


def test_the_start_does_not_search_for_garbage() -> None:
    code = (
        "import gc, sys; from cecli.__main__ import main\n"
        "searches = []; gc.callbacks.append(lambda *told: searches.append(told))\n"
        "try: main()\n"
        "finally: print(len(searches), len(gc.get_objects()), file=sys.stderr)"
    )
    outcome = run(*GRAD, "--json", program=[sys.executable, "-c", code])
    searches, left = map(int, outcome.stderr.split())
    assert searches == 0
    assert left < 1000  # for the search when the interpreter ends


def test_reading_imports_little() -> None:
    code = (
        "import sys, numpy; before = set(sys.modules); import cecli.input.arguments; "
        "new = set(sys.modules) - before; "
        "print(*sorted({'click', 'difflib', 'json', 'pathlib', 'rich'} & new))"
    )
    assert run(program=[sys.executable, "-c", code]).stdout == b"\n"


def test_completion_offers_the_options() -> None:
    outcome = run(environment=COMPLETION)
    assert (outcome.returncode, outcome.stderr) == (0, b"")
    assert "plain,--check" in outcome.stdout.decode().splitlines()
