"""Maps that a process of their own computes: the same as those of this process, and no process is left over."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from mnistvae import analysis
from mnistvae.analysis import _process, embedding
from mnistvae.analysis.embedding import embed_later
from mnistvae.errors import DataError

CODES = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that are started, which few codes are worth."""
    found: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def popen(*command: Any, **how: Any) -> subprocess.Popen[bytes]:
        found.append(start(*command, **how))
        return found[-1]

    monkeypatch.setattr(embedding, "_WORTH_A_PROCESS", 3)
    monkeypatch.setattr(embedding.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(_process.subprocess, "Popen", popen)
    return found


def same(a: analysis.Embedding, b: analysis.Embedding) -> bool:
    return np.array_equal(a.points, b.points) and (a.kind, a.names, a.settings) == (b.kind, b.names, b.settings)


def test_the_map_is_that_of_this_process(started: list[subprocess.Popen[bytes]]) -> None:
    map_of = embed_later(CODES, seed=3)
    assert len(started) == 1
    assert same(map_of(), analysis.embed(CODES, "tsne", seed=3))
    assert started[0].returncode == 0


def test_a_map_that_nobody_waits_for_ends(started: list[subprocess.Popen[bytes]]) -> None:
    map_of = embed_later(CODES)
    del map_of
    assert started[0].returncode is not None


def test_a_process_that_fails(started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = analysis.embed(CODES, "tsne")
    for program in ("raise SystemExit(1)", "print('no array')", ""):
        monkeypatch.setattr(_process, "_PROGRAM", program)
        assert same(embed_later(CODES)(), expected)
    assert len(started) == 3
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert same(embed_later(CODES)(), expected)
    assert len(started) == 3


def test_few_codes_and_a_single_core_take_no_process(
    started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding.os, "cpu_count", lambda: 1)
    assert len(embed_later(CODES)()) == 60
    monkeypatch.undo()
    assert len(embed_later(CODES)()) == 60
    assert not started


def test_a_collapsed_posterior_and_codes_that_are_not_finite(started: list[subprocess.Popen[bytes]]) -> None:
    assert not embed_later(torch.ones(20, 5))().points.any()
    assert not started
    with pytest.raises(DataError):
        embed_later(torch.full((20, 5), torch.nan))
