"""Draw ``mnist-mini`` from the whole MNIST: 1,000 training and 200 test digits of each class.

    python scripts/make_mnist_mini.py FOLDER_WITH_MNIST

FOLDER is in torchvision's layout (``MNIST/raw/train-images-idx3-ubyte``, ...). The draw is seeded and
keeps MNIST's order, so the same bytes come out each time.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
from torchvision.datasets import MNIST

TARGET = Path(__file__).parents[1] / "src" / "mnistvae" / "data" / "mnist_mini.npz"
SEED = 0
PER_CLASS = {"train": 1000, "test": 200}


def draw(root: Path, split: str) -> dict[str, np.ndarray]:
    """The images and labels of one split, equal numbers of each class, in MNIST's own order."""
    source = MNIST(str(root), train=split == "train", download=False)
    images, labels = source.data.numpy(), source.targets.numpy().astype(np.uint8)
    rng = np.random.default_rng([SEED, split == "train"])
    chosen = np.sort(
        np.concatenate(
            [rng.choice(np.flatnonzero(labels == digit), PER_CLASS[split], replace=False) for digit in range(10)]
        )
    )
    return {f"{split}_images": images[chosen], f"{split}_labels": labels[chosen]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args()
    np.savez_compressed(options.out, **draw(options.root, "train"), **draw(options.root, "test"))
    content = options.out.read_bytes()
    print(f"{options.out}: {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
