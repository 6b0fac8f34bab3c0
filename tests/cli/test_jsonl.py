"""JSON Lines, sample by sample: answers of their own, in bounded memory, errors with their line."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import cecli
from cecli.answer.answer import Command
from cecli.cli.jsonl import Common, answer_lines
from cecli.cli.main import main


class Trickle(io.BytesIO):
    """A stream of which a few bytes are there at a time, as on a pipe."""

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read1(7)


def run(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(main, arguments, input=stdin, prog_name="cecli")


def parsed(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def complaint(result: Result) -> str:
    assert result.exit_code == 2
    return result.stderr.strip().splitlines()[-1]


samples = st.lists(
    st.lists(st.floats(-50, 50) | st.integers(-50, 50), min_size=1, max_size=4).flatmap(
        lambda logits: st.one_of(
            st.just({"logits": logits, "target": 0}),
            st.builds(lambda t: {"logits": logits, "target": t}, st.integers(0, len(logits) - 1)),
            st.just({"logits": logits, "soft_target": [1 / len(logits)] * len(logits)}),
            st.just({"logits": logits, "target": 0, "objective": {"temperature": 2.0}}),
            st.just({"logits": logits, "target": "a", "labels": [*"abcd"[: len(logits)]]}),
        )
    ),
    max_size=20,
)


@given(samples, st.sampled_from(["loss", "grad"]))
def test_lines_are_what_each_sample_is_alone(lines: list[dict[str, Any]], command: Command) -> None:
    text = "\n".join(map(json.dumps, lines)).encode()
    for stream in (io.BytesIO(text), Trickle(text)):
        found = "".join(answer_lines(stream, Common(command, False, {}, None)))
        answers = [json.loads(line) for line in found.splitlines()]
        assert len(answers) == len(lines)
        for answer, line in zip(answers, lines, strict=True):
            if "soft_target" in line:
                target = np.array(line["soft_target"])
                assert "target" not in answer
            else:
                target = np.array(0 if line["target"] == "a" else line["target"])
                assert answer["target"] == target
            logits = np.array(line["logits"], dtype=float)
            alone = cecli.cross_entropy(logits, target, **line.get("objective", {}))
            assert answer["loss"] == alone.loss
            assert list(answer)[-1] == command
            if command == "grad":
                assert answer["grad"] == alone.grad.tolist()


def test_softmax_reads_lists() -> None:
    result = run("softmax", "--jsonl", "--exact", stdin='[2, 1, 0.1]\n\n{"logits": [1, 1]}\r\n[0]')
    assert parsed(result) == [
        {"softmax": [0.6590011388859679, 0.24243297070471392, 0.09856589040931817]},
        {"softmax": [0.5, 0.5]},
        {"softmax": [1.0]},
    ]


def test_infinities_are_words_in_both_directions() -> None:
    line = '{"logits": [1, "-Infinity"], "target": 1}\n'
    assert parsed(run("loss", "--jsonl", stdin=line)) == [{"target": 1, "loss": "Infinity"}]


def test_gradient_is_of_the_sample_and_not_of_the_mean() -> None:
    line = '{"logits": [2, 1], "target": 0, "objective": {"reduction": "mean"}}\n'
    both = parsed(run("grad", "--jsonl", stdin=line * 2))
    assert both[0] == both[1] == parsed(run("grad", "--jsonl", stdin=line))[0]


def test_options_win_over_the_lines() -> None:
    line = '{"logits": [2, 1], "target": 0, "objective": {"temperature": 3}}\n'
    answers = parsed(run("loss", "--jsonl", "--temperature", "2", "--weight", "2,1", stdin=line))
    expected = cecli.cross_entropy([2, 1], 0, temperature=2, weight=[2, 1], reduction="none")
    assert answers[0]["loss"] == expected.loss


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ("{", "not valid JSON"),
        ("7", "not a list of numbers"),
        ('{"target": 0}', 'no "logits"'),
        ('{"logits": [1, 2]}', "a target is needed"),
        ("[1, 2]", "a target is needed"),
        ('{"logits": [[1, 2]], "target": [0]}', "one sample"),
        ('{"logits": [1, "x"], "target": 0}', "logits[1] is 'x'"),
        ('{"logits": [1, true], "target": 0}', "logits[1] is true"),
        ('{"logits": [1, "NaN"], "target": 0}', "NaN"),
        ('{"logits": [1, 2], "target": 2}', "target 2"),
        ('{"logits": [1, 2], "target": 0, "objective": {"axis": 1}}', "axis 1"),
        ('{"logits": [1, 2], "target": 0, "labels": ["a"]}', "1 labels for 2 classes"),
        ('{"logits": [1, 2], "target": 0, "objective": 3}', "the objective is 3"),
        ('{"omitted": ["logits"]}', "--arrays"),
    ],
)
def test_bad_line_says_its_number(bad: str, error: str) -> None:
    good = '{"logits": [1, 2], "target": 1}\n'
    result = run("grad", "--jsonl", stdin=good + "\n" + bad + "\n" + good)
    line = complaint(result)
    assert "standard input: line 3: " in line
    assert error in line
    assert len(result.stdout.splitlines()) == 1


def test_lines_computed_together_are_read_as_they_are_alone() -> None:
    first = '{"logits": [1, 2], "label": 0}\n'
    nearly = run("loss", "--jsonl", stdin=first + '{"logits": [1, 2], "label": 0, "temprature": 2}')
    assert "line 2: the object holds 'temprature': did you mean 'temperature'?" in complaint(nearly)
    found = parsed(run("loss", "--jsonl", stdin=first + '{"logits": [1, 2], "label": 1}\n'))
    assert [line["target"] for line in found] == [0, 1]
    without = run("loss", "--jsonl", stdin=first + '{"logits": [1, 2], "label": "a"}')
    assert "line 2: a target is needed" in complaint(without)


def test_bad_bytes_and_files(tmp_path: Path) -> None:
    path = tmp_path / "z.jsonl"
    path.write_bytes(b'{"logits": [1, 2], "target": 1}\n[\xff]\n')
    line = complaint(run("grad", str(path), "--jsonl"))
    assert "z.jsonl': line 2: byte 1 is not valid UTF-8" in line
    assert "no such file" in complaint(run("grad", str(tmp_path / "no.jsonl"), "--jsonl"))


@pytest.mark.parametrize(
    "option", ["-t 0", "-q 1,0", "--check", "--reduction mean", "-o x.npy", "--json", "--key a"]
)
def test_options_that_do_not_go_with_lines(option: str) -> None:
    complaint(run("grad", "--jsonl", *option.split(), stdin='{"logits": [1, 2], "target": 1}\n'))


def test_other_input_is_printed_as_lines(tmp_path: Path) -> None:
    answers = parsed(run("grad", "[[2, 1], [0, 3]]", "-t", "0,1", "--jsonl"))
    losses = cecli.cross_entropy([[2, 1], [0, 3]], [0, 1], reduction="none")
    assert [answer["loss"] for answer in answers] == losses.losses.tolist()
    assert [answer["grad"] for answer in answers] == losses.grad.tolist()
    path = tmp_path / "out.jsonl"
    text = run("grad", "[[2, 1], [0, 3]]", "-t", "0,1", "--jsonl").stdout
    run("grad", "[[2, 1], [0, 3]]", "-t", "0,1", "-o", str(path))
    assert path.read_text() == text
    assert parsed(run("softmax", "1", "1", "--jsonl")) == [{"softmax": [0.5, 0.5]}]
