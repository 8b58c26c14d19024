"""Metrics of a user's own: in the table, the classes, the file and the comparison, and no file of ours is changed."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mnistvae import VAE, ImageDataset, View
from mnistvae.errors import DataError, SettingError
from mnistvae.metrics import METRICS, NEEDS, Estimate, Evaluation, Metric, compare, evaluate, evaluate_view, unmet
from mnistvae.metrics.metric import NEED_NAMES
from mnistvae.networks import MLPDecoder, MLPEncoder

SHAPE = (1, 8, 8)

#: A module as a user would write it.
MODULE = """
from mnistvae.metrics import Metric


def shift(x, reconstruction):
    return (reconstruction - x).flatten(1).mean(1)


SHIFT = Metric("shift", compute=shift, per="reconstruction", protocol="mean difference of pixels")
"""


def small(seed: int = 0) -> VAE:
    torch.manual_seed(seed)
    return VAE(2, SHAPE, encoder=MLPEncoder(2, SHAPE, (8,)), decoder=MLPDecoder(2, SHAPE, (8,)))


def images(n: int = 30, *, labels: bool = True) -> ImageDataset:
    generator = torch.Generator().manual_seed(1)
    return ImageDataset(torch.rand(n, *SHAPE, generator=generator), torch.arange(n) % 3 if labels else None)


def shift(x: Tensor, reconstruction: Tensor) -> Tensor:
    return (reconstruction - x).flatten(1).mean(1)


def measured(*metrics: Metric, data: ImageDataset | None = None, **how: Any) -> Evaluation:
    return evaluate(small(), data or images(), include=[], metrics=metrics, **how)


SHIFT = Metric("shift", better="lower", compute=shift, per="reconstruction", protocol="mean difference of pixels")


# --- what becomes of it ---------------------------------------------------------------------------------------------


def test_of_reconstructions() -> None:
    data = images()
    found = measured(SHIFT, data=data, batch_size=7)
    values = shift(data.images / 255, small().eval().reconstruct(data.images)).double()
    score = found.score("shift")
    assert score.value == pytest.approx(float(values.mean()), rel=1e-5)
    assert score.standard_error == pytest.approx(float(values.std()) / math.sqrt(30), rel=1e-5)
    assert (score.unit, score.better, score.protocol, score.tag) == ("", "lower", "mean difference of pixels", "")
    assert [set(row) for row in found.by_class] == [{"class", "images", "shift"}] * 3
    assert found.by_class[1]["shift"] == pytest.approx(float(values[1::3].mean()), rel=1e-5)


@pytest.mark.parametrize("kind", [list, np.asarray, torch.as_tensor])
def test_of_each_image(kind: Any) -> None:
    metric = Metric("size", "px", compute=lambda view: kind(view.data.images.flatten(1).sum(1).tolist()), per="image")
    found = measured(metric)
    assert found["size"] == pytest.approx(float(images().images.flatten(1).sum(1).double().mean()))
    assert found.score("size").standard_error is not None
    assert found.by_class[0]["size"] > 0


@pytest.mark.parametrize("value", [3, 3.0, np.float32(3), torch.tensor(3.0), np.array(3)])
def test_of_the_whole(value: Any) -> None:
    assert measured(Metric("three", compute=lambda view: value)).score("three").value == 3.0
    found = measured(Metric("three", compute=lambda view: Estimate(value, 0.5))).score("three")
    assert (found.value, found.standard_error, type(found.value)) == (3.0, 0.5, float)


def test_of_each_dimension() -> None:
    metric = Metric("range", compute=lambda view: np.ptp(view.codes.means.numpy(), axis=0), per="dimension")
    found = measured(metric)
    assert found.names() == []
    assert len(found.by_dimension["range"]) == 2


def test_beside_ours_in_every_output(tmp_path: Path) -> None:
    how: dict[str, Any] = {"include": ["reconstruction"], "metrics": [SHIFT]}
    both = {name: evaluate(small(seed), images(), **how) for name, seed in (("a", 0), ("b", 1))}
    found = both["a"]
    assert found.names() == ["mse", "mae", "psnr", "ssim", "shift"]
    assert "↓ shift" in str(found)
    assert Evaluation.from_json(found.to_json(tmp_path / "a.json")) == found
    assert ",shift," in found.to_csv(tmp_path / "a.csv").read_text().splitlines()[0]
    assert "↓ shift" in compare(both)


def test_by_the_name_of_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_metrics.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    assert evaluate(small(), images(), include=[], metrics=["my_metrics:SHIFT"]).names() == ["shift"]
    for bad in ("my_metrics:shift", "my_metrics:LIFT", "shift"):
        with pytest.raises(SettingError, match="a metric"):
            evaluate(small(), images(), include=[], metrics=[bad])


def test_conditions_of_a_comparison() -> None:
    data = images()
    seeds = [measured(SHIFT, data=data, binarization="static", seed=seed).score("shift") for seed in (0, 1)]
    with pytest.raises(DataError, match="pixels static under seed"):
        seeds[0].better_than(seeds[1])
    drawn = Metric("drawn", better="lower", needs=["samples"], compute=lambda view: view.samples.float().mean())
    numbers = [measured(drawn, num_generated=n).score("drawn") for n in (5, 9)]
    with pytest.raises(DataError, match="samples 5 and 9"):
        numbers[0].better_than(numbers[1])
    tagged = Metric("nats", "nats", compute=lambda view: 1.0, tagged=True)
    assert measured(tagged).score("nats").tag == "grey-bce"


# --- what it needs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("need", "data", "reason"),
    [
        ("labels", images(labels=False), "the data have no labels"),
        ("two classes", images()[::3], "the data have one class"),
        ("two classes", images(labels=False), "the data have no labels"),
        ("training labels", images(), "there are no labelled training images: pass train="),
        ("digits", images(), r"the digit classifier reads images of shape (1, 28, 28), these are (1, 8, 8)"),
        ("two images", images()[:1], "it takes two images"),
    ],
)
def test_what_is_not_there_is_left_out_with_the_reason(need: str, data: ImageDataset, reason: str) -> None:
    metric = Metric("mine", needs=[need], compute=lambda view: pytest.fail("computed"))
    assert measured(metric, data=data).left_out == {"mine": reason}
    assert unmet(View(small(), data), [need]) == reason


def test_pictures_that_it_needs_are_kept_from_the_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model, decoded, sampled = small(), [], []
    decode, sample = model.decode, model.sample
    monkeypatch.setattr(model, "decode", lambda z, y=None: decoded.append(len(z)) or decode(z, y))
    monkeypatch.setattr(model, "sample", lambda n, y=None, **how: sampled.append(n) or sample(n, y, **how))
    metric = Metric(
        "spread",
        needs=["reconstructions", "samples"],
        compute=lambda view: view.reconstructions.float().std() - view.samples.float().std(),
    )
    evaluate(model, images(), include=["reconstruction"], metrics=[metric, SHIFT], num_generated=11)
    assert sum(sampled) == 11
    assert sum(decoded) == 30 + 11


def test_our_own_needs_are_in_the_table_and_on_the_page() -> None:
    page = (Path(__file__).parent.parent / "docs/howto/own-metric.md").read_text(encoding="utf-8")
    assert [need for need in NEEDS if f'`"{need}"`' not in page] == []
    assert tuple(NEEDS) == NEED_NAMES
    assert {need for rows in METRICS.values() for metric in rows for need in metric.needs} <= set(NEEDS)


# --- what goes wrong ------------------------------------------------------------------------------------------------


def fails(view: View) -> float:
    raise ZeroDivisionError("by nothing")


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (Metric("mine", compute=fails), "raised ZeroDivisionError: by nothing (test_own_metric.py, line "),
        (Metric("mine", compute=lambda view: "much"), "gave a numpy array of dtype <U4, not a number: mend"),
        (Metric("mine", compute=lambda view: None), "gave None, not a number"),
        (Metric("mine", compute=lambda view: torch.zeros(30)), "gave shape (30,), not a number: mend"),
        (Metric("mine", compute=lambda view: True), "gave dtype torch.bool, not a number"),
        (Metric("mine", compute=lambda view: 1.0, protocol=fails), "raised ZeroDivisionError: by nothing"),
        (Metric("mine", compute=lambda view: 1.0, protocol=lambda view: None), "gave None as its protocol"),
        (
            Metric("mine", compute=lambda view: 1.0, per="image"),
            "gave shape (), not one value for each image, shape (30,): mend its compute, or say so by per=",
        ),
        (
            Metric("mine", compute=lambda x, made: x, per="reconstruction"),
            "gave shape (30, 1, 8, 8), not one value for each image, shape (30,)",
        ),
        (Metric("mine", compute=lambda view: view, per="reconstruction"), "raised TypeError: "),
        (
            Metric("mine", compute=lambda view: torch.zeros(3), per="dimension"),
            "gave shape (3,), not one value for each latent dimension, shape (2,)",
        ),
    ],
)
def test_a_broken_one_is_left_out_with_the_reason_and_the_rest_is_kept(metric: Metric, message: str) -> None:
    with pytest.warns(UserWarning, match="the metric 'mine' " + re.escape(message)) as warned:
        found = evaluate(small(), images(), include=["reconstruction"], metrics=[metric, SHIFT])
    assert Path(warned[0].filename) == Path(__file__)
    assert list(found.left_out) == [metric.label]
    assert found.left_out[metric.label].startswith(f"it {message}")
    assert found == dataclasses.replace(
        evaluate(small(), images(), include=["reconstruction"], metrics=[SHIFT]), left_out=found.left_out
    )


def test_one_that_fails_in_a_later_batch_leaves_the_shared_pass_to_the_others() -> None:
    calls = []

    def tires(x: Tensor, reconstruction: Tensor) -> Tensor:
        calls.append(len(x))
        if len(calls) == 2:
            raise RuntimeError("tired")
        return torch.zeros(len(x))

    view = View(small(), images(), batch_size=7)
    for _ in range(2):  # the second time, the values of the pass are there already
        with pytest.warns(UserWarning, match="the metric 'mine' raised RuntimeError: tired"):
            found = evaluate_view(
                view, include=[], metrics=[Metric("mine", compute=tires, per="reconstruction"), SHIFT]
            )
        assert found.names() == ["shift"]
    assert calls == [7, 7]


def test_a_model_that_fails_is_not_the_metric_s_fault() -> None:
    model = small()
    with torch.no_grad():
        next(model.decoder.parameters()).fill_(torch.nan)
    with pytest.raises(DataError, match="finite reconstructions"):
        evaluate(model, images(), include=[], metrics=[SHIFT])


def test_values_that_are_not_finite() -> None:
    bad = torch.ones(30)
    bad[[8, 20]] = torch.nan
    for metric, reason in (
        (Metric("mine", compute=lambda view: math.nan), "gave NaN: mend its compute"),
        (
            Metric("mine", compute=lambda view: bad, per="image"),
            "gave NaN for 2 of 30 images, the first of them number 8: mend its compute",
        ),
        (
            Metric("mine", compute=lambda x, _: (-1 - x.flatten(1).mean(1)).log(), per="reconstruction"),
            "gave NaN for 30 of 30 images, the first of them number 0: mend its compute",
        ),
        (
            Metric("mine", compute=lambda view: [1.0, math.nan], per="dimension"),
            "gave NaN for 1 of 2 dimensions, the first of them number 1: mend its compute",
        ),
    ):
        with pytest.warns(UserWarning, match=f"the metric 'mine' {reason}"):
            found = measured(metric, batch_size=7)
        assert found.left_out[metric.label].startswith(f"it {reason}")
        assert "weights" not in found.left_out[metric.label]
    half = torch.tensor([1.0, math.inf]).repeat(15)
    found = measured(Metric("mine", compute=lambda view: half, per="image")).score("mine")
    assert found.value == 1.0
    assert "without 15 images where it is infinite" in found.protocol


@pytest.mark.parametrize("name", ["mse", "fd_inception", "class", "images", "kl by dimension"])
def test_names_that_are_taken(name: str) -> None:
    with pytest.raises(SettingError, match=f"a metric with a name of its own, got '{name}'"):
        measured(Metric(name, compute=lambda view: 1.0))
    with pytest.raises(SettingError, match="a metric with a name of its own, got 'shift'"):
        measured(SHIFT, SHIFT)


@pytest.mark.parametrize("metrics", [None, 3, "mine", SHIFT, {"a": SHIFT}, [shift], [None], [Metric]])
def test_what_is_no_list_of_metrics(metrics: Any) -> None:
    with pytest.raises(SettingError, match="metric"):
        evaluate(small(), images(), include=[], metrics=metrics)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"name": ""}, "a metric with a name"),
        ({"name": 3}, "name of a metric as a text"),
        ({"unit": None}, "unit of a metric as a text"),
        ({"better": "up"}, "better, of the metric 'a', as one of"),
        ({"per": "class"}, "per, of the metric 'a', as one of"),
        ({"compute": 3}, "compute, of the metric 'a', as a function"),
        ({"needs": "labels"}, "needs, of the metric 'a', as a list"),
        ({"protocol": 3}, "protocol, of the metric 'a', as a text"),
    ],
)
def test_parts_that_make_no_sense(how: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Metric(**{"name": "a", "compute": shift, **how})


def test_a_need_that_nobody_knows() -> None:
    with pytest.raises(SettingError, match="needs, of the metric 'mine', as one of 'two images'"):
        Metric("mine", needs=["time"], compute=lambda view: 1.0)


def test_on_a_view_that_has_it_already(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    view = View(model, images())
    first = evaluate_view(view, include=["reconstruction", "latent"], metrics=[SHIFT])
    monkeypatch.setattr(model, "encode", lambda *_: pytest.fail("encoded again"))
    monkeypatch.setattr(model, "decode", lambda *_: pytest.fail("decoded again"))
    assert evaluate_view(view, include=["reconstruction", "latent"], metrics=[SHIFT]) == first
    with pytest.raises(SettingError, match="a View, got a VAE"):
        evaluate_view(model)  # type: ignore[arg-type]
