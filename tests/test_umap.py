"""UMAP: what it is asked for, what comes of it, and that a report goes on without it."""

from __future__ import annotations

import re
import sys
import types
import warnings
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import mnistvae as mv
from mnistvae import VAE, ImageDataset
from mnistvae.analysis import embed
from mnistvae.commands import cli
from mnistvae.errors import DataError, SettingError
from mnistvae.report import SECTIONS, write_report

pytestmark = pytest.mark.filterwarnings(
    "ignore:MLPClassifier was not done",
    "ignore:the mutual information",
    "ignore:the log-likelihood of",
    "ignore:.*biased upwards",
)

CODES = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
ABSENT = "there is no map by UMAP, since umap-learn is not installed: pip install 'mnistvae[umap]'"


class FakeUMAP:
    """Remembers what it was asked for, and gives what it is told to give."""

    asked: dict[str, Any]
    given: np.ndarray[Any, Any]

    def __init__(self, **asked: Any) -> None:
        type(self).asked = asked
        if "n_epochs" in asked:
            raise ValueError("n_epochs must be\na nonnegative integer" + " or a list" * 100)
        warnings.warn("n_jobs value 1 overridden to 1 by setting random_state", stacklevel=2)

    def fit_transform(self, codes: Any) -> Any:
        warnings.warn("Spectral initialisation failed!", stacklevel=2)
        type(self).given = codes
        if "answer" in self.asked:
            return self.asked["answer"]
        return codes[:, : self.asked["n_components"]].astype(np.float32)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeUMAP]:
    module = types.ModuleType("umap")
    module.UMAP = FakeUMAP  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "umap", module)
    return FakeUMAP


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)


def small(latent_dim: int = 4, size: int = 8) -> VAE:
    torch.manual_seed(0)
    shape = (1, size, size)
    encoder, decoder = mv.networks.MLPEncoder(latent_dim, shape, (8,)), mv.networks.MLPDecoder(latent_dim, shape, (8,))
    return VAE(latent_dim, shape, encoder=encoder, decoder=decoder)


def images(n: int = 30) -> ImageDataset:
    return ImageDataset(torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(n) % 3)


#: The one section that has maps, and scores that take no time.
MAPS: dict[str, Any] = {
    "include": ["reconstruction"],
    "num_samples": 2,
    "sections": [one for one in SECTIONS if one.title == "Latent space"],
}


def page(path: Path) -> str:
    """The text of a page without its pictures, whose letters may spell anything."""
    return unescape(re.sub(r"base64,[^\"]*", "", path.read_text(encoding="utf-8")))


# --- what it is asked for -------------------------------------------------------------------------------------------


def test_what_umap_is_asked_for(fake: type[FakeUMAP]) -> None:
    found = embed(CODES, "umap", seed=7, min_dist=0.3, metric="cosine")
    wanted = {"n_components": 2, "random_state": 7, "n_jobs": 1, "n_neighbors": 15, "min_dist": 0.3, "metric": "cosine"}
    assert fake.asked == wanted
    np.testing.assert_array_equal(fake.given, CODES.double().numpy())
    np.testing.assert_allclose(found.points, CODES[:, :2], rtol=1e-6)
    assert found.points.dtype == np.float64
    assert found.kind == "umap"
    assert found.names == ("UMAP 1", "UMAP 2")
    assert found.settings == {"n_neighbors": 15, "min_dist": 0.3, "metric": "cosine"}
    assert embed(CODES, "umap", 3, seed=2**32 + 1).names == ("UMAP 1", "UMAP 2", "UMAP 3")
    assert fake.asked["random_state"] == 1  # what numpy takes


def test_its_warnings_do_not_get_out(fake: type[FakeUMAP]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        embed(CODES, "umap")
    assert not caught


def test_few_codes_have_few_neighbours(fake: type[FakeUMAP]) -> None:
    assert embed(CODES[:9], "umap").settings == {"n_neighbors": 8, "min_dist": 0.1}
    assert embed(CODES[:3], "umap").settings == {"n_neighbors": 2, "min_dist": 0.1, "init": "random"}
    embed(CODES[:4], "umap", 3)
    assert fake.asked["init"] == "random"


@pytest.mark.parametrize("neighbours", [1, 40, 2.5, "a", True, None, float("nan")])
def test_neighbours_that_make_no_sense(fake: type[FakeUMAP], neighbours: Any) -> None:
    with pytest.raises(SettingError, match="n_neighbors from 2 to 39, got"):
        embed(CODES, "umap", n_neighbors=neighbours)


def test_what_umap_says_is_one_line(fake: type[FakeUMAP]) -> None:
    with pytest.raises(SettingError, match="settings of umap, got n_epochs must be a nonnegative integer") as caught:
        embed(CODES, "umap", n_epochs=-1)
    assert len(str(caught.value)) < 320
    assert "\n" not in str(caught.value)


def test_what_is_no_map(fake: type[FakeUMAP]) -> None:
    with pytest.raises(SettingError, match=r"give 2 numbers for each code, got shape \(40, 3\)"):
        embed(CODES, "umap", n_components=3)
    with pytest.raises(SettingError, match="settings of umap"):
        embed(CODES, "umap", answer=([1.0, 2.0], [3.0]))  # as with output_dens
    with pytest.raises(DataError, match="points at infinity"):
        embed(CODES, "umap", answer=np.full((40, 2), np.nan))
    with pytest.raises(DataError, match=r"codes of at most 1e\+15, got .*e\+30"):
        embed(CODES * 1e30, "umap")


def test_values_that_other_methods_do_not_take() -> None:
    for kind, settings in (("tsne", {"init": "no such"}), ("pca", {"svd_solver": "no such"}), ("pca", {"whiten": 3})):
        with pytest.raises(SettingError, match=f"settings of {kind}, got The '{next(iter(settings))}' parameter"):
            embed(CODES, kind, **settings)  # type: ignore[arg-type]


# --- where it is not installed --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("absent")
def test_a_map_without_umap_is_refused() -> None:
    with pytest.raises(SettingError, match=r"umap-learn for an embedding by UMAP, got none: pip install"):
        embed(CODES, "umap")


def test_another_package_of_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", types.ModuleType("umap"))
    with pytest.raises(SettingError, match=r"umap-learn for an embedding by UMAP, got cannot import name 'UMAP'"):
        embed(CODES, "umap")


@pytest.mark.usefixtures("absent")
def test_a_report_goes_on_without_umap(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        path = write_report(small(), images(), tmp_path / "a", umap=True, **MAPS)
    said = [one for one in caught if "UMAP" in str(one.message)]
    assert [str(one.message) for one in said] == [ABSENT]
    assert said[0].category is UserWarning
    assert said[0].filename == __file__
    assert page(path).count(f"<p>T{ABSENT[1:]}.</p>") == 1
    assert page(path).count("no map by UMAP") == 1
    assert (tmp_path / "a" / "latent_space_tsne.png").exists()
    assert (tmp_path / "a" / "clusters.png").exists()
    assert not (tmp_path / "a" / "latent_space_umap.png").exists()


@pytest.mark.usefixtures("absent")
@pytest.mark.parametrize(("latent_dim", "umap"), [(2, True), (1, True), (4, False)])
def test_where_no_map_by_umap_is_wanted_none_is_missed(tmp_path: Path, latent_dim: int, umap: bool) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*UMAP.*")
        path = write_report(small(latent_dim), images(), tmp_path / "a", umap=umap, **MAPS)
    assert "UMAP" not in page(path)


@pytest.mark.usefixtures("absent")
@pytest.mark.filterwarnings("default::UserWarning")  # as outside of tests
def test_the_command_says_it_on_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = mv.load_dataset("mnist-mini", "train")[:300]
    monkeypatch.setattr(mv.data, "load_dataset", lambda *_: few)
    mv.save(small(size=28), tmp_path / "vae.safetensors", {"dataset": "mnist-mini"})
    how = ["--umap", "--num-samples", "2", "--limit", "20", "--no-progress", "--out", str(tmp_path / "a")]
    result = CliRunner().invoke(cli, ["report", str(tmp_path / "vae.safetensors"), *how])
    assert result.exit_code == 0, result.output
    assert [line for line in result.stderr.splitlines() if "UMAP" in line] == [f"warning: {ABSENT}"]
    assert "UMAP" not in result.stdout
    assert "no map by UMAP" in page(tmp_path / "a" / "report.html")


def test_a_report_goes_on_where_umap_fails(
    fake: type[FakeUMAP], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("its compiler is of another version")

    monkeypatch.setattr(fake, "fit_transform", broken)
    with pytest.warns(UserWarning, match="there is no map by UMAP: .* its compiler is of another version"):
        path = write_report(small(), images(), tmp_path / "a", umap=True, **MAPS)
    assert "There is no map by UMAP: expected settings of umap, got its compiler is of another" in page(path)
    assert (tmp_path / "a" / "clusters.png").exists()


def test_a_report_with_umap(fake: type[FakeUMAP], tmp_path: Path) -> None:
    path = write_report(small(), images(), tmp_path / "a", umap=True, seed=5, **MAPS)
    assert fake.asked["random_state"] == 5
    assert "The mean code of each image, by UMAP." in page(path)
    assert (tmp_path / "a" / "latent_space_umap.png").read_bytes().startswith(b"\x89PNG")


# --- the real one ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what it compiles with
def test_the_real_umap() -> None:
    pytest.importorskip("umap", exc_type=ImportError)
    data = mv.load_dataset("mnist-mini", "test")[:1000]
    assert data.labels is not None
    codes = embed(data.images.flatten(1) / 255, "pca", 20).points
    state = np.random.get_state()[1].copy()  # type: ignore[union-attr]  # noqa: NPY002
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        a, b, c = (embed(codes, "umap", seed=seed) for seed in (1, 1, 2))
        few = embed(codes[:3], "umap")
        apart = embed(torch.cat([CODES, CODES + 1e4]), "umap", n_neighbors=5)  # a graph of two parts
    assert not [one for one in caught if not issubclass(one.category, DeprecationWarning)]
    assert np.array_equal(np.random.get_state()[1], state)  # type: ignore[arg-type]  # noqa: NPY002
    assert a.points.shape == (1000, 2)
    assert np.array_equal(a.points, b.points)
    assert not np.array_equal(a.points, c.points)
    assert mv.metrics.classify_codes(a.points[::2], data.labels[::2], a.points[1::2], data.labels[1::2]).accuracy > 0.7
    assert np.isfinite(few.points).all()
    assert np.hypot(*(apart.points[:40].mean(0) - apart.points[40:].mean(0))) > np.ptp(apart.points[:40]) / 2
    for settings in ({"metric": "no such"}, {"min_dist": 2.0}, {"init": "no such"}, {"no_such": 1}, {"n_epochs": -1}):
        with pytest.raises(SettingError, match="settings of umap"):
            embed(CODES, "umap", **settings)
    with pytest.raises(DataError, match="at least 3"):
        embed(CODES[:1], "umap")
    with pytest.raises(DataError, match="NaN"):
        embed(CODES / 0 * 0, "umap")
