"""Atomic writing: a file appears under its final name complete, or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tiltwright.engine.errors import InputError

_STALE_S = 86400.0


def file_error(path: str | os.PathLike[str], exc: OSError) -> InputError:
    """Return the one-line :class:`InputError` for an operating system error on ``path``."""
    hints = {
        "ENOSPC": "free space on the disk or choose another output folder",
        "EDQUOT": "free space in your quota or choose another output folder",
        "EACCES": "check the permissions or choose another folder",
        "EROFS": "choose a folder that can be written",
        "ENOENT": "check that the file and its folder exist",
        "EISDIR": "give a file, not a folder",
    }
    import errno

    code = errno.errorcode.get(exc.errno or 0, "")
    hint = hints.get(code, "check the path")
    return InputError(f"{path}: {(exc.strerror or str(exc)).lower()}; {hint}")


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``, moved there on success.

    The temporary file is flushed to the disk, then renamed; on any exception it is removed and
    ``path`` stays as it was. Temporaries a day old (of killed runs) are removed on the way.

    Raises
    ------
    InputError
        The file cannot be written (no space, no permission, no folder).
    """
    final = Path(path)
    prefix, suffix = f".{final.name}.", ".part"
    try:
        for old in final.parent.iterdir():
            if old.name.startswith(prefix) and old.name.endswith(suffix):
                with contextlib.suppress(OSError):
                    if time.time() - old.stat().st_mtime > _STALE_S:
                        old.unlink()
        if final.is_dir():
            raise IsADirectoryError(21, "is a folder")
        fd, name = tempfile.mkstemp(suffix, prefix, final.parent)
    except OSError as exc:
        raise file_error(final, exc) from exc
    temporary = Path(name)
    try:
        os.close(fd)
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        yield temporary
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, final)
    except OSError as exc:
        raise file_error(final, exc) from exc
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` to ``path`` atomically, UTF-8; raises :class:`InputError`."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_bytes(path: str | os.PathLike[str], limit: int = 1 << 30) -> bytes:
    """Read a whole file of at most ``limit`` bytes; raises :class:`InputError`."""
    try:
        size = os.stat(path).st_size
        if size > limit:
            raise InputError(f"{path}: {size} bytes is too large for a file of this kind")
        return Path(path).read_bytes()
    except OSError as exc:
        raise file_error(path, exc) from exc
    except ValueError as exc:
        raise InputError(f"{path!r}: not a file name") from exc
