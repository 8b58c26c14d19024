"""The parts of a model as modules from tensors to tensors, which a graph can be made of.

They hold only the parts that they use, and so do the files that are made of them. Torch takes the names of inputs from
``forward``.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.distributions import Distribution

from mnistvae.distributions import DiagonalNormal, from_noise, mean_of, moments, projected
from mnistvae.likelihoods.base import at_once
from mnistvae.models import VAE
from mnistvae.networks.encoders import posterior_of
from mnistvae.priors.base import prior_of

__all__ = ["Decode", "Encode", "Reconstruct", "Sample", "SampleMixture"]


class Encode(nn.Module):
    """Images to the mean and the log-variance of their codes."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.encoder, self.prior = model.encoder, model.prior if model.encoder.takes_prior else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        posterior = posterior_of(self.encoder, images, labels, self.prior)
        if isinstance(posterior, DiagonalNormal):
            return posterior.mu, posterior.logvar
        found = moments(posterior)
        return found.mean, found.variance.log()


class Decode(nn.Module):
    """Codes to images."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.decoder, self.support = model.decoder, model.support
        self.likelihood = at_once(model.likelihood, 'export the encoder alone, part="encoder"')

    def forward(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        params = self.decoder(projected(self.support, codes), labels)
        images: Tensor = self.likelihood(params).mean.clamp(0.0, 1.0)
        return images


class Reconstruct(Decode):
    """Images to images."""

    def __init__(self, model: VAE) -> None:
        super().__init__(model)
        self.encoder, self.prior = model.encoder, model.prior if model.encoder.takes_prior else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        posterior = posterior_of(self.encoder, images, labels, self.prior)
        return super().forward(mean_of(posterior), labels)


class Sample(Decode):
    """Noise to images."""

    def __init__(self, model: VAE, prior: Distribution) -> None:
        super().__init__(model)
        self.constant = None if prior.batch_shape else prior
        if self.constant is None:  # the label changes it
            self.prior, self.encoder = model.prior, model.encoder

    def draw(self, noise: Tensor, uniform: Tensor | None, labels: Tensor | None) -> Tensor:
        """Images of the codes that the noise stands for."""
        prior = self.constant or prior_of(self.prior, labels, self.encoder, self.encoder)
        return super().forward(from_noise(prior, noise, uniform), labels)

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.draw(noise, None, labels)


class SampleMixture(Sample):
    """Noise to images, with uniform noise that chooses the component of a mixture."""

    def forward(  # type: ignore[override]  # one input more
        self, noise: Tensor, uniform: Tensor, labels: Tensor | None = None
    ) -> Tensor:
        return self.draw(noise, uniform, labels)
