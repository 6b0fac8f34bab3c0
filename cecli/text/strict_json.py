"""Values as strict JSON has them: RFC 8259 knows neither NaN nor infinities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

JSONObject = dict[str, Any]


def plain_value(value: Any) -> Any:
    """A value as JSON has it: lists and numbers, a non-finite number as a string."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            texts = np.array(
                [plain_value(number) for number in value.ravel().tolist()], dtype=object
            )
            return texts.reshape(value.shape).tolist()
        return value.tolist()
    if isinstance(value, dict):
        return {name: plain_value(inner) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        return [plain_value(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
