"""Atomic writing: a file appears under its final name complete, or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tiltwright.engine.errors import InputError

_STALE_S = 86400.0
_YOUNG_S = 2.0


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
    ``path`` stays as it was. What killed runs left of the same file is removed on the way.

    Raises
    ------
    InputError
        The file cannot be written (no space, no permission, no folder).
    """
    final = Path(path)
    prefix, suffix = f".{final.name}.", ".part"
    host = re.sub(r"\W", "", platform.node())[:16] + "."
    try:
        _remove_leftovers(final.parent, prefix, prefix + host, suffix)
        if final.is_dir():
            raise IsADirectoryError(21, "is a folder")
        fd, name = tempfile.mkstemp(suffix, prefix + host, final.parent)
    except OSError as exc:
        raise file_error(final, exc) from exc
    temporary = Path(name)
    try:
        with contextlib.suppress(OSError):
            # Held while we live: whoever gets this lock knows that we do not.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
        os.close(fd)


def _remove_leftovers(folder: Path, prefix: str, ours: str, suffix: str) -> None:
    """Remove temporaries nobody writes: unlocked ones of this machine, others after a day."""
    for old in folder.iterdir():
        if not (old.name.startswith(prefix) and old.name.endswith(suffix)):
            continue
        with contextlib.suppress(OSError):
            age = time.time() - old.stat().st_mtime
            if age > _STALE_S or (age > _YOUNG_S and old.name.startswith(ours) and _is_free(old)):
                old.unlink()


def _is_free(path: Path) -> bool:
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


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
