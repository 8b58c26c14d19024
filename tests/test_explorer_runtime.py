"""The explorer's programs: what a page computes is what PyTorch computes, for every layer; run under node."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mnistvae as mv
from mnistvae.explorer.packing import Packer
from mnistvae.explorer.programs import describe_prior, programs, rounded
from mnistvae.explorer.recording import record
from mnistvae.likelihoods import Categorical, ContinuousBernoulli, DiscretizedLogistic, Gaussian, LogisticMixture
from mnistvae.networks import (
    ConvDecoder,
    ConvEncoder,
    GaussianEncoder,
    MLPDecoder,
    MLPEncoder,
    ResNetDecoder,
    ResNetEncoder,
    TrunkDecoder,
    VonMisesFisherEncoder,
)

node = pytest.mark.skipif(shutil.which("node") is None, reason="node, which runs the page's script, is not installed")
RUNTIME = files("mnistvae.explorer").joinpath("runtime.js").read_text(encoding="utf-8")
HARNESS = """
const job = JSON.parse(require("fs").readFileSync(0, "utf-8"));
const constants = unpack(job.arrays, job.table);
const made = job.runs.map(([program, input, name]) =>
  Array.from(new Program(program, constants).run(Float32Array.from(input), name)));
console.log(JSON.stringify(made));
"""


def run(packer: Packer, runs: list[tuple[Any, Tensor, str]]) -> list[np.ndarray]:
    """The values that programs give to inputs under node."""
    job = {"arrays": packer.text(), "table": packer.table, "runs": [(p, x.flatten().tolist(), n) for p, x, n in runs]}
    script = [str(shutil.which("node")), "-e", RUNTIME + HARNESS]
    done = subprocess.run(script, check=False, input=json.dumps(job), capture_output=True, text=True)  # noqa: S603
    assert done.returncode == 0, done.stderr
    return [np.array(one, dtype=float) for one in json.loads(done.stdout)]


small = {"channels": (8, 16), "blocks": (1, 1), "hidden": 16}
MODELS = {
    "mlp": lambda: mv.VAE(2, encoder=MLPEncoder(2, hidden=(30,)), decoder=MLPDecoder(2, hidden=(30,))),
    "mlp, one dimension": lambda: mv.VAE(
        1, (1, 6, 5), encoder=MLPEncoder(1, (1, 6, 5)), decoder=MLPDecoder(1, (1, 6, 5))
    ),
    "conv": lambda: mv.VAE(10),
    "conv, odd sides, colour": lambda: mv.VAE(3, (3, 13, 22)),
    "conditional": lambda: mv.ConditionalVAE(4, num_classes=3),
    "conditional mlp": lambda: mv.ConditionalVAE(
        2, 3, encoder=MLPEncoder(2, num_classes=3), decoder=MLPDecoder(2, num_classes=3, activation=nn.Tanh())
    ),
    "resnet": lambda: mv.VAE(
        4,
        encoder=ResNetEncoder(4, **small),
        decoder=ResNetDecoder(4, **{**small, "channels": (16, 8)}, n_params=2),
        likelihood=Gaussian("per-pixel"),
    ),
    "trunks": lambda: mv.VAE(
        3,
        encoder=GaussianEncoder(nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.LeakyReLU(0.2)), 3),
        decoder=TrunkDecoder(nn.Sequential(nn.Linear(3, 20), nn.ELU(), nn.Linear(20, 784)), 3),
        likelihood=ContinuousBernoulli(),
    ),
    "fixed sigma": lambda: mv.VAE(2, likelihood=Gaussian(0.5)),
    "learned sigma, identity": lambda: mv.VAE(2, likelihood=Gaussian("learned", link="identity")),
    "grey levels": lambda: mv.VAE(2, (1, 9, 9), likelihood=DiscretizedLogistic(16)),
    "on a sphere": lambda: mv.VAE(
        3,
        encoder=VonMisesFisherEncoder(nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.Tanh()), 3),
        prior=mv.priors.UniformSphere(3),
    ),
    "mixtures of grey levels": lambda: mv.VAE(2, (1, 9, 9), likelihood=LogisticMixture(2, 16)),
    "categorical grey levels": lambda: mv.VAE(2, (3, 9, 9), likelihood=Categorical(5)),
    "latent of 200": lambda: mv.VAE(200, encoder=ConvEncoder(200), decoder=ConvDecoder(200)),
}


@pytest.fixture(scope="module")
def computed() -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """For each model what its programs give, and what PyTorch gives: codes, their spread, images, their spread."""
    torch.manual_seed(0)
    packer, runs, wanted = Packer(), [], []
    for name, make in MODELS.items():
        model = make().eval()
        with torch.no_grad():
            for parameter in model.parameters():  # of last convolutions, which begin at 0
                parameter.add_(0.05 * torch.randn_like(parameter))
        model = rounded(model)
        made = programs(model, packer)
        x, z = torch.rand(1, *model.image_shape), torch.randn(1, model.latent_dim)
        for label in range(model.num_classes or 1):
            y = None if model.num_classes is None else torch.tensor([label])
            with torch.no_grad():
                q, p = model.encode(x, y), model.decode(z, y)
                wanted += [(name, one.numpy()) for one in (q.mean, q.stddev, p.mean.clamp(0, 1), p.variance.sqrt())]
            encode, decode = made["encode"][label], made["decode"][label]
            runs += [(encode, x, "mean"), (encode, x, "spread"), (decode, z, "image"), (decode, z, "spread")]
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in MODELS}
    for found, (name, right) in zip(run(packer, runs), wanted, strict=True):
        pairs[name].append((found, right.flatten()))
    return pairs


@node
@pytest.mark.parametrize("name", MODELS)
def test_a_page_computes_what_pytorch_computes(name: str, computed: Any) -> None:
    for found, right in computed[name]:
        assert found.shape == right.shape
        np.testing.assert_allclose(found, right, atol=1e-4, rtol=1e-4)


@node
@pytest.mark.parametrize("kind", ["realnvp", "maf"])
def test_a_flow_is_drawn_from_in_the_page(kind: Any) -> None:
    pytest.importorskip("zuko", reason="needs zuko: pip install 'mnistvae[flows]'")
    torch.manual_seed(0)
    model = mv.VAE(4, prior=mv.priors.Flow(4, kind, transforms=2, hidden=(16,)))
    with torch.no_grad():
        for parameter in model.prior.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        noise = torch.randn(1, 4)
        wanted = model.latent_prior().normalize.inv(noise)
    packer = Packer()
    (part,) = describe_prior(model, packer)["parts"]
    np.testing.assert_allclose(run(packer, [(part["map"], noise, "code")])[0], wanted[0].numpy(), atol=1e-5)


class Own(nn.Module):
    """Any function as a layer."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


IMAGE, ROW = torch.randn(1, 4, 6, 7), 3 * torch.randn(1, 24)
LAYERS = {
    **{
        repr(one): (one, ROW)
        for one in (
            *(nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.LeakyReLU(0.3), nn.PReLU(), nn.ELU(0.7), nn.CELU(0.8)),
            *(nn.SELU(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Sigmoid(), nn.Tanh(), nn.Softplus(2.0)),
            *(nn.Softsign(), nn.Hardswish(), nn.Hardsigmoid(), nn.Hardtanh(-2, 1), nn.LogSigmoid(), nn.Softmax(-1)),
            *(nn.LogSoftmax(-1), nn.Identity(), nn.Dropout(), nn.Linear(24, 5), nn.Linear(24, 5, bias=False)),
            *(nn.LayerNorm(24), nn.BatchNorm1d(24), nn.Tanhshrink(), nn.GroupNorm(3, 24)),
        )
    },
    "PReLU of channels": (nn.PReLU(4), IMAGE),
    "conv": (nn.Conv2d(4, 6, 3, stride=2, padding=1), IMAGE),
    "conv, uneven": (nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(0, 1), dilation=(2, 1), bias=False), IMAGE),
    "conv, groups": (nn.Conv2d(4, 8, 3, groups=2, padding="same"), IMAGE),
    "transposed": (nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1), IMAGE),
    "transposed, uneven": (
        nn.ConvTranspose2d(4, 6, (4, 3), stride=(2, 3), padding=(1, 0), groups=2, dilation=2),
        IMAGE,
    ),
    "batch norm": (nn.BatchNorm2d(4), IMAGE),
    "instance norm": (nn.InstanceNorm2d(4, affine=True), IMAGE),
    "group norm": (nn.GroupNorm(2, 4), IMAGE),
    "layer norm": (nn.LayerNorm([6, 7]), IMAGE),
    "max pool": (nn.MaxPool2d(3, 2, 1), IMAGE),
    "average pool": (nn.AvgPool2d(2), IMAGE),
    "adaptive pool": (nn.AdaptiveAvgPool2d(3), IMAGE),
    "global pool": (nn.AdaptiveAvgPool2d(1), IMAGE),
    "nearest": (nn.Upsample(scale_factor=2), IMAGE),
    "nearest, odd": (nn.Upsample((11, 13)), IMAGE),
    "bilinear": (nn.Upsample(scale_factor=2, mode="bilinear"), IMAGE),
    "pixel shuffle": (nn.PixelShuffle(2), IMAGE),
    "padding": (nn.ReflectionPad2d(1), IMAGE),
    "zeros around": (nn.ZeroPad2d((1, 2, 0, 1)), IMAGE),
    "permuted": (Own(lambda x: x.permute(0, 3, 1, 2)[:, 1:, ::2].reshape(1, -1)), IMAGE),
    "parts": (Own(lambda x: torch.cat([x[:, 1:3] * 2, x.flip(1), x.mean(1, keepdim=True)], 1)), IMAGE),
    "stacked": (Own(lambda x: torch.stack([x, -x], 2).unbind(2)[1] + x.amax((2, 3), keepdim=True)), IMAGE),
    "arithmetic": (Own(lambda x: torch.where(x > 0, 2 - x, torch.addcmul(x, x, x) / 3).sub(x, alpha=0.5) ** 2), IMAGE),
    "in place": (Own(lambda x: x.mul(2).relu_().add_(1).clamp_(max=2)), IMAGE),
    "attention": (Own(lambda x: (x.flatten(2).mT @ x.flatten(2)).softmax(-1)), IMAGE),
    "residual": (Own(lambda x: x + nn.functional.conv2d(x, torch.ones(4, 1, 1, 1), groups=4)), IMAGE),
}


@node
def test_layers() -> None:
    torch.manual_seed(0)
    packer, runs, wanted = Packer(), [], []
    for layer, x in LAYERS.values():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
        layer.eval()
        program = packer.program(record(layer, lambda one, layer=layer: {"out": layer(one)}, x.clone()))
        runs.append((program, x, "out"))
        with torch.no_grad():
            wanted.append(layer(x).flatten().double().numpy())
    for name, found, right in zip(LAYERS, run(packer, runs), wanted, strict=True):
        np.testing.assert_allclose(found, right, atol=1e-5, rtol=1e-5, err_msg=name)
