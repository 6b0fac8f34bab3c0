"""Pictures in the colours that were asked for, and what else the tables tell of themselves."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from cecli.text.html import DARK, LIGHT
from support.in_process import complaint, run, shown

GRAD = ["grad", "2.0", "1.0", "0.1", "-t", "0"]
DIGITS = ["loss", "tests/data/digits.npz:logits", "-t", "tests/data/digits.npz:target"]
SVG = "{http://www.w3.org/2000/svg}"


def picture(tmp_path: Path, *arguments: str) -> ET.Element:
    path = tmp_path / "out.svg"
    shown(*arguments, "-o", str(path))
    return ET.parse(path).getroot()


def rules(picture: ET.Element) -> tuple[dict[str, str], dict[str, str]]:
    """The colour of each class: by itself, and on a dark system."""
    style = picture.find(f"{SVG}style")
    assert style is not None
    light, _, dark = (style.text or "").partition("@media (prefers-color-scheme: dark)")
    found = [dict(re.findall(r"\.(\w+) \{ fill: (#\w+); \}", text)) for text in (light, dark)]
    return found[0], found[1]


def test_a_picture_is_light_dark_or_both(tmp_path: Path) -> None:
    assert rules(picture(tmp_path, *GRAD, "--theme", "light"))[0]["ground"] == LIGHT["ground"]
    assert rules(picture(tmp_path, *GRAD, "--theme", "dark"))[0]["ground"] == DARK["ground"]
    for arguments in (GRAD, [*GRAD, "--theme", "both"]):
        light, dark = rules(picture(tmp_path, *arguments))
        assert (light["ground"], dark["ground"]) == (LIGHT["ground"], DARK["ground"])
        assert set(light) == set(dark)


@pytest.mark.parametrize(
    "arguments",
    [[*GRAD, "--check"], ["explain", *GRAD[1:]], ["compare", *GRAD[1:], "--grad", "1,2,3"]],
)
def test_nothing_reaches_over_the_edge(arguments: list[str], tmp_path: Path) -> None:
    path = tmp_path / "out.svg"
    run(*arguments, "-o", str(path))
    drawn = ET.parse(path).getroot()
    _, _, wide, high = map(float, drawn.attrib["viewBox"].split())
    known = set(rules(drawn)[0]) | {"bold"}
    shapes = [*drawn.iter(f"{SVG}text"), *drawn.iter(f"{SVG}rect")]
    assert len(shapes) > 10
    for shape in shapes:
        x, y = float(shape.get("x", "0")), float(shape.get("y", "0"))
        width = float(shape.get("textLength") or shape.get("width") or "0")
        assert 0 <= x <= x + width <= wide
        assert 0 <= y <= y + float(shape.get("height", "0")) <= high
        assert set(shape.get("class", "").split()) <= known


def test_bars_are_as_long_as_the_shares(tmp_path: Path) -> None:
    drawn = picture(tmp_path, *GRAD)
    bars = [float(r.get("width", "0")) for r in drawn.iter(f"{SVG}rect") if r.get("class") == "bar"]
    shares = [0.6590011388859679, 0.24243297070471392, 0.09856589040931818]
    assert [bar / 180 for bar in bars] == pytest.approx(shares, abs=1 / 160)


def test_quantities_have_the_colours_of_the_page(tmp_path: Path) -> None:
    drawn = picture(tmp_path, "explain", *GRAD[1:], "--steps", "7")
    light, _ = rules(drawn)
    colours = {
        (text.text or "").replace("\xa0", " "): light[str(text.get("class")).split()[0]]
        for text in drawn.iter(f"{SVG}text")
    }
    assert colours["−0.340999"] == LIGHT["g"]
    assert colours["0.224719"] == LIGHT["j"]
    assert colours["−1.517448"] == LIGHT["s"]


def test_a_theme_is_that_of_a_picture() -> None:
    for more in ([], ["-o", "x.npy"], ["-o", "x.json"]):
        line = complaint(*GRAD, "--theme", "dark", *more)
        assert line == "cecli grad: --theme is that of a picture that -o writes: .svg"


def test_another_kind_of_picture_is_refused_with_the_line_that_converts() -> None:
    line = complaint(*GRAD, "-o", "my plot.png")
    assert "after -o 'my plot.svg', rsvg-convert -z 2 'my plot.svg' -o 'my plot.png'" in line
    assert "rsvg-convert -f pdf x.svg -o x.pdf" in complaint("explain", *GRAD[1:], "-o", "x.pdf")


# --- Tables --------------------------------------------------------------------------------------


def test_signed_bars_are_explained_where_they_stand() -> None:
    told = "up│down: where a step of gradient descent moves the logit"
    assert told in shown(*GRAD)
    assert told.replace("│", "/") in shown(*GRAD, "--markdown")
    for arguments in (["loss", *GRAD[1:]], [*GRAD, "--quiet"]):
        assert "descent" not in shown(*arguments)


def test_the_loss_names_the_class_by_its_label() -> None:
    text = shown("loss", *GRAD[1:-1], "bird", "--labels", "cat,dog,bird")
    assert "loss  L = −log ŷ_bird = 2.317030" in text


def test_the_minus_of_data_can_be_pasted() -> None:
    for arguments in (
        GRAD,
        [*GRAD, "--check"],
        [*GRAD, "--markdown"],
        ["loss", "2", "-inf", "-t0"],
    ):
        for number in re.findall(r"\S*[0-9]\S*", shown(*arguments).replace("−log", "")):
            assert "−" not in number


def test_formulas_have_one_minus_in_a_number() -> None:
    text = shown("explain", "100", "0", "-t", "0")
    assert "3.72008e−44" in text
    assert not re.search(r"−[\d.]+e-|-[\d.]+e−", text)


def test_the_histogram_in_markdown_is_that_of_the_terminal() -> None:
    bars = [re.findall("[█▉▊▋▌▍▎▏]+", shown(*DIGITS, *more)) for more in ([], ["--markdown"])]
    assert bars[0] == bars[1]
    assert "▏" in bars[0]


def test_help_shows_three_examples_and_names_of_arrays() -> None:
    text = shown("--help")
    examples = re.findall(r"^ +(cecli .*)$", text, re.MULTILINE)
    assert len(examples) == 3
    assert examples[0] == "cecli grad 2.0 1.0 0.1 --target 0 --check"
    assert "data.npz:NAME" in " ".join(shown("grad", "-h").split())
