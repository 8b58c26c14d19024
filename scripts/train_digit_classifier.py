"""Train the digit classifier that ships with the package, and write its weights and their record.

    OMP_NUM_THREADS=1 python scripts/train_digit_classifier.py --data-root FOLDER_WITH_MNIST

It needs the whole MNIST in torchvision's layout (``MNIST/raw/train-images-idx3-ubyte``, ...); the folder may also come
from the variable MNISTVAE_DATA. It takes some 20 minutes on one core and uses no other; nothing is downloaded.

The first 55,000 training digits are trained on. The last 5,000 are for choosing the settings below: ``--epochs 15
--out SCRATCH`` is enough to compare two. The 10,000 test digits are read once, for the record, by the file as written.
The run is seeded: the same machine and the same torch give the same weights (``tensors_sha256`` in the record).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import time
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import mnistvae as mv
from mnistvae._files import write_atomically
from mnistvae._random import seeded
from mnistvae._tensorfile import digest, read_tensors, write_tensors
from mnistvae.metrics.digits import KIND, DigitClassifier

TARGET = Path(__file__).parents[1] / "src" / "mnistvae" / "metrics"
NAME = "digit_classifier"
TRAINED_ON = 55_000  # of the 60,000; the rest is for validation

BATCH = 128
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.05
WARM_UP = 0.1  # share of the steps in which the learning rate rises; then it falls as a cosine
DROPOUT = 0.1
AVERAGE = 0.998  # of the weights, from step to step
ROTATION = 10.0  # degrees
SCALING = 0.1  # logarithm of the factor, for width and height apart
SHIFT = 2.0  # pixels


def distorted(images: Tensor) -> Tensor:
    """Images as floats, each turned, scaled and shifted by amounts of its own."""
    angle, wide, high, right, down = torch.empty(5, len(images)).uniform_(-1, 1)
    angle = angle * math.radians(ROTATION)
    wide, high = (wide * SCALING).exp(), (high * SCALING).exp()
    # affine_grid counts an image's side as 2.
    right, down = (2 * SHIFT / images.shape[-1] * shift for shift in (right, down))
    rows = [angle.cos() * wide, -angle.sin() * high, right, angle.sin() * wide, angle.cos() * high, down]
    grid = nn.functional.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images.float() / 255, grid, align_corners=False)


def trainable(classifier: DigitClassifier) -> nn.Sequential:
    """Its layers with batch normalisation after each convolution, dropout, and its head."""
    layers: list[nn.Module] = []
    for layer in classifier.layers:
        layers.append(layer)
        if isinstance(layer, nn.Conv2d):
            layers.append(nn.BatchNorm2d(layer.out_channels))
    return nn.Sequential(*layers, nn.Dropout(DROPOUT), classifier.head)


def folded(network: nn.Sequential) -> DigitClassifier:
    """The classifier that a trained network is, its normalisation folded into the convolutions."""
    classifier = DigitClassifier()
    layers = list(network.eval())
    fused = [fuse_conv_bn_eval(*pair) for pair in pairwise(layers) if isinstance(pair[0], nn.Conv2d)]
    convolutions = [layer for layer in classifier.layers if isinstance(layer, nn.Conv2d)]
    for ours, trained in zip([*convolutions, classifier.head], [*fused, layers[-1]], strict=True):
        ours.load_state_dict(trained.state_dict())
    return classifier.eval()


def train(images: Tensor, labels: Tensor, epochs: int) -> DigitClassifier:
    """The average of the weights at the end, as a classifier."""
    network = trainable(DigitClassifier()).to(memory_format=torch.channels_last)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    steps = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=epochs * steps, pct_start=WARM_UP, cycle_momentum=False
    )
    for epoch in range(1, epochs + 1):
        total = torch.zeros(())
        for chosen in torch.randperm(len(images))[: steps * BATCH].view(steps, BATCH):
            loss = nn.functional.cross_entropy(network(distorted(images[chosen])), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            average.update_parameters(network)
            total += loss.detach()
        print(f"epoch {epoch}/{epochs}: loss {float(total) / steps:.4f} nats", flush=True)
    return folded(average.module)


def accuracy(classifier: DigitClassifier, images: Tensor, labels: Tensor) -> tuple[float, list[float]]:
    """Share of digits that are read rightly: of all, and of each class."""
    with torch.no_grad():
        right = torch.cat([classifier(batch).argmax(1) for batch in images.split(500)]) == labels
    return _share(right), [_share(right[labels == digit]) for digit in range(classifier.num_classes)]


def _share(right: Tensor) -> float:
    return round(int(right.sum()) / len(right), 6)


def write(classifier: DigitClassifier, folder: Path) -> DigitClassifier:
    """Write the weights; what is in the file comes back."""
    path = write_tensors(folder / f"{NAME}.safetensors", KIND, classifier.state_dict(), {})
    tensors, _ = read_tensors(path, KIND)
    classifier.load_state_dict(tensors)
    return classifier


def settings(epochs: int) -> dict[str, Any]:
    """Everything that was chosen."""
    return {
        "loss": "cross-entropy, no label smoothing",
        "optimizer": "AdamW, betas 0.9 and 0.999",
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "schedule": f"cosine, up over the first {WARM_UP:.0%} of the steps and then down to 0",
        "batch_size": BATCH,
        "epochs": epochs,
        "dropout": DROPOUT,
        "batch_normalisation": "after each convolution, folded into it at the end",
        "average_of_weights": f"exponential, {AVERAGE} a step",
        "augmentation": {
            "rotation_degrees": ROTATION,
            "scaling_log_of_each_side": SCALING,
            "shift_pixels": SHIFT,
            "draw": "uniform from minus to plus, each image by itself",
            "interpolation": "bilinear",
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, default=os.environ.get("MNISTVAE_DATA"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args()
    if options.data_root is None:
        parser.error("the whole MNIST is needed: --data-root FOLDER, or the variable MNISTVAE_DATA")
    torch.set_num_threads(1)
    data = mv.load_dataset("mnist", "train", options.data_root, download=False)
    started = time.perf_counter()
    with seeded(options.seed):
        trained = train(data.images[:TRAINED_ON], data.labels[:TRAINED_ON], options.epochs)
    seconds = time.perf_counter() - started

    shipped = write(trained, options.out)
    weights = (options.out / f"{NAME}.safetensors").read_bytes()
    test = mv.load_dataset("mnist", "test", options.data_root, download=False)
    validation_accuracy, _ = accuracy(shipped, data.images[TRAINED_ON:], data.labels[TRAINED_ON:])
    test_accuracy, by_class = accuracy(shipped, test.images, test.labels)
    record = {
        "script": "scripts/train_digit_classifier.py",
        "command": f"python scripts/train_digit_classifier.py --data-root FOLDER --seed {options.seed} "
        f"--epochs {options.epochs}",
        "date": date.today().isoformat(),
        "seed": options.seed,
        "torch": torch.__version__,
        "mnistvae": mv.__version__,
        "threads": torch.get_num_threads(),
        "seconds": round(seconds),
        "data": {
            "name": "mnist",
            "training_digits": TRAINED_ON,
            "validation_digits": len(data) - TRAINED_ON,
            "test_digits": len(test),
            "training_images_sha256": hashlib.sha256(data.images.numpy().tobytes()).hexdigest(),
        },
        "use_of_the_test_digits": "none but the figures below: settings were chosen on the validation digits, the "
        "last of MNIST's training digits, which were not trained on",
        "settings": settings(options.epochs),
        "parameters": sum(parameter.numel() for parameter in shipped.parameters()),
        "validation_accuracy": validation_accuracy,
        "test_accuracy": test_accuracy,
        "test_accuracy_by_class": by_class,
        "weights": {
            "file": f"{NAME}.safetensors",
            "bytes": len(weights),
            "sha256": hashlib.sha256(weights).hexdigest(),
            # safetensors orders a header's entries as it likes, so the file's own hash may change from run to run
            "tensors_sha256": digest(shipped.state_dict(), {}),
        },
    }
    write_atomically(options.out / f"{NAME}.json", (json.dumps(record, indent=2) + "\n").encode())
    print(f"{seconds:.0f} s; validation {validation_accuracy:.2%}, test {test_accuracy:.2%}; {len(weights):,} bytes")


if __name__ == "__main__":
    main()
