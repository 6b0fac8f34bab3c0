"""Nothing is computed twice: what each command does is counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.counts import COMMANDS, Counts, counts_of, write_files

WANTED = {
    # The worst samples are known when all rows are; these rows are looked at once more.
    "loss z.npy -t t.npy --worst 2": Counts(sweeps=2, problems=1),
    "loss big.npy -t bigt.npy --worst 5": Counts(sweeps=2, problems=1),
    # A line is about its sample alone, and has another gradient.
    "grad z.npy -t t.npy -o g.jsonl": Counts(sweeps=2, problems=1),
    "loss z.npy -t t.npy --worst 4 --exact": Counts(exact=8, problems=1),
    # One pass compares; a mistake is looked for in some rows, and what explains these is held
    # against all; the rows that an order suggests are a sweep of their own. What is shown of the
    # arrays is found by a pass of its own.
    "compare 1 2 3 -t 0 --grad -1,0,0": Counts(sweeps=1, exact=3, problems=1),
    "compare z.npy -t t.npy --grad [[1,2,3],[1,2,3],[1,2,3],[1,2,3]] --exact": Counts(
        sweeps=1, exact=8, problems=1
    ),
    "compare big.npy -t bigt.npy --grad right.npy": Counts(sweeps=1, exact=500, problems=1),
    "compare big.npy -t bigt.npy --grad wrong.npy": Counts(sweeps=3, exact=623, problems=1),
    # The weight divides the derivation's gradient, and not that of the mean.
    "explain z.npy -t t.npy --sample 1 --weight 1,2,3": Counts(exact=2, problems=1),
    "explain 1 2 3 -t 0": Counts(exact=1, problems=1),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_computed_twice(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files()
    rows = 4 if "z.npy" in command else 1
    usual = Counts(exact=rows, problems=1) if "--exact" in command else Counts(sweeps=1, problems=1)
    assert counts_of(command) == WANTED.get(command, usual)
