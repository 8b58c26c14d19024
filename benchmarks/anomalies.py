"""Area under the ROC curve of each anomaly score, for each digit that a model never saw.

    python benchmarks/anomalies.py [--digits 0 1] [--recipe NAME] [--root FOLDER] [--test 10000] [--json FILE]

For each digit a recipe is trained on the training images of the other nine, and every kind of
``mnistvae.analysis.anomaly_scores`` judges the test images of all ten. 1 is perfect, 0.5 is chance, and below 0.5 the
digit that was never seen passes for more usual than those that were.
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


def areas(digit: int, recipe: str, train: mv.ImageDataset, test: mv.ImageDataset) -> dict[str, float]:
    """The area of each kind of score for one digit."""
    known = train[(train.labels != digit).nonzero()[:, 0]]
    plan = mv.recipes.get(recipe)
    model = plan.model(seed=0)
    plan.trainer(progress=False).fit(model, known)
    unseen = (test.labels == digit).numpy()
    return {
        kind: float(roc_auc_score(unseen, mv.analysis.anomaly_scores(model, test, kind, train=known).numpy()))
        for kind in KINDS
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--recipe", default="mlp-20-fast")
    parser.add_argument("--root", help="folder of the whole MNIST (default: the digits that ship with the package)")
    parser.add_argument("--test", type=int, default=10_000, help="number of test images")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    name = "mnist" if args.root else "mnist-mini"
    train, test = (mv.load_dataset(name, split, root=args.root) for split in ("train", "test"))
    test = test[torch.arange(min(args.test, len(test)))]
    print("| digit left out |", " | ".join(KINDS), "|")
    print("| --- |" + " --- |" * len(KINDS))
    found = {}
    for digit in args.digits:
        found[digit] = areas(digit, args.recipe, train, test)
        print(f"| {digit} |", " | ".join(f"{value:.2f}" for value in found[digit].values()), "|", flush=True)
    means = [sum(one[kind] for one in found.values()) / len(found) for kind in KINDS]
    print("| mean |", " | ".join(f"{value:.2f}" for value in means), "|")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
