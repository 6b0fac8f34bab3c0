"""The few pieces of HTML that results show themselves with, in a page or a notebook.

No script, no picture from elsewhere, no name of a font that would have to be fetched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from html import escape
from typing import Literal, NamedTuple

from cecli.text.numbers import format_number

Align = Literal["text", "number", "bar"]


class PageColumn(NamedTuple):
    """A column of a table; the cells of bars are HTML already."""

    header: str
    kind: Align
    cells: Sequence[str]


# The colour of each quantity as the terminal's, dark enough on white and light enough on black.
LIGHT = {
    "z": "#7d5a00",
    "e": "#a0209a",
    "S": "#c0126f",
    "p": "#00677f",
    "y": "#2353c4",
    "L": "#c01028",
    "s": "#943015",
    "j": "#4a3fb5",
    "g": "#166b28",
    "ink": "#1c1e21",
    "dim": "#5c6370",
    "rule": "#d5d9df",
    "ground": "#ffffff",
    "bar": "#2aa1b3",
    "up": "#26a269",
    "down": "#d2453c",
}
DARK = {
    "z": "#e6c65c",
    "e": "#e29ae2",
    "S": "#ff9cd6",
    "p": "#62d4e9",
    "y": "#93b6ff",
    "L": "#ff8585",
    "s": "#eaa48f",
    "j": "#b0aeff",
    "g": "#78d98b",
    "ink": "#e4e6eb",
    "dim": "#a0a7b4",
    "rule": "#3a3f4a",
    "ground": "#16181d",
    "bar": "#33c7de",
    "up": "#57d98f",
    "down": "#f0736b",
}
_RULES = """\
.cecli { color: var(--ink); line-height: 1.5; text-align: left; overflow-wrap: break-word;
  container-type: inline-size; }
.cecli table { border-collapse: collapse; margin: .6em 0; font-size: inherit; max-width: 100%; }
.cecli td, .cecli th { padding: .15em .9em .15em 0; text-align: left; border: 0;
  background: none; vertical-align: baseline; }
.cecli .listed th { border-bottom: 1px solid var(--rule); font-weight: 600; }
.cecli .listed .number { text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
.cecli .listed .text { overflow-wrap: anywhere; }
.cecli .stressed td { font-weight: 700; }
.cecli .bar { min-width: 3em; width: 9em; vertical-align: middle; }
.cecli svg { display: block; width: 100%; height: .8em; }
.cecli .name { display: none; font-weight: 400; }
@container (max-width: 34em) {
  .cecli .listed, .cecli .listed tbody { display: block; }
  .cecli .listed th { display: none; }
  .cecli .listed tr { display: grid; grid-template-columns: minmax(0, max-content) minmax(3em, 1fr);
    align-items: center; padding: .3em 0; border-bottom: 1px solid var(--rule); }
  .cecli .listed tr:first-child { display: none; }
  .cecli .listed .number { text-align: left; grid-column: 1; }
  .cecli .listed .number:nth-child(2), .cecli .listed .bar { grid-column: 2; }
  .cecli .listed .name { display: inline; }
  .cecli .listed .bar { width: auto; }
}
.cecli p { margin: .5em 0; }
.cecli .dim { color: var(--dim); }
.cecli .up, .cecli .passed { color: var(--g); font-weight: 600; }
.cecli .down, .cecli .failed { color: var(--L); font-weight: 600; }
"""


def escaped(text: str) -> str:
    """Text that is no markup."""
    return escape(text, quote=True)


def style(scope: Literal["page", "notebook"], *rules: str) -> str:
    """The style sheet: a page follows the reader's system, a part of a notebook the notebook."""
    light, dark = _variables(LIGHT), _variables(DARK)
    if scope == "page":
        colours = (
            f":root {{ color-scheme: light dark; {light} }}\n"
            f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
            f"@media print {{ :root {{ color-scheme: light; {light} }} }}\n"
        )
    else:
        where = '[data-jp-theme-light="false"] .cecli, .vscode-dark .cecli, [theme="dark"] .cecli'
        colours = f".cecli {{ {light} }}\n{where} {{ {dark} }}\n"
    letters = "".join(
        f".cecli .{name} {{ color: var(--{name}) }}\n" for name in LIGHT if len(name) == 1
    )
    return f"<style>\n{colours}{_RULES}{letters}{''.join(rules)}</style>\n"


def _variables(colours: dict[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


def notebook(*pieces: str) -> str:
    """Pieces of HTML as a result shows them in a notebook."""
    return f'{style("notebook")}<div class="cecli">\n{"".join(pieces)}</div>'


def paragraph(text: str, kind: Literal["", "dim", "passed", "failed"] = "") -> str:
    """A line of text, in the colour of its kind."""
    return f'<p class="{kind}">{escaped(text)}</p>\n' if kind else f"<p>{escaped(text)}</p>\n"


def numbers(header: str, values: Iterable[float], digits: int = 6) -> PageColumn:
    """A column of numbers."""
    return PageColumn(header, "number", [format_number(float(value), digits) for value in values])


def listed(columns: Sequence[PageColumn], stressed: Collection[int] = frozenset()) -> str:
    """A table of columns of text and numbers, whose headers are HTML already; and bars."""
    headers: list[tuple[str, Align]] = [(c.header, c.kind) for c in columns]
    cells = [c.cells if c.kind == "bar" else list(map(escaped, c.cells)) for c in columns]
    return table(headers, list(zip(*cells, strict=True)), stressed)


def table(
    headers: Sequence[tuple[str, Align]],
    rows: Sequence[Sequence[str]],
    stressed: Collection[int] = frozenset(),
) -> str:
    """A table; headers and cells are HTML already."""
    head = "".join(f'<th class="{kind}">{header}</th>' for header, kind in headers)
    lines = []
    for place, row in enumerate(rows):
        named = zip(headers, row, strict=True)
        cells = "".join(
            f'<td class="{kind}"><span class="name">{header} </span>{cell}</td>'
            if kind != "bar"
            else f'<td class="{kind}">{cell}</td>'
            for (header, kind), cell in named
        )
        mark = ' class="stressed"' if place in stressed else ""
        lines.append(f"<tr{mark}>{cells}</tr>\n")
    return f'<table class="listed">\n<tr>{head}</tr>\n{"".join(lines)}</table>\n'


def bar(share: float) -> str:
    """A bar from 0 to 1; any share above zero is seen."""
    width = max(0.5, min(share, 1.0) * 100) if share > 0.0 else 0.0
    return _svg(f'<rect width="{width:.4g}" height="10" fill="var(--bar)"/>', f"{share:.3g}")


def signed_bar(share: float) -> str:
    """A bar from the middle: to the left where a step raises the logit, to the right where not."""
    width = max(0.5, min(abs(share), 1.0) * 50) if share else 0.0
    start, colour = (50 - width, "up") if share < 0 else (50, "down")
    middle = '<rect x="49.8" width=".4" height="10" fill="var(--dim)"/>'
    drawn = f'<rect x="{start:.4g}" width="{width:.4g}" height="10" fill="var(--{colour})"/>'
    return _svg(drawn + middle, f"{share:.3g}")


def _svg(drawn: str, said: str) -> str:
    return (
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" role="img" '
        f'aria-label="{escaped(said)}">{drawn}</svg>'
    )
