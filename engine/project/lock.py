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
    machine: str = ""
    born: str = ""

    def __str__(self) -> str:
        if not self.pid:
            return self.since
        return f"process {self.pid} on {self.host}, since {self.since}"


def _machine() -> str:
    """This boot and this table of processes, in which a pid means one process; or nothing."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _born(pid: int) -> str:
    """When a process began, since its pid may have been given away; nothing for a dead one."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if words[0] in "ZX" else words[19]
    except (OSError, IndexError):
        return ""


class Lock:
    """The lock of a project folder; :meth:`acquire` returns None or the owner that has it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"
        self.held = False
        self.lost = False
        """Another window took the project over, since this one did not renew for long."""
        self._text = ""

    def acquire(self) -> Owner | None:
        """Take the lock; when another window has it, say which.

        Raises
        ------
        InputError
            The folder cannot be written.
        """
        pid, since = os.getpid(), time.strftime("%Y-%m-%d %H:%M")
        me = Owner(socket.gethostname(), pid, since, _machine(), _born(pid))
        for _ in range(3):
            try:
                fd = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileExistsError:
                text = self._read()
                if text is not None and not self._dead(text):
                    return self.owner() or Owner("", 0, "another window has it")
                self._take_away(text)
                continue
            except OSError as exc:
                raise file_error(self.path, exc) from exc
            # On a full disk the lock stays empty and holds all the same: to make room, a
            # project must open.
            with contextlib.suppress(OSError), os.fdopen(fd, "w") as stream:
                stream.write(json.dumps(me.__dict__))
            self._text = self._read() or ""
            self.held = True
            return None
        return self.owner() or Owner("", 0, "another window has it")

    def _take_away(self, text: str | None) -> None:
        """Remove the lock with this text; of two that try at once, one succeeds."""
        aside = self.path.with_name(f".lock.{os.getpid()}.{time.monotonic_ns()}")
        with contextlib.suppress(OSError):
            os.rename(self.path, aside)
            try:
                if text is not None and aside.read_text() != text:
                    # The other was quicker, and this is its lock.
                    os.link(aside, self.path)
            finally:
                os.unlink(aside)

    def _read(self) -> str | None:
        try:
            return self.path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def owner(self) -> Owner | None:
        """Who holds the lock; None when it cannot be read."""
        return _parse(self._read() or "")

    def _dead(self, text: str) -> bool:
        owner = _parse(text)
        if owner is None or (owner.host, owner.machine) != (socket.gethostname(), _machine()):
            # Elsewhere, or not written yet: only its age tells.
            return self._age_s() > _DEAD_S
        if owner.born:
            return _born(owner.pid) != owner.born
        try:
            os.kill(owner.pid, 0)
        except (ProcessLookupError, OverflowError):
            return True
        except OSError:
            pass
        return False

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
        """Show that the owner lives, and find out whether it was taken for dead."""
        if not self.held:
            return
        text = self._read()
        if text is not None and text != self._text:
            self.held, self.lost = False, True
            return
        with contextlib.suppress(OSError):
            os.utime(self.path)

    def release(self) -> None:
        """Give the lock back."""
        if self.held and self._read() == self._text:
            with contextlib.suppress(OSError):
                self.path.unlink()
        self.held = False


def _parse(text: str) -> Owner | None:
    try:
        owner = Owner(**json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return None
    return owner if isinstance(owner.pid, int) and owner.pid > 0 else None
