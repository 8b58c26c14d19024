"""Seeds and counts may be numpy's or torch's integers, and give what Python's give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import mnistvae as mv
from mnistvae.data import Batches, ImageDataset
from mnistvae.images import montage
from mnistvae.likelihoods import DiscretizedLogistic
from mnistvae.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder, ResNetDecoder, ResNetEncoder
from mnistvae.objectives import IWAE, BetaTC
from mnistvae.priors import GaussianMixture, SecondStage, VampPrior
from mnistvae.schedules import CosineDecay, Cyclical, Linear, OneCycle

INTEGERS: dict[str, Callable[[int], Any]] = {
    "int64": np.int64,
    "uint8": np.uint8,
    "array": np.array,
    "tensor": torch.tensor,
}


def pictures(n: int = 48) -> ImageDataset:
    images = torch.randint(256, (n, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageDataset(images, torch.arange(n) % 3)


def vae(i: Callable[[int], Any] = int, **parts: Any) -> mv.VAE:
    torch.manual_seed(0)
    shape = (i(1), i(8), i(8))
    networks = {"encoder": MLPEncoder(i(2), shape, (i(8),)), "decoder": MLPDecoder(i(2), shape, (i(8),))}
    return mv.VAE(i(2), shape, **networks | parts)  # type: ignore[arg-type]


def weights(model: torch.nn.Module) -> Tensor:
    return torch.cat([tensor.flatten().double() for tensor in model.state_dict().values()])


def trained(i: Callable[[int], Any]) -> Tensor:
    model = vae()
    mv.Trainer(i(2), i(10), seed=i(3), accumulate=i(2), patience=i(5), device="cpu", progress=False).fit(
        model, pictures(), pictures()
    )
    return weights(model)


#: Each gives numbers that depend on the integers that it is made with.
CALLS: dict[str, Callable[[Callable[[int], Any]], Any]] = {
    "train": trained,
    "evaluate": lambda i: (
        mv.metrics.evaluate(
            vae(), pictures(), seed=i(3), num_samples=i(5), batch_size=i(16), include=["likelihood"]
        ).scores
    ),
    "elbo": lambda i: mv.metrics.elbo(vae(), pictures(), batch_size=i(16), seed=i(3)).loss,
    "nll": lambda i: mv.metrics.importance_sampled_nll(vae(), pictures(), i(5), seed=i(3)).nll,
    "annealed": lambda i: (
        mv.metrics.annealed_importance_nll(
            vae(), pictures(3), num_chains=i(2), num_temperatures=i(4), leapfrog_steps=i(2), seed=i(3)
        ).nll
    ),
    "bracket": lambda i: (
        mv.metrics.bidirectional_gap(
            vae(), i(3), num_chains=i(2), num_temperatures=i(4), leapfrog_steps=i(2), seed=i(3)
        ).gap
    ),
    "fit_prior": lambda i: weights(mv.fit_prior(vae(), pictures(), i(3), seed=i(3), batch_size=i(16)).prior),
    "sample": lambda i: vae().sample(i(3), generator=torch.Generator().manual_seed(0)),
    "interpolate": lambda i: vae().interpolate(pictures().images[0], pictures().images[1], i(4)),
    "montage": lambda i: torch.from_numpy(montage(pictures().images[:6], i(3), padding=i(2))),
    "encode": lambda i: mv.analysis.encode_dataset(vae(), pictures(), batch_size=i(16)).means,
    "embed": lambda i: torch.from_numpy(
        mv.analysis.embed(mv.analysis.encode_dataset(vae(), pictures()).means, "tsne", seed=i(3)).points
    ),
    "batches": lambda i: torch.cat([x for x, _ in Batches(pictures(), i(7), seed=i(3)).epoch(1)]),
    "convolutions": lambda i: weights(
        mv.VAE(
            i(2),
            (i(1), i(8), i(8)),
            encoder=ConvEncoder(i(2), (1, 8, 8), (i(4), i(5)), num_classes=i(3)),
            decoder=ConvDecoder(i(2), (1, 8, 8), (i(5), i(4)), num_classes=i(3), n_params=i(2)),
            likelihood=DiscretizedLogistic(i(16)),
            num_classes=i(3),
        )
    ),
    "residuals": lambda i: weights(
        mv.VAE(
            i(2),
            (1, 8, 8),
            encoder=ResNetEncoder(i(2), (1, 8, 8), (i(4), i(8)), (i(1), i(1)), i(8)),
            decoder=ResNetDecoder(i(2), (1, 8, 8), (i(8), i(4)), (i(1), i(1)), i(8)),
        )
    ),
    "mixture": lambda i: vae(prior=GaussianMixture(i(2), i(3)), objective=IWAE(i(4))).loss(pictures().images).loss,
    "vamp": lambda i: vae(prior=VampPrior(i(3)), objective=BetaTC(num_images=i(60))).loss(pictures().images).loss,
    "second stage": lambda i: (
        vae(prior=SecondStage(i(2), i(3), (i(4),), i(5)), objective=IWAE(i(4))).loss(pictures().images).loss
    ),
    "schedules": lambda i: torch.tensor(
        [
            schedule(3)
            for schedule in (Linear(i(5)), Cyclical(i(4), i(2)), CosineDecay(i(2), steps=i(9)), OneCycle(steps=i(9)))
        ]
    ),
}


@pytest.mark.parametrize("kind", INTEGERS)
@pytest.mark.parametrize("call", CALLS)
def test_integers_of_numpy_and_torch_are_integers(call: str, kind: str) -> None:
    results = []
    for integer in (int, INTEGERS[kind]):
        torch.manual_seed(0)
        results.append(CALLS[call](integer))
    plain, given = results
    assert torch.equal(plain, given) if isinstance(plain, Tensor) else plain == given
