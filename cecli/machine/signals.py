"""Signals that ask the process to end, as exceptions for whoever has to clean something up."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cecli.errors import Terminated

PATIENCE = 2.0  # seconds
# SIGHUP is a terminal that is closed, SIGQUIT its Control-\.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@contextmanager
def signals_raised() -> Iterator[None]:
    """A block that cleans up after itself when a signal ends the process.

    In it SIGINT is raised as KeyboardInterrupt, the others as Terminated; elsewhere they end the
    process at once. What is ignored, as in a background job and under nohup, stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    begun: list[float] = []

    def end(number: int, frame: FrameType | None) -> None:
        if begun:
            # A second one must not break off what the first has begun to clean up, if that ends.
            if time.monotonic() > begun[0] + PATIENCE:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            return
        begun.append(time.monotonic())
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Terminated(number)

    ends_at_once = (signal.SIG_DFL, signal.default_int_handler)
    before = {
        number: signal.signal(number, end)
        for number in ENDING
        if signal.getsignal(number) in ends_at_once
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
