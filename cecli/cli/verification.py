"""The options of `cecli verify` as it uses them, with all that excludes each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cecli.cli.settings import Form, form_of
from cecli.errors import CecliError

if TYPE_CHECKING:
    from cecli.conformance.api import FunctionKind, Strict, Subject

# Before a pattern of -k.
_NOT = "not "


@dataclass(frozen=True, kw_only=True)
class Verification:
    """All that is said to `cecli verify`, by the names of its options.

    Raises CecliError for what excludes each other.
    """

    implementation: str | None
    program: tuple[str, ...]
    torch: bool
    jax: bool
    device: str | None
    dtype: str | None
    features: str | None
    one_hot: bool | None
    isolate: bool | None
    timeout: float | None
    globs: tuple[str, ...]
    skip: tuple[str, ...]
    large: bool
    strict: Strict
    baseline: str | None
    update_baseline: bool
    verbose: bool
    list_cases: bool
    export: str | None
    junit: str | None
    json: bool
    markdown: bool

    def __post_init__(self) -> None:
        wanted = {
            "MODULE:FUNCTION": self.implementation,
            "a program": self.program,
            "--list": self.list_cases,
            "--export": self.export,
        }
        if not any(wanted.values()):
            raise CecliError(
                "nothing to verify: give MODULE:FUNCTION, or -- and a program with its arguments"
            )
        _exclude(wanted)
        _exclude({"--torch": self.torch, "--jax": self.jax})
        _exclude({"--json": self.json, "--markdown": self.markdown, "--export": self.export})
        of_a_run = {"--baseline": self.baseline, "--junit": self.junit}
        for name, value in of_a_run.items():
            if value is not None and (self.list_cases or self.export is not None):
                raise CecliError(f"{name} is for an implementation that is run over the cases")
        if self.update_baseline and self.baseline is None:
            raise CecliError("--update-baseline writes the file of --baseline FILE: name it")
        if self.timeout is not None and not self.timeout > 0.0:
            raise CecliError(f"--timeout is {self.timeout:g}: it must be greater than 0")
        if self.program:
            of_a_function = {
                "torch": self.torch,
                "jax": self.jax,
                "device": self.device,
                "one-hot": self.one_hot,
                "isolate": self.isolate,
            }
            for name, is_said in of_a_function.items():
                if is_said:
                    raise CecliError(
                        f"--{name} is for a function, which stands before --, not behind"
                    )

    @property
    def isolated(self) -> bool:
        """Whether a function runs in a process of its own: a limit of time asks for one."""
        return self.timeout is not None if self.isolate is None else self.isolate

    @property
    def seconds(self) -> float:
        """How long a case may take."""
        return 10.0 if self.timeout is None else self.timeout

    @property
    def only(self) -> tuple[str, ...]:
        """The patterns of cases to run."""
        return tuple(glob for glob in self.globs if not glob.startswith(_NOT))

    @property
    def without(self) -> tuple[str, ...]:
        """The patterns of cases to leave out."""
        negated = (glob.removeprefix(_NOT).strip() for glob in self.globs if glob.startswith(_NOT))
        return (*self.skip, *negated)

    @property
    def subject(self) -> Subject:
        """What is verified, where something is."""
        from cecli.conformance.api import Subject

        if self.program:
            return Subject("program", None, self.dtype)
        kind: FunctionKind = "torch" if self.torch else "jax" if self.jax else "python"
        return Subject(kind, self.implementation, self.dtype, self.device)

    @property
    def form(self) -> Form:
        """What is printed."""
        return form_of({"json": self.json, "markdown": self.markdown})


def _exclude(said: Mapping[str, object]) -> None:
    names = [name for name, value in said.items() if value]
    if len(names) > 1:
        raise CecliError(f"{names[0]} and {names[1]} exclude each other")
