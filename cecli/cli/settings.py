"""The options as the commands use them: typed, made once, with all that excludes each other.

What reads, computes and writes takes these; no other module knows the options by their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from cecli.errors import CecliError
from cecli.input.problem_from import Input, Overrides
from cecli.output.files.destination import Destination, Kind, destination_of

if TYPE_CHECKING:
    from cecli.answer.answer import Command
    from cecli.gradcheck.check import Method

Form = Literal["table", "json", "jsonl", "markdown", "latex", "html"]
T = TypeVar("T")

# What the file of a command may be.
_WRITTEN: dict[Command, tuple[Kind, ...]] = {
    "softmax": ("array", "document", "lines", "picture"),
    "loss": ("array", "document", "lines", "picture"),
    "grad": ("array", "document", "lines", "picture"),
    "explain": ("array", "document", "picture", "markup"),
    "compare": ("array", "document", "picture"),
}
# What makes no sense for samples one by one, and how it is called.
_OF_A_BATCH = {
    "reduction": "--reduction",
    "divisor": "--divisor",
    "worst": "--worst",
    "check": "--check",
    "check_method": "--check-method",
    "step": "--step",
    "seed": "--seed",
    "output": "-o",
    "theme": "--theme",
    "dtype": "--dtype",
    "cluster": "--cluster",
}


class Compute(NamedTuple):
    """How an answer is found.

    jobs: threads, None for one a core. cluster: its address. worst: how many of the samples with
    the highest loss are told.
    """

    exact: bool = False
    jobs: int | None = None
    cluster: str | None = None
    worst: int | None = None


class Check(NamedTuple):
    """The finite differences that were asked for. step: None for the method's usual one."""

    method: Method = "decimal"
    step: float | None = None
    seed: int = 0


class View(NamedTuple):
    """What is printed. arrays: whether JSON has them, None for where they are small."""

    form: Form
    digits: int
    top: int
    arrays: bool | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Settings:
    """All that is said to a command.

    check: None where none was asked for. sample, steps: what to explain, rtol: the error to allow,
    where the command has them.
    Raises CecliError for what excludes each other.
    """

    command: Command
    typed: Input
    overrides: Overrides
    compute: Compute
    check: Check | None
    view: View
    destination: Destination | None
    sample: int | None = None
    steps: str | None = None
    rtol: float | None = None

    def __post_init__(self) -> None:
        if self.compute.cluster is not None and self.destination is not None:
            _check_goes_with_cluster(self.destination)
        if self.answers_lines:
            typed = self.typed
            said = {"--target": typed.target, "--soft-target": typed.soft_target}
            said |= {"--key": typed.key, "--columns": typed.columns}
            said["--sample-weight"] = self.overrides.sample_weight
            for option, value in said.items():
                if value is not None:
                    raise CecliError(
                        f"{option} does not go with JSON Lines that are answered one by one"
                    )

    @property
    def answers_lines(self) -> bool:
        """Whether JSON Lines are answered one by one, while they are read."""
        lines = self.typed.stream is not None or self.typed.lines_file is not None
        return self.view.form == "jsonl" and lines


def settings_of(command: Command, options: Mapping[str, Any]) -> Settings:
    """The settings that the options of a command come to; CecliError where they contradict."""
    rest = dict(options)
    if rest.get("jsonl"):
        for name, option in _OF_A_BATCH.items():
            if rest.get(name) is not None and rest[name] is not False:
                raise CecliError(
                    f"--jsonl takes each sample by itself: {option} does not go with it"
                )
    view = _made(_view, rest)
    path, dtype = rest.pop("output"), rest.pop("dtype", None)
    theme = rest.pop("theme", None)
    destination = None if path is None else destination_of(path, _WRITTEN[command], dtype, theme)
    if dtype is not None and (destination is None or destination.kind != "array"):
        raise CecliError("--dtype is the type of an array that -o writes: .npy, .npz or .csv")
    if theme is not None and (destination is None or destination.kind != "picture"):
        raise CecliError("--theme is that of a picture that -o writes: .svg")
    made = Settings(
        command,
        _made(Input, rest),
        _made(Overrides, rest),
        _made(Compute, rest),
        _made(_check, rest),
        view,
        destination,
        rest.pop("sample", None),
        rest.pop("steps", None),
        rest.pop("rtol", None),
    )
    if rest:
        raise TypeError(f"nothing takes the options {', '.join(rest)}")
    return made


def _made(make: Callable[..., T], options: dict[str, Any]) -> T:
    """What is made of the options that are called as its parameters; they are taken out."""
    names = [name for name in _parameters(make) if name in options]
    return make(**{name: options.pop(name) for name in names})


@cache
def _parameters(make: Callable[..., object]) -> tuple[str, ...]:
    return tuple(signature(make).parameters)


def _view(
    *,
    digits: int,
    top: int,
    json: bool,
    markdown: bool,
    arrays: bool | None = None,
    jsonl: bool = False,
    latex: bool = False,
    html: bool = False,
    quiet: bool = False,
) -> View:
    forms: dict[Form, bool] = {"json": json, "jsonl": jsonl, "markdown": markdown}
    forms |= {"latex": latex, "html": html}
    return View(form_of(forms), digits, 0 if quiet else top, arrays)


def form_of(forms: Mapping[Form, bool]) -> Form:
    """The form that was chosen, of which there is one at most."""
    chosen = [form for form, is_chosen in forms.items() if is_chosen]
    if len(chosen) > 1:
        raise CecliError(f"{' and '.join(f'--{form}' for form in chosen)} exclude each other")
    return chosen[0] if chosen else "table"


def _check(
    *,
    check: bool = False,
    check_method: Method | None = None,
    step: float | None = None,
    seed: int | None = None,
) -> Check | None:
    """An option of the check asks for it, too."""
    if not check and check_method is None and step is None and seed is None:
        return None
    return Check(check_method or "decimal", step, seed or 0)


def _check_goes_with_cluster(destination: Destination) -> None:
    if destination.kind == "lines" or destination.suffix in (".npz", ".csv"):
        raise CecliError(
            f"cannot write {destination.path}: with --cluster an array goes into .npy files, whose "
            "rows have their places from the beginning"
        )
