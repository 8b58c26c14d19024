"""Files and folders: what is read is regular and of a bounded size; what is written is whole or not there."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mnistvae.errors import FileFormatError, OutputError, type_name

__all__ = [
    "as_path",
    "make_folder",
    "open_regular",
    "output_folder",
    "read_regular",
    "remove_temporaries",
    "write_atomically",
]

#: Bytes of the longest file of text that is read.
_MAX_TEXT = 256 << 20
#: Bytes of the longest name that most file systems take.
_MAX_NAME = 255
#: Errors that mean no space; all others are about the place.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: Errors of flushing to the disk that are about the disk; others mean that this file system does not flush so.
_LOST = {errno.EIO, *_FULL}
#: The names of temporary files, which begin with the name of the file that was to be.
_TEMPORARY = re.compile(r"\.?(?P<name>.+)\.\w{4,16}\.tmp")


@contextmanager
def open_regular(
    path: str | os.PathLike[str], what: str, fix: str, missing: str = "check the path"
) -> Iterator[IO[bytes]]:
    """A regular file to read, for a block in which an error of the system is a FileFormatError too.

    Args:
        path: The file; a folder, a device and a pipe are refused before anything is read from them.
        what: Noun phrase for such a file, such as "a model file".
        fix: The likely remedy where another one came.
        missing: The likely remedy where there is none.

    Raises:
        FileFormatError: If there is no such file, or it cannot be read.
    """
    place = str(path)[:200]
    try:
        descriptor = os.open(Path(path), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except TypeError as error:
        raise FileFormatError(f"the path of {what}", type_name(path), "pass a text or a pathlib.Path") from error
    except FileNotFoundError as error:
        raise FileFormatError(f"{what} at {place}", "nothing", missing) from error
    except (OSError, ValueError) as error:  # of the last, a null character
        got = "a folder" if isinstance(error, IsADirectoryError) else getattr(error, "strerror", None) or str(error)
        raise FileFormatError(f"{what} at {place!r}", got, fix) from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        got = "a folder" if stat.S_ISDIR(mode) else "a device or pipe"
        raise FileFormatError(f"{what} at {place}", got, fix)
    with os.fdopen(descriptor, "rb") as stream:
        try:
            yield stream
        except OSError as error:
            raise FileFormatError(f"{what} at {place}", error.strerror or str(error), fix) from error


def read_regular(path: str | os.PathLike[str], what: str, fix: str, most: int = _MAX_TEXT) -> bytes:
    """The content of a regular file of at most so many bytes; see :func:`open_regular`.

    Raises:
        FileFormatError: If there is no such file, or it cannot be read or is longer.
    """
    with open_regular(path, what, fix) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > most:
            raise FileFormatError(f"{what} of at most {most:,} bytes at {str(path)[:200]}", f"{size:,} bytes", fix)
        return stream.read(most)


def as_path(path: str | os.PathLike[str]) -> Path:
    """A path as a ``pathlib.Path``.

    Raises:
        OutputError: If it is no path.
    """
    try:
        return Path(path)
    except TypeError as error:
        raise OutputError("a path", f"{path!r}"[:80], "pass a text or a pathlib.Path") from error


def write_atomically(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write a file under a temporary name, flush it to the disk and rename it, so that it is never half written.

    Raises:
        OutputError: If the folder cannot be written, or the disk is full; an earlier file is untouched.
    """
    target = _regular_target(path)
    make_folder(target.parent)
    temporary = target.parent / _temporary_name(target.name)
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode & 0o777), "wb") as stream:
            stream.write(content)
            stream.flush()
            _flush(lambda: os.fsync(stream.fileno()))
        if target.exists():
            with suppress(OSError):  # some shares have no modes to change
                temporary.chmod(mode)
        temporary.replace(target)
        if os.name != "nt":  # the rename itself is to survive a power cut
            _flush(lambda: _sync_folder(target.parent))
    except OSError as error:
        full = "free some space, or choose another folder"
        fix = full if error.errno in _FULL else "choose another folder, or see to its permissions"
        raise OutputError(f"to write {target}", error.strerror or str(error), fix) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)  # there only where the rename did not happen
    return target


def remove_temporaries(folder: Path, names: Callable[[str], object] = bool) -> None:
    """Remove what writers that were killed left in a folder; only where no other process writes these files.

    Args:
        folder: The folder, which need not be there.
        names: Tells for the name of a file whether its temporaries are to go (default: all).
    """
    with suppress(OSError):
        for path in list(folder.iterdir()):
            found = _TEMPORARY.fullmatch(path.name)
            if found and names(found["name"]) and path.is_file() and not path.is_symlink():
                path.unlink(missing_ok=True)


def _temporary_name(name: str) -> str:
    """A name that no other file has, is as short as file systems ask for, and begins with the file's own."""
    ending = f".{secrets.token_hex(4)}.tmp"
    room = _MAX_NAME - len(ending)
    return os.fsencode(name)[:room].decode("utf-8", "ignore") + ending


def _regular_target(path: str | os.PathLike[str]) -> Path:
    """The file behind ``path``: links are followed, and devices, pipes and folders are not replaced."""
    given = as_path(path)
    try:
        target = given.resolve()
        taken = target.exists() and not target.is_file()
        lost = given.is_symlink() and not target.exists()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a null character, a loop of links
        raise OutputError(f"a path to write, {str(path)[:80]!r}", str(error), "choose another name") from error
    if taken:
        kind = "a folder" if target.is_dir() else "a device or pipe"
        raise OutputError(f"a file to write at {target}", kind, "choose another name")
    if lost:
        raise OutputError(
            f"a file to write at {given}",
            f"a link to {target}, which is not there",
            "remove it, or choose another name",
        )
    return target


def make_folder(path: str | os.PathLike[str]) -> Path:
    """A folder, made if it is not there, that can be written to.

    Raises:
        OutputError: If it is a file, or cannot be made or written.
    """
    folder = as_path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError, RecursionError) as error:  # of a null character, of thousands of folders
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(
            f"a folder to write at {str(path)[:80]!r}", reason, "choose another folder, or see to its permissions"
        ) from error
    return folder


@contextmanager
def output_folder(chosen: str | os.PathLike[str] | None, parent: str | os.PathLike[str], name: str) -> Iterator[Path]:
    """The folder that was chosen, or a new one ``parent/name-<local time>``, for a block that writes into it.

    A folder made here is removed again where the block fails and left it empty.

    Raises:
        OutputError: If it cannot be made or written.
    """
    made = chosen is None or not os.path.exists(chosen)  # noqa: PTH110 (Path.exists raises for a name too long)
    folder = _new_folder(parent, name) if chosen is None else make_folder(chosen)
    try:
        yield folder
    except BaseException:
        if made:
            with suppress(OSError):  # rmdir refuses a folder that is not empty
                folder.rmdir()
        raise


def _new_folder(parent: str | os.PathLike[str], name: str) -> Path:
    """A folder that was not there before; two that are asked for in one second get a number."""
    stem = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    base = make_folder(parent)
    for number in range(1, 1000):
        folder = base / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise OutputError(f"to make the folder {folder}", error.strerror or str(error)) from error
        return folder
    raise OutputError(f"a free name like {stem} in {base}", "a thousand that are taken", "choose another folder")


def _flush(flush: Callable[[], None]) -> None:
    """Flush to the disk, where the file system does that."""
    try:
        flush()
    except OSError as error:
        if error.errno in _LOST:
            raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
