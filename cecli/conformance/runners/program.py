"""A program in any language as an implementation: a line of JSON for each case, and one back."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from cecli.conformance.model import Failure, Inputs, NotSupported, Reply
from cecli.conformance.runners.conversation import Conversation, shown, signals_held
from cecli.conformance.runners.load import one_line
from cecli.errors import CecliError
from cecli.input.numbers import array_of, load_json
from cecli.text.messages import describe, quote
from cecli.text.strict_json import plain_value

# Seconds for a program to end by itself when its input has ended.
GRACE = 1.0
# A number takes up to 25 characters; the rest is for spaces, keys and a remark.
MOST_BYTES_A_NUMBER, MOST_OTHER_BYTES = 64, 1 << 16


class Program:
    """A command that answers cases on its standard output.

    features: what it is sent cases about. It is started at once, and anew after each failure but a
    time-out. Raises CecliError where it cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        features: frozenset[str] = frozenset(),
        dtype: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        self.name = one_line(shlex.join(command))
        self.dtype = dtype
        self.features: frozenset[str] | None = features - {"arrays"}
        self._command, self._timeout = list(command), timeout
        self._conversation: Conversation | None = None
        try:
            self._start()
        except OSError as error:
            reason = error.strerror or str(error)
            raise CecliError(f"cannot start {quote(command[0])}: {reason}") from None
        except BaseException:
            self.kill()
            raise

    def run(self, inputs: Inputs) -> Reply:
        """The program's answer. Raises NotSupported or Failure."""
        request = json.dumps(_request(inputs), allow_nan=False).encode() + b"\n"
        most = MOST_OTHER_BYTES + MOST_BYTES_A_NUMBER * (inputs.logits.size + len(inputs.logits))
        try:
            return _reply(self._running().exchange(request, most, self._timeout))
        except (NotSupported, _ToldError):
            raise
        except BaseException:
            # After rubbish nobody knows which answer comes next; and Ctrl-C ends the program too.
            self.kill()
            raise

    def close(self) -> None:
        """Let the program end with its input; kill it, and what it left behind, if it does not."""
        self._end(GRACE)

    def kill(self) -> None:
        """End the program and what it started at once."""
        self._end(0.0)

    def _end(self, grace: float) -> None:
        if self._conversation is not None:
            self._conversation.end(grace)
            self._conversation = None

    def _running(self) -> Conversation:
        if self._conversation is None:
            try:
                self._start()
            except OSError as error:
                raise Failure(f"it cannot be started again: {error.strerror}") from None
        return cast(Conversation, self._conversation)

    def _start(self) -> None:
        with signals_held():  # a program that runs before it is known here would never be ended
            self._conversation = Conversation(self._command)


class _ToldError(Failure):
    """The program itself says what went wrong; it can go on."""


def _request(inputs: Inputs) -> dict[str, Any]:
    """A case as the program reads it: what is at its default is left out."""
    request: dict[str, Any] = {"logits": inputs.logits.astype(np.float64), "target": inputs.target}
    request |= {name: _plain(value) for name, value in inputs.options.items()}
    if np.any(inputs.upstream != 1.0):
        request["upstream"] = _plain(inputs.upstream)
    if inputs.dtype != "float64":
        request["dtype"] = inputs.dtype
    return {name: plain_value(value) for name, value in request.items()}


def _reply(line: bytes) -> Reply:
    try:
        answer = load_json(line.decode())
    except (CecliError, UnicodeDecodeError):
        raise Failure(f"it wrote what is not JSON: {shown(line)}") from None
    if not isinstance(answer, dict):
        raise Failure(f"it wrote {describe(answer)}, not an object")
    for key, kind in (("unsupported", NotSupported), ("error", _ToldError)):
        if key in answer:
            raise kind(_text(answer[key]))
    try:
        loss, grad = (array_of(answer[name], name) for name in ("loss", "grad"))
    except KeyError as missing:
        raise Failure(f"its answer has no {missing.args[0]}") from None
    except CecliError as error:
        raise Failure(f"its answer cannot be used: {error}") from None
    return Reply(loss, grad)


def _plain(value: Any) -> Any:
    """An option as an array of doubles or a plain number or word."""
    array = np.asarray(value)
    return array.astype(np.float64) if array.ndim else array.item()


def _text(value: Any) -> str:
    return (one_line(value) if isinstance(value, str) else "") or "it says so"
