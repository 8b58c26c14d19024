"""The command ``mnistvae reproduce``: a row of the literature, trained and measured on this machine."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistvae._checks import check_count, check_number
from mnistvae.commands._face import command
from mnistvae.commands._inputs import Say, load_part, print_nothing, resolve_recipe
from mnistvae.commands._speech import telling_if_stopped
from mnistvae.commands.evaluate import evaluate
from mnistvae.commands.folder import RunFolder
from mnistvae.commands.reproduction import Reproduction
from mnistvae.commands.train import train
from mnistvae.errors import OutputError, SettingError

if TYPE_CHECKING:
    from mnistvae.data import ImageDataset
    from mnistvae.metrics import Evaluation
    from mnistvae.recipes import Row

__all__ = ["reproduce"]

_DATASET = "mnist"
#: The file that says what is trained and measured, before anything is.
_PLAN = "plan.json"


@command()
def reproduce(
    row: str | Row | None = None,
    *,
    minutes: float | None = None,
    epochs: int | None = None,
    seeds: int = 3,
    dataset: str = _DATASET,
    data_root: str | Path | None = None,
    num_samples: int | None = None,
    limit: int | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    progress: bool = True,
    say: Say = print_nothing,
) -> Reproduction | None:
    """Train and measure a ROW of the literature, and put our figure beside the published one.

    Without a ROW, lists them. A short trial tells how many epochs fit into the minutes; with --epochs in their place,
    the same seed gives the same weights. Writes reproduced.json and reproduced.md, and a run for each seed in a folder
    of its own; the same command with --out goes on where it was stopped, and trains no seed again that is done.

    Args:
        row: Row, its name, or my.module:NAME.
        minutes: Minutes of training, for each seed (default: the row's).
        epochs: Epochs of training, for each seed (default: as many as fit into the minutes).
        seeds: Number of trainings, with the seeds from 0 on.
        dataset: Data set to train and measure on; with other test images than the row has, no difference is taken.
        data_root: Folder of data sets, in torchvision's layout (default: $MNISTVAE_DATA, then a cache folder).
        num_samples: Importance samples an image (default: the row's).
        limit: Only so many of the test images.
        out: Folder for the files (default: runs/reproduce-ROW-TIME).
        device: Device: auto, cpu, cuda or mps.
        progress: Show each epoch.
        say: Called with each line that the command prints.

    Returns:
        The figures; None without a row.

    Raises:
        SettingError: If there is no such row, or a number makes no sense.
        OutputError: If the folder holds such files already or was begun with other settings, or cannot be written.
        MnistvaeError: As training and evaluation raise.
    """
    from mnistvae.recipes import ROWS, Row, get_row

    if row is None:
        _list(ROWS, say)
        return None
    chosen = row if isinstance(row, Row) else get_row(row)
    number = check_count("`seeds` as a number of trainings of at least 1", seeds)
    asked = _asked(chosen, minutes, epochs, num_samples, limit, dataset)
    with RunFolder.claim(out, RunFolder.REPRODUCED, name=f"reproduce-{chosen.name}") as folder:
        called = row if isinstance(row, str) else chosen.name
        work = _Work(chosen, called, folder.path, asked, data_root, device, progress=progress)
        line = work.command({**asked, "seeds": number, "out": folder.path})
        with telling_if_stopped(f"go on with:\n  {line}"):
            say(f"{chosen.name}: {chosen.source}: {chosen.published} {chosen.unit}")
            goes_on, total = work.plan(say)
            done = [work.seed(seed, total, say, goes_on=goes_on) for seed in range(number)]
            evaluations, seconds = zip(*done, strict=True)
            again = work.command({**asked, "minutes": None, "epochs": total, "seeds": number})
            about = RunFolder(folder.path / "seed-0").read_record()
            found = Reproduction(chosen, evaluations, seconds, total, about, again)
            found.write(folder.path)
    say(f"\n{found.to_markdown()}\n\nwrote {folder.path}")
    return found


@dataclass(frozen=True)
class _Work:
    """A row in a folder: the plan, then seed after seed."""

    row: Row
    #: Name by which the command line finds it.
    called: str
    folder: Path
    asked: Mapping[str, Any]
    data_root: str | Path | None
    device: str
    _: KW_ONLY
    progress: bool

    @cached_property
    def data(self) -> ImageDataset:
        """The images to train on."""
        return load_part(self.asked["dataset"], "train", self.data_root)

    @property
    def training(self) -> dict[str, Any]:
        """The row's settings of the Trainer; images that are black and white already are left as they are."""
        own = {} if self.data.binarization == "none" else {"binarization": "none"}
        return {**self.row.training, **own}

    def plan(self, say: Say) -> tuple[bool, int]:
        """Tell whether the folder was begun before, and the number of epochs, which is measured where it was not.

        Raises:
            OutputError: If it was begun with other settings.
        """
        from mnistvae._records import read_json, write_json
        from mnistvae.commands._pace import measure_pace

        file = self.folder / _PLAN
        if file.exists():
            plan = read_json(file, "the plan of a reproduction", "choose another folder (`out`)")
            begun, epochs = plan.get("asked"), plan.get("epochs")
            if begun != self.asked or not isinstance(epochs, int):
                got = ", ".join(
                    name for name in self.asked if not isinstance(begun, dict) or begun.get(name) != self.asked[name]
                )
                fix = "repeat the command with which it was begun, or choose another folder (`out`)"
                raise OutputError(f"the settings with which {self.folder} was begun", f"other {got or 'epochs'}", fix)
            say(f"goes on in {self.folder}, with {epochs} epochs a seed")
            return True, epochs
        epochs, minutes = self.asked["epochs"], self.asked["minutes"]
        if epochs is None:
            recipe = resolve_recipe(self.row.recipe)
            pace = measure_pace(recipe, self.row.settings, self.training, self.data, self.device)
            epochs = pace.epochs_in(minutes)
            say(f"{minutes:g} minutes a seed: {epochs} times an epoch of {pace.epoch:.2f} s, after {pace.start:.0f} s")
        write_json(file, {"asked": dict(self.asked), "epochs": epochs})
        return False, epochs

    def seed(self, seed: int, epochs: int, say: Say, *, goes_on: bool) -> tuple[Evaluation, float]:
        """The evaluation of a seed and its seconds of training, which are taken from its folder where they are done."""
        from mnistvae.metrics import Evaluation

        place = RunFolder(self.folder / f"seed-{seed}")
        how: dict[str, Any] = {"data_root": self.data_root, "device": self.device, "progress": self.progress}
        state = place.state if goes_on else "new"
        if state == "unfinished":
            train(resume=place.path, **how)
        elif state == "new":
            changes = {**self.row.settings, **self.training, "epochs": epochs, "validate_every": epochs}
            dataset = self.asked["dataset"]
            train(recipe=self.row.recipe, dataset=dataset, out=place.path, seed=seed, samples_every=0, **how, **changes)
        file = place.path / RunFolder.EVALUATED[0]
        if state == "new" or not file.exists():
            what = {name: self.asked[name] for name in ("dataset", "num_samples", "limit")}
            evaluate(place.model, only=("likelihood",), out=place.path, **what, **how)
        found = Evaluation.from_json(file)
        history = place.read_history()
        seconds = sum(history.column("seconds")) if history else 0.0
        say(f"seed {seed}: {self.row.metric} {found.score(self.row.metric).text()}, trained in {seconds:.0f} s")
        return found, seconds

    def command(self, options: Mapping[str, Any]) -> str:
        """A command line of this row."""
        usual = {"dataset": _DATASET, "num_samples": self.row.num_samples}
        words = ["mnistvae", "reproduce", self.called]
        for name in ("minutes", "epochs", "seeds", "dataset", "num_samples", "limit", "out"):
            value = options.get(name)
            if value is not None and value != usual.get(name):
                words += [f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
        return shlex.join(words)


def _asked(
    row: Row, minutes: float | None, epochs: int | None, num_samples: int | None, limit: int | None, dataset: str
) -> dict[str, Any]:
    """All that makes the figures of a row, as JSON has it, checked before anything takes time."""
    from mnistvae._component import to_spec

    if minutes is not None and epochs is not None:
        raise SettingError("`minutes` or `epochs`", "both", "leave one of them out")
    if minutes is not None:
        minutes = check_number("`minutes` above 0", minutes, above=True)
    elif epochs is None:
        minutes, epochs = (None, row.epochs) if row.epochs else (row.minutes, None)
    recipe = resolve_recipe(row.recipe)
    recipe.check(row.settings)
    recipe.trainer(**row.training)
    samples = row.num_samples if num_samples is None else num_samples
    return {
        "row": row.name,
        "recipe": row.recipe,
        "settings": {name: to_spec(value) for name, value in row.settings.items()},
        "training": {name: to_spec(value) for name, value in row.training.items()},
        "minutes": minutes,
        "epochs": None if epochs is None else check_count("`epochs` of at least 1", epochs),
        "dataset": dataset,
        "num_samples": check_count("`num_samples` of at least 1", samples),
        "limit": None if limit is None else check_count("`limit` as a number of images of at least 1", limit),
    }


def _list(rows: Mapping[str, Row], say: Say) -> None:
    for row in rows.values():
        time = f"{row.epochs} epochs" if row.epochs else f"{row.minutes:g} minutes a seed"
        say(f"{row.name}: {row.metric} {row.published} {row.unit}, {row.tag}; {time}")
        say(f"    source: {row.source}")
