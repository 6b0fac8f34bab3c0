"""JSON Lines through `cecli grad --jsonl`, in relation to json.loads and json.dumps of the same.

Run it from a clone: python tests/benchmarks/json_lines.py
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NUMBERS = 2_000_000
SHAPES = [(NUMBERS // classes, classes) for classes in (10, 1_000, 50_000)]
# Reads what cecli reads and writes what cecli writes, but for the arithmetic.
COPY = """
import json, sys
for line in sys.stdin:
    value = json.loads(line)
    answer = {"target": value["target"], "loss": value["logits"][0], "grad": value["logits"]}
    sys.stdout.write(json.dumps(answer) + "\\n")
"""


def seconds(command: list[str], path: Path) -> float:
    """The shortest of three runs, the start of Python in them."""
    best = float("inf")
    for _ in range(3):
        with path.open("rb") as file:
            start = time.perf_counter()
            subprocess.run(command, stdin=file, stdout=subprocess.DEVNULL, check=True)
            best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    for samples, classes in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "samples.jsonl"
            with path.open("w") as file:
                for _ in range(samples):
                    logits = [random.gauss(0, 3) for _ in range(classes)]
                    target = random.randrange(classes)
                    file.write(json.dumps({"logits": logits, "target": target}) + "\n")
            copying = seconds([sys.executable, "-c", COPY], path)
            answering = seconds([sys.executable, "-m", "cecli", "grad", "--jsonl"], path)
        print(
            f"{samples:,} x {classes:,}: {answering:.2f} s, json alone {copying:.2f} s, "
            f"ratio {answering / copying:.2f}"
        )


if __name__ == "__main__":
    main()
