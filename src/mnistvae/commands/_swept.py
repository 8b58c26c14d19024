"""The tables, figures and models of a sweep, and the lines that say which is the best."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from matplotlib.figure import Figure

from mnistvae import plotting
from mnistvae._files import write_atomically
from mnistvae._records import csv_text
from mnistvae.analysis import Sweep, Trial
from mnistvae.analysis.errors import class_means
from mnistvae.commands._inputs import Say, setting_text
from mnistvae.commands._settings import value_text
from mnistvae.commands.folder import RunFolder
from mnistvae.commands.provenance import Provenance
from mnistvae.data import ImageDataset, labels_of_all
from mnistvae.io import save
from mnistvae.metrics import Score
from mnistvae.metrics.record import difference
from mnistvae.recipes import Recipe
from mnistvae.training import Trainer

__all__ = ["Swept"]

#: Letters of a model's file name before its ending.
_LONGEST = 120


@dataclass(frozen=True)
class Swept:
    """A sweep that is done."""

    recipe: Recipe
    #: The record of what all trainings have in common.
    record: Provenance
    found: Sweep
    data: ImageDataset
    measured: ImageDataset
    device: str
    data_root: str | Path | None = None

    def write(self, folder: RunFolder) -> None:
        """Write tables, models and figures."""
        found = self.found
        found.to_csv(folder.path / "sweep.csv")
        found.summary_to_csv(folder.path / "summary.csv")
        self._write_models(folder)
        folder.write_figure("sweep.png", self._lines() if found.tolerance else self._course())
        if has_rates(found) and not against_rates(found):
            folder.write_figure("rate_distortion.png", rates_figure(found))
        labels = labels_of_all(self.measured)
        if labels is None or not found.evaluations:  # of a study, whose trials other processes may have trained
            return
        self._write_classes(folder)
        if len(found.settings) > 1:
            return
        for name, unit in (("mse", "MSE"), ("psnr", "PSNR, dB")):
            means, errors = {}, {}
            for trial in found.complete:
                values = [one.evaluation.by_image[name] for one in trial.runs if one.evaluation is not None]
                line = settings_line(trial.settings)
                group = f"latent size {trial.settings['latent_dim']}" if "latent_dim" in trial.settings else line
                mean = torch.stack([torch.from_numpy(one.copy()) for one in values]).mean(0)
                means[group], errors[group] = class_means(mean, labels)
            names = self.measured.class_names
            how: dict[str, Any] = {"errors": errors, "from_zero": name == "mse", "class_names": names or None}
            folder.write_figure(f"{name}_by_class.png", plotting.class_bars(means, unit, **how))

    def _write_models(self, folder: RunFolder) -> None:
        """Write the models, named after what made them."""
        base = self.record.stamp(self.data, self.device)
        known = Trainer.setting_names()
        seeds = any(len(trial.runs) > 1 for trial in self.found.trials)
        runs = [(trial, run) for trial in self.found.trials for run in trial.runs]
        names = [_file_name({**trial.settings, **({"seed": run.seed} if seeds else {})}) for trial, run in runs]
        if len(set(names)) < len(names):
            names = [f"{number}-{name}" for number, name in enumerate(names, start=1)]
        for name, (trial, run) in zip(names, runs, strict=True):
            if run.model is None:
                continue
            training = {**base.training, **{key: value for key, value in trial.settings.items() if key in known}}
            asked = {**self.recipe.training, **training}.get("binarization", "none")
            own = replace(
                base,
                settings={**base.settings, **{key: value for key, value in trial.settings.items() if key not in known}},
                training=training,
                seed=run.seed,
                binarization=asked if self.data.binarization == "none" else self.data.binarization,
            )
            save(run.model, folder.path / f"{name}.safetensors", own.to_metadata())

    def _write_classes(self, folder: RunFolder) -> None:
        """Write MSE and PSNR of each class, a line for each trial and class: the means over the seeds."""
        found = self.found
        rows: list[list[Any]] = []
        named: Sequence[str] = ()
        for trial in found.complete:
            tables = [run.evaluation for run in trial.runs if run.evaluation is not None]
            named = tables[0].class_names
            for n, row in enumerate(tables[0].by_class):
                name = [tables[0].class_name(row["class"])] if named else []
                means = [fmean(one.by_class[n][score] for one in tables) for score in ("mse", "psnr")]
                rows.append([*trial.settings.values(), int(row["class"]), *name, *means])
        header = [*found.settings, "class", *(["name"] if named else []), "mse", "psnr"]
        write_atomically(folder.path / "by_class.csv", csv_text(header, rows).encode())

    def _lines(self) -> Figure:
        """The figure of the scores: over the values of the first setting, a line for each combination of the others."""
        found, first = self.found, self.found.settings[0]
        values = list({repr(trial.settings[first]): trial.settings[first] for trial in found.trials}.values())
        places = {repr(value): n for n, value in enumerate(values)}
        nan = float("nan")
        lines: dict[str, list[float]] = {}
        errors: dict[str, list[float]] = {}
        best, mark = found.best(), None
        seeds = max(len(trial.runs) for trial in found.complete)
        for trial in found.trials:
            line = settings_line({name: value for name, value in trial.settings.items() if name != first}) or found.by
            place = places[repr(trial.settings[first])]
            lines.setdefault(line, [nan] * len(values))
            errors.setdefault(line, [nan] * len(values))
            mark = (line, place) if trial is best else mark
            if trial.state == "complete":
                score = trial.score(found.by)
                lines[line][place] = score.value
                errors[line][place] = trial.spread(found.by) if seeds > 1 else score.standard_error or nan
        about = best.score(found.by)
        bars = _bars_of(seeds) if seeds > 1 else "with standard error"
        bars = "" if seeds == 1 and about.standard_error is None else f"\n{bars}"
        unit = f"{found.by}{f', {about.unit}' if about.unit else ''}{bars}"
        shown = [value_of(value) for value in values]
        return plotting.score_lines(shown, lines, errors=errors, setting=first, unit=unit, best=mark)

    def _course(self) -> Figure:
        """The figure of a search: the scores by trial and by setting."""
        found, better = self.found, self.found.best().score(self.found.by)
        trials = [trial for trial in found.trials if trial.state in {"complete", "pruned"}]
        last = [[*trial.course.values()][-1] if trial.course else float("nan") for trial in trials]
        done = [trial.state == "complete" for trial in trials]
        scores = [trial.score(found.by).value if trial.runs else end for trial, end in zip(trials, last, strict=True)]
        settings = {name: [value_of(trial.settings[name]) for trial in trials] for name in found.settings}
        unit = f"{found.by}{f', {better.unit}' if better.unit else ''}"
        return plotting.search_panels(scores, settings, done=done, higher=better.better == "higher", unit=unit)

    def tell(self, folder: RunFolder, say: Say) -> None:
        """Pass the table, the best and the command that trains it on to ``say``."""
        found = self.found
        best, score = found.best(), found.best().score(found.by)
        scores = list(dict.fromkeys([found.by, *(name for name in ("mse", "psnr") if name in found.names())]))
        rows = [[*found.settings, *scores]]
        for trial in found.trials:
            done = trial.state == "complete"
            cells = [trial.score(name).text() if done else trial.state for name in scores]
            rows.append([*map(value_of, trial.settings.values()), *cells])
        widths = [max(len(str(row[n])) for row in rows) for n in range(len(rows[0]))]
        for row in rows:
            say("  ".join(f"{cell!s:>{width}s}" for cell, width in zip(row, widths, strict=True)))
        for trial in found.trials:
            if trial.note:
                say(f"{settings_line(trial.settings)} {trial.state}: {trial.note}")
        say(f"best: {settings_line(best.settings)}, {rule(score, found)}")
        held_out = "training images that were held out, not on the test images"
        images = held_out if self.record.validation_split else "validation images"
        seeds = f"; ± is the standard error over {len(best.runs)} seeds" if len(best.runs) > 1 else ""
        say(f"measured on {len(self.measured):,} {images}{seeds}")
        if has_rates(found) and (reason := against_rates(found)):
            say(f"no rate_distortion.png: {reason}")
        again = self.command(best)
        if again:
            say(f"train it on all training images:\n  {again}")
        say(f"wrote {folder.path}")

    def command(self, trial: Trial) -> str:
        """The command that trains a trial's model, or "" where its data, recipe or settings have no text."""
        record = self.record
        given = {
            "--dataset": None if record.dataset == "mnist-mini" else record.dataset,
            "--data-root": self.data_root,
            "--image-size": ",".join(map(str, record.image_size)) or None,
            "--image-channels": record.image_channels,
            "--max-value": record.max_value,
            "--seed": record.seed or None,
            "--device": None if self.device == "auto" else self.device,
        }
        line = ["mnistvae", "train", "--recipe", str(record.recipe)]
        line += [text for name, value in given.items() if value is not None for text in (name, str(value))]
        try:
            for name, value in {**record.settings, **record.training, **trial.settings}.items():
                line += ["--set", f"{name}={value_text(value)}"]
        except TypeError:
            return ""
        return shlex.join(line)


def has_rates(found: Sweep) -> bool:
    """Tell whether a sweep has curves of rates and distortions: over numbers as beta, in a search over them alone."""
    betas = [trial.settings.get("beta") for trial in found.trials]
    numbers = all(isinstance(beta, int | float) and not isinstance(beta, bool) for beta in betas)
    return numbers and bool(found.tolerance or len(found.settings) == 1)


def against_rates(found: Sweep) -> str:
    """The reason why the rates and distortions of trials cannot stand in one figure, or ""."""
    if not {"rate", "distortion"} <= {*found.names()}:
        return "some trials are of an earlier version, which kept no rates and distortions"
    reason = difference([trial.score("distortion") for trial in found.complete])
    return f"distortions are in nats of different densities, {reason}" if reason else ""


def rates_figure(found: Sweep) -> Figure:
    """The figure of rates and distortions: a curve for each combination of the settings other than beta."""
    trials = [trial for trial in found.trials if trial.state in {"complete", "failed"}]
    done = [trial.state == "complete" for trial in trials]
    columns: dict[str, Any] = {}
    for name in ("rate", "distortion"):
        scored = zip(trials, done, strict=True)
        pairs = [(one.score(name).value, one.spread(name)) if full else (math.nan, math.nan) for one, full in scored]
        columns |= {f"{name}s": [value for value, _ in pairs], f"{name}_errors": [spread for _, spread in pairs]}
    others = [{name: value for name, value in trial.settings.items() if name != "beta"} for trial in trials]
    columns["curves"] = [settings_line(one) for one in others] if len(found.settings) > 1 else None
    seeds = max(len(trial.runs) for trial in found.complete)
    columns |= {"tag": found.complete[0].score("distortion").tag, "note": _bars_of(seeds) if seeds > 1 else ""}
    return plotting.rate_distortion([trial.settings["beta"] for trial in trials], **columns)


def _bars_of(seeds: int) -> str:
    return f"mean and standard deviation of {seeds} seeds"


def tell_trial(trial: Trial, by: str, say: Say) -> None:
    """Pass a line about a trial that has ended on to ``say``."""
    came: str = trial.state
    if trial.state == "complete":
        came = f"{by} {trial.score(by).text()}"
    elif trial.state == "pruned" and trial.course:
        came = f"pruned after epoch {max(trial.course)}, {by} {trial.course[max(trial.course)]:.4g}"
    say(f"{settings_line(trial.settings)}: {came}")


def rule(score: Score, found: Sweep) -> str:
    """The rule by which a score was chosen, in words."""
    side = "lowest" if score.better == "lower" else "highest"
    name = score.name.upper() if score.name in {"mse", "mae", "psnr", "ssim", "nll"} else score.name
    if score.standard_error is None or not found.tolerance:
        return f"the {side} {name} of {len(found.trials)}"
    return f"the smallest within one standard error of the {side} {name}"


def settings_line(settings: Mapping[str, Any]) -> str:
    """Settings as a line or a legend has them."""
    return ", ".join(f"{name} {value_of(value)}" for name, value in settings.items())


def value_of(value: Any) -> Any:
    """A value as a table has it: numbers as they are, lists in their brackets."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value if isinstance(value, int) else float(f"{value:.6g}")
    try:
        return value_text(value)
    except TypeError:
        return setting_text(value)


def _file_name(settings: Mapping[str, Any]) -> str:
    """The name of a model's file, without its ending."""
    plain = (f"{name}-{re.sub('[^a-zA-Z0-9_.+-]+', '_', str(value_of(value)))}" for name, value in settings.items())
    return "-".join(text.strip("_") for text in plain)[:_LONGEST]
