"""Names of files: what their suffixes say, the key behind a name, and what cannot be read."""

from __future__ import annotations

import os
import re
import stat

from cecli.errors import CecliError
from cecli.input.numbers import BRACKET, NUMBER
from cecli.text.messages import quote

ARRAYS_WITH_KEYS = (".npz", ".safetensors", ".pt", ".pth")
ARRAYS = (".npy", *ARRAYS_WITH_KEYS)
TEXT_TABLES = (".csv", ".tsv")
ARROW_TABLES = (".parquet", ".arrow", ".feather")
TABLES = (*TEXT_TABLES, *ARROW_TABLES)
OTHER_TEXT = (".json", ".jsonl", ".txt")
COMPRESSED = ".gz"
_CAN_BE_COMPRESSED = (".npy", *TEXT_TABLES, *OTHER_TEXT)
SUFFIXES = (
    *ARRAYS,
    *TABLES,
    *OTHER_TEXT,
    *(suffix + COMPRESSED for suffix in _CAN_BE_COMPRESSED),
)
LABEL_SUFFIXES = (".json", ".txt")
_WITH_KEY = re.compile(
    rf"(.+(?:{'|'.join(map(re.escape, (*ARRAYS_WITH_KEYS, *TABLES)))})(?:\.gz)?):(.+)",
    re.IGNORECASE | re.DOTALL,
)
# A suffix that starts with a letter; but "2.e5" is a number.
# A slip of the pen in a number, 2.O, or a fraction, 1/3, is no name of a file.
_NEARLY_NUMBER = re.compile(r"[+-]?[0-9][0-9.,/]*[A-Za-z]?[0-9]*")
_SUFFIX = re.compile(r"\.(?![eE][0-9]+\Z)[A-Za-z]\w*\Z")
_CONVERSIONS = {
    **dict.fromkeys(
        (".pkl", ".pickle", ".joblib"),
        "pickles are never opened; in Python, numpy.save('logits.npy', logits) writes what is read",
    ),
    **dict.fromkeys(
        (".xlsx", ".xls", ".ods"), "save the sheet as CSV, or pandas.read_excel(…).to_csv(…)"
    ),
    **dict.fromkeys(
        (".h5", ".hdf5"), "numpy.save('logits.npy', h5py.File(…)['logits'][:]) writes what is read"
    ),
    ".mat": "numpy.save('logits.npy', scipy.io.loadmat(…)['logits']) writes what is read",
    **dict.fromkeys((".bz2", ".xz", ".zst", ".lz4"), "decompress it first, or compress it as .gz"),
    **dict.fromkeys((".zip", ".tar", ".tgz"), "unpack it first"),
    ".ckpt": "in Python, torch.save(logits, 'logits.pt') writes what is read",
    **dict.fromkeys(
        (".rds", ".rdata"), "in R, write.csv(logits, 'logits.csv', row.names = FALSE) writes it"
    ),
    **dict.fromkeys(
        (".zarr", ".msgpack", ".tfrecord", ".orc", ".avro"),
        "in Python, numpy.save('logits.npy', logits) writes what is read",
    ),
    ".bin": "numpy.save('logits.npy', …) writes what is read",
}


def path_and_key(text: str) -> tuple[str, str | None]:
    """A file's name, and the key behind it where there is one: logits.npz:target, x.csv:truth."""
    match = _WITH_KEY.fullmatch(text)
    if match is None or os.path.exists(text):  # noqa: PTH110 - Path.exists raises for long text
        return text, None
    return match[1], match[2]


def suffix_of(path: str) -> str:
    """The suffix in lower case, without that of a compressed file behind it; "" for a pipe."""
    name = path.lower()
    if is_pipe(path) and not name.endswith(SUFFIXES):
        return ""
    return f".{name.removesuffix(COMPRESSED).rpartition('.')[2]}"


def is_pipe(path: str) -> bool:
    """Whether the name is that of a pipe or a device, as where a shell writes <(command)."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except (OSError, ValueError):
        return False
    if path.startswith("/dev/") and stat.S_ISREG(mode):
        return True  # /dev/stdin, /dev/fd/3: a file that is open already
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def is_file(text: str) -> bool:
    """Whether there is a file of this name, perhaps with a key behind it."""
    return os.path.isfile(path_and_key(text)[0])  # noqa: PTH113


def is_pattern(text: str) -> bool:
    """Whether the name of a file is a pattern, as the shell knows it, and not itself a file."""
    path, _ = path_and_key(text)
    return any(character in path for character in "*?[") and not os.path.exists(path)  # noqa: PTH110


def names_file(text: str, suffixes: tuple[str, ...] = SUFFIXES) -> bool:
    """Whether the text names a file to read; one that cannot be read is an error."""
    if text.lower().endswith(suffixes):
        return True
    if suffixes is SUFFIXES and (_WITH_KEY.fullmatch(text) or is_pipe(text)):
        return True
    if NUMBER.fullmatch(text) or BRACKET.search(text):
        return False
    exists = os.path.exists(text)  # noqa: PTH110
    if _NEARLY_NUMBER.fullmatch(text) and not exists:
        return False
    if exists or "/" in text or _SUFFIX.search(text):
        raise CecliError(f"{quote(text)}: {_unreadable(text, suffixes)}")
    return False


def names_one_file(text: str, suffixes: tuple[str, ...] = SUFFIXES) -> bool:
    """The same where a comma stands in a list, unless there is a file with one in its name."""
    return ("," not in text or is_file(text)) and names_file(text, suffixes)


def _unreadable(text: str, suffixes: tuple[str, ...]) -> str:
    """Why a file is not read, and what would be right."""
    if os.path.isdir(text):  # noqa: PTH112
        return f"a directory; name its files: {quote(os.path.join(text, '*.npy'))}"  # noqa: PTH118
    name = text.lower()
    for suffix, conversion in _CONVERSIONS.items():
        if name.endswith(suffix):
            return f"{suffix} is not read: {conversion}"
    shown = [suffix for suffix in suffixes if not suffix.endswith(COMPRESSED)]
    listed = f"{', '.join(shown[:-1])} or {shown[-1]}"
    compressed = ", or .gz behind it" if len(shown) < len(suffixes) else ""
    meant = "" if os.path.exists(text) else near_names(text)  # noqa: PTH110
    return f"the suffix of a file must be {listed}{compressed}{meant}"


def near_names(path: str) -> str:
    """Behind an error that there is no such file: what it was meant to be, perhaps."""
    from difflib import get_close_matches

    folder, name = os.path.split(path)
    try:
        there = os.listdir(folder or ".")  # noqa: PTH208
    except (OSError, ValueError):
        return ""
    found = get_close_matches(name, there, 1, 0.75)
    return f"; did you mean {quote(os.path.join(folder, found[0]))}?" if found else ""  # noqa: PTH118


def without_suffix(word: str) -> str | None:
    """The one file here that has the name, if its suffix is left out."""
    try:
        there = [name for name in os.listdir(".") if name.startswith(f"{word}.")]  # noqa: PTH208
    except OSError:
        return None
    found = [name for name in there if name.lower().endswith(SUFFIXES)]
    return found[0] if len(found) == 1 else None
