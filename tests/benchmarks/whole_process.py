"""How long `cecli grad … -o` takes on files, and how much memory, beside a script with PyTorch.

    python tests/benchmarks/whole_process.py [--runs N] [--large] [--tables]

The script does what most people write: np.load, cross_entropy, backward, np.save. Both run as
processes of their own and in turns, and the times are medians; --large adds files of gigabytes.
--tables: a CSV instead, which pandas and Polars read, while cecli computes its loss.
Memory is the most that is not in files, as Linux tells it in /proc.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

SCRIPT = """
import sys, numpy, torch
logits = torch.from_numpy(numpy.load(sys.argv[1])).requires_grad_()
loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(numpy.load(sys.argv[2])))
loss.backward()
numpy.save(sys.argv[3], logits.grad.numpy())
print(loss.item())
"""
LOSS = "import sys; from cecli.__main__ import main; sys.argv[1:1] = ['loss', '--quiet']; main()"
READERS = {
    "pandas": "import sys, pandas; pandas.read_csv(sys.argv[1])",
    "Polars": "import sys, polars; polars.read_csv(sys.argv[1])",
    "cecli": LOSS,
    "cecli without pyarrow": f"import sys; sys.modules['pyarrow'] = None; {LOSS}",
}
TABLE_ROWS, LARGE_TABLE_ROWS = 1_000_000, 11_000_000
SHAPES = [(1_797, 10), (200_000, 10), (20_000, 1_000), (400, 50_257), (5_000, 50_257)]
LARGE = [(75_000_000, 10), (15_000, 50_257)]


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds, and MiB in memory beside what is in files."""
    start = time.perf_counter()
    most = 0
    # As a user has it: modules are compiled once, not in every run.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            lines = status.read_text().splitlines() if status.exists() else []
            most = max([most, *(int(line.split()[1]) for line in lines if "RssAnon" in line)])
            time.sleep(0.002)
    if process.returncode:
        raise SystemExit(f"{command[1:3]} failed")
    return time.perf_counter() - start, most / 1024


def save(folder: Path, shape: tuple[int, int], dtype: str) -> list[str]:
    """Write logits and targets; the arguments that name them."""
    random = np.random.default_rng(0)
    logits = np.lib.format.open_memmap(folder / "logits.npy", "w+", dtype, shape)
    rows = max(1, 2**22 // shape[1])
    block = (random.standard_normal((rows, shape[1])) * 3).astype(dtype)
    for start in range(0, shape[0], rows):
        logits[start : start + rows] = block[: shape[0] - start]
    logits.flush()
    np.save(folder / "target.npy", random.integers(0, shape[1], shape[0]))
    return [str(folder / "logits.npy"), str(folder / "target.npy")]


def save_table(path: Path, rows: int) -> None:
    """Write a table of ten columns of logits, identifiers before them and targets behind."""
    random = np.random.default_rng(0)
    logits = (random.standard_normal((50_000, 10)) * 3).round(5).tolist()
    target = random.integers(0, 10, 50_000).tolist()
    with path.open("w") as file:
        file.write(f"id,{','.join(f'logit_{i}' for i in range(10))},label\n")
        for start in range(0, rows, 50_000):
            file.writelines(
                f"{start + i},{','.join(map(str, row))},{index}\n"
                for i, (row, index) in enumerate(zip(logits, target, strict=True))
            )


def compare_tables(rows: int, runs: int) -> None:
    """Print a line for each reader of a table."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "table.csv"
        save_table(path, rows)
        size = path.stat().st_size / 1e6
        commands = [[sys.executable, "-c", code, str(path)] for code in READERS.values()]
        found = [[measure(command) for command in commands] for _ in range(runs)]
    for reader, *results in zip(READERS, *found, strict=True):
        seconds, memory = median(run[0] for run in results), max(run[1] for run in results)
        print(f"{size:8,.0f} MB {reader:<22} {seconds:6.2f} s {memory:7,.0f} MiB", flush=True)


def main() -> None:
    """Print a line for each file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--tables", action="store_true")
    arguments = parser.parse_args()
    if arguments.tables:
        for rows in (TABLE_ROWS, LARGE_TABLE_ROWS)[: 1 + arguments.large]:
            compare_tables(rows, arguments.runs)
        return
    print("time of the script over that of cecli; anonymous memory of the script and of cecli")
    for shape in SHAPES + (LARGE if arguments.large else []):
        for dtype in ("float32", "float64"):
            if shape in LARGE and dtype == "float64":
                continue
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                logits, target = save(folder, shape, dtype)
                out = str(folder / "grad.npy")
                script = [sys.executable, "-c", SCRIPT, logits, target, out]
                own = [sys.executable, "-m", "cecli", "grad", logits, "-t", target, "-o", out]
                runs = [(measure(script), measure(own)) for _ in range(arguments.runs)]
                theirs, ours = zip(*runs, strict=True)
                size = Path(logits).stat().st_size / 1e6
            seconds = [median(run[0] for run in side) for side in (theirs, ours)]
            memory = [max(run[1] for run in side) for side in (theirs, ours)]
            print(
                f"{shape[0]:>12,} x {shape[1]:>7,} {dtype} {size:8,.0f} MB: "
                f"{seconds[0]:6.2f} s / {seconds[1]:5.2f} s = {seconds[0] / seconds[1]:5.1f}; "
                f"{memory[0]:6,.0f} MiB, {memory[1]:4,.0f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
