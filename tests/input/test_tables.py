"""Tables as people write them: what each column is, and never a wrong number in silence."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cecli
from cecli.errors import CecliError
from cecli.input import collected, tables
from cecli.input.arguments import read_document, read_values
from cecli.input.columns import Choice, column_places, layout_of
from cecli.problem.rows import Joined
from cecli.problem.stored import forget_files
from support.each import each
from support.in_process import complaint, printed, run
from support.paths import CASES
from support.reading import read_target

pytestmark = pytest.mark.usefixtures("folder")
RANDOM = np.random.default_rng(5)
Z = np.array([[0.5, -1.25, 2.0], [1.5, 0.25, -0.75], [-2.5, 3.125, 0.0]])
ROWS = "0.5,-1.25,2.0\n1.5,0.25,-0.75\n-2.5,3.125,0.0\n"
FIELD = json.loads((CASES / "field.json").read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str, name: str = "x.csv") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def error_of(read: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(CecliError) as caught:
        read(*arguments)
    assert str(caught.value).isprintable()
    return str(caught.value)


def logits_of(text: str, **known: Any) -> list[Any]:
    return read_document([write(text)], None, choice=Choice(**known)).logits.tolist()  # type: ignore[no-any-return]


# --- Situations of the field ----------------------------------------------------------------------


@each("case", FIELD)
def test_a_situation_of_the_field(case: dict[str, Any]) -> None:
    for name, text in case.get("files", {}).items():
        write(text, name)
    if "gz" in case:
        Path(f"{case['gz']}.gz").write_bytes(gzip.compress(Path(case["gz"]).read_bytes()))
    stdin = Path(case["stdin"]).read_bytes() if "stdin" in case else b""
    outcome = run(*case["argv"], "--json", stdin=stdin)
    if "loss" not in case:
        assert (outcome.status, outcome.stdout) == (2, "")
        return
    assert outcome.status == 0, outcome.stderr
    assert json.loads(outcome.stdout)["loss"] == pytest.approx(
        case["loss"], rel=case.get("rtol", 1e-14)
    )
    for word in case.get("stderr", []):
        assert word in outcome.stderr


# --- Headers --------------------------------------------------------------------------------------


def test_a_counting_header_is_one_above_fractions() -> None:
    assert logits_of("0,1,2\n" + ROWS) == Z.tolist()
    assert read_document([write("0,1,2\n" + ROWS)], None).labels is None


@pytest.mark.parametrize(("samples", "rows"), [(2, 2), (3, 3)])
def test_the_number_of_targets_settles_a_counting_header(samples: int, rows: int) -> None:
    text = "0,1,2\n3,4,5\n6,7,8\n"
    assert len(logits_of(text, samples=lambda: samples)) == rows
    write(text)
    assert len(printed("loss", "x.csv", "-t", "1,1,1"[: 2 * samples - 1])["logits"]) == rows


def test_a_counting_header_above_integers_is_refused() -> None:
    write("0,1,2\n3,4,5\n")
    for arguments in (["softmax"], ["loss", "-t", "1,1,1"]):
        assert "--header or --no-header" in complaint(arguments[0], "x.csv", *arguments[1:])
    assert printed("softmax", "x.csv", "--header")["logits"] == [3, 4, 5]
    assert printed("softmax", "x.csv", "--no-header")["logits"] == [[0, 1, 2], [3, 4, 5]]
    assert "--header or --no-header" in complaint("softmax", "-", stdin="0,1,2\n3,4,5\n")


def test_a_single_row_is_no_header() -> None:
    assert logits_of("0,1,2\n") == [0, 1, 2]


def test_a_header_of_numbers_when_it_is_said() -> None:
    assert logits_of("10,20,30\n" + ROWS) == [[10, 20, 30], *Z.tolist()]
    document = read_document([write("10,20,30\n" + ROWS)], None, choice=Choice(header=True))
    assert document.labels == ("10", "20", "30")
    assert document.logits.tolist() == Z.tolist()


def test_a_slip_of_the_pen_does_not_vanish() -> None:
    error = error_of(read_document, [write("0.5,2.O,1\n" + ROWS)], None)
    assert "line 1, column 2: '2.O' is not a number" in error
    assert "--header" in error


@pytest.mark.parametrize("header", ["id,0,1,2", ",0,1,2", "0,1,2,label", "row,0,1,2"])
def test_numbers_beside_a_known_name_are_a_header(header: str) -> None:
    rows = [row.split(",") for row in ROWS.splitlines()]
    for place, row in enumerate(rows):
        row.insert(0 if header.endswith("2") else 3, str(place % 2))
    text = "\n".join([header, *map(",".join, rows)])
    assert logits_of(text) == Z.tolist()


def test_a_decimal_comma_between_commas_is_told() -> None:
    error = error_of(read_document, [write('a,b\n"1,5","2,5"\n')], None)
    assert "line 2, column 1: '1,5' is not a number; with a decimal point it is: 1.5" in error


# --- Columns --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["target", "Label", "LABELS", "y", "y_true", "class"])
def test_a_column_of_targets(name: str) -> None:
    table = [row.split(",") for row in ROWS.splitlines()]
    text = "\n".join(
        [f"a,{name},b,c", *(f"{p},{t},{q},{r}" for (p, q, r), t in zip(table, "201", strict=True))]
    )
    document = read_document([write(text)], None)
    assert document.target is not None
    assert document.target.tolist() == [2, 0, 1]
    assert document.logits.tolist() == Z.tolist()
    assert document.labels == ("a", "b", "c")
    outcome = run("loss", "x.csv", "-t", "0,0,0", "--json")
    assert json.loads(outcome.stdout)["target"] == [0, 0, 0]
    assert outcome.stderr == f"cecli loss: column '{name}' is left out: it holds targets\n"


def test_targets_with_fractions_are_refused() -> None:
    text = "x,y,z\n" + ROWS
    assert "target[0] is '-1.25': a class index is a whole number" in error_of(
        read_document, [write(text)], None
    )
    assert logits_of(text, columns="x,y,z") == Z.tolist()


def test_targets_that_pandas_made_floats() -> None:
    document = read_document([write("a,b,label\n0.5,1.5,1.0\n2.5,0.5,0.0\n")], None)
    assert document.target is not None
    assert document.target.tolist() == [1, 0]


def test_columns_of_one_prefix() -> None:
    text = "mean,logit_2,logit_0,note,logit_1\n9,2.0,0.5,x,-1.25\n9,-0.75,1.5,y,0.25\n"
    document = read_document([write(text)], None)
    assert document.logits.tolist() == Z[:2].tolist()
    assert document.labels is None
    assert document.notes == ("columns 'mean', 'note' are left out: they are no classes",)


def test_two_families_are_refused() -> None:
    text = "z0,z1,p0,p1\n1,2,0.5,0.5\n3,4,0.5,0.5\n"
    assert "'p0' on and from 'z0' on" in error_of(read_document, [write(text)], None)
    assert logits_of(text, columns="z*") == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "name", ["id", "Index", "idx", "row", "sample", "sample_id", "user_id", "", "Unnamed: 0"]
)
def test_identifiers_are_left_out(name: str) -> None:
    text = f"{name},a,b,c\n" + "".join(f"{7 * i},{row}\n" for i, row in enumerate(ROWS.split()))
    document = read_document([write(text)], None)
    assert document.logits.tolist() == Z.tolist()
    assert len(document.notes) == 1
    assert repr(name) in document.notes[0] or "without a name" in document.notes[0]


@pytest.mark.parametrize("name", ["pred", "y_pred", "Prediction", "predicted", "proba", "split"])
def test_what_is_no_class_may_be_text(name: str) -> None:
    text = f"a,b,c,{name}\n" + "".join(f"{row},train\n" for row in ROWS.split())
    assert logits_of(text) == Z.tolist()


def test_a_column_that_counts_is_refused() -> None:
    text = "nr,a,b,c\n" + "".join(f"{4 + i},{row}\n" for i, row in enumerate(ROWS.split()))
    error = error_of(read_document, [write(text)], None)
    assert "'nr' counts its rows" in error
    assert "--columns" in error
    assert logits_of(text, columns="a:c") == Z.tolist()
    bare = "".join(f"{4 + i},{row}\n" for i, row in enumerate(ROWS.split()))
    assert "column 1 counts its rows" in error_of(read_document, [write(bare)], None)
    assert logits_of(bare, columns="2:4") == Z.tolist()
    # Where other columns are whole too, nothing tells it from a class.
    assert logits_of("a,b\n1,5\n2,9\n3,9\n") == [[1, 5], [2, 9], [3, 9]]


def test_no_class_is_left() -> None:
    assert "no column is a class" in error_of(read_document, [write("id,label\n1,0\n")], None)


NAMES = ("id", "cat", "dog", "big,bird", "2", "z_0", "z_1")


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("cat,dog", [1, 2]),
        ("dog, cat", [2, 1]),
        ('"big,bird",cat', [3, 1]),
        ("cat:z_0", [1, 2, 3, 4, 5]),
        ("z_0:", [5, 6]),
        (":cat", [0, 1]),
        ("z_*", [5, 6]),
        ("?at,z_[1]", [1, 6]),
        ("1,3", [0, 2]),
        ("6:7", [5, 6]),
        ("2", [4]),  # a name comes before a number
        ("cat,cat:dog", [1, 2]),
    ],
)
def test_words_for_columns(text: str, places: list[int]) -> None:
    assert column_places(text, NAMES, len(NAMES)) == places


@pytest.mark.parametrize("text", ["", "cow", "8", "0", "dog:cat", "x*", "cat,,dog"])
def test_words_for_no_columns(text: str) -> None:
    error_of(column_places, text, NAMES, len(NAMES))


@given(
    st.lists(st.sampled_from([*NAMES, "y", "label", "", "pred", "logit0", "logit1"]), min_size=1)
)
def test_a_layout_has_each_column_once(names: list[str]) -> None:
    try:
        layout = layout_of(names, len(names), Choice())
    except CecliError:
        return
    used = [*layout.classes, *([] if layout.target is None else [layout.target])]
    assert len(used) == len(set(used))
    assert len(used) + len(layout.left_out) == len(names)


# --- Cells ----------------------------------------------------------------------------------------


def test_decimal_commas() -> None:
    text = "a;b;c\n0,5;-1,25;2\n1,5;0,25;-0,75\n"
    assert logits_of(text) == Z[:2].tolist()
    assert logits_of(text.partition("\n")[2]) == Z[:2].tolist()
    assert logits_of("a;b\n0.5;1\n") == [0.5, 1]
    for mixed in ("a;b\n1.000;0,5\n", "a;b\n0,5;1.5\n", "a;b\n1.000,5;2\n"):
        assert "line 2" in error_of(read_document, [write(mixed)], None)


def test_comments_and_blank_lines() -> None:
    text = "# made by somebody\n#\na,b,c\n\n# more\n" + ROWS.replace("\n", "\n#x\n") + "\n\n"
    assert logits_of(text) == Z.tolist()
    error = error_of(read_document, [write(text.replace("3.125", "x"))], None)
    assert "line 10, column 2: 'x'" in error


@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
def test_tabs(name: str) -> None:
    write("a\tb\tc\n" + ROWS.replace(",", "\t"), name)
    assert read_document([name], None).logits.tolist() == Z.tolist()


@pytest.mark.parametrize("word", ["inf", "-inf", "NaN", "Infinity", "1e300", "-.5", "5.", "+2"])
@pytest.mark.parametrize("long", [False, True])
def test_words_for_numbers(word: str, long: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "FIRST_BYTES", 64)
    rows = "1.5,2.5\n" * (100 if long else 1) + f"{word},2.5\n"
    assert str(logits_of("a,b\n" + rows)[-1][0]) == str(float(word))


@pytest.mark.parametrize("word", ["1e999", "1_0", "٣", "0x10", "nil", "", "1,5", "1.5f", "--1"])
@pytest.mark.parametrize("long", [False, True])
def test_what_is_no_number(word: str, long: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "FIRST_BYTES", 64)
    rows = "1.5,2.5\n" * (100 if long else 2) + f'"{word}",2.5\n'
    line = 102 if long else 4
    assert f"line {line}, column 1: {word!r}" in error_of(
        read_document, [write("a,b\n" + rows)], None
    )


# --- Long tables ----------------------------------------------------------------------------------


@pytest.fixture(params=["in one block", "in small blocks", "without pyarrow"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "in one block":
        return
    monkeypatch.setattr(tables, "FIRST_BYTES", 37)
    monkeypatch.setattr(tables, "BLOCK_BYTES", 53)
    monkeypatch.setattr(collected, "MOST_IN_MEMORY", 100)
    if request.param == "without pyarrow":
        monkeypatch.setitem(sys.modules, "pyarrow", None)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
def test_blocks_do_not_show(ending: str) -> None:
    logits = RANDOM.normal(size=(300, 3))
    target = RANDOM.integers(0, 3, 300)
    rows = [
        f'{i},{a!r},{b!r},"{c!r}",{"xyz"[t]}'
        for i, ((a, b, c), t) in enumerate(zip(logits.tolist(), target.tolist(), strict=True))
    ]
    rows[17] += '\n# "'
    rows[200] = rows[200].replace('"', "").replace("200,", '"2\n""0,0",', 1)
    Path("x.csv").write_bytes(
        ("\ufeffid,x,y2,z,label\n" + "\n".join(rows)).replace("\n", ending or "\n").encode()
        + ending.encode()
    )
    document = read_document(["x.csv"], None, labels=("x", "y", "z"))
    np.testing.assert_array_equal(document.logits, logits)
    np.testing.assert_array_equal(document.target, target)
    np.testing.assert_array_equal(read_target("x.csv", ("x", "y", "z")), target)
    np.testing.assert_array_equal(read_values("x.csv:z", "--weight"), logits[:, 2])


@pytest.mark.usefixtures("blocks")
@given(data=st.data())
def test_any_table_reads_as_the_csv_module_does(data: st.DataObject) -> None:
    word = st.sampled_from(["1", "-2.5", "inf", "1e5", "x", "", '"3"', '"4', " 5 ", "nan", "1e999"])
    rows = data.draw(st.lists(st.lists(word, min_size=2, max_size=2), min_size=1, max_size=40))
    text = "\n".join(map(",".join, rows))
    try:
        expected = [
            [float(cell) for cell in row] for row in csv.reader(io.StringIO(text), strict=True)
        ]
        good = "1e999" not in text
    except (ValueError, csv.Error):
        good = False
    write(text)
    choice = Choice(header=False, columns="1,2")
    if not good:
        assert error_of(read_document, ["x.csv"], None, None, None, choice)
        return
    found = read_document(["x.csv"], None, choice=choice).logits
    np.testing.assert_array_equal(found.reshape(-1, 2), expected)


@pytest.mark.slow
def test_a_long_table_takes_little_memory() -> None:
    row = ",".join(["0.123456"] * 50) + ",3\n"
    with Path("x.csv").open("w") as file:
        file.write(",".join(f"z{i}" for i in range(50)) + ",label\n")
        file.writelines(row * 1000 for _ in range(160))
    tracemalloc.start()
    try:
        document = read_document(["x.csv"], None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert document.logits.shape == (160_000, 50)
    assert Path("x.csv").stat().st_size > 70e6
    assert peak < 120e6


def test_a_long_table_is_read_from_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collected, "MOST_IN_MEMORY", 100)
    rows = RANDOM.normal(size=(50, 3))
    write("a,b,c\n" + "".join(",".join(map(repr, row)) + "\n" for row in rows.tolist()))
    given_ = read_document(["x.csv"], None).given
    assert isinstance(given_, Joined)
    assert given_.only_segment.stored is not None
    for _ in range(2):
        np.testing.assert_array_equal(np.asarray(given_), rows)
        forget_files()  # as where many files were read in the meantime
    log = printed("softmax", "x.csv", "--json")["log_softmax"]
    write("".join(",".join(map(str, row)) + "\n" for row in log), "l.csv")
    again = printed("softmax", "l.csv", "--from", "log-probabilities")["log_softmax"]
    np.testing.assert_allclose(again, log, rtol=1e-13)
    pytest.importorskip("distributed")
    line = complaint("loss", "x.csv", "-t", ",".join("0" * 50), "--cluster", "localhost:1")
    assert "the workers read logits and targets from .npy" in line


# --- Targets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("label\n1\n0\n2\n", [1, 0, 2]),
        ("truth\n1\n0\n2\n", [1, 0, 2]),
        ("0\n1\n0\n2\n", [1, 0, 2]),
        ("1\n0\n2\n", [1, 0, 2]),
        ("1.0\n0.0\n2.0\n", [1, 0, 2]),
        ("label\ndog\ncat\nbird\n", [1, 0, 2]),
        ("dog\ncat\nbird\n", [1, 0, 2]),
        ("id,label\n7,dog\n8,cat\n9,bird\n", [1, 0, 2]),
        ("id,truth\n7,dog\n8,cat\n9,bird\n", [1, 0, 2]),
        (",0\n0,1\n1,0\n2,2\n", [1, 0, 2]),
    ],
)
def test_a_file_of_targets(text: str, expected: list[int]) -> None:
    for name in ("t.csv",) if "," in text else ("t.csv", "t.txt"):
        choice = Choice(samples=lambda: 3)
        found = read_target(write(text, name), ("cat", "dog", "bird"), choice)
        assert found.tolist() == expected
        batch = ["[[1,2,3],[3,2,1],[2,2,2]]", "-t", name, "--labels", "cat,dog,bird"]
        assert printed("loss", *batch)["target"] == expected


def test_a_misspelled_first_target_is_no_header() -> None:
    error = error_of(
        read_target, write("ctat\ndog\n", "t.csv"), ("cat", "dog"), Choice(samples=lambda: 2)
    )
    assert "target[0] is 'ctat'" in error
    assert "did you mean 'cat'?" in error


def test_a_column_by_its_name() -> None:
    write("cat,dog,truth,split\n0.5,1.5,1,a\n2.5,0.25,0,b\n")
    document = printed("loss", "x.csv", "-t", "x.csv:truth", "--columns", "cat,dog")
    assert document["target"] == [1, 0]
    assert document["labels"] == ["cat", "dog"]
    assert "there is no column 'trut': the file has columns 'cat', 'dog', 'truth', 'split'" in (
        complaint("loss", "x.csv", "-t", "x.csv:trut", "--columns", "cat,dog")
    )
    assert read_target("x.csv:3", None).tolist() == [1, 0]
    assert "--columns" in complaint("softmax", "x.csv:cat")


def test_a_label_that_is_another_index() -> None:
    write("2,1,label\n0.5,1.5,2\n", "x.csv")
    assert "target '2' is the index 2 or the label of class 0" in complaint("loss", "x.csv")


# --- Compressed files, pipes and standard input ---------------------------------------------------


@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt", "json", "jsonl", "npy"])
def test_compressed_files(suffix: str) -> None:
    if suffix == "npy":
        np.save("z.npy", Z)
    else:
        rows = {"json": json.dumps(Z.tolist()), "jsonl": "\n".join(map(str, Z.tolist()))}
        write(rows.get(suffix, ROWS.replace(",", "\t" if suffix == "tsv" else ",")), f"z.{suffix}")
    Path(f"z.{suffix}.gz").write_bytes(gzip.compress(Path(f"z.{suffix}").read_bytes()))
    np.testing.assert_array_equal(read_document([f"z.{suffix}.gz"], None).logits, Z)


def test_damaged_and_exploding_compressed_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cecli.input.array_files._MOST_INFLATED", 1 << 20)
    whole = gzip.compress(ROWS.encode() * 100)
    for data in (b"no gzip", whole[:-20], whole[:20] + b"\0\0" + whole[22:]):
        Path("x.csv.gz").write_bytes(data)
        assert "not a .gz file, or a damaged one" in error_of(read_document, ["x.csv.gz"], None)
    Path("x.csv.gz").write_bytes(gzip.compress(b"0,0\n" * (1 << 19)))
    assert "inflates more than 100 times" in error_of(read_document, ["x.csv.gz"], None)


@pytest.mark.parametrize(
    "data",
    [
        ("cat,dog,bird\n" + ROWS).encode(),
        ("0,1,2\n" + ROWS).encode(),
        ("a\tb\tc\n" + ROWS.replace(",", "\t")).encode(),
        b"a;b;c\n" + ROWS.replace(",", ";").replace(".", ",").encode(),
        ROWS.encode(),
    ],
)
def test_tables_on_standard_input(data: bytes) -> None:
    for piped in (data, gzip.compress(data)):
        assert read_document([], io.BytesIO(piped)).logits.tolist() == Z.tolist()


def test_an_array_on_standard_input() -> None:
    file = io.BytesIO()
    np.save(file, Z.astype(np.float32))
    document = read_document(["-"], io.BytesIO(file.getvalue()))
    assert document.logits.dtype == np.float32
    np.testing.assert_array_equal(document.logits, Z.astype(np.float32))


def test_process_substitution() -> None:
    write("cat,dog,bird,label\n" + ROWS.replace("\n", ",1\n"))
    Path("x.csv.gz").write_bytes(gzip.compress(Path("x.csv").read_bytes()))
    command = f"{sys.executable} -m cecli loss <(zcat x.csv.gz) --json"
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"}
    outcome = subprocess.run(["bash", "-c", command], capture_output=True, env=environment)
    assert outcome.returncode == 0, outcome.stderr
    expected = cecli.cross_entropy(Z, np.array([1, 1, 1])).loss
    assert json.loads(outcome.stdout)["loss"] == expected


# --- Parquet and Arrow ----------------------------------------------------------------------------


def arrow_files(table: Any) -> list[str]:
    """The table in all formats."""
    import pyarrow as pa
    from pyarrow import feather, parquet

    parquet.write_table(table, "x.parquet", row_group_size=2)
    feather.write_feather(table, "x.feather")
    for name, make in (("file.arrow", pa.ipc.new_file), ("stream.arrow", pa.ipc.new_stream)):
        with pa.OSFile(name, "wb") as sink, make(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    return ["x.parquet", "x.feather", "file.arrow", "stream.arrow"]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_columns_of_arrow(dtype: str) -> None:
    pa = pytest.importorskip("pyarrow")
    logits = Z.astype(dtype)
    columns: dict[str, Any] = {"id": [7, 8, 9], "a": logits[:, 0], "b": logits[:, 1]}
    table = pa.table({**columns, "c": logits[:, 2], "label": ["b", "a", "c"]})
    for name in arrow_files(table):
        document = read_document([name], None)
        assert document.logits.dtype == dtype
        np.testing.assert_array_equal(document.logits, logits)
        assert document.target is not None
        assert document.target.tolist() == [1, 0, 2]
        assert document.labels == ("a", "b", "c")
        assert "'id'" in document.notes[0]
        assert read_target(f"{name}:label", ("a", "b", "c")).tolist() == [1, 0, 2]
        assert read_values(f"{name}:b", "--weight").tolist() == logits[:, 1].tolist()


def test_columns_of_one_name_in_arrow() -> None:
    pa = pytest.importorskip("pyarrow")
    for name in arrow_files(pa.table([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], names=["a", "b", "a"])):
        assert complaint("softmax", name).endswith("several columns are headed 'a'")
        assert read_values(f"{name}:b", "--weight").tolist() == [3.0, 4.0]


def test_a_column_of_lists() -> None:
    pa = pytest.importorskip("pyarrow")
    for kind in (pa.list_(pa.float32()), pa.list_(pa.float32(), 3), pa.large_list(pa.float32())):
        logits = pa.array(Z.tolist(), kind)
        table = pa.table({"name": ["x", "y", "z"], "logits": logits, "labels": [1, 0, 2]})
        for name in arrow_files(table):
            document = read_document([name], None)
            np.testing.assert_array_equal(document.logits, Z.astype(np.float32))
            assert document.target is not None
            assert document.target.tolist() == [1, 0, 2]
            assert document.labels is None


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"a": [1.0, None], "b": [1.0, 2.0]}, "column 'a' has a row without a value"),
        ({"a": ["x", "y"], "b": [1.0, 2.0]}, "column 'a' holds string, not numbers"),
        ({"z": [[1.0, 2.0], [3.0]]}, "lists of different lengths"),
        ({"a": [1.5, 2.5], "b": [1.0, 2.0], "y": [0, None]}, "'y' has a row without a value"),
        ({"nr": [4, 5], "a": [1.5, 2.5]}, "'nr' counts its rows"),
        ({"y": [1, 2], "label": [1, 2], "a": [1.5, 2.5]}, "could both hold the targets"),
    ],
)
def test_errors_in_arrow(columns: dict[str, Any], words: str) -> None:
    pa = pytest.importorskip("pyarrow")
    for name in arrow_files(pa.table(columns)):
        assert words in error_of(read_document, [name], None)


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather"])
def test_damaged_arrow_files(suffix: str) -> None:
    pytest.importorskip("pyarrow")
    for content in (b"", b"junk" * 100, b"ARROW1\0\0" + b"\xff" * 100):
        Path(f"x.{suffix}").write_bytes(content)
        assert f"not a .{suffix} file, or a damaged one" in error_of(
            read_document, [f"x.{suffix}"], None
        )


def test_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    Path("x.parquet").write_bytes(b"PAR1")
    assert "pip install pyarrow" in error_of(read_document, ["x.parquet"], None)


# --- Tensors and short types ----------------------------------------------------------------------


@pytest.mark.xdist_group("torch")
def test_tensors() -> None:
    torch = pytest.importorskip("torch")
    logits = torch.tensor(Z, dtype=torch.bfloat16, requires_grad=True)
    torch.save(logits, "z.pt")
    torch.save({"logits": logits, "labels": torch.tensor([1, 0, 2]), "epoch": 3}, "d.pth")
    torch.save([logits], "list.pt")
    for name in ("z.pt", "d.pth:logits"):
        document = printed("softmax", name)
        assert document["logits"] == Z.tolist()
    assert printed("loss", "d.pth", "--key", "logits", "-t", "d.pth:labels")["target"] == [1, 0, 2]
    assert "'logits', 'labels'" in complaint("softmax", "d.pth")
    assert "holds a list, not a tensor" in complaint("softmax", "list.pt")
    Path("bad.pt").write_bytes(b"PK\x03\x04 not a file of PyTorch")
    assert "not a file of torch.save" in complaint("softmax", "bad.pt")


class Trap:
    """Whoever unpickles it leaves a trace."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("trap"),)


def test_a_tensor_file_is_not_unpickled() -> None:
    torch = pytest.importorskip("torch")
    torch.save(Trap(), "z.pt")
    assert "not a file of torch.save" in complaint("softmax", "z.pt")
    assert not Path("trap").exists()


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
def test_float8(name: str) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = Z.astype(getattr(ml_dtypes, name))
    np.save("z.npy", array)
    np.savez("z.npz", array)
    wanted = array.astype(np.float64).tolist()
    files = ["z.npy", "z.npz"]
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(Z).to(getattr(torch, name))
    torch.save(tensor, "z.pt")
    from safetensors.torch import save_file

    save_file({"z": tensor}, "z.safetensors")
    for file in (*files, "z.pt", "z.safetensors"):
        document = printed("softmax", file)
        assert document["logits"] == wanted, file
    assert cecli.softmax(array).dtype == np.float32


def test_differences_of_columns_may_overflow(folder: Path) -> None:
    Path("z.csv").write_text("1e308,2\n-1e308,4\n")
    assert read_document(["z.csv"], None).logits.tolist() == [[1e308, 2.0], [-1e308, 4.0]]


# --- What nobody says is a class ------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("true_label", "Y-True", "ytrue", "y_test", "Ground Truth", "gt", "targets", "class name"),
        *("prob", "confidence", "sample weight", "epoch", "sampleId", "userID", "Unnamed: 4"),
    ],
)
def test_a_name_that_is_hardly_that_of_a_class_is_refused(name: str) -> None:
    values = ("0.25", "0.75", "0.5")
    rows = [f"{row},{value}\n" for row, value in zip(ROWS.split(), values, strict=True)]
    error = error_of(read_document, [write(f"a,b,c,{name}\n{''.join(rows)}")], None)
    assert repr(name) in error
    assert "--columns" in error
    assert read_document(["x.csv"], None, choice=Choice("a:c")).logits.tolist() == Z.tolist()
    # A mark says that it is a class; alone, or with a number of its own, it is what is asked for.
    assert len(logits_of(f"a,b,c,'{name}\n{''.join(rows)}", columns="1:4")[0]) == 4
    assert logits_of(f"{name}\n1.5\n2.5\n") == [[1.5], [2.5]]


def test_what_could_be_no_class_is_written_as_one() -> None:
    labels = "score,epoch,userId"
    printed("grad", "2 1 0", "1 2 0.5", "-t", "0,1", "--labels", labels, "-o", "g.csv")
    document = read_document(["g.csv"], None)
    assert document.labels == ("score", "epoch", "userId")
    assert document.logits.shape == (2, 3)


@pytest.mark.parametrize("values", ["010", "202", "777", ("12", "10", "8"), ("-100", "0", "1")])
@pytest.mark.parametrize("head", ["n,a,b,c\n", ""])
def test_a_column_of_integers_beside_fractions_is_refused(values: str, head: str) -> None:
    rows = ["0.5,1.25,2.5", "1.5,0.25,-0.75", "-2.5,3.125,0.5"]
    text = head + "".join(f"{value},{row}\n" for value, row in zip(values, rows, strict=True))
    error = error_of(read_document, [write(text)], None)
    assert ("'n' holds integers" if head else "column 1 holds integers") in error
    assert "--columns" in error
    assert len(logits_of(text, columns="1:4")[0]) == 4
    # Written with a point, so few may happen to be whole.
    pointed = head + "".join(f"{v}.0,{row}\n" for v, row in zip(values, rows, strict=True))
    assert len(logits_of(pointed)[0]) == 4
    many = head + "".join(f"{v}.0,{row}\n" for v, row in zip(values, rows, strict=True)) * 3
    if len(many.split()) - bool(head) > 8:
        assert "holds integers" in error_of(read_document, [write(many)], None)


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c\n0,0.5,1.5\n0,2.5,-1.5\n0,0.25,3.5\n",  # the class that others are measured by
        "a,b,c\n-10000,0.5,1.5\n-10000,2.5,-1.5\n-10000,0.25,3.5\n",  # masked
        "a,b,c\n0,0.25,0.75\n1,0.0,0.0\n0,0.5,0.5\n",  # probabilities
        "a,b,c\n0,0.25,-0.25\n1,-0.5,-0.5\n0,0.5,-0.5\n",  # a gradient
        "a,b\n3,0.5\n1,0.25\n2,1.5\n",  # as many of the one kind as of the other
        "a,b,c\n3,0.5,1.5\n1,0.25,2.5\n",  # two rows happen to be whole
        "a,b,c\n3,0.5,1.5\n-inf,0.25,2.5\n7,0.5,0.5\n",
    ],
)
def test_integers_that_can_be_logits(text: str) -> None:
    rows = [[float(cell) for cell in line.split(",")] for line in text.split()[1:]]
    assert logits_of(text) == rows


def test_a_column_of_words_is_told_with_what_chooses_others() -> None:
    write("path,a,b\nimg.png,1.5,2.5\n")
    assert "column 1: 'img.png' is not a number; --columns" in complaint("softmax", "x.csv")
    for text in ("a,b\n2.O,1.5\n", "a,b\nNA,1.5\n"):
        write(text)
        assert "--columns" not in complaint("softmax", "x.csv")
    assert "--columns" not in complaint("softmax", "x.csv", "--no-header")


def test_integers_of_arrow_beside_fractions() -> None:
    pa = pytest.importorskip("pyarrow")
    columns = {"n": [2, 0, 2], "a": [0.5, 1.5, 2.5], "b": [1.25, 0.5, 0.75]}
    for name in arrow_files(pa.table(columns)):
        assert "'n' holds integers" in error_of(read_document, [name], None)
    for name in arrow_files(pa.table({**columns, "n": [2.0, 0.0, 2.0]})):
        assert read_document([name], None).logits[:, 0].tolist() == [2, 0, 2]


def test_a_header_that_counts_from_one() -> None:
    text = "1,2,3\n" + ROWS
    assert "--header or --no-header" in error_of(read_document, [write(text)], None)
    assert logits_of(text, header=True) == Z.tolist()
    assert logits_of(text, header=False) == [[1, 2, 3], *Z.tolist()]
    assert logits_of(text, samples=lambda: 3) == Z.tolist()
    assert logits_of(text, samples=lambda: 4) == [[1, 2, 3], *Z.tolist()]
    assert logits_of("1,2,3\n4,5,6\n") == [[1, 2, 3], [4, 5, 6]]
    assert logits_of("1,2,3\n") == [1, 2, 3]


def test_columns_are_chosen_on_standard_input_too() -> None:
    rows = "7,1.5,2.5\n9,3.5,0.5\n"
    chosen, chosen_text = [[1.5, 2.5], [3.5, 0.5]], "0.5,1.5,2.5\n0.25,3.5,0.5\n"
    assert printed("softmax", "--columns", "2:3", stdin=rows)["logits"] == chosen
    assert printed("softmax", "--columns", "b,c", stdin="a,b,c\n" + rows)["logits"] == chosen
    assert printed("softmax", write(rows, "x.txt"), "--columns", "2:3")["logits"] == chosen
    assert printed("softmax", "--header", stdin="1,2,3\n" + rows)["labels"] == ["1", "2", "3"]
    assert len(printed("softmax", "--no-header", stdin="1,2,3\n" + chosen_text)["logits"]) == 3


@pytest.mark.parametrize("between", [",", "\t", ", "])
@pytest.mark.parametrize("name", ["-", "x.txt"])
def test_numbers_without_a_header_are_columns_too(between: str, name: str) -> None:
    for values, what in ("456", "counts its rows"), ("202", "holds integers"):
        pairs = zip(values, ROWS.replace("0.0", "0.5").split(), strict=True)
        text = "".join(f"{value},{row}\n" for value, row in pairs).replace(",", between)
        told = complaint("softmax", name if name == "-" else write(text, name), stdin=text)
        assert f"column 1 {what}" in told
        assert len(printed("softmax", name, "--columns", "2:4", stdin=text)["logits"][0]) == 3
    # Between blanks numbers are no table, of which nobody could choose columns.
    blank = text.replace(between, " ")
    assert len(printed("softmax", stdin=blank)["logits"][0]) == 4


def test_columns_of_what_is_no_table_are_refused() -> None:
    np.save("z.npy", Z)
    write(json.dumps(Z.tolist()), "z.json")
    for typed, stdin in (["1", "2"], ""), (["z.npy"], ""), (["z.json"], ""), ([], "[1, 2]"):
        told = complaint("softmax", *typed, "--columns", "1:2", stdin=stdin)
        assert "--columns 1:2: only tables have columns" in told
    assert "there is no column" in complaint("softmax", "--columns", "1:2", stdin="1 2\n3 4\n")


def test_a_header_of_what_can_have_none_is_refused() -> None:
    np.save("z.npy", Z)
    for typed in ["1", "2"], ["z.npy"]:
        assert "only tables of text have a header" in complaint("softmax", *typed, "--header")
    write("n\n1\n0\n2\n", "y.csv")
    assert printed("loss", "z.npy", "-t", "y.csv", "--header")["target"] == [1, 0, 2]


def test_one_row_between_semicolons() -> None:
    for text, logits in (("0,5;1,5\n", [0.5, 1.5]), ("1;2;-inf", [1, 2, "-Infinity"])):
        assert printed("softmax", stdin=text)["logits"] == logits


def test_weights_of_classes_are_in_their_order() -> None:
    write("cat,dog,bird\n" + ROWS)
    loss = ["loss", "x.csv", "-t", "0,1,2", "--weight"]
    right = printed(*loss, "1,2,0.5")["loss"]
    for rows in ("cat,1\ndog,2\nbird,0.5\n", "0,1\n1,2\n2,0.5\n"):
        assert printed(*loss, write("class,weight\n" + rows, "w.csv"))["loss"] == right
    for rows in ("dog,2\ncat,1\nbird,0.5\n", "2,0.5\n0,1\n1,2\n", "a,1\nb,2\nc,0.5\n"):
        write("class,weight\n" + rows, "w.csv")
        assert "the rows must be in the order of the classes" in complaint(*loss, "w.csv")
        numbers = ",".join(row.split(",")[1] for row in rows.split())
        assert printed(*loss, "w.csv:weight")["loss"] == printed(*loss, numbers)["loss"]
    # Samples have labels of their own, of which their weights know nothing.
    write("label,weight\n2,1\n0,2\n1,0.5\n", "s.csv")
    weighted = ["loss", "x.csv", "-t", "0,1,2", "--sample-weight"]
    assert printed(*weighted, "s.csv")["loss"] == printed(*weighted, "1,2,0.5")["loss"]


@pytest.mark.parametrize("option", ["-q", "--weight"])
def test_classes_in_another_order_are_refused(option: str) -> None:
    write("cat,dog,bird\n0.5,-1.25,2.0\n")
    write("bird,cat,dog\n0.5,0.2,0.3\n", "q.csv")
    target = [] if option == "-q" else ["-t", "0"]
    right = printed("loss", "x.csv", *target, option, "0.2,0.3,0.5")["loss"]
    told = complaint("loss", "x.csv", *target, option, "q.csv")
    assert "q.csv:cat,dog,bird reads them in that order" in told
    assert printed("loss", "x.csv", *target, option, "q.csv:cat,dog,bird")["loss"] == right
    write("p0,p1,p2\n0.2,0.3,0.5\n", "q.csv")
    assert printed("loss", "x.csv", *target, option, "q.csv")["loss"] == right


def test_a_gradient_of_classes_in_another_order_is_refused() -> None:
    write("cat,dog,bird\n" + ROWS)
    printed("grad", "x.csv", "-t", "0,1,2", "-o", "g.csv", "--exact")
    rows = [line.split(",") for line in Path("g.csv").read_text().split()]
    write("".join(f"{c},{a},{b}\n" for a, b, c in rows), "turned.csv")
    given_ = ["compare", "x.csv", "-t", "0,1,2", "--grad"]
    assert printed(*given_, "g.csv")["grade"] == "exact"
    assert "turned.csv:cat,dog,bird reads them" in complaint(*given_, "turned.csv")
    assert printed(*given_, "turned.csv:cat,dog,bird")["grade"] == "exact"


# --- Names of files -------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="the system has no /dev/fd")
def test_a_file_that_is_open_already() -> None:
    with Path(write("a,b,c\n" + ROWS)).open("rb") as file:
        assert printed("softmax", f"/dev/fd/{file.fileno()}")["logits"] == Z.tolist()


def test_a_misspelled_suffix_is_told_from_what_is_there() -> None:
    write(ROWS, "logits.csv")
    assert "did you mean 'logits.csv'?" in complaint("softmax", "logits.cvs")
    write("0\n1\n2\n", "y.txt")
    assert "did you mean 'y.txt'?" in complaint("loss", "logits.csv", "-t", "y.tx")


@pytest.mark.parametrize("name", ["y.txt", "y.csv", "y.npy"])
def test_targets_in_the_place_of_logits(name: str) -> None:
    np.save("z.npy", Z[[0, 1, 2, 0, 1]])
    write("1\n0\n2\n2\n0\n", name)
    if name == "y.npy":
        np.save(name, np.array([[1], [0], [2], [2], [0]]))
    assert f"the targets are -t {name}" in complaint("loss", "z.npy", name)


def test_a_name_without_its_suffix() -> None:
    write(ROWS, "logits.csv")
    assert "did you mean 'logits.csv'?" in complaint("softmax", "logits")
    assert "did you mean 'logits.csv'?" in complaint("softmax", "1", "logits")
    write(ROWS, "logits.txt")
    assert "did you mean" not in complaint("softmax", "logits")
