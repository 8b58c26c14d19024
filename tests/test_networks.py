"""One contract for every encoder and decoder, and what each does beyond it."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from readback import stirred
from torch import Tensor, nn
from torch.nn import functional

from mnistvae import networks
from mnistvae._component import class_finder, clone, from_spec, to_spec
from mnistvae.distributions import has_density, moments
from mnistvae.errors import ComponentError, SettingError
from mnistvae.images import ImageShape
from mnistvae.networks import (
    MLP,
    CategoricalEncoder,
    Conditioned,
    ConvDecoder,
    ConvEncoder,
    Decoder,
    Encoder,
    FiniteScalarEncoder,
    FlowEncoder,
    FullNormalEncoder,
    GaussianEncoder,
    JointEncoder,
    MixtureEncoder,
    MLPDecoder,
    MLPEncoder,
    PointEncoder,
    ResidualBlock,
    ResNetDecoder,
    ResNetEncoder,
    TrunkDecoder,
    VectorQuantizedEncoder,
    VonMisesFisherEncoder,
)

LATENT = 3
CLASSES = 4
SHAPES: list[ImageShape] = [(1, 28, 28), (3, 32, 32), (1, 8, 8), (2, 9, 17), (1, 28, 30)]
pytestmark = pytest.mark.filterwarnings("ignore:no mean of a FlowPosterior is known:UserWarning")
#: What a repr may name.
NAMES = {**vars(nn), **{name: getattr(networks, name) for name in networks.__all__}}


def features(shape: ImageShape) -> nn.Module:
    return nn.Sequential(nn.Conv2d(shape[0], 2, 3, stride=4), nn.LeakyReLU(0.1))


def one_place(shape: ImageShape) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 7), nn.Tanh(), nn.Unflatten(1, (7, 1, 1)))


def canvas(shape: ImageShape) -> nn.Module:
    return nn.Sequential(nn.Linear(LATENT, 5), nn.Tanh(), nn.Linear(5, math.prod(shape)))


MAKERS: dict[str, Callable[[ImageShape, int | None], nn.Module]] = {
    "MLPEncoder": lambda shape, k: MLPEncoder(LATENT, shape, (12, 7), nn.ELU(0.5), num_classes=k),
    "ConvEncoder": lambda shape, k: ConvEncoder(
        LATENT, shape, channels=(4, 6), activation=nn.LeakyReLU(0.2), num_classes=k
    ),
    "GaussianEncoder": lambda shape, k: GaussianEncoder(features(shape), LATENT, num_classes=k),
    "FullNormalEncoder": lambda shape, k: FullNormalEncoder(features(shape), LATENT, num_classes=k),
    "FlowEncoder": lambda shape, k: stirred(
        FlowEncoder(MLPEncoder(LATENT, shape, (9,), num_classes=k), transforms=1, hidden=(8,))
    ),
    "MixtureEncoder": lambda shape, k: MixtureEncoder(
        [MLPEncoder(LATENT, shape, (9,), num_classes=k), GaussianEncoder(features(shape), LATENT, num_classes=k)]
    ),
    "PointEncoder": lambda shape, k: PointEncoder(features(shape), LATENT, num_classes=k),
    "VonMisesFisherEncoder": lambda shape, k: VonMisesFisherEncoder(features(shape), LATENT, num_classes=k),
    "CategoricalEncoder": lambda shape, k: CategoricalEncoder(features(shape), 1, LATENT, num_classes=k),
    "VectorQuantizedEncoder": lambda shape, k: VectorQuantizedEncoder(
        one_place(shape), codebook_size=20_000, code_dim=LATENT, grid=(1, 1), num_classes=k
    ),
    "FiniteScalarEncoder": lambda shape, k: FiniteScalarEncoder(one_place(shape), (50, 49, 50), (1, 1), k),
    "JointEncoder": lambda shape, k: JointEncoder(
        [CategoricalEncoder(nn.Flatten(), 1, 2, num_classes=k), GaussianEncoder(nn.Flatten(), 1, num_classes=k)],
        features(shape),
    ),
    "MLPDecoder": lambda shape, k: MLPDecoder(LATENT, shape, (7, 12), nn.Tanh(), num_classes=k),
    "ConvDecoder": lambda shape, k: ConvDecoder(LATENT, shape, channels=(6, 4), activation=nn.SiLU(), num_classes=k),
    "TrunkDecoder": lambda shape, k: TrunkDecoder(canvas(shape), LATENT, shape, num_classes=k),
    "ResNetEncoder": lambda shape, k: stirred(
        ResNetEncoder(LATENT, shape, (3, 6), (1, 2), hidden=7, dropout=0.5, num_classes=k)
    ),
    "ResNetDecoder": lambda shape, k: stirred(
        ResNetDecoder(LATENT, shape, (6, 3), (2, 1), hidden=7, dropout=0.5, num_classes=k)
    ),
}


@dataclass
class Case:
    """A part, and how to ask it."""

    make: Callable[[], nn.Module]
    part: nn.Module
    shape: ImageShape
    num_classes: int | None

    @property
    def encodes(self) -> bool:
        return isinstance(self.part, Encoder)

    def inputs(self, n: int = 5) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        return torch.rand(n, *(self.shape if self.encodes else (LATENT,)), generator=generator)

    def labels(self, n: int = 5) -> Tensor | None:
        return None if self.num_classes is None else torch.arange(n) % self.num_classes

    def ask(self, part: nn.Module | None = None, n: int = 5, labels: Tensor | None = None) -> Tensor:
        """The numbers that the part gives out: (n, 2 * LATENT), of a point (n, LATENT), or (n, C, H, W)."""
        labels = self.labels(n) if labels is None else labels
        out = (self.part if part is None else part)(self.inputs(n), labels)
        if not self.encodes:
            return out
        if not self.part.has_density:
            return out.mean
        found = moments(out)
        return torch.cat([found.mean, found.variance.log()], dim=1) if has_density(out) else found.mean


@pytest.fixture(params=[None, CLASSES], ids=["plain", "conditional"])
def num_classes(request: pytest.FixtureRequest) -> int | None:
    value: int | None = request.param
    return value


@pytest.fixture(params=SHAPES, ids=str)
def shape(request: pytest.FixtureRequest) -> ImageShape:
    value: ImageShape = request.param
    return value


@pytest.fixture(params=list(MAKERS))
def case(request: pytest.FixtureRequest, shape: ImageShape, num_classes: int | None) -> Case:
    maker = MAKERS[request.param]
    made = Case(lambda: maker(shape, num_classes), maker(shape, num_classes), shape, num_classes)
    made.part.eval()  # drops nothing out
    made.ask()  # a GaussianEncoder learns here how many features its trunk has
    return made


def test_the_contract_is_held_by_every_public_part() -> None:
    public = {name for name in networks.__all__ if name.endswith(("Encoder", "Decoder"))}
    assert public - {"Encoder", "Decoder", "TokenEncoder"} == set(MAKERS)


def test_contract_shapes(case: Case) -> None:
    assert case.part.latent_dim == LATENT
    for n in (1, 5):
        out = case.part(case.inputs(n), case.labels(n))
        if case.encodes:
            assert isinstance(case.part, Encoder)
            assert out.batch_shape == (n,)
            assert out.event_shape == (LATENT,)
            assert out.rsample().shape == (n, LATENT)
            variance = moments(out).variance
            assert (variance > 0).all() if case.part.has_density else (variance == 0).all()
        else:
            assert isinstance(case.part, Decoder)
            assert out.shape == (n, *case.shape)
        assert case.ask(n=n).isfinite().all()


def test_contract_gradients_reach_every_parameter(case: Case) -> None:
    case.ask().square().sum().backward()
    for name, parameter in case.part.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_contract_an_example_depends_on_itself_alone_and_the_same_each_time(case: Case) -> None:
    together = case.ask()
    assert torch.equal(together, case.ask())
    torch.testing.assert_close(together[:1], case.ask(n=1), rtol=1e-4, atol=1e-5)
    assert not torch.equal(together[0], together[1])


def test_contract_repr_is_the_call_that_makes_it(case: Case) -> None:
    rebuilt = eval(repr(case.part), {"__builtins__": {}}, NAMES).eval()  # noqa: S307 (that is the promise)
    assert type(rebuilt) is type(case.part)
    assert repr(rebuilt) == repr(case.part)
    assert case.ask(rebuilt).shape == case.ask().shape
    rebuilt.load_state_dict(case.part.state_dict())
    assert torch.equal(case.ask(rebuilt), case.ask())


def test_contract_spec_survives_json(case: Case) -> None:
    spec = to_spec(case.part)
    after = json.loads(json.dumps(spec, allow_nan=False))
    assert after == spec
    rebuilt = from_spec(after, class_finder())
    assert to_spec(rebuilt) == spec
    assert repr(rebuilt) == repr(case.part)


def test_contract_clone_has_the_structure_and_other_weights(case: Case) -> None:
    twin = clone(case.part)
    case.ask(twin)
    assert type(twin) is type(case.part)
    assert repr(twin) == repr(case.part)
    mine, other = case.part.state_dict(), twin.state_dict()
    assert {name: value.shape for name, value in mine.items()} == {name: value.shape for name, value in other.items()}
    constants = ("mask", "order", "counts", "sums")  # of a flow, and of a codebook that nothing has moved
    drawn = [name for name in mine if not name.endswith(constants)]
    assert not any(torch.equal(mine[name], other[name]) for name in drawn)


def test_contract_deepcopy_is_equal_and_apart(case: Case) -> None:
    before = case.ask()
    twin = copy.deepcopy(case.part)
    assert torch.equal(case.ask(twin), before)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    assert not torch.equal(case.ask(twin), before)
    assert torch.equal(case.ask(), before)


def test_contract_state_dict_carries_all(case: Case) -> None:
    twin = case.make().eval()
    case.ask(twin)
    assert not torch.equal(case.ask(twin), case.ask())
    twin.load_state_dict(case.part.state_dict())
    assert torch.equal(case.ask(twin), case.ask())


def test_contract_labels_matter_where_there_are_any(case: Case) -> None:
    zeros, ones = torch.zeros(5, dtype=torch.long), torch.ones(5, dtype=torch.long)
    if case.num_classes is None:
        with pytest.raises(ComponentError, match=r"expected no labels for an unconditional network, got labels: make"):
            case.part(case.inputs(), zeros)
    else:
        differs = (case.ask(labels=zeros) != case.ask(labels=ones)).flatten(1).any(1)
        assert differs.all()
        with pytest.raises(ComponentError, match=r"expected labels for a network conditioned on 4 .*got none: pass y"):
            case.part(case.inputs())


# --------------------------------------------------------------------------------------------- the single parts


@given(
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    channels=st.integers(1, 3),
    widths=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    n_params=st.integers(1, 2),
)
def test_convolutions_take_any_image_size(
    height: int, width: int, channels: int, widths: list[int], n_params: int
) -> None:
    shape = (channels, height, width)
    x = torch.rand(2, *shape)
    z = ConvEncoder(2, shape, channels=widths)(x).mean
    assert z.shape == (2, 2)
    assert ConvDecoder(2, shape, channels=widths, n_params=n_params)(z).shape == (2, channels * n_params, height, width)


@given(shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)), n_params=st.integers(1, 3))
def test_dense_networks_take_any_image_size(shape: ImageShape, n_params: int) -> None:
    z = MLPEncoder(2, shape, hidden=(3,))(torch.rand(2, *shape)).mean
    assert z.shape == (2, 2)
    out = MLPDecoder(2, shape, hidden=(3,), n_params=n_params)(z)
    assert out.shape == (2, shape[0] * n_params, *shape[1:])


def count(part: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in part.modules())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_there_are_three_convolutions_each_way_by_default(shape: ImageShape) -> None:
    encoder, decoder = ConvEncoder(2, shape), ConvDecoder(2, shape)
    assert count(encoder, nn.Conv2d) == 3
    assert count(decoder, nn.ConvTranspose2d) == 3
    assert count(encoder, nn.ConvTranspose2d) == count(decoder, nn.Conv2d) == 0


def test_hidden_widths_are_the_layers_of_a_dense_network() -> None:
    for hidden in ((), (5,), (7, 6, 5)):
        sizes = [(layer.in_features, layer.out_features) for layer in MLP(4, hidden, 3).modules() if is_linear(layer)]
        assert sizes == list(zip((4, *hidden), (*hidden, 3), strict=True))
    x = torch.randn(6, 4)
    affine = MLP(4, (), 3)
    torch.testing.assert_close(affine(2 * x) - affine(x), affine(x) - affine(0 * x))


def is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear)


def test_the_activation_asked_for_is_between_the_layers() -> None:
    class Zero(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 0

    for part, argument in (
        (MLPEncoder(2, (1, 8, 8), (4,), Zero()), torch.rand(3, 1, 8, 8)),
        (ConvEncoder(2, (1, 8, 8), (4, 4), Zero()), torch.rand(3, 1, 8, 8)),
    ):
        assert torch.equal(*part(argument).mean[:2])
    for part in (MLPDecoder(2, (1, 8, 8), (4,), Zero()), ConvDecoder(2, (1, 8, 8), (4, 4), Zero())):
        assert torch.equal(*part(torch.randn(3, 2))[:2])


def test_mean_and_log_variance_are_the_halves_of_what_the_network_gives() -> None:
    encoder = MLPEncoder(2, (1, 2, 2), hidden=())
    x = torch.rand(5, 1, 2, 2)
    raw = encoder.network(x.flatten(1))
    torch.testing.assert_close(encoder(x).mean, raw[:, :2])
    torch.testing.assert_close(encoder(x).variance, raw[:, 2:].exp())


def test_a_trunk_may_give_any_shape() -> None:
    encoder = GaussianEncoder(nn.Conv2d(1, 3, 3), 2)
    assert encoder(torch.rand(4, 1, 6, 6)).mean.shape == (4, 2)
    decoder = TrunkDecoder(nn.Sequential(nn.Linear(2, 18), nn.Unflatten(1, (3, 6))), 2, (1, 3, 3), n_params=2)
    z = torch.randn(4, 2)
    assert torch.equal(decoder(z), decoder.trunk(z).reshape(4, 2, 3, 3))


# ------------------------------------------------------------------------------------------------- Conditioned


def test_conditioned_linear_equals_a_linear_of_the_label_beside_the_input() -> None:
    conditioned = Conditioned(nn.Linear(5, 3), 3, CLASSES)
    assert conditioned.classes is not None
    wide = nn.Linear(5 + CLASSES, 3)
    with torch.no_grad():
        wide.weight.copy_(torch.cat([conditioned.layer.weight, conditioned.classes.weight.T], dim=1))
        wide.bias.copy_(conditioned.layer.bias)
    x, y = torch.randn(8, 5), torch.arange(8) % CLASSES
    one_hot = nn.functional.one_hot(y, CLASSES).float()
    torch.testing.assert_close(conditioned(x, y), wide(torch.cat([x, one_hot], dim=1)))


def test_conditioned_convolution_adds_the_class_to_each_channel() -> None:
    conditioned = Conditioned(nn.Conv2d(2, 3, 3), 3, CLASSES)
    assert conditioned.classes is not None
    x, y = torch.randn(4, 2, 5, 6), torch.tensor([3, 0, 2, 1])
    expected = conditioned.layer(x) + conditioned.classes.weight[y][:, :, None, None]
    torch.testing.assert_close(conditioned(x, y), expected)


def test_conditioned_without_classes_is_the_layer() -> None:
    layer = nn.Linear(5, 3)
    x = torch.randn(4, 5)
    assert torch.equal(Conditioned(layer, 3)(x), layer(x))


# ------------------------------------------------------------------------------------------- residual networks


def test_the_makers_of_the_contract_leave_nothing_at_its_start() -> None:
    for name, make in MAKERS.items():
        part = make((1, 8, 8), CLASSES)
        if isinstance(part, ResNetEncoder | ResNetDecoder):
            assert all((p != 0).all() for p in part.parameters()), name


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluating"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("channels", [1, 3, 8, 12])
def test_a_new_block_is_the_identity(channels: int, dropout: float, training: bool) -> None:
    block = ResidualBlock(channels, dropout).train(training)
    x = torch.randn(2, channels, 5, 4)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("channels", [1, 3, 6, 8, 12, 20, 64])
def test_a_block_adds_what_its_equation_says(channels: int) -> None:
    block = stirred(ResidualBlock(channels))
    first_norm, second_norm = (m for m in block.modules() if isinstance(m, nn.GroupNorm))
    assert first_norm.num_groups == second_norm.num_groups
    assert channels % first_norm.num_groups == 0
    assert first_norm.num_groups == 8 or channels < 64
    first, second = (m for m in block.modules() if isinstance(m, nn.Conv2d))
    x = torch.randn(2, channels, 5, 4)

    def step(x: Tensor, norm: nn.GroupNorm, convolution: nn.Conv2d) -> Tensor:
        # By hand, group by group: mean 0 and variance 1 over its channels and pixels, then one scale a channel.
        parts = x.reshape(2, norm.num_groups, -1)
        parts = (parts - parts.mean(-1, keepdim=True)) / (parts.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
        h = parts.reshape(x.shape) * norm.weight[:, None, None] + norm.bias[:, None, None]
        return functional.conv2d(h * h.sigmoid(), convolution.weight, convolution.bias, padding=1)

    expected = x + step(step(x, first_norm, first), second_norm, second)
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_a_block_is_printed_saved_and_copied_as_any_part(dropout: float) -> None:
    block = ResidualBlock(6, dropout)
    assert repr(block) == f"ResidualBlock(channels=6, dropout={dropout})"
    assert to_spec(from_spec(to_spec(block), class_finder())) == to_spec(block)
    assert {m.p for m in clone(block).modules() if isinstance(m, nn.Dropout)} == {dropout}


@given(
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    colours=st.integers(1, 3),
    scales=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 2)), min_size=1, max_size=4),
    n_params=st.integers(1, 2),
)
def test_residual_networks_take_any_image_size(
    height: int, width: int, colours: int, scales: list[tuple[int, int]], n_params: int
) -> None:
    shape, channels, blocks = (colours, height, width), [c for c, _ in scales], [b for _, b in scales]
    z = ResNetEncoder(2, shape, channels, blocks, hidden=3)(torch.rand(2, *shape)).mean
    assert z.shape == (2, 2)
    assert z.isfinite().all()
    out = ResNetDecoder(2, shape, channels, blocks, hidden=3, n_params=n_params)(z)
    assert out.shape == (2, colours * n_params, height, width)
    assert out.isfinite().all()


@pytest.mark.parametrize("channels", [8, 4, 3, 16])
def test_down_to_one_pixel_the_code_still_tells_images_apart(channels: int) -> None:
    shape, widths = (1, 8, 8), (channels,) * 4  # 8, 4, 2 and 1 pixels
    encoder = ResNetEncoder(2, shape, widths, (1,) * 4, hidden=8)
    decoder = ResNetDecoder(2, shape, widths, (1,) * 4, hidden=8)
    x = torch.rand(2, *shape)
    means = encoder(x).mean
    assert (means[0] - means[1]).abs().max() > 1e-4
    torch.testing.assert_close(encoder(x[:1]).mean, means[:1], rtol=1e-4, atol=1e-5)  # a batch of one
    assert decoder(torch.randn(1, 2)).shape == (1, *shape)


@pytest.mark.parametrize(
    ("channels", "blocks", "sides"),
    [((2, 3, 4), (1, 2, 3), (9, 17)), ((5,), (2,), (8, 8)), ((2, 2, 2, 2), (1, 1, 1, 1), (13, 8))],
    ids=str,
)
def test_blocks_and_halvings_are_as_many_as_asked_for(
    channels: tuple[int, ...], blocks: tuple[int, ...], sides: tuple[int, int]
) -> None:
    shape = (2, *sides)
    encoder = ResNetEncoder(3, shape, channels, blocks, hidden=11)
    decoder = ResNetDecoder(3, shape, channels[::-1], blocks[::-1], hidden=11, n_params=2)
    by_scale = [width for width, number in zip(channels, blocks, strict=True) for _ in range(number)]
    assert [m.channels for m in encoder.modules() if isinstance(m, ResidualBlock)] == by_scale
    assert [m.channels for m in decoder.modules() if isinstance(m, ResidualBlock)] == by_scale[::-1]
    # What is left of the image after each halving, rounded up, is what the dense layer sees.
    least = [math.ceil(side / 2 ** (len(channels) - 1)) for side in sides]
    features = channels[-1] * math.prod(least)
    sizes = [(m.in_features, m.out_features) for m in encoder.modules() if isinstance(m, nn.Linear)]
    assert sizes == [(features, 11), (11, 6)]
    sizes = [(m.in_features, m.out_features) for m in decoder.modules() if isinstance(m, nn.Linear)]
    assert sizes == [(3, 11), (11, features)]
    strides = [m.stride for m in encoder.modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]
    assert strides == [(2, 2)] * (len(channels) - 1)
    assert count(decoder, nn.Upsample) == len(channels) - 1


def test_the_log_variance_is_kept_within_its_bounds() -> None:
    encoder = ResNetEncoder(4, (1, 8, 8), (4,), (1,), hidden=4)
    last = [m for m in encoder.modules() if isinstance(m, nn.Linear)][-1]
    with torch.no_grad():
        last.bias.copy_(torch.tensor([-50.0, 50.0, 0.0, 7.0, -50.0, 50.0, -11.0, 7.0]))
        last.weight.zero_()
    q = encoder(torch.rand(2, 1, 8, 8))
    torch.testing.assert_close(q.mean[0], torch.tensor([-50.0, 50.0, 0.0, 7.0]))  # the mean is free
    torch.testing.assert_close(q.variance.log()[0], torch.tensor([-12.0, 8.0, -11.0, 7.0]))
    q.variance.log().sum().backward()
    assert last.bias.grad is not None
    assert (last.bias.grad != 0).tolist() == [False] * 6 + [True, True]  # inside them it learns


@pytest.mark.parametrize("encodes", [True, False], ids=["encoder", "decoder"])
def test_dropout_is_for_training_alone(encodes: bool) -> None:
    make: Callable[..., nn.Module] = ResNetEncoder if encodes else ResNetDecoder
    x = torch.rand(2, 1, 8, 8) if encodes else torch.randn(2, 2)
    for dropout in (0.0, 0.5):
        part = stirred(make(2, (1, 8, 8), (4,), (2,), hidden=4, dropout=dropout))
        rates = [m.p for m in part.modules() if isinstance(m, nn.Dropout)]
        assert rates == [dropout] * 2  # in each block
        draws = [part.train()(x) for _ in range(2)]
        first, again = (draw.mean if encodes else draw for draw in draws)
        assert torch.equal(first, again) is (dropout == 0.0)
        still = [part.eval()(x) for _ in range(2)]
        first, again = (draw.mean if encodes else draw for draw in still)
        assert torch.equal(first, again)


# ------------------------------------------------------------------------------------------------------- errors

#: Those that are told the size of the image.
SIZED = [MLPEncoder, ConvEncoder, ResNetEncoder, MLPDecoder, ConvDecoder, ResNetDecoder]


@pytest.mark.parametrize("latent_dim", [0, -1, 1.5, "2", None, True])
@pytest.mark.parametrize(
    "make",
    [
        *SIZED,
        lambda size: GaussianEncoder(nn.Flatten(), size),
        lambda size: TrunkDecoder(nn.Identity(), size),
    ],
    ids=[*(make.__name__ for make in SIZED), "GaussianEncoder", "TrunkDecoder"],
)
def test_latent_dim_is_a_positive_integer(make: Callable[[Any], nn.Module], latent_dim: Any) -> None:
    with pytest.raises(SettingError, match="expected latent_dim as an integer of at least 1, got"):
        make(latent_dim)


@pytest.mark.parametrize("shape", [(28, 28), (0, 28, 28), 28, None])
@pytest.mark.parametrize("make", SIZED)
def test_image_shape_is_three_positive_integers(make: Callable[..., nn.Module], shape: Any) -> None:
    with pytest.raises(SettingError, match=r"expected image_shape as three positive integers .* for MNIST"):
        make(2, shape)


@pytest.mark.parametrize("channels", [(), (0,), (32, -1)])
@pytest.mark.parametrize("make", [ConvEncoder, ConvDecoder, ResNetEncoder, ResNetDecoder])
def test_channels_are_positive_integers(make: Callable[..., nn.Module], channels: tuple[int, ...]) -> None:
    with pytest.raises(SettingError, match=r"expected channels .*, got .*: for instance"):
        make(2, channels=channels)


@pytest.mark.parametrize("hidden", [(0,), (32, -1)])
@pytest.mark.parametrize("make", [MLPEncoder, MLPDecoder])
def test_hidden_widths_are_positive(make: Callable[..., nn.Module], hidden: tuple[int, ...]) -> None:
    with pytest.raises(SettingError, match=r"expected hidden .*, got .*: for instance"):
        make(2, hidden=hidden)


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (MLPEncoder, "hidden"),
        (MLPDecoder, "hidden"),
        (ConvEncoder, "channels"),
        (ConvDecoder, "channels"),
        (ResNetEncoder, "channels"),
        (ResNetEncoder, "blocks"),
        (ResNetDecoder, "channels"),
        (ResNetDecoder, "blocks"),
    ],
)
def test_one_width_in_the_place_of_several_is_explained(make: Callable[..., nn.Module], argument: str) -> None:
    with pytest.raises(SettingError, match=rf"expected {argument} .*, got 32: "):
        make(2, **{argument: 32})


@pytest.mark.parametrize("num_classes", [0, -1])
@pytest.mark.parametrize("make", SIZED)
def test_num_classes_is_positive(make: Callable[..., nn.Module], num_classes: int) -> None:
    with pytest.raises(SettingError, match="expected num_classes of at least 1, or None, got"):
        make(2, num_classes=num_classes)


@pytest.mark.parametrize("n_params", [0, -1, 1.5])
@pytest.mark.parametrize("make", [MLPDecoder, ConvDecoder, ResNetDecoder])
def test_n_params_is_a_positive_integer(make: Callable[..., nn.Module], n_params: Any) -> None:
    with pytest.raises(SettingError, match=r"expected n_params as an integer .*: take it from likelihood\.n_params"):
        make(2, n_params=n_params)


@pytest.mark.parametrize("shape", [(1, 7, 28), (1, 28, 7), (3, 1, 1)])
@pytest.mark.parametrize("make", [ConvEncoder, ConvDecoder, ResNetEncoder, ResNetDecoder])
def test_images_too_small_to_be_halved_are_refused(make: Callable[..., nn.Module], shape: ImageShape) -> None:
    message = rf"expected images of at least 8 x 8 .*, got {shape[1]} x {shape[2]}: use MLPEncoder and MLPDecoder"
    with pytest.raises(SettingError, match=message):
        make(2, shape)


@pytest.mark.parametrize(
    ("channels", "blocks"), [((4, 4), (1,)), ((4,), (1, 1)), ((4, 4, 4), (1, 2)), ((4, 4), (1, 1, 1))], ids=str
)
@pytest.mark.parametrize("make", [ResNetEncoder, ResNetDecoder])
def test_each_scale_has_its_blocks(
    make: Callable[..., nn.Module], channels: tuple[int, ...], blocks: tuple[int, ...]
) -> None:
    message = re.escape(f"expected blocks for each of {len(channels)} scales, as channels={channels} has them, got ")
    with pytest.raises(SettingError, match=message + re.escape(f"blocks={blocks}")):
        make(2, channels=channels, blocks=blocks)


@pytest.mark.parametrize("blocks", [(), (0,), (1, -1, 1), (1.0, 1.0, 1.0)], ids=str)
@pytest.mark.parametrize("make", [ResNetEncoder, ResNetDecoder])
def test_blocks_are_positive_integers(make: Callable[..., nn.Module], blocks: tuple[int, ...]) -> None:
    with pytest.raises(SettingError, match=r"expected blocks as one or more positive integers, got .*: for instance"):
        make(2, blocks=blocks)


@pytest.mark.parametrize("hidden", [0, -1, 1.5, (512,), None, True])
@pytest.mark.parametrize("make", [ResNetEncoder, ResNetDecoder])
def test_a_residual_network_has_one_hidden_width(make: Callable[..., nn.Module], hidden: Any) -> None:
    with pytest.raises(SettingError, match="expected hidden as an integer of at least 1, got"):
        make(2, hidden=hidden)


@pytest.mark.parametrize("dropout", [1.0, 1, 1.5, -0.1, float("nan"), float("inf"), "0.1", None, True])
@pytest.mark.parametrize(
    "make",
    [lambda p: ResNetEncoder(2, dropout=p), lambda p: ResNetDecoder(2, dropout=p), lambda p: ResidualBlock(4, p)],
    ids=["ResNetEncoder", "ResNetDecoder", "ResidualBlock"],
)
def test_dropout_leaves_something(make: Callable[[Any], nn.Module], dropout: Any) -> None:
    with pytest.raises(SettingError, match="expected dropout as a number from 0 to below 1, got"):
        make(dropout)


@pytest.mark.parametrize("channels", [0, -1, 1.5, "4", None])
def test_a_block_has_a_positive_number_of_channels(channels: Any) -> None:
    with pytest.raises(SettingError, match=r"expected channels .*, got"):
        ResidualBlock(channels)


@pytest.mark.parametrize("make", [MLPEncoder, ConvEncoder, MLPDecoder, ConvDecoder])
@pytest.mark.parametrize(
    ("activation", "message"),
    [
        (nn.PReLU(), "expected an activation without parameters, got PReLU"),
        (nn.ReLU, "expected activation as a module, got .*: pass an instance"),
        (torch.relu, "expected activation as a module"),
    ],
)
def test_an_activation_is_a_module_without_parameters(
    make: Callable[..., nn.Module], activation: Any, message: str
) -> None:
    with pytest.raises(ComponentError, match=message):
        make(2, activation=activation)


@pytest.mark.parametrize("trunk", [None, nn.Linear, torch.relu])
@pytest.mark.parametrize("make", [GaussianEncoder, TrunkDecoder])
def test_a_trunk_is_a_module(make: Callable[..., nn.Module], trunk: Any) -> None:
    with pytest.raises(
        ComponentError, match=r"expected trunk as a torch\.nn\.Module, got (None|a|the class) ?.*: pass an instance"
    ):
        make(trunk, 2)


class Gives(nn.Module):
    """A trunk that gives what it was told to."""

    def __init__(self, out: Any) -> None:
        super().__init__()
        self.out = out

    def forward(self, x: Tensor) -> Any:
        return self.out


@pytest.mark.parametrize(
    ("out", "got"),
    [(torch.zeros(3, 4), r"shape \(3, 4\)"), (torch.zeros(()), r"shape \(\)"), ([0.0], "a list"), (None, "None")],
)
def test_an_encoders_trunk_keeps_the_batch_first(out: Any, got: str) -> None:
    with pytest.raises(
        ComponentError, match=rf"expected the trunk to return features \(5, \.\.\.\), got {got}: keep the batch"
    ):
        GaussianEncoder(Gives(out), 2)(torch.rand(5, 1, 4, 4))


@pytest.mark.parametrize(("out", "got"), [(torch.zeros(5, 15), r"shape \(5, 15\)"), (None, "None")])
def test_a_decoders_trunk_gives_as_many_numbers_as_the_likelihood_asks_for(out: Any, got: str) -> None:
    message = (
        rf"expected the trunk to return 32 numbers an image, for parameters \(5, 2, 4, 4\), got {got}: change its last"
    )
    with pytest.raises(ComponentError, match=message):
        TrunkDecoder(Gives(out), 2, (1, 4, 4), n_params=2)(torch.randn(5, 2))


def test_the_contracts_cannot_be_made() -> None:
    for contract in (Encoder, Decoder):
        with pytest.raises(TypeError, match="abstract"):
            contract()
