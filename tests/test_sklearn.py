"""Estimators in scikit-learn's hands: its own checks, and what its tools make of them."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import mnistvae as mv
from mnistvae.errors import DataError, SettingError
from mnistvae.sklearn import VAEOutlierDetector, VAETransformer

#: Settings of a training of milliseconds.
QUICK: dict[str, Any] = {
    "latent_dim": 2,
    "epochs": 2,
    "batch_size": 64,
    "settings": {"hidden": (8,)},
    "device": "cpu",
}
BATCHES = "its importance samples, or its search, draw noise for a whole batch: a row's score depends on its place"


def expected_failures(estimator: Any) -> dict[str, str]:
    """Checks that cannot apply, with the reason."""
    if getattr(estimator, "kind", "density") in {"nll", "complexity", "regret"}:
        return {"check_methods_subset_invariance": BATCHES, "check_methods_sample_order_invariance": BATCHES}
    return {}


@parametrize_with_checks(
    [
        VAETransformer(**QUICK),
        VAEOutlierDetector(**QUICK),
        VAEOutlierDetector(kind="nll", num_samples=2, **QUICK),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def digits() -> NDArray[np.float64]:
    table: NDArray[np.float64] = load_digits().data[:300]
    return table


@pytest.fixture(scope="module")
def fitted(digits: NDArray[np.float64]) -> VAETransformer:
    return VAETransformer(max_value=16, **QUICK).fit(digits)


# --- one fit, and the same by hand ----------------------------------------------------------------------------------


def test_it_is_the_model_that_recipe_and_trainer_make(fitted: VAETransformer, digits: NDArray[np.float64]) -> None:
    recipe = mv.recipes.get("mlp")
    model = recipe.model(image_shape=(1, 8, 8), latent_dim=2, hidden=(8,), seed=0)
    images = mv.ImageDataset(digits.reshape(-1, 8, 8), max_value=16)
    history = recipe.trainer(epochs=2, batch_size=64, seed=0, device="cpu", progress=False).fit(model, images)
    assert fitted.image_shape_ == (1, 8, 8)
    assert fitted.data_range_ == (0, 16)
    assert fitted.history_.column("loss") == history.column("loss")
    x = torch.from_numpy(digits / 16).float().reshape(-1, 1, 8, 8)
    with torch.no_grad():
        means = model.encode(x).mean
        assert np.allclose(fitted.transform(digits), means, atol=1e-5)
        decoded = model.decode(means).mean.flatten(1) * 16
    assert np.allclose(fitted.inverse_transform(means.numpy()), decoded, atol=1e-4)
    again = torch.Generator().manual_seed(7)
    assert np.allclose(fitted.sample(3, random_state=7), model.sample(3, generator=again).flatten(1) * 16, atol=1e-4)


def test_the_score_is_the_bound_without_the_weight_of_its_training(digits: NDArray[np.float64]) -> None:
    vae = VAETransformer(beta=4.0, max_value=16, num_samples=200, **QUICK).fit(digits)
    images = torch.from_numpy(digits / 16).float().reshape(-1, 1, 8, 8)
    draws = torch.stack([mv.metrics.elbo(vae.model_, images, seed=seed).loss for seed in range(20)])
    assert np.allclose(vae.score_samples(digits), -draws.mean(0), rtol=0.02)
    assert vae.score(digits) == pytest.approx(-float(draws.mean()), rel=0.003)
    assert vae.score(digits) == vae.score_samples(digits).mean()


def test_other_posteriors_are_scored_a_row_at_a_time(fitted: VAETransformer, digits: NDArray[np.float64]) -> None:
    class Other(torch.distributions.Independent):
        """A normal that is no DiagonalNormal."""

    vae = clone(fitted).fit(digits[:50])
    encode = vae.model_.encode

    def other(x: Any, y: Any = None) -> Any:
        found = encode(x.float(), y)
        return Other(torch.distributions.Normal(found.mean, found.stddev, validate_args=False), 1, validate_args=False)

    few = digits[:6].astype(np.float32)
    usual = vae.set_params(num_samples=200).score_samples(few)
    vae.model_.encode = other
    found = vae.score_samples(few)
    assert np.allclose(found, usual, rtol=0.02)
    assert np.array_equal(found[2:4], vae.score_samples(few[2:4]))


def test_precision_is_that_of_the_table(fitted: VAETransformer, digits: NDArray[np.float64]) -> None:
    single = fitted.transform(digits.astype(np.float32))
    assert single.dtype == np.float32
    assert fitted.transform(digits).dtype == np.float64
    assert fitted.transform(digits.astype(np.uint8)).dtype == np.float32
    assert np.allclose(single, fitted.transform(digits), atol=1e-5)
    assert fitted.model_.dtype == torch.float32, "the model is left as it was"
    assert fitted.inverse_transform(single).dtype == np.float32


def test_a_seed_repeats_and_none_does_not(digits: NDArray[np.float64]) -> None:
    def codes(state: Any) -> NDArray[Any]:
        found: NDArray[Any] = VAETransformer(random_state=state, **QUICK).fit(digits).transform(digits)
        return found

    assert np.array_equal(codes(3), codes(np.int64(3)))
    assert np.array_equal(codes(np.random.RandomState(3)), codes(np.random.RandomState(3)))
    assert not np.array_equal(codes(None), codes(None))
    assert not np.array_equal(codes(3), codes(4))


# --- the scale of X -------------------------------------------------------------------------------------------------


def test_a_scale_may_be_learned_and_is_undone(digits: NDArray[np.float64]) -> None:
    shifted = digits * 2 - 100
    one, other = (VAETransformer(**QUICK).fit(table) for table in (digits, shifted))
    assert other.data_range_ == (-100, -68)
    assert np.allclose(one.transform(digits), other.transform(shifted))
    codes = one.transform(digits)
    assert np.allclose(one.inverse_transform(codes) * 2 - 100, other.inverse_transform(codes))
    assert -100 <= other.sample(5).min() <= other.sample(5).max() <= -68
    assert np.array_equal(other.transform(shifted + 1000), other.transform(np.full_like(shifted, -68))), "clipped"


def test_values_beyond_a_given_scale_are_refused(fitted: VAETransformer, digits: NDArray[np.float64]) -> None:
    expected = r"X from 0 to max_value=16, got values from 0 to 32: give the value that is white as max_value, or None"
    with pytest.raises(DataError, match=expected):
        fitted.transform(digits * 2)
    with pytest.raises(DataError, match="max_value=1, got values from 0 to 16"):
        VAETransformer(max_value=1, **QUICK).fit(digits)
    fitted.transform(digits * (1 + 1e-8))


def test_images_of_another_shape(digits: NDArray[np.float64]) -> None:
    assert VAETransformer(**QUICK).fit(digits[:, :60]).image_shape_ == (1, 1, 60)
    colour = VAETransformer(image_shape=(3, 4, 5), **QUICK).fit(digits[:, :60])
    assert colour.model_.image_shape == (3, 4, 5)
    with pytest.raises(SettingError, match=r"image_shape of 64 pixels, as X has features, got \(3, 4, 5\)"):
        VAETransformer(image_shape=(3, 4, 5), **QUICK).fit(digits)


# --- settings -------------------------------------------------------------------------------------------------------


def test_settings_of_recipe_and_trainer_are_reached(digits: NDArray[np.float64]) -> None:
    vae = VAETransformer(settings={"hidden": (5, 4)}, training={"steps": 3, "schedule": "cosine"}, latent_dim=3)
    vae.fit(digits)
    assert [layer.out_features for layer in vae.model_.encoder.modules() if isinstance(layer, torch.nn.Linear)] == [
        *(5, 4),
        6,
    ]
    assert vae.history_.stopped == "3 steps are done"
    recipe = mv.recipes.get("mlp-2d")
    assert VAETransformer(recipe, epochs=1).fit(digits).transform(digits).shape == (300, 2)


def test_errors(digits: NDArray[np.float64]) -> None:
    with pytest.raises(NotFittedError):
        VAETransformer().sample()
    for bad, message in (
        ({"recipe": "mpl"}, "the closest is 'mlp'"),
        ({"recipe": "conditional"}, r"a recipe whose model is told no labels, got 'conditional'.*choose another"),
        ({"settings": {"latent_dim": 3}}, "settings without latent_dim, got them: set the parameter latent_dim"),
        ({"training": {"seed": 3}}, "set the parameter random_state in its place"),
        ({"training": 3}, "training as a dictionary, or None, got an int"),
        ({"beta": -1.0}, "beta"),
        ({"epochs": 0}, "epochs"),
        ({"random_state": -1}, "seed"),
        ({"max_value": 0}, "max_value as a finite number above 0"),
    ):
        with pytest.raises(SettingError, match=message):
            VAETransformer(**{"epochs": 1, **bad}).fit(digits)
    for bad, message in (
        ({"kind": "dense"}, "kind as one of 'density'"),
        ({"contamination": 0.6}, "contamination above 0 and at most 0.5, got 0.6"),
        ({"contamination": 0}, "contamination above 0"),
        ({"steps": 0}, "steps"),
    ):
        with pytest.raises(SettingError, match=message):
            VAEOutlierDetector(**bad).fit(digits)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="at least 10 training images"):
        VAEOutlierDetector(**QUICK).fit(digits[:9])


# --- scikit-learn's tools -------------------------------------------------------------------------------------------


def test_in_a_pipeline_a_search_and_a_cross_validation(digits: NDArray[np.float64]) -> None:
    pipeline = make_pipeline(MinMaxScaler(), VAETransformer(**QUICK))
    assert pipeline.fit_transform(digits).shape == (300, 2)
    assert cross_val_score(VAETransformer(max_value=16, **QUICK), digits, cv=2).shape == (2,)
    grid = {"latent_dim": [1, 3], "settings": [{"hidden": (4,)}]}
    search = GridSearchCV(VAETransformer(max_value=16, **QUICK), grid, cv=2).fit(digits)
    assert search.best_params_["latent_dim"] in {1, 3}
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert list(pipeline.get_feature_names_out()) == ["vaetransformer0", "vaetransformer1"]


def test_tables_come_out_where_they_are_asked_for(digits: NDArray[np.float64]) -> None:
    pd = pytest.importorskip("pandas", reason="set_output(transform='pandas') needs it")
    table = pd.DataFrame(digits, columns=[f"pixel{i}" for i in range(64)], index=range(1000, 1300))
    vae = VAETransformer(**QUICK).set_output(transform="pandas")
    codes = vae.fit_transform(table)
    assert list(codes.columns) == ["vaetransformer0", "vaetransformer1"]
    assert codes.index[0] == 1000
    assert list(vae.feature_names_in_[:2]) == ["pixel0", "pixel1"]


def test_a_fitted_one_travels_between_processes(fitted: VAETransformer, digits: NDArray[np.float64]) -> None:
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301  # as joblib sends it to a worker
    assert np.array_equal(again.transform(digits), fitted.transform(digits))
    assert not hasattr(clone(fitted), "model_")


# --- outliers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["density", "error", "nll", "complexity", "regret"])
def test_scores_are_those_of_the_analysis(digits: NDArray[np.float64], kind: Any) -> None:
    detector = VAEOutlierDetector(kind=kind, num_samples=3, steps=2, max_value=16, contamination=0.2, **QUICK)
    digits = digits.astype(np.float32)  # in double precision other noise is drawn
    detector.fit(digits)
    images = mv.ImageDataset(digits.reshape(-1, 8, 8), max_value=16)
    expected = mv.analysis.anomaly_scores(
        detector.model_, images, kind, train=images, num_samples=3, steps=2, seed=detector.seed_
    )
    found = detector.score_samples(digits)
    assert np.allclose(found, -expected, rtol=1e-3, atol=1e-3)
    assert detector.offset_ == np.percentile(found, 20)
    assert np.array_equal(detector.predict(digits), np.where(found < detector.offset_, -1, 1))
    assert (detector.predict(digits) == -1).mean() == pytest.approx(0.2, abs=0.01)


def test_images_of_another_kind_stand_out() -> None:
    """Made images: lines across, and among them lines down."""
    rng = np.random.default_rng(0)

    def lines(n: int) -> NDArray[np.float64]:
        made = np.zeros((n, 8, 8))
        made[np.arange(n), rng.integers(0, 8, n)] = 1
        return made

    usual, others = lines(400).reshape(400, -1), lines(50).transpose(0, 2, 1).reshape(50, -1)
    detector = VAEOutlierDetector(latent_dim=4, epochs=30, contamination=0.02, max_value=1, device="cpu")
    detector.fit(usual)
    assert (detector.predict(others) == -1).mean() > 0.9
    assert (detector.predict(lines(100).reshape(100, -1)) == 1).mean() > 0.8
