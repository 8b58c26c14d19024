"""A lock on a file that ends with its process, however that ends."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mnistvae.errors import OutputError

__all__ = ["locked"]

#: Errors that mean that another one holds the lock.
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """A block that holds the lock of this name; the file is removed after it.

    What a killed process leaves is an empty file that nobody holds, and is taken over. Where a file system has no
    locks, the block runs without one.

    Raises:
        OutputError: If another process, or another block, holds it, or the file cannot be made.
    """
    descriptor = _taken(path)
    try:
        yield
    finally:
        with suppress(OSError):  # Windows does not remove a file that is open
            path.unlink()
        os.close(descriptor)
        if os.name == "nt":
            with suppress(OSError):
                path.unlink()


def _taken(path: Path) -> int:
    """The descriptor of the file, locked."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OutputError(
                f"to make {path}", error.strerror or str(error), "choose another folder, or see to its permissions"
            ) from error
        try:
            _lock(descriptor)
            if os.name == "nt" or os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:  # removed by the one who had it
            pass
        except OSError as error:
            if error.errno not in _HELD:
                return descriptor
            os.close(descriptor)
            raise OutputError(
                f"a folder that no other command is writing into, {path.parent}",
                "one that is in use",
                "wait for its end, or choose another folder",
            ) from error
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Lock the file, or raise OSError at once."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
