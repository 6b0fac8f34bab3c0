"""The page of a derivation: well-formed, whole in itself, legible, and right in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

import cecli
from cecli.derivation.mathml import math
from cecli.derivation.model import Derivation
from cecli.derivation.notation import plain
from cecli.derivation.page import notebook_part, page
from cecli.text.html import style
from support import in_process

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
LOGITS = [2.0, 1.0, 0.1]
CASES: dict[str, Derivation] = {
    "one class": cecli.explain(LOGITS, 0),
    "soft": cecli.explain(
        [2.0, 1.0, 0.1, -3.0],
        [0.7, 0.2, 0.1, 0.0],
        label_smoothing=0.1,
        temperature=2,
        softcap=30,
        z_loss=1e-4,
    ),
    "saturated": cecli.explain([100.0, 0.0, 3.0], 0),
    "batch": cecli.explain([[2.0, 1.0, 0.1], [0.0, 3.0, 1.0]], [0, 1], sample=1, weight=[1, 2, 3]),
    "infinite": cecli.explain([2.0, float("-inf")], 1),
    "eight classes": cecli.explain([i / 8 for i in range(8)], [0.125] * 8, digits=17),
    "many classes": cecli.explain([i / 8 for i in range(100)], 7),
    "labels": cecli.explain(LOGITS, 2, labels=["<b>cat</b>", "d&g" * 40, "x" * 90]),
    "some": cecli.explain(LOGITS, 0, steps="5-7"),
}


class Tags(HTMLParser):
    """Which elements are open, and all that were."""

    EMPTY = frozenset({"meta", "link", "wbr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "action")]
        assert not [k for k, _ in attrs if k.startswith("on")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", CASES)
def test_is_closed_in_itself(name: str) -> None:
    text = page(CASES[name])
    tags = Tags()
    tags.feed(text)
    tags.close()
    assert tags.open == []
    assert not tags.seen & {"script", "iframe", "img", "object", "embed", "form", "video"}
    assert tags.links == ["data:,"]
    assert not re.search(r"url\(|@import|https?:", text)
    assert "⟦" not in text
    assert "⟨" not in text


def flat(element: ET.Element) -> str:
    """A formula in MathML on one line, as the terminal writes it."""
    children = [flat(child) for child in element]
    if element.tag == "mfrac":
        if "∂" in children[0]:
            return f"{children[0]}/{children[1]}"
        return " / ".join(f"({c})" if re.search(r"[+·−] ?", c) else c for c in children)
    if element.tag == "mover":
        return "ŷ"
    if element.tag == "mphantom":
        return ""
    return (element.text or "").strip() + "".join(children)


@pytest.mark.parametrize("name", CASES)
def test_every_formula_says_what_the_terminal_says(name: str) -> None:
    sources = [line for step in CASES[name].steps for line in (*step.formula, *step.substitution)]
    for source in sources:
        text = re.sub(r"<wbr>|</?span[^>]*>|</?math[^>]*>", "", math(source))
        drawn = flat(ET.fromstring(f"<math>{text}</math>")) if "<" in text else text
        drawn += "".join(re.findall(r"</mrow>([^<]+)", text))
        digits = re.compile(r"[^\d.=≈+×]|/")
        # Subscripts and powers of ten look different; what is computed with does not.
        expected = plain(source).translate(str.maketrans("₀₁₂₃₄₅₆₇₈₉²", "01234567892"))
        expected = re.sub(r"e([+−])0*(\d+)", r"×10\2", expected).replace("^", "")
        assert digits.sub("", drawn) == digits.sub("", expected), source


def test_the_parts_of_a_formula() -> None:
    assert math("ŷ_i = ⟨a_i⟩/⟨S⟩") == (
        '<math><mrow><mrow class="p"><msub><mover accent="true"><mi>y</mi>'
        '<mo stretchy="false">^</mo></mover><mrow><mi>i</mi></mrow></msub></mrow></mrow></math>'
        '<wbr><math><mrow><mo form="infix">=</mo><mfrac><mrow><mrow class="e"><msub><mi>a</mi>'
        '<mrow><mi>i</mi></mrow></msub></mrow></mrow><mrow><mrow class="S"><mi>S</mi></mrow>'
        "</mrow></mfrac></mrow></math>"
    )
    assert math("⟦g:−3.5e-44⟧") == (
        '<math><mrow><mrow class="g"><mo form="prefix">−</mo><mn>3.5</mn><mo>×</mo><msup>'
        '<mn>10</mn><mrow><mo form="prefix">−</mo><mn>44</mn></mrow></msup></mrow></mrow></math>'
    )


def test_labels_are_text() -> None:
    text = page(CASES["labels"])
    assert "<b>cat" not in text
    assert "&lt;b&gt;cat&lt;/b&gt;" in text


def contrast(one: str, other: str) -> float:
    """Of two colours, as the guidelines for accessible content define it."""

    def luminance(colour: str) -> float:
        shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_every_colour_can_be_read() -> None:
    blocks = re.findall(r":root \{([^}]*)\}", style("page"))
    light, dark, printed = (dict(re.findall(r"--(\w+): (#\w+);", block)) for block in blocks)
    assert printed == light
    for colours, ground in ((light, "#ffffff"), (dark, "#1e1e1e")):
        for name in (*"zeSpyLsjg", "ink", "dim"):
            assert contrast(colours[name], ground) >= 4.5, name


def test_a_notebook_has_a_part_of_it() -> None:
    part = notebook_part(CASES["one class"])
    assert CASES["one class"]._repr_html_() == part
    assert "<html" not in part
    assert ":root" not in part  # its style is its own


# --- The command line ----------------------------------------------------------------------------


def test_html_is_printed_and_written(tmp_path: Path) -> None:
    path = tmp_path / "derivation.HTML"
    arguments = ["explain", "2.0", "1.0", "0.1", "-t", "0"]
    printed = in_process.run(*arguments, "--html").stdout
    in_process.run(*arguments, "-o", str(path))
    assert path.read_text(encoding="utf-8") == printed
    assert printed == page(CASES["one class"]) + "\n"


@pytest.mark.parametrize(
    ("steps", "numbers"), [("5-7", [5, 6, 7]), ("1,10-", [1, 10, 11]), ("3, 2", [2, 3])]
)
def test_steps_are_picked_and_keep_their_numbers(steps: str, numbers: list[int]) -> None:
    arguments = ["explain", "2.0", "1.0", "0.1", "-t", "0", "--steps", steps]
    text = in_process.run(*arguments).stdout
    assert [int(n) for n in re.findall(r"^(\d+)\. ", text, re.MULTILINE)] == numbers
    markdown = in_process.run(*arguments, "--markdown").stdout
    assert [int(n) for n in re.findall(r"^### (\d+)\. ", markdown, re.MULTILINE)] == numbers
    document = json.loads(in_process.run(*arguments, "--json").stdout)
    assert len(document["steps"]) == len(numbers)


@pytest.mark.parametrize("steps", ["0", "12", "7-5", "x", "", "1-2-3", "5-99", "-3"])
def test_steps_that_are_not_there_are_refused(steps: str) -> None:
    with pytest.raises(cecli.CecliError, match="--steps"):
        cecli.explain(LOGITS, 0, steps=steps)


def test_text_needs_no_terminal() -> None:
    text = str(CASES["one class"])
    shown = in_process.run("explain", "2.0", "1.0", "0.1", "-t", "0").stdout
    for line in ("∂L/∂z₁ = −1.5174481 × (−0.1597636) = 0.242433", "7. The chain rule"):
        assert line in text
        assert " ".join(line.split()) in " ".join(shown.split())
    assert max(len(line) for line in text.splitlines() if "=" not in line) <= 80


# --- A browser -----------------------------------------------------------------------------------

HARNESS = """<!DOCTYPE html><meta charset="utf-8"><body>{frames}<script>
function seen(frame) {{
  const page = frame.contentDocument, root = page.documentElement, width = root.clientWidth;
  const over = [...page.querySelectorAll('body *')].filter(element => {{
    const box = element.getBoundingClientRect();
    return box.width && !element.closest('.scroll') && (box.right > width + 1 || box.left < -1);
  }});
  const scrolls = [...page.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth);
  const fraction = page.querySelector('mfrac');
  const [above, below] = fraction
    ? [...fraction.children].map(child => child.getBoundingClientRect()) : [null, null];
  return {{
    name: frame.dataset.name, width, whole: root.scrollWidth, over: over.length,
    scrolls: scrolls.length, stacked: !fraction || above.bottom <= below.top + 1,
    requests: frame.contentWindow.performance.getEntriesByType('resource').length,
    bars: page.querySelectorAll('svg rect').length,
  }};
}}
onload = () => {{
  const found = [...document.querySelectorAll('iframe')].map(seen);
  document.body.innerHTML = '<pre>' + JSON.stringify(found).replace(/</g, '&lt;') + '</pre>';
}};
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_shows_it_without_overflow_and_asks_for_nothing(tmp_path: Path) -> None:
    assert CHROMIUM is not None
    frames = "".join(
        f'<iframe data-name="{name}" style="width:{width}px;height:900px;border:0" '
        f'srcdoc="{escape(page(derivation))}"></iframe>'
        for name, derivation in CASES.items()
        for width in (360, 1200)
    )
    harness = tmp_path / "harness.html"
    harness.write_text(HARNESS.format(frames=frames), encoding="utf-8")
    run = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000"),
            harness.as_uri(),
        ],
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    found = re.search(r"<pre>(.*?)</pre>", run.stdout, re.DOTALL)
    assert found is not None, run.stderr
    pages = json.loads(unescape(found[1]))
    assert len(pages) == 2 * len(CASES)
    for seen in pages:
        about = f"{seen['name']} at {seen['width']}"
        assert (seen["over"], seen["requests"]) == (0, 0), about
        assert seen["whole"] <= seen["width"], about
        assert seen["stacked"], about
        assert seen["bars"] > 0, about
        if seen["name"] != "eight classes":  # of 17 digits
            assert seen["scrolls"] == 0, about
