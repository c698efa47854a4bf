"""One writer per project, by a lock file that works on network file systems.

``flock`` is unreliable there; creating a file exclusively is not. The owner renews the file; one
that is not renewed any more, or whose process is gone from this machine, is taken over.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from tiltwright.engine.io.atomic import file_error

RENEW_S = 20.0
"""How often the owner must call :meth:`Lock.renew`."""
_DEAD_S = 6 * RENEW_S


@dataclass(frozen=True)
class Owner:
    """Who holds a project."""

    host: str
    pid: int
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


class Lock:
    """The lock of a project folder; :meth:`acquire` returns None or the owner that has it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"
        self.held = False
        self._text = ""

    def acquire(self) -> Owner | None:
        """Take the lock; when another window has it, say which.

        Raises
        ------
        InputError
            The folder cannot be written.
        """
        me = Owner(socket.gethostname(), os.getpid(), time.strftime("%Y-%m-%d %H:%M"))
        self._text = json.dumps(me.__dict__)
        for _ in range(3):
            try:
                fd = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileExistsError:
                owner = self.owner()
                if owner is not None and not self._dead(owner):
                    return owner
                self._take_away()
                continue
            except OSError as exc:
                raise file_error(self.path, exc) from exc
            with os.fdopen(fd, "w") as stream:
                stream.write(self._text)
            self.held = True
            return None
        return self.owner() or Owner("another machine", 0, "a moment ago")

    def _take_away(self) -> None:
        """Remove a dead lock; of two that try at once, one rename succeeds."""
        aside = self.path.with_name(f".lock.{os.getpid()}.{time.monotonic_ns()}")
        with contextlib.suppress(OSError):
            os.rename(self.path, aside)
            os.unlink(aside)

    def owner(self) -> Owner | None:
        """Who holds the lock; None when it cannot be read."""
        try:
            return Owner(**json.loads(self.path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def _dead(self, owner: Owner) -> bool:
        if owner.host == socket.gethostname():
            try:
                os.kill(owner.pid, 0)
            except ProcessLookupError:
                return True
            except OSError:
                pass
            return False
        return self._age_s() > _DEAD_S

    def _age_s(self) -> float:
        """Age by the file server's clock, which may differ from ours."""
        probe = self.path.with_name(f".clock.{os.getpid()}")
        try:
            probe.touch()
            now = probe.stat().st_mtime
            probe.unlink()
            return now - self.path.stat().st_mtime
        except OSError:
            return 0.0

    def renew(self) -> None:
        """Show that the owner lives."""
        if self.held:
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def release(self) -> None:
        """Give the lock back."""
        if self.held and self.path.exists():
            with contextlib.suppress(OSError):
                if self.path.read_text() == self._text:
                    self.path.unlink()
        self.held = False
