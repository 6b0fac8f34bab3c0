"""JSON Lines on a pipe: each line is answered before the next, and memory is bounded."""

from __future__ import annotations

import json
import select
import subprocess
import sys

import pytest

from support.process import ENVIRONMENT, LIMIT, PROGRAM, run


def test_a_line_is_answered_before_the_next_is_written() -> None:
    with subprocess.Popen(
        [*PROGRAM, "loss", "--jsonl"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ENVIRONMENT,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for target in (0, 1, 0):
            process.stdin.write(json.dumps({"logits": [0, 0], "target": target}) + "\n")
            process.stdin.flush()
            if not select.select([process.stdout], [], [], LIMIT)[0]:
                process.kill()
                pytest.fail(f"no answer within {LIMIT:g} seconds")
            assert json.loads(process.stdout.readline())["target"] == target


MEASURED = """
import resource, sys
from cecli.cli.jsonl import Common, answer_lines
LINES = b'{"logits": [2.5, 1.5, 0.5, 4.5], "target": 0}\\n' * int(sys.argv[1])
class Endless:
    left, read = 25, None
    def read1(self, size):
        self.left -= 1
        return LINES if self.left > 0 else b""
for place, text in enumerate(answer_lines(Endless(), Common("grad", False, {}, None))):
    if place == 5:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(
    ("lines", "most"), [(1000, 4), pytest.param(20_000, 20, marks=pytest.mark.slow)]
)
def test_memory_is_bounded(lines: int, most: int) -> None:
    """Twenty-four chunks of lines take hardly more than the first six."""
    outcome = run(str(lines), program=[sys.executable, "-c", MEASURED])
    assert int(outcome.stdout) < most
