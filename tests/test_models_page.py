"""The models of docs/models.md: each composition is run as it stands there."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import mnistvae as mv

PAGE = (Path(__file__).parent.parent / "docs" / "models.md").read_text(encoding="utf-8")
#: The models of pythae 0.1.2, by the names of their classes, and one of its later versions.
PYTHAE = [
    "AE",
    "Adversarial_AE",
    "BetaTCVAE",
    "BetaVAE",
    "CIWAE",
    "DisentangledBetaVAE",
    "FactorVAE",
    "HRQVAE",
    "HVAE",
    "INFOVAE_MMD",
    "IWAE",
    "MIWAE",
    "MSSSIM_VAE",
    "PIWAE",
    "PoincareVAE",
    "RAE_GP",
    "RAE_L2",
    "RHVAE",
    "SVAE",
    "VAE",
    "VAEGAN",
    "VAE_IAF",
    "VAE_LinNF",
    "VAMP",
    "VQVAE",
    "WAE_MMD",
]
PARTS = re.split(r"^### (.+)\n", PAGE, flags=re.MULTILINE)
TEXTS = dict(zip(PARTS[1::2], PARTS[2::2], strict=True))


def code_of(text: str) -> str:
    return text.partition("```python\n")[2].partition("```\n")[0]


def composed(name: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(code_of(PARTS[0]), names)  # noqa: S102 (our own page)
    exec(code_of(TEXTS[name]), names)  # noqa: S102
    return names


@pytest.mark.parametrize("name", TEXTS)
def test_it_is_composed_in_at_most_five_lines_and_trains_and_draws(name: str) -> None:
    assert 1 <= len(code_of(TEXTS[name]).splitlines()) <= 5
    torch.manual_seed(0)
    names = composed(name)
    model, data = names["model"], mv.load_dataset("mnist-mini", "test")[:100].binarized("static", seed=0)
    before = [weight.clone() for weight in model.decoder.parameters()]
    history = mv.Trainer(steps=2, batch_size=25, seed=0, progress=False, device="cpu").fit(model, data)
    assert math.isfinite(history[-1]["loss"])
    assert any(not torch.equal(a, b) for a, b in zip(before, model.decoder.parameters(), strict=True))
    if "finish" in names:
        steps = {} if names["finish"]["kind"] == "mixture" else {"steps": 1}
        model = mv.fit_prior(model, data, **names["finish"], **steps)
    if name == "PixelVAE":  # an image takes a pass of the network for each pixel
        assert isinstance(model.likelihood, mv.likelihoods.Autoregressive)
    else:
        labels = {} if model.num_classes is None else {"y": 3}
        assert model.sample(2, **labels).shape == (2, 1, 28, 28)


@pytest.mark.parametrize("name", TEXTS)
def test_its_text_names_the_source(name: str) -> None:
    assert re.search(r"[A-Z]\S+ .*\((?:19|20)\d\d\)\.", TEXTS[name].partition("```")[0])


def test_every_model_of_pythae_is_there_or_the_reason_why_not() -> None:
    assert {name for name in PYTHAE if f"`{name}`" not in PAGE} == set()


def test_every_model_has_its_figures() -> None:
    table = PAGE.partition("<!-- figures: begin -->")[2].partition("<!-- figures: end -->")[0]
    assert re.findall(r"^\| \[(.+)\]\(#", table, flags=re.MULTILINE) == list(TEXTS)
