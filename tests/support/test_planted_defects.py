from __future__ import annotations

from pathlib import Path

import pytest

from support.planted_defects import PLANTED, Planted

PACKAGE = Path(__file__).parents[2] / "cecli"


@pytest.mark.parametrize("defect", PLANTED, ids=lambda defect: defect.what)
def test_what_is_replaced_stands_there_once(defect: Planted) -> None:
    text = (PACKAGE / defect.file).read_text(encoding="utf-8")
    assert text.count(defect.right) == 1
