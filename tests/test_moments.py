"""What a checkpoint says of an optimizer is compared with the weights before torch's kernels walk over it."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mnistvae import VAE, ImageDataset, Trainer
from mnistvae._random import seeded
from mnistvae.errors import FileFormatError, MnistvaeError
from mnistvae.networks import MLPDecoder, MLPEncoder
from mnistvae.training import Checkpoint, read_checkpoint
from mnistvae.training.checkpoints import write_checkpoint
from mnistvae.training.optimizers import load_optimizer, make_optimizer

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "Adam": torch.optim.Adam,
    "AdamW": torch.optim.AdamW,
    "one at a time": functools.partial(torch.optim.Adam, foreach=False),
    "foreach": functools.partial(torch.optim.Adam, foreach=True),
    "momentum": functools.partial(torch.optim.SGD, momentum=0.9),
    "RMSprop": torch.optim.RMSprop,
    "NAdam": torch.optim.NAdam,
    "Adagrad": torch.optim.Adagrad,
    "Adafactor": torch.optim.Adafactor,
}


def conv(seed: int = 0) -> list[nn.Parameter]:
    """Weights of which one has its channels last in memory."""
    generator = torch.Generator().manual_seed(seed)
    kernel = torch.randn(4, 3, 2, 5, generator=generator).to(memory_format=torch.channels_last)
    return [nn.Parameter(kernel), nn.Parameter(torch.randn(6, 4, generator=generator))]


def step(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in weights:
        weight.grad = torch.empty_like(weight).copy_(torch.randn(weight.shape, generator=generator))
    optimizer.step()


def saved(optimizer: torch.optim.Optimizer) -> Any:
    """Its state as a file gives it back: contiguous."""
    state = copy.deepcopy(optimizer.state_dict())
    for one in state["state"].values():
        for name, value in one.items():
            one[name] = value.contiguous().clone() if isinstance(value, Tensor) else value
    return state


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_moments_go_on_in_the_layout_of_their_weights(kind: str) -> None:
    weights = conv()
    optimizer = make_optimizer(OPTIMIZERS[kind], weights, 0.1)
    step(optimizer, weights, 1)
    resumed = [nn.Parameter(weight.detach().clone()) for weight in weights]
    other = make_optimizer(OPTIMIZERS[kind], resumed, 0.1)
    load_optimizer(other, saved(optimizer))
    step(optimizer, weights, 2)
    step(other, resumed, 2)
    for weight, again in zip(weights, resumed, strict=True):
        assert torch.equal(weight, again)


@settings(deadline=None, max_examples=25)
@given(
    kind=st.sampled_from(sorted(OPTIMIZERS)),
    shape=st.lists(st.integers(0, 7), max_size=3),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.int64, torch.complex64]),
    pick=st.integers(0, 20),
)
def test_moments_of_another_shape_or_dtype_are_refused(
    kind: str, shape: list[int], dtype: torch.dtype, pick: int
) -> None:
    weights = conv()
    optimizer = make_optimizer(OPTIMIZERS[kind], weights, 0.1)
    step(optimizer, weights, 1)
    state = saved(optimizer)
    places = [(one, name) for one in state["state"].values() for name in one if isinstance(one[name], Tensor)]
    one, name = places[pick % len(places)]
    wrong = torch.ones(shape).to(dtype)
    if (wrong.shape, wrong.dtype) == (one[name].shape, one[name].dtype):
        return
    one[name] = wrong
    with pytest.raises(FileFormatError, match=name):
        load_optimizer(make_optimizer(OPTIMIZERS[kind], conv(), 0.1), state)


@pytest.mark.parametrize("change", ["missing", "others", "a word", "a setting"])
def test_states_that_are_not_those_of_the_optimizer(change: str) -> None:
    weights = conv()
    optimizer = make_optimizer(torch.optim.Adam, weights, 0.1)
    step(optimizer, weights, 1)
    state = saved(optimizer)
    if change == "missing":
        del state["state"][0]["exp_avg_sq"]
    elif change == "others":
        state["state"][2] = state["state"][1]
    elif change == "a word":
        state["state"][0]["exp_avg"] = "exp_avg"
    else:
        state["param_groups"][0]["fused"] = "yes"
    with pytest.raises(FileFormatError):
        load_optimizer(make_optimizer(torch.optim.Adam, conv(), 0.1), state)


class Private(torch.optim.SGD):
    """An optimizer that cannot be copied."""

    def __deepcopy__(self, memo: object) -> Any:
        raise TypeError("no copies")


def test_an_optimizer_that_cannot_be_copied_goes_on_too() -> None:
    weights = conv()
    make = functools.partial(Private, momentum=0.9)
    optimizer = make_optimizer(make, weights, 0.1)
    step(optimizer, weights, 1)
    other = make_optimizer(make, resumed := conv(), 0.1)
    load_optimizer(other, saved(optimizer))
    assert torch.equal(other.state[resumed[0]]["momentum_buffer"], optimizer.state[weights[0]]["momentum_buffer"])


def data() -> ImageDataset:
    return ImageDataset(torch.rand(24, 8, 8, generator=torch.Generator().manual_seed(3)))


def small() -> VAE:
    shape = (1, 8, 8)
    return VAE(2, shape, encoder=MLPEncoder(2, shape, hidden=(4,)), decoder=MLPDecoder(2, shape, hidden=(4,)))


def trained(folder: Path, epochs: int, make: Callable[[], VAE] = small, **how: Any) -> VAE:
    with seeded(0):
        model = make().to(memory_format=torch.channels_last)
    trainer = Trainer(epochs, 8, progress=False, device="cpu", ema=0.9, callbacks=[Checkpoint(folder)])
    trainer.fit(model, data(), **how)
    return model


def test_a_model_with_its_channels_last_is_resumed_to_the_bit(tmp_path: Path) -> None:
    make = functools.partial(VAE, 2, (1, 8, 8))
    trained(tmp_path / "half", 1, make)
    resumed = trained(tmp_path / "half", 2, make, resume=tmp_path / "half")
    whole = trained(tmp_path / "whole", 2, make)
    for one, other in zip(resumed.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def _cut(value: Any) -> Any:
    return {int: "5", float: [], str: 3, list: {"a": 1}, dict: [1]}.get(type(value))


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("begun")
    trained(folder, 1)
    return next(folder.glob("*.safetensors"))


def test_checkpoints_of_the_right_form_and_the_wrong_content(begun: Path, tmp_path: Path) -> None:
    whole = read_checkpoint(begun)
    for name in whole.info:
        for change in ("gone", "wrong"):
            snapshot = whole._replace(info=json.loads(json.dumps(whole.info)))
            if change == "gone":
                del snapshot.info[name]
            else:
                snapshot.info[name] = _cut(snapshot.info[name])
            path = write_checkpoint(tmp_path, snapshot._replace(info=snapshot.info | {"step": 3}))
            if name in {"step", "terms", "stop"}:  # the step is in the name; the others have a usual value
                continue
            with pytest.raises(MnistvaeError):
                trained(tmp_path / "new", 2, resume=path)
    for name in whole.tensors:
        tensors = {key: value for key, value in whole.tensors.items() if key != name}
        for changed in (tensors, tensors | {name: torch.zeros(2, 3, 5, 7, dtype=torch.float64)}):
            path = write_checkpoint(tmp_path, whole._replace(tensors=changed))
            with pytest.raises(MnistvaeError):
                trained(tmp_path / "new", 2, resume=path)
