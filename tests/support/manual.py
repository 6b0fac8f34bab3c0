"""The manual's pages in Markdown and the README's pictures, made of what they show.

    python tests/support/manual.py

writes them anew, below man/; a test holds what is there against this.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[2]
MANUAL = TOP / "man"
MANDOC = shutil.which("mandoc")

# Markdown of mandoc has ASCII alone where text is literal: there, letters go through in its place.
_SIGNS = {
    r"\(pd": "∂",
    r"\(mi": "−",
    r"\(*S": "Σ",
    r"\(S2": "²",
    r"\(~~": "≈",
    r"\(<=": "≤",
    r"\(if": "∞",
    r"\(pc": "·",
    r"\(mu": "×",
    r"\[u0177]": "ŷ",
}
_PAGE = re.compile(r"\b(cecli(?:-\w+)?)\((\d)\)")
_SAMPLE = ["2.0", "1.0", "0.1", "--target", "0"]
PICTURES = {
    f"{name}-{theme}.svg": [name, *_SAMPLE, *more, "--theme", theme]
    for name, more in (("grad", ["--check"]), ("explain", ["--steps", "5-7"]))
    for theme in ("light", "dark")
}


def pages() -> list[Path]:
    """The sources of the manual."""
    return sorted(MANUAL.glob("*.[1-9]"))


def in_markdown(page: Path) -> str:
    """A page of the manual as GitHub shows it, with links to the other pages."""
    source = page.read_text(encoding="utf-8")
    words = {escape: f"Q{number:02}Q" for number, escape in enumerate(_SIGNS)}
    for escape, word in words.items():
        source = source.replace(escape, word)
    command = [str(MANDOC), "-T", "markdown", "-I", "os=cecli"]
    run = subprocess.run(command, input=source, capture_output=True, encoding="utf-8", check=True)
    text = run.stdout
    for escape, word in words.items():
        text = text.replace(word, _SIGNS[escape])
    lines = [line if line.startswith("\t") else _linked(line) for line in text.splitlines()[1:]]
    return "\n".join(lines).strip() + "\n"


def _linked(line: str) -> str:
    return _PAGE.sub(
        lambda m: f"[{m[0]}]({m[1]}.{m[2]}.md)" if (MANUAL / f"{m[1]}.{m[2]}").exists() else m[0],
        line,
    )


def picture(name: str, path: Path) -> str:
    """A picture as the program makes it, 80 characters wide."""
    environment = {
        **os.environ,
        "COLUMNS": "80",
        "PYTHONPATH": os.pathsep.join([str(TOP), *sys.path]),
    }
    command = [sys.executable, "-m", "cecli", *PICTURES[name], "-o", str(path)]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return path.read_text(encoding="utf-8")


def main() -> None:
    for page in pages():
        (MANUAL / f"{page.name}.md").write_text(in_markdown(page), encoding="utf-8")
    for name in PICTURES:
        picture(name, MANUAL / name)


if __name__ == "__main__":
    main()
