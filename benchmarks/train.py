"""Training speed: mnistvae's Trainer beside a loop in the style of pytorch/examples, in one run.

    MNISTVAE_DATA=FOLDER python benchmarks/train.py [--epochs 10] [--precision bf16] [--compile] [--json FILE]

Both train the network 784-400-20 on the whole MNIST, batch 128, Adam 1e-3, the reference in fp32. The reference loads
as pytorch/examples does: a DataLoader over a torchvision data set whose items become PIL images and
then tensors, and ``loss.item()`` after each step. Epochs alternate, so that both see the same machine;
the figures are medians over the epochs, of a compiled run from the second on. Test losses are means over
MNIST's 10,000 test digits of binary cross-entropy plus KL, one code an image, in nats (grey pixels: not a
likelihood).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

import mnistvae as mv
from mnistvae.training import Callback, State


class ReferenceVAE(nn.Module):
    """784-400-20, written flat."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(784, 400)
        self.mean = nn.Linear(400, 20)
        self.logvar = nn.Linear(400, 20)
        self.up = nn.Linear(20, 400)
        self.out = nn.Linear(400, 784)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = torch.relu(self.hidden(x.view(-1, 784)))
        mean, logvar = self.mean(h), self.logvar(h)
        std = torch.exp(0.5 * logvar)
        z = mean + std * torch.randn_like(std)
        return torch.sigmoid(self.out(torch.relu(self.up(z)))), mean, logvar


def reference_loss(x: Tensor, out: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Summed over the batch, as pytorch/examples has it."""
    picture, mean, logvar = out
    entropy = nn.functional.binary_cross_entropy(picture, x.view(-1, 784), reduction="sum")
    return entropy - 0.5 * torch.sum(1 + logvar - mean.pow(2) - logvar.exp())


class Reference:
    """The reference's data, model and loop."""

    def __init__(self, root: str, batch_size: int) -> None:
        torch.manual_seed(0)
        to_tensor = transforms.ToTensor()
        self.train_loader = DataLoader(datasets.MNIST(root, train=True, transform=to_tensor), batch_size, shuffle=True)
        self.test_loader = DataLoader(datasets.MNIST(root, train=False, transform=to_tensor), batch_size)
        self.model = ReferenceVAE()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def epoch(self) -> float:
        """Train for one epoch; the seconds it took."""
        self.model.train()
        started = time.perf_counter()
        total = 0.0
        for x, _ in self.train_loader:
            self.optimizer.zero_grad()
            loss = reference_loss(x, self.model(x))
            loss.backward()
            total += loss.item()
            self.optimizer.step()
        return time.perf_counter() - started

    @torch.no_grad()
    def test_loss(self) -> float:
        """Mean over the test set, nats an image."""
        self.model.eval()
        total = sum(reference_loss(x, self.model(x)).item() for x, _ in self.test_loader)
        return total / len(self.test_loader.dataset)  # type: ignore[arg-type]


class Alternate(Callback):
    """After each of our epochs, one of the reference's."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.seconds: list[float] = []

    def on_epoch_end(self, state: State) -> None:
        self.seconds.append(self.reference.epoch())
        ours = state.history[-1]
        print(
            f"epoch {state.epoch:2d}: mnistvae {ours['seconds']:6.2f} s, reference {self.seconds[-1]:6.2f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default=os.environ.get("MNISTVAE_DATA"))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.data_root:
        parser.error("say where MNIST is: --data-root or MNISTVAE_DATA")

    recipe = mv.recipes.get("mlp-20")
    train, test = (mv.load_dataset("mnist", split, options.data_root) for split in ("train", "test"))
    reference = Reference(options.data_root, recipe.training["batch_size"])
    alternate = Alternate(reference)
    how = {"precision": options.precision, "compile": options.compile}
    trainer = recipe.trainer(epochs=options.epochs, progress=False, device="cpu", callbacks=[alternate], **how)
    history = trainer.fit(recipe.model(), train, validation=test)
    first = 1 if options.compile else 0
    ours, theirs = statistics.median(history.column("seconds")[first:]), statistics.median(alternate.seconds[first:])
    result = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "epochs": options.epochs,
        **how,
        "mnistvae": {"images_per_second": len(train) / ours, "test_loss": history[-1]["validation_loss"]},
        "reference": {"images_per_second": len(train) / theirs, "test_loss": reference.test_loss()},
        "ratio": theirs / ours,
    }
    print(f"\n{result['machine']}; median of {options.epochs} epochs of {len(train):,} images")
    print(f"{'':12s}{'images/s':>12s}{'test loss':>12s}")
    for name in ("reference", "mnistvae"):
        print(f"{name:12s}{result[name]['images_per_second']:12,.0f}{result[name]['test_loss']:12.2f}")
    print(f"ratio {result['ratio']:.2f}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
