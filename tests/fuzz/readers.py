"""The readers of files, guided by what they have not yet done: needs the package atheris.

PYTHONPATH=.:tests python tests/fuzz/readers.py [SECONDS]. The first byte of an input says what kind
of file the rest is; a file is read, or refused by a CecliError.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import tempfile
from collections.abc import Callable

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

with atheris.instrument_imports(include=["cecli"]):
    import numpy as np

    from cecli.errors import CecliError
    from cecli.input.arguments import (
        find_target,
        read_candidate,
        read_document,
        read_labels,
        read_values,
    )

SUFFIXES = ("npy", "npz", "npy.gz", "safetensors", "json", "jsonl", "csv", "tsv", "txt", "csv.gz")
READERS: tuple[Callable[[str], object], ...] = (
    lambda name: np.asarray(read_document([name], None).given),
    lambda name: np.asarray(find_target(name, None)),
    lambda name: read_values(name, "--weight"),
    lambda name: read_candidate(name, "grad", None).values,
    read_labels,
    lambda name: np.asarray(read_document([], io.BytesIO(_data(name))).given),
)


def _data(name: str) -> bytes:
    with open(name, "rb") as file:  # noqa: PTH123
        return file.read()


def read(data: bytes) -> None:
    """Read a file of any kind by any reader."""
    if len(data) < 2:
        return
    suffix, reader = SUFFIXES[data[0] % len(SUFFIXES)], READERS[data[1] % len(READERS)]
    name, content = f"z.{suffix}", data[2:]
    with open(name, "wb") as file:  # noqa: PTH123
        file.write(gzip.compress(content, 1) if suffix.endswith(".gz") else content)
    try:
        reader(name)
    except CecliError as error:
        if "\n" in str(error):
            raise


def seeds(folder: str) -> None:
    """A file of each kind for each reader to begin with."""
    logits = np.array([[2.0, 1.0, 0.1], [0.5, -1.0, 3.0]])
    text = b'{"logits": [[2, 1], [1, "-Infinity"]], "labels": ["a", "b"], "target": [0, 1]}'
    contents = dict.fromkeys(SUFFIXES, text)
    for suffix in ("npy", "npy.gz"):
        buffer = io.BytesIO()
        np.save(buffer, logits)
        contents[suffix] = buffer.getvalue()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, logits=logits)
    contents["npz"] = buffer.getvalue()
    header = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    contents["safetensors"] = len(header).to_bytes(8, "little") + header + bytes(8)
    for suffix in ("csv", "csv.gz"):
        contents[suffix] = b'id,"z_0",z_1,target\n1,2.5,-inf,a\n2,1e3,.5,b\n'
    contents["tsv"] = b"a\tb\n1,5\t2,5\n"
    contents["txt"] = b"tensor([[2.0, 1.0],\n [0.1, -inf]])"
    for kind, suffix in enumerate(SUFFIXES):
        for reader in range(len(READERS)):
            with open(f"{folder}/{suffix}-{reader}", "wb") as file:  # noqa: PTH123
                file.write(bytes([kind, reader]) + contents[suffix])


if __name__ == "__main__":
    place = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)  # noqa: PTH112
    os.makedirs(f"{place}/seeds")  # noqa: PTH103
    seeds(f"{place}/seeds")
    os.chdir(place)
    limit = f"-max_total_time={sys.argv[1] if len(sys.argv) > 1 else 60}"
    options = ["-timeout=5", "-rss_limit_mb=4096", "-max_len=4096", limit]
    atheris.Setup([sys.argv[0], f"{place}/seeds", *options], read)
    atheris.Fuzz()
