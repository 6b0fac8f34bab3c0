"""What a mistake is, what it is called where it is found, and those that no formula makes.

Those with a formula of their own stand in `catalogue`. Here are the ones that have a value, a place
or rows of their own, and are sought in `search` and `structure`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from cecli.comparison.mistaken import Variant


@dataclass(frozen=True)
class Diagnosis:
    """A mistake that explains a gradient or a loss.

    id: its name for programs. explanation: what was done, and remedy: what to do instead. fit: the
    largest difference left, in relation to the largest component; 0 is perfect. of: what it was
    found in. value: of an option or factor that was found. reason: why it is not the only
    one, or where it applies.
    """

    id: str
    explanation: str
    remedy: str
    fit: float
    of: Literal["grad", "loss"] = "grad"
    value: float | None = None
    reason: str | None = None

    def __str__(self) -> str:
        """What it is and how to mend it, in a line."""
        return f"{self.id}: {self.explanation} {self.remedy}"


@dataclass(frozen=True)
class Mistake:
    """A mistake: its id, a sentence each of explanation and remedy, its formula, ways to make it.

    explanation: {} is where a variant's words stand. formula: of the gradient, or of the loss where
    that alone is wrong, as the manual shows it; g and L are the right ones.
    """

    id: str
    explanation: str
    remedy: str
    formula: str
    variants: tuple[Variant, ...] = ()

    def found(self, words: object = "", fit: float = 0.0, **more: Any) -> Diagnosis:
        """The mistake as it was found, with a variant's words or whatever tells its place."""
        explanation = self.explanation.replace("{}", str(words))
        return Diagnosis(self.id, explanation, self.remedy, fit, **more)


CONSTANT_FACTOR = Mistake(
    "constant-factor",
    "It is the right {}.",
    "Look for a factor that is applied once too often, or not at all: a number of steps that "
    "gradients are accumulated over, of devices, of samples.",
    "k·g, k·L",
)
HALF_ACCUMULATION = Mistake(
    "half-accumulation",
    "The sum of the exponentials is accumulated in {}.",
    "Accumulate sums in float32 or wider, whatever the inputs are.",
    "p·S/S′, S′ the sum rounded to so few digits",
)
EXTRA_MASS = Mistake(
    "extra-mass",
    "The sum of the exponentials is another one: {}.",
    "Mask padded classes and lanes with −∞ before the sum, and count every class once.",
    "(r p − y)/D, r constant in a row; L − log r",
)
SAMPLE_WEIGHTS = Mistake(
    "sample-weights",
    "Each sample is multiplied by a weight of its own, {}.",
    "Take the weights out, or compare with the loss that has them.",
    "u_n·g",
)
CLASSES_LEFT_OUT = Mistake(
    "classes-left-out",
    "{}",
    "See how the classes are split into blocks, and that the last block is not left out.",
    "0 or z in some classes, g in the others",
)
ROWS_LEFT_OUT = Mistake(
    "rows-left-out",
    "{}",
    "See how the rows are split into blocks, and that the last block is not left out.",
    "0 or z in some rows, g in the others",
)
ROUNDED = Mistake(
    "rounded",
    "The numbers are rounded to {} decimals.",
    "Hand on what was computed: a small component has no decimals to spare.",
    "g rounded to so many decimals",
)
SOME_ROWS = Mistake(
    "some-rows",
    "Only some rows are wrong: {}.",
    "Look for what is different there: a mask, a bound of a loop, a block's tail.",
    "g in the others",
)
LOW_PRECISION = Mistake(
    "low-precision",
    "The errors are those of arithmetic in {}: small, to both sides.",
    "See what is computed or stored in {} before it is widened again.",
    "g rounded to a type with fewer digits",
)
TRANSPOSED = Mistake(
    "transposed",
    "The gradient is transposed: samples and classes have changed places.",
    "Transpose it, or see which axis the backward pass takes for the classes.",
    "gᵀ",
)
SWAPPED_FILES = Mistake(
    "swapped-files",
    "The files of the gradient stand in another order than those of the logits: {}.",
    "Name them in the same order; a pattern sorts by name.",
    "g of another file",
)
PERMUTED_ROWS = Mistake(
    "permuted-rows",
    "The rows are right, but in another order.",
    "Keep logits, targets and gradient in the same order; look for a shuffle of only one.",
    "g of another sample",
)
PERMUTED_CLASSES = Mistake(
    "permuted-classes",
    "The columns are right, but in another order of the classes.",
    "Use the same order of classes for logits, targets and gradient.",
    "g of another class",
)
PERPLEXITY = Mistake(
    "perplexity",
    "It is the perplexity, e to the power of the loss.",
    "Take its logarithm.",
    "e^L",
)
ACCURACY = Mistake(
    "accuracy",
    "It is the accuracy, the share of samples whose largest logit is the target's.",
    "The loss is the mean of −log p at the target.",
    "the share of right predictions",
)

OTHERS = (
    CONSTANT_FACTOR,
    HALF_ACCUMULATION,
    EXTRA_MASS,
    SAMPLE_WEIGHTS,
    CLASSES_LEFT_OUT,
    ROWS_LEFT_OUT,
    ROUNDED,
    SOME_ROWS,
    LOW_PRECISION,
    TRANSPOSED,
    SWAPPED_FILES,
    PERMUTED_ROWS,
    PERMUTED_CLASSES,
    PERPLEXITY,
    ACCURACY,
)
