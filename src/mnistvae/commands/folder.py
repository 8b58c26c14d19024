"""The folder of a run: the names of its files, and the guard of what is in it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mnistvae._checks import MAX_SEED
from mnistvae._files import as_path
from mnistvae._lock import locked
from mnistvae.commands.provenance import Provenance
from mnistvae.errors import FileFormatError, OutputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mnistvae.training import History

__all__ = ["RunFolder", "read_record"]


class RunFolder:
    """A folder that a command writes into, which need not be there yet.

    Args:
        path: The folder.

    Example:
        >>> folder = RunFolder(tmp_path / "first")
        >>> folder.state
        'new'
        >>> folder.model.name
        'model.safetensors'
    """

    #: The files of a finished training run, in the order in which they are listed.
    TRAINED = ("model.safetensors", "history.csv", "loss.png", "reconstructions.png", "samples.png")
    #: The files of a run that is under way, too: none of them may be there when a new one begins.
    BEGUN = (*TRAINED, "run.json")
    #: The files of an evaluation.
    EVALUATED = ("metrics.json", "by_class.csv")
    #: The files that show that a report is there.
    REPORTED = ("report.html", "metrics.json")
    #: The files that show that a sweep is there.
    SWEPT = ("sweep.csv", "by_class.csv")
    #: The files of a row of the literature that is reproduced; the runs are in folders beside them.
    REPRODUCED = ("reproduced.json", "reproduced.md")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = as_path(path)
        #: The trained model.
        self.model = self.path / "model.safetensors"
        #: The record of what made the run, see :class:`Provenance`.
        self.record = self.path / "run.json"
        #: The losses of each epoch.
        self.history = self.path / "history.csv"
        #: The folder of the checkpoints.
        self.checkpoints = self.path / "checkpoints"
        #: The folder of what the model drew after each epoch.
        self.epochs = self.path / "epochs"

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def state(self) -> Literal["new", "unfinished", "finished"]:
        """The state of the training run in the folder: "new" where there is none.

        A run is finished when its model and its pictures are there; without checkpoints there is no more to be done.
        """
        if not self.model.exists():
            return "unfinished" if self.record.exists() else "new"
        from mnistvae.training.checkpoints import checkpoints_in

        whole = all((self.path / file).exists() for file in self.TRAINED)
        return "finished" if whole or not (self.record.exists() and checkpoints_in(self.checkpoints)) else "unfinished"

    @classmethod
    @contextmanager
    def claim(
        cls,
        chosen: str | os.PathLike[str] | None,
        files: Sequence[str],
        *,
        lock: str | None = None,
        parent: str | os.PathLike[str] = "runs",
        name: str = "run",
    ) -> Iterator[RunFolder]:
        """A folder for a block that writes into it: writable, with none of its files yet, for one run at a time.

        A lock keeps another run out of the folder, and ends with this process, however that ends. Where the block
        fails, what is empty is removed again: folders of checkpoints and pictures, and a folder that was made here.
        SIGTERM is an exception in the block, as Ctrl-C is.

        Args:
            chosen: The folder, or None for a new one ``parent/name-TIME``.
            files: Names of files that must not be there; an empty file does not count.
            lock: The one of them that the lock is named after (default: the first).
            parent: Folder of a new folder.
            name: First part of the name of a new folder.

        Raises:
            OutputError: If one of the files is there already, another run is writing them, or the folder cannot be made
                or written.
        """
        from mnistvae._files import output_folder, remove_temporaries
        from mnistvae.training.signals import termination_as_interrupt

        with (
            output_folder(chosen, parent, name) as path,
            termination_as_interrupt(),
            locked(path / f"{lock or files[0]}.lock"),
        ):
            there = [file for file in files if _is_there(path / file)]
            if there:
                begun = there == ["run.json"] or (there == ["history.csv", "run.json"] and "run.json" in files)
                fix = "choose another folder (`out`), or move it away"
                raise OutputError(
                    f"a folder without {there[0]}",
                    f"{path}, which has one",
                    f"go on with that run (`resume`), or {fix}" if begun else fix,
                )
            remove_temporaries(path, set(files).__contains__)
            folder = cls(path)
            recorded = folder.record.exists()
            try:
                yield folder
            except BaseException:
                folder._clear(recorded=recorded)
                raise

    @contextmanager
    def resume(self) -> Iterator[RunFolder]:
        """The folder, for a block that goes on with the run that was stopped in it.

        Raises:
            OutputError: If the run is finished, another process is going on with it, or the folder cannot be written.
        """
        from mnistvae._files import make_folder, remove_temporaries

        if self.state == "finished":
            raise OutputError(f"a run that was stopped, in {self.path}", "a finished one", "start a new run")
        make_folder(self.path)
        with locked(self.path / "run.json.lock"):
            remove_temporaries(self.path, set(self.BEGUN).__contains__)
            yield self

    def _clear(self, *, recorded: bool) -> None:
        """Remove what a block left empty; the record of a run without anything else is not worth keeping."""
        for made in (self.checkpoints, self.epochs):
            with suppress(OSError):  # rmdir refuses a folder that is not empty
                made.rmdir()
        with suppress(OSError):
            if self.history.exists() and not _is_there(self.history):
                self.history.unlink()
            left = (self.checkpoints, self.epochs, self.history, self.model)
            if not recorded and not any(path.exists() for path in left):
                self.record.unlink(missing_ok=True)

    def write_record(self, record: Provenance) -> Path:
        """Write ``run.json``, atomically.

        Raises:
            ComponentError: If a setting is something that JSON cannot hold, such as a function.
            OutputError: If it cannot be written.
        """
        from mnistvae._records import write_json

        return write_json(self.record, record.to_metadata())

    def read_record(self) -> Provenance:
        """The record that ``run.json`` holds.

        Raises:
            FileFormatError: If there is no such run.
        """
        return read_record(self.record)

    def read_history(self, tag: str | None = None) -> History | None:
        """The history of the training, if it is there.

        Args:
            tag: Tag of its losses, which the file does not hold.
        """
        from mnistvae.training import History

        if not self.history.is_file():
            return None
        history = History.from_csv(self.history)
        history.tag = tag or ""
        return history

    def write_figure(self, name: str, figure: Figure) -> Path:
        """Write a figure as PNG, atomically, and return its path."""
        from mnistvae._files import write_atomically
        from mnistvae.plotting import png_bytes

        return write_atomically(self.path / name, png_bytes(figure))


def read_record(path: str | os.PathLike[str]) -> Provenance:
    """The record of a run, from its run.json, or from the folder that has one.

    Raises:
        FileFormatError: If it is something else, or is damaged.
    """
    from mnistvae._records import read_json

    file = as_path(path)
    file = file / "run.json" if os.path.isdir(file) else file  # noqa: PTH112 (raises for a name too long)
    fix = "pass the folder of a run of mnistvae train"
    if not os.path.lexists(file):
        raise FileFormatError(f"{file}, which a run writes", "no such file", fix)
    record = Provenance.from_metadata(read_json(file, "the record of a run", fix))
    odd = [one.name for one in fields(Provenance) if one.name in record.notes]
    odd += [] if record.seed is None or 0 <= record.seed <= MAX_SEED else ["seed"]
    if odd or record.recipe is None or record.dataset is None:
        got = f"an odd value of {odd[0]}" if odd else "a file without a recipe and a data set"
        raise FileFormatError(f"{file}, which a run writes", got, fix)
    return record


def _is_there(path: Path) -> bool:
    """Tell whether a path is taken; an empty file is what a run left that was killed as it began."""
    try:
        return path.lstat().st_size > 0 or not path.is_file()
    except OSError:
        return False
