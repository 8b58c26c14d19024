"""Models on disk: what is saved comes back bit for bit, and nothing else is ever taken for a model."""

from __future__ import annotations

import ast
import errno
import json
import os
import stat
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

import mnistvae
from mnistvae._tensorfile import Kind, read_tensors
from mnistvae._version import __version__
from mnistvae.errors import ComponentError, FileFormatError, MnistvaeError, OutputError, SettingError
from mnistvae.io import FORMAT_VERSION, load, read, save
from mnistvae.likelihoods import Bernoulli
from mnistvae.models import VAE, BetaVAE, ConditionalVAE
from mnistvae.networks import (
    MLP,
    ConvDecoder,
    ConvEncoder,
    GaussianEncoder,
    MLPDecoder,
    MLPEncoder,
    TrunkDecoder,
)
from mnistvae.objectives import ELBO
from mnistvae.priors import StandardNormal

SMALL = (1, 3, 3)


def tiny() -> VAE:
    return VAE(1, SMALL, encoder=MLPEncoder(1, SMALL, hidden=(2,)), decoder=MLPDecoder(1, SMALL, hidden=(2,)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A small model file."""
    return save(tiny(), tmp_path / "vae.safetensors", {"epochs": 3})


def assert_same(loaded: VAE, model: VAE) -> None:
    """Equal in type, structure, bits and behaviour."""
    assert type(loaded) is type(model)
    assert repr(loaded) == repr(model)
    mine, other = model.state_dict(), loaded.state_dict()
    assert list(mine) == list(other)
    for name, tensor in mine.items():
        assert other[name].dtype is tensor.dtype, name
        assert torch.equal(other[name], tensor), name
    model = model.eval()
    x = torch.rand(4, *model.image_shape, generator=torch.Generator().manual_seed(1))
    y = None if model.num_classes is None else torch.arange(4) % model.num_classes
    assert torch.equal(loaded.encode(x, y).mean, model.encode(x, y).mean)
    assert torch.equal(loaded.encode(x, y).stddev, model.encode(x, y).stddev)
    assert torch.equal(loaded.reconstruct(x, y), model.reconstruct(x, y))
    torch.manual_seed(2)
    terms = loaded.loss(x, y).by_name()
    torch.manual_seed(2)
    same = model.loss(x, y).by_name()
    assert all(torch.equal(terms[name], same[name]) for name in terms.keys() | same.keys())


# ------------------------------------------------------------------------------------------------- what comes back

sizes = st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple)


@st.composite
def models(draw: st.DrawFn) -> VAE:
    """Models of every kind that mnistvae can make by itself."""
    latent_dim, classes = draw(st.integers(1, 4)), draw(st.none() | st.integers(1, 5))
    conv = draw(st.booleans())
    side = st.integers(8, 13) if conv else st.integers(1, 7)
    shape = (draw(st.integers(1, 3)), draw(side), draw(side))
    widths, more_widths = draw(sizes), draw(sizes)
    activation = draw(st.sampled_from([None, nn.LeakyReLU(0.2), nn.Tanh()]))
    parts: dict[str, Any] = {}
    if conv:
        parts["encoder"] = ConvEncoder(latent_dim, shape, widths, activation, classes)
        parts["decoder"] = ConvDecoder(latent_dim, shape, more_widths, activation, classes)
    else:
        parts["encoder"] = MLPEncoder(latent_dim, shape, widths, activation, classes)
        parts["decoder"] = MLPDecoder(latent_dim, shape, more_widths, activation, classes)
    kind = draw(st.sampled_from([VAE, BetaVAE, ConditionalVAE]))
    if kind is BetaVAE:
        return BetaVAE(latent_dim, draw(st.floats(0, 10)), shape, num_classes=classes, **parts)
    parts |= {"likelihood": Bernoulli(), "prior": StandardNormal(latent_dim), "objective": ELBO(draw(st.floats(0, 9)))}
    if kind is ConditionalVAE and classes is not None:
        return ConditionalVAE(latent_dim, classes, shape, **parts)
    return VAE(latent_dim, shape, num_classes=classes, **parts)


@given(model=models())
def test_what_is_saved_comes_back_bit_for_bit(model: VAE, tmp_path: Path) -> None:
    path = save(model, tmp_path / "vae.safetensors")
    assert path == tmp_path / "vae.safetensors"
    assert_same(load(path), model)


@pytest.mark.parametrize("make", [lambda: VAE(2), lambda: BetaVAE(3, 2.0), lambda: ConditionalVAE(2), tiny])
def test_default_models_come_back(make: Any, tmp_path: Path) -> None:
    model = make()
    assert_same(load(save(model, tmp_path / "vae.safetensors")), model)


def digest(path: Path) -> str:
    """The SHA-256 that the file carries; the order of a safetensors header is not fixed."""
    content = path.read_bytes()
    text: str = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])["__metadata__"]["sha256"]
    return text


def test_saving_again_gives_the_same_content(tmp_path: Path) -> None:
    model = tiny()
    first = save(model, tmp_path / "a")
    assert digest(save(model, tmp_path / "b")) == digest(first)
    assert digest(save(load(first), tmp_path / "c")) == digest(first)
    assert digest(save(tiny(), tmp_path / "d")) != digest(first)
    assert digest(save(model, tmp_path / "e", {"epochs": 3})) != digest(first)
    assert len(digest(first)) == 64


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_dtype_comes_back(dtype: torch.dtype, tmp_path: Path) -> None:
    model = VAE(2, (1, 8, 8)).to(dtype)
    if dtype is torch.float64:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1e-12)  # digits that float32 does not have
    loaded = load(save(model, tmp_path / "vae.safetensors"))
    assert loaded.dtype is dtype
    assert_same(loaded, model)
    assert loaded.sample(2).dtype is dtype


def test_buffers_and_unusual_values_come_back(tmp_path: Path) -> None:
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.BatchNorm1d(4))
    model = VAE(1, SMALL, encoder=GaussianEncoder(trunk, 1))
    model.train()
    for _ in range(3):
        model.loss(torch.rand(5, *SMALL))
    with torch.no_grad():
        weight = model.decoder.network.first.layer.weight
        weight.view(-1)[:4] = torch.tensor([float("inf"), -0.0, 1e-45, float("nan")])
    loaded = load(save(model, tmp_path / "vae.safetensors"))
    assert int(loaded.encoder.trunk[2].num_batches_tracked) == 3
    for name, tensor in model.state_dict().items():
        other = loaded.state_dict()[name]
        assert torch.equal(tensor.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8)), name


def test_weights_that_lie_strangely_in_memory_come_back(tmp_path: Path) -> None:
    model = VAE(2, (3, 8, 8)).to(memory_format=torch.channels_last)
    loaded = load(save(model, tmp_path / "vae.safetensors")).state_dict()
    assert not model.encoder.rest[1].weight.is_contiguous()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items())


def test_a_loaded_model_is_ready_to_use_and_to_train(file: Path) -> None:
    model = load(file)
    assert not any(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    before = file.read_bytes()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train().loss(torch.rand(4, *SMALL)).loss.mean().backward()
    optimizer.step()
    assert file.read_bytes() == before
    assert not torch.equal(load(file).decoder.network.first.layer.weight, model.decoder.network.first.layer.weight)


def test_saving_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model = tiny().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save(model, tmp_path / "vae.safetensors")
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_loading_leaves_the_global_random_state_alone(file: Path) -> None:
    before = torch.get_rng_state()
    load(file)
    assert torch.equal(torch.get_rng_state(), before)


# ------------------------------------------------------------------------------------------------- a user's classes


class Squeeze(nn.Module):
    """A user's trunk."""

    def __init__(self, width: int, rate: float = 0.5) -> None:
        super().__init__()
        self.width = width
        self.rate = rate
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(9, width), nn.Dropout(rate))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class Weighted(VAE):
    """A user's model."""

    def __init__(self, weight: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weight = weight


class Tied(nn.Module):
    """Two layers that share one weight."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x.flatten(1)).relu())
        return out


def test_a_users_classes_come_back_when_they_are_listed(tmp_path: Path) -> None:
    model = Weighted(3.0, latent_dim=1, image_shape=SMALL, encoder=GaussianEncoder(Squeeze(4, rate=0.25), 1))
    path = save(model, tmp_path / "vae.safetensors")
    loaded = load(path, classes=[Squeeze, Weighted])
    assert_same(loaded, model)
    assert isinstance(loaded, Weighted)
    assert (loaded.weight, loaded.encoder.trunk.rate) == (3.0, 0.25)
    with pytest.raises(FileFormatError, match=r"expected the class 'Weighted' .*got classes=\[Squeeze\]: import it"):
        load(path, classes=[Squeeze])
    for classes in ([Weighted], []):
        with pytest.raises(FileFormatError, match=r"expected the class 'Squeeze' .*: import it and pass classes=\[Squ"):
            load(path, classes=classes)
    with pytest.raises(ComponentError, match="expected classes to hold subclasses of"):
        load(path, classes=[Squeeze(4)])  # type: ignore[list-item]


def test_a_class_that_changed_since_is_told_of(tmp_path: Path) -> None:
    path = save(VAE(1, SMALL, encoder=GaussianEncoder(Squeeze(4), 1)), tmp_path / "vae.safetensors")

    class Renamed(nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()

    class Wider(Squeeze):
        def __init__(self, width: int, rate: float = 0.5) -> None:
            super().__init__(width + 1, rate)

    class Deeper(Squeeze):
        def __init__(self, width: int, rate: float = 0.5) -> None:
            super().__init__(width, rate)
            self.layers.append(nn.LayerNorm(width))

    again = r"here: model\.encoder\.trunk: expected Squeeze to be made again .*, got TypeError: .*did the class change"
    other = r"expected the parts named in .* to be built as they were saved, got .*: did a class change"
    for changed, message in ((Renamed, again), (Wider, other), (Deeper, other)):
        changed.__qualname__ = "Squeeze"
        with pytest.raises(FileFormatError, match=message):
            load(path, classes=[changed])


TRUNKS: dict[str, Any] = {
    "layers": lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 4, bias=False), nn.LayerNorm(4), nn.LeakyReLU(0.3)),
    "convolutions": lambda: nn.Sequential(nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
    "a shared activation": lambda: shared_activation(nn.Tanh()),
    "layers with names": lambda: nn.Sequential(OrderedDict(flat=nn.Flatten(), dense=nn.Linear(9, 4))),
    "an identity": lambda: nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(9, 4)),
    "mnistvae's own MLP": lambda: nn.Sequential(nn.Flatten(), MLP(9, (5,), 4)),
}


def shared_activation(activation: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 4), activation, nn.Linear(4, 4), activation)


@pytest.mark.parametrize("trunk", list(TRUNKS))
def test_a_trunk_of_known_layers_needs_no_list(trunk: str, tmp_path: Path) -> None:
    decoder = TrunkDecoder(nn.Sequential(nn.Linear(1, 4), nn.Unflatten(1, (4, 1, 1)), nn.Upsample(3), pick()), 1, SMALL)
    model = VAE(1, SMALL, encoder=GaussianEncoder(TRUNKS[trunk](), 1), decoder=decoder)
    assert_same(load(save(model, tmp_path / "vae.safetensors")), model)


def pick() -> nn.Module:
    return nn.Conv2d(4, 1, 1)


def test_tied_weights_come_back_tied(tmp_path: Path) -> None:
    model = VAE(1, SMALL, encoder=GaussianEncoder(Tied(9), 1))
    loaded = load(save(model, tmp_path / "vae.safetensors"), classes=[Tied])
    assert_same(loaded, model)
    trunk = loaded.encoder.trunk
    assert trunk.first.weight.data_ptr() == trunk.second.weight.data_ptr()
    assert len(list(loaded.parameters())) == len(list(model.parameters()))


# ------------------------------------------------------------------------------------------------------- metadata

json_objects = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


@given(metadata=json_objects)
def test_metadata_comes_back(metadata: dict[str, Any], tmp_path: Path) -> None:
    content = read(save(tiny(), tmp_path / "vae.safetensors", metadata))
    assert content.metadata == metadata
    assert content.version == __version__


def test_a_file_is_read_without_building_its_classes(tmp_path: Path) -> None:
    model = VAE(1, SMALL, encoder=GaussianEncoder(Squeeze(4), 1))
    content = read(save(model, tmp_path / "vae.safetensors"))
    assert content.metadata == {}
    assert content.spec["class"] == "mnistvae.VAE"
    assert content.spec["args"]["encoder"]["args"]["trunk"]["args"] == {"width": 4, "rate": 0.5}
    assert content.tensors.keys() == model.state_dict().keys()


@pytest.mark.parametrize("metadata", [{"loss": float("nan")}, {"x": torch.zeros(1)}, {"x": {1, 2}}])
def test_metadata_that_json_cannot_hold_is_refused(metadata: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(MnistvaeError, match="metadata"):
        save(tiny(), tmp_path / "vae.safetensors", metadata)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("inf"), float("nan"), torch.zeros(1), torch.relu])
def test_a_part_that_json_cannot_hold_is_refused(value: Any, tmp_path: Path) -> None:
    trunk = Squeeze(4)
    trunk.rate = value
    with pytest.raises(ComponentError, match="expected constructor arguments"):
        save(VAE(1, SMALL, encoder=GaussianEncoder(trunk, 1)), tmp_path / "vae.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [nn.Linear(1, 1), MLPEncoder(1, SMALL), {}, None])
def test_only_models_are_saved(wrong: Any, tmp_path: Path) -> None:
    with pytest.raises(ComponentError, match=r"expected a mnistvae model to save, got .*: pass a VAE"):
        save(wrong, tmp_path / "vae.safetensors")


# ---------------------------------------------------------------------------------------- what is no model, or damaged


def test_what_is_not_there_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"expected a model file at .*none, got nothing: check the path"):
        load(tmp_path / "none")
    with pytest.raises(FileFormatError, match=r"got nothing: check the path, or call pretrained\('conv'\) for a ready"):
        load("conv")
    with pytest.raises(FileFormatError, match=r"got nothing: check the path$"):  # of other kinds none is ready
        read_tensors("conv", Kind("mnistvae-other", 1, "file of another kind", "take another"))
    with pytest.raises(FileFormatError, match=r"expected a model file at .*, got a folder: check the path"):
        load(tmp_path)
    save(tiny(), tmp_path / "model.safetensors")
    with pytest.raises(FileFormatError, match=r"got a folder: pass .*model\.safetensors"):
        load(str(tmp_path))


def reframed(content: bytes, metadata: dict[str, str | None]) -> bytes:
    """A safetensors file with another header."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    for key, value in metadata.items():
        if value is None:
            del header["__metadata__"][key]
        else:
            header["__metadata__"][key] = value
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + content[8 + length :]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 8,
        b"\xff" * 64,
        b"\0" * 1000,
        b"PK\x03\x04" + b"\0" * 100,
        b"\x80\x02}q\0.",
        b"not a model\n" * 50,
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 10**15) + b"{}",
        struct.pack("<Q", 8) + b"\xff" * 8,
    ],
)
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "vae.safetensors"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"expected .*vae\.safetensors to be a model"):
        load(path)


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"sha256": "0"}])
def test_safetensors_of_something_else_are_refused(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, path, metadata)
    with pytest.raises(
        FileFormatError, match=r"expected .* to be a model file of mnistvae's, got safetensors of something"
    ):
        load(path)


def test_a_newer_format_is_refused_with_the_way_out(file: Path) -> None:
    content = reframed(file.read_bytes(), {"format_version": str(FORMAT_VERSION + 1), "mnistvae_version": "9.9"})
    file.write_bytes(content)
    message = rf"expected format version {FORMAT_VERSION} or older in .*, got version {FORMAT_VERSION + 1}, written by "
    with pytest.raises(FileFormatError, match=message + r"mnistvae 9\.9: upgrade: pip install -U mnistvae"):
        load(file)


@pytest.mark.parametrize(
    "metadata",
    [
        {"format_version": None},
        {"format_version": "one"},
        {"format_version": "0"},
        {"format_version": "-1"},
        {"sha256": None},
        {"sha256": ""},
        {"sha256": "0" * 64},
        {"spec": None},
        {"spec": "{}"},
        {"metadata": None},
        {"metadata": "{}"},
    ],
)
def test_a_changed_header_is_refused(metadata: dict[str, str | None], file: Path) -> None:
    file.write_bytes(reframed(file.read_bytes(), metadata))
    with pytest.raises(FileFormatError, match="to match its SHA-256, got other content: the file is damaged"):
        load(file)


def signed(file: Path, spec: str, extra: str = "{}") -> None:
    """Another description in the file of a model, with a digest that fits it: nothing keeps a stranger from that."""
    # What the digest covers is the format's own affair: take down the one that a first attempt to read computes.
    from mnistvae import _tensorfile

    seen: list[str] = []
    original = _tensorfile.digest

    def record(*args: Any) -> str:
        seen.append(original(*args))
        return seen[-1]

    content = file.read_bytes()
    file.write_bytes(reframed(content, {"spec": spec, "metadata": extra}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_tensorfile, "digest", record)
        with pytest.raises(FileFormatError, match="SHA-256"):
            read(file)
    file.write_bytes(reframed(content, {"spec": spec, "metadata": extra, "sha256": seen[-1]}))


PART = '{"class": "torch.nn.%s", "args": %s}'
MODEL = '{"class": "mnistvae.VAE", "args": {"latent_dim": %s, "image_shape": {"tuple": [1, 3, 3]}, "encoder": %s}}'


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "{",
        "null",
        "3",
        '"mnistvae.VAE"',
        "[]",
        "{}",
        '{"class": "os:system", "args": {"command": "false"}}',
        '{"class": "mnistvae.VAE", "args": []}',
        '{"class": 3, "args": {}}',
        '{"class": "mnistvae.VAE", "args": {}}',
        '{"class": "mnistvae.Encoder", "args": {}}',
        '{"class": "mnistvae.StandardNormal", "args": {"latent_dim": 2}}',
        '{"tuple": 3}',
        '{"dict": 3}',
        MODEL % ("1", '"conv"'),
        MODEL % ("1", "[]"),
        MODEL % ("0", "null"),
        MODEL % ("1e400", "null"),
        MODEL % ("1", PART % ("Flatten", "{}")),
        MODEL % ("1", PART % ("GroupNorm", '{"num_groups": 0, "num_channels": 4}')),
        MODEL % ("1", PART % ("Unflatten", '{"dim": 1, "unflattened_size": []}')),
        MODEL % ("1", PART % ("Conv2d", '{"in_channels": 1, "out_channels": 1, "kernel_size": [], "groups": 0}')),
        MODEL % ("1", "[" * 5000 + "]" * 5000),
    ],
    ids=lambda spec: spec[:80],
)
def test_a_description_that_describes_no_model_is_refused(spec: str, file: Path) -> None:
    signed(file, spec)
    with pytest.raises(FileFormatError, match="expected"):
        load(file)


def test_metadata_that_is_no_json_is_refused(file: Path) -> None:
    signed(file, json.dumps(read(file).spec), "{")
    with pytest.raises(FileFormatError, match="expected"):
        load(file)


def test_a_flipped_bit_is_noticed_wherever_it_is(file: Path) -> None:
    content = file.read_bytes()
    unnoticed = []
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        file.write_bytes(damaged)
        try:
            load(file)
        except FileFormatError:
            continue
        unnoticed.append((position, content[max(0, position - 20) : position + 20]))
    assert len(content) > 1000
    assert unnoticed == []


@given(place=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
@settings(max_examples=150)
def test_any_other_damage_of_the_tensors_is_noticed(place: float, mask: int, file: Path) -> None:
    content = save(tiny(), file).read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    damaged = bytearray(content)
    damaged[start + int(place * (len(content) - start))] ^= mask
    file.write_bytes(damaged)
    with pytest.raises(FileFormatError, match=r"to match its SHA-256, got other content: .*restore a copy"):
        load(file)


def test_a_shortened_file_is_refused_at_every_length(file: Path) -> None:
    content = file.read_bytes()
    for length in [*range(0, len(content), 7), len(content) - 1]:
        file.write_bytes(content[:length])
        with pytest.raises(FileFormatError, match="to be a model"):
            load(file)
    file.write_bytes(content + b"\0")
    with pytest.raises(FileFormatError, match="to be a model"):
        load(file)


def test_a_header_that_is_only_written_otherwise_is_no_damage(file: Path) -> None:
    model = load(file)
    content = file.read_bytes()
    file.write_bytes(reframed(content, {}))  # with spaces between its keys and values
    assert len(file.read_bytes()) > len(content)
    assert_same(load(file), model)


# ------------------------------------------------------------------------------------------------ writing that fails


def full_disk(*args: object, **kwargs: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("names", [["os.fsync"], ["os.replace", "pathlib.Path.replace"], ["os.fdopen"]])
def test_a_failed_save_leaves_the_earlier_file_and_nothing_else(
    names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tiny()
    path = save(first, tmp_path / "vae.safetensors")
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        for name in names:
            patch.setattr(name, full_disk)
        with pytest.raises(
            OutputError, match=r"expected to write .*vae\.safetensors, got No space left on device: free some space"
        ):
            save(tiny(), path)
    assert path.read_bytes() == before
    assert_same(load(path), first)
    assert [entry.name for entry in tmp_path.iterdir()] == ["vae.safetensors"]


@pytest.mark.parametrize("name", ["os.fsync", "pathlib.Path.replace"])
def test_a_failed_first_save_leaves_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name, full_disk)
    with pytest.raises(OutputError, match="No space left"):
        save(tiny(), tmp_path / "vae.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_outgrows_what_the_system_allows_leaves_the_earlier_one(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    first = tiny()
    path = save(first, tmp_path / "vae.safetensors")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OutputError, match=r"expected to write .*, got File too large: free some space"):
            save(tiny(), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_same(load(path), first)
    assert [entry.name for entry in tmp_path.iterdir()] == ["vae.safetensors"]


def test_a_save_that_is_interrupted_leaves_the_earlier_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    path = save(tiny(), tmp_path / "vae.safetensors")
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(tiny(), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["vae.safetensors"]


@pytest.mark.parametrize("below", ["vae.safetensors", "deeper/vae.safetensors"])
def test_a_folder_that_cannot_be_made_is_told_of(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"expected a folder to write at .*file.*: choose another folder"):
        save(tiny(), tmp_path / "file" / below)
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_folder_in_the_place_of_the_file_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "vae.safetensors").mkdir()
    with pytest.raises(OutputError, match=r"expected a file to write at .*vae\.safetensors, got a folder"):
        save(tiny(), tmp_path / "vae.safetensors")
    assert [entry.name for entry in tmp_path.iterdir()] == ["vae.safetensors"]


def test_folders_are_made_and_earlier_files_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "vae.safetensors"
    save(tiny(), str(path))
    second = tiny()
    save(second, path)
    assert_same(load(str(path)), second)
    assert [entry.name for entry in path.parent.iterdir()] == ["vae.safetensors"]


def test_a_file_has_the_mode_that_a_plain_one_would_have(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    path = save(tiny(), tmp_path / "vae.safetensors")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    path.chmod(0o640)
    save(tiny(), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


# ---------------------------------------------------------------------------------------------------------- no pickle


def test_the_source_neither_imports_pickle_nor_calls_a_loader_that_does() -> None:
    unsafe_modules = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    unsafe_calls = {"torch.load", "torch.save", "torch.export.load", "torch.jit.load", "torch.package"}
    found = []
    files = list(Path(mnistvae.__file__).parent.rglob("*.py"))
    for source in files:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Attribute):
                names = [ast.unparse(node)]
            elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                names = [] if isinstance(node.value, ast.Constant) and node.value.value is False else ["pickle"]
            found += [
                (source.name, name)
                for name in names
                if name.partition(".")[0] in unsafe_modules or name in unsafe_calls
            ]
    assert len(files) > 20
    assert found == []


# --------------------------------------------------------------------- what could not be made again is not written


def _replaced() -> VAE:
    model = VAE(2, (1, 8, 8))
    model.encoder.rest[0] = nn.SiLU()
    return model


def _steeper() -> VAE:
    model = VAE(2, (1, 8, 8), encoder=ConvEncoder(2, (1, 8, 8), activation=nn.LeakyReLU(0.2)))
    model.encoder.rest[0] = nn.LeakyReLU(0.5)
    return model


def _normalised() -> VAE:
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(64, 4))
    return VAE(2, (1, 8, 8), encoder=GaussianEncoder(nn.Sequential(nn.Flatten(), layer), 2))


class Widened(nn.Module):
    """Keeps another width than it was given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = 2 * width
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, self.width))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (_replaced, r"the same layers .*got ReLU\(\) for SiLU\(\) at encoder\.rest\.0"),
        (_steeper, r"LeakyReLU\(negative_slope=0\.2\) for LeakyReLU\(negative_slope=0\.5\) at encoder\.rest\.0"),
        (_normalised, "expected "),
        (lambda: VAE(2, (1, 8, 8), encoder=GaussianEncoder(Widened(3), 2)), r"got \(12, 64\) for \(6, 64\)"),
    ],
    ids=["replaced", "other settings", "parametrized", "widened"],
)
def test_what_could_not_be_loaded_is_not_saved(tmp_path: Path, model: Any, message: str) -> None:
    path = tmp_path / "vae.safetensors"
    path.write_bytes(b"earlier")
    with pytest.raises(ComponentError, match=message):
        save(model(), path)
    assert path.read_bytes() == b"earlier"


def test_saving_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    model = VAE(2, (1, 8, 8))
    before = torch.get_rng_state()
    save(model, tmp_path / "vae.safetensors")
    assert torch.equal(torch.get_rng_state(), before)


def test_tensors_outlive_the_file(tmp_path: Path) -> None:
    path = save(VAE(2, (1, 8, 8)), tmp_path / "vae.safetensors")
    file = read(path)
    before = {name: tensor.clone() for name, tensor in file.tensors.items()}
    path.write_bytes(b"")  # a mapping of the file would end in a bus error
    assert all(torch.equal(tensor, before[name]) for name, tensor in file.tensors.items())


def test_slips_in_the_arguments_are_named(tmp_path: Path) -> None:
    model = VAE(2, (1, 8, 8))
    with pytest.raises(ComponentError, match="metadata as a dict, got a str"):
        save(model, tmp_path / "vae.safetensors", "a note")  # type: ignore[arg-type]
    path = save(model, tmp_path / "vae.safetensors")
    with pytest.raises(ComponentError, match=r"classes as a list, got the class Widened: classes=\[Widened\]"):
        load(path, classes=Widened)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="a device of this machine, got 'nowhere'"):
        load(path, device="nowhere")


def test_the_same_model_is_the_same_file(tmp_path: Path) -> None:
    vae = VAE(2, (1, 8, 8))
    files = {save(vae, tmp_path / f"{n}.safetensors", {"b": 1, "a": "ä\n"}).read_bytes() for n in range(8)}
    assert len(files) == 1


@pytest.mark.filterwarnings("ignore")
def test_a_quantized_model_is_to_be_saved_before(tmp_path: Path) -> None:
    from torch.ao.quantization import quantize_dynamic

    quantized = quantize_dynamic(VAE(latent_dim=2).eval(), {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(ComponentError, match=r"plain tensors in the model's state_dict, got .* at encoder\..*: save"):
        save(quantized, tmp_path / "a.safetensors")
    sparse = VAE(latent_dim=2)
    weight = sparse.encoder.get_parameter("rest.6.weight")
    sparse.encoder.get_submodule("rest.6").weight = nn.Parameter(weight.detach().to_sparse())  # type: ignore[assignment]
    with pytest.raises(
        ComponentError, match=r"got torch\.float32, torch\.sparse_coo at encoder\.rest\.6\.weight: save"
    ):
        save(sparse, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())
