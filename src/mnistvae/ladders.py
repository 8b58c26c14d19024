r"""Ladders: hierarchies of latent levels, each drawn given those above it.

.. math:: p(z) = \prod_{l=1}^{L} p(z_l \mid z_{<l}), \qquad q(z \mid x) = \prod_{l=1}^{L} q(z_l \mid z_{<l}, x)

Level 1 is the top. The code z is all levels one after the other, so that a ladder is an encoder, a prior and a decoder
like others. The posterior walks down the prior's own network and moves each level's normal (a residual: Vahdat and
Kautz, 2020, equation 3): both share the top-down pass, as in Sønderby et al. (2016), section 2.2.

Longer than usual: the three parts of a ladder share their networks and their levels, and fit only each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, constraints

from mnistvae._checks import check_count, check_number, check_widths, listed
from mnistvae._random import batch_noise
from mnistvae.distributions import DiagonalNormal, from_noise, tempered
from mnistvae.errors import ComponentError, SettingError, type_name
from mnistvae.images import ImageShape, check_image_shape
from mnistvae.losses import gaussian_kl, kl_by_level
from mnistvae.networks import Decoder, Encoder
from mnistvae.networks.blocks import Conditioned, check_classes, halvings
from mnistvae.networks.decoders import FROM_LIKELIHOOD
from mnistvae.networks.resnet import ResidualBlock
from mnistvae.priors import Encode, Prior

__all__ = ["LadderDecoder", "LadderEncoder", "LadderPosterior", "LadderPrior", "LadderPriorDistribution"]

#: Size of a level's code: a number of dimensions, or the shape (C, H, W) of a grid of them.
Level: TypeAlias = int | tuple[int, int, int]
#: Bound of a level's log-variance, and of its change from prior to posterior.
_LOGVAR = 8.0
#: Halvings of an image after which little is left of any.
_MOST_HALVINGS = 8
#: Codes that are drawn at once where no gradient is kept.
_AT_ONCE = 1024


class _Step(NamedTuple):
    """A level on the way down: its code (N, size), posterior and prior given the levels above it."""

    z: Tensor
    q: DiagonalNormal
    p: DiagonalNormal


#: Chooses the code of a level by its number, from the distribution that it has.
_Choose: TypeAlias = Callable[[int, DiagonalNormal], Tensor]
#: The posterior of a level by its number, from the state above it and its prior.
_Residual: TypeAlias = Callable[[int, Tensor, DiagonalNormal], DiagonalNormal]


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
        self.levels = levels = _check_levels(levels)
        self.hidden = check_count("hidden as an integer of at least 1", hidden)
        self.blocks = check_count("blocks as an integer of at least 1", blocks)
        self.latent_dim = sum(_sizes(levels))
        self.way = _TopDown(levels[:-1], self.hidden, self.blocks, ends=levels[-1])
        self.heads = nn.ModuleList(_head(self.hidden, level) for level in levels)

    def forward(self, y: Tensor | None = None, *, encode: Encode | None = None) -> LadderPriorDistribution:
        return LadderPriorDistribution(self)

    def walk(self, n: int, choose: _Choose, residual: _Residual | None = None) -> list[_Step]:
        """The levels of n codes from the top down.

        Args:
            n: Number of codes.
            choose: Gives the code (n, size) of a level, from its number and its distribution.
            residual: Gives the posterior of a level, from its number, the state above and its prior; None where the
                prior itself is walked down.
        """
        state, steps = self.way.begin(n), []
        for number, head in enumerate(self.heads):
            p = _normal(head(state), self.way.start.dtype)
            q = p if residual is None else residual(number, state, p)
            z = choose(number, q)
            steps.append(_Step(z, q, p))
            if number + 1 < len(self.levels):
                state = self.way(number, state, z)
        return steps


class LadderEncoder(Encoder):
    r"""The posterior of a ladder: what the image says of each level, joined on the way down with the levels above it.

    .. math:: q(z_l \mid z_{<l}, x) = \mathcal{N}(\mu_l + \sigma_l \, \Delta\mu_l, \;
        \operatorname{diag} \sigma_l^2 \, e^{\Delta\text{logvar}_l})

    The changes come from the state of the :class:`LadderPrior` and from features of the image at the level's size; at
    first they are zero. Vahdat and Kautz (2020), equation 3. The model hands the encoder its prior.

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
        self.levels = levels = _check_levels(levels, self.image_shape)
        self.latent_dim = sum(_sizes(levels))
        self.hidden = hidden = check_count("hidden as an integer of at least 1", hidden)
        self.blocks = blocks = check_count("blocks as an integer of at least 1", blocks)
        self.num_classes = num_classes = check_classes(num_classes)
        first, self.up = _bottom_up(levels, self.image_shape, hidden, blocks)
        self.first = Conditioned(first, hidden, num_classes)
        self.joins = nn.ModuleList(_join(hidden, level) for level in levels)

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
        return LadderPosterior(prior, self.joins, features[::-1], len(x))


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
        self.levels = levels = _check_levels(levels, self.image_shape)
        self.latent_dim = sum(_sizes(levels))
        self.hidden = hidden = check_count("hidden as an integer of at least 1", hidden)
        self.blocks = blocks = check_count("blocks as an integer of at least 1", blocks)
        self.num_classes = num_classes = check_classes(num_classes)
        self.n_params = n_params = check_count("n_params as an integer of at least 1", n_params, fix=FROM_LIKELIHOOD)
        channels, height, width = self.image_shape
        grid = isinstance(levels[0], tuple)
        ends: Level = (hidden, height, width) if grid else hidden
        self.way = _TopDown(levels, hidden, blocks, ends=ends)
        # The label moves the state that the way down begins with.
        self.first = Conditioned(nn.Identity(), hidden, num_classes)
        out = nn.Conv2d(hidden, channels * n_params, 3, padding=1) if grid else None
        self.out = nn.Sequential(
            _Norm(hidden, grid=grid), nn.SiLU(), out or nn.Linear(hidden, channels * n_params * height * width)
        )

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        state = self.first(self.way.begin(len(z)), y)
        for number, part in enumerate(z.split(_sizes(self.levels), dim=1)):
            state = self.way(number, state, part)
        channels, height, width = self.image_shape
        parameters: Tensor = self.out(state)
        return parameters.reshape(-1, channels * self.n_params, height, width)


class LadderPriorDistribution(Distribution):
    """The distribution of a :class:`LadderPrior`: batch (), event (latent_dim,).

    Args:
        prior: The prior.
        temperature: Factor of each level's spread, from the top down.
    """

    has_rsample = True
    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own way)
    support = constraints.real_vector

    def __init__(self, prior: LadderPrior, temperature: Sequence[float] = ()) -> None:
        self.prior = prior
        self.temperature = tuple(temperature) or (1.0,) * len(prior.levels)
        super().__init__(Size(), Size([prior.latent_dim]), validate_args=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.prior!r})"

    @property
    def mean(self) -> Tensor:
        """The code whose levels are the means given those above them, (latent_dim,); of one level, the mean."""
        return _joined(self.prior.walk(1, _central))[0]

    def log_prob(self, value: Tensor) -> Tensor:
        codes = value.reshape(-1, self.prior.latent_dim)
        steps = self.prior.walk(len(codes), _given(codes, self.prior.levels))
        log_p: Tensor = sum(
            _heated(step.p, t).log_prob(step.z) for step, t in zip(steps, self.temperature, strict=True)
        )  # type: ignore[assignment]
        return log_p.reshape(value.shape[:-1])

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        start = self.prior.way.start
        return self.from_noise(batch_noise(self._extended_shape(Size(sample_shape)), start.dtype, start.device))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)

    def from_noise(self, noise: Tensor) -> Tensor:
        """Codes (..., latent_dim) as a function of standard normal noise of the same shape."""
        rows = noise.reshape(-1, self.prior.latent_dim)
        some = [rows] if torch.is_grad_enabled() else rows.split(_AT_ONCE)  # the states of all take much memory
        drawn = [
            _joined(self.prior.walk(len(part), _moved(part, self.prior.levels, self.temperature))) for part in some
        ]
        return torch.cat(drawn).reshape(noise.shape)


class LadderPosterior(Distribution):
    """The posterior of a :class:`LadderEncoder`: batch (B,), event (latent_dim,).

    Drawing a code walks down all levels; the density of that same code, and its divergence from the prior, use what was
    computed on the way.

    Args:
        prior: The prior, whose way down is walked.
        joins: For each level, a network from state and features to the change of its normal.
        features: Features of the images for each level, from the top down.
        n: B, the number of images.
    """

    has_rsample = True
    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own way)
    support = constraints.real_vector

    def __init__(self, prior: LadderPrior, joins: nn.ModuleList, features: Sequence[Tensor], n: int) -> None:
        self.prior = prior
        self.joins = joins
        self.features = features
        self._last: tuple[Tensor, list[_Step], bool] | None = None
        super().__init__(Size([n]), Size([prior.latent_dim]), validate_args=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(batch {tuple(self.batch_shape)}, levels {self.prior.levels})"

    @property
    def mean(self) -> Tensor:
        """The code whose levels are the means given those above them, (B, latent_dim); of one level, the mean."""
        return _joined(self._walk(self.batch_shape[0], _central))

    @property
    def variance(self) -> Tensor:
        """The variances of the levels given the means of those above them, (B, latent_dim)."""
        return torch.cat([step.q.variance for step in self._walk(self.batch_shape[0], _central)], dim=1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        start = self.prior.way.start
        noise = batch_noise(self._extended_shape(Size(sample_shape)), start.dtype, start.device)
        rows = noise.reshape(-1, self.prior.latent_dim)
        steps = self._walk(len(rows), _moved(rows, self.prior.levels))
        z = _joined(steps).reshape(noise.shape)
        self._last = (z, steps, torch.is_grad_enabled())
        return z

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        log_q: Tensor = sum(step.q.log_prob(step.z) for step in self.steps(value))  # type: ignore[assignment]
        return log_q.reshape(value.shape[:-1])

    def steps(self, value: Tensor) -> list[_Step]:
        """The levels of codes (..., B, latent_dim): code, posterior and prior of each, for all codes in a row."""
        if self._last is not None and self._last[0] is value and self._last[2] == torch.is_grad_enabled():
            return self._last[1]
        whole = value.expand(torch.broadcast_shapes(value.shape, self._extended_shape()))  # type: ignore[no-untyped-call]
        rows = whole.reshape(-1, self.prior.latent_dim)
        return self._walk(len(rows), _given(rows, self.prior.levels))

    def _walk(self, n: int, choose: _Choose) -> list[_Step]:
        copies = n // self.batch_shape[0]

        def residual(number: int, state: Tensor, p: DiagonalNormal) -> DiagonalNormal:
            here = self.features[number]
            here = here if copies == 1 else here.repeat(copies, *[1] * (here.dim() - 1))
            change = _normal(self.joins[number](torch.cat([state, here], dim=1)), p.mu.dtype)
            return DiagonalNormal(torch.addcmul(p.mu, (0.5 * p.logvar).exp(), change.mu), p.logvar + change.logvar)

        return self.prior.walk(n, choose, residual)


@kl_by_level.register
def _(q: LadderPosterior, p: Distribution, z: Tensor) -> Tensor | None:
    if not isinstance(p, LadderPriorDistribution) or p.prior is not q.prior or set(p.temperature) != {1.0}:
        return None
    levels = [gaussian_kl(s.q.mu, s.q.logvar, s.p.mu, s.p.logvar) for s in q.steps(z)]
    return torch.stack(levels, dim=-1).reshape(*z.shape[:-1], len(levels))


@tempered.register
def _(distribution: LadderPriorDistribution, temperature: float | Sequence[float]) -> LadderPriorDistribution:
    levels = len(distribution.prior.levels)
    factors = temperature if isinstance(temperature, Sequence) else [temperature] * levels
    if len(factors) != levels:
        raise SettingError(f"one temperature, or one for each of {levels} levels", f"{len(factors)} of them")
    checked = [check_number("a finite temperature of at least 0", factor) for factor in factors]
    return LadderPriorDistribution(
        distribution.prior, [a * b for a, b in zip(distribution.temperature, checked, strict=True)]
    )


@from_noise.register
def _(distribution: LadderPriorDistribution, noise: Tensor, _: Tensor | None = None) -> Tensor:
    return distribution.from_noise(noise)


class _TopDown(nn.Module):
    """The states of a way down: a learned one, into which the codes of the levels are taken one by one.

    Args:
        levels: Levels that are taken in.
        hidden: Width of the state.
        blocks: Residual blocks after each level.
        ends: The size at which the last state is wanted.
    """

    def __init__(self, levels: Sequence[Level], hidden: int, blocks: int, ends: Level) -> None:
        super().__init__()
        first, *after = [*levels, ends]
        self.start = nn.Parameter(0.1 * torch.randn(1, hidden, *_grid(first)))
        self.taking = nn.ModuleList(_linear(_channels(level), hidden, grid=_grid(level)) for level in levels)
        self.shapes = [(_channels(level), *_grid(level)) for level in levels]
        self.blocks = nn.ModuleList()
        for level, following in zip(levels, after, strict=True):
            grown = [] if _grid(level) == _grid(following) else [nn.Upsample(_grid(following))]
            self.blocks.append(nn.Sequential(*grown, *(_block(hidden, _grid(following)) for _ in range(blocks))))

    def begin(self, n: int) -> Tensor:
        """The state above the top level of n codes."""
        return self.start.expand(n, *self.start.shape[1:])

    def forward(self, number: int, state: Tensor, z: Tensor) -> Tensor:
        """The state below a level, from that above it and the level's code (n, size)."""
        taken: Tensor = self.blocks[number](state + self.taking[number](z.reshape(-1, *self.shapes[number])))
        return taken


class _Norm(nn.Module):
    """Normalisation over groups of channels, or over all units."""

    def __init__(self, width: int, *, grid: bool) -> None:
        super().__init__()
        groups = math.gcd(8, width, max(1, width // 4)) if grid else 1
        self.norm = nn.GroupNorm(groups, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x)
        return out


class _ResidualLayer(nn.Module):
    """A residual block of linear layers; at first it is the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        last = nn.Linear(width, width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.step = nn.Sequential(_Norm(width, grid=False), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), last)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.step(x)
        return out


def _block(width: int, grid: tuple[int, ...]) -> nn.Module:
    return ResidualBlock(width) if grid else _ResidualLayer(width)


def _linear(before: int, after: int, grid: tuple[int, ...]) -> nn.Module:
    if not grid:
        return nn.Linear(before, after)
    return nn.Conv2d(before, after, 3, padding=1)


def _head(width: int, level: Level) -> nn.Module:
    """From the state to means and log-variances, which are zero at first."""
    last = _linear(width, 2 * _channels(level), _grid(level))
    nn.init.zeros_(last.weight)  # type: ignore[arg-type]
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    return nn.Sequential(_Norm(width, grid=bool(_grid(level))), nn.SiLU(), last)


def _join(width: int, level: Level) -> nn.Module:
    """From state and features to the change of means and log-variances."""
    return nn.Sequential(_linear(2 * width, width, _grid(level)), *_head(width, level))  # type: ignore[misc]


def _bottom_up(
    levels: tuple[Level, ...], image_shape: ImageShape, hidden: int, blocks: int
) -> tuple[nn.Module, nn.ModuleList]:
    """The first layer, and the networks that give the features of each level, from the lowest up."""
    if not isinstance(levels[0], tuple):
        up = [nn.Sequential(*(_block(hidden, ()) for _ in range(blocks))) for _ in levels]
        return nn.Linear(math.prod(image_shape), hidden), nn.ModuleList(up)
    stride = 1 if _grid(levels[-1]) == tuple(image_shape[1:]) else 2
    first = nn.Conv2d(image_shape[0], hidden, 3, stride=stride, padding=1)
    sides = halvings(image_shape, _MOST_HALVINGS)
    at, networks = sides[stride - 1], []
    for level in reversed(levels):
        network: list[nn.Module] = []
        while at != _grid(level):
            network.append(nn.Conv2d(hidden, hidden, 3, stride=2, padding=1))
            at = sides[sides.index(at) + 1]
        networks.append(nn.Sequential(*network, *(_block(hidden, at) for _ in range(blocks))))
    return first, nn.ModuleList(networks)


def _normal(parameters: Tensor, dtype: torch.dtype) -> DiagonalNormal:
    """Means and bounded log-variances, (N, size) each, as a normal; its maths is done in ``dtype``."""
    mu, logvar = parameters.to(dtype).chunk(2, dim=1)  # under autocast they come in bfloat16
    return DiagonalNormal(mu.flatten(1), _LOGVAR * (logvar.flatten(1) / _LOGVAR).tanh())


def _heated(normal: DiagonalNormal, temperature: float) -> DiagonalNormal:
    return normal if temperature == 1.0 else DiagonalNormal(normal.mu, normal.logvar + 2 * math.log(temperature))


def _central(_: int, normal: DiagonalNormal) -> Tensor:
    return normal.mean


def _given(codes: Tensor, levels: tuple[Level, ...]) -> _Choose:
    parts = codes.split(_sizes(levels), dim=1)
    return lambda number, _: parts[number]


def _moved(noise: Tensor, levels: tuple[Level, ...], temperature: Sequence[float] = ()) -> _Choose:
    parts = noise.split(_sizes(levels), dim=1)

    def choose(number: int, normal: DiagonalNormal) -> Tensor:
        spread = (0.5 * normal.logvar).exp()
        return torch.addcmul(normal.mu, spread * temperature[number] if temperature else spread, parts[number])

    return choose


def _joined(steps: Sequence[_Step]) -> Tensor:
    return torch.cat([step.z for step in steps], dim=1)


def _channels(level: Level) -> int:
    return level[0] if isinstance(level, tuple) else level


def _grid(level: Level) -> tuple[int, ...]:
    return level[1:] if isinstance(level, tuple) else ()


def _sizes(levels: Sequence[Level]) -> list[int]:
    return [math.prod(level) if isinstance(level, tuple) else level for level in levels]


def _check_levels(levels: Sequence[Level], image_shape: ImageShape | None = None) -> tuple[Level, ...]:
    """The levels as a tuple of sizes, or of shapes; where there is an image, shapes that its networks come by."""
    given = listed(levels)
    if not given:
        example = "for instance (8, 16, 32), from the top down, or ((16, 4, 4), (8, 7, 7))"
        raise SettingError("levels as one or more sizes", repr(levels), example)
    grids = [listed(level) is not None for level in given]
    if any(grids) != all(grids):
        raise SettingError("levels that are all sizes, or all shapes (C, H, W)", repr(levels), "a size n is (n, 1, 1)")
    if not any(grids):
        return check_widths("levels", given, least=1)
    shapes = [check_widths(f"level {number} as a shape (C, H, W)", level) for number, level in enumerate(given, 1)]
    for number, shape in enumerate(shapes, 1):
        if len(shape) != 3:
            raise SettingError(f"level {number} as a shape (C, H, W)", repr(shape), "for instance (8, 7, 7)")
        if number > 1 and (shape[1] < shapes[number - 2][1] or shape[2] < shapes[number - 2][2]):
            fix = "levels go from the top, which is the smallest, down to the image"
            raise SettingError(f"level {number} at least as large as level {number - 1}", f"levels={levels}", fix)
        if image_shape is not None and shape[1:] not in halvings(image_shape, _MOST_HALVINGS):
            sides = ", ".join(
                f"{height} x {width}" for height, width in dict.fromkeys(halvings(image_shape, _MOST_HALVINGS))
            )
            expected = f"level {number} of an image's size, halved some times: {sides}"
            raise SettingError(expected, f"{shape[1]} x {shape[2]}")
    return tuple((channels, height, width) for channels, height, width in shapes)
