"""How long cecli takes to start, beside the imports that it cannot do without.

    python tests/benchmarks/startup.py [--runs N]

Every command and every yardstick runs once a round, so that a slower minute of the machine slows
all of them, and only their ratios are shown: of the medians, and of the fastest runs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

GRAD = ("grad", "2.0", "1.0", "0.1", "-t", "0")


@dataclass(frozen=True)
class Comparison:
    """A command of cecli, the imports it is measured against, and the ratio to stay below."""

    arguments: tuple[str, ...]
    imports: str
    goal: float


COMPARISONS = (
    Comparison((*GRAD, "--json"), "click, numpy, json", 1.25),
    Comparison(GRAD, "click, numpy, json, rich.console, rich.table", 1.35),
    Comparison(GRAD, "click, numpy, json, rich", 1.35),
    Comparison(("--help",), "click", 1.5),
    Comparison(("--version",), "click", 1.5),
)


def program() -> tuple[str, ...]:
    """The cecli installed in the running environment, else the package on the path."""
    installed = Path(sysconfig.get_path("scripts")) / "cecli"
    return (str(installed),) if installed.exists() else (sys.executable, "-m", "cecli")


def seconds(command: tuple[str, ...], environment: dict[str, str]) -> float:
    """The time one run of the command takes; an error when it fails."""
    start = time.perf_counter()
    subprocess.run(
        command,
        check=True,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def measure(commands: list[tuple[str, ...]], runs: int) -> dict[tuple[str, ...], list[float]]:
    """The times of all the commands, run in turn, each round beginning with another one."""
    # Without compiled modules the program would be compiled anew in every run.
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    for command in commands:
        seconds(command, environment)
    times: dict[tuple[str, ...], list[float]] = {command: [] for command in commands}
    for number in range(runs):
        first = number % len(commands)
        for command in commands[first:] + commands[:first]:
            times[command].append(seconds(command, environment))
    return times


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Start-up of cecli as ratios to bare imports.")
    parser.add_argument("--runs", type=int, default=30, help="runs of each command (default 30)")
    runs = parser.parse_args().runs
    if runs < 1:
        parser.error("--runs must be at least 1")

    cecli = program()
    pairs = [
        (
            (*cecli, *comparison.arguments),
            (sys.executable, "-c", f"import {comparison.imports}"),
        )
        for comparison in COMPARISONS
    ]
    times = measure(list(dict.fromkeys(command for pair in pairs for command in pair)), runs)

    print(f"{' '.join(cecli)}, {runs} runs of each; ratios of the medians and of the fastest runs")
    print(f"{'cecli':<31}{'python -c import':<46}{'goal':>6}{'median':>8}{'fastest':>9}")
    for comparison, (command, yardstick) in zip(COMPARISONS, pairs, strict=True):
        ours, theirs = times[command], times[yardstick]
        print(
            f"{' '.join(comparison.arguments):<31}{comparison.imports:<46}{comparison.goal:>6.2f}"
            f"{median(ours) / median(theirs):>8.2f}{min(ours) / min(theirs):>9.2f}"
        )


if __name__ == "__main__":
    main()
