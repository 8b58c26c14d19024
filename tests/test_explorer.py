"""``mnistvae explore`` and its page, without a browser: what is in it, what it refuses, where it goes."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import mnistvae as mv
from mnistvae import commands
from mnistvae.commands import cli
from mnistvae.commands.explore import open_in_browser
from mnistvae.errors import ComponentError, DataError, OutputError, SettingError
from mnistvae.explorer import explorer_page, rounded
from mnistvae.networks import GaussianEncoder, MLPDecoder, MLPEncoder, TrunkDecoder
from mnistvae.priors import GaussianMixture, VampPrior

DIGITS = mv.load_dataset("mnist-mini", "test")[:60]


def small(latent_dim: int = 2, **more: Any) -> mv.VAE:
    torch.manual_seed(0)
    parts = {"encoder": MLPEncoder(latent_dim, hidden=(8,)), "decoder": MLPDecoder(latent_dim, hidden=(8,))}
    return mv.VAE(latent_dim, **{**parts, **more})


def content(page: str) -> Any:
    """What a page knows of its model."""
    found = re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_page_is_whole_and_the_same_every_time() -> None:
    page = explorer_page(small(), DIGITS, title="<b>2 & 3")
    assert page == explorer_page(small(), DIGITS, title="<b>2 & 3")
    assert "<title>&lt;b&gt;2 &amp; 3</title>" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert not re.search("https?://", page)
    assert "default-src 'none'" in page
    known = content(page)
    assert (known["latent"], known["shape"], known["told"], known["dark"]) == (2, [1, 28, 28], None, True)


def test_the_plane_alone_needs_neither_encoder_nor_images() -> None:
    whole, plane = (explorer_page(small(), DIGITS, parts=parts) for parts in ("all", "plane"))
    assert len(plane) < len(whole) - len(DIGITS) * 28 * 28
    known = content(plane)
    assert (list(known["programs"]), known["pictures"]) == (["decode"], None)
    assert "<h1>" not in plane
    with pytest.raises(SettingError, match="parts as one of 'all', 'plane', got 'half'"):
        explorer_page(small(), DIGITS, parts="half")  # type: ignore[arg-type]


def test_the_plane_of_a_model_whose_encoder_no_page_runs() -> None:
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(784, 4), Sorted())
    model = small(encoder=GaussianEncoder(trunk, 2))
    assert content(explorer_page(model, DIGITS, parts="plane"))["parts"] == "plane"


@pytest.mark.parametrize("name", mv.zoo.names())
def test_pages_of_ready_models_are_small(name: str) -> None:
    assert len(explorer_page(mv.pretrained(name), mv.load_dataset("mnist-mini", "test"))) < 6e6


def test_names_of_classes_cannot_end_the_script() -> None:
    data = mv.ImageDataset(DIGITS.images, DIGITS.labels, class_names=["</script><b>", *"123456789"])
    page = explorer_page(small(), data)
    assert "</script><b>" not in page
    assert content(page)["names"][0] == "</script><b>"


@pytest.mark.parametrize("inverted", [False, True])
def test_drawings_are_centred_where_the_images_are(inverted: bool) -> None:
    digits = 255 - DIGITS.images if inverted else DIGITS.images
    assert content(explorer_page(small(), digits))["centred"] is True
    aside = digits.roll(4, 3)
    assert content(explorer_page(small(), aside))["centred"] is False


def test_weights_take_two_bytes() -> None:
    model = small()
    with torch.no_grad():
        next(model.parameters()).flatten()[0] = 1e9  # which half precision has no number for
    copied = rounded(model)
    assert next(copied.parameters()).flatten()[0] == 1e9
    *_, last = copied.parameters()
    assert torch.equal(last, last.half().float())
    assert not torch.equal(last, [*model.parameters()][-1])
    known = content(explorer_page(small(), DIGITS))
    assert {kind for kind, *_ in known["table"]} == {"f2", "f4", "u1"}
    assert sum(length for kind, _, length in known["table"] if kind == "f4") < 100


@pytest.mark.parametrize("latent_dim", [1, 2, 3, 200])
def test_sizes_of_the_latent_space(latent_dim: int) -> None:
    known = content(explorer_page(small(latent_dim), DIGITS))
    assert sorted(known["order"]) == list(range(latent_dim))
    assert len(known["limits"]) == latent_dim
    assert len(known["directions"]) == min(latent_dim, 2)


@pytest.mark.parametrize(("latent_dim", "number"), [(2, 2000), (4000, 200)])
def test_many_dimensions_leave_room_for_fewer_codes(latent_dim: int, number: int) -> None:
    known = content(explorer_page(small(latent_dim), mv.load_dataset("mnist-mini", "test")))
    assert known["table"][known["labels"]] == ["u1", ANY, number]


def test_one_program_for_each_class() -> None:
    parts = {
        "encoder": MLPEncoder(2, hidden=(8,), num_classes=10),
        "decoder": MLPDecoder(2, hidden=(8,), num_classes=10),
    }
    model = mv.ConditionalVAE(2, **parts)
    known = content(explorer_page(model, DIGITS))
    assert known["told"] == len(known["programs"]["encode"]) == len(known["programs"]["decode"]) == 10
    one = content(explorer_page(small(), DIGITS))
    assert len(known["arrays"]) < 1.1 * len(one["arrays"])  # the weights are there once
    with pytest.raises(DataError, match="labels"):
        explorer_page(model, DIGITS.images)


def test_images_without_labels() -> None:
    assert content(explorer_page(small(), DIGITS.images))["labels"] is None


@pytest.mark.parametrize(
    "prior", [VampPrior(3), GaussianMixture(2, 3), GaussianMixture(2, 3, "full")], ids=["vamp", "diagonal", "full"]
)
def test_mixtures_are_on_the_page(prior: Any) -> None:
    (part,) = content(explorer_page(small(prior=prior), DIGITS))["prior"]["parts"]
    assert part.keys() == {"weights", "means", "factors" if getattr(prior, "covariance", "") == "full" else "scales"}


class Unknown(mv.priors.Prior):
    """A prior that no page knows."""

    def __init__(self) -> None:
        super().__init__()
        self.latent_dim = 2

    def forward(self, y: Any = None, *, encode: Any = None) -> Any:
        return torch.distributions.Independent(torch.distributions.Laplace(torch.zeros(2), torch.ones(2)), 1)


def test_a_prior_that_no_page_knows_is_named() -> None:
    prior = content(explorer_page(small(prior=Unknown()), DIGITS))["prior"]
    assert "model's own prior, a Unknown: a temperature changes nothing" in prior["note"]
    assert [part.keys() for part in prior["parts"]] == [{"drawn"}]


class Sorted(nn.Module):
    """A layer that no page runs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sort().values


def test_a_layer_that_no_page_runs_is_named() -> None:
    trunk = nn.Sequential(nn.Linear(2, 784), Sorted())
    with pytest.raises(ComponentError, match=r"got decoder\.trunk\.1 \(Sorted\), which calls sort"):
        explorer_page(small(decoder=TrunkDecoder(trunk, 2)), DIGITS)
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(784, 4), nn.Dropout(), Sorted())
    with pytest.raises(ComponentError, match=r"encoder\.trunk\.3 \(Sorted\)"):
        explorer_page(small(encoder=GaussianEncoder(trunk, 2)), DIGITS)


class Noisy(nn.Module):
    """A layer that draws in evaluation mode, too."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn(784)


class Overwritten(nn.Module):
    """A layer that changes what another of its tensors sees."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        part = x[:, :5]
        x.relu_()
        return x * part.sum()


class Branching(nn.Module):
    """A layer whose way depends on a value."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Remainder(nn.Module):
    """A layer whose operator torch answers for, not the page."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x % 3


@pytest.mark.parametrize("layer", [Noisy, Overwritten, Branching, Remainder])
def test_layers_that_cannot_be_recorded(layer: type[nn.Module]) -> None:
    trunk = nn.Sequential(nn.Linear(2, 784), layer())
    with pytest.raises(ComponentError, match=rf"decoder\.trunk\.1 \({layer.__name__}\)"):
        explorer_page(small(decoder=TrunkDecoder(trunk, 2)), DIGITS)


@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 8, 300)])
def test_images_that_a_page_cannot_draw(shape: tuple[int, int, int]) -> None:
    model = mv.VAE(2, shape, encoder=MLPEncoder(2, shape, hidden=()), decoder=MLPDecoder(2, shape, hidden=()))
    with pytest.raises(ComponentError, match="1 or 3 channels and at most 256 x 256"):
        explorer_page(model, torch.rand(3, *shape))


def test_the_model_stays_as_it_was() -> None:
    model = small().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    explorer_page(model, DIGITS)
    assert all(part.training for part in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_the_command_writes_a_page_and_never_over_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: bool(opened.append(address)) or True)
    monkeypatch.setattr("sys.platform", "darwin")
    mv.save(small(), tmp_path / "model.safetensors")
    arguments = ["explore", str(tmp_path / "model.safetensors"), "--dataset", "mnist-mini"]
    page = tmp_path / "pages" / "my.html"
    done = CliRunner().invoke(cli, [*arguments, "--out", str(page)])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"wrote {page}\n"
    assert opened == [page.as_uri()]
    assert page.stat().st_size < 6e6
    again = CliRunner().invoke(cli, [*arguments, "--out", str(page)])
    assert again.exit_code == 2
    assert "without my.html" in again.stderr
    done = CliRunner().invoke(cli, [*arguments, "--no-open"])
    assert done.exit_code == 0
    assert len(opened) == 1
    assert list(tmp_path.glob("explorer-*/explorer.html"))


def test_a_browser_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("webbrowser.open", lambda _: sys.exit("opened"))
    said: list[str] = []
    page = commands.explore(small(), dataset=DIGITS, out=tmp_path / "x.html", say=said.append)
    assert said == [f"wrote {page}\n  no browser was found: open the page in one"]
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("webbrowser.open", lambda _: False)
    assert not open_in_browser(page)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        commands.explore(small(), dataset=DIGITS, out=tmp_path / "file" / "x.html", show=False)
