"""The JSON documents, read as strictly as can be."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

import cecli


@cache
def validator() -> jsonschema.Draft202012Validator:
    """The schema of the package."""
    path = Path(cecli.__file__).with_name("cecli.schema.json")
    schema = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def strict(text: str) -> dict[str, Any]:
    """A document by RFC 8259, with no key twice, and as the schema says."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    document = json.loads(text, parse_constant=refuse, object_pairs_hook=unique)
    assert isinstance(document, dict)
    validator().validate(document)
    return document
