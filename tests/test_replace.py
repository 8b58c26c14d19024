"""A model with some parts replaced is a checked copy that shares nothing with the first."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mnistvae import VAE, BetaVAE, ConditionalVAE, load, save
from mnistvae.data import ImageDataset
from mnistvae.errors import ComponentError
from mnistvae.likelihoods import Bernoulli, DiscretizedLogistic
from mnistvae.networks import GaussianEncoder, MLPDecoder, MLPEncoder
from mnistvae.objectives import ELBO, IWAE
from mnistvae.priors import GaussianMixture, StandardNormal, VampPrior
from mnistvae.schedules import Linear
from mnistvae.training import Trainer

SHAPE = (1, 6, 6)


def vae(**parts: Any) -> VAE:
    torch.manual_seed(0)
    return VAE(2, SHAPE, **parts)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def digits() -> ImageDataset:
    return ImageDataset(torch.rand(32, *SHAPE, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"encoder": MLPEncoder(2, SHAPE, (8,))},
        {"decoder": MLPDecoder(2, SHAPE, (8,))},
        {"prior": GaussianMixture(2, components=3), "objective": IWAE(3)},
        {"likelihood": DiscretizedLogistic(), "decoder": MLPDecoder(2, SHAPE, (8,), n_params=2)},
    ],
    ids=lambda parts: "+".join(parts) or "none",
)
def test_a_copy_has_the_new_parts_and_the_others_as_they_were(parts: dict[str, Any]) -> None:
    model = vae()
    before, given = state(model), {name: state(part) for name, part in parts.items()}
    other = model.replace(**parts)
    assert type(other) is VAE
    for name in ("encoder", "decoder", "likelihood", "prior", "objective"):
        part, source = getattr(other, name), parts.get(name, getattr(model, name))
        assert repr(part) == repr(source)
        assert equal(state(part), state(source))
        assert part is not source
    Trainer(1, 8, 1e-2, device="cpu", progress=False).fit(other, digits())
    assert equal(state(model), before), "training the copy changed the model"
    assert all(equal(state(part), given[name]) for name, part in parts.items())
    after = state(other)
    Trainer(1, 8, 1e-2, device="cpu", progress=False).fit(model, digits())
    assert equal(state(other), after), "training the model changed the copy"


def test_mode_dtype_and_buffers_are_kept() -> None:
    model = vae(objective=ELBO(schedule=Linear(10))).double().eval()
    model.objective.advance(5)
    model.encoder.requires_grad_(requires_grad=False)
    prior = GaussianMixture(2, components=3)
    other = model.replace(prior=prior)
    assert other.dtype is torch.float64
    assert {tensor.dtype for tensor in other.state_dict().values()} == {torch.float64}
    assert not any(module.training for module in other.modules())
    assert all(module.training for module in prior.modules())
    assert float(other.objective.get_buffer("_factor")) == 0.5
    assert not any(parameter.requires_grad for parameter in other.encoder.parameters())
    assert all(module.training for module in model.train().replace(prior=prior.eval()).modules())


def test_the_noise_of_a_seed_is_the_same() -> None:
    model = vae()
    draws = [each.sample(3, generator=torch.Generator().manual_seed(4)) for each in (model, model.replace())]
    assert torch.equal(*draws)


def test_parts_that_fit_only_together_are_checked_together() -> None:
    model = vae()
    with pytest.raises(ComponentError, match="2 for each pixel as DiscretizedLogistic asks, got shape"):
        model.replace(likelihood=DiscretizedLogistic())
    with pytest.raises(ComponentError, match=r"encoder as a mnistvae Encoder, got a Flatten: wrap a plain module"):
        model.replace(encoder=nn.Flatten())  # type: ignore[arg-type]
    with pytest.raises(ComponentError, match="prior as an instance, got the class StandardNormal: call it"):
        model.replace(prior=StandardNormal)  # type: ignore[arg-type]
    with pytest.raises(ComponentError, match="a prior with latent_dim=2, got latent_dim=3: give the model"):
        model.replace(prior=StandardNormal(3))
    with pytest.raises(TypeError, match="latent_dim"):
        model.replace(latent_dim=3)  # type: ignore[call-arg]
    assert isinstance(model.likelihood, Bernoulli)


def test_a_prior_of_one_model_serves_the_copy_of_another() -> None:
    prior = VampPrior(components=3)
    first = vae(prior=prior)
    other = vae().replace(prior=prior)
    assert first.prior is prior is not other.prior
    torch.testing.assert_close(other.prior.state_dict(), prior.state_dict())
    assert other.sample(2).shape == (2, *SHAPE)


def test_presets_stay_what_they_are(tmp_path: Any) -> None:
    beta = BetaVAE(2, 4.0, SHAPE).replace(objective=ELBO(beta=2.0), prior=GaussianMixture(2, components=3))
    assert isinstance(beta, BetaVAE)
    assert beta.beta == 2.0
    assert repr(load(save(beta, tmp_path / "beta.safetensors"))) == repr(beta)
    conditional = ConditionalVAE(2, 3, SHAPE)
    assert conditional.replace(objective=IWAE(2)).num_classes == 3
    with pytest.raises(ComponentError, match="an encoder with num_classes=3, got num_classes=None"):
        conditional.replace(encoder=MLPEncoder(2, SHAPE))


class Counted(VAE):
    """A model with weights and a reference of its own."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim, SHAPE, encoder=GaussianEncoder(nn.Flatten(), latent_dim))
        self.head = nn.Linear(latent_dim, 3)
        self.shortcut = [self.encoder]


def test_a_subclass_keeps_its_own_weights_and_follows_the_new_part() -> None:
    model = Counted(2)
    other = model.replace(encoder=MLPEncoder(2, SHAPE, (8,)))
    assert isinstance(other, Counted)
    assert equal(state(other.head), state(model.head))
    assert other.shortcut == [other.encoder]
    assert model.shortcut == [model.encoder]
