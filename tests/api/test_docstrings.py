"""What help() shows of the library: all that a function takes, and examples that hold."""

from __future__ import annotations

import doctest
import inspect
import re
from typing import Any

import pytest

import cecli

FUNCTIONS = {name: getattr(cecli, name) for name in cecli.__all__ if name[0].islower()}
CLASSES = {name: getattr(cecli, name) for name in cecli.__all__ if name[0].isupper()}


def sections(function: Any) -> dict[str, str]:
    """The parts of a docstring by their headings; the first is that without one."""
    parts = re.split(r"^(\w[\w ]*):\n(?= {4})", inspect.getdoc(function) or "", flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_docstring_names_all_that_a_function_takes(name: str) -> None:
    found = sections(FUNCTIONS[name])
    assert found["Returns"]
    assert len(found[""].splitlines()[0]) < 100
    parameters = inspect.signature(FUNCTIONS[name]).parameters.values()
    told = [
        word.strip()
        for entry in re.findall(r"^ {4}(\S[^:]*): ", found.get("Args", ""), re.MULTILINE)
        for word in entry.split(",")
    ]
    assert told or not parameters
    expected = [f"**{p.name}" if p.kind is p.VAR_KEYWORD else p.name for p in parameters]
    assert sorted(told) == sorted(expected)
    if parameters:
        assert "CecliError: " in found["Raises"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_examples_of_a_docstring_hold(name: str) -> None:
    function = FUNCTIONS[name]
    found = doctest.DocTestParser().get_doctest(
        inspect.getdoc(function) or "", {}, name, inspect.getsourcefile(function), 0
    )
    assert found.examples
    assert doctest.DocTestRunner().run(found).failed == 0


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_says_what_it_holds(name: str) -> None:
    text = inspect.getdoc(CLASSES[name]) or ""
    assert len(text.splitlines()) > 2
    for field in getattr(CLASSES[name], "__dataclass_fields__", {}):
        if not field.startswith("_"):
            assert re.search(rf"\b{field}\b", text), field
