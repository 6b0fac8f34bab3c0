"""The logits of a real classifier, of 1,797 handwritten digits, against many-digit arithmetic."""

from __future__ import annotations

import json
from pathlib import Path

import mpmath
import numpy as np
import pytest
from click.testing import CliRunner

from cecli.cli.main import main
from support.paths import DIGITS


@pytest.mark.parametrize("command", ["loss", "grad"])
def test_digits(command: str, tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    arguments = [command, f"{DIGITS}:logits", "-t", f"{DIGITS}:target", "--json", "-o", str(output)]
    outcome = CliRunner().invoke(main, [*arguments, "--dtype", "float64"])
    assert outcome.exit_code == 0, outcome.stderr
    document = json.loads(outcome.stdout)
    with np.load(DIGITS, allow_pickle=False) as data:
        logits, target = data["logits"], data["target"]
    assert logits.shape == (1797, 10)
    assert logits.dtype == np.float32
    assert (document["samples"], document["classes"], document["divisor"]) == (1797, 10, 1797.0)
    assert document["accuracy"] == (logits.argmax(axis=1) == target).mean()
    expected = []
    with mpmath.workdps(40):
        losses = []
        for row, index in zip(logits.tolist(), target.tolist(), strict=True):
            exponentials = [mpmath.exp(z) for z in row]
            total = mpmath.fsum(exponentials)
            losses.append(mpmath.log(total) - row[index])
            probabilities = [e / total for e in exponentials]
            probabilities[index] -= 1
            expected.append([float(p / len(target)) for p in probabilities])
        loss = float(mpmath.fsum(losses) / len(losses))
    assert document["loss"] == pytest.approx(loss, rel=2**-51)
    written = np.load(output, allow_pickle=False)
    if command == "loss":
        np.testing.assert_allclose(written, [float(x) for x in losses], rtol=2**-51)
    else:
        np.testing.assert_allclose(written, expected, rtol=2**-50)
