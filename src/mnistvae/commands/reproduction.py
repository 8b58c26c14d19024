"""The record of a row of the literature that was trained and measured here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from mnistvae.commands._inputs import settings_text
from mnistvae.commands.folder import RunFolder
from mnistvae.commands.provenance import Provenance

if TYPE_CHECKING:
    from mnistvae.metrics import Evaluation
    from mnistvae.recipes import Row

__all__ = ["Reproduction"]

#: Fields of a run's record that a reproduction repeats.
_MADE = (
    *("recipe", "settings", "training", "fingerprint"),
    *("mnistvae", "torch", "python", "device", "threads"),
)


@dataclass(frozen=True)
class Reproduction:
    """A row of the literature as it came out here: a training for each seed, and what they were measured at."""

    row: Row
    #: Evaluations on the test images, one a seed, from seed 0 on.
    evaluations: tuple[Evaluation, ...]
    #: Seconds of training, one a seed.
    seconds: tuple[float, ...]
    #: Epochs of each training.
    epochs: int
    #: Record of the first training, with the versions and the machine.
    about: Provenance
    #: Command that trains and measures the same again.
    command: str

    @property
    def values(self) -> tuple[float, ...]:
        """The figures of the seeds."""
        return tuple(found[self.row.metric] for found in self.evaluations)

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the seeds; None for a single one."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def standard_error(self) -> float | None:
        """Standard error of a figure over the test images: the mean over the seeds; None for one image."""
        errors = [found.score(self.row.metric).standard_error for found in self.evaluations]
        return None if None in errors else fmean(error for error in errors if error is not None)

    @property
    def tag(self) -> str:
        """Tag of the figures, see :meth:`mnistvae.likelihoods.Likelihood.tag`."""
        return self.evaluations[0].score(self.row.metric).tag

    @property
    def difference(self) -> float | None:
        """Difference of the mean from the published figure; None where that is of other data, or of other pixels."""
        same = self.about.dataset in self.row.datasets and self.tag == self.row.tag
        return self.mean - self.row.published if same else None

    def to_dict(self) -> dict[str, Any]:
        """The figures, the protocols and the settings, as JSON can hold them."""
        row, protocol, about = self.row, self.evaluations[0].protocol, self.about.to_metadata()
        published = {name: getattr(row, name) for name in ("tag", "num_samples", "images")}
        ours = {
            "mean": self.mean,
            "standard_deviation_over_seeds": self.deviation,
            "standard_error_over_images": self.standard_error,
            "values": list(self.values),
            "dataset": about.get("dataset"),
            "tag": self.tag,
            "num_samples": self._num_samples,
            "images": protocol["images"],
        }
        made = {name: about.get(name) for name in _MADE}
        return {
            "row": row.name,
            "source": row.source,
            "metric": row.metric,
            "unit": row.unit,
            "published": {"value": row.published, "dataset": row.datasets[0], **published},
            "ours": ours,
            "difference": self.difference,
            "seeds": list(range(len(self.values))),
            "epochs": self.epochs,
            "seconds": list(self.seconds),
            **made,
            "note": row.note,
            "command": self.command,
        }

    @property
    def _num_samples(self) -> int:
        """Importance samples an image."""
        return int(self.evaluations[0].protocol.get("num_samples", 1))

    def to_markdown(self) -> str:
        """The figures as a table, and under it how they were made."""
        row, about, protocol = self.row, self.about, self.evaluations[0].protocol
        spread = "" if self.deviation is None else f" ± {self.deviation:.2f}"
        gap = "none: other data" if self.difference is None else f"{self.difference:+.2f}"
        error = "unknown" if self.standard_error is None else f"{self.standard_error:.2f}"
        each = ", ".join(f"{value:.2f} in {time:.0f} s" for value, time in zip(self.values, self.seconds, strict=True))
        made = settings_text({**about.settings, **about.training})
        theirs = f"{row.num_samples:,} | {row.images:,} | {row.datasets[0]}, {row.tag}"
        ours = f"{self._num_samples:,} | {protocol['images']:,} | {about.dataset}, {self.tag}"
        return "\n".join(
            [
                f"# {row.name}\n\n{row.source}.\n",
                f"| | {row.metric}, {row.unit} | samples | images | data |\n| --- | --: | --: | --: | --- |",
                f"| published | {row.published} | {theirs} |",
                f"| ours | {self.mean:.2f}{spread} | {ours} |",
                f"| difference | {gap} | | | |\n",
                f"- seed by seed, from 0 on, with the seconds of training: {each}",
                *([] if self.deviation is None else ["- ±: standard deviation over the seeds"]),
                f"- standard error over the test images: {error}",
                f"- recipe {about.recipe}: {made}",
                *([f"- {row.note}"] if row.note else []),
                f"- mnistvae {about.mnistvae}, torch {about.torch}, {about.device}, {about.threads} threads",
                f"- again: `{self.command}`",
            ]
        )

    def write(self, folder: Path) -> None:
        """Write reproduced.json and reproduced.md into a folder.

        Raises:
            OutputError: If they cannot be written.
        """
        from mnistvae._files import write_atomically
        from mnistvae._records import write_json

        json, markdown = RunFolder.REPRODUCED
        write_json(folder / json, self.to_dict())
        write_atomically(folder / markdown, f"{self.to_markdown()}\n".encode())
