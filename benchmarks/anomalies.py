"""Area under the ROC curve of each anomaly score, for each digit, or another data set, that a model never saw.

    python benchmarks/anomalies.py [--digits 0 1] [--recipe NAME] [--root FOLDER] [--test 10000] [--json FILE]
    python benchmarks/anomalies.py --unknown fashion-mnist --root FOLDER

For each digit a recipe is trained on the training images of the other nine, and every kind of
``mnistvae.analysis.anomaly_scores`` judges the test images of all ten. 1 is perfect, 0.5 is chance, and below 0.5 the
digit that was never seen passes for more usual than those that were. With ``--unknown`` the model learns all
digits, and as many test images of another data set are set against those of its own.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import get_args

import torch
from sklearn.metrics import roc_auc_score

import mnistvae as mv
from mnistvae.analysis.anomalies import AnomalyKind

KINDS = get_args(AnomalyKind)


def areas(recipe: str, known: mv.ImageDataset, test: mv.ImageDataset, unseen: torch.Tensor) -> dict[str, float]:
    """The area of each kind of score; ``unseen`` says which test images are of the unknown kind."""
    plan = mv.recipes.get(recipe)
    model = plan.model(seed=0)
    plan.trainer(progress=False).fit(model, known)
    return {
        kind: float(roc_auc_score(unseen.numpy(), mv.analysis.anomaly_scores(model, test, kind, train=known).numpy()))
        for kind in KINDS
    }


def beside(test: mv.ImageDataset, other: mv.ImageDataset) -> tuple[mv.ImageDataset, torch.Tensor]:
    """Test images and as many of another data set behind them, and which those are."""
    other = other[torch.arange(min(len(other), len(test)))]
    unseen = torch.arange(len(test) + len(other)) >= len(test)
    return mv.ImageDataset(torch.cat([test.images, other.images]), max_value=255), unseen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--recipe", default="mlp-20-fast")
    parser.add_argument("--root", help="folder of the whole MNIST (default: the digits that ship with the package)")
    parser.add_argument("--test", type=int, default=10_000, help="number of test images")
    parser.add_argument("--unknown", help="a data set that the model never saw, in place of a digit")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    name = "mnist" if args.root else "mnist-mini"
    train, test = (mv.load_dataset(name, split, root=args.root) for split in ("train", "test"))
    test = test[torch.arange(min(args.test, len(test)))]
    print("| never seen |", " | ".join(KINDS), "|")
    print("| --- |" + " --- |" * len(KINDS))
    found = {}
    for unknown in [args.unknown] if args.unknown else args.digits:
        if args.unknown:
            images, unseen = beside(test, mv.load_dataset(unknown, "test", root=args.root))
            found[unknown] = areas(args.recipe, train, images, unseen)
        else:
            known = train[(train.labels != unknown).nonzero()[:, 0]]
            found[unknown] = areas(args.recipe, known, test, test.labels == unknown)
        print(f"| {unknown} |", " | ".join(f"{value:.2f}" for value in found[unknown].values()), "|", flush=True)
    means = [sum(one[kind] for one in found.values()) / len(found) for kind in KINDS]
    print("| mean |", " | ".join(f"{value:.2f}" for value in means), "|")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
