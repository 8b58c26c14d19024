"""Constructor arguments -> repr, spec, clone: for mnistvae's parts, torch's and a user's."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mnistvae._component import Component, arguments, class_finder, clone, from_spec, spec_text, to_spec
from mnistvae.errors import ComponentError, FileFormatError, SettingError
from mnistvae.models import VAE, BetaVAE, ConditionalVAE
from mnistvae.networks import MLP, ConvEncoder, GaussianEncoder, MLPDecoder, MLPEncoder
from mnistvae.objectives import ELBO
from mnistvae.priors import StandardNormal


class Scale(nn.Module):
    """A user's part: keeps its arguments under their own names."""

    def __init__(self, factor: float = 2.0, shape: Any = (1, 2)) -> None:
        super().__init__()
        self.factor = factor
        self.shape = shape
        self.weight = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


class Shifted(Scale):
    """Hands on what it does not know."""

    def __init__(self, offset: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.offset = offset


class TwiceShifted(Shifted):
    """Hands on, two classes deep."""

    def __init__(self, again: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.again = again


class Inherits(Scale):
    """Has no constructor of its own."""


class Forgets(nn.Module):
    """Does not keep its argument."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)


class Starred(nn.Module):
    """Takes arguments without names."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.sizes = sizes


class Holds(nn.Module):
    """Keeps anything."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


def there_and_back(value: Any, *classes: type[nn.Module]) -> Any:
    """Through a spec and JSON."""
    spec = to_spec(value)
    after = json.loads(json.dumps(spec, allow_nan=False))
    assert after == spec
    return from_spec(after, class_finder(classes))


# ---------------------------------------------------------------------------------------------------- arguments


def test_arguments_are_those_of_the_constructor_in_order() -> None:
    assert list(arguments(MLPEncoder(2, (1, 4, 4), (3,))).items()) == [
        ("latent_dim", 2),
        ("image_shape", (1, 4, 4)),
        ("hidden", (3,)),
        ("activation", None),
        ("num_classes", None),
    ]
    assert arguments(Scale(3.0, [1])) == {"factor": 3.0, "shape": [1]}
    assert arguments(nn.ReLU()) == {"inplace": False}
    assert arguments(Inherits(3.0)) == {"factor": 3.0, "shape": (1, 2)}


def test_keyword_arguments_handed_on_are_found_in_the_parents() -> None:
    assert arguments(Shifted(1, factor=3.0)) == {"offset": 1, "factor": 3.0, "shape": (1, 2)}
    part = TwiceShifted(again=4, offset=1, factor=3.0)
    assert arguments(part) == {"again": 4, "offset": 1, "factor": 3.0, "shape": (1, 2)}
    assert arguments(there_and_back(part, TwiceShifted)) == arguments(part)


def test_a_preset_has_its_own_arguments() -> None:
    assert list(arguments(BetaVAE(2, 3.0, (1, 4, 4))))[:3] == ["latent_dim", "beta", "image_shape"]
    assert arguments(ConditionalVAE(2, 5, (1, 4, 4)))["num_classes"] == 5
    assert "objective" not in arguments(BetaVAE(2, 3.0, (1, 4, 4)))


def test_an_argument_that_was_not_kept_is_named_with_the_line_to_write() -> None:
    message = r"expected Forgets to keep its constructor argument as self\.width, got no such attribute: write "
    with pytest.raises(ComponentError, match=message + r"self\.width = width in its __init__"):
        arguments(Forgets(3))


def test_arguments_without_names_are_refused() -> None:
    with pytest.raises(ComponentError, match=r"expected Starred to have named .* got \*sizes: give each argument a"):
        arguments(Starred(1, 2))


# --------------------------------------------------------------------------------------------- to_spec, from_spec

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    # The names below are those that a spec gives a meaning to.
    | st.text(max_size=4)
    | st.sampled_from(["tuple", "dict", "class", "args"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from(["tuple", "dict", "class", "args", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def same(a: Any, b: Any) -> bool:
    """Equal, with equal types all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(a == b)


@given(value=json_values)
def test_tuples_lists_and_dicts_are_kept_apart(value: Any) -> None:
    assert same(there_and_back(value), value)
    assert same(there_and_back(Holds(value), Holds).value, value)


@given(value=json_values)
def test_spec_text_of_a_value_evaluates_to_it(value: Any) -> None:
    assert same(eval(spec_text(to_spec(value)), {"__builtins__": {}}), value)  # noqa: S307 (that is the promise)


@pytest.mark.parametrize(
    "value", [torch.zeros(2), torch.relu, {1: 2}, {3}, 1j, b"x", object(), nn.ReLU, torch.float32, [torch.zeros(1)]]
)
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(
        ComponentError,
        match=r"arguments made of numbers, .*got (an? |the class ).*: keep a tensor",
    ):
        to_spec(value)
    with pytest.raises(ComponentError, match="expected constructor arguments"):
        to_spec(Holds(value))


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda: nn.Linear(4, 3), torch.randn(2, 4)),
        (lambda: nn.Linear(4, 3, bias=False), torch.randn(2, 4)),
        (lambda: nn.Conv2d(2, 4, 3, stride=2, padding=1), torch.randn(2, 2, 8, 8)),
        (lambda: nn.Conv2d(2, 4, (3, 5), padding="same", groups=2, bias=False), torch.randn(2, 2, 8, 8)),
        (lambda: nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect", dilation=1), torch.randn(2, 2, 8, 8)),
        (lambda: nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1), torch.randn(2, 2, 4, 4)),
        (lambda: nn.ConvTranspose2d(2, 3, 4, 2, 1, bias=False), torch.randn(2, 2, 4, 4)),
        (lambda: nn.BatchNorm1d(4), torch.randn(6, 4)),
        (lambda: nn.BatchNorm2d(2, eps=1e-3, momentum=0.3), torch.randn(2, 2, 4, 4)),
        (lambda: nn.BatchNorm2d(2, affine=False, track_running_stats=False), torch.randn(2, 2, 4, 4)),
        (lambda: nn.GroupNorm(2, 4), torch.randn(2, 4, 3, 3)),
        (lambda: nn.GroupNorm(2, 4, affine=False), torch.randn(2, 4, 3, 3)),
        (lambda: nn.LayerNorm(5), torch.randn(2, 5)),
        (lambda: nn.LayerNorm((3, 5), bias=False), torch.randn(2, 3, 5)),
        (lambda: nn.LayerNorm(5, elementwise_affine=False), torch.randn(2, 5)),
        (lambda: nn.InstanceNorm2d(2, affine=True), torch.randn(2, 2, 4, 4)),
        (lambda: nn.Dropout(0.3), torch.randn(2, 5)),
        (lambda: nn.Dropout2d(0.3), torch.randn(2, 5, 3, 3)),
        (lambda: nn.LeakyReLU(0.3), torch.randn(2, 5)),
        (lambda: nn.PReLU(5, init=0.1), torch.randn(2, 5)),
        (lambda: nn.ELU(0.5), torch.randn(2, 5)),
        (lambda: nn.GELU("tanh"), torch.randn(2, 5)),
        (nn.SiLU, torch.randn(2, 5)),
        (nn.Tanh, torch.randn(2, 5)),
        (lambda: nn.Softplus(2.0), torch.randn(2, 5)),
        (nn.Identity, torch.randn(2, 5)),
        (nn.Flatten, torch.randn(2, 3, 4)),
        (lambda: nn.Flatten(2), torch.randn(2, 3, 4, 5)),
        (lambda: nn.Unflatten(1, (2, 3)), torch.randn(4, 6)),
        (lambda: nn.MaxPool2d(2, stride=1, padding=1), torch.randn(2, 1, 5, 5)),
        (lambda: nn.MaxPool2d((2, 1)), torch.randn(2, 1, 5, 5)),
        (lambda: nn.AvgPool2d(2, ceil_mode=True), torch.randn(2, 1, 5, 5)),
        (lambda: nn.AdaptiveAvgPool2d((2, 3)), torch.randn(2, 1, 5, 5)),
        (lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), torch.randn(2, 1, 5, 5)),
        (lambda: nn.Upsample(size=(7, 9)), torch.randn(2, 1, 5, 5)),
        (lambda: nn.PixelShuffle(2), torch.randn(2, 4, 5, 5)),
        (lambda: nn.ZeroPad2d((1, 2, 0, 1)), torch.randn(2, 4, 5, 5)),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 2))), torch.randn(2, 4)),
        (nn.Sequential, torch.randn(2, 4)),
    ],
)
def test_modules_of_torch_need_no_help(make: Callable[[], nn.Module], x: Tensor) -> None:
    module = nn.Sequential(make()).eval()
    rebuilt = there_and_back(module).eval()
    assert to_spec(rebuilt) == to_spec(module)
    assert type(rebuilt[0]) is type(module[0])
    rebuilt.load_state_dict(module.state_dict())  # strict: the same names and shapes
    assert torch.equal(rebuilt(x), module(x))
    evaluated = eval(repr_of(module), {"__builtins__": {}}, vars(nn))  # noqa: S307 (that is the promise)
    assert to_spec(evaluated) == to_spec(module)


def repr_of(module: nn.Module) -> str:
    return spec_text(to_spec(module))


def test_a_module_list_is_rebuilt_as_one() -> None:
    part = Holds(nn.ModuleList([nn.Linear(2, 3), nn.ReLU()]))
    rebuilt = there_and_back(part, Holds)
    assert type(rebuilt.value) is nn.ModuleList
    assert [type(layer) for layer in rebuilt.value] == [nn.Linear, nn.ReLU]
    rebuilt.load_state_dict(part.state_dict())
    assert torch.equal(rebuilt.value[0].weight, part.value[0].weight)


def test_a_module_that_is_used_twice_in_a_row_of_layers_stays_in_both_places() -> None:
    activation = nn.ReLU()
    module = nn.Sequential(nn.Linear(4, 3), activation, nn.Linear(3, 2), activation)
    rebuilt = there_and_back(module)
    assert [type(layer) for layer in rebuilt] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU]
    rebuilt.load_state_dict(module.state_dict())
    x = torch.randn(20, 4)
    assert torch.equal(rebuilt(x), module(x))


def test_a_row_of_layers_with_names_keeps_them() -> None:
    module = nn.Sequential(OrderedDict(first=nn.Linear(4, 3), squash=nn.Tanh()))
    rebuilt = there_and_back(module)
    assert rebuilt.state_dict().keys() == module.state_dict().keys()


def test_a_users_layer_on_torchs_constructor_can_be_described() -> None:
    class Halved(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) / 2

    for part in (Halved(3, 2), Halved(3, 2, bias=False)):
        rebuilt = there_and_back(part, Halved)
        assert (rebuilt.in_features, rebuilt.out_features) == (3, 2)
        assert (rebuilt.bias is None) == (part.bias is None)


def test_a_users_row_of_layers_is_described_by_its_own_arguments() -> None:
    class Block(nn.Sequential):
        def __init__(self, width: int) -> None:
            super().__init__(nn.Linear(width, width), nn.ReLU())
            self.width = width

    assert arguments(Block(3)) == {"width": 3}
    assert len(there_and_back(Block(3), Block)) == 2


@pytest.mark.parametrize(
    "spec", [{}, {"class": "torch.nn.ReLU"}, {"args": {}}, {"class": "torch.nn.ReLU", "args": {}, "more": 1}, {"a": 1}]
)
def test_a_spec_with_other_keys_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(FileFormatError, match="expected a part described by its class and args, got the keys"):
        from_spec(spec, class_finder())


# ------------------------------------------------------------------------------------------------- class_finder


def test_mnistvaes_and_torchs_classes_are_found_without_a_list() -> None:
    find = class_finder()
    for part in (ConvEncoder(2), StandardNormal(2), ELBO(), VAE(2, (1, 4, 4)), nn.Linear(1, 1), nn.Sequential()):
        assert find(to_spec(part)["class"]) is type(part)


def test_mnistvaes_networks_are_found_without_a_list() -> None:
    part = GaussianEncoder(nn.Sequential(nn.Flatten(), MLP(16, (4,), 3)), 2)
    rebuilt = there_and_back(part)
    assert isinstance(rebuilt.trunk[1], MLP)


def test_a_users_class_is_found_once_it_is_listed() -> None:
    assert isinstance(there_and_back(Scale(3.0), Scale), Scale)
    assert isinstance(there_and_back(Scale(3.0), Shifted, Scale), Scale)


def test_a_users_class_that_is_not_listed_is_refused_by_name() -> None:
    spec = to_spec(Scale())
    with pytest.raises(FileFormatError, match=r"expected the class 'Scale' .*got classes=\[\]: .*classes=\[Scale\]"):
        from_spec(spec, class_finder())
    with pytest.raises(FileFormatError, match=r"\(defined in .*test_component\) .*got classes=\[Shifted, Holds\]"):
        from_spec(spec, class_finder([Shifted, Holds]))


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "builtins:eval",
        "torch.nn.functional.relu",
        "torch.nn.init",
        "torch.nn.Parameter",
        "torch.nn.Missing",
        "mnistvae.save",
        "mnistvae.io:load",
        "ReLU",
        "",
        ":",
        ".",
    ],
)
def test_nothing_else_is_ever_found(name: str) -> None:
    with pytest.raises(FileFormatError, match=r"expected the class .* to be allowed"):
        class_finder([Scale])(name)


def test_two_classes_of_one_name_are_refused() -> None:
    other = type("Scale", (nn.Module,), {"__qualname__": "Scale"})
    with pytest.raises(ComponentError, match="expected classes with different names, got two named Scale: rename"):
        class_finder([Scale, other])
    assert class_finder([Scale, Scale])("x:Scale") is Scale


@pytest.mark.parametrize("wrong", [nn.ReLU(), "Scale", int, None, torch.relu])
def test_the_list_holds_classes_of_modules(wrong: Any) -> None:
    with pytest.raises(ComponentError, match=r"expected classes to hold subclasses of torch\.nn\.Module, got"):
        class_finder([wrong])


# --------------------------------------------------------------------------------------------------------- clone


def test_clone_has_the_same_arguments_and_fresh_weights() -> None:
    part = TwiceShifted(again=4, offset=1, factor=3.0)
    twin = clone(part)
    assert type(twin) is TwiceShifted
    assert arguments(twin) == arguments(part)
    assert not torch.equal(twin.weight, part.weight)


def test_clone_copies_whole_models_with_a_users_parts() -> None:
    model = VAE(2, (1, 4, 4), encoder=GaussianEncoder(nn.Sequential(Scale(), nn.Flatten()), 2))
    twin = clone(model)
    assert to_spec(twin) == to_spec(model)
    assert twin.encoder.trunk[0] is not model.encoder.trunk[0]


def test_clone_tells_a_users_class_from_mnistvaes_of_the_same_name() -> None:
    class Named(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)

    Named.__name__ = Named.__qualname__ = "MLP"
    model = VAE(2, (1, 4, 4), encoder=GaussianEncoder(Named(), 2), decoder=MLPDecoder(2, (1, 4, 4)))
    twin = clone(model)
    assert type(twin.encoder.trunk) is Named
    assert type(twin.decoder) is MLPDecoder


# ----------------------------------------------------------------------------------------------- spec_text, repr


def test_repr_is_one_line_while_it_fits_and_folded_where_not() -> None:
    settings = "beta=2.0, schedule=None, free_bits=0.0, capacity=None, num_samples=1, gradient='plain'"
    assert repr(ELBO(2.0)) == f"ELBO({settings})"
    part = GaussianEncoder(nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU()), 2)
    assert repr(part) == (
        "GaussianEncoder(\n"
        "    trunk=Sequential(\n"
        "        Flatten(start_dim=1, end_dim=-1),\n"
        "        Linear(in_features=784, out_features=64, bias=True),\n"
        "        ReLU(inplace=False),\n"
        "    ),\n"
        "    latent_dim=2,\n"
        "    num_classes=None,\n"
        ")"
    )


def test_repr_names_a_users_local_class_shortly() -> None:
    class Local(nn.Module):
        pass

    assert spec_text(to_spec(Local())) == "Local()"


def test_a_tuple_of_one_is_written_as_one() -> None:
    assert spec_text(to_spec((1,))) == "(1,)"
    assert spec_text(to_spec(())) == "()"
    assert spec_text(to_spec((1, [2], {"a": "b"}))) == "(1, [2], {'a': 'b'})"


def test_repr_never_fails() -> None:
    class Careless(Component):
        def __init__(self, width: int) -> None:
            super().__init__()

    assert repr(Careless(3)) == "Careless(...)"


# ------------------------------------------------------------------------------------------- where in the tree it is


def test_an_error_tells_the_place_of_the_part() -> None:
    inner = nn.Sequential(nn.Flatten(), Forgets(3))
    with pytest.raises(ComponentError, match=r"^Holds\.value\.1: expected Forgets to keep its constructor argument"):
        to_spec(Holds(inner))
    with pytest.raises(ComponentError, match=r"^model\.value\.1: expected Forgets to keep its constructor argument"):
        to_spec(Holds(inner), "model")
    with pytest.raises(ComponentError, match=r"^Holds\.value\[1\]\['a'\]: expected constructor arguments made of"):
        to_spec(Holds((1, {"a": torch.relu})))
    spec = to_spec(Holds([Holds(1)]))
    with pytest.raises(FileFormatError, match=r"^model\.value\[0\]: expected the class 'Holds' .* to be allowed"):
        from_spec(spec, class_finder(), "model")
    spec["args"]["value"][0]["args"] = {"other": 1}
    message = r"^model\.value\[0\]: expected Holds to be made again .*, got TypeError: .*other"
    with pytest.raises(ComponentError, match=message):
        from_spec(spec, class_finder([Holds]), "model")
    spec["args"]["value"][0] = {"class": "mnistvae.StandardNormal", "args": {"latent_dim": 0}}
    with pytest.raises(SettingError, match=r"^model\.value\[0\]: expected latent_dim as an integer .*, got 0"):
        from_spec(spec, class_finder([Holds]), "model")


def test_the_innermost_place_is_kept_and_survives_pickling() -> None:
    error = ComponentError("a part", "another", "change it").at("model.encoder")
    assert error.at("model") is error
    same_error = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own)
    assert str(same_error) == str(error) == "model.encoder: expected a part, got another: change it"
