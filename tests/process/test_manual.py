"""The manual says what the program does, and the shells complete what it takes."""

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import click
import pytest

from cecli.cli.main import main
from support import manual
from support.in_process import COMMANDS, shown
from support.paths import MANUAL, PACKAGE, TOP

COMPLETIONS = MANUAL / "completions"
PAGES = sorted(MANUAL.glob("*.[1-9]"))
PROGRAMS = {"cecli": main} | {f"cecli-{name}": command for name, command in COMMANDS.items()}
MANDOC = shutil.which("mandoc")


def options_described(page: Path) -> set[str]:
    """The options that have an entry of their own under OPTIONS, as a reader sees them."""
    if MANDOC:
        shown = subprocess.run(
            [MANDOC, "-T", "utf8", page], capture_output=True, text=True, check=True
        ).stdout
        text, entry = re.sub(".\b", "", shown), r"^ {5}(-.*)$"
    else:
        text, entry = page.read_text().replace("\\-", "-").replace("Fl ", "-"), r"^\.It (-.*)$"
        text = text.replace(".Sh ", "")
    section = text.partition("\nOPTIONS\n")[2].partition("\nEXIT STATUS\n")[0]
    entries = re.findall(entry, section, re.MULTILINE)
    return {word for entry in entries for word in re.split("[ ,]+", entry) if word.startswith("-")}


def options_taken(command: click.Command) -> set[str]:
    context = click.Context(command, parent=click.Context(main, **main.context_settings))
    options = [p for p in command.get_params(context) if isinstance(p, click.Option)]
    return {name for option in options for name in (*option.opts, *option.secondary_opts)}


@pytest.mark.parametrize("name", PROGRAMS)
def test_page_describes_the_options_of_its_command(name: str) -> None:
    assert options_described(MANUAL / f"{name}.1") == options_taken(PROGRAMS[name])


@pytest.mark.parametrize("name", COMMANDS)
def test_entry_page_names_every_command(name: str) -> None:
    source = (MANUAL / "cecli.1").read_text()
    assert f".It Cm {name}\n" in source
    assert f".Xr cecli-{name} 1" in source


def schema_keys(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from schema.get("properties", ())
        for inner in schema.values():
            yield from schema_keys(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from schema_keys(inner)


def test_page_of_the_format_describes_every_key() -> None:
    schema = json.loads(files("cecli").joinpath("cecli.schema.json").read_text())
    source = (MANUAL / "cecli-json.5").read_text()
    assert set(re.findall(r"^\.It Va (\w+)$", source, re.MULTILINE)) == set(schema_keys(schema))


@pytest.mark.skipif(not MANDOC, reason="mandoc is not installed")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_is_free_of_lint(page: Path) -> None:
    lint = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True
    )
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, "")


# Each prints what the shell would offer for the command line that is its first argument. What only
# works while somebody presses Tab is replaced by what it comes to.
SHELLS = {
    "bash": f"""
        source "{COMPLETIONS}/cecli.bash"
        compopt() {{ mapfile -t COMPREPLY < <(compgen -f -- "${{COMP_WORDS[COMP_CWORD]}}"); }}
        COMP_LINE=$1 COMP_POINT=${{#1}}
        read -ra COMP_WORDS <<<"${{1//=/ = }}"
        [[ $1 == *" " ]] && COMP_WORDS+=("")
        COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _cecli "${{COMP_WORDS[0]}}"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """,
    "zsh": f"""
        fpath=("{COMPLETIONS}")
        autoload -U _cecli
        compset() {{ PREFIX=${{PREFIX#*=}} }}
        _files() {{ print -rl -- $PREFIX*(N) }}
        _describe() {{ print -rl -- ${{${{(P)2}}%%:*}} }}
        words=("${{(@s: :)1}}") CURRENT=$#words PREFIX=$words[-1]
        _cecli
    """,
    "fish": f"""
        source "{COMPLETIONS}/cecli.fish"
        complete --do-complete $argv[1]
    """,
}


COMPLETED = [
    ("cecli gr", {"grad"}),
    ("cecli grad --che", {"--check", "--check-method"}),
    ("cecli grad 2.0 -1.5 -t 0 --che", {"--check", "--check-method"}),
    ("cecli loss --reduction ", {"mean", "sum", "none"}),
    ("cecli loss --reduction=s", {"sum"}),
    ("cecli loss log", {"logits of mine.npy"}),
    ("cecli verify --strict ", {"accurate", "acceptable"}),
    ("cecli verify --timeout 3 -- lab", {"labels.npy"}),
    ("cecli loss logits.npy --target lab", {"labels.npy"}),
    ("cecli loss logits.npy --cluster loc", {"local"}),
    ("cecli loss logits.npy --cluster lab", {"labels.npy"}),
]


@pytest.mark.parametrize("shell", SHELLS)
def test_shell_completes(shell: str, tmp_path: Path) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    program = tmp_path / "bin" / "cecli"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cecli "$@"\n')
    program.chmod(0o755)
    for name in ("logits of mine.npy", "labels.npy"):
        (tmp_path / name).touch()
    environment = os.environ | {
        "HOME": str(tmp_path / "bin"),
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(PACKAGE),
    }
    for line, expected in COMPLETED:
        assert offered(shell, line, environment, tmp_path) == expected, line


def offered(shell: str, line: str, environment: dict[str, str], folder: Path) -> set[str]:
    """What a shell offers for a line."""
    # Only fish takes the first argument after the script as its own first.
    arguments = [line] if shell == "fish" else [shell, line]
    printed = subprocess.run(
        [shell, "-c", SHELLS[shell], *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # Fish puts the help behind a tab, and takes --name=value as one word.
    return {word.partition("\t")[0].rpartition("=")[2] for word in printed.splitlines()}


# --- What is made of it --------------------------------------------------------------------------


@pytest.mark.skipif(MANDOC is None, reason="needs mandoc")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_markdown_of_a_page_is_that_of_its_source(page: Path) -> None:
    made = (MANUAL / f"{page.name}.md").read_text(encoding="utf-8")
    assert made == manual.in_markdown(page), "python tests/support/manual.py writes it"


def test_no_page_in_markdown_is_without_its_source() -> None:
    assert {path.stem for path in MANUAL.glob("*.md")} == {page.name for page in PAGES}


@pytest.mark.parametrize("name", manual.PICTURES)
def test_a_picture_is_what_the_program_draws(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = (MANUAL / name).read_text(encoding="utf-8")
    monkeypatch.setenv("COLUMNS", "80")
    shown(*manual.PICTURES[name], "-o", str(tmp_path / name))
    drawn = (tmp_path / name).read_text(encoding="utf-8")
    assert content(made) == content(drawn), "python tests/support/manual.py writes it"


def content(picture: str) -> tuple[list[str], list[dict[str, str]]]:
    """Its words and shapes; how text is cut into pieces is the affair of rich's version."""
    root = ET.fromstring(picture)
    shapes = [dict(rect.attrib) for rect in root.iter("{http://www.w3.org/2000/svg}rect")]
    return " ".join(root.itertext()).split(), shapes


@pytest.mark.parametrize("path", [TOP / "README.md", *sorted(MANUAL.glob("*.md"))], ids=str)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = re.findall(r'\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)"', text)
    for link in (first or second for first, second in links):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        assert (path.parent / target).is_file(), link
        headings = re.findall(r"^#+ (.*)$", (path.parent / target).read_text(), re.MULTILINE)
        assert not anchor or anchor in {heading.lower().replace(" ", "-") for heading in headings}


def test_the_readme_is_read_in_two_minutes() -> None:
    text = (TOP / "README.md").read_text(encoding="utf-8")
    assert len(text) < 15_000
    assert len(re.findall(r"^## ", text, re.MULTILINE)) >= 10
    for page in PAGES:
        assert f"(man/{page.name}.md)" in text
