"""Where -o writes: what the name of a file says about what goes into it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple

from cecli.errors import CecliError

Theme = Literal["light", "dark", "both"]
Kind = Literal["array", "document", "lines", "picture", "markup"]

# No suffix, as a device has none, means .npy.
KINDS: dict[str, Kind] = {
    "": "array",
    ".npy": "array",
    ".npz": "array",
    ".csv": "array",
    ".json": "document",
    ".jsonl": "lines",
    ".svg": "picture",
    ".md": "markup",
    ".tex": "markup",
    ".html": "markup",
}


# Pictures of other kinds, and what makes them.
_FROM_SVG = {
    ".png": "rsvg-convert -z 2 {svg} -o {path}",
    ".pdf": "rsvg-convert -f pdf {svg} -o {path}",
}


class Destination(NamedTuple):
    """A file to write.

    suffix: in small letters, the empty text where there is none. dtype: of the numbers of an array;
    None for the input's own. theme: the colours of a picture.
    """

    path: str
    suffix: str
    kind: Kind
    dtype: str | None = None
    theme: Theme = "both"


def destination_of(
    path: str, kinds: Collection[Kind], dtype: str | None = None, theme: Theme | None = None
) -> Destination:
    """The file that a path names; CecliError for a suffix of none of these kinds."""
    from pathlib import Path  # which takes a while to import, and most commands write no file

    suffix = Path(path).suffix.lower()
    known = [suffix for suffix, kind in KINDS.items() if suffix and kind in kinds]
    if suffix and suffix not in known:
        listed = f"{', '.join(known[:-1])} or {known[-1]}"
        if suffix in _FROM_SVG and "picture" in kinds:
            from shlex import quote

            svg, other = quote(str(Path(path).with_suffix(".svg"))), quote(path)
            convert = _FROM_SVG[suffix].format(svg=svg, path=other)
            listed += f"; after -o {svg}, {convert} converts it"
        raise CecliError(f"cannot write {path}: the suffix must be {listed}")
    return Destination(path, suffix, KINDS[suffix], dtype, theme or "both")
