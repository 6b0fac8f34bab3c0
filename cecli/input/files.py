"""Opening files to read, and bytes into text."""

from __future__ import annotations

from typing import BinaryIO

from cecli.errors import CecliError


def open_file(path: str) -> BinaryIO:
    """Open a file for its bytes; one that cannot be opened raises the system's OSError."""
    try:
        return open(path, "rb")  # noqa: PTH123 - pathlib is not worth its import
    except ValueError:  # a NUL, or text that no file system can encode
        raise CecliError("not a file name") from None


def read_text(path: str) -> str:
    """All of a file as text; what `decode` says about it."""
    with open_file(path) as file:
        return decode(file.read())


def decode(data: bytes) -> str:
    """Text from UTF-8, with or without a byte order mark; every line ends with a newline."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CecliError("the text is UTF-16; it must be UTF-8")
    try:
        text = data.decode().removeprefix("\N{BYTE ORDER MARK}")
    except UnicodeDecodeError as error:
        raise CecliError(f"byte {error.start} is not valid UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
