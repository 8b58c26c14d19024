"""The command line: parse, call, print. The work is in :mod:`mnistvae.runs`."""

from mnistvae.cli.main import cli, main

__all__ = ["cli", "main"]
