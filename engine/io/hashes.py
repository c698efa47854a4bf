"""Content hashes of files, remembered while the file stays as it is."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiltwright.engine.io.atomic import file_error

_WHOLE = 1 << 28
_BLOCK = 1 << 20
_BLOCKS = 128
_known: dict[tuple[str, int, int], str] = {}


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content.

    Of a file above 256 MiB the size and 128 blocks of 1 MiB spread over it are hashed: a stack of
    many gigabytes on a network disk must not be read just to know that it is the same.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    try:
        stat = os.stat(path)
        key = (str(path), stat.st_size, stat.st_mtime_ns)
        if key not in _known:
            _known[key] = _hash(path, stat.st_size)
        return _known[key]
    except OSError as exc:
        raise file_error(path, exc) from exc


def _hash(path: Path, size: int) -> str:
    with open(path, "rb") as stream:
        if size <= _WHOLE:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        digest = hashlib.sha256(str(size).encode())
        for k in range(_BLOCKS):
            stream.seek((size - _BLOCK) * k // (_BLOCKS - 1))
            digest.update(stream.read(_BLOCK))
        return digest.hexdigest()


def value_hash(value: Mapping[str, Any] | list[Any]) -> str:
    """SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
