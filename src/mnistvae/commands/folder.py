"""The folder of a run: the names of its files, and the guard of what is in it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mnistvae.commands.provenance import Provenance
from mnistvae.errors import FileFormatError, OutputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mnistvae.training import History

__all__ = ["RunFolder"]


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
    #: The files of an evaluation.
    EVALUATED = ("metrics.json", "by_class.csv")
    #: The files that show that a report is there.
    REPORTED = ("report.html", "metrics.json")
    #: The files that show that a sweep is there.
    SWEPT = ("sweep.csv", "by_class.csv")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
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
        """The state of the training run in the folder: "new" where there is none."""
        if self.model.exists():
            return "finished"
        return "unfinished" if self.record.exists() else "new"

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

        The file ``lock`` is made at once, empty, so that a second run into the same folder finds it. Where the block
        fails, what is empty is removed again: the lock, folders of checkpoints and pictures, and a folder that was
        made here. SIGTERM is an exception in the block, as Ctrl-C is.

        Args:
            chosen: The folder, or None for a new one ``parent/name-TIME``.
            files: Names of files that must not be there.
            lock: One of them (default: the first).
            parent: Folder of a new folder.
            name: First part of the name of a new folder.

        Raises:
            OutputError: If one of the files is there already, or the folder cannot be made or written.
        """
        from mnistvae._files import output_folder
        from mnistvae.training.signals import termination_as_interrupt

        with output_folder(chosen, parent, name) as path, termination_as_interrupt():
            claimed = path / (lock or files[0])
            there = [file for file in files if (path / file).exists()]
            try:
                if not there:
                    claimed.open("x").close()
            except FileExistsError:  # made by another run since
                there = [claimed.name]
            if there:
                raise OutputError(
                    f"a folder without {there[0]}",
                    f"{path}, which has one",
                    "choose another folder (`out`), or move it away",
                )
            folder = cls(path)
            try:
                yield folder
            except BaseException:
                folder._clear(claimed)
                raise

    @contextmanager
    def resume(self) -> Iterator[RunFolder]:
        """The folder, for a block that goes on with the run that was stopped in it.

        Raises:
            OutputError: If the run is finished, or the folder cannot be written.
        """
        if self.state == "finished":
            raise OutputError(f"a run that was stopped, in {self.path}", "a finished one", "start a new run")
        from mnistvae._files import make_folder

        make_folder(self.path)
        yield self

    def _clear(self, lock: Path) -> None:
        """Remove what a block left empty; a run without a checkpoint has nothing that is worth keeping."""
        with suppress(OSError):  # rmdir refuses a folder that is not empty
            for made in (self.checkpoints, self.epochs):
                if made.exists():
                    made.rmdir()
            self.record.unlink(missing_ok=True)
        if lock.exists() and lock.stat().st_size == 0:
            lock.unlink()

    def write_record(self, record: Provenance) -> Path:
        """Write ``run.json``, atomically.

        Raises:
            ComponentError: If a setting is something that JSON cannot hold, such as a function.
            OutputError: If it cannot be written.
        """
        import json

        from mnistvae._files import write_atomically

        return write_atomically(self.record, (json.dumps(record.to_metadata(), indent=2) + "\n").encode())

    def read_record(self) -> Provenance:
        """The record that ``run.json`` holds.

        Raises:
            FileFormatError: If there is no such run.
        """
        import json

        try:
            record = Provenance.from_metadata(json.loads(self.record.read_text(encoding="utf-8")))
            if record.recipe is None or record.dataset is None:
                raise ValueError("a file without a recipe and a data set")  # noqa: TRY301
        except (OSError, ValueError, TypeError, RecursionError) as error:
            reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
            raise FileFormatError(
                f"{self.record}, which a run writes", reason, "pass the folder of a run of mnistvae train"
            ) from error
        return record

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
