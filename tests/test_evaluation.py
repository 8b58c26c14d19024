"""The record of an evaluation, and all figures in one call."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

import mnistvae as mv
from mnistvae import VAE, ConditionalVAE, ImageDataset, metrics
from mnistvae._records import write_json
from mnistvae.commands import cli
from mnistvae.errors import DataError, FileFormatError, SettingError
from mnistvae.metrics import GROUPS, Evaluation, Group, Score, compare, evaluate
from mnistvae.networks import GaussianEncoder

pytestmark = pytest.mark.filterwarnings(
    "ignore:the mutual information", "ignore:the log-likelihood of", "ignore:.*biased upwards"
)

RECONSTRUCTION = ["mse", "mae", "psnr", "ssim"]
LIKELIHOOD = ["negative_elbo", "reconstruction", "kl", "nll", "bits_per_dimension"]
LATENT = ["active_units", "mutual_information", "total_correlation", "mig", "sap"]
CLASSIFIERS = ["knn_accuracy", "logistic_accuracy", "forest_accuracy"]
GENERATION = ["fd_digits", "score_digits", "precision", "recall"]


@pytest.fixture(scope="module")
def trained() -> VAE:
    torch.manual_seed(0)
    vae = VAE(4, encoder=mv.networks.MLPEncoder(4, hidden=(64,)), decoder=mv.networks.MLPDecoder(4, hidden=(64,)))
    mv.Trainer(epochs=3, progress=False, device="cpu").fit(vae, mv.load_dataset("mnist-mini", "train")[:2000])
    return vae


@pytest.fixture(scope="module")
def digits() -> ImageDataset:
    return mv.load_dataset("mnist-mini", "test")[:300]


@pytest.fixture(scope="module")
def whole(trained: VAE, digits: ImageDataset) -> Evaluation:
    train = mv.load_dataset("mnist-mini", "train")[:500]
    return evaluate(trained, digits, train=train, num_samples=20)


# --- all at once ----------------------------------------------------------------------------------------------------


def test_every_figure_is_there_and_says_how_it_was_made(whole: Evaluation) -> None:
    assert whole.names() == RECONSTRUCTION + LIKELIHOOD + LATENT + CLASSIFIERS + GENERATION
    assert whole.left_out == {}
    for figure in whole:
        assert math.isfinite(figure.value)
        assert figure.protocol
        assert (figure.tag == "grey-bce") == (figure.name in LIKELIHOOD)
    assert whole.protocol["tag"] == "grey-bce"
    assert whole.protocol["dataset"] == "mnist-mini"
    assert (whole.protocol["images"], whole.protocol["generated"], whole.protocol["num_samples"]) == (300, 300, 20)
    assert whole.protocol["version"] == mv.__version__
    assert set(whole.by_dimension) == {"activity", "kl"}
    assert all(len(values) == 4 for values in whole.by_dimension.values())
    assert sum(whole.by_dimension["kl"]) == pytest.approx(whole["kl"], rel=1e-4)


def test_the_figures_are_those_of_the_functions(whole: Evaluation, trained: VAE, digits: ImageDataset) -> None:
    made = trained.reconstruct(digits.images)
    for name in RECONSTRUCTION:
        values = getattr(metrics, name)(digits.images, made)
        assert whole[name] == pytest.approx(float(values.mean()), rel=1e-4)
        error = float(values.std() / math.sqrt(300))
        assert whole.score(name).standard_error == pytest.approx(error, rel=1e-3)
    bound = metrics.elbo(trained, digits)
    assert whole["negative_elbo"] == pytest.approx(float(bound.loss.mean()))
    assert whole["reconstruction"] + whole["kl"] == pytest.approx(whole["negative_elbo"])
    estimate = metrics.importance_sampled_nll(trained, digits, 20)
    assert whole["nll"] == pytest.approx(estimate.mean)
    assert whole.score("nll").standard_error == pytest.approx(estimate.standard_error)
    assert whole["bits_per_dimension"] == pytest.approx(estimate.mean / 784 / math.log(2))
    with torch.no_grad():
        means = trained.encode(digits.images).mean
    assert whole["active_units"] == metrics.active_units(means)
    assert digits.labels is not None
    assert whole["mig"] == pytest.approx(metrics.mig(means, digits.labels))
    features, logits = metrics.classify(trained.sample(300, generator=torch.Generator().manual_seed(0)))
    assert whole["score_digits"] == pytest.approx(metrics.classifier_score(logits)[0], rel=1e-5)
    real, _ = metrics.classify(digits.images)
    assert whole["fd_digits"] == pytest.approx(metrics.frechet_distance(real, features), rel=1e-4)


def test_the_table_of_the_classes(whole: Evaluation, trained: VAE, digits: ImageDataset) -> None:
    assert [row["class"] for row in whole.by_class] == list(range(10))
    assert sum(row["images"] for row in whole.by_class) == 300
    assert digits.labels is not None
    threes = digits.images[digits.labels == 3]
    row = whole.by_class[3]
    assert row["images"] == len(threes)
    assert row["mse"] == pytest.approx(float(metrics.mse(threes, trained.reconstruct(threes)).mean()), rel=1e-4)
    assert set(row) == {"class", "images", *RECONSTRUCTION, *LIKELIHOOD}
    mean = sum(row["nll"] * row["images"] for row in whole.by_class) / 300
    assert mean == pytest.approx(whole["nll"])


def test_it_is_repeatable_and_leaves_nothing_behind(trained: VAE, digits: ImageDataset) -> None:
    how: dict[str, Any] = {"num_samples": 5, "include": ["likelihood", "generation"]}
    trained.train()
    state = torch.get_rng_state()
    found = [evaluate(trained, digits[:60], seed=seed, **how) for seed in (1, 1, 2)]
    assert found[0] == found[1]
    assert found[0]["nll"] != found[2]["nll"]
    assert found[0]["fd_digits"] != found[2]["fd_digits"]
    assert torch.equal(torch.get_rng_state(), state)
    assert trained.training
    trained.eval()


def test_the_batch_size_changes_nothing_but_noise(trained: VAE, digits: ImageDataset) -> None:
    a, b = (evaluate(trained, digits, batch_size=size, include=["reconstruction", "latent"]) for size in (512, 37))
    for figure in a:
        assert b[figure.name] == pytest.approx(figure.value, rel=1e-4), figure.name


def test_families(trained: VAE, digits: ImageDataset) -> None:
    (only,) = (option for option in cli.commands["evaluate"].params if option.name == "only")
    assert get_args(Group) == GROUPS == tuple(only.type.choices)  # type: ignore[attr-defined]
    assert evaluate(trained, digits[:20], include=["reconstruction"]).names() == RECONSTRUCTION
    assert evaluate(trained, digits[:20], include=["likelihood"], num_samples=2).names() == LIKELIHOOD
    with pytest.raises(SettingError, match="include"):
        evaluate(trained, digits[:20], include=["everything"])  # type: ignore[list-item]
    with pytest.raises(SettingError, match="batch_size"):
        evaluate(trained, digits[:20], batch_size=0)
    with pytest.raises(SettingError, match="num_samples"):
        evaluate(trained, digits[:20], num_samples=0)


def test_binarized_as_in_training(trained: VAE, digits: ImageDataset) -> None:
    how: dict[str, Any] = {"include": ["reconstruction", "likelihood"], "num_samples": 3}
    found = evaluate(trained, digits, binarization="dynamic", seed=4, **how)
    drawn = digits.binarized("static", seed=4)
    assert found.protocol["tag"] == "binarized-dynamic"
    assert found["mse"] == pytest.approx(
        float(metrics.mse(drawn.images, trained.reconstruct(drawn.images)).mean()), rel=1e-4
    )
    already = evaluate(trained, drawn, seed=4, **how)
    assert already.protocol["tag"] == "binarized-static"
    assert already["nll"] == found["nll"]


def test_the_training_images_are_binarized_too(
    trained: VAE, digits: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    encode = trained.encode
    monkeypatch.setattr(trained, "encode", lambda x, y=None: seen.append(x) or encode(x, y))
    evaluate(trained, digits[:50], train=digits[50:90], binarization="threshold", include=["latent"])
    assert sum(len(x) for x in seen) == 90
    assert all(set(x.unique().tolist()) == {0.0, 1.0} for x in seen)


def test_the_samples_of_a_conditional_model_go_round_its_classes(
    digits: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    vae = ConditionalVAE(2, 7)
    asked: list[Tensor] = []
    sample = vae.sample
    monkeypatch.setattr(vae, "sample", lambda n, y, generator: asked.append(y) or sample(n, y, generator=generator))
    evaluate(vae, digits[digits.labels < 7][:40], include=["generation"], batch_size=9, num_generated=25)  # type: ignore[operator]
    assert torch.equal(torch.cat(asked), torch.arange(25) % 7)


def test_a_conditional_model(digits: ImageDataset) -> None:
    torch.manual_seed(0)
    vae = ConditionalVAE(3, 10)
    found = evaluate(vae, digits[:100], num_samples=3, train=digits[100:200])
    assert found.names() == RECONSTRUCTION + LIKELIHOOD + LATENT[:3] + [*GENERATION, "label_accuracy"]
    told = "the encoder is told the label, and its codes may just repeat it"
    assert found.left_out == dict.fromkeys(["mig", "sap", *CLASSIFIERS], told)
    assert found.score("nll").tag == found.protocol["tag"] == "grey-bce-given-label"
    assert "100 samples (means of p(x | z), all labels in turn)" in found.score("label_accuracy").protocol
    _, logits = metrics.classify(vae.sample(100, torch.arange(100) % 10, generator=torch.Generator().manual_seed(0)))
    share = float((logits.argmax(1) == torch.arange(100) % 10).double().mean())
    assert found["label_accuracy"] == pytest.approx(share)
    with pytest.raises(DataError, match="labels for a conditional model"):
        evaluate(vae, ImageDataset(digits.images[:10]), include=["reconstruction"])


class Untold(mv.networks.MLPEncoder):
    """Does not look at the label."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        return super().forward(x, None if y is None else torch.zeros_like(y))


def test_codes_of_a_conditional_model_whose_encoder_does_not_look(digits: ImageDataset) -> None:
    torch.manual_seed(0)
    vae = ConditionalVAE(3, 10, encoder=Untold(3, hidden=(8,), num_classes=10))
    found = evaluate(vae, digits[:100], train=digits[100:200], include=["latent"])
    assert found.names() == LATENT + CLASSIFIERS


def test_a_conditional_model_of_more_classes_than_digits(digits: ImageDataset) -> None:
    found = evaluate(ConditionalVAE(2, 12), digits[:30], include=["generation"])
    assert found.names() == GENERATION
    assert found.left_out == {"label_accuracy": "the digit classifier knows 10 classes, not 12"}


@pytest.mark.parametrize(
    ("rows", "reason"),
    [(slice(0, 4), "it takes 5 training images"), (slice(0, 40, 10), "5 training images"), (None, "have one class")],
)
def test_training_images_that_teach_nothing(trained: VAE, digits: ImageDataset, rows: Any, reason: str) -> None:
    train = digits[rows] if rows else digits[(digits.labels == 3).nonzero()[:, 0]]  # type: ignore[union-attr]
    found = evaluate(trained, digits[:50], train=train, include=["latent"])
    assert list(found.left_out) == CLASSIFIERS
    assert reason in found.left_out["knn_accuracy"]


# --- what data and model do not allow -------------------------------------------------------------------------------


def test_images_without_labels(trained: VAE, digits: ImageDataset) -> None:
    found = evaluate(trained, ImageDataset(digits.images, name="mnist-mini"), num_samples=2)
    assert found.by_class == ()
    assert found.left_out == dict.fromkeys(["mig", "sap", *CLASSIFIERS], "the data have no labels")
    assert found.names() == RECONSTRUCTION + LIKELIHOOD + LATENT[:3] + GENERATION
    with pytest.raises(KeyError, match="mig was left out: the data have no labels"):
        found["mig"]


def test_classes_that_are_missing(trained: VAE, digits: ImageDataset) -> None:
    assert digits.labels is not None
    some = digits[(digits.labels != 3) & (digits.labels != 7)]
    found = evaluate(trained, some, train=digits, include=["reconstruction", "latent"])
    assert [row["class"] for row in found.by_class] == [0, 1, 2, 4, 5, 6, 8, 9]
    assert 0 <= found["knn_accuracy"] <= 1
    one = evaluate(trained, digits[digits.labels == 3], include=["latent"])
    assert one.left_out["mig"] == "the data have one class"


def test_one_image(trained: VAE, digits: ImageDataset) -> None:
    found = evaluate(trained, digits[:1], num_samples=2, include=["reconstruction", "likelihood", "generation"])
    assert found.names() == RECONSTRUCTION + LIKELIHOOD
    assert found.left_out == dict.fromkeys(GENERATION, "it takes 5 images of each kind")
    assert found.score("nll").standard_error is None
    latent = evaluate(trained, digits[:1], include=["latent"])
    assert "active_units" in latent.left_out


def test_images_that_the_classifier_does_not_read() -> None:
    torch.manual_seed(0)
    other = ImageDataset(torch.rand(30, 3, 9, 9), name="mine")
    found = evaluate(VAE(2, (3, 9, 9)), other, num_samples=2)
    assert "reads images of shape (1, 28, 28), these are (3, 9, 9)" in found.left_out["fd_digits"]
    clothes = ImageDataset(torch.rand(30, 28, 28), name="fashion-mnist")
    found = evaluate(VAE(2), clothes, include=["generation"])
    assert "reads MNIST's digits, these are 'fashion-mnist'" in found.left_out["precision"]


def test_images_smaller_than_a_window_of_ssim() -> None:
    torch.manual_seed(0)
    small = ImageDataset(torch.rand(10, 1, 6, 6))
    decoder = mv.networks.MLPDecoder(2, (1, 6, 6), (8,))
    vae = VAE(2, (1, 6, 6), encoder=mv.networks.MLPEncoder(2, (1, 6, 6), (8,)), decoder=decoder)
    found = evaluate(vae, small, include=["reconstruction"])
    assert found.names() == ["mse", "mae", "psnr"]
    assert "7" in found.left_out["ssim"]


class Copy(VAE):
    """Hands its input back, but for the first image."""

    def reconstruct(self, x: Any, y: Any = None, *, sample: bool = False) -> Tensor:
        images: Tensor = x.clone()
        images[0] = 1 - images[0]
        return images


def test_images_that_are_reproduced_exactly(digits: ImageDataset) -> None:
    found = evaluate(Copy(2), digits[:20], include=["reconstruction"])
    psnr = found.score("psnr")
    assert math.isfinite(psnr.value)
    assert "without 19 images where it is infinite" in psnr.protocol
    constant = ImageDataset(torch.full((5, 1, 28, 28), 0.5))
    found = evaluate(Copy(2), constant, include=["reconstruction"])
    assert math.isfinite(found["ssim"])

    class Perfect(VAE):
        def reconstruct(self, x: Any, y: Any = None, *, sample: bool = False) -> Tensor:
            return x.clone()

    assert evaluate(Perfect(2), constant, include=["reconstruction"])["psnr"] == math.inf


def test_means_over_other_images_are_not_compared(digits: ImageDataset) -> None:
    class AllBut(VAE):
        exact: tuple[int, ...] = ()

        def reconstruct(self, x: Any, y: Any = None, *, sample: bool = False) -> Tensor:
            images: Tensor = x.clone()
            wrong = [n for n in range(len(images)) if n not in self.exact]
            images[wrong] = 0.5 * images[wrong]
            return images

    found = {}
    for exact in ((), (3,), (4,), tuple(range(12)), tuple(range(1, 13))):
        model = AllBut(2)
        model.exact = exact
        found[exact] = evaluate(model, digits[:20], include=["reconstruction"])
    for a, b in itertools.combinations(found, 2):
        with pytest.raises(DataError, match=r"two scores of psnr made alike, got images left out .* and "):
            found[a].score("psnr").better_than(found[b].score("psnr"))
        table = compare({"a": found[a], "b": found[b]})
        assert "psnr is not compared: images left out" in table
        assert "mse" in table
    assert not found[3,].score("psnr").better_than(found[3,].score("psnr"))
    assert found[3,].score("psnr").conditions == {"images left out": "1, [3]"}
    assert found[()].score("psnr").conditions == {}


def test_what_is_no_likelihood_says_so(digits: ImageDataset) -> None:
    for data, said in ((digits[:5], True), (digits[:5].binarized("static"), False)):
        score = evaluate(VAE(2), data, include=["likelihood"], num_samples=2).score("nll")
        assert (f"{score.tag}, no log-likelihood; 2 importance samples" in score.protocol) is said


class Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x.flatten(1)[:, 400:401] > 0.5, torch.nan, x.flatten(1)[:, :4])


@pytest.mark.parametrize("group", GROUPS)
def test_a_broken_model_is_named(group: Group, digits: ImageDataset) -> None:
    torch.manual_seed(0)
    vae = VAE(2, encoder=GaussianEncoder(Broken(), 2))
    if group == "generation":
        with torch.no_grad():
            next(vae.decoder.parameters()).fill_(torch.nan)
    with pytest.raises(DataError, match=r"(?i)nan|not finite|finite"):
        evaluate(vae, digits, include=[group], num_samples=2)


# --- the record -----------------------------------------------------------------------------------------------------


def figure(value: float = 1.0, **changes: Any) -> Score:
    return dataclasses.replace(Score("nll", value, "nats", "lower", "how", "grey-bce"), **changes)


def test_figures_of_two_tags_are_not_compared() -> None:
    assert figure(1.0).better_than(figure(2.0))
    assert not figure(2.0).better_than(figure(1.0))
    assert figure(2.0, better="higher").better_than(figure(1.0, better="higher"))
    with pytest.raises(DataError, match="two scores of one tag, got 'grey-bce' and 'gaussian'"):
        figure().better_than(figure(tag="gaussian"))
    made = figure(conditions={"importance samples": 5})
    with pytest.raises(DataError, match="scores of nll made alike, got importance samples 5 and 500"):
        made.better_than(figure(conditions={"importance samples": 500}))
    with pytest.raises(DataError, match="importance samples 5 and none"):
        figure().better_than(made)
    assert made.better_than(figure(2.0, conditions={"importance samples": 5}))
    with pytest.raises(SettingError, match="conditions by name, got a list"):
        figure(conditions=[1])
    with pytest.raises(DataError, match="another nll, got mse"):
        figure().better_than(figure(name="mse"))
    with pytest.raises(DataError, match="a better side"):
        figure(better="").better_than(figure(better=""))


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (104.9372, 0.2718, "104.94 ± 0.27"),
        (104.9372, 2.718, "104.9 ± 2.7"),
        (104.9372, 27.18, "105 ± 27"),
        (0.012345678, None, "0.01235"),
        (6.907755278, 3.6e-10, "6.90776 ± 0.00000"),
        (0.0, 0.25, "0.00 ± 0.25"),
        (7.0, None, "7"),
        (12345.678, None, "12345.7"),
        (math.inf, None, "inf"),
        (0.0, 0.0, "0"),
    ],
)
def test_a_value_has_the_digits_that_it_bears(value: float, error: float | None, text: str) -> None:
    assert figure(value, standard_error=error).text() == text


def test_a_record_is_written_and_read(whole: Evaluation, tmp_path: Path) -> None:
    path = whole.to_json(tmp_path / "metrics.json")
    content = json.loads(path.read_text())
    assert content["scores"][0]["name"] == "mse"
    same = Evaluation.from_json(path)
    assert same == whole
    infinite = Evaluation((figure(math.inf, standard_error=math.inf), figure(-math.inf, name="b")))
    assert Evaluation.from_json(infinite.to_json(tmp_path / "b.json")) == infinite
    json.loads((tmp_path / "b.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"format": "other", "format_version": 1}',
        '{"format": "mnistvae-evaluation", "format_version": 2}',
    ],
)
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(FileFormatError, match=r"written by Evaluation\.to_json"):
        Evaluation.from_json(tmp_path / "a.json")
    with pytest.raises(FileFormatError, match=r"to_json at .*missing\.json, got nothing: check the path"):
        Evaluation.from_json(tmp_path / "missing.json")
    with pytest.raises(FileFormatError):
        Evaluation.from_json(tmp_path / "none.json")


RECORD: dict[str, Any] = {
    "format": "mnistvae-evaluation",
    "format_version": 1,
    "scores": [
        {"name": "a", "value": 1.0, "unit": "", "better": "lower", "protocol": "", "tag": "", "standard_error": None}
    ],
    "by_class": [{"class": 0, "images": 3, "mse": 0.5}, {"class": 1, "images": 2, "mse": "inf"}],
    "by_dimension": {"kl": [1.0, 2.0]},
    "protocol": {"seed": 0},
    "left_out": {"ssim": "too small"},
}


def other_figure(**changes: Any) -> dict[str, Any]:
    return {"scores": [{name: value for name, value in (RECORD["scores"][0] | changes).items() if value != "gone"}]}


@pytest.mark.parametrize(
    "change",
    [
        *[{name: "gone"} for name in RECORD],
        *[other_figure(**{name: "gone"}) for name in RECORD["scores"][0]],
        *[other_figure(better=bad) for bad in ("up", "Lower", None, 1, ["lower"])],
        *[other_figure(**{name: 3}) for name in ("name", "unit", "protocol", "tag")],
        *[other_figure(**{name: bad}) for name in ("value", "standard_error") for bad in ("much", [1.0], {}, 10**400)],
        other_figure(value=None),
        other_figure(surprise=1),
        *[{"scores": bad} for bad in (None, 3, "abc", {"a": 1}, [3], [None])],
        *[{"by_class": bad} for bad in (None, 3, "abc", [3], [{"mse": 1.0}], [{"class": 0, "images": "many"}])],
        {"by_class": [{"class": 0, "images": 3, "mse": 0.5}, {"class": 1, "images": 2}]},
        *[{"by_dimension": bad} for bad in (None, 3, "abc", {"kl": 3}, {"kl": ["x"]}, {"kl": None})],
        *[{"protocol": bad} for bad in (None, 3, "abc", [1])],
        *[{"left_out": bad} for bad in (None, 3, "abc", [1], {"ssim": 3})],
        *[{"format_version": bad} for bad in (None, "1", [1])],
    ],
)
def test_damaged_records_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    content = {name: value for name, value in (RECORD | change).items() if value != "gone"}
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(FileFormatError, match=r"written by Evaluation\.to_json, got .*: evaluate the model again"):
        Evaluation.from_json(tmp_path / "a.json")


def test_the_record_that_is_not_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(RECORD))
    found = Evaluation.from_json(tmp_path / "a.json")
    assert found.score("a") == Score("a", 1.0, "", "lower")
    assert found.by_class[1] == {"class": 1, "images": 2, "mse": math.inf}
    assert found.to_csv(tmp_path / "a.csv").read_text() == "class,images,mse,seed\n0,3,0.5,0\n1,2,inf,0\n"
    assert found.score("a").conditions == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"better": "up"}, "better as one of 'lower', 'higher', '', got 'up'"),
        ({"better": None}, "better as one of"),
        ({"name": 3}, "name as a text, got an int"),
        ({"tag": None}, "tag as a text, got None"),
        ({"value": "1"}, "value as a number, got '1'"),
        ({"value": None}, "value as a number, got None"),
        ({"standard_error": "1"}, "standard_error as a number"),
    ],
)
def test_figures_that_make_no_sense(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        figure(**change)


def test_a_figure_is_compared_with_a_figure() -> None:
    with pytest.raises(DataError, match="a Score to compare with, got a float"):
        figure().better_than(1.0)  # type: ignore[arg-type]


def test_a_newer_record_is_refused(whole: Evaluation, tmp_path: Path) -> None:
    content = json.loads(whole.to_json(tmp_path / "a.json").read_text()) | {"format_version": 2}
    del content["sha256"]
    path = write_json(tmp_path / "b.json", content)
    with pytest.raises(FileFormatError, match="mnistvae-evaluation of version 2"):
        Evaluation.from_json(path)


def test_the_csv(whole: Evaluation, tmp_path: Path) -> None:
    rows = list(csv.DictReader(whole.to_csv(tmp_path / "a.csv").read_text().splitlines()))
    assert [row["class"] for row in rows] == [str(digit) for digit in range(10)]
    assert float(rows[4]["mse"]) == whole.by_class[4]["mse"]
    how = {"dataset": "mnist-mini", "split": "test", "binarization": "none", "tag": "grey-bce", "num_samples": "20"}
    for row in rows:
        assert {name: row[name] for name in how} == how
        assert (row["seed"], row["version"]) == ("0", mv.__version__)
    with pytest.raises(DataError, match="scores by class"):
        Evaluation(()).to_csv(tmp_path / "b.csv")


def test_the_printed_table(whole: Evaluation) -> None:
    lines = str(whole).splitlines()
    assert len(lines) == len(whole)
    (nll,) = [line for line in lines if line.startswith("↓ nll ")]
    assert "nats" in nll
    assert "20 importance samples" in nll
    (psnr,) = [line for line in lines if line.startswith("↑ psnr ")]
    assert " dB " in psnr
    assert "  nll left out: why" in str(Evaluation((), left_out={"nll": "why"}))


def test_a_table_of_several(whole: Evaluation) -> None:
    better = dataclasses.replace(whole, scores=tuple(dataclasses.replace(one, value=one.value / 2) for one in whole))
    text = compare({"a": whole, "b": better})
    lines = {line.split()[1]: line for line in text.splitlines()[1:] if line.split()[0] in "↓↑"}
    assert lines["nll"].rstrip().endswith("*")
    assert not lines["psnr"].rstrip().endswith("*")
    assert "*" in lines["psnr"]
    assert text.splitlines()[0].split() == ["a", "b"]


def test_a_star_is_for_what_is_ahead_beyond_doubt() -> None:
    def starred(*pairs: tuple[float, float | None], better: Any = "lower") -> int | None:
        """The number of the column that has the star."""
        made = [Score("a", value, "", better, standard_error=error) for value, error in pairs]
        text = compare({f"{n}: it": Evaluation((one,)) for n, one in enumerate(made)})
        line = text.splitlines()[1]
        assert line.count("*") <= 1
        return line[: line.index("*")].count(" ± ") - 1 if "*" in line else None

    assert starred((1.0, 0.1), (2.0, 0.1), (3.0, 0.1)) == 0
    assert starred((1.0, 0.1), (2.0, 0.1), (3.0, 0.1), better="higher") == 2
    assert starred((1.0, 0.1), (1.28, 0.1)) is None  # 2 standard errors of the difference are 0.283
    assert starred((1.29, 0.1), (1.0, 0.1)) == 1
    assert starred((1.0, 0.1), (9.0, None)) is None
    assert starred((1.0, None), (9.0, 0.1)) is None
    assert starred((1.0, 0.1), (2.0, 0.1), better="") is None
    assert starred((1.0, 0.1), (math.nan, 0.1)) is None


@pytest.mark.parametrize(("key", "value"), [("dataset", "mnist"), ("split", "x"), ("images", 5), ("fingerprint", 1)])
def test_evaluations_of_other_images_are_not_compared(whole: Evaluation, key: str, value: Any) -> None:
    other = dataclasses.replace(whole, protocol={**whole.protocol, "fingerprint": 1, key: value})
    with pytest.raises(DataError, match=r"evaluations of one (data set|split|number of images|set of images).*, got "):
        compare({"a": whole, "b": other})
    with pytest.raises(DataError, match="at least two evaluations"):
        compare({"a": whole})


def rows(text: str) -> set[str]:
    """The names of the figures in a table."""
    lines = [line.split() for line in text.splitlines()[1:]]
    return {words[1] if words[0] in "↓↑" else words[0] for words in lines if "is not compared" not in " ".join(words)}


def test_what_one_evaluation_left_out_is_not_compared() -> None:
    mse, mig = Score("mse", 1.0, "", "lower"), Score("mig", 0.1, "", "higher")
    told = Evaluation((mse,), left_out={"mig": "the encoder is told the label"})
    for pair in ({"a": Evaluation((mse, mig)), "b": told}, {"b": told, "a": Evaluation((mse, mig))}):
        text = compare(pair)
        assert rows(text) == {"mse"}
        assert text.splitlines()[-1] == "mig is not compared: left out of b, the encoder is told the label"
    assert "mig" not in compare({"a": Evaluation((mse, mig)), "b": Evaluation((mse,))})


def test_figures_that_were_not_made_alike_are_not_compared(trained: VAE, digits: ImageDataset) -> None:
    data, train = digits[:60], digits[60:160]

    def measured(**how: Any) -> Evaluation:
        return evaluate(trained, data, **{"train": train, "num_samples": 3, **how})

    usual = measured()
    nats, codes = {"nll", "bits_per_dimension"}, set(CLASSIFIERS)
    for how, unlike, why in (
        ({"num_samples": 4}, nats, "importance samples 3 and 4"),
        ({"num_generated": 50}, set(GENERATION), "samples 50 and 60"),
        ({"train": digits[160:260]}, codes, "images learned from 100 with fingerprint"),
        ({"binarization": "static"}, set(usual.names()) - set(GENERATION), "tags 'binarized-static' and 'grey-bce'"),
    ):
        text = compare({"a": usual, "b": measured(**how)})
        assert rows(text) == set(usual.names()) - unlike
        assert {line.split()[0] for line in text.splitlines() if "is not compared" in line} == unlike
        assert why in text
    one, other = (measured(binarization="dynamic", seed=seed) for seed in (0, 1))
    text = compare({"a": one, "b": other})
    assert rows(text) == set(GENERATION)
    assert "mse is not compared: pixels dynamic under seed 0 and dynamic under seed 1" in text
    with pytest.raises(DataError, match="a score in common, got mse is not compared: pixels"):
        compare({"a": Evaluation((one.score("mse"),)), "b": Evaluation((other.score("mse"),))})


def test_what_is_no_evaluation_is_not_compared(whole: Evaluation) -> None:
    with pytest.raises(DataError, match="evaluations by name"):
        compare([whole, whole])  # type: ignore[arg-type]
    with pytest.raises(DataError, match="a dict under 'b'"):
        compare({"a": whole, "b": {}})  # type: ignore[dict-item]
    with pytest.raises(DataError, match="a score in common"):
        compare({"a": whole, "b": dataclasses.replace(whole, scores=())})


def test_other_images_of_the_same_set_are_not_compared(trained: VAE, digits: ImageDataset) -> None:
    a, b = (evaluate(trained, part, include=["reconstruction"]) for part in (digits[:50], digits[50:100]))
    with pytest.raises(DataError, match="evaluations of one set of images"):
        compare({"a": a, "b": b})


def test_pixels_in_other_places_are_other_images(trained: VAE, digits: ImageDataset) -> None:
    x, y = digits.images[:50], digits.labels
    assert y is not None
    shuffled = x.flatten(1)[:, torch.randperm(784, generator=torch.Generator().manual_seed(0))].reshape(x.shape)
    exchanged = x.clone()
    exchanged[3], exchanged[4] = x[4], x[3]
    found = [
        evaluate(trained, ImageDataset(images, y[:50]), include=["reconstruction"])
        for images in (x, x.flip(-1), x.flip(-2), x.transpose(-1, -2), x.roll(1, -1), shuffled, exchanged)
    ]
    assert len({one.protocol["fingerprint"] for one in found}) == len(found)
    with pytest.raises(DataError, match="evaluations of one set of images"):
        compare({"a": found[0], "b": found[1]})


@pytest.mark.parametrize("prior", [mv.priors.GaussianMixture(2, 3), mv.priors.VampPrior(3)])
def test_priors_whose_dimensions_depend_on_each_other(prior: Any) -> None:
    torch.manual_seed(0)
    shape = (1, 8, 8)
    encoder, decoder = mv.networks.MLPEncoder(2, shape, (8,)), mv.networks.MLPDecoder(2, shape, (8,))
    vae = VAE(2, shape, encoder=encoder, decoder=decoder, prior=prior)
    data = ImageDataset(torch.rand(30, 1, 8, 8), torch.arange(30) % 3)
    found = evaluate(vae, data, include=["latent"])
    with torch.no_grad():
        posterior = vae.eval().encode(data.images)
    expected = metrics.mutual_information(posterior)
    assert found["mutual_information"] == pytest.approx(expected.value, rel=1e-5)
    assert "total_correlation" in found
    assert "kl by dimension" in found.left_out


def test_settings_that_make_no_sense(trained: VAE, digits: ImageDataset) -> None:
    for bad in ({"binarization": "x"}, {"num_generated": 0}, {"num_samples": 0}, {"seed": -1}):
        with pytest.raises(SettingError):
            evaluate(trained, digits[:9], include=["reconstruction"], **bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("include", [None, 3, "latent", {"latent": 1}, ["speed"], [None]])
def test_families_that_are_none(include: Any, trained: VAE, digits: ImageDataset) -> None:
    with pytest.raises(SettingError, match=r"include as "):
        evaluate(trained, digits, include=include)


@pytest.mark.parametrize("train", [3, "mnist", []])
def test_training_images_that_are_no_data_set(train: Any, trained: VAE, digits: ImageDataset) -> None:
    with pytest.raises(DataError, match=r"expected (images|at least one image)"):
        evaluate(trained, digits, train=train, include=["reconstruction"])


def test_training_images_without_labels(trained: VAE, digits: ImageDataset) -> None:
    found = evaluate(trained, digits[:9], train=digits.images[:9], include=["latent"])
    assert found.left_out["knn_accuracy"].startswith("there are no labelled training images")


@pytest.mark.parametrize("device", ["gpu", "", -1, 2.5, ["cpu"], "cuda:99"])
def test_devices_that_are_none(device: Any, digits: ImageDataset, untrained_inception: Any) -> None:
    for call in (metrics.classify, metrics.inception_features):
        with pytest.raises(SettingError, match=r"expected a device of this machine, got .*: use auto or cpu"):
            call(digits.images[:5], device=device)
    with pytest.raises(SettingError, match="expected a device of this machine"):
        metrics.digit_classifier(device)


@pytest.mark.parametrize("nats", [None, "100", math.nan, math.inf, [1.0], torch.ones(3)])
def test_nats_that_are_none(nats: Any) -> None:
    with pytest.raises(SettingError, match=r"expected nats as a finite number, got .*: pass the mean over the images"):
        metrics.bits_per_dimension(nats, (1, 28, 28))


@pytest.mark.parametrize(
    "values", [None, 3, "abc", ["a"], [[1.0], [1.0, 2.0]], {}, torch.zeros(2, 2), torch.zeros(2) * 1j]
)
def test_values_by_class_that_are_none(values: Any) -> None:
    with pytest.raises(DataError, match=r"expected .*value"):
        metrics.by_class(values, 0)


@pytest.mark.parametrize("data_range", [1e300, 1e-300, "1", None, [1.0]])
def test_ranges_that_are_none(data_range: Any) -> None:
    for call in (metrics.psnr, metrics.ssim):
        with pytest.raises(SettingError, match="data_range as a finite number above 0"):
            call(torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8) / 2, data_range)


def test_images_as_a_tensor(trained: VAE, digits: ImageDataset) -> None:
    bare = evaluate(trained, digits.images[:20], include=["reconstruction"])
    assert bare["mse"] == evaluate(trained, digits[:20], include=["reconstruction"])["mse"]


def test_names(whole: Evaluation) -> None:
    assert "nll" in whole
    assert "fid" not in whole
    assert len(whole) == len(list(whole)) == len(whole.names())
    with pytest.raises(KeyError, match="fid, of mse, mae"):
        whole["fid"]


def test_inception(monkeypatch: pytest.MonkeyPatch, trained: VAE, digits: ImageDataset) -> None:
    def features(images: Any, *, device: Any) -> tuple[Tensor, Tensor]:
        x = torch.as_tensor(images).double().flatten(1)[:, 300:310] / 255
        return x, x

    monkeypatch.setattr("mnistvae.metrics.inception.inception_features", features)
    monkeypatch.setattr("mnistvae.metrics.inception.inception_network", lambda: None)
    found = evaluate(trained, digits[:50], include=["generation"], inception=True)
    assert found.names() == [*GENERATION, "fd_inception", "score_inception"]
    real, made = (features(x, device="cpu")[0] for x in (digits.images[:50], trained.sample(50, generator=seed(0))))
    assert found["fd_inception"] == pytest.approx(metrics.frechet_distance(real, made), rel=1e-5)
    clothes = ImageDataset(digits.images[:50], name="fashion-mnist")
    found = evaluate(trained, clothes, include=["generation"], inception=True)
    assert found.names() == ["fd_inception", "score_inception"]
    assert list(found.left_out) == GENERATION
    one = evaluate(trained, digits[:1], include=["generation"], inception=True)
    assert list(one.left_out) == [*GENERATION, "fd_inception", "score_inception"]


def seed(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


@pytest.fixture
def untrained_inception(monkeypatch: pytest.MonkeyPatch) -> Any:
    from torchvision.models import inception_v3

    torch.manual_seed(0)
    network = inception_v3(weights=None, init_weights=False, transform_input=False).eval()
    monkeypatch.setattr("mnistvae.metrics.inception.inception_network", lambda: network)
    return network


def test_features_of_inception(untrained_inception: Any) -> None:
    images = torch.randint(0, 256, (3, 28, 28), dtype=torch.uint8)
    features, logits = metrics.inception_features(images, batch_size=2)
    assert features.shape == (3, 2048)
    assert logits.shape == (3, 1000)
    rgb, _ = metrics.inception_features(images[:, None].expand(-1, 3, -1, -1).float() / 255)
    torch.testing.assert_close(rgb, features, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(untrained_inception.fc(features), logits)


def test_inception_without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(**_: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models.inception_v3", offline)
    mv.metrics.inception.inception_network.cache_clear()
    with pytest.raises(DataError, match="weights of Inception-v3, got OSError: no network"):
        metrics.inception_features(torch.zeros(2, 28, 28))
    monkeypatch.setattr("mnistvae.View.reconstructed", lambda *_: pytest.fail("too early"))
    with pytest.raises(DataError, match="weights of Inception-v3, got OSError: no network"):
        evaluate(VAE(2), torch.zeros(3, 1, 28, 28), inception=True)
    with pytest.raises(SettingError, match="'generation' in include, for inception=True"):
        evaluate(VAE(2), torch.zeros(3, 1, 28, 28), inception=True, include=["latent"])


def test_pixels_of_two_kinds_are_not_compared_and_the_same_ones_are() -> None:
    digits, vae = mv.load_dataset("mnist-mini", "test")[:60], VAE(latent_dim=2)
    how: dict[str, Any] = {"include": ["reconstruction"]}
    grey = evaluate(vae, digits, **how)
    drawn = evaluate(vae, digits.binarized("dynamic"), **how)
    again = evaluate(vae, digits, binarization="dynamic", **how)
    other = evaluate(vae, digits.binarized("dynamic"), seed=1, **how)
    assert drawn["mse"] != other["mse"]
    for one, two in ((grey, drawn), (drawn, other)):
        with pytest.raises(DataError, match=r"pixels.*dynamic under seed 0"):
            compare({"one": one, "two": two})
    assert "mse" in compare({"one": drawn, "two": dataclasses.replace(drawn)})
    assert drawn.score("mse").conditions == again.score("mse").conditions
    for seed in (0, 1):
        cut = evaluate(vae, digits, binarization="threshold", seed=seed, **how)
        assert "mse" in compare({"one": cut, "two": evaluate(vae, digits, binarization="threshold", **how)})


def test_the_same_images_under_another_name_are_compared() -> None:
    digits, vae = mv.load_dataset("mnist-mini", "test")[:60], VAE(latent_dim=2)
    mine = ImageDataset(digits.images, digits.labels, name="mine", split="kept")
    found = [evaluate(vae, data, include=["reconstruction"]) for data in (digits, mine)]
    assert "mse" in compare({"theirs": found[0], "mine": found[1]})
