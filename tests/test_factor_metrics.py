"""Codes beside several factors: scores of codes that hold the factors apart, mixed or not at all."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import mnistvae as mv
from mnistvae.data import Factors, ImageDataset, shapes
from mnistvae.errors import DataError, SettingError
from mnistvae.metrics import dci, evaluate, factor_vae_score, mig, mig_by_factor, sap, sap_by_factor
from mnistvae.metrics._factors import as_classes
from mnistvae.metrics.importances import _concentration

#: Each as a score of codes and factors that is 1 for codes that hold each factor in a dimension of its own.
SCORES: dict[str, Callable[[Any, Any], float]] = {
    "mig": mig,
    "sap": sap,
    "disentanglement": lambda codes, factors: dci(codes, factors).disentanglement,
    "completeness": lambda codes, factors: dci(codes, factors).completeness,
    "informativeness": lambda codes, factors: dci(codes, factors).informativeness,
    "factor_vae": lambda codes, factors: factor_vae_score(codes, factors, votes=1000),
}
#: One of each kind.
KINDS = ["mig", "sap", "completeness", "factor_vae"]
ROWS = [
    *("factor_mig", "factor_sap", "dci_disentanglement", "dci_completeness", "dci_informativeness"),
    "factor_vae_score",
]


def grid(*sizes: int) -> Factors:
    """All combinations of numbers from -1 to 1."""
    axes = torch.meshgrid(*(torch.linspace(-1, 1, size, dtype=torch.float64) for size in sizes), indexing="ij")
    return Factors({name: axis.flatten() for name, axis in zip("abcd", axes, strict=False)})


FACTORS = grid(6, 6, 6, 6)
PERFECT = torch.stack([*FACTORS.values.values()], 1)
#: All four factors in each of four dimensions.
MIXED = PERFECT @ (torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]).double() / 2)


def noise(n: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(n, columns, generator=torch.Generator().manual_seed(seed)).double()


# --- what all of them say -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", SCORES)
def test_codes_that_hold_each_factor_alone_score_one(score: str) -> None:
    codes = torch.cat([noise(len(PERFECT), 1), -3 * PERFECT[:, [2, 0, 3, 1]] + 5, torch.zeros(len(PERFECT), 1)], 1)
    assert SCORES[score](codes, FACTORS) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(
    ("score", "most"),
    [("mig", 0.05), ("sap", 0.05), ("disentanglement", 0.15), ("completeness", 0.15), ("factor_vae", 0.6)],
)
def test_codes_that_mix_the_factors_score_low(score: str, most: float) -> None:
    assert SCORES[score](MIXED, FACTORS) < most


def test_codes_that_mix_the_factors_still_hold_them() -> None:
    assert SCORES["informativeness"](MIXED, FACTORS) > 0.85


@pytest.mark.parametrize(
    ("score", "most"),
    [
        *[("mig", 0.05), ("sap", 0.02), ("disentanglement", 0.03), ("completeness", 0.03), ("informativeness", 0.01)],
        ("factor_vae", 0.25 + 0.06),  # one of four factors, by chance
    ],
)
def test_codes_that_hold_nothing_score_nothing(score: str, most: float) -> None:
    assert 0 <= SCORES[score](noise(len(PERFECT), 6), FACTORS) < most


@pytest.mark.parametrize("score", SCORES)
def test_constant_codes_hold_nothing(score: str) -> None:
    expected = 0.25 if score == "factor_vae" else 0.0
    assert SCORES[score](torch.ones(len(PERFECT), 3), FACTORS) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("score", KINDS)
def test_scores_are_repeatable_and_leave_no_trace(score: str) -> None:
    states = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002 (the global one is what is looked at)
    codes = PERFECT + 0.3 * noise(len(PERFECT), 4)
    assert SCORES[score](codes, FACTORS) == SCORES[score](codes.numpy(), dict(FACTORS.values))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert all(np.array_equal(one, same) for one, same in zip(np.random.get_state(), states[1], strict=True))  # noqa: NPY002


@pytest.mark.parametrize("score", KINDS)
def test_scores_do_not_see_units_or_order(score: str) -> None:
    codes = PERFECT + (0.9 if score == "factor_vae" else 0.3) * noise(len(PERFECT), 4)
    found = SCORES[score](codes, FACTORS)
    assert 0.2 < found < 1
    moved = codes[:, [2, 0, 3, 1]] * torch.tensor([3.0, 8.0, 2.0, 1.0]) + torch.tensor([1.0, -2.0, 0.0, 9.0])
    assert SCORES[score](moved, FACTORS) == pytest.approx(found, abs=0.01)


@pytest.mark.parametrize("score", ["mig", "disentanglement", "completeness", "informativeness", "factor_vae"])
def test_classes_are_factors_like_numbers(score: str) -> None:
    classes = torch.arange(3)[torch.randint(3, (3000,), generator=torch.Generator().manual_seed(1))]
    number = torch.rand(3000, generator=torch.Generator().manual_seed(2)).double()
    factors = Factors({"class": classes, "number": number})
    codes = torch.stack([torch.tensor([5.0, -2.0, 1.0])[classes].double(), number], 1)
    assert SCORES[score](codes, factors) > 0.9


@pytest.mark.parametrize("score", KINDS)
@pytest.mark.parametrize(
    ("codes", "factors", "message"),
    [
        (noise(100, 2), {"x": torch.rand(99)}, "factors of the 100 images, got those of 99"),
        (noise(100, 2), {"x": torch.ones(100)}, "got the factor 'x' the same in all images: leave it out"),
        (noise(100, 2), {"x": [0.5, math.nan] * 50}, "got 50 images without a value of the factor 'x'"),
        (noise(100, 2), {"x": [1, -1] * 50}, "got 50 images without a value of the factor 'x'"),
        (noise(100, 2), {"x": list(range(100))}, "got the factor 'x' another class in each image"),
        (noise(100, 2)[:, 0], {"x": torch.rand(100)}, r"codes of shape \(N, latent_dim\)"),
        (noise(100, 2) * math.inf, {"x": torch.rand(100)}, "finite codes"),
        (noise(100, 2), {}, "at least one factor"),
    ],
    ids=["other number", "constant", "NaN", "missing class", "all different", "no dimensions", "infinite", "none"],
)
def test_codes_and_factors_that_do_not_fit(score: str, codes: Any, factors: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        SCORES[score](codes, factors)


# --- gaps -----------------------------------------------------------------------------------------------------------


def test_the_gaps_of_a_class_are_those_of_the_label() -> None:
    labels = torch.arange(1000) % 10
    codes = noise(1000, 3) + labels[:, None] * torch.tensor([0.5, 0.2, 0.0])
    assert mig_by_factor(codes, {"digit": labels}) == {"digit": mig(codes, labels)}
    assert sap_by_factor(codes, {"digit": labels}) == {"digit": sap(codes, labels)}


@pytest.mark.parametrize(("whole", "parts"), [(mig, mig_by_factor), (sap, sap_by_factor)])
def test_of_several_factors_a_gap_is_the_mean(whole: Any, parts: Any) -> None:
    codes = PERFECT + torch.tensor([0.1, 0.2, 0.4, 0.8]) * noise(len(PERFECT), 4)
    found = parts(codes, FACTORS)
    assert list(found) == list("abcd")
    assert found["a"] > found["b"] > found["c"] > found["d"]
    assert whole(codes, FACTORS) == pytest.approx(sum(found.values()) / 4)


def test_a_number_is_binned_by_its_ranks() -> None:
    number = torch.rand(10_000, generator=torch.Generator().manual_seed(0)).double()
    assert np.bincount(as_classes(number, 20)).tolist() == [500] * 20
    assert np.array_equal(as_classes(number, 20), as_classes(number.exp(), 20)), "its scale does not matter"
    assert np.array_equal(as_classes(torch.tensor([0.5, -1.0, 7.0, 0.5]).double(), 3), [1, 0, 2, 1])


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_number_that_is_nearly_always_the_same_has_two_bins_at_least(side: float) -> None:
    values = torch.cat([torch.zeros(970), side * torch.arange(1, 31)]).double()
    assert len(set(as_classes(values, 20).tolist())) >= 2
    assert mig(values[:, None], {"x": values}, bins=20) > 0


def test_bins_are_those_asked_for() -> None:
    codes = FACTORS["a"][:, None] + 0.5 * noise(len(PERFECT), 1)
    x = FACTORS["a"] + 0.01 * noise(len(PERFECT), 1, seed=2)[:, 0]
    assert mig(codes, {"x": x}) == mig(codes, {"x": x}, bins=20) != mig(codes, {"x": x}, bins=5)


def test_the_gap_of_a_number_is_that_of_squared_correlations() -> None:
    codes = PERFECT + 0.5 * noise(len(PERFECT), 4)
    squares = np.corrcoef(codes.T.numpy(), FACTORS["b"].numpy())[-1, :-1] ** 2
    best, following = sorted(squares, reverse=True)[:2]
    assert sap_by_factor(codes, FACTORS)["b"] == pytest.approx(best - following, abs=1e-12)
    assert sap_by_factor(codes[:, [1]], FACTORS)["b"] == pytest.approx(best, abs=1e-12), "of one dimension, to 0"


# --- DCI ------------------------------------------------------------------------------------------------------------


def test_importances_are_those_of_the_dimensions() -> None:
    found = dci(PERFECT[:, [1, 0, 2]], grid_of("abc"))
    torch.testing.assert_close(found.importances, torch.eye(3).double()[[1, 0, 2]], atol=0.01, rtol=0)
    assert list(found.by_factor) == ["a", "b", "c"]
    assert found.informativeness == pytest.approx(sum(found.by_factor.values()) / 3)
    assert min(found.by_factor.values()) > 0.99


def grid_of(names: str) -> Factors:
    return Factors({name: FACTORS[name] for name in names})


def test_completeness_and_disentanglement_are_two_things() -> None:
    twice = torch.cat([PERFECT[:, :2] + 0.05 * noise(len(PERFECT), 2, seed) for seed in (1, 2)], 1)
    copies = dci(twice, grid_of("ab"))  # each factor in two dimensions, each of which serves one
    assert copies.disentanglement > 0.9
    assert 0.3 < copies.completeness < 0.7
    assert copies.informativeness > 0.95
    joint = dci(torch.stack([6 * FACTORS["a"] + FACTORS["b"], noise(len(PERFECT), 1)[:, 0]], 1), grid_of("ab"))
    assert joint.completeness > 0.9  # both factors in one dimension
    assert joint.disentanglement < 0.1


def test_entropies_are_to_the_base_of_their_length() -> None:
    table = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.5, 0.5, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0], [0.0] * 4]).double()
    torch.testing.assert_close(_concentration(table), torch.tensor([0.0, 0.5, 1.0, 0.0]).double())
    assert _concentration(torch.tensor([[0.3], [0.0]])).tolist() == [1.0, 0.0]


def test_informativeness_is_the_share_of_the_variance_that_is_told() -> None:
    noisy = FACTORS["a"] + math.sqrt(FACTORS["a"].var().item()) * noise(len(PERFECT), 1)[:, 0]
    assert dci(noisy[:, None], grid_of("a")).informativeness == pytest.approx(0.5, abs=0.08)


def test_informativeness_of_classes_is_the_share_of_errors_that_are_spared() -> None:
    generator = torch.Generator().manual_seed(0)
    label = (torch.rand(4000, generator=generator) < 0.2).long()  # one who sees nothing errs in a fifth
    code = torch.where(torch.rand(4000, generator=generator) < 0.05, 1 - label, label)  # and this one in a twentieth
    assert dci(code[:, None].double(), {"y": label}).by_factor["y"] == pytest.approx(0.75, abs=0.05)


def test_one_dimension_and_one_factor() -> None:
    found = dci(FACTORS["a"][:, None], grid_of("a"))
    assert found[:3] == (pytest.approx(1), pytest.approx(1), pytest.approx(1, abs=0.01))


def test_the_seed_is_that_of_the_forest() -> None:
    codes = PERFECT[:1000] + noise(1000, 4)
    some = FACTORS[:1000]
    some = Factors({name: some[name] for name in "bcd"})
    assert dci(codes, some, seed=1)[:3] == dci(codes, some, seed=1)[:3] != dci(codes, some, seed=2)[:3]
    assert dci(codes, some, seed=2**62).disentanglement > 0
    with pytest.raises(SettingError, match="seed"):
        dci(codes, some, seed=-1)


def test_a_forest_takes_twenty_images() -> None:
    with pytest.raises(DataError, match="codes of at least 20 images, of which half are to learn from, got 19"):
        dci(noise(19, 2), {"x": torch.rand(19)})


# --- the FactorVAE's score ------------------------------------------------------------------------------------------


def test_a_perfect_code_of_the_shapes_scores_one() -> None:
    factors = shapes(image_size=2).factors
    codes = torch.stack([factors[name].double() for name in factors.names], 1)
    assert factor_vae_score(codes, factors) == 1.0
    drawn = shapes(4000, image_size=2).factors  # in which no two values are the same
    codes = torch.stack([drawn[name].double() for name in drawn.names], 1)
    assert factor_vae_score(codes, drawn) > 0.99


def test_two_factors_in_one_dimension_are_told_apart_half_the_time() -> None:
    codes = torch.stack([FACTORS["a"] + 3 * FACTORS["b"], FACTORS["c"], FACTORS["d"]], 1)
    # Of a the dimension varies least, if of any: both a and b vote by chance among the dimensions, or for the first.
    assert 0.5 < factor_vae_score(codes, FACTORS) < 0.9


def test_a_dimension_that_hardly_varies_has_no_vote() -> None:
    still = torch.cat([PERFECT, 1e-3 * noise(len(PERFECT), 3)], 1)
    assert factor_vae_score(still, FACTORS) == factor_vae_score(PERFECT, FACTORS) == 1.0
    asked = factor_vae_score(PERFECT * 0.05, FACTORS), factor_vae_score(PERFECT * 0.05, FACTORS, threshold=0.0)
    assert asked == (0.25, 1.0)


def test_more_images_in_a_batch_tell_more() -> None:
    codes = PERFECT + 0.7 * noise(len(PERFECT), 4)
    few, many = (factor_vae_score(codes, FACTORS, batch_size=size) for size in (3, 200))
    assert few + 0.1 < many


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"bins": 1}, "bins as an integer of at least 2"),
        ({"batch_size": 1}, "batch_size as an integer of at least 2"),
        ({"votes": 0}, "votes as an integer of at least 1"),
        ({"threshold": -1}, "threshold as a variance of at least 0"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_that_make_no_sense(how: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        factor_vae_score(PERFECT, FACTORS, **how)


def test_values_that_no_two_images_share() -> None:
    with pytest.raises(DataError, match="two images with one value of 'x', got another in each image: take more"):
        factor_vae_score(noise(20, 2), {"x": torch.rand(20)})


# --- in an evaluation -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> mv.VAE:
    torch.default_generator.manual_seed(0)
    return mv.VAE(latent_dim=4)


@pytest.fixture(scope="module")
def some() -> ImageDataset:
    return shapes(200)


def test_rows_of_data_with_factors(model: mv.VAE, some: ImageDataset) -> None:
    found = evaluate(model, some, include=["latent"], seed=3)
    assert [name for name in found.names() if name in ROWS] == ROWS
    assert not set(found.left_out) & set(ROWS)
    codes = mv.analysis.encode_dataset(model, some).means
    assert found["factor_mig"] == mig(codes, some.factors)
    assert found["factor_sap"] == sap(codes, some.factors)
    assert found["dci_completeness"] == dci(codes, some.factors, seed=3).completeness
    assert found["factor_vae_score"] == factor_vae_score(codes, some.factors, seed=3)
    assert found.score("factor_mig").protocol == "mean over shape, size, angle, x, y, 20 bins"
    assert found["mig"] == mig(codes, some.labels), "the label's own rows are as they were"


def test_data_without_factors_have_no_such_rows_and_no_word_of_them(model: mv.VAE) -> None:
    data = mv.load_dataset("mnist-mini", "test")[:60]
    found = evaluate(model, data, include=["latent"])
    assert not set(found.names()) & set(ROWS)
    assert not set(found.left_out) & set(ROWS)


def test_scores_of_other_factors_are_not_compared(model: mv.VAE, some: ImageDataset) -> None:
    fewer = some.replace(factors={name: some.factors[name] for name in ("x", "y")})
    one, other = (evaluate(model, data, include=["latent"]) for data in (some, fewer))
    told = "factor_mig is not compared: factors shape, size, angle, x, y and x, y"
    assert told in mv.metrics.compare({"a": one, "b": other})
    assert "not compared" not in mv.metrics.compare({"a": one, "b": one})


def test_measured_digits_have_rows(model: mv.VAE) -> None:
    data = mv.load_dataset("mnist-mini", "test")[:60]
    data = data.replace(factors={**mv.data.measure_factors(data).values, "digit": data.labels})
    found = evaluate(model, data, include=["latent"])
    assert "area, length, thickness, slant, width, height, digit" in found.score("dci_disentanglement").protocol


@pytest.mark.parametrize(
    ("factors", "reason"),
    [
        ({"x": torch.ones(200)}, "the factor 'x' the same in all images"),
        ({"x": [math.nan] + [0.5, 1.0] * 99 + [1.0]}, "1 images without a value of the factor 'x'"),
    ],
)
def test_factors_that_cannot_be_measured_by_are_left_out(
    model: mv.VAE, some: ImageDataset, factors: Any, reason: str
) -> None:
    found = evaluate(model, some.replace(factors=factors), include=["latent"])
    assert {found.left_out[name] for name in ROWS} == {reason}


def test_few_images_are_left_out(model: mv.VAE, some: ImageDataset) -> None:
    assert evaluate(model, some[:49], include=["latent"]).left_out["factor_mig"] == "it takes 50 images"
    assert "factor_vae_score" in evaluate(model, some[:50], include=["latent"]).names()


def test_a_factor_that_the_encoder_is_told(some: ImageDataset) -> None:
    told = mv.ConditionalVAE(latent_dim=3, num_classes=2)
    left_out = evaluate(told, some, include=["latent"]).left_out
    assert left_out["factor_mig"].startswith("a factor is the label, which the encoder is told")
    others = {name: values for name, values in some.factors.values.items() if name != "shape"}
    assert "factor_mig" in evaluate(told, some.replace(factors=others), include=["latent"]).names()
