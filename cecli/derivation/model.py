"""The derivation of one sample's gradient, step by step, as data: nothing here is printed.

A step is a formula, the same with the sample's numbers in it, and the result. Formulas are written
as in `notation`; every number comes from `numbers`, which also writes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cecli.derivation.notation import over, plain_prose
from cecli.derivation.numbers import ZERO, Pencil, Quantity
from cecli.errors import CecliError
from cecli.exact.row import DecimalRow
from cecli.problem.problem import Problem
from cecli.text.numbers import format_typed

if TYPE_CHECKING:
    from cecli.gradcheck.check import GradientCheck

MOST_CLASSES = 8
# From here on 1 − ŷ_t is not to be had by subtracting: more than four digits of it are lost.
SATURATED = Decimal("1e-4")
_RANGE = re.compile(r"(\d{1,9})(-\d{0,9})?")
# Below this the inverse of a probability, or its square, leaves the exponents that Decimal has.
VANISHING = Decimal("1e-400_000_000_000_000_000")


@dataclass(frozen=True)
class Step:
    """One step of a derivation.

    id: its name for programs. text: paragraphs before the formulas, remark: paragraphs after the
    numbers; both are prose with formulas between dollar signs. formula: lines in the notation;
    substitution: lines with the numbers. matrix: rows of numbers in the notation. values: the
    results, plain numbers or lists of them, one for each class. number: its place in the
    derivation, from 1.
    """

    id: str
    title: str
    text: tuple[str, ...] = ()
    formula: tuple[str, ...] = ()
    substitution: tuple[str, ...] = ()
    matrix: tuple[tuple[str, ...], ...] = ()
    remark: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0


@dataclass(frozen=True)
class ClassResult:
    """A class: its name, its logit as typed, its share of the target, ŷ and ∂L/∂z.

    texts: the last two in the notation, with the digits asked for.
    """

    name: str
    logit: str
    target: float
    probability: float
    grad: float
    texts: tuple[str, str]


@dataclass(frozen=True, repr=False)
class Derivation:
    """What `explain` returns: the derivation of a sample's gradient, which prints as text.

    premises: what it starts from, in prose with formulas. steps: each with its title, formulas and
    values. sample: its number in a batch. results: of the classes that are worked out, before the
    batch divides; more: how many others there are. true_class: its place among the results, where
    there is one. loss: as a text.
    """

    premises: tuple[str, ...]
    steps: tuple[Step, ...]
    sample: int | None
    results: tuple[ClassResult, ...] = ()
    more: int = 0
    true_class: int | None = None
    loss: str = ""

    def only(self, chosen: str) -> Derivation:
        """The steps that 5-7 or 1,4- picks by their numbers; CecliError for others."""
        last = len(self.steps)
        numbers: set[int] = set()
        for part in chosen.split(","):
            match = _RANGE.fullmatch(part.strip())
            if match is None:
                raise CecliError(f"--steps {chosen} is no list of steps: 3, 5-7 or 1,4- are")
            first = int(match[1])
            until = first if match[2] is None else int(match[2][1:] or last)
            if not 1 <= first <= until <= last:
                raise CecliError(f"--steps {chosen}: the steps are 1 to {last}")
            numbers |= set(range(first, until + 1))
        return replace(self, steps=tuple(s for s in self.steps if s.number in numbers))

    def __repr__(self) -> str:
        """The titles of its steps."""
        titles = [f"  {step.number}. {plain_prose(step.title)}" for step in self.steps]
        return "\n".join(["Derivation, which print() shows whole:", *titles])

    def __str__(self) -> str:
        """All of it as plain text."""
        from cecli.derivation.markup import derivation_to_text

        return derivation_to_text(self)

    def _repr_markdown_(self) -> str:
        """All of it with mathematics between dollar signs."""
        from cecli.derivation.markup import derivation_to_markdown

        return derivation_to_markdown(self)

    def _repr_html_(self) -> str:
        """The same as the page, for a notebook."""
        from cecli.derivation.page import notebook_part

        return notebook_part(self)


@dataclass(frozen=True, eq=False)
class Example:
    """What every step starts from: the sample, its numbers, and which classes are worked out.

    problem, row: the sample in its batch. own: the sample alone, its loss undivided. shown: the
    classes worked out, all or the most probable. check: of own's gradient, None where the loss is
    infinite.
    """

    problem: Problem
    row: int
    own: Problem
    worked: DecimalRow
    pencil: Pencil
    shown: tuple[int, ...]
    check: GradientCheck | None

    @property
    def true_class(self) -> int | None:
        """t, where all the target's mass is 1 and stands on one class."""
        own = self.own
        if own.index is None or own.objective.label_smoothing or own.weight is not None:
            return None
        return int(own.index[0])

    @property
    def symbol(self) -> str:
        """What the softmax is taken of: the logits z, capped u, or divided by a temperature, v."""
        objective = self.own.objective
        if objective.temperature != 1.0:
            return "v"
        return "z" if objective.softcap is None else "u"

    @property
    def is_rescaled(self) -> bool:
        """Whether the softmax is taken of something else than the logits."""
        return self.symbol != "z"

    @cached_property
    def saturated(self) -> bool:
        """Whether the true class's probability is next to 1."""
        return self.true_class is not None and self.worked.beside[self.true_class] < SATURATED

    @cached_property
    def vanishes(self) -> bool:
        """Whether a class that carries target mass has a probability too small to be written."""
        pairs = zip(self.worked.target, self.worked.probability, strict=True)
        return any(y and p < VANISHING for y, p in pairs)

    @cached_property
    def hidden(self) -> tuple[int, ...]:
        """The classes that are not worked out."""
        shown = set(self.shown)
        return tuple(i for i in range(self.own.classes) if i not in shown)

    def number(self, quantity: str, value: Decimal) -> Quantity:
        """A number, to be written in an equation."""
        return Quantity(quantity, value)

    def typed(self, quantity: str, value: float) -> Quantity:
        """A number that somebody typed, to be written as they did."""
        return Quantity(quantity, Decimal(value), format_typed(float(value), self.pencil.digits))

    def logit(self, i: int) -> Quantity:
        """z_i as it was typed."""
        return self.typed("z", float(self.own.rows[0, i]))

    def terms(self, quantity: str, values: list[Decimal]) -> list[Quantity]:
        """The numbers of the classes worked out, and as one more what the others come to."""
        numbers = [Quantity(quantity, values[i]) for i in self.shown]
        if self.hidden:
            numbers.append(Quantity(quantity, sum((values[i] for i in self.hidden), ZERO)))
        return numbers

    def sum_of_others(
        self, symbol: str, quantity: str, values: list[Decimal], total: Quantity
    ) -> str:
        """The true class left out, the sum of the others: symbols where they say it, else terms."""
        t = self.true_class
        classes = [i for i in self.shown if i != t and values[i]]
        rest = sum((values[i] for i in self.hidden), ZERO)
        if len(classes) + bool(rest) < 2:
            name = f"{symbol}_{classes[0]} = " if classes else ""
            return name + self.pencil.write(quantity, total.value)
        terms = [Quantity(quantity, values[i]) for i in classes]
        return self.pencil.add([*terms, Quantity(quantity, rest)] if rest else terms, total)

    def others(self) -> tuple[str, ...]:
        """A remark on the last term of a sum, where not all classes are worked out."""
        count = len(self.hidden)
        if not count:
            return ()
        which = "the class" if count == 1 else f"the {count:,} classes"
        return (f"The last term is what {which} not shown come{'s' if count == 1 else ''} to.",)


def plain_number(value: Decimal) -> float:
    """A value for programs: the nearest double."""
    return float(value) + 0.0


def plain_numbers(values: list[Decimal]) -> list[float]:
    """Values for programs: the nearest doubles."""
    return [plain_number(value) for value in values]


def quotient_rule_of(k: str, i: str) -> str:
    """The derivative of a_k / S by the quotient rule, and that as a product of shares."""
    share = over(f"a_{k}", "S")
    if k == i:
        return f"{over(f'a_{k} · S − a_{k} · a_{k}', 'S²')} = {share} · {over(f'S − a_{k}', 'S')}"
    return f"{over(f'0 · S − a_{k} · a_{i}', 'S²')} = −{share} · {over(f'a_{i}', 'S')}"
