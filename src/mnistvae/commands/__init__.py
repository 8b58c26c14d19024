"""The commands of the command line, each also a function: ``mnistvae train`` is :func:`train`.

A function takes a file or a model, the name of a data set or its images, and writes into a folder of its own, never
over what is there. What it prints as a command it passes on to ``say``, if that is given.

>>> from mnistvae.commands import generate
>>> generate(mv.VAE(latent_dim=2), n=4, out=tmp_path / "drawn", say=print).shape  # doctest: +ELLIPSIS
wrote 4 images and ...samples.png
torch.Size([4, 1, 28, 28])
"""

from mnistvae.commands.animate import animate
from mnistvae.commands.compare import compare
from mnistvae.commands.encode import encode
from mnistvae.commands.evaluate import evaluate
from mnistvae.commands.explore import explore
from mnistvae.commands.export import export
from mnistvae.commands.fit_prior import fit_prior
from mnistvae.commands.folder import RunFolder
from mnistvae.commands.generate import generate
from mnistvae.commands.info import info
from mnistvae.commands.main import cli, main
from mnistvae.commands.provenance import Provenance
from mnistvae.commands.recipes import recipes
from mnistvae.commands.reconstruct import reconstruct
from mnistvae.commands.report import report
from mnistvae.commands.reproduce import reproduce
from mnistvae.commands.reproduction import Reproduction
from mnistvae.commands.sweep import sweep
from mnistvae.commands.train import Run, train

__all__ = [
    "Provenance",
    "Reproduction",
    "Run",
    "RunFolder",
    "animate",
    "cli",
    "compare",
    "encode",
    "evaluate",
    "explore",
    "export",
    "fit_prior",
    "generate",
    "info",
    "main",
    "recipes",
    "reconstruct",
    "report",
    "reproduce",
    "sweep",
    "train",
]
