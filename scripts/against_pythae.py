"""Losses of pythae's models beside ours: the same weights, images and noise.

    pip install pythae && python scripts/against_pythae.py

For each model it prints pythae's loss, ours, and the largest difference between the gradients of the encoder's and the
decoder's weights. tests/test_pythae.py has pythae's formulas, written anew, and needs no pythae.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pythae.models as theirs  # type: ignore[import-not-found]
import torch
from pythae.models.base.base_utils import ModelOutput  # type: ignore[import-not-found]
from pythae.models.nn import BaseDecoder, BaseDiscriminator, BaseEncoder  # type: ignore[import-not-found]
from torch import Tensor, nn

import mnistvae as mv
from mnistvae import likelihoods, networks, objectives, priors

D, SHAPE, N = 4, (1, 8, 8), 12


def trunk() -> nn.Module:
    """Features of an image."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh())


class TheirEncoder(BaseEncoder):  # type: ignore[misc]
    """Our encoder in pythae's form."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.inner = encoder

    def forward(self, x: Tensor) -> Any:
        """Means and log-variances."""
        found = self.inner(x)
        if isinstance(found, mv.distributions.Point):
            return ModelOutput(embedding=found.mean)
        return ModelOutput(embedding=found.mu, log_covariance=found.logvar)


class TheirDecoder(BaseDecoder):  # type: ignore[misc]
    """Our decoder in pythae's form, with the sigmoid that ours leaves to the likelihood."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.inner = decoder

    def forward(self, z: Tensor) -> Any:
        """Probabilities of pixels."""
        return ModelOutput(reconstruction=self.inner(z).sigmoid())


class TheirCritic(BaseDiscriminator):  # type: ignore[misc]
    """Our critic of one logit in pythae's form of two."""

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.inner = critic

    def forward(self, z: Tensor) -> Tensor:
        """Logits of both classes."""
        logit: Tensor = self.inner(z)
        return torch.cat([logit, torch.zeros_like(logit)], 1)


class PseudoInputs(nn.Module):
    """The images of our VampPrior in pythae's form."""

    def __init__(self, prior: Any) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, _: Tensor) -> Tensor:
        """The images."""
        images: Tensor = self.prior.pseudo_inputs
        return images


def settings(kind: str, **more: Any) -> Any:
    """Pythae's settings of a model."""
    usual: dict[str, Any] = {"input_dim": SHAPE, "latent_dim": D}
    names = {"INFOVAE_MMD": "INFOVAE_MMD_Config", "WAE_MMD": "WAE_MMD_Config", "RAE_L2": "RAE_L2_Config"}
    config = getattr(theirs, names.get(kind, f"{kind}Config"))
    fields = config.__dataclass_fields__
    if "reconstruction_loss" in fields:
        usual["reconstruction_loss"] = "bce"
    return config(**usual, **more)


def compare(
    kind: str,
    objective: objectives.Objective,
    how: dict[str, Any],
    constant: float = 0.0,
    samples: tuple[int, ...] = (),
) -> None:
    """Print both losses.

    Args:
        kind: Pythae's class.
        objective: Our objective.
        how: Pythae's settings.
        constant: What our loss has and pythae's has not.
        samples: Codes an image in pythae's shape; their noise is ours in another order.
    """
    torch.manual_seed(0)
    point = "log_covariance" not in _asks(kind)
    encoder: networks.Encoder = (networks.PointEncoder if point else networks.GaussianEncoder)(trunk(), D)
    prior: priors.Prior = priors.VampPrior(5) if kind == "VAMP" else priors.StandardNormal(D)
    likelihood = likelihoods.Gaussian(math.sqrt(0.5)) if point else likelihoods.Bernoulli()
    ours = mv.VAE(
        D,
        SHAPE,
        encoder=encoder,
        decoder=networks.MLPDecoder(D, SHAPE, (16,)),
        prior=prior,
        likelihood=likelihood,
        objective=objective,
    )
    x = (torch.rand(N, *SHAPE) < 0.4).float()
    parts = {"encoder": TheirEncoder(ours.encoder), "decoder": TheirDecoder(ours.decoder)}
    model = getattr(theirs, kind)(settings(kind, **how), **parts)
    if kind == "FactorVAE":
        model.discriminator = TheirCritic(objective.critic)  # type: ignore[arg-type]
    if samples:

        def draw(mu: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
            noise = torch.randn(math.prod(samples), N, D).reshape(*samples, N, D)
            noise = noise.movedim(-2, 0)
            return mu + noise * std, noise

        model._sample_gauss = draw  # noqa: SLF001
    if kind == "VAMP":
        model.pseudo_inputs = PseudoInputs(ours.prior)
    weights = [*ours.encoder.parameters(), *ours.decoder.parameters()]
    losses: list[float] = []
    slopes: list[list[Tensor]] = []

    def own() -> Tensor:
        # FactorVAE learns from a half of the batch, drawn first, and shuffles the other half's codes for the critic.
        some = x[torch.randperm(N)[N // 2 :]] if kind == "FactorVAE" else x
        return ours.loss(some).loss.mean()

    for loss in (lambda: model({"data": x.clone()}, epoch=100), own):
        torch.manual_seed(1)
        found = loss()
        value = found if isinstance(found, Tensor) else found.get("autoencoder_loss", found.loss)
        losses.append(float(value.detach()))
        slopes.append(list(torch.autograd.grad(value, weights, allow_unused=True, materialize_grads=True)))
    largest = max(float((a - b).abs().max()) for a, b in zip(*slopes, strict=True))
    scale = max(float(a.abs().max()) for a in slopes[0])
    print(f"{kind:22s}{losses[0]:14.6f}{losses[1] - constant:14.6f}   gradients {largest:.1e} of {scale:.1e}")


def _asks(kind: str) -> Iterator[str]:
    return iter(() if kind in {"AE", "WAE_MMD", "RAE_L2"} else ("log_covariance",))


def main() -> None:
    """Compare all."""
    constant = 0.5 * math.prod(SHAPE) * math.log(math.pi)
    z = 0.5 * D * math.log(2 * math.pi)
    rows: list[tuple[Any, ...]] = [
        ("VAE", objectives.ELBO(), {}),
        ("BetaVAE", objectives.ELBO(beta=3.0), {"beta": 3.0}),
        ("DisentangledBetaVAE", objectives.ELBO(beta=3.0, capacity=5.0), {"beta": 3.0, "C": 5.0, "warmup_epoch": 0}),
        ("BetaTCVAE", objectives.BetaTC(1.5, 4.0, 0.5), {"alpha": 1.5, "beta": 4.0, "gamma": 0.5}),
        ("FactorVAE", objectives.FactorVAE(5.0, hidden=(8,)), {"gamma": 5.0}),
        ("INFOVAE_MMD", objectives.InfoVAE(0.3, 7.0, "rbf"), {"alpha": 0.3, "lbd": 7.0, "kernel_choice": "rbf"}),
        ("WAE_MMD", objectives.InfoVAE(1.0, 7.0, "rbf"), {"reg_weight": 7.0, "kernel_choice": "rbf"}, constant),
        (
            "WAE_MMD",
            objectives.InfoVAE(1.0, 7.0),
            {"reg_weight": 7.0, "kernel_choice": "imq", "scales": [1.0]},
            constant,
        ),
        ("AE", objectives.ELBO(beta=0.0), {}, constant),
        ("RAE_L2", objectives.ELBO(beta=0.7), {"embedding_weight": 0.7}, constant + 0.7 * z),
        ("VAMP", objectives.ELBO(), {"number_components": 5, "linear_scheduling_steps": 0}),
        ("IWAE", objectives.IWAE(3), {"number_samples": 3}, 0.0, (3,)),
        ("CIWAE", objectives.IWAE(3, elbo_weight=0.3), {"number_samples": 3, "beta": 0.3}, 0.0, (3,)),
        ("MIWAE", objectives.IWAE(3, groups=2), {"number_samples": 2, "number_gradient_estimates": 3}, 0.0, (3, 2)),
    ]
    for row in rows:
        compare(*row)


if __name__ == "__main__":
    main()
