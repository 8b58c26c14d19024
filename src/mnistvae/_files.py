"""Files and folders to write: an earlier file stays good until the new content is whole."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mnistvae.errors import OutputError

__all__ = ["as_path", "make_folder", "output_folder", "write_atomically"]


def as_path(path: str | os.PathLike[str]) -> Path:
    """A path as a ``pathlib.Path``.

    Raises:
        OutputError: If it is no path.
    """
    try:
        return Path(path)
    except TypeError as error:
        raise OutputError("a path to write to", f"{path!r}"[:80], "pass a text or a pathlib.Path") from error


def write_atomically(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write a file under a temporary name, flush it to the disk and rename it, so that it is never half written.

    Raises:
        OutputError: If the folder cannot be written, or the disk is full; an earlier file is untouched.
    """
    target = _regular_target(path)
    make_folder(target.parent)
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        _mirror_mode(temporary, target)
        temporary.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise OutputError(
            f"to write {target}", error.strerror or str(error), "free some space, or choose another folder"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)  # there only where the rename did not happen
    return target


def _regular_target(path: str | os.PathLike[str]) -> Path:
    """The file behind ``path``: links are followed, and devices, pipes and folders are not replaced."""
    try:
        target = Path(path).resolve()
        taken = target.exists() and not target.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a null character, a loop of links
        raise OutputError(f"a path to write, {str(path)[:80]!r}", str(error), "choose another name") from error
    if taken:
        kind = "a folder" if target.is_dir() else "a device or pipe"
        raise OutputError(f"a file to write at {target}", kind, "choose another name")
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
    except (OSError, ValueError) as error:  # of the last, a null character
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


def _mirror_mode(temporary: Path, target: Path) -> None:
    """Temporary files are private; give the new file the mode a plain ``open`` would have."""
    if target.exists():
        temporary.chmod(target.stat().st_mode & 0o777)
        return
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut, where the system can (not on Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
