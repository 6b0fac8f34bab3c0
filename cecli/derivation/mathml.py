"""Formulas in the notation as MathML, which browsers draw by themselves.

A browser does not break a formula, so that a long one is several `<math>` with a place to break
before each operator that stands outside of parentheses. Every quantity has its class, as in
`QUANTITIES`, for its colour.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from cecli.derivation.notation import plain
from cecli.text.html import escaped
from cecli.text.numbers import align

_TOKEN = re.compile(
    r"⟦(?P<quantity>\w):(?P<tagged>[^⟦⟧]*)⟧|(?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
    r"|(?P<word>log|tanh|lse|inf|NaN)(?![a-zA-Z])|(?P<letter>[^\W\d_])"
    r"|(?P<break>(?<= )[=≈+−×·](?= ))|(?P<other>[^\s])"
)
_NUMBER = re.compile(r"(−?)(inf|NaN|[\d.]+)(?:e([+−-])0*(\d+))?")
_SIGN = re.compile(r" (?=[=≈] )")
_CASE = re.compile(r"([^:]+): (.+)")
_RAISED = {"²": "<mn>2</mn>", "′": "<mo>′</mo>"}
_MINUS, _THIN = '<mo form="prefix">−</mo>', '<mspace width="0.17em"/>'
# What stands in parentheses is broken where it is longer.
LONGEST = 24
# An equation of more characters does not stand in columns with shorter ones.
WIDEST = 56
# What a letter alone, or with its subscript, is the symbol of.
_LETTERS = {
    "ŷ": "p",
    "a": "e",
    "S": "S",
    "L": "L",
    "M": "L",
    "y": "y",
    **dict.fromkeys("zuvd", "z"),
}
_NEED_SUBSCRIPT = frozenset("zuvda")
_WORDS = {"inf": "<mi>∞</mi>", "NaN": "<mtext>NaN</mtext>"}


def math(formula: str, *, display: bool = False) -> str:
    """A formula as one or more `<math>`, with places to break between them.

    display: its fractions are as large as the rest.
    """
    style = ' displaystyle="true"' if display else ""
    match = _CASE.fullmatch(formula)
    case = ""
    if match:
        case = f'<span class="case"><math>{_row(match[1])}</math>:</span> '
        formula = match[2]
    return case + "<wbr>".join(f"<math{style}>{part}</math>" for part in _Parser(formula).parts())


def equations(lines: Sequence[str]) -> str:
    """Equations below each other, in a table for each run of them that are alike."""
    groups = groupby(lines, key=lambda line: (len(_SIGN.findall(line)), len(plain(line)) > WIDEST))
    return "".join(_table(list(group)) for _, group in groups)


def matrix(rows: Sequence[Sequence[str]]) -> str:
    """A matrix in brackets, as small as it must be to fit."""
    columns = [_aligned(column) for column in zip(*rows, strict=True)]
    cells = zip(*columns, strict=True)
    drawn = "".join(f"<mtr>{''.join(f'<mtd>{c}</mtd>' for c in row)}</mtr>" for row in cells)
    width = sum(max(len(plain(c)) for c in column) + 2 for column in zip(*rows, strict=True)) + 3
    table = f"<mo>(</mo><mtable>{drawn}</mtable><mo>)</mo>"
    return f'<div class="matrix" style="--w:{width}"><math display="block">{table}</math></div>'


def _table(lines: Sequence[str]) -> str:
    columns = [list(column) for column in zip(*map(_SIGN.split, lines), strict=True)]
    cells = [[math(source, display=True) for source in column] for column in columns]
    if len(columns) > 1 and all(source[2:].startswith("⟦") for source in columns[-1]):
        results = _aligned([source[2:] for source in columns[-1]])
        signs = [source[0] for source in columns[-1]]
        cells[-1] = [
            f'<math><mo form="infix">{sign}</mo>{result}</math>'
            for sign, result in zip(signs, results, strict=True)
        ]
    rows = "".join(
        f"<tr>{''.join(f'<td>{cell}</td> ' for cell in row)}</tr>\n"
        for row in zip(*cells, strict=True)
    )
    return f'<div class="scroll"><table class="equations">\n{rows}</table></div>\n'


def _aligned(column: Sequence[str]) -> list[str]:
    """Numbers with room before them, so that their points stand one below the other."""
    texts = [plain(source) for source in column]
    padded = align(texts)
    before = [len(text) - len(text.lstrip()) for text in padded]
    longest = texts[before.index(0)]
    drawn = []
    for source, room in zip(column, before, strict=True):
        phantom = f"<mphantom>{_signed(longest[:room])}</mphantom>" if room else ""
        drawn.append(f"<mrow>{phantom}{_row(source)}</mrow>")
    return drawn


def _row(formula: str) -> str:
    """A formula that is not to be broken, to stand inside of `<math>`."""
    return "".join(_Parser(formula).parts())


def _signed(digits: str) -> str:
    sign, digits = (_MINUS, digits[1:]) if digits.startswith("−") else ("", digits)
    return sign + (f"<mn>{digits}</mn>" if digits else "")


class _Parser:
    """Reads a formula from left to right."""

    def __init__(self, formula: str) -> None:
        self._starts, self._place = list(_TOKEN.finditer(formula)), 0
        self._is_coloured, self._inside = True, False

    def parts(self) -> list[str]:
        """The formula, cut before the operators that it may be broken at."""
        parts, row = [], ""
        while self._here is not None:
            if self._here["break"] and row:
                parts.append(f"<mrow>{row}</mrow>")
                row = ""
            row += self._next()
        return [*parts, f"<mrow>{row}</mrow>"] if row else parts

    @property
    def _here(self) -> re.Match[str] | None:
        return self._starts[self._place] if self._place < len(self._starts) else None

    def _is(self, text: str) -> bool:
        return self._here is not None and self._here[0] == text

    def _next(self) -> str:
        """An atom with its subscript and exponent, or an operator."""
        token = self._starts[self._place]
        self._place += 1
        if token["break"]:
            return f'<mo form="infix">{token[0]}</mo>'
        if token[0] == "∂":
            return self._derivative()
        if token[0] == "⟨":
            above = self._until("⟩")
            self._place += 2  # the slash and the bracket that opens what is below
            return f"<mfrac><mrow>{above}</mrow><mrow>{self._until('⟩')}</mrow></mfrac>"
        if token[0] == "(" and not self._is_long():
            inner = self._until(")")
            stretchy = "" if "<mfrac>" in inner else ' stretchy="false"'
            row = f"<mrow><mo{stretchy}>(</mo>{inner}<mo{stretchy}>)</mo></mrow>"
            return self._with_scripts(row, token[0])
        if token["tagged"] is not None:
            number = _number(token["tagged"], token["quantity"])
            return self._with_scripts(number, token[0])
        if token["number"]:
            return self._with_scripts(_number(token["number"], ""), token[0])
        if token["word"]:
            word = self._with_scripts(_WORDS.get(token[0], f"<mi>{token[0]}</mi>"), token[0])
            return word + (_THIN if token[0] in ("log", "tanh") and not self._is("(") else "")
        if token["letter"] or token[0] == "Σ":
            return self._with_scripts(_letter(token[0]), token[0])
        form = ' form="prefix"' if token[0] in "−+" else ' stretchy="false"'
        return f"<mo{form}>{escaped(token[0])}</mo>"

    def _is_long(self) -> bool:
        """Whether what stands in parentheses, the first of which is read, must be broken."""
        depth = size = 0
        for token in self._starts[self._place :]:
            depth += {"(": 1, ")": -1}.get(token[0], 0)
            if depth < 0:
                break
            size += len(token["tagged"] or token[0])
        return size > LONGEST and not self._inside

    def _until(self, closing: str) -> str:
        row, before, self._inside = "", self._inside, True
        while self._here is not None and not self._is(closing):
            row += self._next()
        self._place += 1
        self._inside = before
        return row

    def _derivative(self) -> str:
        """∂…/∂…, of which the first ∂ is read."""
        self._is_coloured = False
        above = self._starts[self._place][0]
        top = self._next()
        self._place += 2  # the slash and the other ∂
        below = self._starts[self._place][0]
        bottom = self._next()
        self._is_coloured = True
        quantity = "j" if above == "ŷ" else "s" if below == "ŷ" else "g"
        fraction = f"<mrow><mi>∂</mi>{top}</mrow><mrow><mi>∂</mi>{bottom}</mrow>"
        return f'<mrow class="{quantity}"><mfrac>{fraction}</mfrac></mrow>'

    def _with_scripts(self, base: str, source: str) -> str:
        below = above = ""
        if self._is("_"):
            self._place += 1
            below = self._subscript()
        if self._here is not None and self._here[0] in _RAISED:
            above = _RAISED[self._here[0]]
            self._place += 1
        elif self._is("^"):
            self._place += 1
            if self._is("("):
                self._place += 1
                above = f"<mrow>{self._until(')')}</mrow>"
            else:
                above = self._next()
        drawn = _scripted(base, below, above)
        quantity = _LETTERS.get(source)
        if self._is_coloured and quantity and (below or source not in _NEED_SUBSCRIPT):
            return f'<mrow class="{quantity}">{drawn}</mrow>'
        return drawn

    def _subscript(self) -> str:
        """All letters and digits that follow without a space."""
        row, end = "", self._starts[self._place].start()
        while self._here is not None and self._here.start() == end:
            token = self._here
            if not (token["letter"] or token["number"]):
                break
            row += f"<mn>{token[0]}</mn>" if token["number"] else f"<mi>{token[0]}</mi>"
            end = token.end()
            self._place += 1
        return f"<mrow>{row}</mrow>"


def _scripted(base: str, below: str, above: str) -> str:
    if below and above:
        return f"<msubsup>{base}{below}{above}</msubsup>"
    if below:
        return f"<msub>{base}{below}</msub>"
    return f"<msup>{base}{above}</msup>" if above else base


def _letter(letter: str) -> str:
    if letter == "ŷ":
        return '<mover accent="true"><mi>y</mi><mo stretchy="false">^</mo></mover>'
    if letter == "Σ":
        return '<mo largeop="false">∑</mo>'
    return f"<mi>{escaped(letter)}</mi>"


def _number(text: str, quantity: str) -> str:
    """A number, its power of ten written out."""
    style = f' class="{quantity}"' if quantity else ""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return f"<mn{style}>{escaped(text)}</mn>"
    sign = _MINUS if match[1] else ""
    digits = _WORDS.get(match[2], f"<mn>{match[2]}</mn>")
    power = ""
    if match[4]:
        exponent = (_MINUS if match[3] in ("−", "-") else "") + f"<mn>{match[4]}</mn>"
        power = f"<mo>×</mo><msup><mn>10</mn><mrow>{exponent}</mrow></msup>"
    return f"<mrow{style}>{sign}{digits}{power}</mrow>"
