from __future__ import annotations

from pathlib import Path

from support.planted_defects import PLANTED

PACKAGE = Path(__file__).parents[2] / "cecli"


def test_what_is_replaced_stands_there_once() -> None:
    for defect in PLANTED:
        text = (PACKAGE / defect.file).read_text(encoding="utf-8")
        assert text.count(defect.right) == 1, defect.what
