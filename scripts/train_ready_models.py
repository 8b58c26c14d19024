"""Train the models that ship with the package, measure them, and write their files and cards.

    MNISTVAE_DATA=FOLDER_WITH_MNIST OMP_NUM_THREADS=1 python scripts/train_ready_models.py [NAME ...] [--runs DIR]

Each is what the command in COMMANDS trains; then its weights are rounded to half precision, and what was written is
measured on MNIST's 10,000 test digits. A run that is in DIR already is not trained again, so that this can be stopped.
The runs are seeded: the same machine and the same torch give the same weights. All take about an hour on one core.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import tempfile
from dataclasses import replace
from datetime import date
from pathlib import Path

import mnistvae as mv
from mnistvae._records import write_json
from mnistvae.commands import cli
from mnistvae.commands.folder import RunFolder
from mnistvae.io import read

TARGET = Path(mv.__file__).parent / "zoo"
COURSE = "--learning-rate 3e-3 --schedule one-cycle --batch-size 128 --ema 0.999"
CONV = "--learning-rate 0.012 --no-start-at-mean --batch-size 128 --ema 0.999"
COMMANDS = {
    "mlp-2d": f"--recipe mlp-2d --hidden 200,100 --epochs 50 {COURSE}",
    "conditional": "--recipe conditional --epochs 15 --batch-size 128 --learning-rate 6e-3 --schedule one-cycle"
    " --no-start-at-mean --ema 0.999",
    "conv": f"--recipe conv --latent-dim 10 --epochs 10 {CONV}",
    "mlp-20": f"--recipe mlp-20 --epochs 30 {COURSE}",
    "beta-conv": "--recipe beta-conv --epochs 8 --ema 0.999",
    "conv-binary": "--recipe vamp-conv",
}
EVERYWHERE = "--dataset mnist --seed 0 --samples-every 0"
WEIGHTS_LICENCE = "MIT"


def make(name: str, runs: Path) -> None:
    """Train one model, if it is not there, and write its three files."""
    run = RunFolder(runs / name)
    command = f"{COMMANDS[name]} {EVERYWHERE}"
    if run.state != "finished":
        how = ["--resume"] if run.state == "unfinished" else [*shlex.split(command), "--out"]
        cli.main(["train", *how, str(run.path), "--device", "cpu"], standalone_mode=False)
    trained = read(run.model)
    target = TARGET / f"{name}.safetensors"
    mv.save(mv.load(run.model).half(), target, trained.metadata)
    about = trained.metadata
    found = mv.metrics.evaluate(
        mv.load(target).float(),
        mv.load_dataset("mnist", "test"),
        train=mv.load_dataset("mnist", "train"),
        num_samples=100,
        binarization=about.get("binarization") or "none",
    )
    protocol = {**found.protocol, "weights": "half precision", "date": date.today().isoformat()}
    replace(found, by_image={}, protocol=protocol).to_json(TARGET / f"{name}.metrics.json")
    history = run.read_history()
    card = {
        "command": f"mnistvae train {command}",
        "licence": WEIGHTS_LICENCE,
        "model_sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
        "history": {key: [round(value, 3) for value in history.column(key)] for key in ("loss", "validation_loss")},
    }
    write_json(TARGET / f"{name}.json", card)
    print(f"{name}: {target.stat().st_size:,} bytes\n{found}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", default=list(COMMANDS), help="models to make (default: all)"
    )
    parser.add_argument("--runs", type=Path, default=Path(tempfile.gettempdir()) / "ready-models")
    options = parser.parse_args()
    for name in options.names or COMMANDS:
        make(name, options.runs)


if __name__ == "__main__":
    if "MNISTVAE_DATA" not in os.environ:
        raise SystemExit("set MNISTVAE_DATA to a folder with MNIST in torchvision's layout")
    main()
