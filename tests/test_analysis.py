"""Codes, embeddings, clusters, outliers, errors, planes and sweeps: on made-up codes whose answer is known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Subset

import mnistvae as mv
from mnistvae import VAE, ConditionalVAE, ImageDataset, analysis, metrics, recipes
from mnistvae.analysis import (
    Clusters,
    LatentCodes,
    agreement,
    decode_centroids,
    decode_codes,
    embed,
    encode_dataset,
    find_clusters,
    interpolate_codes,
    latent_plane,
    outliers,
    reconstruction_errors,
    sweep,
    traverse,
)
from mnistvae.errors import ComponentError, DataError, SettingError
from mnistvae.networks import MLPDecoder, MLPEncoder


def images(n: int = 30, labels: bool = True) -> ImageDataset:
    generator = torch.Generator().manual_seed(1)
    return ImageDataset(torch.rand(n, 1, 8, 8, generator=generator), torch.arange(n) % 3 if labels else None)


def vae(latent_dim: int = 3, seed: int = 0) -> VAE:
    torch.manual_seed(seed)
    shape = (1, 8, 8)
    parts = {"encoder": MLPEncoder(latent_dim, shape, (8,)), "decoder": MLPDecoder(latent_dim, shape, (8,))}
    return VAE(latent_dim, shape, **parts)  # type: ignore[arg-type]


def blobs(sizes: tuple[int, ...] = (100, 60, 30), dimensions: int = 2, apart: float = 20.0) -> tuple[Tensor, Tensor]:
    """Groups of codes that nobody would confuse, and which group each is of."""
    generator = torch.Generator().manual_seed(5)
    groups = [torch.randn(n, dimensions, generator=generator) + apart * k for k, n in enumerate(sizes)]
    return torch.cat(groups), torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))


# --- codes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1024, 7])
def test_codes_are_the_moments_of_the_posterior(batch_size: int) -> None:
    model, data = vae(), images()
    model.train()
    codes = encode_dataset(model, data, batch_size=batch_size)
    with torch.no_grad():
        posterior = model.eval().encode(data.images)
    torch.testing.assert_close(codes.means, posterior.mean)
    torch.testing.assert_close(codes.deviations, posterior.stddev)
    assert codes.labels is not None
    assert torch.equal(codes.labels, torch.arange(30) % 3)
    assert (len(codes), codes.latent_dim, codes.name, codes.split) == (30, 3, "images", "all")
    assert repr(codes) == "LatentCodes(30 codes of 3 dimensions, labels, 'images', 'all')"


def test_codes_leave_the_model_in_its_mode() -> None:
    model = vae().train()
    encode_dataset(model, images())
    assert model.training


def test_some_of_the_codes() -> None:
    codes = encode_dataset(vae(), images())
    some = codes[codes.labels == 1]  # type: ignore[index]
    assert len(some) == 10
    assert torch.equal(some.means, codes.means[1::3])
    assert len(codes[:4]) == 4
    bare = encode_dataset(vae(), images(labels=False))
    assert bare.labels is None
    assert bare[:2].labels is None
    assert "no labels" in repr(bare)


def test_codes_of_a_conditional_model() -> None:
    torch.manual_seed(0)
    model, data = ConditionalVAE(2, 3, (1, 8, 8)), images()
    codes = encode_dataset(model, data, batch_size=4)
    with torch.no_grad():
        expected = model.eval().encode(data.images, data.labels).mean
    torch.testing.assert_close(codes.means, expected)
    with pytest.raises(DataError, match="labels for a conditional model"):
        encode_dataset(model, images(labels=False))


def test_codes_that_make_no_sense() -> None:
    codes = encode_dataset(vae(), images())
    bad = codes.means.clone()
    bad[[4, 9]] = torch.nan
    with pytest.raises(DataError, match="NaN or infinity in 2 of 30, the first of them number 4"):
        dataclasses.replace(codes, means=bad)
    with pytest.raises(DataError, match="of one shape"):
        LatentCodes(codes.means, codes.deviations[:5])
    with pytest.raises(DataError, match="30 labels"):
        LatentCodes(codes.means, codes.deviations, torch.zeros(5))
    with pytest.raises(SettingError, match="batch_size"):
        encode_dataset(vae(), images(), batch_size=0)


# --- embeddings -----------------------------------------------------------------------------------------------------


def test_pca_is_scikit_learns() -> None:
    from sklearn.decomposition import PCA

    codes, _ = blobs(dimensions=5)
    found = embed(codes, "pca")
    fitted = PCA(2, svd_solver="full").fit(codes.numpy())
    np.testing.assert_allclose(found.points, fitted.transform(codes.double().numpy()), atol=1e-4)
    np.testing.assert_allclose(found.explained, fitted.explained_variance_ratio_, atol=1e-5)
    assert (found.kind, found.names, len(found)) == ("pca", ("principal axis 1", "principal axis 2"), 190)
    assert embed(codes, "pca", 3).points.shape == (190, 3)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_codes_that_are_small_enough_stay_as_they_are(dimensions: int) -> None:
    codes, _ = blobs(dimensions=dimensions)
    for kind in ("pca", "tsne"):
        found = embed(codes, kind)  # type: ignore[arg-type]
        assert np.array_equal(found.points, codes.double().numpy())
        assert found.kind == "codes"
        assert found.names == tuple(f"latent dimension {n}" for n in range(dimensions))


def test_tsne_keeps_groups_together_and_is_repeatable() -> None:
    codes, groups = blobs((40, 40, 40), 6)
    a, b, c = (embed(codes, "tsne", seed=seed, init="random").points for seed in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert embed(codes, "tsne").settings["init"] == "pca"
    assert metrics.classify_codes(a[::2], groups[::2], a[1::2], groups[1::2]).accuracy == 1.0
    state = np.random.get_state()[1].copy()  # type: ignore[union-attr]  # noqa: NPY002
    embed(codes, "tsne")
    assert np.array_equal(np.random.get_state()[1], state)  # type: ignore[arg-type]  # noqa: NPY002


def test_codes_at_one_place() -> None:
    found = embed(torch.ones(50, 5), "tsne")  # of a collapsed posterior
    assert found.points.shape == (50, 2)
    assert not found.points.any()
    assert not embed(torch.ones(50, 5), "pca").points.any()


def test_few_codes() -> None:
    codes = torch.randn(5, 4)
    assert embed(codes, "tsne").points.shape == (5, 2)  # the perplexity follows the number of codes
    with pytest.raises(SettingError, match=r"a perplexity of at least 1 and below 5, the number of codes, got 30"):
        embed(codes, "tsne", perplexity=30)
    with pytest.raises(DataError, match="at least 3"):
        embed(codes[:2], "pca")


@pytest.mark.parametrize(
    ("codes", "kind", "error"),
    [
        (torch.full((9, 3), torch.nan), "pca", DataError),
        (torch.zeros(9), "pca", DataError),
        (torch.randn(9, 3), "lle", SettingError),
    ],
)
def test_what_cannot_be_embedded(codes: Tensor, kind: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        embed(codes, kind)


def test_settings_that_a_method_does_not_take() -> None:
    with pytest.raises(SettingError, match="settings of pca"):
        embed(torch.randn(9, 3), "pca", perplexity=3)


def test_umap_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(
        SettingError, match=r"umap-learn for an embedding by UMAP, got none: pip install 'mnistvae\[umap\]'"
    ):
        embed(torch.randn(9, 3), "umap")


# --- clusters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hdbscan", "dbscan"])
@pytest.mark.parametrize("dimensions", [2, 8])
def test_groups_are_found_without_settings(kind: Any, dimensions: int) -> None:
    codes, groups = blobs(dimensions=dimensions)
    found = find_clusters(codes, kind)
    assert found.sizes[:3].sum() > 0.8 * len(codes)
    assert found.sizes[3:].sum() < 0.05 * len(codes)  # a few far codes of a group may be near each other
    assert found.noise < 0.2
    assert agreement(found, groups).rand_index > 0.95
    assert agreement(found, groups).codes == (found.members >= 0).sum()
    assert list(found.sizes) == sorted(found.sizes, reverse=True)
    assert found.sizes.sum() == (found.members >= 0).sum()
    for k in range(found.count):
        own = codes.double().numpy()[found.members == k]
        np.testing.assert_allclose(found.centroids[k], own.mean(0))
    assert found.kind == kind
    assert found.settings


def test_agreement_is_scikit_learns() -> None:
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    members = np.array([0, 0, 1, 1, -1, 2, 2, 0])
    labels = torch.tensor([0, 0, 1, 2, 9, 2, 2, 1])
    found = agreement(Clusters(members, np.zeros((3, 2)), "dbscan"), labels)
    inside = members >= 0
    assert found.rand_index == adjusted_rand_score(labels.numpy()[inside], members[inside])
    assert found.mutual_information == normalized_mutual_info_score(labels.numpy()[inside], members[inside])
    assert found.codes == 7


@pytest.mark.parametrize("kind", ["hdbscan", "dbscan"])
def test_noise_alone_and_one_cluster(kind: Any) -> None:
    settings: dict[str, Any] = {"min_cluster_size": 190} if kind == "hdbscan" else {"eps": 1e-6}
    codes, groups = blobs()
    alone = find_clusters(codes, kind, **settings)
    assert (alone.count, alone.noise) == (0, 1.0)
    assert alone.centroids.shape == (0, 2)
    assert alone.sizes.tolist() == []
    with pytest.raises(DataError, match="in a cluster, got noise alone"):
        agreement(alone, groups)
    far = outliers(codes, alone, 4)
    assert [one.nearest for one in far] == [-1] * 4
    distances = (codes.double() - codes.double().mean(0)).norm(dim=1)
    assert far[0].index == int(distances.argmax())
    one = find_clusters(torch.zeros(20, 2), "dbscan")
    assert (one.count, one.noise) == (1, 0.0)
    whole = find_clusters(codes, "dbscan", eps=1000.0)
    assert whole.count == 1


def test_settings_of_clusterers() -> None:
    codes, _ = blobs()
    assert find_clusters(codes, "hdbscan").settings == {"min_cluster_size": 5}
    assert find_clusters(codes, "dbscan", eps=3.0).settings == {"min_samples": 5, "eps": 3.0}
    assert find_clusters(torch.randn(2000, 2), "hdbscan").settings == {"min_cluster_size": 20}
    with pytest.raises(SettingError, match="settings of dbscan"):
        find_clusters(codes, "dbscan", eps=-1.0)
    with pytest.raises(SettingError, match="settings of hdbscan"):
        find_clusters(codes, "hdbscan", eps=1.0)
    with pytest.raises(SettingError, match="kind"):
        find_clusters(codes, "kmeans")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="at least 5"):
        find_clusters(codes[:4])
    with pytest.raises(DataError, match=r"(?i)nan"):
        find_clusters(torch.full((9, 2), torch.nan))


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("dbscan", {"min_samples": 31}, "min_samples of at most 30, as there are codes, got 31: pass more codes"),
        ("dbscan", {"min_samples": 31, "eps": 1.0}, "min_samples of at most 30, as there are codes, got 31"),
        ("hdbscan", {"min_samples": 31}, "min_samples of at most 30, as there are codes, got 31"),
        *[("dbscan", {"min_samples": bad}, "min_samples as an integer from 1") for bad in ("ten", None, 2.5, 0, -3)],
        ("hdbscan", {"min_samples": "ten"}, "min_samples as an integer from 1 to 30, as there are codes, got 'ten'"),
        ("hdbscan", {"min_cluster_size": 1}, "settings of hdbscan"),
        ("hdbscan", {"metric": "yards"}, "settings of hdbscan"),
        ("dbscan", {"eps": math.nan}, "settings of dbscan"),
        ("dbscan", {"eps": "near"}, "settings of dbscan"),
    ],
)
def test_settings_of_clusterers_that_make_no_sense(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        find_clusters(torch.randn(30, 3), kind, **settings)


def test_as_many_samples_as_codes_will_do() -> None:
    codes = torch.zeros(30, 3)
    assert find_clusters(codes, "dbscan", eps=1.0, min_samples=30).sizes.tolist() == [30]
    assert find_clusters(codes, "hdbscan", min_samples=None).settings == {"min_samples": None, "min_cluster_size": 5}


@pytest.mark.parametrize(
    ("members", "centroids", "message"),
    [
        ([0, 1], np.zeros((2, 2)), r"members as a numpy array of integers \(N,\), got a list"),
        (np.zeros(3), np.zeros((1, 2)), r"members as a numpy array of integers .* dtype float64"),
        (np.zeros(0, dtype=int), np.zeros((1, 2)), "members of at least one code"),
        (np.array([0, 2]), np.zeros((2, 2)), "members from -1, noise, to 1, .* got 2: pass a centroid"),
        (np.array([0, -2]), np.zeros((2, 2)), "members from -1, noise, to 1, .* got -2"),
        (np.array([0, 1]), np.zeros(2), r"centroids as a numpy array of numbers \(K, D\), got shape \(2,\)"),
    ],
)
def test_clusters_that_make_no_sense(members: Any, centroids: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Clusters(members, centroids, "dbscan")


def test_what_is_no_clusters() -> None:
    codes, labels = blobs()
    for call in (
        lambda: agreement(None, labels),  # type: ignore[arg-type]
        lambda: outliers(codes, np.zeros(190)),  # type: ignore[arg-type]
        lambda: decode_centroids(vae(2), codes, {}),  # type: ignore[arg-type]
    ):
        with pytest.raises(DataError, match=r"clusters, as find_clusters gives them, got (None|an? )"):
            call()


def test_the_density_is_read_off_the_knee() -> None:
    # Distances to the neighbours are 1 but for a few far ones: the knee is at 1.
    line = torch.cat([torch.arange(100.0), torch.tensor([1000.0, 2000.0, 3000.0])])[:, None]
    found = find_clusters(line, "dbscan", min_samples=2)
    assert found.settings["eps"] == pytest.approx(2.0, abs=1.0)
    assert found.sizes.tolist() == [100]
    assert (found.members[-3:] == -1).all()


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_at_the_densitys_knee_a_code_counts_itself(count: int) -> None:
    # Groups of so many codes, in each of which every code is 1 from the next, and 1,000 from the next group: within the
    # distance at the knee each code has its whole group, and no code of another.
    size = max(2, count)
    inside = torch.eye(size).double() * 0.5**0.5  # all as far from each other
    groups = torch.cat([inside + 1000.0 * n for n in range(6)] + [torch.full_like(inside[:1], 1e6)])
    found = find_clusters(groups, "dbscan", min_samples=count)
    assert found.settings["eps"] == pytest.approx(1.0, rel=1e-5)
    assert found.sizes[:6].tolist() == [size] * 6


def test_outliers_are_the_far_ones() -> None:
    codes, _ = blobs((100, 60))
    codes = torch.cat([codes, torch.tensor([[-30.0, 5.0], [60.0, 60.0], [20.0, 60.0]])])
    clusters = find_clusters(codes)
    assert (clusters.members[-3:] == -1).all()
    found = outliers(codes, clusters, 5)
    assert len(found) == 5
    assert [one.index for one in found if one.noise] == [one.index for one in found[: sum(o.noise for o in found)]]
    by_index = {one.index: one for one in outliers(codes, clusters, len(codes))}
    for index in (160, 161, 162):
        one = by_index[index]
        row = codes[index].double().numpy()
        spread = [
            math.sqrt(
                (
                    np.linalg.norm(codes.double().numpy()[clusters.members == k] - clusters.centroids[k], axis=1) ** 2
                ).mean()
            )
            for k in range(clusters.count)
        ]
        scaled = [np.linalg.norm(row - clusters.centroids[k]) / spread[k] for k in range(clusters.count)]
        assert one.noise
        assert one.nearest == int(np.argmin(scaled))
        assert one.distance == pytest.approx(min(scaled))
    assert len(by_index) == 163
    noise = [one.distance for one in outliers(codes, clusters, 163) if one.noise]
    assert noise == sorted(noise, reverse=True)
    with pytest.raises(DataError, match="163 codes that the clusters were found in"):
        outliers(codes[:9], clusters)
    assert outliers(codes, clusters, 1000) == outliers(codes, clusters, 163)  # no more than there are
    with pytest.raises(SettingError, match="n as an integer"):
        outliers(codes, clusters, 0)


def test_centroids_are_decoded() -> None:
    model = vae()
    codes = torch.randn(20, 3)
    members = np.array([0] * 8 + [1] * 7 + [-1] * 5)
    clusters = Clusters(members, np.zeros((2, 2)), "hdbscan")  # found in an embedding: its centroids are elsewhere
    found = decode_centroids(model, codes, clusters)
    expected = decode_codes(model, torch.stack([codes[:8].mean(0), codes[8:15].mean(0)]))
    torch.testing.assert_close(found, expected)
    nothing = Clusters(np.full(20, -1), np.zeros((0, 2)), "hdbscan")
    assert decode_centroids(model, codes, nothing).shape == (0, 1, 8, 8)
    with pytest.raises(DataError, match="20 codes"):
        decode_centroids(model, codes[:3], clusters)


def test_centroids_of_a_conditional_model_have_their_commonest_label() -> None:
    torch.manual_seed(0)
    model = ConditionalVAE(3, 3, (1, 8, 8))
    codes, labels = torch.randn(7, 3), torch.tensor([2, 2, 0, 1, 1, 1, 0])
    clusters = Clusters(np.array([0, 0, 0, 1, 1, 1, 1]), np.zeros((2, 3)), "dbscan")
    found = decode_centroids(model, codes, clusters, labels)
    expected = decode_codes(model, torch.stack([codes[:3].mean(0), codes[3:].mean(0)]), [2, 1])
    torch.testing.assert_close(found, expected)
    with pytest.raises(DataError, match="labels for a conditional model"):
        decode_centroids(model, codes, clusters)


# --- errors ---------------------------------------------------------------------------------------------------------


def test_errors_are_those_of_the_metrics() -> None:
    model, data = vae(), images()
    found = reconstruction_errors(model, data, batch_size=7)
    made = model.reconstruct(data.images)
    assert found.images.dtype is torch.uint8
    torch.testing.assert_close(found.images / 255, made, atol=0.5 / 255 + 1e-6, rtol=0)  # as the eye sees them
    torch.testing.assert_close(found.mse, metrics.mse(data.images, made), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.psnr, metrics.psnr(data.images, made), atol=1e-4, rtol=1e-5)
    assert found.ssim is not None
    torch.testing.assert_close(found.ssim, metrics.ssim(data.images, made), atol=1e-5, rtol=1e-5)
    assert len(found) == 30
    means = found.by_class()
    assert list(means) == [0, 1, 2]
    assert means[1].mean == pytest.approx(float(found.mse[1::3].mean()))


def test_extremes() -> None:
    found = reconstruction_errors(vae(), images())
    best, worst, drawn = found.extremes(4, seed=3)
    order = found.mse.argsort().tolist()
    assert best == order[:4]
    assert worst == order[::-1][:4]
    assert len(set(drawn)) == 4
    assert drawn == sorted(drawn)
    assert found.extremes(4, seed=3) == found.extremes(4, seed=3)
    assert found.extremes(4, seed=3).random != found.extremes(4, seed=4).random
    assert len(found.extremes(1000).lowest) == 30
    with pytest.raises(SettingError, match="n as an integer"):
        found.extremes(0)


def test_errors_of_other_images() -> None:
    with pytest.raises(DataError, match="images with labels"):
        reconstruction_errors(vae(), images(labels=False)).by_class()
    small = ImageDataset(torch.rand(4, 1, 6, 6))
    model = VAE(2, (1, 6, 6), encoder=MLPEncoder(2, (1, 6, 6), (8,)), decoder=MLPDecoder(2, (1, 6, 6), (8,)))
    assert reconstruction_errors(model, small).ssim is None
    torch.manual_seed(0)
    conditional = ConditionalVAE(2, 3, (1, 8, 8))
    assert len(reconstruction_errors(conditional, images(), batch_size=4)) == 30
    with pytest.raises(DataError, match="labels for a conditional model"):
        reconstruction_errors(conditional, images(labels=False))


# --- planes and lines -----------------------------------------------------------------------------------------------


def test_a_plane_by_value() -> None:
    model = vae(2)
    plane = latent_plane(model, 5, (-2, 2, -1, 1))
    assert plane.images.shape == (25, 1, 8, 8)
    np.testing.assert_allclose(plane.x, [-2, -1, 0, 1, 2])
    np.testing.assert_allclose(plane.y, [1, 0.5, 0, -0.5, -1])  # the top row first
    at = decode_codes(model, torch.tensor([[1.0, 0.5]]))[0]
    torch.testing.assert_close(plane.images[1 * 5 + 3], at)
    assert plane.names == ("latent dimension 0", "latent dimension 1")


def test_a_plane_by_quantile() -> None:
    plane = latent_plane(vae(2), 3, (0.1, 0.9, 0.25, 0.75), by="quantile")
    np.testing.assert_allclose(plane.x, [-1.2815516, 0, 1.2815516], atol=1e-6)
    np.testing.assert_allclose(plane.y, [0.6744898, 0, -0.6744898], atol=1e-6)


def test_a_plane_of_two_chosen_dimensions() -> None:
    model, codes = vae(4), torch.randn(50, 4) + 3
    plane = latent_plane(model, 3, axes=(2, 0), codes=codes)
    mean = codes.mean(0)
    point = torch.tensor([2.0, float(mean[1]), -2.0, float(mean[3])])  # right, top: x is dimension 2, y dimension 0
    point = torch.tensor([2.0, float(mean[1]), 2.0, float(mean[3])])
    torch.testing.assert_close(plane.images[2], decode_codes(model, point[None])[0])
    assert plane.names == ("latent dimension 2", "latent dimension 0")
    bare = latent_plane(model, 3, axes=(2, 0))
    torch.testing.assert_close(bare.images[4], decode_codes(model, torch.zeros(1, 4))[0])


def test_a_plane_of_principal_axes() -> None:
    model = vae(3)
    codes = torch.randn(500, 3, dtype=torch.float64) * torch.tensor([1.0, 5.0, 0.1]) + 2
    plane = latent_plane(model, 3, (-1, 1, -1, 1), axes="principal", codes=codes)
    torch.testing.assert_close(plane.images[4], decode_codes(model, codes.mean(0, keepdim=True))[0])
    along = decode_codes(model, codes.mean(0)[None] + torch.tensor([[0.0, 5.0, 0.0], [0.0, -5.0, 0.0]]))
    right = plane.images[5]
    assert min(float((right - one).abs().max()) for one in along) < 0.05
    with pytest.raises(SettingError, match="codes for principal axes"):
        latent_plane(model, axes="principal")


def test_planes_that_make_no_sense() -> None:
    model = vae(3)
    for bad in ({"box": (2, -2, 0, 1)}, {"box": (0, 1, 0, 1), "by": "quantile"}, {"axes": (0, 3)}, {"axes": (1, 1)}):
        with pytest.raises(SettingError):
            latent_plane(model, **bad)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="at least two latent dimensions"):
        latent_plane(vae(1))
    with pytest.raises(DataError, match="codes of 3 dimensions"):
        latent_plane(model, codes=torch.randn(5, 2))


@pytest.mark.parametrize(
    "box",
    ["abcd", "", 3, None, (), (1, 2, 3), (0, 1, 0, 1, 0), (0, 1, 0, math.inf), (0, 1, math.nan, 1), ("a", 1, 0, 1)],
)
def test_a_box_that_is_none(box: Any) -> None:
    with pytest.raises(SettingError, match=r"expected a box \(left, right, bottom, top\) .*: such as \(-2, 2, -2, 2\)"):
        latent_plane(vae(2), 3, box)


@pytest.mark.parametrize(
    "axes", [None, 3, (0,), (0, 1, 2), ("a", "b"), (0.5, 1), (True, False), (-1, 0), "x", [[0], 1]]
)
def test_axes_that_are_none(axes: Any) -> None:
    with pytest.raises(SettingError, match="two latent dimensions from 0 to 2, or 'principal'"):
        latent_plane(vae(3), 3, axes=axes)


def test_axes_as_an_array() -> None:
    model = vae(3)
    plane = latent_plane(model, 3, torch.tensor([-2.0, 2.0, -2.0, 2.0]), axes=np.array([2, 0]))  # type: ignore[arg-type]
    torch.testing.assert_close(plane.images, latent_plane(model, 3, axes=(2, 0)).images)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (1e300, r"codes of at most 3\.4e\+38, the largest number in torch\.float32"),
        (3e38, "codes that the model can decode"),
    ],
)
def test_codes_too_large_to_decode(size: float, message: str) -> None:
    """The one is none of the numbers that the model computes in; of the other the decoder makes infinities."""
    model, codes = vae(), torch.zeros(3, 3, dtype=torch.float64)
    for weights in model.decoder.parameters():
        weights.data *= 1000  # infinities of both signs meet
    codes[1] = size
    with pytest.raises(
        DataError, match=message + ", got NaN or infinity from 1 of 3, the first of them row 1, of up to"
    ):
        decode_codes(model, codes)
    with pytest.raises(DataError, match=message + ".* the first of them row 0"):
        traverse(model, codes[1])


@pytest.mark.parametrize("size", [math.nan, math.inf])
def test_codes_that_are_no_numbers(size: float) -> None:
    with pytest.raises(DataError, match="finite codes"):
        decode_codes(vae(), torch.full((2, 3), size))
    with pytest.raises(DataError, match="finite codes"):
        traverse(vae(), torch.full((3,), size))
    with pytest.raises(DataError, match="finite codes"):
        interpolate_codes(torch.zeros(3), torch.full((3,), size))


def test_a_plane_of_a_conditional_model() -> None:
    torch.manual_seed(0)
    model = ConditionalVAE(2, 3, (1, 8, 8))
    plane = latent_plane(model, 3, label=1)
    torch.testing.assert_close(plane.images[4], decode_codes(model, torch.zeros(1, 2), [1])[0])


def test_ways_between_codes() -> None:
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    straight, bent = interpolate_codes(a, b, 5), interpolate_codes(a, b, 5, "spherical")
    torch.testing.assert_close(straight[2], torch.tensor([1.0, 1.0]))
    torch.testing.assert_close(bent.norm(dim=1), torch.full((5,), 2.0))
    torch.testing.assert_close(bent[2], torch.full((2,), math.sqrt(2)))
    for way in (straight, bent):
        torch.testing.assert_close(way[0], a)
        torch.testing.assert_close(way[-1], b)
    both = interpolate_codes(torch.stack([a, b]), torch.stack([b, a]), 5, "spherical")
    assert both.shape == (2, 5, 2)
    torch.testing.assert_close(both[0], bent)
    same = interpolate_codes(a, a, 3, "spherical")  # no angle
    torch.testing.assert_close(same, a.expand(3, 2))
    assert bool(interpolate_codes(a, torch.zeros(2), 3, "spherical").isfinite().all())
    assert bool(interpolate_codes(a, -a, 3, "spherical").isfinite().all())
    with pytest.raises(SettingError, match="at least 2 steps"):
        interpolate_codes(a, b, 1)
    with pytest.raises(SettingError, match="kind"):
        interpolate_codes(a, b, 3, "bent")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="of one shape"):
        interpolate_codes(a, torch.zeros(3))


@pytest.mark.parametrize(
    "bad",
    [3, None, "ab", {}, [], ["a", "b"], [[1.0], [1.0, 2.0]], np.array(["a", "b"]), torch.zeros(2, dtype=torch.bool)],
)
def test_ways_between_what_is_no_code(bad: Any) -> None:
    with pytest.raises(DataError):
        interpolate_codes(bad, torch.zeros(2))
    with pytest.raises(DataError):
        interpolate_codes(torch.zeros(2), bad)
    with pytest.raises(DataError):
        interpolate_codes(bad, bad)


def test_ways_between_codes_of_other_types() -> None:
    expected = interpolate_codes(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0]), 5)
    torch.testing.assert_close(interpolate_codes([2, 0], [0, 2], 5), expected)  # type: ignore[arg-type]
    torch.testing.assert_close(interpolate_codes(torch.tensor([2, 0]), torch.tensor([0.0, 2.0]), 5), expected)
    mixed = interpolate_codes(torch.tensor([2.0, 0.0]), np.array([0.0, 2.0]), 5)
    torch.testing.assert_close(mixed, expected.double())


def test_traversals() -> None:
    model, code = vae(3), torch.tensor([0.5, -1.0, 2.0])
    found = traverse(model, code, [2, 0], [-1.0, 4.0])
    assert found.shape == (2, 2, 1, 8, 8)
    torch.testing.assert_close(found[0, 1], decode_codes(model, torch.tensor([[0.5, -1.0, 4.0]]))[0])
    torch.testing.assert_close(found[1, 0], decode_codes(model, torch.tensor([[-1.0, -1.0, 2.0]]))[0])
    assert traverse(model, code).shape == (3, 7, 1, 8, 8)
    with pytest.raises(SettingError, match="dimensions from 0 to 2"):
        traverse(model, code, [3])
    with pytest.raises(DataError, match="a code of 3 dimensions"):
        traverse(model, torch.zeros(2))


@pytest.mark.parametrize("dimensions", [3, 1.5, "01", [-1], ["a"], [1.5], [], torch.tensor([0.5]), [True], [None]])
def test_dimensions_that_are_none(dimensions: Any) -> None:
    with pytest.raises(SettingError, match=r"expected dimensions from 0 to 2, at least one, got .*: such as"):
        traverse(vae(), torch.zeros(3), dimensions)


@pytest.mark.parametrize("values", [3, None, "01", [], ["a"], [[1.0], [2.0]], [math.nan], [math.inf], {0: 1}])
def test_values_that_are_none(values: Any) -> None:
    with pytest.raises(SettingError, match=r"expected values that are finite numbers, at least one, got "):
        traverse(vae(), torch.zeros(3), [0], values)


@pytest.mark.parametrize("code", [3, None, "abc", ["a", "b", "c"], [[1.0], [1.0, 2.0]], {}, torch.zeros(2, 3)])
def test_codes_that_are_none(code: Any) -> None:
    with pytest.raises(DataError):
        traverse(vae(), code)


def test_dimensions_and_values_as_arrays() -> None:
    model, code = vae(), torch.tensor([0.5, -1.0, 2.0])
    found = traverse(model, code.numpy(), torch.tensor([2, 0]), np.array([-1.0, 4.0]))  # type: ignore[arg-type]
    torch.testing.assert_close(found, traverse(model, code, [2, 0], [-1.0, 4.0]))


# --- what is neither a model nor a data set -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda model: encode_dataset(model, images()),
        lambda model: reconstruction_errors(model, images()),
        lambda model: decode_codes(model, torch.zeros(2, 3)),
        latent_plane,
        lambda model: traverse(model, torch.zeros(3)),
        lambda model: decode_centroids(
            model, torch.zeros(2, 3), Clusters(np.zeros(2, int), np.zeros((1, 3)), "dbscan")
        ),
        lambda model: metrics.elbo(model, images()),
        lambda model: metrics.importance_sampled_nll(model, images(), 2),
        lambda model: metrics.annealed_importance_nll(model, images()),
        metrics.bidirectional_gap,
        lambda model: metrics.evaluate(model, images()),
    ],
)
@pytest.mark.parametrize("model", [None, "model", VAE, torch.nn.Linear(2, 2)])
def test_what_is_no_model(call: Callable[[Any], object], model: Any) -> None:
    with pytest.raises(ComponentError, match=r"expected a mnistvae model, got .*: pass an instance of VAE"):
        call(model)


@pytest.mark.parametrize(
    "call",
    [
        encode_dataset,
        reconstruction_errors,
        metrics.elbo,
        metrics.importance_sampled_nll,
        metrics.annealed_importance_nll,
    ],
)
@pytest.mark.parametrize("data", [None, 3, [], "mnist", torch.rand(5, 1, 9, 9)])
def test_what_is_no_data_set(call: Callable[..., object], data: Any) -> None:
    with pytest.raises(DataError, match=r"expected (images|at least one image)"):
        call(vae(), data)


def test_images_in_any_form_are_a_data_set() -> None:
    model, data = vae(), images()
    plain = ImageDataset(data.images)
    expected = encode_dataset(model, data).means
    for form in (data.images, data.images.numpy(), plain, DataLoader(plain, 4), Subset(data, range(len(data)))):
        assert torch.allclose(encode_dataset(model, form).means, expected, atol=1e-6)
        assert len(reconstruction_errors(model, form)) == len(data)
        assert torch.equal(metrics.elbo(model, form).kl, metrics.elbo(model, data).kl)


def test_codes_are_tensors() -> None:
    for bad in (None, 3, np.zeros((4, 3)), [[0.0]]):
        with pytest.raises(DataError, match=r"means as a torch tensor, got (None|an? )"):
            LatentCodes(bad, torch.ones(4, 3))  # type: ignore[arg-type]
        with pytest.raises(DataError, match="standard deviations as a torch tensor, got "):
            LatentCodes(torch.ones(4, 3), bad)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="labels as a torch tensor, got a list"):
        LatentCodes(torch.ones(2, 3), torch.ones(2, 3), [0, 1])  # type: ignore[arg-type]


# --- sweeps ---------------------------------------------------------------------------------------------------------


def test_a_sweep() -> None:
    recipe, data = recipes.get("mlp-20"), images(60)
    seen: list[int] = []
    how: dict[str, Any] = {"epochs": 2, "batch_size": 10, "progress": False, "device": "cpu"}
    found = sweep(
        recipe,
        {"latent_dim": [1, 2, 4]},
        data,
        data[:30],
        settings={"hidden": (8,)},
        training=how,
        seed=3,
        done=lambda trial: seen.append(trial.settings["latent_dim"]),
    )
    assert seen == [1, 2, 4]
    assert [model.latent_dim for model in found.models] == [1, 2, 4]
    alone = recipe.model(image_shape=(1, 8, 8), latent_dim=2, hidden=(8,), seed=3)
    recipe.trainer(**how, seed=3).fit(alone, data)
    expected = metrics.evaluate(alone, data[:30], include=["reconstruction"], seed=3)
    assert found.trials[1].runs[0].evaluation == expected
    assert found.column("mse")[1] == expected["mse"]
    by_class = found.by_class("psnr")
    assert list(by_class) == [0, 1, 2]
    assert by_class[2][1] == expected.by_class[2]["psnr"]


def evaluation(mse: float, error: float | None, psnr: float = 1.0) -> metrics.Evaluation:
    return metrics.Evaluation(
        (
            metrics.Score("mse", mse, "", "lower", standard_error=error),
            metrics.Score("psnr", psnr, "dB", "higher"),
            metrics.Score("kl", 1.0, "nats"),
        )
    )


def made(*figures: metrics.Evaluation) -> analysis.Sweep:
    runs = [analysis.Trained(0, {score.name: score for score in one}, one) for one in figures]
    sizes = (5, 10, 15, 20)
    trials = [analysis.Trial({"latent_dim": size}, (run,)) for size, run in zip(sizes, runs, strict=False)]
    return analysis.Sweep(tuple(trials))


def test_the_best_value_is_the_least_that_is_as_good_as_the_best() -> None:
    found = made(evaluation(0.5, 0.1), evaluation(0.21, 0.02), evaluation(0.20, 0.02), evaluation(0.19, 0.02))
    assert found.best("mse").settings == {"latent_dim": 10}
    assert found.best("mse", tolerance=0).settings == {"latent_dim": 20}
    assert found.best("mse", tolerance=0.6).settings == {"latent_dim": 15}
    other = made(evaluation(1, None, 20.0), evaluation(1, None, 22.0), evaluation(1, None, 21.0))
    assert other.best("psnr").settings == {"latent_dim": 10}
    with pytest.raises(DataError, match="a better side, got kl"):
        found.best("kl")


def test_a_sweep_as_csv(tmp_path: Any) -> None:
    found = made(evaluation(0.5, 0.1), evaluation(0.25, 0.02))
    lines = found.to_csv(tmp_path / "a.csv").read_text().splitlines()
    assert lines == ["latent_dim,mse,psnr,kl", "5,0.5,1.0,1.0", "10,0.25,1.0,1.0"]
    with pytest.raises(DataError, match="scores by class"):
        found.by_class("mse")


@pytest.mark.parametrize(
    ("setting", "values"), [("latent_dim", [5]), ("latent_dim", [5, 5]), ("depth", [1, 2]), ("latent_dim", [2, 0])]
)
def test_a_sweep_that_makes_no_sense_trains_nothing(setting: str, values: list[int]) -> None:
    trained: list[Any] = []
    with pytest.raises(SettingError):
        sweep(recipes.get("mlp-20"), {setting: values}, images(), images(), done=trained.append)
    assert trained == []


def test_what_is_public() -> None:
    arrays: NDArray[np.float64] = embed(torch.randn(9, 2)).points
    assert arrays.dtype == np.float64
    assert mv.analysis is analysis


def test_a_traverse_in_steps_of_the_codes_own_spread() -> None:
    model = vae()
    code, spread = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([10.0, 0.1, 1.0])
    moved = traverse(model, code, [0, 2], (-1.0, 0.0, 2.0), spread=spread)
    by_hand = torch.tensor([[-9.0, -2.0, 0.5], [1.0, -2.0, 0.5], [21.0, -2.0, 0.5]])
    torch.testing.assert_close(moved[0], decode_codes(model, by_hand))
    torch.testing.assert_close(moved[1, 1], moved[0, 1])
    with pytest.raises(DataError, match="a spread of 3 dimensions, got shape"):
        traverse(model, code, spread=torch.ones(2))


def test_codes_of_a_conditional_model_need_labels() -> None:
    told = ConditionalVAE(3, image_shape=(1, 8, 8), num_classes=4)
    with pytest.raises(DataError, match="labels for a model conditioned on 4 classes, got none"):
        decode_codes(told, torch.zeros(2, 3))
