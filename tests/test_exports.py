"""Parts of models as pt2 files: what they compute, what they say of themselves, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import mnistvae as mv
from mnistvae import exports
from mnistvae.commands import cli
from mnistvae.distributions import DiagonalNormal, PushForward, UnitNormal, from_noise, tempered
from mnistvae.errors import ComponentError, OutputError, SettingError
from mnistvae.likelihoods import (
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Gaussian,
    Likelihood,
    LogisticMixture,
)
from mnistvae.networks import GaussianEncoder, MLPDecoder, MLPEncoder, ResNetDecoder, ResNetEncoder
from mnistvae.priors import Flow, GaussianMixture, Prior, SecondStage, VampPrior

SHAPE = (1, 8, 8)


def small(
    prior: Prior | None = None, likelihood: Likelihood | None = None, classes: int | None = None, **parts: Any
) -> mv.VAE:
    """A small model whose weights, and those of its prior, are drawn at random."""
    n_params = 1 if likelihood is None else likelihood.n_params
    encoder = MLPEncoder(2, SHAPE, (8,), num_classes=classes)
    decoder = MLPDecoder(2, SHAPE, (8,), num_classes=classes, n_params=n_params)
    parts = {"encoder": encoder, "decoder": decoder, "prior": prior, "likelihood": likelihood} | parts
    model = mv.VAE(2, SHAPE, num_classes=classes, **parts)
    with torch.no_grad():
        for weight in model.prior.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return model.eval()


def inputs_of(model: mv.VAE, part: str, n: int = 5) -> list[Tensor]:
    """Inputs of a part, in its order."""
    values = {
        "images": torch.rand(n, *model.image_shape),
        "codes": torch.randn(n, model.latent_dim),
        "noise": torch.randn(n, 5 if isinstance(model.prior, SecondStage) else model.latent_dim),
        "uniform": torch.rand(n),
        "labels": torch.arange(n) % (model.num_classes or 1),
    }
    return [values[name] for name in exports.describe(model, part)["inputs"]]  # type: ignore[arg-type]


@torch.no_grad()
def expected(model: mv.VAE, part: str, *inputs: Tensor) -> tuple[Tensor, ...]:
    """The same by the model's own verbs."""
    y = inputs[-1] if model.num_classes else None
    if part == "encoder":
        posterior = model.encode(inputs[0], y)
        return posterior.mean, posterior.variance.log()
    if part == "reconstruct":
        return (model.reconstruct(inputs[0], y),)
    uniform = inputs[1] if len(inputs) - (y is not None) == 2 else None
    codes = inputs[0] if part == "decoder" else from_noise(model.latent_prior(y), inputs[0], uniform)
    return (model.decode(codes, y).mean.clamp(0, 1),)


def recipe(name: str) -> mv.VAE:
    """The model of a recipe, with few weights, so that what is left is the graph's form."""
    few: dict[str, Any] = {"latent_dim": 3, "channels": (4, 8), "hidden": (8,), "components": 4, "transforms": 2}
    chosen = mv.recipes.get(name)
    changes = {key: value for key, value in few.items() if key in chosen.settings}
    return chosen.model(image_shape=SHAPE, num_classes=3, seed=0, **changes).eval()


def check(model: mv.VAE, part: Any, path: Path) -> None:
    """What a pt2 file computes is what the model does, for one image and for several."""
    graph = torch.export.load(mv.export(model, path, part=part, format="pt2")).module()
    for n in (1, 5):
        inputs = inputs_of(model, part, n)
        found = graph(*inputs)
        found = found if isinstance(found, tuple) else (found,)
        torch.testing.assert_close(found, expected(model, part, *inputs), rtol=0, atol=1e-5)


#: A recipe of each family: the others have the same graph.
FAMILIES = [
    "conv",
    "conditional",
    "mlp",
    "leaky-mlp-2d",
    "kingma2014",
    "gaussian-mlp",
    "vamp",
    "vamp-conv",
    "resnet-flow",
    "ladder-mlp",
    "ladder-conv",
]


@pytest.mark.parametrize("part", ["encoder", "sample"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_computes_the_same_elsewhere(name: str, part: str, tmp_path: Path) -> None:
    check(recipe(name), part, tmp_path / "x.pt2")


def test_every_recipe_is_of_a_family() -> None:
    def form(name: str) -> tuple[bool, set[type]]:
        model = recipe(name)
        parts = (model.encoder, model.decoder, model.likelihood, model.prior)
        return mv.recipes.get(name).conditional, {type(layer) for part in parts for layer in part.modules()}

    families = [form(name) for name in FAMILIES]
    assert [name for name in mv.recipes.names() if form(name) not in families] == []


@pytest.mark.parametrize("part", ["decoder", "reconstruct"])
def test_the_other_parts_do_too(part: str, tmp_path: Path) -> None:
    check(recipe("conditional"), part, tmp_path / "x.pt2")


PRIORS = {
    "full": lambda: small(GaussianMixture(2, 3, "full")),
    "mixture-conditional": lambda: small(GaussianMixture(2, 3), classes=3),
    "vamp-conditional": lambda: small(VampPrior(4), classes=3),
    "maf": lambda: small(Flow(2, "maf", transforms=1, hidden=(4,))),
    "nsf": lambda: small(Flow(2, "nsf", transforms=1, hidden=(4,))),
    "second-stage": lambda: small(SecondStage(2, 3, (4,))),
    "continuous": lambda: small(likelihood=ContinuousBernoulli()),
    "logistic": lambda: small(likelihood=DiscretizedLogistic(40)),
    "logistic-mixture": lambda: small(likelihood=LogisticMixture(2, 40)),
    "categorical": lambda: small(likelihood=Categorical(4)),
    "per-pixel": lambda: small(likelihood=Gaussian("per-pixel", "identity")),
    "residual": lambda: small(encoder=ResNetEncoder(2, SHAPE, (8,), (1,)), decoder=ResNetDecoder(2, SHAPE, (8,), (1,))),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n == "nsf" else n for n in PRIORS])
def test_samples_of_every_prior_and_likelihood(name: str, tmp_path: Path) -> None:
    check(PRIORS[name](), "sample", tmp_path / "x.pt2")


def test_images_are_in_range(tmp_path: Path) -> None:
    model = small(likelihood=Gaussian(1.0, "identity"))
    path = mv.export(model, tmp_path / "x.pt2", part="decoder", format="pt2")
    images = torch.export.load(path).module()(100 * torch.randn(9, 2))
    assert (images.min(), images.max()) == (0, 1)


# --- the file -------------------------------------------------------------------------------------------------------


def test_a_file_needs_no_mnistvae_and_says_what_it_is(tmp_path: Path) -> None:
    model = small(GaussianMixture(2, 3), classes=3)
    path = mv.export(model, tmp_path / "sample.pt2", part="sample", format="pt2", binarization="dynamic")
    code = (
        "import json, sys, torch\n"
        "extra = {'mnistvae.json': ''}\n"
        f"graph = torch.export.load({str(path)!r}, extra_files=extra).module()\n"
        "images = graph(torch.zeros(2, 2), torch.rand(2), torch.tensor([0, 1]))\n"
        "print(json.dumps([json.loads(extra['mnistvae.json']), list(images.shape), 'mnistvae' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    about, shape, there = json.loads(done.stdout)
    assert (shape, there) == ([2, *SHAPE], False)
    assert about == exports.describe(model, "sample", binarization="dynamic")
    assert about["tag"] == "binarized-dynamic-given-label"
    assert (about["latent_dim"], about["image_shape"], about["num_classes"]) == (2, [1, 8, 8], 3)
    assert list(about["inputs"]) == ["noise", "uniform", "labels"]
    assert about["mnistvae_version"] == mv.__version__
    assert "[0, 1]" in about["pixels"]


def test_a_file_holds_only_what_its_part_needs(tmp_path: Path) -> None:
    model = small(VampPrior(3))
    mv.export(model, tmp_path / "x.pt2", part="decoder", format="pt2")
    weights = [name for name in zipfile.ZipFile(tmp_path / "x.pt2").namelist() if "weights/weight_" in name]
    assert len(weights) == len(list(model.decoder.parameters()))


def test_the_model_stays_as_it_is(tmp_path: Path) -> None:
    model = small().double().train()
    state, generator = {k: v.clone() for k, v in model.state_dict().items()}, torch.default_generator.get_state()
    path = mv.export(model, tmp_path / "x.pt2", part="sample", format="pt2")
    assert torch.export.load(path).module()(torch.zeros(1, 2)).dtype is torch.float32
    assert model.training
    assert all(weight.requires_grad for weight in model.parameters())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.default_generator.get_state(), generator)


# --- noise ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prior",
    [DiagonalNormal(torch.tensor([1.0, -2.0]), torch.tensor([0.5, -1.0])), GaussianMixture(2, 3, "full")(), None],
    ids=["normal", "mixture", "flow"],
)
def test_codes_from_noise_are_draws(prior: Any) -> None:
    n = 20_000
    prior = prior or PushForward(
        torch.distributions.AffineTransform(-1.0, 2.0, event_dim=1), UnitNormal(torch.zeros(2))
    )
    z, drawn = from_noise(prior, torch.randn(n, 2), torch.rand(n)), prior.sample((n,))
    assert z.shape == (n, 2)
    torch.testing.assert_close(z.mean(0), drawn.mean(0), rtol=0, atol=0.06)
    torch.testing.assert_close(z.T.cov(), drawn.T.cov(), rtol=0, atol=0.15)


def test_a_component_is_chosen_by_the_weights() -> None:
    prior = GaussianMixture(1, 3)
    prior.set_components(
        torch.tensor([0.2, 0.3, 0.5]), torch.tensor([[0.0], [1.0], [2.0]]), torch.full((3, 1, 1), 1e-3)
    )
    uniform = torch.tensor([0.0, 0.19, 0.21, 0.49, 0.51, 0.999])
    assert from_noise(prior(), torch.zeros(6, 1), uniform).flatten().round().tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(ComponentError, match="uniform noise for a mixture"):
        from_noise(prior(), torch.zeros(6, 1))


@pytest.mark.parametrize(
    "prior", [UnitNormal(torch.zeros(2)), GaussianMixture(2, 3, "full")(), GaussianMixture(2, 3)()]
)
def test_a_factor_of_the_noise_is_a_temperature(prior: Any) -> None:
    noise, uniform = torch.randn(50, 2), torch.rand(50)
    torch.testing.assert_close(
        from_noise(tempered(prior, 0.3), noise, uniform), from_noise(prior, 0.3 * noise, uniform)
    )


# --- what is refused ------------------------------------------------------------------------------------------------


class Uniform(Prior):
    """A prior whose draws nobody knows as a function of normal noise."""

    latent_dim = 2

    def forward(self, y: Any = None, *, encode: Any = None) -> Any:
        edge = torch.ones(2)
        return torch.distributions.Independent(torch.distributions.Uniform(-edge, edge), 1)


def test_a_prior_that_is_no_function_of_noise(tmp_path: Path) -> None:
    model = small(Uniform())
    with pytest.raises(
        ComponentError, match=r"got an? Uniform: register a function with mnistvae\.distributions\.from_no"
    ):
        mv.export(model, tmp_path / "x.pt2", part="sample", format="pt2")
    assert not (tmp_path / "x.pt2").exists()
    mv.export(model, tmp_path / "x.pt2", part="decoder", format="pt2")


class Looks(nn.Module):
    """A trunk that asks for a value."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


def test_a_part_that_cannot_be_followed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = small(encoder=GaussianEncoder(Looks(), 2))
    with pytest.raises(ComponentError, match=r"a part that torch\.export can follow") as caught:
        mv.export(model, tmp_path / "x.pt2", part="encoder", format="pt2")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


class Remembers(nn.Module):
    """A trunk whose result depends on how often it was called."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x.flatten(1) * self.calls


def test_a_part_that_computes_something_else_when_it_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(ComponentError, match=r"a part that torch\.export can follow"):
        mv.export(small(encoder=GaussianEncoder(Remembers(), 2)), tmp_path / "x.pt2", part="encoder", format="pt2")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"part": "prior"}, "part as one of 'encoder', 'decoder', 'reconstruct', 'sample', got 'prior'"),
        ({"format": "tflite"}, "format as one of 'onnx', 'pt2'"),
        ({"format": "pt2", "opset": 18}, "no opset for pt2"),
        ({"opset": 0}, "opset as an integer of at least 1"),
    ],
)
def test_settings_that_make_no_sense(settings: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=message):
        mv.export(small(), tmp_path / "x", **settings)


def test_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ComponentError, match="a mnistvae model to export, got an MLPDecoder"):
        mv.export(small().decoder, tmp_path / "x", format="pt2")  # type: ignore[arg-type]


def test_without_onnx_the_message_has_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(SettingError, match=r'the library onnx .* pip install "mnistvae\[onnx\]"'):
        mv.export(small(), tmp_path / "x.onnx")


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_command(tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    mv.save(small(), model, {"binarization": "dynamic"})

    def run(*options: str) -> Any:
        return CliRunner().invoke(cli, ["export", str(model), "--format", "pt2", *options], prog_name="mnistvae")

    done = run()
    assert done.exit_code == 0, done.output
    path = tmp_path / "decoder.pt2"
    assert done.stdout.splitlines() == [
        f"wrote the decoder of {model}: {path}",
        "  in:  codes, float32 (batch, 2), codes z",
        "  out: images, float32 (batch, 1, 8, 8), images in [0, 1]",
    ]
    extra = {"mnistvae.json": ""}
    torch.export.load(path, extra_files=extra)
    assert json.loads(extra["mnistvae.json"])["tag"] == "binarized-dynamic"
    before = path.read_bytes()
    again = run()
    assert again.exit_code == 2
    assert f"a new file at {path}, got one that is there: choose another (--out)" in again.stderr
    assert path.read_bytes() == before
    inside = run("--out", str(tmp_path))
    assert f"a new file at {tmp_path}, got a folder: choose a file, such as {path} (--out)" in inside.stderr
    assert run("--out", str(tmp_path / "other.pt2")).exit_code == 0
    with pytest.raises(OutputError):
        mv.commands.export(model, format="pt2")
