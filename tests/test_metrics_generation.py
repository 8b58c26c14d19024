"""Generated images beside real ones: closed forms, scipy, torchmetrics, scikit-learn, and brute force."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from mnistvae.errors import DataError, SettingError
from mnistvae.metrics import generation
from mnistvae.metrics.frechet import frechet_distance, frechet_distance_of, gaussian_statistics
from mnistvae.metrics.generation import (
    ClassifierScore,
    PrecisionRecall,
    classifier_score,
    label_accuracy,
    precision_recall,
)

seeds = st.integers(0, 2**31)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def correlated(n: int, d: int, seed: int = 0) -> Tensor:
    """Features with a mean, and with scales that differ by a thousand."""
    scales = torch.logspace(-2, 1, d, dtype=torch.float64)
    return (normal(n, d, seed=seed) * scales) @ normal(d, d, seed=seed + 1) + normal(d, seed=seed + 2)


def rotation(d: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(normal(d, d, seed=seed)).Q


Statistics = tuple[Tensor, Tensor]


def by_scipy(first: Statistics, second: Statistics) -> float:
    """The formula as it is written."""
    (mu1, cov1), (mu2, cov2) = first, second
    root = scipy.linalg.sqrtm((cov1 @ cov2).numpy())
    root = root[0] if isinstance(root, tuple) else root
    return float((mu1 - mu2).square().sum() + (cov1 + cov2).trace() - 2 * np.trace(root.real))


# ------------------------------------------------------------------------------------------- gaussian_statistics


@given(seed=seeds, n=st.integers(2, 30), d=st.integers(1, 6))
def test_statistics_are_those_of_numpy(seed: int, n: int, d: int) -> None:
    features = normal(n, d, seed=seed)
    mean, covariance = gaussian_statistics(features)
    assert mean.shape == (d,)
    assert covariance.shape == (d, d)
    np.testing.assert_allclose(mean, features.numpy().mean(0), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(covariance, np.cov(features.numpy().T).reshape(d, d), rtol=1e-10, atol=1e-14)


def test_statistics_do_not_cancel_far_from_zero() -> None:
    features = torch.randint(0, 100, (500, 4), generator=torch.Generator().manual_seed(0))
    far = features + 10**9
    expected = gaussian_statistics(features)[1]
    torch.testing.assert_close(gaussian_statistics(far)[1], expected, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("convert", [Tensor.float, Tensor.half, Tensor.long, Tensor.numpy, lambda x: x.float().numpy()])
def test_statistics_are_in_float64_for_every_form(convert: Callable[[Tensor], Any]) -> None:
    features = normal(50, 3).mul(8).round()
    mean, covariance = gaussian_statistics(convert(features))
    assert mean.dtype is covariance.dtype is torch.float64
    assert torch.equal(mean, gaussian_statistics(features)[0])
    assert torch.equal(covariance, gaussian_statistics(features)[1])


# ----------------------------------------------------------------------------------------------- frechet_distance


@given(seed=seeds, d=st.integers(1, 6))
def test_the_distance_of_normals_whose_axes_agree_is_that_of_their_deviations(seed: int, d: int) -> None:
    mu1, mu2, axes = normal(d, seed=seed), normal(d, seed=seed + 1), rotation(d, seed=seed + 2)
    s1, s2 = normal(d, seed=seed + 3).abs(), normal(d, seed=seed + 4).abs()
    cov1, cov2 = (axes @ torch.diag(s.square()) @ axes.T for s in (s1, s2))
    expected = float((mu1 - mu2).square().sum() + (s1 - s2).square().sum())
    assert frechet_distance_of(mu1, cov1, mu2, cov2) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(seed=seeds, d=st.integers(2, 8))
def test_the_distance_is_the_formula_with_scipys_root(seed: int, d: int) -> None:
    first, second = gaussian_statistics(correlated(200, d, seed)), gaussian_statistics(normal(300, d, seed=seed + 7))
    assert frechet_distance_of(*first, *second) == pytest.approx(by_scipy(first, second), rel=1e-6)


def test_the_distance_of_many_features_is_the_formula_with_scipys_root() -> None:
    real, made = correlated(1000, 128), correlated(800, 128, seed=9)
    expected = by_scipy(gaussian_statistics(real), gaussian_statistics(made))
    assert frechet_distance(real, made) == pytest.approx(expected, rel=1e-9)


class AsItIs(nn.Module):
    """Features for torchmetrics that were made before."""

    num_features = 24

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.filterwarnings("ignore")
def test_the_distance_is_that_of_torchmetrics() -> None:
    image = pytest.importorskip("torchmetrics.image.fid", reason="torchmetrics is an oracle of this test only")
    real, made = correlated(400, 24), correlated(300, 24, seed=5)
    fid = image.FrechetInceptionDistance(feature=AsItIs()).set_dtype(torch.float64)
    fid.update(real, real=True)
    fid.update(made, real=False)
    assert frechet_distance(real, made) == pytest.approx(float(fid.compute()), rel=1e-6)


@given(seed=seeds, shift=st.floats(-10, 10), scale=st.floats(0.1, 10))
@settings(max_examples=15)
def test_the_distance_under_shifts_rotations_and_scales(seed: int, shift: float, scale: float) -> None:
    real, made = correlated(80, 5, seed), correlated(90, 5, seed + 9)
    distance = frechet_distance(real, made)
    turn = rotation(5, seed)
    assert frechet_distance(real + shift, made + shift) == pytest.approx(distance, rel=1e-9)
    assert frechet_distance(real @ turn, made @ turn) == pytest.approx(distance, rel=1e-8)
    assert frechet_distance(scale * real, scale * made) == pytest.approx(scale**2 * distance, rel=1e-9)
    assert frechet_distance(made, real) == pytest.approx(distance, rel=1e-9)
    assert frechet_distance(real, real + shift) == pytest.approx(5 * shift**2, rel=1e-9, abs=1e-8)
    direction = real - real.mean(0)
    spread = float(direction.square().sum() / 79)
    assert frechet_distance(real, real + scale * direction) == pytest.approx(scale**2 * spread, rel=1e-8)


@given(seed=seeds, n=st.integers(2, 40), d=st.integers(1, 12))
@pytest.mark.filterwarnings("ignore:the Fréchet distance is biased")
def test_equal_sets_have_no_distance_and_near_ones_none_below_zero(seed: int, n: int, d: int) -> None:
    features = correlated(n, d, seed)
    trace = float(gaussian_statistics(features)[1].trace())
    assert 0 <= frechet_distance(features, features) <= 1e-12 * trace
    assert 0 <= frechet_distance(features, features.flip(0)) <= 1e-12 * trace
    assert frechet_distance(features, features + 1e-9 * normal(n, d, seed=seed)) >= 0


# ---- singular covariances


@given(seed=seeds, d=st.integers(2, 12), ranks=st.tuples(st.integers(0, 12), st.integers(0, 12)))
def test_singular_covariances_are_exact(seed: int, d: int, ranks: tuple[int, int]) -> None:
    roots = [normal(d, min(d, rank), seed=seed + i) for i, rank in enumerate(ranks)]
    first, second = (root @ root.T for root in roots)
    expected = float(first.trace() + second.trace() - 2 * torch.linalg.svdvals(roots[0].T @ roots[1]).sum())
    zero = torch.zeros(d)
    for one, other in ((first, second), (second, first)):
        assert frechet_distance_of(zero, one, zero, other) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_covariances_that_are_singular_by_one_are_exact(seed: int) -> None:
    # Cholesky's decomposition of about half of these succeeds, with a last pivot that is mere rounding.
    thin, full = normal(6, 5, seed=seed), normal(6, 6, seed=seed + 100)
    expected = float(thin.square().sum() + full.square().sum() - 2 * torch.linalg.svdvals(thin.T @ full).sum())
    zero = torch.zeros(6)
    assert frechet_distance_of(zero, thin @ thin.T, zero, full @ full.T) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("n", [2, 10, 31])
def test_fewer_images_than_features_are_exact_and_warned_of_once(n: int) -> None:
    real, made = normal(n, 32), normal(n + 1, 32, seed=1) + 0.5
    roots = [(x - x.mean(0)).T / math.sqrt(len(x) - 1) for x in (real, made)]
    trace = sum(float(root.square().sum()) for root in roots)
    expected = float((real.mean(0) - made.mean(0)).square().sum()) + trace
    expected -= 2 * float(torch.linalg.svdvals(roots[0].T @ roots[1]).sum())
    with pytest.warns(UserWarning, match=f"biased upwards: {n} images are too few for the covariance of 32") as caught:
        assert frechet_distance(real, made) == pytest.approx(expected, rel=1e-9)
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize(("n", "m", "fewest"), [(8, 100, 8), (100, 8, 8), (9, 9, None)])
def test_as_few_images_as_features_in_one_set_are_warned_of(n: int, m: int, fewest: int | None) -> None:
    real, made = normal(n, 8), normal(m, 8, seed=1)
    if fewest is None:
        frechet_distance(real, made)  # warnings are errors here
        return
    with pytest.warns(UserWarning, match=f"biased upwards: {fewest} images"):
        frechet_distance(real, made)


def test_features_that_are_constant_or_doubled_count_as_they_should() -> None:
    real, made = normal(300, 3), 2 * normal(300, 3, seed=1)
    distance = frechet_distance(real, made)
    for constant in (0.0, 7.0):
        wider = [torch.cat([x, torch.full((300, 2), constant, dtype=x.dtype)], dim=1) for x in (real, made)]
        assert frechet_distance(*wider) == pytest.approx(distance, rel=1e-9)
    apart = [torch.cat([x, torch.full((300, 1), c, dtype=x.dtype)], 1) for x, c in ((real, 0.0), (made, 3.0))]
    assert frechet_distance(*apart) == pytest.approx(distance + 9, rel=1e-9)
    doubled = [torch.cat([x, x], dim=1) for x in (real, made)]
    assert frechet_distance(*doubled) == pytest.approx(2 * distance, rel=1e-9)
    dead = torch.zeros(300, 3)
    assert frechet_distance(dead, dead + 1) == pytest.approx(3.0, rel=1e-12)


# ---- what frechet_distance refuses


def test_statistics_need_two_images() -> None:
    one, many = normal(1, 2), normal(9, 2)
    with pytest.raises(DataError, match="at least 2 images in features, for a covariance, got 1: "):
        gaussian_statistics(one)
    for pair, name in (((one, many), "real"), ((many, one), "generated")):
        with pytest.raises(DataError, match=f"at least 2 images in {name}, for a covariance, got 1: "):
            frechet_distance(*pair)


def test_matrices_that_are_no_covariances_are_refused() -> None:
    zero, unit = torch.zeros(3), torch.eye(3)
    with pytest.raises(DataError, match="cov1 as a symmetric matrix"):
        frechet_distance_of(
            zero, torch.eye(3).index_put((torch.tensor(0), torch.tensor(1)), torch.tensor(0.5)), zero, unit
        )
    with pytest.raises(DataError, match="cov2 without negative eigenvalues, got -1, where the largest is 2: "):
        frechet_distance_of(zero, unit, zero, torch.diag(torch.tensor([2.0, 1.0, -1.0])))
    for shapes in (
        ((3,), (3, 3), (2,), (2, 2)),
        ((3,), (3,), (3,), (3, 3)),
        ((1, 3), (3, 3), (1, 3), (3, 3)),
        ((), (), (), ()),
    ):
        with pytest.raises(DataError, match=r"means of shape \(D,\) and covariances of shape \(D, D\), got shapes"):
            frechet_distance_of(*(torch.zeros(shape) for shape in shapes))
    with pytest.raises(DataError, match=r"finite cov2, got NaN or infinity in 1 of 3, the first of them number 1: "):
        frechet_distance_of(zero, unit, zero, torch.diag(torch.tensor([1.0, math.nan, 1.0])))
    with pytest.raises(DataError, match="finite mean2"):
        frechet_distance_of(zero, unit, zero + math.inf, unit)


def test_covariances_that_were_rounded_are_taken() -> None:
    first, second = gaussian_statistics(correlated(40, 24)), gaussian_statistics(correlated(90, 24, seed=4))
    low_rank = gaussian_statistics(correlated(12, 24, seed=8))
    for one, other in ((first, second), (second, low_rank), (low_rank, low_rank)):
        expected = frechet_distance_of(*one, *other)
        rounded = [x.float().numpy() for x in (*one, *other)]
        scale = float(one[1].trace() + other[1].trace())
        assert frechet_distance_of(*rounded) == pytest.approx(expected, abs=3e-3 * scale)


# ----------------------------------------------------------------------------------------------- classifier_score


def test_the_score_of_a_classifier_that_is_sure_is_the_number_of_classes_it_sees() -> None:
    sure = 1000 * torch.eye(10)
    assert classifier_score(sure).mean == pytest.approx(10, rel=1e-12)
    assert classifier_score(sure[:4]).mean == pytest.approx(4, rel=1e-12)
    assert classifier_score(sure[[3, 3, 3]]).mean == pytest.approx(1, rel=1e-12)
    assert classifier_score(sure[[0, 1, 1, 1]]).mean == pytest.approx(math.exp(scipy.stats.entropy([1, 3])), rel=1e-12)


def test_the_score_of_a_classifier_that_does_not_know_is_one() -> None:
    alike = [normal(1, 10, seed=seed).expand(50, -1) for seed in range(30)]
    for logits in (torch.zeros(50, 10), torch.full((50, 10), -3.0), normal(1, 10), *alike):
        assert classifier_score(logits) == ClassifierScore(pytest.approx(1, rel=1e-12), 0.0)
        assert classifier_score(logits).mean >= 1


def test_the_score_of_two_classes_has_a_closed_form() -> None:
    p = 0.8
    logits = torch.tensor([[math.log(p), math.log(1 - p)], [math.log(1 - p), math.log(p)]], dtype=torch.float64)
    expected = math.exp(math.log(2) + p * math.log(p) + (1 - p) * math.log(1 - p))
    assert classifier_score(logits).mean == pytest.approx(expected, rel=1e-12)


@given(seed=seeds, n=st.integers(1, 40), classes=st.integers(1, 12), scale=st.floats(0.1, 30), splits=st.integers(1, 5))
def test_the_score_is_the_mean_divergence_as_scipy_has_it(
    seed: int, n: int, classes: int, scale: float, splits: int
) -> None:
    n += splits
    logits = scale * normal(n, classes, seed=seed)
    p = scipy.special.softmax(logits.numpy(), axis=1)
    parts = [p[i::splits] for i in range(splits)]
    scores = [math.exp(scipy.stats.entropy(part, part.mean(0, keepdims=True), axis=1).mean()) for part in parts]
    got = classifier_score(logits, splits=splits)
    assert got.mean == pytest.approx(np.mean(scores), rel=1e-9)
    assert got.std == pytest.approx(np.std(scores), rel=1e-6, abs=1e-9)
    assert 1 <= got.mean <= classes * (1 + 1e-12)


def test_the_score_does_not_depend_on_the_level_of_the_logits_or_on_their_order() -> None:
    logits = 3 * normal(100, 10)
    score = classifier_score(logits).mean
    assert classifier_score(logits + 1e4 * normal(100, 1, seed=1)).mean == pytest.approx(score, rel=1e-9)
    assert classifier_score(logits.flip(0)).mean == pytest.approx(score, rel=1e-12)
    assert classifier_score(logits.float().numpy()).mean == pytest.approx(score, rel=1e-6)
    assert classifier_score(1e6 * logits).mean <= 10


def test_splits_are_even_where_images_are_in_order_of_their_class() -> None:
    in_order = 1000 * torch.eye(10).repeat_interleave(10, dim=0)
    assert classifier_score(in_order, splits=10) == ClassifierScore(pytest.approx(10), pytest.approx(0, abs=1e-9))


def test_what_classifier_score_refuses() -> None:
    for bad in (0, -1, 1.5, True, "2"):
        with pytest.raises(SettingError, match="splits as an integer of at least 1"):
            classifier_score(torch.zeros(5, 2), splits=bad)
    with pytest.raises(DataError, match="at least 6 images for 6 splits, got 5: "):
        classifier_score(torch.zeros(5, 2), splits=6)


# ----------------------------------------------------------------------------------------------- precision_recall


def brute_force(real: Tensor, made: Tensor, k: int) -> tuple[int, int]:
    """The numbers of images inside, as the definition has them."""

    def distances(a: Tensor, b: Tensor) -> Tensor:
        return (a.double()[:, None] - b.double()[None]).square().sum(-1)

    def reach(points: Tensor) -> Tensor:
        own = distances(points, points).fill_diagonal_(math.inf)
        return own.sort(dim=1).values[:, k - 1]

    between = distances(real, made)
    inside_real = (between <= reach(real)[:, None]).any(0)
    inside_made = (between <= reach(made)).any(1)
    return int(inside_real.sum()), int(inside_made.sum())


def counts(real: Tensor, made: Tensor, k: int) -> tuple[float, float]:
    found = precision_recall(real, made, k=k)
    return found.precision * len(made), found.recall * len(real)


@given(
    seed=seeds,
    sizes=st.tuples(st.integers(6, 60), st.integers(6, 60)),
    d=st.integers(1, 20),
    k=st.integers(1, 5),
    apart=st.floats(0, 2),
)
def test_precision_and_recall_are_those_of_brute_force(
    seed: int, sizes: tuple[int, int], d: int, k: int, apart: float
) -> None:
    real, made = normal(sizes[0], d, seed=seed), 0.8 * normal(sizes[1], d, seed=seed + 1) + apart / math.sqrt(d)
    assert counts(real, made, k) == pytest.approx(brute_force(real, made, k), abs=1e-9)


@given(seed=seeds, sizes=st.tuples(st.integers(4, 40), st.integers(4, 40)), k=st.integers(1, 3))
def test_ties_and_doubles_are_inside_as_in_brute_force(seed: int, sizes: tuple[int, int], k: int) -> None:
    noise = torch.Generator().manual_seed(seed)
    real, made = (torch.randint(0, 6, (n, 2), generator=noise).double() for n in sizes)
    expected = brute_force(real, made, k)  # on whole numbers, where it is exact
    for offset in (0, 12_345):
        assert counts(real + offset, made + offset, k) == pytest.approx(expected, abs=1e-9)
    far = torch.tensor([[1000.0, 0.0]], dtype=torch.float64)
    both = torch.cat([made, made + far])  # another cloud, which moves the middle of this one
    assert counts(real, both, k) == pytest.approx(brute_force(real, both, k), abs=1e-9)
    assert counts(both, real, k) == pytest.approx(brute_force(both, real, k), abs=1e-9)


def test_many_features_give_the_counts_of_brute_force_in_float32_too() -> None:
    scales = torch.logspace(-1, 1, 64)
    real, made = normal(600, 64).float() * scales + 3, normal(500, 64, seed=1).float() * scales + 4
    expected = brute_force(real, made, 3)
    assert 0 < expected[0] < 500
    assert 0 < expected[1] < 600
    assert counts(real, made, 3) == pytest.approx(expected, abs=1e-9)
    assert counts(real.numpy(), made.numpy(), 3) == pytest.approx(expected, abs=1e-9)


def test_precision_and_recall_are_those_of_scikit_learns_neighbours() -> None:
    real, made = normal(200, 8), 0.7 * normal(150, 8, seed=1) + 0.4

    def inside(points: Tensor, others: Tensor) -> float:
        tree = NearestNeighbors(algorithm="kd_tree").fit(points.numpy())
        reach = tree.kneighbors(n_neighbors=3)[0][:, -1]
        far, index = tree.kneighbors(others.numpy(), n_neighbors=len(points))
        return float((far <= reach[index]).any(1).mean())

    assert precision_recall(real, made) == pytest.approx((inside(real, made), inside(made, real)), abs=1e-12)


def test_clouds_that_are_apart_equal_or_nested() -> None:
    cloud = normal(100, 4)
    assert precision_recall(cloud, cloud) == (1.0, 1.0)
    assert precision_recall(cloud, cloud.flip(0)) == (1.0, 1.0)
    assert precision_recall(cloud, cloud + 100) == (0.0, 0.0)
    assert precision_recall(cloud, cloud[:50])[0] == 1.0
    assert precision_recall(cloud[:50], cloud)[1] == 1.0
    narrow = precision_recall(cloud, cloud / 100)
    assert narrow.precision == 1.0
    assert narrow.recall < 0.1


def test_a_line_by_hand() -> None:
    real = torch.tensor([[0.0], [1.0], [3.0], [6.0]])  # reach 1, 1, 2, 3 for k = 1; 3, 2, 3, 5 for k = 2
    made = torch.tensor([[-1.0], [-1.5], [2.0], [9.0], [9.5]])  # reach 0.5, 0.5, 3, 0.5, 0.5
    assert precision_recall(real, made, k=1) == PrecisionRecall(3 / 5, 3 / 4)  # -1, 2, 9; 0, 1, 3
    assert precision_recall(real, made, k=2).precision == 1.0


def test_doubles_of_one_image_reach_no_further() -> None:
    real = normal(50, 6)
    collapsed = real[:1].expand(20, -1)
    assert precision_recall(real, collapsed) == PrecisionRecall(1.0, 1 / 50)
    assert precision_recall(real, collapsed + 1e-3) == PrecisionRecall(1.0, 0.0)


@given(seed=seeds, shift=st.sampled_from([0.0, 1e3, -1e6]))
@settings(max_examples=10)
def test_precision_and_recall_change_places_and_stay_under_shifts(seed: int, shift: float) -> None:
    real, made = normal(60, 5, seed=seed), normal(50, 5, seed=seed + 1) + 0.5
    precision, recall = precision_recall(real, made)
    assert precision_recall(made, real) == (recall, precision)
    assert precision_recall(real + shift, made + shift) == (precision, recall)
    assert precision_recall(1e-3 * real, 1e-3 * made) == (precision, recall)


@pytest.mark.parametrize("distances", [1, 60, 61, 500, 10**7])
def test_chunks_change_nothing(distances: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real, made = normal(60, 5), normal(50, 5, seed=1) + 0.5
    expected = precision_recall(real, made)
    monkeypatch.setattr(generation, "_DISTANCES", distances)
    assert precision_recall(real, made) == expected


def test_the_distances_are_never_held_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    whole = generation._squared_distances

    def watched(*args: Any, **kwargs: Any) -> Any:
        for here, squared in whole(*args, **kwargs):
            sizes.append(squared.numel())
            yield here, squared

    monkeypatch.setattr(generation, "_squared_distances", watched)
    precision_recall(normal(2000, 2), normal(1500, 2, seed=1))
    assert max(sizes) <= 2**20
    assert sum(sizes) == 2000**2 + 1500**2 + 2000 * 1500


def test_what_precision_recall_refuses() -> None:
    few, many = normal(3, 2), normal(10, 2)
    for pair, name in (((few, many), "real"), ((many, few), "generated")):
        with pytest.raises(DataError, match=f"more than k = 3 images in {name}, got 3: "):
            precision_recall(*pair)
        assert precision_recall(*pair, k=2)
    for bad in (0, -1, 1.5, True):
        with pytest.raises(SettingError, match="k as an integer of at least 1"):
            precision_recall(many, many, k=bad)


# ------------------------------------------------------------------------------------------------ label_accuracy


@given(rows=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
def test_label_accuracy_is_the_share_of_agreement(rows: list[tuple[int, int]]) -> None:
    read, wanted = (torch.tensor(column) for column in zip(*rows, strict=True))
    logits = nn.functional.one_hot(read, 5) - 3.0
    expected = sum(a == b for a, b in rows) / len(rows)
    for labels in (wanted, wanted.numpy(), wanted.tolist()):
        assert label_accuracy(logits, labels) == pytest.approx(expected, rel=1e-12)
    assert label_accuracy(logits, 2) == pytest.approx(sum(a == 2 for a, _ in rows) / len(rows), rel=1e-12)


def test_what_label_accuracy_refuses() -> None:
    with pytest.raises(DataError, match="labels from 0 to 2, got 3"):
        label_accuracy(torch.eye(3), [0, 1, 3])
    with pytest.raises(DataError, match="one label for each of 3 images"):
        label_accuracy(torch.eye(3), [0, 1])


# ------------------------------------------------------------------------------------------- what all of them refuse

ONE_SET: list[Callable[[Any], Any]] = [
    gaussian_statistics,
    classifier_score,
    lambda x: label_accuracy(x, 0),
]
TWO_SETS: list[Callable[[Any, Any], Any]] = [frechet_distance, precision_recall]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("convert", [Tensor.float, Tensor.numpy])
def test_values_that_are_not_finite_are_refused(value: float, convert: Callable[[Tensor], Any]) -> None:
    good, bad = normal(20, 3), normal(20, 3)
    bad[7, 1] = bad[7, 2] = bad[12, 0] = value
    message = r"got NaN or infinity in 2 of 20, the first of them number 7: "
    for metric in ONE_SET:
        with pytest.raises(DataError, match=message):
            metric(convert(bad))
    for metric in TWO_SETS:
        with pytest.raises(DataError, match=f"finite real, {message}"):
            metric(convert(bad), convert(good))
        with pytest.raises(DataError, match=f"finite generated, {message}"):
            metric(convert(good), convert(bad))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(5), r"a row for each image, got shape \(5,\)"),
        (torch.zeros(5, 2, 2), r"a row for each image, got shape \(5, 2, 2\)"),
        (torch.zeros(0, 3), "at least 1 image, got 0: pass more"),
        (torch.zeros(5, 0), r"a row for each image, got shape \(5, 0\)"),
        (torch.tensor(math.nan), r"a row for each image, got shape \(\)"),
        (torch.zeros(5, 3, dtype=torch.bool), "real numbers, got dtype torch.bool"),
        (torch.zeros(5, 3, dtype=torch.complex64), "real numbers, got dtype torch.complex64"),
        (np.array([["a"]]), "numbers, got a numpy array of dtype <U1"),
        ([[1.0], [1.0, 2.0]], "numbers, got a list of uneven length"),
        (None, "numbers, got None"),
    ],
    ids=str,
)
def test_what_is_no_matrix_of_features_is_refused(bad: Any, message: str) -> None:
    for metric in ONE_SET:
        with pytest.raises(DataError, match=message):
            metric(bad)
    for metric in TWO_SETS:
        with pytest.raises(DataError, match=message):
            metric(bad, normal(5, 3))


@pytest.mark.parametrize("metric", TWO_SETS)
def test_features_of_two_networks_are_refused(metric: Callable[[Any, Any], Any]) -> None:
    with pytest.raises(DataError, match="as many features of real as of generated images, got 3 and 4: "):
        metric(normal(10, 3), normal(10, 4))


def test_inputs_are_left_alone_and_may_be_views() -> None:
    real, made = normal(40, 3), normal(40, 3, seed=1)
    before = real.clone()
    read_only = real.numpy().copy()
    read_only.flags.writeable = False
    expected = frechet_distance(real, made), precision_recall(real, made)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for form in (read_only, np.asfortranarray(read_only), read_only[::-1][::-1], real.clone().requires_grad_()):
            assert frechet_distance(form, made) == pytest.approx(expected[0], rel=1e-12)
            assert precision_recall(form, made) == expected[1]
    assert torch.equal(real, before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same() -> None:
    real, made = correlated(300, 12), correlated(300, 12, seed=4)
    assert frechet_distance(real.cuda(), made) == pytest.approx(frechet_distance(real, made), rel=1e-9)
    assert precision_recall(real.cuda(), made.cuda()) == precision_recall(real, made)
    assert classifier_score(real.cuda()) == pytest.approx(classifier_score(real), rel=1e-9)
    assert label_accuracy(real.cuda(), 3) == label_accuracy(real, 3)
