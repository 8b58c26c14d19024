"""The results table of the docs: every recipe trained on the whole MNIST and measured on its test digits.

    MNISTVAE_DATA=FOLDER python benchmarks/results.py FOLDER [--only NAME ...] [--epochs-factor 1.0] [--device cpu]

Each recipe has its own settings, but for the epochs, which are what a CPU of two cores does in some minutes (the table
says how many), and is measured by ``mnistvae.metrics.evaluate``: importance-sampled likelihood with 500 samples on the
first ``--limit`` test digits, everything else on all 10,000. A recipe's model and figures are kept in
FOLDER/NAME, and a second call goes on with those that are missing; at the end the table is written to FOLDER/table.md.

``beta-conv`` is also measured as notebook B of the requirements does it: mean squared error of the reconstruction from
the posterior mean, on ten test digits of each class.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch

import mnistvae as mv
from mnistvae import metrics
from mnistvae.data import one_of_each

#: Epochs on a CPU of two cores.
EPOCHS = {
    "conv": 6,
    "beta-conv": 15,
    "conditional": 6,
    "mlp": 10,
    "mlp-20": 10,
    "mlp-20-fast": 4,
    "mlp-2d": 10,
    "leaky-mlp-2d": 10,
    "gaussian-mlp": 10,
    "kingma2014": 15,
    "iwae-50": 5,
    "vamp": 5,
    "resnet-flow": 1,
}
#: What a CPU needs to come to an end: other settings of the training, and test digits for the likelihood.
TRAINING: dict[str, dict[str, Any]] = {"resnet-flow": {"precision": "auto"}}
LIMITS = {"resnet-flow": 100}
COLUMNS = {
    "nll": "NLL",
    "negative_elbo": "-ELBO",
    "fd_digits": "fd_digits",
    "precision": "precision",
    "recall": "recall",
    "ssim": "SSIM",
    "psnr": "PSNR",
    "mse": "MSE",
    "knn_accuracy": "kNN",
    "active_units": "active",
}


def measure(name: str, folder: Path, root: str, device: str, epochs: int, limit: int) -> dict[str, Any]:
    """Train and evaluate a recipe, and keep what came of it."""
    recipe = mv.recipes.get(name)
    train, test = (mv.load_dataset("mnist", split, root) for split in ("train", "test"))
    model = recipe.model()
    started = time.perf_counter()
    how: dict[str, Any] = {"epochs": epochs, "device": device, "validate_every": 1000, "progress": False}
    recipe.trainer(**{**how, **TRAINING.get(name, {})}).fit(model, train)
    seconds = time.perf_counter() - started
    folder.mkdir(parents=True, exist_ok=True)
    mv.save(model, folder / "model.safetensors")
    binarization = recipe.training.get("binarization", "none")
    how = {"binarization": binarization, "progress": False}
    whole = metrics.evaluate(model, test, train=train, include=["reconstruction", "latent", "generation"], **how)
    limit = min(limit, LIMITS.get(name, limit))
    likelihood = metrics.evaluate(model, test[:limit], include=["likelihood"], **how)
    digits = one_of_each(test, 100)
    labels = digits.labels if model.num_classes is not None else None
    errors = metrics.mse(digits.images, model.reconstruct(digits.images, labels).cpu())
    result = {
        "recipe": name,
        "epochs": epochs,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "seconds": seconds,
        "limit": limit,
        "tag": whole.protocol["tag"],
        "figures": {figure.name: figure.value for figure in (*likelihood, *whole)},
        "errors": {figure.name: figure.standard_error for figure in (*likelihood, *whole)},
        "mse_of_ten_of_each": [float(errors[digits.labels == digit].mean()) for digit in range(10)],
        "machine": f"{platform.machine()}, {device}, {torch.get_num_threads()} threads, torch {torch.__version__}",
    }
    (folder / "figures.json").write_text(json.dumps(result, indent=2) + "\n")
    return result


def table(results: list[dict[str, Any]], limit: int) -> str:
    """The figures as Markdown, one table for each tag, since others cannot be compared."""
    lines = []
    for tag in sorted({result["tag"] for result in results}):
        lines += [f"**{tag}** (nats of the first {limit:,} test digits)", ""]
        lines += ["| recipe | epochs | parameters | training | " + " | ".join(COLUMNS.values()) + " |"]
        lines += ["| --- |" + " --: |" * (3 + len(COLUMNS))]
        for result in sorted((one for one in results if one["tag"] == tag), key=lambda one: one["figures"]["nll"]):
            cells = [f"`{result['recipe']}`", str(result["epochs"]), f"{result['parameters'] / 1e6:.2f} M"]
            cells += [f"{result['seconds']:.0f} s"]
            for name in COLUMNS:
                value = result["figures"].get(name)
                digits = {"nll": ".2f", "negative_elbo": ".2f", "active_units": ".0f", "mse": ".4f", "psnr": ".1f"}
                few = f" (of {result['limit']})" if name in {"nll", "negative_elbo"} and result["limit"] < limit else ""
                cells.append("" if value is None else format(value, digits.get(name, ".3f")) + few)
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data-root", default=os.environ.get("MNISTVAE_DATA"))
    parser.add_argument("--only", nargs="+", choices=list(EPOCHS))
    parser.add_argument("--epochs-factor", type=float, default=1.0)
    parser.add_argument("--limit", type=int, default=2000)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    if not options.data_root:
        parser.error("say where MNIST is: --data-root or MNISTVAE_DATA")
    for name in options.only or list(EPOCHS):
        epochs = round(EPOCHS[name] * options.epochs_factor)
        if epochs and not (options.folder / name / "figures.json").exists():
            result = measure(name, options.folder / name, options.data_root, options.device, epochs, options.limit)
            print(json.dumps({key: result[key] for key in ("recipe", "seconds", "figures")}), flush=True)
    results = [json.loads(path.read_text()) for path in sorted(options.folder.glob("*/figures.json"))]
    text = table(results, options.limit)
    (options.folder / "table.md").write_text(text + "\n")
    print(text)
    for result in results:
        if result["recipe"] == "beta-conv":
            print("beta-conv, MSE of ten of each:", [round(value, 5) for value in result["mse_of_ten_of_each"]])


if __name__ == "__main__":
    main()
