"""The models of docs/models.md, each trained for the same processor time on the whole MNIST: the table of that page.

    MNISTVAE_DATA=FOLDER python benchmarks/models.py [--only NAME ...] [--minutes 3] [--jobs 2] [--json FILE] [--write]

The compositions are the page's own, read from it and executed. Training is the same for all but for the number of
epochs, which is what the minutes allow, by the time of 60 steps; minutes are of one thread's processor time, so that
rows can run beside each other (``--jobs``), one a core. A prior that is fitted afterwards is not counted.

Figures are of the test digits; for the rows of black and white pixels these are drawn once under seed 0. ``NLL``, nats
by importance sampling with ``--samples`` codes an image, is of the first 2,000; ``MSE`` of reconstructions and
``fd_digits`` of 2,000 samples are of all. ``--write`` puts the table into the page.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import by_minutes
import torch

import mnistvae as mv

PAGE = Path(__file__).parent.parent / "docs" / "models.md"
#: Rows whose pixels are grey.
GREY = ("sigma-VAE", "Continuous Bernoulli VAE", "VAE of discretized logistics", "VAE of logistic mixtures")


def compositions(page: str) -> dict[str, str]:
    """The code of each model of the page by its name; under "" what all need."""
    parts = re.split(r"^### (.+)\n", page, flags=re.MULTILINE)  # what comes first, then names and texts
    texts = dict(zip(["", *parts[1::2]], parts[::2], strict=True))
    return {name: text.partition("```python\n")[2].partition("```\n")[0] for name, text in texts.items()}


def compose(name: str, codes: dict[str, str]) -> tuple[mv.VAE, dict[str, Any] | None]:
    """A model of the page, and what its prior is fitted by."""
    names: dict[str, Any] = {}
    exec(codes[""], names)  # noqa: S102 (our own page)
    exec(codes[name], names)  # noqa: S102
    return names["model"], names.get("finish")


def measure(name: str, minutes: float, samples: int, root: str) -> dict[str, Any]:
    """Train one row and take its figures."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of importance weights that rest on few samples
    codes, grey = compositions(PAGE.read_text(encoding="utf-8")), name in GREY
    train, test = (mv.load_dataset("mnist", split, root) for split in ("train", "test"))
    knows_all = not compose(name, codes)[0].takes_unlabelled
    if not knows_all:
        few = train.keep_labels(per_class=10, seed=0)
        labelled = (few.labels >= 0).nonzero().flatten()
        train = few[torch.cat([labelled.repeat(len(few) // (9 * len(labelled))), torch.arange(len(few))])]
    pixels = {"binarization": "none"} if grey else {}
    made = by_minutes.train_for(minutes, lambda: compose(name, codes)[0], train, **pixels)
    model, finish = made.pop("model"), compose(name, codes)[1]
    drawn = test if grey else test.binarized("static", seed=0)
    if finish is not None:
        model = mv.fit_prior(model, train if grey else train.binarized("static", seed=0), **finish)
    # A mean of pixels that depend on those before them takes draws, one pixel after the other.
    pixelwise = isinstance(model.likelihood, mv.likelihoods.Autoregressive)
    groups: list[Any] = ["generation"] if pixelwise else ["generation", "reconstruction"]
    found = mv.metrics.evaluate(model, drawn, include=groups, num_generated=1000 if pixelwise else 2000, seed=0)
    row = {"name": name, **made, "tag": model.tag("none" if grey else "dynamic")}
    row |= {key: float(found[key]) for key in ("mse", "fd_digits") if key in found}
    likelihood = mv.metrics.evaluate(model, drawn[:2000], include=["likelihood"], num_samples=samples, seed=0)
    if "nll" in likelihood:
        row["nll"] = float(likelihood["nll"])
    if not knows_all:
        guessed = model.objective.classify(test.images).argmax(1)  # type: ignore[union-attr,operator]
        row["wrong"] = float((guessed != test.labels).double().mean())
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = ["| model | epochs | NLL | MSE | fd_digits |", "| --- | --: | --: | --: | --: |"]
    for row in rows:
        link = re.sub(r"[^\w -]", "", row["name"].lower()).replace(" ", "-")
        nats = f"{row['nll']:.2f}" if "nll" in row else ""
        mse = f"{row['mse']:.4f}" if "mse" in row else ""
        name = f"[{row['name']}](#{link})"
        lines.append(f"| {name} | {row['epochs']} | {nats} | {mse} | {row['fd_digits']:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Run the rows and print a table."""
    codes = compositions(PAGE.read_text(encoding="utf-8"))
    names = [name for name in codes if name]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default=os.environ.get("MNISTVAE_DATA"))
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", default=names)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="rows that are there already are not measured again")
    parser.add_argument("--write", action="store_true", help="put the table into docs/models.md")
    parser.add_argument(
        "--row", choices=names, metavar="NAME", help="one row, as JSON on the last line (what the jobs call)"
    )
    given = parser.parse_args()
    if not given.data_root:
        parser.error("say where MNIST is: --data-root or MNISTVAE_DATA")
    if given.row:
        print(json.dumps(measure(given.row, given.minutes, given.samples, given.data_root)))
        return
    print(
        f"{platform.machine()}, one thread a row, torch {torch.__version__}, {given.minutes:g} minutes a row",
        flush=True,
    )
    known = json.loads(given.json.read_text()) if given.json and given.json.exists() else {}

    todo = [name for name in given.only if name not in known]
    how = {"minutes": given.minutes, "samples": given.samples, "data-root": given.data_root}
    for row in by_minutes.run_rows(__file__, todo, how, given.jobs):
        if row is None:
            continue
        known[row["name"]] = row
        print(row, flush=True)
        if given.json:
            given.json.write_text(json.dumps(known, indent=2) + "\n")
    missing = [name for name in given.only if name not in known]
    text = table([known[name] for name in given.only if name in known])
    print(text)
    if missing:
        sys.exit(f"failed: {', '.join(missing)}")
    if given.write:
        page = PAGE.read_text(encoding="utf-8")
        marks = "<!-- figures: begin -->\n", "<!-- figures: end -->"
        before, _, rest = page.partition(marks[0])
        PAGE.write_text(f"{before}{marks[0]}\n{text}\n\n{marks[1]}{rest.partition(marks[1])[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
