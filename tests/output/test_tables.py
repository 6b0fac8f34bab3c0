"""Tables, Markdown and pictures: whole numbers, points in one column, whatever the width."""

from __future__ import annotations

import itertools
import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from click.testing import CliRunner
from rich.cells import cell_len

import cecli
from cecli.cli.main import main
from cecli.output.tables import UP_AND_DOWN
from cecli.text.numbers import format_number, format_typed
from support.columns import NUMBER, points
from support.each import each

WIDTHS = [60, 80, 120, None]
NUMERIC = ("loss from", "logit", "its ŷ", "analytic")  # the first columns of numbers
STYLE = re.compile(r"\x1b\[[0-9;]*m")


def shown(*arguments: str, width: int | None = None, stdin: str = "", status: int = 0) -> str:
    """What a command prints on a terminal of that width, without its styles; or into a pipe."""
    terminal = {"FORCE_COLOR": "1", "COLUMNS": str(width), "TERM": "xterm"}
    pipe = dict.fromkeys(terminal)
    environment = {"NO_COLOR": None, "TTY_COMPATIBLE": None, **(terminal if width else pipe)}
    result = CliRunner().invoke(main, arguments, input=stdin, env=environment)
    assert (result.exit_code, result.stderr) == (status, ""), result.output
    assert ("\x1b" in result.stdout) == (width is not None)
    return STYLE.sub("", result.stdout)


def printed(*arguments: str) -> dict[str, Any]:
    document = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert isinstance(document, dict)
    return document


def tables(text: str) -> list[tuple[str, list[str], list[str]]]:
    """The header, the rows and the notes below of each table."""
    found = []
    for part in text.rstrip("\n").split("\n\n"):
        header, rule, *lines = part.split("\n")
        assert set(rule.strip()) == {"─"}
        rows = [line for line in lines if line.startswith(("  ", "▸ "))]
        assert lines[: len(rows)] == rows
        found.append((header, rows, lines[len(rows) :]))
    return found


# --- Layout -------------------------------------------------------------------------------------

ORDINARY = {
    "softmax": ["softmax", "2.0", "1.0", "0.1"],
    "loss": ["loss", "2.0", "1.0", "0.1", "-t", "0"],
    "grad": ["grad", "2.0", "1.0", "0.1", "-t", "0"],
    "check": ["grad", "2.0", "1.0", "0.1", "-t", "0", "--check"],
    "central": ["grad", "2.0", "1.0", "0.1", "-t", "0", "--check-method", "central"],
    "labels": ["grad", "2.0", "1.0", "0.1", "-t", "dog", "--labels", "cat,dog,bird"],
    "masked": ["grad", "2.0", "-inf", "-0.1", "-t", "0"],
    "soft": ["loss", "2.0", "1.0", "0.1", "-q", "0.5,0.25,0.25"],
    "soft grad": ["grad", "2.0", "1.0", "0.1", "-q", "0.5,0.25,0.25", "--check"],
    "tiny": ["grad", "100", "1", "0.1", "-t", "0", "--check"],
    "huge": ["loss", "1e5", "-1e5", "0", "-t", "1"],
    "weighted": ["loss", "2", "1", "-t", "0", "--weight", "1,2", "--z-loss", "0.1"],
    "everything": [
        *("grad", "2.5", "-1.25", "0.125", "-t", "1", "--weight", "1,2.5,3", "--z-loss", "1e-4"),
        *("--label-smoothing", "0.1", "--temperature", "0.7", "--softcap", "30"),
    ],
    "many": ["grad", *map(str, range(40)), "-t", "3"],
}
BATCHES = {
    "softmax batch": ["softmax", "[[2, 1, 0.1], [1, -2, 3]]"],
    "loss batch": ["loss", "[[2, 1, 0.1], [1, -2, 3]]", "-t", "0,1"],
    "grad batch": ["grad", "[[2, 1, 0.1], [1, -2, 3]]", "-t", "0,1"],
    "check batch": ["grad", "[[2, 1], [1, -2]]", "-t", "0,1", "--check"],
    "soft batch": ["grad", "[[2, 1], [1, -2]]", "-q", "[[1, 0], [0.5, 0.5]]"],
    "ignored": ["grad", "[[2, 1], [NaN, 3]]", "-t", "0,5", "--ignore-index", "5"],
    "3-d": ["grad", "[[[2, 1], [1, -2]], [[0, 0], [3, 4]]]", "-t", "0,1,0,1"],
    "none": ["loss", "[[2, 1], [1, -2]]", "-t", "0,1", "--reduction", "none"],
    "wide": ["grad", json.dumps([[i / 10 for i in range(12)]] * 2), "-t", "0,11"],
    "many samples": ["loss", json.dumps([[1, i] for i in range(50)]), "-t", ",".join(["0"] * 50)],
}
ALL = ORDINARY | BATCHES

drawn = cache(shown)  # three tests look at the same tables


@each("arguments", ALL.values())
def test_a_table_fits_the_terminal(arguments: list[str]) -> None:
    for width in (60, 80, 120):
        for line in drawn(*arguments, width=width).splitlines():
            assert cell_len(line) <= width


@each("arguments", ALL.values())
def test_no_number_is_cut_short(arguments: list[str]) -> None:
    wide = [set(row.split()) for _, rows, _ in tables(drawn(*arguments)) for row in rows]
    for width in (20, 60, 80, 120):
        narrow = [r for _, rows, _ in tables(drawn(*arguments, width=width)) for r in rows]
        assert len(narrow) == len(wide), width
        for row, words in zip(narrow, wide, strict=True):
            assert "…" not in row, width
            written = {word for word in row.split() if re.search("[0-9a-zA-Z]", word)}
            assert written <= words, width


@each("arguments", ALL.values())
def test_points_stand_in_columns(arguments: list[str]) -> None:
    shown_in_all = [tables(drawn(*arguments, width=width)) for width in WIDTHS]
    for header, rows, _ in itertools.chain(*shown_in_all):
        # The numbers begin where the header of the first column of numbers does.
        start = min(header.find(name) for name in NUMERIC if name in header)
        places = [
            [place for place in points(row) if place > start]
            for row in rows
            if "NaN" not in row  # where another cell is empty
        ]
        assert len({len(row) for row in places}) == 1
        for column in zip(*places, strict=True):
            assert len(set(column)) == 1


document_of = cache(printed)


@each("digits", range(1, 18))
@each("width", [60, None])
def test_a_table_shows_the_numbers_of_the_json(digits: int, width: int | None) -> None:
    for command in ("softmax", "loss", "grad"):
        arguments = [command, "2.0", "-1.5", "30", "-inf", "0.30000000000000004"]
        arguments += [] if command == "softmax" else ["-t", "1"]
        document = document_of(*arguments)
        text = shown(*arguments, "--digits", str(digits), width=width)
        [(header, rows, notes)] = tables(text)
        last = document["grad" if command == "grad" else "log_softmax"]
        logits = [float(z) for z in document["logits"]]
        for row, logit, p, other in zip(
            rows, logits, document["softmax"], map(float, last), strict=True
        ):
            words = [word for word in row.split()[(row[0] == "▸") + 1 :] if word[-1].isalnum()]
            assert words == [
                format_typed(logit, digits),
                format_number(p, digits),
                format_number(other, digits),
            ]
        if command != "softmax":
            explained = [UP_AND_DOWN] if "│" in header else []
            assert notes == [
                *explained,
                f"loss  L = −log ŷ_1 = {format_number(document['loss'], digits)}",
            ]


def test_a_batch_shows_the_numbers_of_the_json() -> None:
    arguments = ["grad", "[[2, 1, 0.1], [1, -2, 3]]", "-t", "0,1"]
    document = printed(*arguments)
    [(_, rows, notes)] = tables(shown(*arguments))
    for sample, row in enumerate(rows):
        best = int(np.argmax(document["logits"][sample]))
        numbers = [document["softmax"][sample][best], document["losses"][sample]]
        assert row.split() == [
            str(sample),
            str(document["target"][sample]),
            str(best),
            *(format_number(number, 6) for number in numbers + document["grad"][sample]),
        ]
    assert f"loss  {format_number(document['loss'], 6)}, " in notes[0]
    assert "Σ loss / 2" in notes[0]
    assert format_number(document["perplexity"], 6) in notes[1]


def test_a_check_shows_the_numbers_of_the_json() -> None:
    arguments = ["grad", "2", "1", "0.1", "-t", "0", "--check"]
    document = printed(*arguments)
    _, (_, rows, notes) = tables(shown(*arguments))
    assert [row.split()[1] for row in rows] == [format_number(g, 6) for g in document["grad"]]
    assert notes[0].startswith("check passed: 3 of 3 components agree")
    assert f"{document['check']['max_abs_error']:.1e}" in notes[1]
    assert f"{document['check']['max_rel_error']:.1e}" in notes[1]


def test_nothing_but_zero_looks_like_zero() -> None:
    [(_, rows, _)] = tables(shown("softmax", "0", "-740", "-800", "-inf"))
    assert [row.split()[2] for row in rows] == ["1.000000", rows[1].split()[2], "0", "0"]
    assert re.fullmatch(r"[0-9.]+e-322", rows[1].split()[2])
    text = shown("loss", "40", "0", "-t", "0")
    assert "loss  L = −log ŷ_0 = 4.24835e-18\n" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_bars(width: int | None) -> None:
    [(_, rows, _)] = tables(shown("softmax", "0", "0", "-1000", "-9", width=width))
    bars = [re.sub("[^▏▎▍▌▋▊▉█]", "", row) for row in rows]
    assert bars[0] == bars[1] != ""
    assert bars[2] == ""  # none for a probability of zero
    assert bars[3] == "▏"  # but any other is seen
    [(header, rows, _)] = tables(shown("grad", "2", "1", "0.1", "-t", "1", width=width))
    middle = header.index("│")
    for row in rows:
        assert row.index("│") == middle
    assert [row[middle - 1] == " " for row in rows] == [True, False, True]
    assert [row[middle + 1 : middle + 2].strip() == "" for row in rows] == [False, True, False]


@each("top", [1, 2, 5])
@each("target", range(6))
@each("width", [60, None])
def test_the_target_is_always_shown(top: int, target: int, width: int | None) -> None:
    logits = ["3", "1", "4", "1", "5", "-inf"]
    text = shown("loss", *logits, "-t", str(target), "--top", str(top), width=width)
    [(_, rows, notes)] = tables(text)
    assert len(rows) == top
    assert [row.split()[1] for row in rows if row.startswith("▸")] == [str(target)]
    left = len(logits) - top
    assert notes[0].startswith(f"… and {left} more {'class' if left == 1 else 'classes'}")


def test_the_most_probable_classes_are_shown() -> None:
    [(_, rows, _)] = tables(shown("softmax", "1", "5", "3", "4", "--top", "2"))
    assert [row.split()[0] for row in rows] == ["1", "3"]


def test_the_worst_of_many_components_are_shown() -> None:
    logits = [float(i) for i in range(30)]
    text = shown("grad", *map(str, logits), "-t", "3", "--check", "--top", "4")
    _, (_, rows, notes) = tables(text)
    check = cecli.check_gradient(logits, 3, cecli.cross_entropy(logits, 3).grad)
    worst = np.argsort(-np.abs(check.difference) / check.tolerance, kind="stable")[:4]
    assert [int(row.split()[0]) for row in rows] == worst.tolist()
    assert any("4 worst of 30" in note for note in notes)


@pytest.mark.parametrize("softcap", ["1e-250", "1e-10"])
def test_what_a_check_allows_is_a_number(softcap: str) -> None:
    text = shown("grad", "1", "2", "-t", "0", "--softcap", softcap, "--check")
    assert "NaN" not in text


# --- Labels -------------------------------------------------------------------------------------

LABELS = [
    "[bold]x[/bold]",
    "[/]",
    "[red",
    "\\[x]",
    ":smile:",
    "日本語",
    "한국",
    "e\u0301te\u0301",
    "\U0001f600",
    "عربي",
    "two words",
    "a|b",
    "1",
    "−5",
]


@each("width", WIDTHS)
@each("label", LABELS)
def test_labels_are_text(label: str, width: int | None) -> None:
    names = json.dumps([label, "other"])
    [(_, rows, _)] = tables(shown("grad", "2", "1", "-t", "0", "--labels", names, width=width))
    assert rows[0].startswith(f"▸ {label}  ")
    ends = [[cell_len(row[: m.end()]) for m in re.finditer("[0-9][.][0-9]+", row)] for row in rows]
    assert ends[0] == ends[1]
    assert all(width is None or cell_len(row) <= width for row in rows)


@each("character", ["\x1b", "\n", "\r", "\t", "\x00", "\x7f", "\x9b", "\u202e", "\u2028", "\u200b"])
@each("view", [[], ["--markdown"]])
def test_control_characters_never_reach_the_terminal(character: str, view: list[str]) -> None:
    names = json.dumps([f"a{character}[31mb", "other"])
    text = shown("loss", "[[2, 1], [1, 2]]", "-t", "0,1", "--labels", names, *view)
    assert text.replace("\n", "").isprintable()
    assert len(text.splitlines()) == len(
        shown("loss", "[[2, 1], [1, 2]]", "-t", "0,1", *view).splitlines()
    )


@pytest.mark.parametrize("label", ["x" * 200, "日" * 100])
def test_a_long_label_leaves_the_numbers_whole(label: str) -> None:
    arguments = ["grad", "2.5", "1", "-t", "0", "--labels", f"{label},other", "--check"]
    for width in (60, 80, 120):
        text = shown(*arguments, width=width)
        for _, rows, _ in tables(text):
            assert "…" in rows[0]
            assert all(cell_len(row) <= width for row in rows)
        assert "2.5 " in text
        assert "-0.182426" in text
    assert label in shown(*arguments)


def test_long_labels_are_told_apart_where_there_is_room() -> None:
    names = ["golden retriever " + "x" * 90, "golden eagle " + "y" * 90]
    text = shown("softmax", "2", "1", "--labels", json.dumps(names), width=80)
    [(_, rows, _)] = tables(text)
    assert rows[0].startswith("  golden retriever")
    assert rows[1].startswith("  golden eagle")
    assert all(cell_len(row) <= 80 for row in rows)


def test_labels_in_a_batch() -> None:
    arguments = ["grad", "[[2, 1], [1, 2]]", "-t", "0,1", "--labels", '["[b]cat", "日本"]']
    [(header, rows, _)] = tables(shown(*arguments))
    assert "∂L/∂z [b]cat" in header
    assert rows[0].split()[:3] == ["0", "[b]cat", "[b]cat"]
    assert cell_len(rows[0].rstrip()) == cell_len(rows[1].rstrip())


# --- Notes --------------------------------------------------------------------------------------


@each(
    ("arguments", "note"),
    [
        (["loss", "[[2, 1], [1, 2]]", "-t", "0,0", "--reduction", "sum"], "the sum over 2 samples"),
        (["loss", "[[2, 1], [1, 2]]", "-t", "0,0"], "the mean over 2 samples"),
        (["loss", "[[2, 1]]", "-t", "0"], "the mean over 1 sample:"),
        (["loss", "[[2, 1]]", "-t", "0", "--weight", "0.5,1"], "0.5"),
        (["loss", "2", "1", "-t", "0", "--weight", "3,1"], "divides the weight out again"),
        (["grad", "[[2, 1]]", "-t", "0", "--reduction", "none"], "reduction none"),
        (["loss", "1", "-inf", "-t", "1"], "the loss is infinite: a masked class"),
        (["loss", "2", "1", "-t", "0", "--temperature", "3"], "temperature 3"),
        (["softmax", "2", "1", "--softcap", "2.5"], "softcap 2.5"),
        (["loss", "2", "1", "-t", "0", "--z-loss", "0.5"], "z-loss 0.5"),
        (["loss", "2", "1", "-t", "0", "--label-smoothing", "0.1"], "label smoothing 0.1"),
        (
            ["loss", "[[2, 1], [1, 2]]", "-t", "0,9", "--ignore-index", "9"],
            "1 of 2 samples ignored",
        ),
        (["loss", "[[2, 1], [1, 2]]", "-t", "0,0"], "accuracy 50.00%"),
    ],
)
@each("width", WIDTHS)
def test_notes(arguments: list[str], note: str, width: int | None) -> None:
    notes = " ".join(shown(*arguments, width=width).split())
    assert note in notes


@pytest.mark.parametrize(
    "arguments",
    [["1e308", "-1e308", "-t", "1"], ["1", "2", "-t", "0", "--z-loss", "1e308"]],
)
def test_a_loss_beyond_the_largest_double_blames_no_mask(arguments: list[str]) -> None:
    notes = shown("loss", *arguments)
    assert "= inf\n" in notes
    assert "the loss is larger than the largest double" in notes
    assert "masked" not in notes


def test_a_mean_of_losses_beyond_the_largest_double_tells_whose_is() -> None:
    # The masked class has nothing of the target.
    notes = shown("loss", "1e308 -1e308 -inf", "1 2 3", "-t", "1,2")
    assert "loss  1.00000e+308, the mean over 2 samples" in notes
    assert "the loss of a sample is larger than the largest double" in notes
    assert "masked" not in notes
    assert "a masked class carries target mass" in shown(
        "loss", "1e308 -1e308 -inf", "1 2 3", "-t", "1,2", "--label-smoothing", "0.1"
    )


# --- Markdown and pictures ----------------------------------------------------------------------


def cells_of(line: str) -> list[str]:
    """The cells of a row of a Markdown table."""
    assert line.startswith("| ")
    assert line.endswith(" |")
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


@each("arguments", ALL.values())
def test_markdown_is_tables(arguments: list[str]) -> None:
    lines = shown(*arguments, "--markdown").splitlines()
    places = [place for place, line in enumerate(lines) if re.fullmatch(r"\|( :?-+:? \|)+", line)]
    check = "--check" in arguments or "--check-method" in arguments
    assert len(places) == 1 + check + (arguments == BATCHES["many samples"])  # their histogram
    for place in places:
        assert place == 1 or lines[place - 2] == ""
        width = len(cells_of(lines[place - 1]))
        row = place
        while row < len(lines) and lines[row].startswith("|"):
            assert len(cells_of(lines[row])) == width
            row += 1
        assert row == len(lines) or lines[row] == ""
    assert all(line == line.rstrip() for line in lines)
    assert lines[-1] != ""


def test_markdown_shows_the_numbers_of_the_table() -> None:
    arguments = ["grad", "2", "-1", "-inf", "-t", "0", "--check"]
    numbers = re.findall(r"[0-9]\.[0-9e-]+", shown(*arguments, "--markdown"))
    assert numbers == re.findall(r"[0-9]\.[0-9e-]+", shown(*arguments))


@each("label", [*LABELS, "*a*", "_a_", "`a`", "<b>", "a\\", "#", "&amp;", "~~a~~"])
def test_labels_in_markdown(label: str) -> None:
    text = shown("loss", "2", "1", "-t", "z", "--labels", json.dumps([label, "z"]), "--markdown")
    name = cells_of(text.splitlines()[2])[0]
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", name) == label
    bare = re.sub(r"\\.", "", name)
    assert not set(bare) & set("*_`<[]|&~")


def picture(path: Path) -> str:
    """The text of an SVG file, which must be well formed."""
    root = ET.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return "\n".join(root.itertext()).replace("\xa0", " ")


@each("arguments", ALL.values())
def test_a_picture_is_well_formed(arguments: list[str], tmp_path: Path) -> None:
    text = shown(*arguments, "-o", str(tmp_path / "out.svg"))
    shape = picture(tmp_path / "out.svg")
    for word in re.findall(NUMBER, tables(text)[0][1][0]):
        assert word in shape


@each("label", [*LABELS, "<b>&amp;\"'", "\x1b[31m", "\x00", "]]>"])
def test_labels_in_a_picture(label: str, tmp_path: Path) -> None:
    path = tmp_path / "out.svg"
    shown("softmax", "2", "1", "--labels", json.dumps([label, "z"]), "-o", str(path))
    text = picture(path)
    if label.isprintable():
        assert label in text


def test_a_picture_is_no_wider_than_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "out.svg"
    sizes = []
    for width in (50, 120):
        shown("softmax", "2", "1", "-o", str(path), width=width)
        box = ET.parse(path).getroot().attrib["viewBox"]
        sizes.append(float(box.split()[2]))
    assert sizes[0] < sizes[1]


@each("arguments", ALL.values())
def test_tables_are_the_same_every_time(arguments: list[str], tmp_path: Path) -> None:
    paths = [tmp_path / "1.svg", tmp_path / "2.svg"]
    assert len({shown(*arguments, "-o", str(path)) for path in paths}) == 1
    assert paths[0].read_bytes() == paths[1].read_bytes()
