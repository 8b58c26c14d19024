"""Test error with few labels, or with none, on the whole MNIST, beside published figures.

    MNISTVAE_DATA=FOLDER python benchmarks/few_labels.py [--only M2] [--seeds 0 1 2 3 4] [--epochs 100] [--json FILE]

Rows: the classifier alone, trained on the labelled images; M2, a conditional VAE with that classifier and the objective
``SemiSupervised``; M1+M2, the same on the codes of a VAE that was trained before without labels (once, for all
seeds); and clusters, a VAE with a mixture of ten normals as its prior, without any label, each component standing for
the class that suits it best. The seed says which images keep their label, ten of each class unless ``--labels`` says
otherwise, and is that of the weights and of the training. No label but these is used: settings are the same for all
seeds, and the error is that of the last epoch. Published: Kingma et al. (2014), table 1, 100 labels; of clusters,
Jiang et al. (2017).

One thread, or a GPU where there is one; ``--limit`` takes the first training images alone, for a try.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import mnistvae as mv
from mnistvae.likelihoods import Gaussian
from mnistvae.networks import MLPDecoder, MLPEncoder
from mnistvae.objectives import ELBO, SemiSupervised, Terms
from mnistvae.schedules import Linear

LATENT, HIDDEN, BATCH, CLASSES = 50, 500, 100, 10
#: Share of the rows of an epoch that are images with a label, each many times.
SHARE = 0.1
PUBLISHED = {"classifier": "25.81", "M2": "11.97 ± 1.71", "M1+M2": "3.33 ± 0.14", "clusters": "5.54"}


def classifier(features: int, dropout: float) -> nn.Sequential:
    """q(y | x)."""
    layers = (nn.Linear(features, HIDDEN), nn.ReLU(), nn.Dropout(dropout), nn.Linear(HIDDEN, CLASSES))
    return nn.Sequential(nn.Flatten(), *layers)


def conditional(shape: tuple[int, int, int], dropout: float, alpha: float, **parts: Any) -> mv.ConditionalVAE:
    """M2 on images of a shape."""
    n_params = parts["likelihood"].n_params if "likelihood" in parts else 1
    return mv.ConditionalVAE(
        LATENT,
        CLASSES,
        shape,
        encoder=MLPEncoder(LATENT, shape, (HIDDEN,), num_classes=CLASSES),
        decoder=MLPDecoder(LATENT, shape, (HIDDEN,), num_classes=CLASSES, n_params=n_params),
        objective=SemiSupervised(classifier(shape[0] * shape[1] * shape[2], dropout), alpha),
        **parts,
    )


class Stacked(mv.VAE):
    """M1+M2: a VAE whose weights are kept, and a conditional VAE whose images are draws of its codes.

    Args:
        encoder: Encoder of M1.
        decoder: Decoder of M1.
        upper: M2, of images (1, 1, number of dimensions).
        dimensions: Dimensions of M1's code that say something.
    """

    uses_labels = True
    takes_unlabelled = True

    def __init__(self, encoder: Any, decoder: Any, upper: mv.ConditionalVAE, dimensions: tuple[int, ...]) -> None:
        super().__init__(encoder.latent_dim, encoder=encoder, decoder=decoder)
        self.upper = upper
        self.dimensions = dimensions
        for part in (self.encoder, self.decoder):
            part.requires_grad_(requires_grad=False)

    def loss(self, x: Any, y: Any = None) -> Terms:
        with torch.no_grad():
            codes = self.encode(x).sample()
        return self.upper.loss(self._as_images(codes), y)

    def classify(self, x: Tensor) -> Tensor:
        """Probabilities of the classes, (B, K)."""
        with torch.no_grad():
            images = torch.cat([self._as_images(self.encode(part).mean) for part in x.split(1000)])
            logits: Tensor = self.upper.objective.classifier(images)
        return logits.softmax(1)

    def _as_images(self, codes: Tensor) -> Tensor:
        return codes[:, list(self.dimensions)].reshape(len(codes), 1, 1, -1)


def trainer(epochs: int, seed: int, **more: Any) -> mv.Trainer:
    """The training of every row."""
    usual = {"batch_size": BATCH, "learning_rate": 1e-3, "schedule": "cosine", "progress": False}
    return mv.Trainer(**{**usual, "epochs": epochs, "seed": seed, **more})


def often(data: mv.ImageDataset) -> mv.ImageDataset:
    """The data with each labelled image so many times that these are a share of all rows."""
    labelled = (data.labels >= 0).nonzero().flatten()
    times = max(0, round(SHARE / (1 - SHARE) * len(data) / len(labelled)))
    return data[torch.cat([torch.arange(len(data)), labelled.repeat(times)])]


def first_model(train: mv.ImageDataset, epochs: int) -> tuple[mv.VAE, tuple[int, ...]]:
    """M1, and the dimensions of its code that say something."""
    torch.manual_seed(0)
    widths, shape = (HIDDEN, HIDDEN), (1, 28, 28)
    vae = mv.VAE(
        LATENT,
        encoder=MLPEncoder(LATENT, shape, widths),
        decoder=MLPDecoder(LATENT, shape, widths),
        objective=ELBO(schedule=Linear(4 * len(train) // BATCH)),  # without it most dimensions fall silent
    )
    trainer(epochs, seed=0).fit(vae, train)
    means = mv.analysis.encode_dataset(vae, train).means
    return vae, tuple((means.std(0) > 0.1).nonzero().flatten().tolist())


def error(probabilities: Tensor, test: mv.ImageDataset) -> float:
    """Share of wrong classes, in per cent."""
    return 100 * float((probabilities.argmax(1).cpu() != test.labels).double().mean())


def alone(few: mv.ImageDataset, test: mv.ImageDataset, seed: int) -> float:
    """Error of the classifier that sees the labelled images only."""
    torch.manual_seed(seed)
    network, rows = classifier(784, 0.5), few.labels >= 0
    x, y = few.images[rows] / 255, few.labels[rows]
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    with torch.no_grad():
        return error(network.eval()(test.images / 255), test)


def second(few: mv.ImageDataset, test: mv.ImageDataset, seed: int, epochs: int, alpha: float) -> float:
    """Error of M2."""
    torch.manual_seed(seed)
    model = conditional((1, 28, 28), 0.5, alpha)
    trainer(epochs, seed).fit(model, often(few))
    return error(model.objective.classify(test.images), test)


def both(
    few: mv.ImageDataset, test: mv.ImageDataset, seed: int, epochs: int, lower: tuple[mv.VAE, tuple[int, ...]]
) -> float:
    """Error of M1+M2."""
    torch.manual_seed(seed)
    vae, dimensions = lower
    upper = conditional((1, 1, len(dimensions)), 0.0, 1.0, likelihood=Gaussian("per-pixel", link="identity"))
    model = Stacked(vae.encoder, vae.decoder, upper, dimensions)
    trainer(epochs, seed).fit(model, often(few))
    return error(model.classify(test.images.to(model.device)), test)


def clusters(train: mv.ImageDataset, test: mv.ImageDataset, seed: int, epochs: int) -> float:
    """Error of clusters, each of which stands for a class."""
    torch.manual_seed(seed)
    widths, shape = (HIDDEN, HIDDEN), (1, 28, 28)
    vae = mv.VAE(10, encoder=MLPEncoder(10, shape, widths), decoder=MLPDecoder(10, shape, widths))
    trainer(epochs, seed).fit(vae, train)
    model = mv.fit_prior(vae, train, components=CLASSES, covariance="diag", seed=seed)
    trainer(epochs, seed).fit(model, train)
    means = mv.analysis.encode_dataset(model, test).means
    with torch.no_grad():
        found = model.prior.responsibilities(means.to(model.device)).argmax(1)
    return 100 * (1 - mv.metrics.clustering_accuracy(found, test.labels))


def main() -> None:
    """Run the rows and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default=os.environ.get("MNISTVAE_DATA"))
    parser.add_argument("--only", nargs="+", choices=list(PUBLISHED), default=list(PUBLISHED))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--labels", type=int, default=10, help="labels of each class")
    parser.add_argument(
        "--epochs", type=int, default=100, help="of M1; M2 has a third, M1+M2 twice as many, clusters two fifths"
    )
    parser.add_argument("--alpha", type=float, default=50.0, help="of M2; that of M1+M2 is 1")
    parser.add_argument("--limit", type=int, help="training images")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    name = "mnist" if given.data_root else "mnist-mini"
    train, test = (mv.load_dataset(name, split, given.data_root) for split in ("train", "test"))
    train = train[: given.limit]
    started = time.process_time()
    lower = first_model(train, given.epochs) if "M1+M2" in given.only else None
    if lower:
        print(f"M1: {len(lower[1])} of {LATENT} dimensions, {(time.process_time() - started) / 60:.1f} CPU minutes")
    found: dict[str, list[float]] = {row: [] for row in given.only}
    for row, seed in ((row, seed) for row in given.only for seed in given.seeds):
        few, started = train.keep_labels(given.labels, seed=seed), time.process_time()
        if row == "classifier":
            wrong = alone(few, test, seed)
        elif row == "M2":
            wrong = second(few, test, seed, max(1, given.epochs // 3), given.alpha)
        elif row == "clusters":
            wrong = clusters(train, test, seed, max(1, given.epochs // 5))
        else:
            wrong = both(few, test, seed, 2 * given.epochs, lower)
        found[row].append(wrong)
        minutes = (time.process_time() - started) / 60
        print(f"  {row}, seed {seed}: {wrong:.2f} % wrong, {minutes:.1f} CPU minutes", flush=True)
    print(f"\n{name}, {len(train)} images, {given.labels} labels of each class, torch {torch.__version__}")
    print("| model | test error, % | published, % |\n| --- | --- | --- |")
    for row, errors in found.items():
        spread = f" ± {statistics.stdev(errors):.2f}" if len(errors) > 1 else ""
        print(f"| {row} | {statistics.mean(errors):.2f}{spread} | {PUBLISHED[row]} |")
    if given.json:
        given.json.write_text(json.dumps({"torch": torch.__version__, "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
