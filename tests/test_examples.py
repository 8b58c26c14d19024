"""The examples run, leave what they say they leave, and their own parts come back from a file as they were."""

from __future__ import annotations

import copy
import itertools
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from readback import png
from torch import Tensor, nn

import mnistvae as mv
from mnistvae.errors import FileFormatError
from mnistvae.objectives import Terms

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("plot_*.py"))
#: The classes that each script makes and has to name when it loads its model.
OWN = {
    "plot_custom_encoder": ("Correlated", "Patches"),
    "plot_custom_likelihood": ("Laplace",),
    "plot_custom_objective": ("InfoVAE",),
    "plot_custom_prior": ("StudentT",),
}


class Ran:
    """A script that was run: its names, what it printed, and the folder that it wrote to."""

    def __init__(self, names: dict[str, Any], printed: str, folder: Path) -> None:
        self.names = names
        self.printed = printed
        self.folder = folder


def some(data: mv.ImageDataset) -> mv.ImageDataset:
    """300 images, from the first to the last, since some data are in the order of their classes."""
    return data[torch.linspace(0, len(data) - 1, min(300, len(data))).long()]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs a script once, with 300 images of each split and one epoch; the scripts know nothing of it."""
    done: dict[str, Ran] = {}
    load_dataset, fit = mv.load_dataset, mv.Trainer.fit

    def short_fit(self: mv.Trainer, *args: Any, **kwargs: Any) -> mv.History:
        trainer = copy.copy(self)
        trainer.epochs = 1
        return fit(trainer, *args, **kwargs)

    def run(script: str, capsys: pytest.CaptureFixture[str]) -> Ran:
        if script not in done:
            folder = tmp_path_factory.mktemp(script)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(mv, "load_dataset", lambda *args, **more: some(load_dataset(*args, **more)))
                patch.setattr(mv.Trainer, "fit", short_fit)
                patch.setattr(sys, "argv", [f"{script}.py", str(folder)])
                capsys.readouterr()
                names = runpy.run_path(str(EXAMPLES / f"{script}.py"), run_name="__main__")
            done[script] = Ran(names, "".join(capsys.readouterr()), folder)
        return done[script]

    return run


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_runs_without_warnings_and_leaves_its_pictures(
    script: str, ran: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    result = ran(script, capsys)  # a warning is an error here
    assert not {"nan", "inf", "-inf"} & set(result.printed.replace(",", " ").replace(";", " ").split())
    pictures = list(result.folder.glob("*.png"))
    assert pictures
    for picture in pictures:
        pixels = png(picture)
        height, width = (side // 4 for side in pixels.shape[:2])
        middle = pixels[height:-height, width:-width]
        assert len(np.unique(pixels)) > 50  # shades, of images or of letters
        assert len(np.unique(middle)) > 3  # and not one field; bars have few colours
    assert result.names.get("path", result.folder / "nothing").parent == result.folder
    assert not Path(result.names["temporary"].name).exists()


@pytest.mark.parametrize("script", OWN)
def test_a_model_with_own_parts_comes_back_as_it_was(script: str, ran: Any, capsys: pytest.CaptureFixture[str]) -> None:
    names = ran(script, capsys).names
    model, same = names["model"], names["same"]
    assert repr(same) == repr(model)
    assert [type(part) for part in same.modules()] == [type(part) for part in model.modules()]
    assert {type(part).__name__ for part in same.modules()} >= set(OWN[script])
    before, after = model.state_dict(), same.state_dict()
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name
    x = names["test"].images[:20]
    losses = []
    for vae in (model, same):
        torch.manual_seed(1)
        losses.append(vae.loss(x).by_name())
    assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0].keys() | losses[1].keys())


@pytest.mark.parametrize("script", OWN)
def test_a_file_needs_every_own_class_to_be_named(script: str, ran: Any, capsys: pytest.CaptureFixture[str]) -> None:
    result = ran(script, capsys)
    [path] = result.folder.glob("*.safetensors")
    own = [result.names[name] for name in OWN[script]]
    for number in range(len(own)):
        for some in itertools.combinations(own, number):
            with pytest.raises(FileFormatError, match="to be allowed"):
                mv.load(path, classes=some)
    assert isinstance(mv.load(path, classes=own), mv.VAE)


@pytest.mark.parametrize("script", OWN)
def test_every_weight_of_a_model_with_own_parts_learns(
    script: str, ran: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ran(script, capsys).names
    model = names["same"]
    terms = model.loss(names["test"].images[:20])
    assert all(term.shape == (20,) and bool(term.isfinite().all()) for term in terms.by_name().values())
    gradients = torch.autograd.grad(terms.loss.mean(), list(model.parameters()))
    assert all(bool(gradient.isfinite().all()) and bool(gradient.any()) for gradient in gradients)


def test_the_encoder_starts_with_independent_dimensions(ran: Any, capsys: pytest.CaptureFixture[str]) -> None:
    names = ran("plot_custom_encoder", capsys).names
    encoder = names["Correlated"](names["Patches"](), latent_dim=3, features=256)
    q = encoder(torch.rand(4, 1, 28, 28))
    assert torch.equal(q.covariance_matrix, torch.diag_embed(q.variance))
    nn.init.normal_(encoder.below.weight, std=0.1)
    correlated = encoder(torch.rand(4, 1, 28, 28))
    assert not torch.allclose(correlated.covariance_matrix, torch.diag_embed(correlated.variance))
    assert torch.equal(correlated.scale_tril, correlated.scale_tril.tril())


def test_the_laplace_pixels_are_the_formula_of_the_page(ran: Any, capsys: pytest.CaptureFixture[str]) -> None:
    names = ran("plot_custom_likelihood", capsys).names
    params, x, width = torch.randn(5, 1, 4, 4), torch.rand(5, 1, 4, 4), 0.3
    expected = ((x - params.sigmoid()).abs() / width + torch.tensor(2 * width).log()).flatten(1).sum(1)
    likelihood = names["Laplace"](width)
    assert torch.allclose(-likelihood(params).log_prob(x), expected)
    assert likelihood.tag() == "laplace"
    assert likelihood.tag("dynamic") == "laplace-on-dynamic-binary"


def test_the_student_t_is_the_formula_of_the_page(ran: Any, capsys: pytest.CaptureFixture[str]) -> None:
    prior = ran("plot_custom_prior", capsys).names["StudentT"](3, degrees=4.0)
    nn.init.normal_(prior.loc)
    nn.init.normal_(prior.log_scale)
    z = 3 * torch.randn(6, 3)
    inner = 1 + ((z - prior.loc) / prior.log_scale.exp()).square() / prior.degrees
    expected = ((prior.degrees + 1) / 2 * inner.log() + prior.log_scale).sum(1)
    constant = -prior().log_prob(z) - expected  # the page leaves it out
    assert torch.allclose(constant, constant[0].expand(6), atol=1e-5)


def test_the_discrepancy_is_the_mean_over_pairs_of_different_codes(
    ran: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ran("plot_custom_objective", capsys).names
    z, noise = torch.randn(7, 2) + 1, torch.randn(7, 2)

    def k(a: Tensor, b: Tensor) -> float:
        return 4 / (4 + float((a - b).square().sum()))

    pairs = list(itertools.permutations(range(7), 2))
    within = sum(k(z[i], z[j]) + k(noise[i], noise[j]) for i, j in pairs) / len(pairs)
    between = sum(k(a, b) for a in z for b in noise) / 49
    assert float(names["discrepancy"](z, noise).mean()) == pytest.approx(within - 2 * between, abs=1e-5)
    far = torch.zeros(7, 2)
    far[3] = 100.0
    assert int(names["discrepancy"](far, noise).argmax()) == 3  # the share of the code that is amiss


@pytest.mark.parametrize("labels", [False, True])
def test_the_objective_works_with_any_prior(labels: bool, ran: Any, capsys: pytest.CaptureFixture[str]) -> None:
    objective = ran("plot_custom_objective", capsys).names["InfoVAE"](weight=5.0)
    prior = mv.priors.VampPrior(components=3)  # with labels, a batch of priors
    model = mv.VAE(latent_dim=2, prior=prior, objective=objective, num_classes=4 if labels else None)
    terms = model.loss(torch.rand(6, 1, 28, 28), torch.arange(6) % 4 if labels else None)
    assert isinstance(terms, Terms)
    assert [term.shape for term in terms.by_name().values()] == [(6,)] * 3


def test_a_fitted_prior_changes_nothing_but_the_prior(ran: Any, capsys: pytest.CaptureFixture[str]) -> None:
    names = ran("plot_priors", capsys).names
    model, fitted = names["model"], names["fitted"]
    for part in ("encoder", "decoder", "likelihood", "objective"):
        assert repr(getattr(fitted, part)) == repr(getattr(model, part))
        before, after = (getattr(vae, part).state_dict() for vae in (model, fitted))
        assert all(torch.equal(before[name], after[name]) for name in before)
    assert isinstance(model.prior, mv.priors.StandardNormal)
    assert fitted.prior.components == 20
    assert torch.equal(*names["again"])  # drawn from it, and from it saved and loaded
