"""Searches by Optuna: what is chosen and pruned, one study in several processes, and what killed ones leave."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from mnistvae import VAE, ImageDataset, commands, recipes
from mnistvae.analysis import Range, Sweep, Trial, _study, _workers, search
from mnistvae.analysis._storage import optuna_quietly
from mnistvae.commands import cli
from mnistvae.data import load_dataset
from mnistvae.errors import MnistvaeError, OutputError, SettingError, TrainingError
from mnistvae.metrics import Evaluation, Score
from mnistvae.training import Callback, History, Trainer

optuna = pytest.importorskip("optuna", reason="the extra [search] is not installed")

RECIPE = recipes.get("mlp")
DIGITS = load_dataset("mnist-mini", "test")
TRAIN, HELD_OUT = DIGITS[:64], DIGITS[64:96]
SPACE = {"beta": Range(0.1, 4), "latent_dim": Range(1, 6), "learning_rate": Range(1e-4, 1e-1, log=True)}
HOW: dict[str, Any] = {
    "settings": {"hidden": (8,)},
    "training": {"epochs": 3, "batch_size": 32, "progress": False, "device": "cpu"},
}


def quick_fit(trainer: Trainer, model: VAE, *_: Any, **__: Any) -> History:
    """A training that takes no time: a loss that falls to the distance of the settings from a beta and a rate."""
    distance = abs(model.objective.beta - 1) + abs(np.log10(trainer.learning_rate) + 2)  # type: ignore[operator]
    state = _State(model, trainer.epochs)
    for epoch in range(1, trainer.epochs + 1):
        loss = 100 + 10 * distance + 5 / epoch + 0.01 * trainer.seed
        state.epoch = epoch
        state.history.append({"validation_loss": loss, "validation_reconstruction": loss - 1, "validation_kl": 1.0})
        for callback in trainer.callbacks:
            callback.on_epoch_end(state)  # type: ignore[arg-type]
        if state.stop:
            break
    return state.history


class _State:
    def __init__(self, model: VAE, epochs: int) -> None:
        self.model, self.epochs, self.epoch, self.stop, self.history = model, epochs, 0, "", History(tag="grey-bce")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "fit", quick_fit)
    monkeypatch.setattr("mnistvae.analysis._task.evaluate", lambda model, *_, **__: Evaluation((Score("mse", 1.0),)))
    monkeypatch.setattr(_study, "_WAIT", 0.02)


def look(vary: Any = None, **more: Any) -> Sweep:
    return search(RECIPE, SPACE if vary is None else vary, TRAIN, HELD_OUT, **{**HOW, **more})


def values(found: Sweep) -> list[tuple[Any, ...]]:
    return [tuple(one.settings.values()) for one in found.trials]


# --- what is chosen and pruned ----------------------------------------------------------------------------------------


def test_trials_that_are_really_trained() -> None:
    seen: list[Trial] = []
    training = {**HOW["training"], "epochs": 2}
    found = look(
        {"latent_dim": Range(1, 6), "schedule": ["cosine", None]}, trials=3, training=training, done=seen.append
    )
    assert [one.state for one in found.trials] == ["complete"] * 3
    assert [dict(one.settings) for one in seen] == [dict(one.settings) for one in found.trials]
    one = found.trials[1]
    model = RECIPE.model(hidden=(8,), latent_dim=one.settings["latent_dim"])
    history = RECIPE.trainer(**training, schedule=one.settings["schedule"]).fit(model, TRAIN, HELD_OUT)
    assert one.score("validation_loss").value == history[-1]["validation_loss"]
    assert one.score("negative_elbo").tag == "grey-bce"
    assert list(one.course) == [1, 2]
    assert one.course[2] == one.score("negative_elbo").value
    assert found.best().score("negative_elbo").value == min(found.column("negative_elbo"))
    assert found.names() == ["mse", "mae", "psnr", "ssim", "negative_elbo", "validation_loss", "rate", "distortion"]


def test_later_trials_are_better_than_the_first_ones(quick: None) -> None:
    found = look(trials=40)
    complete = [one.state == "complete" for one in found.trials]
    scores = np.asarray(found.column("negative_elbo"))
    assert np.nanmin(scores[20:]) < np.nanmin(scores[:10])
    assert sum(complete) < 40
    assert found.best().settings["learning_rate"] == pytest.approx(1e-2, rel=0.5)


def test_what_others_beat_is_pruned_after_its_second_epoch_at_the_earliest(quick: None) -> None:
    found = look(trials=20)
    pruned = [one for one in found.trials if one.state == "pruned"]
    assert pruned
    assert {max(one.course) for one in pruned} == {2}
    assert not any(one.state == "pruned" for one in found.trials[:5])
    median = np.median([one.course[2] for one in found.trials if one.state == "complete"])
    assert all(one.course[2] > median - 20 for one in pruned)
    assert all(one.runs == () for one in pruned)


def test_a_metric_prunes_nothing_and_may_be_better_where_it_is_higher(
    quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mnistvae.analysis._task.evaluate",
        lambda model, *_, **__: Evaluation((Score("psnr", -abs(model.latent_dim - 4), "dB", "higher"),)),
    )
    found = look(trials=20, score="psnr")
    assert [one.state for one in found.trials] == ["complete"] * 20
    assert all(one.course == {} for one in found.trials)
    assert found.best().settings["latent_dim"] == 4


def test_the_mean_over_the_seeds_counts_and_the_first_one_prunes(quick: None) -> None:
    found = look(trials=12, seeds=3, seed=7)
    complete = [one for one in found.trials if one.state == "complete"]
    assert {tuple(run.seed for run in one.runs) for one in complete} == {(7, 8, 9)}
    first = complete[0]
    assert first.score("negative_elbo").value == pytest.approx(first.course[3] + 0.01)
    assert first.spread("negative_elbo") == pytest.approx(0.01)
    assert any(one.state == "pruned" for one in found.trials)


def test_whole_numbers_where_the_setting_is_one(quick: None) -> None:
    found = look({"beta": Range(1, 4), "latent_dim": Range(1, 6), "clip_norm": Range(0.5, 2)}, trials=4)
    for one in found.trials:
        assert [type(value) for value in one.settings.values()] == [float, int, float]
    assert len({one.settings["beta"] for one in found.trials}) == 4


def test_what_diverges_has_failed_and_counts(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(trainer: Trainer, model: VAE, *rest: Any) -> History:
        if trainer.learning_rate > 1e-2:
            raise TrainingError("a finite loss", "nan")
        return quick_fit(trainer, model, *rest)

    monkeypatch.setattr(Trainer, "fit", fit)
    found = look(trials=8)
    failed = [one for one in found.trials if one.state == "failed"]
    assert len(found.trials) == 8
    assert 0 < len(failed) < 8
    assert all(one.settings["learning_rate"] > 1e-2 and "a finite loss" in one.note for one in failed)
    assert found.best().settings["learning_rate"] <= 1e-2


# --- seeds ------------------------------------------------------------------------------------------------------------


def test_equal_seeds_choose_the_same_and_others_something_else(quick: None) -> None:
    first, second, other = look(trials=14), look(trials=14), look(trials=14, seed=1)
    assert values(first) == values(second)
    assert [one.state for one in first.trials] == [one.state for one in second.trials]
    assert values(first) != values(other)
    assert len({repr(one) for one in values(first)}) == 14


def test_a_study_that_goes_on_chooses_what_it_would_have_chosen(quick: None, tmp_path: Path) -> None:
    for trials in (3, 12, 13):
        found = look(trials=trials, storage=tmp_path / "study.log")
        assert len(found.trials) == trials
    assert values(found) == values(look(trials=13))
    trained: list[Trial] = []
    again = look(trials=13, storage=tmp_path / "study.log", done=trained.append)
    assert trained == []
    assert again == found


# --- several processes ------------------------------------------------------------------------------------------------


def fork(work: Callable[[], object]) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


forks = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no processes that begin as a copy of this one"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


class _Slow(Callback):
    """Takes its time, and with a file to write, says that it has begun and never ends."""

    def __init__(self, begun: Path | None = None) -> None:
        self.begun = begun

    def on_epoch_end(self, state: Any) -> None:
        time.sleep(0.02)
        if self.begun is not None:
            self.begun.touch()
            time.sleep(60)


@pytest.mark.parametrize(("url", "trials"), [(False, 9), (False, None), (True, None)], ids=["search", "grid", "sqlite"])
class TestSeveralProcesses:
    pytestmark = forks

    @pytest.fixture
    def study(self, quick: None, tmp_path: Path, url: bool, trials: int | None) -> Callable[..., Sweep]:
        storage = f"sqlite:///{tmp_path / 'study.db'}" if url else str(tmp_path / "study.log")
        lists = {"beta": [0.5, 1, 2], "latent_dim": [1, 2, 3]}

        def work(begun: Path | None = None, **more: Any) -> Sweep:
            training = {**HOW["training"], "callbacks": [_Slow(begun)]}
            return look(SPACE if trials else lists, trials=trials, storage=storage, training=training, **more)

        return work

    def test_they_share_the_trials(self, study: Callable[..., Sweep]) -> None:
        mine: list[Trial] = []
        other = fork(study)
        found = study(done=mine.append)
        other.join(60)
        assert other.exitcode == 0
        assert 0 < len(mine) < 9
        assert {one.state for one in found.trials} <= {"complete", "pruned"}
        assert len({repr(one) for one in values(found)}) == len(found.trials) == 9

    def test_a_killed_one_is_gone_on_with(self, study: Callable[..., Sweep], tmp_path: Path) -> None:
        begun = tmp_path / "begun"
        killed = fork(lambda: study(begun))
        while not begun.exists():
            time.sleep(0.01)
            assert killed.is_alive()
        os.kill(killed.pid or 0, signal.SIGKILL)
        killed.join()
        mine: list[Trial] = []
        found = study(done=mine.append)
        assert len(mine) == len(found.trials) == 9
        assert {one.state for one in found.trials} <= {"complete", "pruned"}
        assert len({repr(one) for one in values(found)}) == 9


def test_what_is_interrupted_is_tried_again_however_often(quick: None, tmp_path: Path) -> None:
    class Stop(Callback):
        def on_epoch_end(self, state: Any) -> None:
            raise KeyboardInterrupt

    storage = tmp_path / "study.log"
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            look(trials=2, storage=storage, training={**HOW["training"], "callbacks": [Stop()]})
    found = look(trials=2, storage=storage)
    assert [one.state for one in found.trials] == ["complete"] * 2
    assert values(found)[0] == values(look(trials=2))[0]


def test_a_trial_that_ends_its_process_each_time_has_failed(quick: None, tmp_path: Path) -> None:
    class Crash(Callback):
        def on_epoch_end(self, state: Any) -> None:
            raise MemoryError

    storage = tmp_path / "study.log"
    for _ in range(3):
        with pytest.raises(MemoryError):
            look(trials=2, storage=storage, training={**HOW["training"], "callbacks": [Crash()]})
    found = look(trials=2, storage=storage)
    assert [one.state for one in found.trials] == ["failed", "complete"]
    assert "killed" in found.trials[0].note


def test_a_trial_too_many_is_given_back(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = optuna.Study.ask

    def slowly(study: Any, *rest: Any) -> Any:
        """Another process asks, and is done, at the very moment."""
        if len(study.trials) == 1:
            study.add_trial(optuna.trial.create_trial(value=1.0))
        return ask(study, *rest)

    monkeypatch.setattr(optuna.Study, "ask", slowly)
    with optuna_quietly():
        study = _study.Study("a", None, {}, {}, None, minimize=True, seed=0)
        taken = study.take(2)
        assert taken is not None
        study.tell(taken, [], 1.0)
        assert study.take(2) is None
        assert [one.state.name for one in study._study.trials] == ["COMPLETE", "COMPLETE", "FAIL"]
        assert len(study.record({})) == 2


def running(**attrs: Any) -> Any:
    return optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, user_attrs=attrs)


def test_nobody_works_at_what_gives_no_sign_of_life() -> None:
    place, pid, start = _workers.identity()
    now = time.time()
    assert not _workers.is_left(running(worker=[place, pid, start]))
    assert not _workers.is_left(running())
    assert not _workers.is_left(running(worker=["elsewhere", 1, ""], pulse=now))
    old = running(worker=["elsewhere", 1, ""], pulse=now - 1000)
    old.datetime_start = None
    assert _workers.is_left(old)
    if os.name != "nt":
        assert _workers.is_left(running(worker=[place, 2**22 + 1, start]))
    if start:
        assert _workers.is_left(running(worker=[place, pid, "0"]))  # another process has its number now


def test_a_trial_under_way_gives_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_study, "PULSE", 0.01)
    with optuna_quietly():
        study = _study.Study("a", None, {}, {}, None, minimize=True, seed=0)
        taken = study.take(1)
        assert taken is not None
        with study.at_work(taken):
            time.sleep(0.1)
        assert time.time() - study._study.trials[0].user_attrs["pulse"] < 60


# --- what makes no sense ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vary", "more", "message"),
    [
        ({"beta": Range(1, 2)}, {}, r"a number of trials \(`trials`\) for the range of beta"),
        ({"beta": Range(1, 2)}, {"trials": 0}, "trials as a number of at least 1"),
        ({"beta": Range(-1, 2)}, {"trials": 3}, "beta"),
        ({"latent_dim": Range(0.5, 2)}, {"trials": 3}, "latent_dim"),
        ({"latent_dim": [2, 0]}, {"trials": 3}, "latent_dim"),
        ({"betta": Range(1, 2)}, {"trials": 3}, "the closest is 'beta'"),
        ({"beta": [1]}, {"trials": 3}, "at least two values of beta"),
        ({"beta": Range(1, 2)}, {"trials": 3, "score": "msee"}, "the closest is 'mse'"),
        ({"beta": Range(1, 2)}, {"trials": 3, "seeds": 0}, "seeds as a number"),
    ],
)
def test_what_makes_no_sense_trains_nothing(
    vary: Any, more: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: pytest.fail("it trains"))
    with pytest.raises(SettingError, match=message):
        look(vary, **more)


def test_a_study_varies_one_thing(quick: None, tmp_path: Path) -> None:
    storage = tmp_path / "study.log"
    look({"beta": Range(0.1, 4)}, trials=1, storage=storage)
    for vary in ({"beta": Range(0.1, 5)}, {"beta": [1, 2]}, {"latent_dim": Range(1, 3)}):
        with pytest.raises(SettingError, match=r"the study mlp-\w+ to vary .*, or choose another `storage`"):
            look(vary, trials=1, storage=storage)
    # Other settings, seeds or images make another study, in the same storage.
    for more in ({"seeds": 2}, {"score": "validation_loss"}, {"settings": {"hidden": (9,)}}):
        assert len(look({"beta": Range(0.1, 5)}, trials=1, storage=storage, **more).trials) == 1


def test_storages_that_cannot_be(quick: None, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("something else\n")
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("create table studies (x)")
    other.close()
    for storage in (
        tmp_path,
        tmp_path / "file",
        tmp_path / "file" / "study.log",
        f"sqlite:///{tmp_path}/no/such/study.db",
        f"sqlite:///{tmp_path}/other.db",
        "nosuch://study",
        "mysql+nosuch://study",
        7,
    ):
        with pytest.raises(MnistvaeError) as caught:
            look({"beta": Range(0.1, 4)}, trials=1, storage=storage)  # type: ignore[arg-type]
        assert isinstance(caught.value, OutputError)
    assert (tmp_path / "file").read_text() == "something else\n"


# --- on the command line ----------------------------------------------------------------------------------------------


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli, [str(one) for one in arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_the_command_searches_and_goes_on(quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnistvae.data.load_dataset", lambda name, split, root: DIGITS[:80])
    vary = ("--vary", "beta=0.1..4", "--vary", "learning_rate=1e-4..1e-1:log", "--vary", "hidden=[8],[8,4]")
    how = ("--recipe", "mlp", *vary, "--storage", tmp_path / "study.log", "--no-progress", "--device", "cpu")
    out = run("sweep", *how, "--trials", 8, "--out", tmp_path / "a")
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"sweep.csv", "summary.csv", "sweep.png"}
    assert (tmp_path / "a" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert out.count(": negative_elbo ") + out.count(": pruned after epoch") == 8
    assert "the lowest negative_elbo of 8" in out
    assert "--set 'hidden=[8" in out
    again = run("sweep", *how, "--trials", 8, "--out", tmp_path / "b")
    assert (tmp_path / "b" / "sweep.csv").read_bytes() == (tmp_path / "a" / "sweep.csv").read_bytes()
    assert again.count(": negative_elbo ") == 0
    assert "a number of trials (--trials) for the range of beta" in run("sweep", *how, "--out", tmp_path / "c", code=2)
    assert not (tmp_path / "c").exists()


def test_a_grid_that_is_kept_names_the_smallest_as_one_without_a_storage_does(quick: None, tmp_path: Path) -> None:
    how: dict[str, Any] = {"recipe": "mlp", "vary": {"beta": [1, 2], "latent_dim": [1, 2]}, "seeds": 2, "epochs": 1}
    data: dict[str, Any] = {"dataset": TRAIN, "validation": HELD_OUT, "progress": False, "device": "cpu"}
    kept = commands.sweep(**how, **data, storage=str(tmp_path / "study.log"), out=tmp_path / "a")
    plain = commands.sweep(**how, **data, out=tmp_path / "b")
    assert values(kept) == values(plain)
    assert kept.column("negative_elbo") == plain.column("negative_elbo")
    assert kept.best().settings == plain.best().settings


def test_images_of_ones_own(quick: None) -> None:
    data = ImageDataset(DIGITS.images[:32])
    assert len(search(RECIPE, {"beta": [1, 2]}, data, data[:8], **HOW).trials) == 2
