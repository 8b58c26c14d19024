"""Sweeps over any setting of model or Trainer: combinations, seeds, the best by a rule, tables, figures, bad input."""

from __future__ import annotations

import csv
import math
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from matplotlib.figure import Figure

from mnistvae import VAE, ImageDataset, analysis, commands, load, metrics, plotting, recipes
from mnistvae.analysis import Range, Sweep, Trained, Trial, sweep
from mnistvae.commands import cli
from mnistvae.commands._settings import parse_value, parse_values, value_text
from mnistvae.commands._swept import against_rates, has_rates, rates_figure
from mnistvae.data import load_dataset
from mnistvae.errors import DataError, MnistvaeError, SettingError, TrainingError
from mnistvae.likelihoods import Bernoulli, ContinuousBernoulli
from mnistvae.metrics import Evaluation, Metric, Score
from mnistvae.networks import MLPDecoder, MLPEncoder
from mnistvae.objectives import ELBO
from mnistvae.recipes import Recipe

RECIPE = recipes.get("mlp")
SMALL: dict[str, Any] = {"settings": {"hidden": (8,)}, "training": {"epochs": 1, "progress": False, "device": "cpu"}}
DIGITS = load_dataset("mnist-mini", "test")
TRAIN, HELD_OUT = DIGITS[:96], DIGITS[96:144]
SHARPNESS = Metric("sharpness", better="higher", compute=lambda view: float(len(view)))
RATE = Metric("rate", better="lower", compute=lambda view: float(len(view)))


def trial(value: float, *scores: float, error: float | None = None, better: Any = "lower", **more: Any) -> Trial:
    """A trial of a setting ``a``, with a score ``s`` under each seed."""
    runs = (Trained(n, {"s": Score("s", one, "", better, standard_error=error)}) for n, one in enumerate(scores))
    return Trial({"a": value, **more.pop("settings", {})}, tuple(runs), **more)


# --- what is trained --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found() -> Sweep:
    vary = {"latent_dim": [1, 2], "learning_rate": [1e-3, 3e-3]}
    return sweep(RECIPE, vary, TRAIN, HELD_OUT, **SMALL, seeds=2, seed=5, score="negative_elbo")


def test_every_combination_is_trained_under_every_seed(found: Sweep) -> None:
    assert [(*one.settings.values(),) for one in found.trials] == [(1, 1e-3), (1, 3e-3), (2, 1e-3), (2, 3e-3)]
    assert [[run.seed for run in one.runs] for one in found.trials] == [[5, 6]] * 4
    run = found.trials[1].runs[1]
    model = RECIPE.model(latent_dim=1, hidden=(8,), seed=6)
    history = RECIPE.trainer(**SMALL["training"], learning_rate=3e-3, seed=6).fit(model, TRAIN, HELD_OUT)
    assert run.model is not None
    for name, weight in model.state_dict().items():
        assert torch.equal(run.model.state_dict()[name], weight)
    last = history[-1]
    assert run.scores["validation_loss"].value == last["validation_loss"]
    assert run.scores["negative_elbo"].value == last["validation_reconstruction"] + last["validation_kl"]
    assert run.scores["negative_elbo"].tag == "grey-bce"
    assert run.scores["rate"].value == last["validation_kl"]
    assert run.scores["distortion"].value == last["validation_reconstruction"]
    assert [run.scores[name].better for name in ("rate", "distortion")] == ["", ""]
    assert [run.scores[name].tag for name in ("rate", "distortion")] == ["", "grey-bce"]
    assert run.evaluation == metrics.evaluate(model, HELD_OUT, include=["reconstruction"], seed=5)


def test_means_and_spreads_are_those_of_the_seeds(found: Sweep) -> None:
    values = [run.scores["mse"].value for run in found.trials[2].runs]
    score = found.trials[2].score("mse")
    assert score.value == pytest.approx(np.mean(values))
    assert found.trials[2].spread("mse") == pytest.approx(np.std(values, ddof=1))
    assert score.standard_error == pytest.approx(np.std(values, ddof=1) / math.sqrt(2))
    assert found.column("mse")[2] == score.value
    assert found.by_class("mse")[3][2] == pytest.approx(
        np.mean([run.evaluation.by_class[3]["mse"] for run in found.trials[2].runs if run.evaluation])
    )


def test_the_tables(found: Sweep, tmp_path: Path) -> None:
    rows = list(csv.DictReader(found.to_csv(tmp_path / "a.csv").read_text().splitlines()))
    assert [*rows[0]][:4] == ["latent_dim", "learning_rate", "seed", "mse"]
    assert [row["seed"] for row in rows] == ["5", "6"] * 4
    assert float(rows[3]["negative_elbo"]) == found.trials[1].runs[1].scores["negative_elbo"].value
    rows = list(csv.DictReader(found.summary_to_csv(tmp_path / "b.csv").read_text().splitlines()))
    assert [(row["latent_dim"], row["learning_rate"], row["seeds"]) for row in rows][1] == ("1", "0.003", "2")
    assert float(rows[1]["mse_mean"]) == found.column("mse")[1]
    assert float(rows[1]["mse_std"]) == found.trials[1].spread("mse")


def test_a_combination_that_diverges_has_failed_and_the_others_go_on(tmp_path: Path) -> None:
    seen: list[str] = []
    vary = {"learning_rate": [1e-3, 1e30], "latent_dim": [1, 2]}
    found = sweep(RECIPE, vary, TRAIN, HELD_OUT, **SMALL, done=lambda one: seen.append(one.state))
    assert seen == ["complete"] * 2 + ["failed"] * 2
    assert "finite" in found.trials[2].note
    assert np.isnan(found.column("mse")).tolist() == [False, False, True, True]
    assert found.best("mse").settings["learning_rate"] == 1e-3
    lines = found.to_csv(tmp_path / "a.csv").read_text().splitlines()
    assert lines[0].startswith("learning_rate,latent_dim,state,mse,")
    assert lines[3].startswith("1e+30,1,failed,,")
    with pytest.raises(TrainingError):
        sweep(
            RECIPE,
            {"latent_dim": [1, 2]},
            TRAIN,
            HELD_OUT,
            settings={},
            training={"learning_rate": 1e30} | SMALL["training"],
        )


def test_with_patience_the_score_is_of_the_weights_that_the_model_has() -> None:
    training = {**SMALL["training"], "epochs": 4, "patience": 1, "learning_rate": 0.1}
    found = sweep(RECIPE, {"latent_dim": [1, 2]}, TRAIN, HELD_OUT, settings={"hidden": (8,)}, training=training)
    for one in found.trials:
        run = one.runs[0]
        assert run.model is not None
        history = RECIPE.trainer(**training).fit(RECIPE.model(hidden=(8,), **one.settings), TRAIN, HELD_OUT)
        lowest = min(history, key=lambda record: record["validation_loss"])
        assert run.scores["validation_loss"].value == lowest["validation_loss"]
        assert run.scores["rate"].value == lowest["validation_kl"]
        assert run.scores["distortion"].value == lowest["validation_reconstruction"]


@pytest.mark.parametrize(
    ("score", "name", "groups"),
    [("ssim", "ssim", 8), ("nll", "nll", 12), (f"{__name__}:SHARPNESS", "sharpness", 9)],
)
def test_a_metric_as_the_score(score: str, name: str, groups: int) -> None:
    training = {**SMALL["training"], "steps": 1}
    found = sweep(
        RECIPE, {"beta": [1, 2]}, TRAIN, HELD_OUT[:8], settings={"hidden": (8,)}, training=training, score=score
    )
    assert found.by == name
    assert len(found.names()) == groups
    assert found.best().state == "complete"


def test_a_measure_of_ones_own() -> None:
    def measure(model: Any, images: ImageDataset) -> Evaluation:
        return Evaluation((Score("size", float(model.latent_dim), better="higher"),))

    found = sweep(RECIPE, {"latent_dim": [1, 3, 2]}, TRAIN, HELD_OUT, **SMALL, score="size", measure=measure)
    assert found.best().settings == {"latent_dim": 3}
    with pytest.raises(SettingError, match="expected other among the scores, got size, negative_elbo"):
        sweep(RECIPE, {"latent_dim": [1, 3]}, TRAIN, HELD_OUT, **SMALL, score="other", measure=measure)


# --- the best ---------------------------------------------------------------------------------------------------------


def test_the_best_over_seeds_is_the_smallest_within_the_spread_of_the_best() -> None:
    trials = (trial(8, 1.0, 1.2), trial(2, 1.15, 1.25), trial(4, 1.05, 1.15), trial(1, 2.0, 2.0))
    found = Sweep(trials, "s")  # the standard error of the best, 1.1, is 0.1
    assert found.best().settings == {"a": 2}
    assert found.best(tolerance=0).settings == {"a": 4}
    alone = Sweep((trial(2, 1.01), trial(1, 1.0), trial(0, 1.02)), "s")
    assert alone.best().settings == {"a": 1}  # without a standard error it is the very best


def test_the_first_setting_counts_first_and_words_in_the_order_in_which_they_came() -> None:
    words = [("tanh", 2), ("relu", 2), ("relu", 1)]
    trials = tuple(trial(b, 1.0, settings={"word": word}) for word, b in words)
    assert Sweep(trials, "s").best().settings == {"a": 1, "word": "relu"}
    turned = tuple(Trial({"word": one.settings["word"], "a": one.settings["a"]}, one.runs) for one in trials)
    assert Sweep(turned, "s").best().settings == {"word": "tanh", "a": 2}


def test_higher_may_be_better_and_what_is_not_complete_does_not_count() -> None:
    trials = (
        trial(1, 1.0, better="higher"),
        trial(2, 3.0, better="higher", state="pruned"),
        trial(3, 2.0, better="higher"),
    )
    assert Sweep(trials, "s").best().settings == {"a": 3}
    with pytest.raises(DataError, match="a trial that was trained to its end"):
        Sweep(trials[1:2], "s").best()


def test_scores_of_two_densities_are_not_compared() -> None:
    one, other = trial(1, 1.0), Trial({"a": 2}, (Trained(0, {"s": Score("s", 0.0, better="lower", tag="gaussian")}),))
    with pytest.raises(DataError, match="s of all trials made alike"):
        Sweep((one, other), "s").best()


# --- what makes no sense costs no training ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vary", "more", "message"),
    [
        ({}, {}, "settings to vary"),
        ([("beta", [1, 2])], {}, "settings to vary"),
        ({"beta": [1]}, {}, "at least two values of beta"),
        ({"beta": [1, 1]}, {}, "each once"),
        ({"beta": "1,2"}, {}, "at least two values of beta"),
        ({"betta": [1, 2]}, {}, "the closest is 'beta'"),
        ({"learning_rat": [1, 2]}, {}, "the closest is 'learning_rate'"),
        ({"seed": [1, 2]}, {}, "`seeds` is the number of seeds"),
        ({"beta": [1, 2]}, {"seeds": 0}, "seeds as a number of trainings of at least 1"),
        ({"beta": [1, 2]}, {"seed": -1}, "seed as an integer"),
        ({"beta": [1, 2]}, {"score": "msee"}, "the closest is 'mse'"),
        ({"beta": [1, 2]}, {"score": "kl"}, "score as one of negative_elbo, validation_loss, mse"),
        ({"beta": [1, 2]}, {"score": f"{__name__}:RATE"}, "a metric with a name of its own, got 'rate'"),
        ({"learning_rate": [1e-3, 0]}, {}, "learning_rate above 0"),
        ({"latent_dim": [2, 0]}, {}, "latent_dim"),
        ({"binarization": ["none", "dynamic"]}, {"score": "negative_elbo"}, "of one density"),
        ({"latent_dim": Range(1, 5)}, {}, "a number of trials"),
    ],
)
def test_what_makes_no_sense(vary: Any, more: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnistvae.training.Trainer.fit", lambda *_, **__: pytest.fail("it trains"))
    with pytest.raises(MnistvaeError, match=message):
        sweep(RECIPE, vary, TRAIN, HELD_OUT, **{"settings": {"hidden": (8,)}, **more})


@pytest.mark.parametrize(
    ("low", "high", "log"), [(2, 1, False), (1, 1, False), (0, 1, True), ("1", 2, False), (1, math.inf, False)]
)
def test_ranges_that_make_no_sense(low: Any, high: Any, log: bool) -> None:
    with pytest.raises(SettingError):
        Range(low, high, log)


# --- on the command line ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.5,1,4", (0.5, 1, 4)),
        ("[400],[400, 200]", ((400,), (400, 200))),
        ("cosine, None", ("cosine", None)),
        ('"a,b",c', ("a,b", "c")),
        ("1", (1,)),
        ("a..b,c", ("a..b", "c")),
        ("2..32", Range(2, 32)),
        ("0.1..4", Range(0.1, 4)),
        ("1e-4..1e-2:log", Range(1e-4, 1e-2, log=True)),
        ("-1..1", Range(-1, 1)),
    ],
)
def test_values_as_texts(text: str, values: Any) -> None:
    assert parse_values(text) == values


@pytest.mark.parametrize("value", [1, 0.001, True, None, "cosine", "1", "a b ", (400, 200), ((1, 2), (3,)), "a,b"])
def test_a_value_is_read_as_it_was_written(value: Any) -> None:
    assert parse_value(value_text(value)) == value


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands find a few digits; the parts of the data that they asked for."""
    asked: list[str] = []

    def find(name: str, split: str, root: Any, **_: Any) -> ImageDataset:
        asked.append(split)
        return DIGITS[:80] if split == "train" else DIGITS[80:100]

    monkeypatch.setattr("mnistvae.data.load_dataset", find)
    return asked


@pytest.fixture
def unpainted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made and not written as PNG, which takes most of the time of so short a run."""
    monkeypatch.setattr(commands.RunFolder, "write_figure", lambda folder, name, figure: folder.path / name)


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli, [str(one) for one in arguments])
    assert result.exit_code == code, result.output
    return result.output


OPTIONS = ("--set", "hidden=[8]", "--epochs", 1, "--no-progress", "--device", "cpu")


def test_the_command_varies_any_setting(few: list[str], tmp_path: Path) -> None:
    vary = ("--vary", "beta=0.5,2", "--vary", "clip-norm=10,None")
    out = run("sweep", "--recipe", "mlp", *vary, "--seeds", 2, *OPTIONS, "--out", tmp_path / "a")
    names = {path.name for path in (tmp_path / "a").iterdir()}
    models = {name for name in names if name.endswith(".safetensors")}
    assert names - models == {"sweep.csv", "summary.csv", "sweep.png", "rate_distortion.png", "by_class.csv"}
    assert models == {
        f"beta-{b}-clip_norm-{norm}-seed-{seed}.safetensors"
        for b in (0.5, 2)
        for norm in (10, "null")
        for seed in (0, 1)
    }
    assert load(tmp_path / "a" / "beta-2-clip_norm-null-seed-1.safetensors").objective.beta == 2
    assert "chosen by" not in out
    assert "measured on 8 training images that were held out, not on the test images" in out
    assert few == ["train"]  # what chooses is not what tests
    (best,) = (line for line in out.splitlines() if line.startswith("best: "))
    assert "the smallest within one standard error of the lowest negative_elbo" in best


def test_the_command_that_is_printed_trains_the_best(few: list[str], unpainted: None, tmp_path: Path) -> None:
    vary = ("--vary", "hidden=[8],[8,4]", "--vary", "schedule=cosine,one-cycle")
    how = ("--epochs", 1, "--no-progress", "--device", "cpu", "--score", "mae", "--seed", 3)
    out = run("sweep", "--recipe", "mlp", *vary, *how, "--out", tmp_path / "a")
    line = next(line for line in out.splitlines() if line.startswith("  mnistvae train"))
    best = out.split("best: hidden ")[1].split(", schedule ")
    assert best[0] in {"[8]", "[8,4]"}
    run(*shlex.split(line)[1:], "--out", tmp_path / "b", "--no-progress")
    record = commands.folder.read_record(tmp_path / "b")
    assert record.settings["hidden"] == parse_value(best[0])
    assert record.training["schedule"] in {"cosine", "one-cycle"}
    assert (record.training["epochs"], record.seed) == (1, 3)


def test_a_share_is_held_out_unless_images_are_given(few: list[str], unpainted: None, tmp_path: Path) -> None:
    how: dict[str, Any] = {"recipe": "mlp", "vary": {"beta": [1, 2]}, "hidden": (8,), "progress": False, "epochs": 1}
    found = commands.sweep(**how, dataset=DIGITS[:60], validation=DIGITS[60:71], out=tmp_path / "a")
    assert {one.protocol["images"] for one in found.evaluations} == {11}
    found = commands.sweep(**how, validation_split=0.5, out=tmp_path / "b")
    assert {one.protocol["images"] for one in found.evaluations} == {40}
    with pytest.raises(SettingError, match="images to choose by"):
        commands.sweep(**how, validation_split=0, out=tmp_path / "c")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--vary", "beta"), "--vary takes a name and a value"),
        (("--vary", "beta=1"), "at least two values of beta"),
        (("--vary", "beta=1,2", "--vary", "beta=3,4"), "put all of them into one --vary beta=..."),
        (("--vary", "beta=1,2", "--beta", "3,4"), "values of beta are given twice: put all of them into one --beta"),
        (("--beta", "1"), "at least two values of beta"),
        (("--vary", "betta=1,2"), "the closest is 'beta'"),
        (("--vary", "beta=1,2", "--seeds", "0"), "seeds as a number of trainings"),
        (("--vary", "latent_dim=1,2", "--latent-dims", "1,2"), "leave one of them out"),
        (("--vary", "beta=1,2", "--set", "beta=3"), "leave one of them out"),
        (("--vary", "beta=1,2", "--set", "epochs=3", "--epochs", "3"), "is given twice"),
        (("--vary", "beta=1,-1"), "beta"),
    ],
)
def test_bad_options(few: list[str], arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    out = run("sweep", "--recipe", "mlp", *arguments, "--out", tmp_path / "a", code=2)
    assert message in " ".join(out.split())
    assert not (tmp_path / "a").exists()


def test_a_search_says_what_to_install(few: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    for more in (("--trials", 3), ("--storage", tmp_path / "study.log")):
        out = run("sweep", "--recipe", "mlp", "--vary", "beta=1,2", *more, *OPTIONS, "--out", tmp_path / "a", code=2)
        assert out.count("\n") == 1
        assert out.endswith('pip install "mnistvae[search]"\n')
    assert not any(tmp_path.iterdir())


def test_a_range_without_a_number_of_trials(few: list[str], tmp_path: Path) -> None:
    out = run("sweep", "--recipe", "mlp", "--vary", "beta=1..2", *OPTIONS, "--out", tmp_path / "a", code=2)
    assert "a number of trials (--trials) for the range of beta" in out


# --- rates and distortions --------------------------------------------------------------------------------------------


def rated(settings: dict[str, Any], *pairs: tuple[float, float], tag: str = "a", state: Any = "complete") -> Trial:
    """A trial with a rate and a distortion under each seed."""
    runs = []
    for seed, (rate, distortion) in enumerate(pairs):
        scores = Score("rate", rate, "nats"), Score("distortion", distortion, "nats", tag=tag)
        total = Score("negative_elbo", rate + distortion, "nats", "lower", tag=tag)
        runs.append(Trained(seed, {one.name: one for one in (*scores, total)}))
    return Trial(settings, tuple(runs), state)


def test_the_figure_of_rates_has_a_curve_for_each_combination_of_the_others() -> None:
    trials = [
        rated({"beta": 4, "latent_dim": 2, "act": "tanh"}, (5.0, 120.0), (7.0, 124.0)),
        rated({"beta": 1, "latent_dim": 2, "act": "tanh"}, (20.0, 90.0), (22.0, 90.0)),
        rated({"beta": 4, "latent_dim": 9, "act": "tanh"}, (8.0, 118.0), (8.0, 118.0)),
        rated({"beta": 0.1, "latent_dim": 9, "act": "tanh"}, (8.0, 118.0), state="failed"),
    ]
    figure = rates_figure(Sweep(tuple(trials), "negative_elbo"))
    first, second = (one[0] for one in of_lines(figure))
    assert (first.get_xdata().tolist(), first.get_ydata().tolist()) == ([21, 6], [90, 122])
    assert first.get_label() == second.get_label() == "_nolegend_"
    (across, up) = (one.get_segments() for one in of_lines(figure)[0].lines[2])
    assert (across[1][1] - across[1][0]).tolist() == pytest.approx([2 * math.sqrt(2), 0])
    assert (up[1][1] - up[1][0]).tolist() == pytest.approx([0, 4 * math.sqrt(2)])
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[:3] == ["latent_dim 2, act tanh", "latent_dim 9, act tanh", "lowest R + D: 111.0 nats"]
    below = figure.axes[0].get_xlabel().splitlines()
    assert below == ["rate R, nats", "mean and standard deviation of 2 seeds", "not finite: β=0.1"]
    assert figure.axes[0].get_ylabel() == "distortion D, nats (a)"


def test_one_seed_has_no_bars_and_beta_alone_no_name() -> None:
    trials = [rated({"beta": 1}, (20.0, 90.0)), rated({"beta": 4}, (5.0, 120.0))]
    figure = rates_figure(Sweep(tuple(trials), "negative_elbo"))
    assert len(of_lines(figure)[0].lines[2]) == 0
    assert figure.axes[0].get_xlabel() == "rate R, nats"
    assert len(figure.legends[0].get_texts()) == 2


@pytest.mark.parametrize(
    ("settings", "tolerance", "drawn"),
    [
        ([{"beta": 1}, {"beta": 0.5}], 1.0, True),
        ([{"beta": 1, "act": "tanh"}, {"beta": 2, "act": "relu"}], 1.0, True),
        ([{"beta": 1}, {"beta": 0.5}], 0.0, True),
        ([{"beta": 1, "act": "tanh"}, {"beta": 2, "act": "relu"}], 0.0, False),  # of a search
        ([{"act": "tanh"}, {"act": "relu"}], 1.0, False),
        ([{"beta": "low"}, {"beta": 2}], 1.0, False),
        ([{"beta": True}, {"beta": False}], 1.0, False),
    ],
)
def test_sweeps_that_have_a_figure_of_rates(settings: list[dict[str, Any]], tolerance: float, drawn: bool) -> None:
    trials = tuple(rated(one, (20.0, 90.0)) for one in settings)
    assert has_rates(Sweep(trials, "negative_elbo", tolerance)) is drawn


def test_rates_of_two_densities_are_not_drawn_together() -> None:
    trials = rated({"beta": 1}, (20.0, 90.0)), rated({"beta": 2}, (9.0, -90.0), tag="b")
    assert against_rates(Sweep(trials)) == "distortions are in nats of different densities, tags 'a' and 'b'"
    assert against_rates(Sweep(trials[:1])) == ""
    assert "of an earlier version" in against_rates(Sweep((trials[0], trial(2, 1.0))))


def with_pixels(image_shape: Any, num_classes: int | None, beta: float, pixels: str) -> VAE:
    """A small VAE whose pixels have one density or another."""
    likelihood = ContinuousBernoulli() if pixels == "continuous" else Bernoulli()
    parts = {"encoder": MLPEncoder(2, image_shape, (4,)), "decoder": MLPDecoder(2, image_shape, (4,))}
    return VAE(2, image_shape, likelihood=likelihood, objective=ELBO(beta), **parts)


PIXELS = Recipe("pixels", "pixels of two densities", with_pixels, {"beta": 1.0, "pixels": "grey"}, {"batch_size": 16})


def test_the_command_says_why_there_is_no_figure_of_rates(few: list[str], unpainted: None, tmp_path: Path) -> None:
    vary = ("--vary", "beta=0.5,2", "--vary", "pixels=grey,continuous", "--score", "mse")
    how = ("--epochs", 1, "--no-progress", "--device", "cpu", "--out", tmp_path / "a")
    out = run("sweep", "--recipe", f"{__name__}:PIXELS", *vary, *how)
    reason = "distortions are in nats of different densities, tags 'continuous-bernoulli' and 'grey-bce'"
    assert f"\nno rate_distortion.png: {reason}\n" in out


def test_the_command_draws_rates_where_beta_varies(few: list[str], tmp_path: Path) -> None:
    out = run("sweep", "--recipe", "mlp", "--beta", "0.5,2", *OPTIONS, "--out", tmp_path / "a")
    assert "rate_distortion" not in out
    assert (tmp_path / "a" / "rate_distortion.png").read_bytes().startswith(b"\x89PNG")
    (row, _) = csv.DictReader((tmp_path / "a" / "sweep.csv").read_text().splitlines())
    assert float(row["rate"]) + float(row["distortion"]) == pytest.approx(float(row["negative_elbo"]))


# --- the figure -------------------------------------------------------------------------------------------------------


def of_lines(figure: Figure) -> list[Any]:
    return list(figure.axes[0].containers)


def test_lines_of_scores() -> None:
    lines = {"beta 1": [3.0, 1.0, 2.0], "beta 4": [4.0, math.nan, 5.0]}
    errors = {"beta 1": [0.1, 0.2, 0.3]}
    figure = plotting.score_lines([100, 1, 10], lines, errors=errors, setting="a", unit="nats", best=("beta 1", 1))
    ax = figure.axes[0]
    assert ax.get_xscale() == "log"
    first, second = (one[0] for one in of_lines(figure))
    assert first.get_xdata().tolist() == [1, 10, 100]
    assert first.get_ydata().tolist() == [1, 2, 3]
    assert (first.get_linestyle(), first.get_marker()) != (second.get_linestyle(), second.get_marker())
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["beta 1", "beta 4", "best"]
    words = plotting.score_lines(["tanh", "$x$"], {"s": [1.0, 2.0]}).axes[0]
    assert [text.get_text() for text in words.get_xticklabels()] == ["tanh", r"\$x\$"]
    assert words.get_legend() is None


@pytest.mark.parametrize(("values", "lines"), [([], {}), ([1, 2], {}), ([1, 2], {"s": [1.0]}), ([1], [1.0])])
def test_lines_that_cannot_be_drawn(values: Any, lines: Any) -> None:
    with pytest.raises(MnistvaeError):
        plotting.score_lines(values, lines)


def test_what_is_public() -> None:
    assert {"Range", "Sweep", "Trained", "Trial", "sweep"} <= set(analysis.__all__)
