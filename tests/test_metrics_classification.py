"""How well codes tell the labels: equal to scikit-learn's own figures, and right on codes whose answer is plain."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler, label_binarize
from torch import Tensor

import mnistvae as mv
from mnistvae.errors import DataError, SettingError
from mnistvae.metrics.classification import Classification, Kind, classify_codes, roc_auc

KINDS: tuple[Kind, ...] = get_args(Kind)
#: Settings with which a test is quick.
QUICK: dict[str, dict[str, Any]] = {"random-forest": {"n_estimators": 20}, "mlp": {"hidden_layer_sizes": (16,)}}


def codes(n: int, seed: int, classes: int = 4, spread: float = 1.2) -> tuple[Tensor, Tensor]:
    """Clouds around the corners of a square, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    centres = 2.0 * torch.stack([labels % 2, labels // 2], 1)
    return centres + spread * torch.randn(n, 2, generator=generator), labels


TRAIN, TEST = codes(200, seed=1), codes(80, seed=2)


def classified(kind: Kind = "knn", **settings: Any) -> Classification:
    return classify_codes(*TRAIN, *TEST, kind, **{**QUICK.get(kind, {}), **settings})


# -------------------------------------------------------------------------------------------------- classify_codes

ORACLES: dict[str, Callable[[], Any]] = {
    "knn": lambda: KNeighborsClassifier(5),
    "logistic": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "random-forest": lambda: RandomForestClassifier(100, random_state=3),
    "mlp": lambda: make_pipeline(
        StandardScaler(),
        FunctionTransformer(lambda rows: rows.astype("float32")),
        MLPClassifier((100,), max_iter=1000, random_state=3),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_classification_is_scikit_learns(kind: Kind) -> None:
    found = classify_codes(*TRAIN, *TEST, kind, seed=3)
    oracle = ORACLES[kind]().fit(TRAIN[0].double().numpy(), TRAIN[1].numpy())
    predicted = oracle.predict(TEST[0].double().numpy())
    assert np.array_equal(found.predicted, predicted)
    np.testing.assert_allclose(found.probabilities, oracle.predict_proba(TEST[0].double().numpy()), atol=1e-12)
    true = TEST[1].numpy()
    assert found.accuracy == sk.accuracy_score(true, predicted)
    assert found.precision == sk.precision_score(true, predicted, average="macro")
    assert found.recall == sk.recall_score(true, predicted, average="macro")
    assert found.f1 == sk.f1_score(true, predicted, average="macro")
    assert np.array_equal(found.confusion, sk.confusion_matrix(true, predicted))
    assert found.classes.tolist() == [0, 1, 2, 3]
    assert 0.5 < found.accuracy < 0.9, "neither hopeless nor easy, or nothing would be compared"


@pytest.mark.parametrize("kind", KINDS)
def test_clouds_that_are_far_apart_are_told(kind: Kind) -> None:
    train, test = codes(80, seed=1, spread=0.01), codes(40, seed=2, spread=0.01)
    found = classify_codes(*train, *test, kind, **QUICK.get(kind, {}))
    assert found[:4] == (1.0, 1.0, 1.0, 1.0)
    assert np.array_equal(found.confusion, 10 * np.eye(4))


def test_the_figures_by_hand() -> None:
    # The nearest neighbour of 0, 1, 9 and 10 is plain, and the labels are made to be right 3 times of 5.
    train = torch.tensor([[0.0], [10.0]]), torch.tensor([4, 7])
    test = torch.tensor([[0.0], [1.0], [1.0], [9.0], [10.0]]), torch.tensor([4, 7, 7, 7, 7])
    found = classify_codes(*train, *test, n_neighbors=1)
    assert found.predicted.tolist() == [4, 4, 4, 7, 7]
    assert found.classes.tolist() == [4, 7]
    assert found.confusion.tolist() == [[1, 0], [2, 2]], "rows are true, columns predicted"
    assert found.accuracy == pytest.approx(3 / 5)
    assert found.precision == pytest.approx((1 / 3 + 1) / 2)
    assert found.recall == pytest.approx((1 + 1 / 2) / 2)
    assert found.f1 == pytest.approx((2 / 4 + 4 / 6) / 2)
    assert found.probabilities.tolist() == [[1, 0], [1, 0], [1, 0], [0, 1], [0, 1]]


@pytest.mark.parametrize("kind", ["logistic", "mlp"])
def test_units_of_the_codes_do_not_matter_where_they_are_standardised(kind: Kind) -> None:
    scale, shift = torch.tensor([1e-4, 1e5]).double(), torch.tensor([3.0, -2e5]).double()
    (a, y), (b, t) = TRAIN, TEST
    moved = classify_codes(a * scale + shift, y, b * scale + shift, t, kind, **QUICK.get(kind, {}))
    assert np.array_equal(moved.predicted, classified(kind).predicted)


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_classification_and_leaves_no_trace(kind: Kind) -> None:
    states = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002 (the global one is what is looked at)
    first = classified(kind, seed=5)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert all(np.array_equal(one, same) for one, same in zip(np.random.get_state(), states[1], strict=True))  # noqa: NPY002
    np.random.rand(3)  # noqa: NPY002
    again, other = classified(kind, seed=5), classified(kind, seed=6)
    assert all(np.array_equal(one, same) for one, same in zip(first, again, strict=True))
    assert np.array_equal(first.probabilities, other.probabilities) is (kind in {"knn", "logistic"})


def test_a_large_seed_will_do() -> None:
    assert classified("random-forest", seed=2**62).accuracy > 0.4


@pytest.mark.parametrize("form", [Tensor.numpy, Tensor.double, lambda x: x.requires_grad_()])
def test_codes_come_in_many_forms(form: Callable[[Tensor], Any]) -> None:
    (a, y), (b, t) = TRAIN, TEST
    found = classify_codes(form(a.clone()), y.numpy(), form(b.clone()), t.tolist())
    assert np.array_equal(found.predicted, classified().predicted)


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_that_training_lacks_is_always_wrong(kind: Kind) -> None:
    (a, y), (b, t) = TRAIN, TEST
    known = y != 1
    found = classify_codes(a[known], y[known], b, t, kind, **QUICK.get(kind, {}))
    assert found.classes.tolist() == [0, 1, 2, 3]
    assert found.confusion.shape == (4, 4)
    assert found.confusion[:, 1].tolist() == [0, 0, 0, 0]
    assert found.confusion[1].sum() == int((t == 1).sum())
    assert found.probabilities[:, 1].tolist() == [0.0] * 80
    np.testing.assert_allclose(found.probabilities.sum(1), 1.0)
    assert found.accuracy == np.mean(found.predicted == t.numpy()) <= 0.75
    assert found.recall == pytest.approx(sk.recall_score(t, found.predicted, average="macro"))


def test_a_class_that_the_test_lacks_has_a_row_of_zeros() -> None:
    (a, y), (b, t) = TRAIN, TEST
    found = classify_codes(a, y, b[t == 0], 0)
    assert found.classes.tolist() == [0, 1, 2, 3]
    assert found.confusion[0].sum() == 20
    assert found.confusion[1:].sum() == 0
    assert found.accuracy == found.confusion[0, 0] / 20 < 1
    # Classes that are predicted and not there count as 0; those that are neither count as nothing.
    appearing = np.union1d([0], found.predicted)
    assert found.recall == pytest.approx(found.accuracy / len(appearing))


def test_a_class_that_is_neither_there_nor_predicted_is_in_the_tables_and_not_in_the_means() -> None:
    train = torch.tensor([[0.0], [10.0], [20.0]]), torch.tensor([0, 1, 2])
    found = classify_codes(*train, torch.tensor([[1.0], [9.0]]), torch.tensor([0, 1]), n_neighbors=1)
    assert found.confusion.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert found.probabilities.shape == (2, 3)
    assert found[:4] == (1.0, 1.0, 1.0, 1.0)


def test_settings_reach_scikit_learn() -> None:
    assert classified(n_neighbors=1).accuracy != classified().accuracy
    by_one = KNeighborsClassifier(1).fit(*map(Tensor.numpy, TRAIN)).predict(TEST[0].numpy())
    assert np.array_equal(classified(n_neighbors=1).predicted, by_one)
    assert np.unique(classified("random-forest", n_estimators=4, max_depth=None).probabilities).tolist() == [
        0,
        0.25,
        0.5,
        0.75,
        1,
    ]


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("svm", {}, "kind as one of 'knn', 'logistic', 'random-forest', 'mlp', got 'svm'"),
        ("knn", {"k": 3}, "a setting of scikit-learn's KNeighborsClassifier, got 'k': it has .*n_neighbors"),
        ("mlp", {"random_state": 3}, "got 'random_state': pass it as seed"),
        ("knn", {"n_neighbors": 201}, "n_neighbors of at most 200, as many as there are training codes, got 201"),
        ("knn", {"n_neighbors": np.int64(201)}, "n_neighbors of at most 200"),
        ("knn", {"n_neighbors": 0}, "settings that KNeighborsClassifier can use, got .*n_neighbors"),
        ("logistic", {"C": -1.0}, "settings that LogisticRegression can use, got .*'C'"),
        ("random-forest", {"n_estimators": "many"}, "settings that RandomForestClassifier can use, got .*n_estimators"),
        ("mlp", {"seed": -1}, "seed"),
        ("knn", {"n_neighbors": None}, "settings that KNeighborsClassifier can use"),
        ("knn", {"n_jobs": 0}, "settings that KNeighborsClassifier can use, got n_jobs == 0 .*: see scikit-learn's"),
        ("knn", {"weights": lambda: 1}, "settings that KNeighborsClassifier can use"),
        ("random-forest", {"class_weight": [1, 2]}, "settings that RandomForestClassifier can use"),
        ("mlp", {"hidden_layer_sizes": [math.nan]}, "settings that MLPClassifier can use"),
    ],
)
def test_settings_that_make_no_sense(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        classify_codes(*TRAIN, *TEST, kind, **settings)


def test_as_many_neighbours_as_codes_will_do() -> None:
    assert np.ptp(classified(n_neighbors=200).probabilities) == 0, "all codes are everyone's neighbours"


def test_too_few_codes_for_the_usual_neighbours() -> None:
    with pytest.raises(SettingError, match=r"n_neighbors of at most 4, .* got 5: pass more codes, or a smaller"):
        classify_codes(TRAIN[0][:4], TRAIN[1][:4], *TEST)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_codes": TRAIN[0][:-1]}, r"one label for each of 199 images, shape \(199,\), got shape \(200,\)"),
        ({"test_labels": TEST[1][:-1]}, r"one label for each of 80 images, shape \(80,\), got shape \(79,\)"),
        ({"test_codes": torch.zeros(80, 3)}, "test codes of 2 dimensions, as the training codes have, got 3"),
        ({"test_codes": torch.zeros(0, 2)}, "test codes of at least 1 image, got 0"),
        (
            {"train_codes": torch.zeros(200)},
            r"training codes of shape \(N, latent_dim\), .*got shape \(200,\)",
        ),
        ({"train_labels": torch.zeros(200).long()}, "training labels of at least two classes, got one"),
        ({"train_labels": 3}, "training labels of at least two classes, got one"),
        ({"test_labels": torch.rand(80)}, "labels as integers"),
    ],
    ids=["lengths", "test lengths", "dimensions", "empty", "flat", "one class", "one label", "no labels"],
)
def test_codes_and_labels_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    given_data = {"train_codes": TRAIN[0], "train_labels": TRAIN[1], "test_codes": TEST[0], "test_labels": TEST[1]}
    with pytest.raises(DataError, match=message):
        classify_codes(**{**given_data, **change})


@pytest.mark.parametrize("which", ["training", "test"])
@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_codes_that_are_not_finite_are_counted_and_found(which: str, value: float) -> None:
    bad = {"training": TRAIN[0].clone(), "test": TEST[0].clone()}
    bad[which][7, 1] = bad[which][30, 0] = value
    with pytest.raises(DataError, match=rf"finite {which} codes, got NaN or infinity in 2 of \d+, .*number 7"):
        classify_codes(bad["training"], TRAIN[1], bad["test"], TEST[1])


@pytest.mark.parametrize(("kind", "name"), [("logistic", "LogisticRegression"), ("mlp", "MLPClassifier")])
def test_a_fit_that_is_not_done_is_said_in_plain_words(kind: Kind, name: str) -> None:
    with pytest.warns(UserWarning, match=f"{name} was not done after 2 iterations.*pass a larger max_iter") as caught:
        classified(kind, max_iter=2)
    assert [warning.category for warning in caught] == [UserWarning]
    assert caught[0].filename == __file__


def test_other_warnings_of_scikit_learns_are_passed_on() -> None:
    with pytest.warns(UserWarning, match="OOB") as caught:
        classified("random-forest", n_estimators=1, oob_score=True)
    assert all("iterations" not in str(warning.message) for warning in caught)


def test_the_filters_of_warnings_are_left_as_they_were() -> None:
    before = list(warnings.filters)
    classified("logistic")
    assert warnings.filters == before


def test_codes_of_real_digits() -> None:
    train, test = mv.load_dataset("mnist-mini", "train")[:2000], mv.load_dataset("mnist-mini", "test")[:500]
    pixels = train.images.flatten(1).double() / 255
    directions = torch.linalg.svd(pixels - pixels.mean(0), full_matrices=False).Vh[:10]
    a, b = pixels @ directions.T, test.images.flatten(1).double() / 255 @ directions.T
    found = {kind: classify_codes(a, train.labels, b, test.labels, kind).accuracy for kind in ("knn", "logistic")}
    # Ten principal components of 2,000 digits tell 4 of 5 others to neighbours, and fewer to planes.
    assert found == {"knn": pytest.approx(0.804, abs=0.02), "logistic": pytest.approx(0.724, abs=0.02)}


# --------------------------------------------------------------------------------------------------------- roc_auc


@given(seed=st.integers(0, 2**31), n=st.integers(4, 40), k=st.integers(2, 4), ties=st.booleans())
def test_the_areas_equal_scikit_learns(seed: int, n: int, k: int, ties: bool) -> None:
    generator = np.random.default_rng(seed)
    labels = np.r_[np.arange(k), generator.integers(0, k, max(0, n - k))]
    scores = generator.dirichlet(np.ones(k), len(labels))
    scores = scores.round(1) if ties else scores
    found = roc_auc(labels, scores)
    one_hot = labels[:, None] == np.arange(k)
    assert list(found.by_class) == list(range(k))
    expected = [sk.roc_auc_score(one_hot[:, j], scores[:, j]) for j in range(k)]
    assert list(found.by_class.values()) == pytest.approx(expected)
    if k > 2:
        assert found.micro == pytest.approx(
            sk.roc_auc_score(label_binarize(labels, classes=np.arange(k)), scores, average="micro")
        )
    assert found.micro == pytest.approx(sk.roc_auc_score(one_hot.ravel(), scores.ravel()))


def test_the_areas_are_the_shares_of_pairs_in_order() -> None:
    labels, scores = np.array([0, 1, 2, 1, 0, 2, 2]), np.random.default_rng(0).random((7, 3)).round(1)
    found = roc_auc(labels, scores)
    for label in range(3):
        pairs = [
            (scores[i, label] > scores[j, label]) + 0.5 * (scores[i, label] == scores[j, label])
            for i in range(7)
            for j in range(7)
            if labels[i] == label != labels[j]
        ]
        assert found.by_class[label] == pytest.approx(np.mean(pairs))


def test_perfect_reversed_and_blind_probabilities() -> None:
    labels = torch.arange(30) % 3
    perfect = torch.eye(3)[labels]
    assert roc_auc(labels, perfect) == ({0: 1.0, 1: 1.0, 2: 1.0}, 1.0)
    assert roc_auc(labels, 1 - perfect) == ({0: 0.0, 1: 0.0, 2: 0.0}, 0.0)
    assert roc_auc(labels, torch.full((30, 3), 1 / 3)) == ({0: 0.5, 1: 0.5, 2: 0.5}, 0.5)


def test_classes_have_their_own_labels() -> None:
    labels = torch.tensor([4, 9, 4, 7])
    probabilities = torch.tensor([[0.1, 0.8, 0.1], [0.7, 0.2, 0.1], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8]])
    for classes in ([9, 4, 7], np.array([9, 4, 7]), torch.tensor([9, 4, 7])):
        found = roc_auc(labels, probabilities, classes)
        assert found.by_class == {9: 1.0, 4: 1.0, 7: 1.0}
        assert all(type(label) is int for label in found.by_class)


def test_a_class_without_labels_has_no_area_and_is_said() -> None:
    labels = torch.tensor([0, 0, 2, 2])
    probabilities = torch.tensor([[0.6, 0.2, 0.2], [0.5, 0.2, 0.3], [0.1, 0.6, 0.3], [0.1, 0.2, 0.7]])
    with pytest.warns(UserWarning, match=r"no area under the curve of class 1, which is NaN") as caught:
        found = roc_auc(labels, probabilities)
    assert caught[0].filename == __file__
    assert math.isnan(found.by_class[1])
    assert found.by_class[0] == 1.0
    # All 12 decisions stay in the one curve.
    assert found.micro == pytest.approx(
        sk.roc_auc_score((labels[:, None] == torch.arange(3)).ravel(), probabilities.ravel())
    )


def test_labels_of_one_class_have_no_area_of_any() -> None:
    with pytest.warns(UserWarning, match=r"of class 0, 1, which is NaN"):
        found = roc_auc(0, torch.tensor([[0.9, 0.1], [0.3, 0.7]]))
    assert all(math.isnan(area) for area in found.by_class.values())
    assert found.micro == 0.75


def test_the_areas_of_a_classification() -> None:
    found = classified("random-forest")
    areas = roc_auc(TEST[1], found.probabilities, found.classes)
    assert all(0.6 < area < 1 for area in areas.by_class.values())
    known = TRAIN[1] != 1
    lacking = classify_codes(TRAIN[0][known], TRAIN[1][known], *TEST)
    assert roc_auc(TEST[1], lacking.probabilities, lacking.classes).by_class[1] == 0.5, "all have probability 0"


@pytest.mark.parametrize(
    ("labels", "probabilities", "classes", "message"),
    [
        ([0, 1, 3], torch.rand(3, 3), None, r"one of the classes \[0, 1, 2\], got 3"),
        ([0, 1], torch.rand(3, 3), None, "one label for each of 3 images"),
        ([0, 1, 0], torch.rand(3, 3), [0, 1], r"one for each of 3 columns, got \[0, 1\]"),
        ([0, 1, 0], torch.rand(3, 3), [0, 1, 1], r"different classes.*got \[0, 1, 1\]"),
        ([0, 0, 0], torch.rand(3, 1), None, r"two or more different classes.*got \[0\]"),
        *[
            ([0, 1, 0], torch.rand(3, 2), bad, "two or more different classes, one for each")
            for bad in (3, "ab", {0: 1})
        ],
        *[
            ([0, 1, 0], torch.rand(3, 2), bad, "labels as ")
            for bad in (["a", "b"], [None, 1], [[0], [1, 2]], [0.5, 1.0])
        ],
        ([0, 1, 0], torch.rand(3), None, r"probabilities of shape \(N, K\), a row for each image, got shape \(3,\)"),
        (
            [0, 1],
            torch.tensor([[0.5, 0.5], [math.nan, 0.5]]),
            None,
            "finite probabilities, got .* 1 of 2, .*number 1",
        ),
    ],
    ids=[
        *("stranger", "lengths", "too few classes", "twice", "one class"),
        *("a number", "a text", "a dict", "texts", "None", "uneven", "fractions"),
        *("flat", "NaN"),
    ],
)
def test_areas_of_what_does_not_fit(labels: Any, probabilities: Any, classes: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        roc_auc(labels, probabilities, classes)


def test_many_classes_for_so_few_codes_are_no_warning_of_scikit_learns() -> None:
    codes = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(60) % 40
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert classify_codes(codes, labels, codes, labels, kind="knn").accuracy >= 0
