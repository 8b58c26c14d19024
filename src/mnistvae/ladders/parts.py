"""The three parts of a ladder: its prior, its encoder and its decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mnistvae._checks import check_count
from mnistvae.errors import ComponentError, type_name
from mnistvae.images import ImageShape, check_image_shape
from mnistvae.ladders.distributions import LadderPosterior, LadderPriorDistribution
from mnistvae.ladders.levels import Choose, Level, LevelStep, Residual, check_levels, sizes_of
from mnistvae.ladders.networks import TopDown, bottom_up, head, join, normal_of, read_out
from mnistvae.networks import Decoder, Encoder
from mnistvae.networks.blocks import Conditioned, check_classes
from mnistvae.networks.decoders import FROM_LIKELIHOOD
from mnistvae.priors import Encode, Prior

__all__ = ["LadderDecoder", "LadderEncoder", "LadderPrior"]


class LadderPrior(Prior):
    r"""A hierarchy of normals, each given the levels above it by a network.

    .. math:: p(z) = \prod_l \mathcal{N}(z_l; \mu_l(h_l), \operatorname{diag} \sigma_l^2(h_l)), \qquad
        h_{l+1} = f_l(h_l, z_l)

    The state h carries everything from above past the levels in between (deterministic skips; Maaløe et al., 2019). At
    first every level is standard normal. Sønderby et al. (2016); Kingma et al. (2016), section 4.

    Args:
        levels: Sizes of the levels from the top down: numbers of dimensions, for fully connected networks, or shapes
            (C, H, W), for convolutional ones.
        hidden: Width of the state: units, or channels.
        blocks: Residual blocks between two levels.

    Raises:
        SettingError: If there is no level, sizes and shapes are mixed, a grid is smaller than the one above it, or a
            number is below 1.

    Example:
        >>> prior = LadderPrior(levels=(2, 4, 8), hidden=32)
        >>> prior.latent_dim, prior().sample((3,)).shape
        (14, torch.Size([3, 14]))
    """

    def __init__(self, levels: Sequence[Level], hidden: int = 256, blocks: int = 1) -> None:
        super().__init__()
        self.levels = levels = check_levels(levels)
        self.hidden = check_count("hidden as an integer of at least 1", hidden)
        self.blocks = check_count("blocks as an integer of at least 1", blocks)
        self.latent_dim = sum(sizes_of(levels))
        self.way = TopDown(levels[:-1], self.hidden, self.blocks, ends=levels[-1])
        self.heads = nn.ModuleList(head(self.hidden, level) for level in levels)

    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> LadderPriorDistribution:
        return LadderPriorDistribution(self)

    def walk(self, n: int, choose: Choose, residual: Residual | None = None) -> list[LevelStep]:
        """The levels of n codes from the top down.

        Args:
            n: Number of codes.
            choose: Gives the code (n, size) of a level, from its number and its distribution.
            residual: Gives the posterior of a level, from its number, the state above and its prior; None where the
                prior itself is walked down.
        """
        state, steps = self.way.begin(n), []
        for number, of_level in enumerate(self.heads):
            p = normal_of(of_level(state), self.way.start.dtype)
            q = p if residual is None else residual(number, state, p)
            z = choose(number, q)
            steps.append(LevelStep(z, q, p))
            if number + 1 < len(self.levels):
                state = self.way(number, state, z)
        return steps


class LadderEncoder(Encoder):
    r"""The posterior of a ladder: what the image says of each level, joined on the way down with the levels above it.

    .. math:: q(z_l \mid z_{<l}, x) = \mathcal{N}(\mu_l + \sigma_l \, \Delta\mu_l, \;
        \operatorname{diag} \sigma_l^2 \, e^{\Delta\text{logvar}_l})

    The changes come from the state of the :class:`LadderPrior` and from features of the image at the level's size.
    Vahdat and Kautz (2020), equation 3. The model hands the encoder its prior.

    Args:
        levels: Sizes of the levels from the top down, as the prior has them.
        image_shape: Shape of an image, (C, H, W).
        hidden: Width of the features and of the prior's state.
        blocks: Residual blocks for each level.
        num_classes: Number of classes, where the encoder is to see a label.

    Raises:
        SettingError: If a level's height and width are not those of an image halved some times, or a size makes no
            sense.

    Example:
        >>> levels = ((4, 4, 4), (2, 7, 7))
        >>> vae = mv.VAE(
        ...     162,
        ...     encoder=LadderEncoder(levels, hidden=8),
        ...     prior=LadderPrior(levels, hidden=8),
        ...     decoder=LadderDecoder(levels, hidden=8),
        ... )
        >>> vae.encode(torch.rand(5, 1, 28, 28)).rsample().shape
        torch.Size([5, 162])
    """

    takes_prior = True

    def __init__(
        self,
        levels: Sequence[Level],
        image_shape: ImageShape = (1, 28, 28),
        hidden: int = 256,
        blocks: int = 1,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.image_shape = check_image_shape(image_shape)
        self.levels = levels = check_levels(levels, self.image_shape)
        self.latent_dim = sum(sizes_of(levels))
        self.hidden = hidden = check_count("hidden as an integer of at least 1", hidden)
        self.blocks = blocks = check_count("blocks as an integer of at least 1", blocks)
        self.num_classes = num_classes = check_classes(num_classes)
        first, self.up = bottom_up(levels, self.image_shape, hidden, blocks)
        self.first = Conditioned(first, hidden, num_classes)
        self.joins = nn.ModuleList(join(hidden, level) for level in levels)

    def forward(self, x: Tensor, y: Tensor | None = None, *, prior: Prior | None = None) -> LadderPosterior:
        """q(z | x, y), given the model's prior.

        Raises:
            ComponentError: If the prior is no :class:`LadderPrior` with these levels.
        """
        if not isinstance(prior, LadderPrior) or (prior.levels, prior.hidden) != (self.levels, self.hidden):
            expected = f"a LadderPrior with levels={self.levels} and hidden={self.hidden} for a LadderEncoder"
            got = "none" if prior is None else repr(prior) if isinstance(prior, LadderPrior) else type_name(prior)
            fix = "encode by the model: model.encode(x)" if prior is None else "give the model's prior the same levels"
            raise ComponentError(expected, got, fix)
        state = self.first(x if isinstance(self.levels[0], tuple) else x.flatten(1), y)
        features = []
        for up in self.up:
            state = up(state)
            features.append(state)
        return LadderPosterior(prior, self.joins, features[::-1])


class LadderDecoder(Decoder):
    """Parameters of the likelihood from all levels of a ladder, by a way down of its own.

    Args:
        levels: Sizes of the levels from the top down, as the prior has them.
        image_shape: Shape of an image, (C, H, W).
        hidden: Width of the state: units, or channels.
        blocks: Residual blocks for each level, and before the image.
        num_classes: Number of classes, where the decoder is to see a label.
        n_params: Parameters a pixel, as the likelihood asks for.

    Raises:
        SettingError: If a level's height and width are not those of an image halved some times, or a size makes no
            sense.

    Example:
        >>> LadderDecoder((2, 4, 8), hidden=32)(torch.randn(5, 14)).shape
        torch.Size([5, 1, 28, 28])
    """

    def __init__(
        self,
        levels: Sequence[Level],
        image_shape: ImageShape = (1, 28, 28),
        hidden: int = 256,
        blocks: int = 1,
        num_classes: int | None = None,
        n_params: int = 1,
    ) -> None:
        super().__init__()
        self.image_shape = check_image_shape(image_shape)
        self.levels = levels = check_levels(levels, self.image_shape)
        self.latent_dim = sum(sizes_of(levels))
        self.hidden = hidden = check_count("hidden as an integer of at least 1", hidden)
        self.blocks = blocks = check_count("blocks as an integer of at least 1", blocks)
        self.num_classes = num_classes = check_classes(num_classes)
        self.n_params = n_params = check_count("n_params as an integer of at least 1", n_params, fix=FROM_LIKELIHOOD)
        channels, height, width = self.image_shape
        grid = isinstance(levels[0], tuple)
        ends: Level = (hidden, height, width) if grid else hidden
        self.way = TopDown(levels, hidden, blocks, ends=ends)
        # The label moves the state that the way down begins with.
        self.first = Conditioned(nn.Identity(), hidden, num_classes)
        numbers = channels * n_params
        last = nn.Conv2d(hidden, numbers, 3, padding=1) if grid else nn.Linear(hidden, numbers * height * width)
        self.out = read_out(hidden, last, grid=grid)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        state = self.first(self.way.begin(z.shape[0]), y)
        for number, part in enumerate(torch.split(z, sizes_of(self.levels), dim=1)):
            state = self.way(number, state, part)
        channels, height, width = self.image_shape
        parameters: Tensor = self.out(state)
        return parameters.reshape(-1, channels * self.n_params, height, width)
