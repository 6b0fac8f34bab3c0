"""The bar on standard error, beside work that is long."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import Any

import click

from cecli.machine.signals import signals_raised

SECONDS_BEFORE_A_BAR = 1.0
STEPS = 1000


class Progress:
    """A bar on standard error, where that is a terminal and the work is long; gone in the end.

    nbytes: how much there is to do, for the rate beside the time left. Work that is done in
    several passes has a bar for each.
    """

    def __init__(self, label: str, nbytes: int | None = None) -> None:
        self._label, self._nbytes, self._start = label, nbytes, time.monotonic()
        self._bar: Any = None
        self._open = ExitStack()
        self._shown, self._last = 0, 0.0
        self._wanted = sys.stderr is not None and sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def __call__(self, fraction: float) -> None:
        """Show how much is done, from 0 to 1; less than before where a pass begins."""
        if not self._wanted:
            return
        if fraction < self._last:
            self._finish()
            self._start = time.monotonic()
        self._last = fraction
        if self._bar is None and time.monotonic() - self._start > SECONDS_BEFORE_A_BAR:
            self._open.enter_context(signals_raised())
            self._bar = click.progressbar(
                length=STEPS,
                label=self._label,
                width=0,
                file=sys.stderr,
                item_show_func=self._rate,
            )
            # Before it hides the cursor, which must come back whenever a signal arrives.
            self._open.callback(self._clear)
            self._bar.__enter__()
        if self._bar is not None and int(fraction * STEPS) > self._shown:
            self._advance(int(fraction * STEPS))

    def _advance(self, done: int) -> None:
        self._bar.update(done - self._shown, current_item=done)
        self._shown = done

    def _clear(self) -> None:
        """Leave the line as it was, and show the cursor again."""
        sys.stderr.write("\r\x1b[K\x1b[?25h")
        sys.stderr.flush()

    def _rate(self, done: int | None) -> str | None:
        if self._nbytes is None or done is None:
            return None
        seconds = time.monotonic() - self._start
        return f"{self._nbytes * done / STEPS / seconds / 1e6:,.0f} MB/s"

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is None:
            self._finish()
        self._open.close()

    def _finish(self) -> None:
        """Fill the bar and take it away."""
        if self._bar is not None:
            self._advance(STEPS)
        self._open.close()
        self._bar, self._shown = None, 0
