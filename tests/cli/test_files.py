"""Files as commands name them: in errors, in one another's names, as input and output at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cecli.cli.main import main
from cecli.input.arguments import read_document
from support.in_process import complaint, printed, shown
from support.reading import error_of, read_target

LOGITS = np.array([[2.0, 1.0, 0.1], [-1.5, 0.25, 3.0]])
BFLOAT16 = np.array([[1.0, -2.5, 3.140625], [0.0, -np.inf, 1e-38]], dtype=np.float32)


# --- Where a number stands ----------------------------------------------------------------------


def test_nan_far_down_is_found_with_its_file(folder: Path) -> None:
    logits = np.zeros((13_000, 4), dtype=np.float32)
    logits[12_345, 2] = np.nan
    np.save("logits.npy", logits)
    np.save("labels.npy", np.zeros(13_000, dtype=np.int64))
    line = complaint("grad", "logits.npy", "-t", "labels.npy", "-o", "grad.npy")
    assert "'logits.npy': logit 2 of sample 12345 is NaN" in line
    assert not Path("grad.npy").exists()


def test_bad_target_is_found_with_its_file(folder: Path) -> None:
    np.savez("data.npz", logits=LOGITS, target=np.array([0, 3]), weight=np.array([1.0, -1.0, 1.0]))
    np.save("labels.npy", np.array([0, 3]))
    line = complaint("loss", "data.npz:logits", "-t", "labels.npy")
    assert "'labels.npy': target 3 of sample 1 is out of range" in line
    line = complaint("loss", "data.npz:logits", "-t", "data.npz:target")
    assert "'data.npz:target': target 3 of sample 1 is out of range" in line
    line = complaint("loss", "data.npz:logits", "-t", "0,1", "--weight", "data.npz:weight")
    assert "'data.npz:weight': weight 1 is -1" in line
    assert ": target 7 of sample 0" in complaint("loss", "data.npz:logits", "-t", "7,1")
    np.save("few.npy", np.array([0]))
    line = complaint("loss", "data.npz:logits", "-t", "few.npy")
    assert "'few.npy': 1 target for 2 samples" in line


def test_what_is_bad_in_a_document_is_told_with_its_file(folder: Path) -> None:
    Path("z.csv").write_text("a,b,target\n1,2,0\n3,4,5\n")
    assert "'z.csv': target 5 of sample 1 is out of range" in complaint("loss", "z.csv")
    Path("z.json").write_text('{"logits": [1, 2], "soft_target": [0.5, 0.6]}')
    assert "'z.json': soft target sums to 1.1" in complaint("loss", "z.json")
    np.save("q.npy", np.array([[0.5, 0.5]]))
    line = complaint("loss", "z.json", "-q", "q.npy")
    assert "'q.npy': class probabilities of shape (1, 2) do not fit" in line
    line = complaint("loss", "z.json", "--weight", "1,2,3")
    assert ": weight has shape (3,)" in line


def test_a_comma_in_the_name_of_a_file(folder: Path) -> None:
    Path("lr=0.1,wd=0.01").mkdir()
    np.save("lr=0.1,wd=0.01/t.npy", np.array([1, 0]))
    np.save("a.npy,b.npy", np.array([1, 1]))
    Path("l,1.txt").write_text("cat\ndog\n")
    arguments = ["loss", "[[1, 2], [3, 4]]", "--labels", "l,1.txt"]
    found = printed(*arguments, "-t", "lr=0.1,wd=0.01/t.npy")
    assert (found["target"], found["labels"]) == ([1, 0], ["cat", "dog"])
    assert printed(*arguments, "-t", "a.npy,b.npy")["target"] == [1, 1]


def test_the_target_of_another_document(folder: Path) -> None:
    Path("t.json").write_text('{"logits": [[1, 2], [3, 4]], "target": [1, "cat"]}')
    Path("t.jsonl").write_text('{"logits": [1], "target": 1}\n{"target": "cat"}\n0\n')
    assert read_target("t.json", ("cat", "dog")).tolist() == [1, 0]
    assert read_target("t.jsonl", ("cat", "dog")).tolist() == [1, 0, 0]
    Path("t.json").write_text('{"logits": [[1, 2], [3, 4]]}')
    assert """'t.json': the object has no "target\"""" in error_of(read_target, "t.json", None)


def test_two_columns_of_targets(folder: Path) -> None:
    Path("z.csv").write_text("a,target,b,target\n1,0,2,7\n")
    for arguments in (["z.csv"], ["1", "2", "-t", "z.csv"]):
        line = complaint("loss", *arguments)
        assert "'z.csv': columns 2 and 4, 'target' and 'target', could both hold the" in line


@pytest.mark.parametrize("removed", [(0, 60), (100, 140)])
def test_an_archive_that_lost_bytes(folder: Path, removed: tuple[int, int]) -> None:
    np.savez("z.npz", logits=np.ones((20, 3)))
    content = Path("z.npz").read_bytes()
    Path("z.npz").write_bytes(content[: removed[0]] + content[removed[1] :])
    error = error_of(read_document, ["z.npz:logits"], None)
    assert "not an .npz file, or a damaged one" in error


def test_a_sum_of_probabilities_at_the_limit(folder: Path) -> None:
    for soft in ("0.5,0.5,0.01", "0.5,0.49,0"):
        assert printed("loss", "1", "2", "3", "-q", soft)["soft_target"][0] == 0.5
    assert "sums to 1.0101" in complaint("loss", "1", "2", "3", "-q", "0.5,0.5,0.0101")


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_mapped_input_may_be_the_output_through_a_link(folder: Path, link: str) -> None:
    logits = np.random.default_rng(1).normal(size=(50_000, 10))
    np.save("z.npy", logits)
    getattr(Path("link.npy"), link)("z.npy")
    outcome = CliRunner().invoke(main, ["softmax", "z.npy", "-o", "link.npy", "--top", "1"])
    assert outcome.exit_code == 0, outcome.stderr
    np.testing.assert_allclose(np.load("link.npy").sum(axis=1), 1.0)
    other = np.load("z.npy")
    # A hard link is another name, which is given to the new file; the old one keeps its content.
    expected = logits.sum(axis=1) if link == "hardlink_to" else np.ones(50_000)
    np.testing.assert_allclose(other.sum(axis=1), expected, rtol=1e-9, atol=1e-9)


# The names of files that are written.

GRAD = ["grad", "2.0", "1.0", "0.1", "-t", "0"]


def test_links_that_go_round(folder: Path) -> None:
    for one, other in (("a.npy", "b.npy"), ("b.npy", "a.npy")):
        (folder / one).symlink_to(other)
    line = complaint(*GRAD, "-o", "a.npy")
    for word in ("cannot write", "a.npy", "symbolic links"):
        assert word in line


@pytest.mark.parametrize("suffix", ["npy", "json"])
def test_the_longest_name(folder: Path, suffix: str) -> None:
    for letter in ("a", "\N{GREEK SMALL LETTER OMEGA}"):
        path = folder / (letter * (250 // len(letter.encode())) + "." + suffix)
        shown(*GRAD, "-o", str(path))
        assert list(folder.iterdir()) == [path]
        path.unlink()


def test_an_empty_name() -> None:
    assert "cannot write '': -o takes the name of a file" in complaint(*GRAD, "-o", "")


def test_integers_of_a_file_of_weights_are_not_rounded(folder: Path) -> None:
    np.save("w.npy", np.array([2**53 + 1, 1]))
    for option, name in (
        ("--weight", "weight 0"),
        ("--sample-weight", "sample_weight of sample 0"),
    ):
        text = complaint("loss", "[[1,2],[2,1]]", "-t", "0,1", option, "w.npy")
        assert f"'w.npy': {name} is {2**53 + 1}: no double holds this integer" in text
