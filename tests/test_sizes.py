"""Maps and clusters of codes do not depend on the size of the codes, whatever it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mnistvae.analysis import embed, find_clusters, outliers
from mnistvae.analysis._sizes import usual_size


def codes(n: int = 40, d: int = 4) -> Tensor:
    """Two groups of codes."""
    rows = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows[: n // 2] += 6
    return rows


@settings(deadline=None, max_examples=30)
@given(exponent=st.integers(-1000, 1000), offset=st.sampled_from([0.0, 1.0, -3e9]))
def test_codes_of_any_size_and_place_come_near_1(exponent: int, offset: float) -> None:
    rows = np.ldexp(codes().numpy() + offset, exponent)
    usual, unit = usual_size(rows)
    spread = np.ptp(usual, axis=0).max()
    assert np.isfinite(usual).all()
    assert 2.0**-21 <= spread <= 2.0**21
    again = np.ldexp(usual, unit) if abs(exponent) < 900 else usual
    if abs(exponent) < 900:
        assert np.allclose(again - again.mean(0), rows - rows.mean(0), rtol=1e-6, atol=float(np.ptp(rows)) * 1e-6)


@pytest.mark.parametrize("rows", [np.ones((5, 3)), np.zeros((5, 3)), np.full((5, 3), 1e-310), np.full((5, 3), 0.1) * 3])
def test_codes_that_are_all_the_same_are_zeros(rows: np.ndarray) -> None:
    assert not usual_size(rows)[0].any()


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e-24, 1e-7, 1e15, 1e100, 1e300])
def test_maps_of_codes_of_any_size(scale: float) -> None:
    found = embed(codes() * scale, "tsne", perplexity=5)
    assert np.isfinite(found.points).all()
    distances = np.linalg.norm(found.points[:, None] - found.points, axis=2) + np.diag(np.full(40, np.inf))
    assert ((distances.argmin(1) < 20) == (np.arange(40) < 20)).mean() > 0.9
    axes = embed(codes() * scale, "pca")
    usual = embed(codes(), "pca")
    assert np.allclose(axes.points, usual.points * scale, rtol=1e-2 if scale < 1e-300 else 1e-9, atol=0)
    assert np.allclose(axes.explained, usual.explained, rtol=1e-2)


@pytest.mark.parametrize("kind", ["pca", "tsne"])
def test_one_code_that_differs_from_all_others(kind: str) -> None:
    for odd in (1e-30, 1e-160, 1.0, 1e200):
        rows = torch.zeros(30, 4, dtype=torch.float64)
        rows[0, 0] = odd
        found = embed(rows, kind)  # type: ignore[arg-type]
        assert np.isfinite(found.points).all()
        assert all(np.isfinite(found.explained))


@pytest.mark.parametrize("scale", [2.0**-700, 2.0**-60, 2.0**60, 2.0**700])
def test_clusters_of_codes_of_any_size(scale: float) -> None:
    rows, usual = codes() * scale, codes()
    for kind in ("hdbscan", "dbscan"):
        found, expected = find_clusters(rows, kind), find_clusters(usual, kind)  # type: ignore[arg-type]
        assert found.members.tolist() == expected.members.tolist()
        assert np.array_equal(found.centroids, expected.centroids * scale)
        far, near = outliers(rows, found, 3), outliers(usual, expected, 3)
        assert [one.index for one in far] == [one.index for one in near]
        assert [one.distance for one in far] == pytest.approx([one.distance for one in near])
    given_eps = find_clusters(rows, "dbscan", eps=2.5 * scale, min_samples=4)
    assert given_eps.members.tolist() == find_clusters(usual, "dbscan", eps=2.5, min_samples=4).members.tolist()
    assert given_eps.settings["eps"] == 2.5 * scale
