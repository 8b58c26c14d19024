"""Maps and classifiers that a process of their own computes: as in this process, and no process is left over."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

import mnistvae as mv
from mnistvae import _learners, _process, analysis
from mnistvae.analysis.embedding import embed_later
from mnistvae.errors import DataError
from mnistvae.metrics import classification, classify_codes
from mnistvae.metrics.classification import Classification, Kind, classify_later
from mnistvae.report.latent_space import embedding as embedding_of
from mnistvae.view import View, begin

CODES = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(60) % 3
LEARNED = (CODES[::2], LABELS[::2], CODES[1::2], LABELS[1::2])

Started = list[subprocess.Popen[bytes]]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """The processes that are started, which few codes are worth."""
    found: Started = []
    start = subprocess.Popen

    def popen(*command: Any, **how: Any) -> subprocess.Popen[bytes]:
        found.append(start(*command, **how))
        return found[-1]

    monkeypatch.setattr(_process, "_WORTH_A_PROCESS", 3)
    monkeypatch.setattr(_process, "cores", lambda: 2)
    monkeypatch.setattr(_process.subprocess, "Popen", popen)
    return found


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Classification):
        return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    return np.array_equal(a.points, b.points) and (a.kind, a.names, a.settings) == (b.kind, b.names, b.settings)


def map_later(**settings: Any) -> Any:
    wait = embed_later(CODES, **settings)
    assert wait is not None
    return wait


def class_later(kind: Kind = "logistic", seed: int = 0) -> Any:
    return classify_later(*LEARNED, ["knn", kind], seed=seed)[kind]


def test_the_map_is_that_of_this_process(started: Started) -> None:
    wait = map_later(seed=3, perplexity=5.0)
    assert len(started) == 1
    assert same(wait(), analysis.embed(CODES, "tsne", seed=3, perplexity=5.0))
    assert started[0].returncode == 0


@pytest.mark.parametrize("kind", ["random-forest", "logistic"])
def test_the_classifier_is_that_of_this_process(kind: Kind, started: Started) -> None:
    assert same(class_later(kind, seed=2**40 + 1)(), classify_codes(*LEARNED, kind, seed=2**40 + 1))
    assert started[0].returncode == 0


def test_a_classifier_that_is_not_done_says_so_from_there_too(monkeypatch: pytest.MonkeyPatch) -> None:
    made = _learners.classifier_of
    monkeypatch.setattr(_learners, "classifier_of", lambda kind, seed: made(kind, seed).set_params(max_iter=1))
    given = [one.double().numpy() if one.is_floating_point() else one.numpy() for one in LEARNED]
    found = _learners.learn(_learners.classifier_of("mlp", 0), *given[:3])
    assert found["unfinished"]
    task = classification._Task(*given)
    with pytest.warns(UserWarning, match="not done after 1 iterations"):
        classification._judged(task, _learners.classifier_of("mlp", 0), found)


@pytest.mark.parametrize("later", [map_later, class_later])
def test_what_nobody_waits_for_ends(later: Any, started: Started) -> None:
    wait = later()
    del wait
    assert started[0].returncode is not None


@pytest.mark.parametrize("later", [map_later, class_later])
@pytest.mark.parametrize("program", ["raise SystemExit(1)", "print('no array')", ""])
def test_a_process_that_fails(later: Any, program: str, started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    here = analysis.embed(CODES, "tsne") if later is map_later else classify_codes(*LEARNED, "logistic")
    monkeypatch.setattr(_process, "_PROGRAM", program)
    assert same(later()(), here)
    assert len(started) == 1


def test_what_takes_no_process(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    assert embed_later(torch.ones(20, 5)) is None
    monkeypatch.setattr(_process, "cores", lambda: 1)
    assert embed_later(CODES) is None
    assert classify_later(*LEARNED, ["knn"]) == {}
    monkeypatch.undo()
    assert embed_later(CODES) is None
    assert classify_later(*LEARNED, ["knn"]) == {}
    assert not started


def test_without_a_python_to_start(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert embed_later(CODES) is None
    assert classify_later(*LEARNED, ["knn"]) == {}
    assert not started


@pytest.mark.usefixtures("started")
def test_bad_codes_are_errors_at_once() -> None:
    with pytest.raises(DataError):
        embed_later(torch.full((20, 5), torch.nan))
    with pytest.raises(DataError, match="two classes"):
        classify_later(CODES, torch.zeros(60).long(), CODES, LABELS, ["knn"])


def half(view: View, parts: int = 2) -> float:
    return len(view) / parts


def test_a_view_waits_for_what_was_begun_once_and_only_for_that() -> None:
    view, waited = View(mv.VAE(latent_dim=2), torch.rand(6, 1, 28, 28)), []

    def wait() -> float:
        waited.append(1)
        return 7.0

    begin(view, wait, half, 3)
    begin(view, None, half)
    assert len(view.begun) == 1
    assert (view.once(half), waited) == (3.0, [])
    assert (view.once(half, 3), view.once(half, 3), waited) == (7.0, 7.0, [1])
    assert not view.begun


@pytest.mark.parametrize(("has", "before", "others", "left"), [(2, 2, 1, 1), (2, 2, 5, 1), (8, 8, 3, 5), (8, 2, 3, 2)])
def test_other_processes_are_left_a_core_each(
    has: int, before: int, others: int, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other:
        is_alive = True

    now, running = [before], [Other() for _ in range(others)]
    monkeypatch.setattr(torch, "get_num_threads", lambda: now[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda number: now.__setitem__(0, number))
    monkeypatch.setattr(_process, "cores", lambda: has)
    monkeypatch.setattr(_process, "_STARTED", running)
    with _process.sharing_cores() as look:
        assert now == [left]
        for one in running:
            one.is_alive = False
        look()
        assert now == [before]
        running[0].is_alive = True
        look()
    assert now == [before]


def test_sections_begin_all_that_takes_long_and_wait_for_it(started: Started) -> None:
    train, test = mv.load_dataset("mnist-mini", "train")[:60], mv.load_dataset("mnist-mini", "test")[:40]
    view, alone = (View(mv.recipes.get("mlp-20").model(seed=0), test, train=train) for _ in range(2))
    for section in mv.report.SECTIONS:
        section.prepare(view)
    assert (len(started), len(view.begun)) == (2, 3)
    assert same(view.once(embedding_of, "tsne"), alone.once(embedding_of, "tsne"))
    assert same(*(one.once(classification.code_classification, "random-forest") for one in (view, alone)))
    assert len(view.begun) == 1
    assert len(started) == 2
