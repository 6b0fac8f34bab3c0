"""A function in a process of its own: where it hangs, crashes or exits, only its case fails.

The process makes the inputs of a case itself, by its name, runs the function, and sends back what
came of it; it is judged here. It is started anew after each failure that ends it.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from cecli.conformance.model import Answered, Case, Failure, NotSupported
from cecli.conformance.runners.program import Conversation, signals_held
from cecli.errors import CecliError
from cecli.text.strict_json import JSONObject

# Seconds for a framework to be imported, which is no fault of the function.
LOADING = 120.0
# After so many in a row that do not answer in time nobody waits for the next one.
MOST_TIMEOUTS = 3
MOST_BYTES_A_NUMBER, MOST_OTHER_BYTES = 32, 1 << 20
START = (
    "import json, sys; told = json.loads(sys.argv[1]); sys.path[:] = told.pop('path'); "
    "from cecli.conformance.runners.isolated import serve; serve(told)"
)


@dataclass(frozen=True)
class Spec:
    """What function it is, by its name, and how it is called: as for `api.function_of`.

    notes: what was found out by trying.
    """

    kind: str
    name: str
    features: tuple[str, ...] | None = None
    dtype: str | None = None
    device: str | None = None
    one_hot: bool | None = None
    notes: tuple[str, ...] = ()


class Isolated:
    """A function that another process runs, within a time limit for each case.

    Raises CecliError where the function cannot be loaded.
    """

    def __init__(self, spec: Spec, timeout: float) -> None:
        self._timeout, self._timeouts = timeout, 0
        self._conversation: Conversation | None = None
        self._spec, self.name = spec, spec.name
        self.features = None if spec.features is None else frozenset((*spec.features, "arrays"))
        try:
            word, told = self._started()
            if word == "error":
                raise CecliError(told)
            self._try()
        except Failure as failure:
            raise CecliError(f"{spec.name} cannot be loaded: {failure}") from None
        except BaseException:
            self._end()
            raise

    @property
    def dtype(self) -> str | None:
        """The type of all logits, where it was asked for or found."""
        return self._spec.dtype

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of how it is called."""
        return self._spec.notes

    def answer_case(self, case: Case) -> Answered:
        """What came of a case in the other process. Raises NotSupported or Failure."""
        inputs = case.make()
        most = MOST_OTHER_BYTES + MOST_BYTES_A_NUMBER * (inputs.logits.size + len(inputs.logits))
        try:
            word, told = self._asked(case.name, most, self._timeout)
        except Failure as failure:
            # Of its own accord only one that is late is called fatal.
            self._timeouts = self._timeouts + 1 if failure.fatal else 0
            raise Failure(str(failure), fatal=self._timeouts >= MOST_TIMEOUTS) from None
        self._timeouts = 0
        if word == "unsupported":
            raise NotSupported(told)
        if word == "failed":
            raise Failure(told)
        assert isinstance(told, Answered)
        return told

    def close(self) -> None:
        """End the process and what it started."""
        self._end()

    def _try(self) -> None:
        """Have it found out how the function is called; one that ends there is called as it is."""
        try:
            _, found = self._asked("", MOST_OTHER_BYTES, self._timeout)
            self._spec = replace(self._spec, **found)
        except Failure:
            self._spec = replace(self._spec, one_hot=bool(self._spec.one_hot))

    def _asked(self, request: str, most: int, timeout: float) -> tuple[str, Any]:
        if self._conversation is None:
            self._started()
        assert self._conversation is not None
        try:
            line = self._conversation.exchange(request.encode() + b"\n", most, timeout)
            word, told = pickle.loads(base64.b64decode(line))
            return str(word), told
        except BaseException:
            self._end()
            raise

    def _started(self) -> tuple[str, Any]:
        told = json.dumps({**asdict(self._spec), "path": sys.path})
        with signals_held():
            self._conversation = Conversation([sys.executable, "-c", START, told])
        return self._asked("", MOST_OTHER_BYTES, LOADING)

    def _end(self) -> None:
        if self._conversation is not None:
            self._conversation.end(0.0)
            self._conversation = None


# --- The other process ----------------------------------------------------------------------------


def serve(told: JSONObject) -> None:
    """Load a function, and answer a line for each case until there are no more."""
    requests, replies = _pipes_of_its_own()
    with suppress(OSError):  # where memory runs out this process goes, and not who asked
        Path("/proc/self/oom_score_adj").write_text("1000")
    features = told.pop("features")
    spec = Spec(**{**told, "notes": tuple(told["notes"])}, features=features and tuple(features))

    def reply(word: str, value: Any) -> None:
        replies.write(base64.b64encode(pickle.dumps((word, value))) + b"\n")

    requests.readline()
    try:
        answer_of, tried = _loaded(spec)
    except CecliError as error:
        reply("error", str(error))
        return
    reply("loaded", None)
    for line in requests:
        name = line.decode().strip()
        if not name:
            reply("tried", tried())
            continue
        try:
            reply("answered", answer_of(name))
        except NotSupported as missing:
            reply("unsupported", str(missing))
        except Failure as failure:
            reply("failed", str(failure))


def _loaded(spec: Spec) -> tuple[Callable[[str], Answered], Callable[[], JSONObject]]:
    """What answers a case by its name, and what tries how the function is called."""
    from cecli.conformance.api import untried
    from cecli.conformance.run import answer
    from cecli.conformance.runners.load import load
    from cecli.conformance.runners.probe import probe
    from cecli.conformance.suite.cases import all_cases

    features = None if spec.features is None else frozenset(spec.features)
    kind: Any = spec.kind
    made = untried(kind, load(spec.name), spec.name, features, spec.dtype, spec.device)
    made.one_hot = bool(spec.one_hot)
    cases = {case.name: case for case in all_cases(large=True)}

    def tried() -> JSONObject:
        probe(made, spec.one_hot)
        return {"one_hot": made.one_hot, "dtype": made.dtype, "notes": made.notes}

    return lambda name: answer(made, cases[name]), tried


def _pipes_of_its_own() -> tuple[IO[bytes], IO[bytes]]:
    """Requests and replies, out of the reach of what prints and reads."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return requests, replies
