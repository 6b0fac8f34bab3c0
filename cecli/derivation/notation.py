"""Formulas, written once and shown as Unicode, in colour, or as LaTeX.

The notation is what one would type: `ŷ_i = ⟨a_i⟩/⟨S⟩` and `a_i = e^(d_i)`. A subscript follows `_`,
an exponent in parentheses (or a 2) follows `^`, ⟨…⟩/⟨…⟩ is a fraction, ∂…/∂… a derivative, and
⟦p:0.66⟧ a number that stands for a quantity, here a probability. In prose, formulas stand
between dollar signs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# What a symbol is the symbol of; the numbers that are put in for it are tagged with the same.
QUANTITIES = {
    "z": "logit",
    "e": "exponential",
    "S": "sum",
    "p": "probability",
    "y": "target",
    "L": "loss",
    "s": "slope of the loss",
    "j": "slope of the softmax",
    "g": "gradient",
}

_SUBSCRIPTS = str.maketrans("0123456789aijknt", "₀₁₂₃₄₅₆₇₈₉ₐᵢⱼₖₙₜ")
_FRACTION = re.compile(r"⟨([^⟨⟩]*)⟩/⟨([^⟨⟩]*)⟩")
_DERIVATIVE = re.compile(r"∂(\w+)/∂(\w+)")
_TAG = re.compile(r"⟦(\w):([^⟦⟧]*)⟧")
_COLOURED = re.compile(
    r"⟦(?P<tag>\w):(?P<number>[^⟦⟧]*)⟧|(?P<s>∂L/∂ŷ_\w+)|(?P<j>∂ŷ_\w+/∂\w+)|(?P<g>∂[LM]/∂\w+)"
    r"|(?P<p>ŷ_\w+|ŷ)|(?P<z>\b[zuvd]_\w+′?)|(?P<e>\ba_\w+)|(?P<y>\by_\w+|\by\b)"
    r"|(?P<S>\bS\b)|(?P<L>\b[LM]\b)"
)
_EXPONENT = re.compile(r"(\d)e([+−-]?)0*(\d+)")
_LATEX = {
    "ŷ": r"\hat y",
    "∂": r"\partial ",
    "Σ": r"\sum",
    "δ": r"\delta",
    "ε": r"\varepsilon",
    "η": r"\eta",
    "λ": r"\lambda",
    "−": "-",
    "·": r"\cdot ",
    "×": r"\times ",
    "≠": r"\ne ",
    "≈": r"\approx ",
    "…": r"\dots ",
    "′": "'",
    "²": "^2",
}
_WORDS = re.compile(r"(?<![\\\w])(log|tanh|inf|lse|NaN)(?![a-z])")
_LATEX_WORDS = {
    "log": r"\log ",
    "tanh": r"\tanh ",
    "inf": r"\infty ",
    "lse": r"\mathrm{lse}",
    "NaN": r"\mathrm{NaN}",
}


class Span(NamedTuple):
    """Some text, and the key in QUANTITIES of what it stands for."""

    text: str
    symbol: str | None = None


def tag(quantity: str, number: str) -> str:
    """A number in the notation, as the quantity that it is of, with the minus of mathematics."""
    return f"⟦{quantity}:{number.replace('-', '−')}⟧"


def over(numerator: str, denominator: str) -> str:
    """A fraction in the notation."""
    return f"⟨{numerator}⟩/⟨{denominator}⟩"


def spans(formula: str) -> Iterator[Span]:
    """A formula as Unicode text, cut where the quantity changes."""
    linear = _FRACTION.sub(_on_one_line, formula)
    end = 0
    for match in _COLOURED.finditer(linear):
        if match.start() > end:
            yield Span(_unicode(linear[end : match.start()]))
        if match["tag"]:
            yield Span(match["number"], match["tag"])
        else:
            yield Span(_unicode(match[0]), match.lastgroup)
        end = match.end()
    if end < len(linear):
        yield Span(_unicode(linear[end:]))


def plain(formula: str) -> str:
    """A formula as Unicode text."""
    return "".join(span.text for span in spans(formula))


def plain_prose(text: str) -> str:
    """Prose as Unicode text, its formulas too."""
    return "".join(plain(part) if is_formula else part for part, is_formula in split_prose(text))


def split_prose(text: str) -> Iterator[tuple[str, bool]]:
    """Prose and the formulas in it, in turn: each with whether it is a formula."""
    for place, part in enumerate(text.split("$")):
        if part:
            yield part, bool(place % 2)


def latex(formula: str) -> str:
    r"""A formula as LaTeX, for math mode.

    No backslash stands before punctuation and no _ after it: Markdown would take them for its own.
    """
    formula = _FRACTION.sub(r"\\frac{\1}{\2}", formula)
    formula = _DERIVATIVE.sub(r"\\frac{∂\1}{∂\2}", formula)
    formula = _TAG.sub(lambda match: match[2], formula)
    formula = _EXPONENT.sub(_power_of_ten, formula)
    formula = re.sub(r"\^\(([^()]*)\)", r"^{\1}", formula)
    formula = re.sub(r"_(\w\w+)", r"_{\1}", formula)
    formula = re.sub(r":\s+", r"{:}\\quad ", formula)
    formula = _WORDS.sub(lambda match: _LATEX_WORDS[match[1]], formula)
    for character, command in _LATEX.items():
        formula = formula.replace(character, command)
    return re.sub(r"  +", " ", formula).strip()


def _on_one_line(fraction: re.Match[str]) -> str:
    above, below = (f"({part})" if re.search(r"[ ·]", part) else part for part in fraction.groups())
    line, whole = f"{above} / {below}", fraction.string
    in_product = whole[: fraction.start()].endswith(" · ") or whole[fraction.end() :][:3] == " · "
    return f"({line})" if in_product else line


def _unicode(text: str) -> str:
    text = re.sub(r"_(\w+)", lambda match: match[1].translate(_SUBSCRIPTS), text)
    return text.replace("^2", "²")


def _power_of_ten(number: re.Match[str]) -> str:
    sign = "-" if number[2] in ("−", "-") else ""
    return rf"{number[1]} \times 10^{{{sign}{number[3]}}}"
