"""Rows of the literature: the table makes sense, and the command trains, measures, goes on and refuses as it says."""

from __future__ import annotations

import importlib
import math
import shutil
from pathlib import Path
from typing import Any

import click.testing
import pytest
import torch

from mnistvae import recipes
from mnistvae._records import read_json
from mnistvae.commands import Reproduction, RunFolder, cli, reproduce
from mnistvae.commands._pace import Pace, measure_pace
from mnistvae.data import load_dataset
from mnistvae.errors import OutputError, SettingError
from mnistvae.io import read
from mnistvae.recipes import ROWS, Row

#: A row that is trained in a second.
TINY = Row(
    "tiny",
    "nobody (2026), table 0",
    published=90.0,
    tag="binarized-dynamic",
    recipe="kingma2014",
    settings={"latent_dim": 2, "hidden": (8,), "num_samples": 2},
    training={"batch_size": 500, "binarization": "dynamic", "schedule": "one-cycle"},
    minutes=0.001,
    num_samples=3,
    datasets=("mnist-mini",),
    note="A toy.",
)
QUICK: dict[str, Any] = {"dataset": "mnist-mini", "limit": 20, "device": "cpu", "progress": False}
MODULE = importlib.import_module("mnistvae.commands.reproduce")


def made(row: str | Row, folder: Path, **changes: Any) -> Reproduction:
    found = reproduce(row, out=folder, **{**QUICK, "seeds": 1, "epochs": 1, **changes})
    assert found is not None
    return found


def weights(folder: Path, seed: int = 0) -> dict[str, torch.Tensor]:
    return read(folder / f"seed-{seed}" / "model.safetensors").tensors


def run(*words: str) -> click.testing.Result:
    return click.testing.CliRunner().invoke(cli, ["reproduce", *words])


# --- the table ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_row_has_a_recipe_that_takes_its_settings_and_gives_its_figure(row: Row) -> None:
    assert ROWS[row.name] is row
    assert 50 < row.published < 200
    assert any(f"({year})" in row.source for year in range(2013, 2027)) or "/" in row.source
    recipe = recipes.get(row.recipe)
    model, trainer = recipe.model(**row.settings), recipe.trainer(**row.training)
    pixels = {"binarized-larochelle": "binarized-static"}.get(row.tag, row.tag)  # of mnist, without his files
    assert model.tag(trainer.binarization) == pixels
    assert (row.num_samples == 1) == (row.metric == "negative_elbo")
    assert row.minutes * 3 <= 25  # three seeds


def test_the_rows_of_burda_are_his_network_with_his_numbers_of_samples() -> None:
    published = {"vae": {1: 86.76, 5: 86.47, 50: 86.35}, "iwae": {1: 86.76, 5: 85.54, 50: 84.78}}
    for kind, figures in published.items():
        for k, figure in figures.items():
            row = recipes.get_row(f"burda2016-{kind}-{k}")
            model = recipes.get(row.recipe).model(**row.settings)
            assert row.published == figure
            assert model.objective.num_samples == k
            assert type(model.objective).__name__ == {"vae": "ELBO", "iwae": "IWAE"}[kind]
            shapes = [tuple(weight.shape) for weight in model.decoder.parameters() if weight.dim() == 2]
            assert shapes == [(200, 50), (200, 200), (784, 200)]


def test_the_row_of_the_example_is_trained_as_the_example_is() -> None:
    row = recipes.get_row("pytorch-examples")
    trainer = recipes.get(row.recipe).trainer(**row.training)
    assert (row.epochs, trainer.batch_size, trainer.learning_rate, trainer.schedule) == (10, 128, 1e-3, None)


@pytest.mark.parametrize(
    "change", [{"metric": "fid"}, {"published": math.nan}, {"minutes": 0}, {"num_samples": 0}, {"epochs": 0}]
)
def test_a_row_of_nonsense_is_refused(change: dict[str, Any]) -> None:
    whole = {name: getattr(TINY, name) for name in ("name", "source", "published", "tag", "recipe", "minutes")}
    with pytest.raises(SettingError):
        Row(**{**whole, "settings": {}, "training": {}, **change})


def test_a_row_cannot_be_changed_for_others() -> None:
    with pytest.raises(TypeError):
        TINY.settings["latent_dim"] = 3  # type: ignore[index]


# --- the pace -------------------------------------------------------------------------------------------------------


def test_epochs_are_those_that_fit_after_the_start() -> None:
    pace = Pace(start=30.0, epoch=1.5)
    assert [pace.epochs_in(minutes) for minutes in (1, 2, 0.5, 0.001)] == [20, 60, 1, 1]


def test_a_pace_is_of_the_whole_data(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, data = recipes.get("mlp-20"), load_dataset("mnist-mini", "train")[:2000]

    def fit(trainer: Any, model: Any, part: Any) -> Any:
        assert (len(part), trainer.epochs, trainer.batch_size) == (20 * 50, 3, 50)
        return Times()

    class Times:
        def column(self, name: str) -> list[float]:
            assert name == "seconds"
            return [7.0, 1.0, 3.0]

    monkeypatch.setattr("mnistvae.training.Trainer.fit", fit)
    assert measure_pace(recipe, {}, {"batch_size": 50}, data, "cpu") == Pace(start=5.0, epoch=4.0)


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Reproduction]:
    """A reproduction with two seeds, which tests copy."""
    folder = tmp_path_factory.mktemp("reproduced") / "tiny"
    return folder, made(TINY, folder, seeds=2, epochs=None)


def test_figures_are_those_of_the_models_that_are_left(begun: tuple[Path, Reproduction]) -> None:
    from mnistvae.commands import evaluate

    folder, found = begun
    assert len(found.values) == 2
    assert found.values[0] != found.values[1]
    assert found.mean == pytest.approx(sum(found.values) / 2)
    assert found.deviation == pytest.approx(abs(found.values[0] - found.values[1]) / 2**0.5)
    assert found.difference == pytest.approx(found.mean - 90)
    again = evaluate(
        folder / "seed-1", num_samples=3, limit=20, only=("likelihood",), out=folder.parent / "again", progress=False
    )
    assert again["nll"] == found.values[1]
    assert found.standard_error is not None
    assert found.standard_error > 0


def test_json_and_markdown_say_how_it_was_made(begun: tuple[Path, Reproduction]) -> None:
    folder, found = begun
    content = read_json(folder / "reproduced.json", "a reproduction", "")
    published = {"value": 90.0, "dataset": "mnist-mini", "tag": "binarized-dynamic", "num_samples": 3, "images": 10_000}
    assert content["published"] == published
    assert content["ours"]["values"] == list(found.values)
    assert (content["ours"]["images"], content["ours"]["num_samples"]) == (20, 3)
    assert content["seeds"] == [0, 1]
    assert content["epochs"] == found.epochs == content["training"]["epochs"] == 1  # 60 ms are not enough for more
    assert len(content["seconds"]) == 2
    assert all(second > 0 for second in content["seconds"])
    assert content["settings"]["num_samples"] == 2
    text = (folder / "reproduced.md").read_text(encoding="utf-8")
    for word in ("nobody (2026), table 0", "90.0", f"{found.mean:.2f} ±", "A toy.", content["command"], "cpu"):
        assert word in text


def test_the_command_that_it_gives_repeats_the_weights(begun: tuple[Path, Reproduction], tmp_path: Path) -> None:
    folder, found = begun
    assert found.command == "mnistvae reproduce tiny --epochs 1 --seeds 2 --dataset mnist-mini --limit 20"
    again = made(TINY, tmp_path / "again", epochs=found.epochs)
    assert again.values == found.values[:1]
    assert again.deviation is None
    for name, weight in weights(tmp_path / "again").items():
        assert torch.equal(weight, weights(folder)[name])


def test_other_data_give_no_difference(tmp_path: Path) -> None:
    row = Row(**{**vars(TINY), "datasets": ("mnist",)})
    found = made(row, tmp_path / "one")
    assert found.difference is None
    assert "none: other data" in found.to_markdown()
    other = Row(**{**vars(TINY), "tag": "binarized-static"})
    assert Reproduction(other, *(getattr(found, name) for name in list(vars(found))[1:])).difference is None


def test_images_that_are_black_and_white_already_are_left_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey = {split: load_dataset("mnist-mini", split)[:500] for split in ("train", "test")}  # type: ignore[arg-type]
    monkeypatch.setattr(
        "mnistvae.data.load_dataset", lambda name, split, root: grey[split].binarized("threshold").replace(name=name)
    )
    row = Row(**{**vars(TINY), "datasets": ("bw",), "tag": "binarized-threshold"})
    found = made(row, tmp_path / "bw", dataset="bw")
    assert (found.tag, found.about.training["binarization"]) == ("binarized-threshold", "none")
    assert found.difference is not None


def test_a_finished_folder_is_taken_and_its_seeds_are_not_trained_again(
    begun: tuple[Path, Reproduction], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(begun[0], folder)
    with pytest.raises(OutputError, match=r"without reproduced\.json"):
        made(TINY, folder, seeds=2, epochs=None)
    for name in RunFolder.REPRODUCED:  # as the message says: move it away
        (folder / name).rename(tmp_path / name)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a finished seed was trained or measured again")

    with monkeypatch.context() as patched:
        patched.setattr(MODULE, "train", refuse)
        patched.setattr(MODULE, "evaluate", refuse)
        found = made(TINY, folder, seeds=2, epochs=None)
    assert (found.values, found.seconds) == (begun[1].values, begun[1].seconds)
    assert (folder / "reproduced.json").read_bytes() == (tmp_path / "reproduced.json").read_bytes()


def test_more_seeds_are_added_and_a_seed_that_was_stopped_goes_on(
    begun: tuple[Path, Reproduction], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(begun[0], folder)
    for name in RunFolder.REPRODUCED:
        (folder / name).unlink()
    for name in ("model.safetensors", "loss.png", "reconstructions.png", "samples.png", "metrics.json", "by_class.csv"):
        (folder / "seed-1" / name).unlink()  # as if it was stopped after its last checkpoint
    assert RunFolder(folder / "seed-1").state == "unfinished"
    found = made(TINY, folder, seeds=3, epochs=None)
    assert found.values[:2] == begun[1].values
    assert len(found.values) == 3


def test_a_folder_of_other_settings_is_refused_and_says_which(begun: tuple[Path, Reproduction], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(begun[0], folder)
    for name in RunFolder.REPRODUCED:
        (folder / name).unlink()
    with pytest.raises(OutputError, match="other num_samples"):
        made(TINY, folder, seeds=2, epochs=None, num_samples=4)
    with pytest.raises(OutputError, match="other minutes, epochs"):
        made(TINY, folder, seeds=2, epochs=1)
    other = Row(**{**vars(TINY), "settings": {**TINY.settings, "latent_dim": 3}})
    with pytest.raises(OutputError, match="other settings"):
        made(other, folder, seeds=2, epochs=None)
    assert not (folder / "reproduced.json").exists()


def test_a_run_that_lies_where_a_seed_would_is_not_taken_for_it(
    begun: tuple[Path, Reproduction], tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(begun[0] / "seed-0", folder / "seed-0")
    with pytest.raises(OutputError, match=r"model\.safetensors"):
        made(TINY, folder)


def test_whoever_stops_it_is_told_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MODULE, "evaluate", stop)
        with pytest.raises(KeyboardInterrupt) as caught:
            made(TINY, tmp_path / "stopped")
    line = "mnistvae reproduce tiny --epochs 1 --seeds 1 --dataset mnist-mini --limit 20 --out"
    assert caught.value.__notes__ == [f"go on with:\n  {line} {tmp_path / 'stopped'}"]
    monkeypatch.setattr(MODULE, "train", stop)  # the training is done
    assert len(made(TINY, tmp_path / "stopped").values) == 1


# --- the command line -----------------------------------------------------------------------------------------------


def test_without_a_row_the_rows_are_listed() -> None:
    listed = run()
    assert listed.exit_code == 0
    for row in ROWS.values():
        assert f"{row.name}: {row.metric} {row.published} nats" in listed.output
        assert row.source in listed.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["burda2016-vae1"], "the closest is 'burda2016-vae-1'"),
        (["burda2016-vae1"], "tomczak2018-vamp"),
        (["burda2016-vae-1", "--minutes", "0"], "--minutes above 0, got 0"),
        (["burda2016-vae-1", "--minutes", "-3"], "--minutes above 0, got -3"),
        (["burda2016-vae-1", "--minutes", "nan"], "--minutes above 0, got nan"),
        (["burda2016-vae-1", "--minutes", "inf"], "--minutes above 0, got inf"),
        (["burda2016-vae-1", "--minutes", "1", "--epochs", "2"], "got both: leave one of them out"),
        (["burda2016-vae-1", "--epochs", "0"], "--epochs of at least 1, got 0"),
        (["burda2016-vae-1", "--seeds", "0"], "--seeds as a number of trainings of at least 1, got 0"),
        (["burda2016-vae-1", "--num-samples", "0"], "--num-samples of at least 1, got 0"),
        (["burda2016-vae-1", "--limit", "0"], "--limit as a number of images of at least 1, got 0"),
    ],
)
def test_nonsense_is_refused_before_a_folder_is_made(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = run(*words)
    assert refused.exit_code == 2
    assert said in refused.output
    assert not list(tmp_path.iterdir())


def test_a_row_of_another_module_is_found_and_named_in_the_command(tmp_path: Path) -> None:
    words = [f"--{name.replace('_', '-')}={value}" for name, value in QUICK.items() if name != "progress"]
    name = f"{__name__}:TINY"
    ran = run(name, "--epochs=1", "--seeds=1", "--no-progress", f"--out={tmp_path / 'own'}", *words)
    assert ran.exit_code == 0, ran.output
    assert f"mnistvae reproduce {name} --epochs 1 --seeds 1 --dataset mnist-mini --limit 20" in ran.output
