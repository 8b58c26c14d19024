"""The commands as functions: what is written, what is read back, and what is never written over."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from readback import content, originals_drawn, png

import mnistvae
from mnistvae import VAE, ConditionalVAE, History, ImageDataset, commands, fitting, io, load, load_dataset, recipes
from mnistvae._records import read_json
from mnistvae.commands import Provenance, Run, RunFolder, _pictures
from mnistvae.data import Batches, as_trained, one_of_each
from mnistvae.data.files import errors_name
from mnistvae.errors import DataError, FileFormatError, MnistvaeError, OutputError, SettingError, TrainingError
from mnistvae.networks import MLPDecoder, MLPEncoder
from mnistvae.priors import GaussianMixture
from mnistvae.training import CSVLog

SHAPE = (1, 9, 8)


def tiny(n: int = 40, classes: int | None = 4) -> ImageDataset:
    generator = torch.Generator().manual_seed(n)
    pixels = torch.randint(0, 256, (n, *SHAPE), dtype=torch.uint8, generator=generator)
    return ImageDataset(pixels, None if classes is None else torch.arange(n) % classes, name="tiny")


def plane() -> VAE:
    """A model with a latent plane."""
    torch.manual_seed(1)
    return VAE(2, SHAPE, encoder=MLPEncoder(2, SHAPE, (8,)), decoder=MLPDecoder(2, SHAPE, (8,)))


#: What a finished run leaves in its folder.
LEFT = {*RunFolder.TRAINED, "run.json", "checkpoints", "epochs"}
QUIET: dict[str, Any] = {"device": "cpu", "progress": False}


def train(folder: Path, **changes: Any) -> Run:
    arguments: dict[str, Any] = {"hidden": (8,), "epochs": 2, "batch_size": 16, **QUIET}
    data: dict[str, Any] = {"recipe": "mlp-2d", "dataset": tiny(), "validation": tiny(12)}
    return commands.train(out=folder, **{**data, **arguments, **changes})


def generate(model: VAE, folder: Path, n: int | None = None, **how: Any) -> torch.Tensor:
    return commands.generate(model, n=n, out=folder, **how)


def reconstruct(model: VAE, data: ImageDataset, folder: Path, n: int = 10, binarization: Any = None) -> Path:
    return commands.reconstruct(model, dataset=data, out=folder, n=n, about=Provenance(binarization=binarization))


def fit_prior(model: VAE, data: ImageDataset, folder: Path, components: int, metadata: Any = None, **how: Any) -> Path:
    about = Provenance.from_metadata(metadata or {})
    return commands.fit_prior(model, dataset=data, out=folder, components=components, about=about, **how)


# --- train ----------------------------------------------------------------------------------------------------------


def test_a_run_leaves_its_files_and_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    run = train(folder)
    assert run.folder.path == folder
    assert {path.name for path in folder.iterdir()} == LEFT
    for name in ("loss.png", "reconstructions.png", "samples.png"):
        picture = png(folder / name)
        assert picture.shape[0] > 50
        assert picture.shape[1] > 50
        assert len(np.unique(picture)) > 10
    assert list(History.from_csv(folder / "history.csv")) == list(run.history)
    assert len(run.history) == 2
    assert "validation_loss" in run.history[-1]


def test_the_saved_model_is_the_trained_one(tmp_path: Path) -> None:
    run = train(tmp_path / "run", seed=3)
    saved = load(tmp_path / "run" / "model.safetensors")
    z = torch.randn(5, 2)
    assert torch.equal(saved.decode(z).mean, run.model.decode(z).mean)
    assert saved.image_shape == SHAPE


def test_the_saved_model_says_how_it_was_made(tmp_path: Path) -> None:
    run = train(tmp_path / "run", seed=3, epochs=1, batch_size=128, learning_rate=0.01)
    metadata = io.read(tmp_path / "run" / "model.safetensors").metadata
    made = {
        "images": 40,
        "fingerprint": Batches(tiny()).fingerprint,
        "mnistvae": mnistvae.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": "cpu",
        "threads": torch.get_num_threads(),
    }
    asked = {
        "recipe": "mlp-2d",
        "dataset": "tiny",
        "settings": {"latent_dim": 2, "beta": 1.0, "hidden": {"tuple": [8]}},
        "training": {"epochs": 1, "batch_size": 128, "learning_rate": 0.01},
        "seed": 3,
        "samples_every": 1,
    }
    ended = {
        "binarization": "none",
        "epochs": 1,
        "batch_size": 128,
        "learning_rate": 0.01,
        "tag": "grey-bce",
        "last_epoch": dict(run.history[-1]),
    }
    assert metadata == {**asked, **made, **ended}
    assert read_json(tmp_path / "run" / "run.json", "a record", "") == {**asked, **made}
    record = Provenance.from_metadata(metadata)
    assert record.settings == {"latent_dim": 2, "beta": 1.0, "hidden": (8,)}
    assert record.notes == {}
    assert record.to_metadata() == metadata


def test_a_record_of_another_kind_of_file() -> None:
    """Whatever is not of the type that is expected is a note, and is kept."""
    odd = {
        "recipe": 3,
        "seed": True,
        "binarization": "threshold",
        "settings": [1],
        "training": {"a": {"b": 1}},
        "x": None,
    }
    record = Provenance.from_metadata(odd)
    assert (record.recipe, record.seed, record.binarization, record.settings) == (None, None, "threshold", {})
    assert record.training == {"a": {"b": 1}}
    assert record.notes == {"recipe": 3, "seed": True, "settings": [1], "x": None}
    assert record.to_dict() == odd


def test_a_run_is_a_function_of_its_seed(tmp_path: Path) -> None:
    first, again, other = (train(tmp_path / str(i), seed=seed) for i, seed in enumerate((1, 1, 2)))
    assert first.history.column("loss") == again.history.column("loss")
    assert first.history.column("loss") != other.history.column("loss")
    for name in ("samples.png", "reconstructions.png"):
        files = [(run.folder.path / name).read_bytes() for run in (first, again, other)]
        assert files[0] == files[1]
        assert files[0] != files[2]


def test_a_run_without_validation_or_labels(tmp_path: Path) -> None:
    run = train(tmp_path / "run", dataset=tiny(classes=None), validation=None, epochs=1)
    assert "validation_loss" not in run.history[0]
    assert {path.name for path in run.folder.path.iterdir()} == LEFT


def test_a_conditional_run_takes_its_classes_from_the_data(tmp_path: Path) -> None:
    data: dict[str, Any] = {"dataset": tiny(), "validation": tiny(12), **QUIET}
    run = commands.train(recipe="conditional", channels=(4,), latent_dim=2, epochs=1, out=tmp_path / "run", **data)
    assert run.model.num_classes == 4
    assert load(run.folder.model).num_classes == 4


@pytest.mark.parametrize("name", RunFolder.TRAINED)
def test_a_folder_that_holds_a_run_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"precious")
    (tmp_path / "notes.txt").write_text("mine")
    before = content(tmp_path)
    with pytest.raises(OutputError, match=rf"a folder without {name}, got .*which has one: choose another folder"):
        train(tmp_path)
    assert content(tmp_path) == before


def test_other_files_of_the_folder_stay(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    train(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="a folder to write at"):
        train(tmp_path / "file" / "run")
    with pytest.raises(OutputError, match="a folder to write at"):
        train(tmp_path / "file")
    assert content(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": (3,)}, "settings of the recipe 'mlp-2d'"),
        ({"latent_dim": 0}, "latent_dim as an integer of at least 1"),
        ({"epochs": 0}, "epochs as an integer of at least 1, got 0"),
        ({"device": "nonsense"}, "a device of this machine, got 'nonsense'"),
    ],
    ids=["setting", "latent-dim", "epochs", "device"],
)
def test_a_run_that_cannot_start_writes_nothing(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        train(tmp_path / "run", **changes)
    assert content(tmp_path) == {}


def test_a_run_whose_weights_explode_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="finite"):
        train(tmp_path / "run", epochs=1, batch_size=64, learning_rate=1e30)
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The originals of every picture of reconstructions, as they are drawn."""
    return originals_drawn(monkeypatch)


@pytest.mark.parametrize("binarization", ["static", "dynamic", "threshold"])
def test_a_run_on_binarized_images_says_so_and_draws_them(
    tmp_path: Path, drawn: list[torch.Tensor], binarization: Any
) -> None:
    run = train(tmp_path, epochs=1, binarization=binarization)
    metadata = io.read(tmp_path / "model.safetensors").metadata
    assert metadata["binarization"] == binarization
    assert metadata["tag"] == run.history.tag == f"binarized-{binarization}"
    (originals,) = drawn
    assert originals.shape == (10, *SHAPE)
    assert set(originals.unique().tolist()) == {0, 255}


def test_a_run_on_images_that_were_binarized_before_says_how(tmp_path: Path) -> None:
    data = tiny().binarized("static")
    train(tmp_path, dataset=data, validation=None)
    assert io.read(tmp_path / "model.safetensors").metadata["binarization"] == "static"
    with pytest.raises(DataError, match="grey images, got images with binarization 'static'"):
        train(tmp_path / "other", recipe="kingma2014", dataset=data, validation=None)
    assert content(tmp_path / "other") == {}


# --- generate -------------------------------------------------------------------------------------------------------


def test_generate_writes_each_image_and_all_of_them(tmp_path: Path) -> None:
    images = generate(plane(), tmp_path / "out", 5, seed=1)
    assert images.shape == (5, *SHAPE)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"00{i}.png" for i in range(5)} | {"samples.png"}
    for i, image in enumerate(images):
        picture = png(tmp_path / "out" / f"00{i}.png")
        assert picture.dtype == np.uint8
        assert np.array_equal(picture, (image[0] * 255).round().to(torch.uint8))
    assert png(tmp_path / "out" / "samples.png").size > 1000


def test_generate_draws_as_sample_does(tmp_path: Path) -> None:
    model = plane()
    drawn = model.sample(3, temperature=0.5, generator=torch.Generator().manual_seed(7))
    assert torch.equal(generate(model, tmp_path / "a", 3, temperature=0.5, seed=7), drawn)
    assert not torch.equal(generate(model, tmp_path / "b", 3, seed=7), drawn)
    assert not torch.equal(generate(model, tmp_path / "c", 3, temperature=0.5, seed=8), drawn)
    assert torch.equal(
        generate(model, tmp_path / "d", 3, temperature=0.0), model.decode(torch.zeros(3, 2)).mean.detach()
    )


def test_generate_at_points_of_the_plane(tmp_path: Path) -> None:
    model = plane()
    points = [(0.0, 0.0), (1.5, -2.0)]
    images = generate(model, tmp_path, at=points)
    assert torch.equal(images, model.decode(torch.tensor(points)).mean)
    assert not images.requires_grad
    assert {path.name for path in tmp_path.iterdir()} == {"000.png", "001.png", "samples.png"}


def test_generate_with_a_label(tmp_path: Path) -> None:
    model = ConditionalVAE(2, 4, SHAPE)
    first, again, other = (
        generate(model, tmp_path / str(i), 3, label=label, seed=0) for i, label in enumerate((1, 1, 2))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    at = generate(model, tmp_path / "at", label=2, at=[(0.0, 1.0)])
    assert torch.equal(at, model.decode(torch.tensor([[0.0, 1.0]]), 2).mean)
    assert generate(model, tmp_path / "even", 8).shape == (8, *SHAPE)  # the classes in turn


def test_generate_in_colour(tmp_path: Path) -> None:
    images = generate(VAE(2, (3, 9, 8)), tmp_path, 2)
    picture = png(tmp_path / "001.png")
    assert picture.shape == (9, 8, 3)
    assert np.array_equal(picture, (images[1] * 255).round().to(torch.uint8).movedim(0, -1))


def test_many_images_keep_their_order_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnistvae._files.write_atomically", Path.write_bytes)
    generate(VAE(1, (1, 1, 1)), tmp_path, 1001)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[0] == "0000.png"
    assert names[-2:] == ["1000.png", "samples.png"]
    assert len(names) == 1002


@pytest.mark.parametrize("name", ["samples.png", "002.png"])
def test_generate_writes_over_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(OutputError, match=f"a folder without {name}"):
        generate(plane(), tmp_path, 3)
    assert content(tmp_path) == {name: b"precious"}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"at": [(0.0,)]},
            DataError,
            "2 coordinates, .* got 1 in 0: separate 2 numbers by commas",
        ),
        ({"at": [(0.0, 1.0), (0.5, 1.0, 2.0)]}, DataError, "got 3 in 0.5,1,2"),
        ({"at": [(0.0, float("nan"))]}, DataError, "finite coordinates, got .*nan"),
        ({"at": [(0.0, 1.0), (float("inf"), 0.0)]}, DataError, "finite coordinates, got .*inf"),
        ({"at": [(0.0, 1.0)], "label": 1}, DataError, "no label, since this model was trained without labels"),
        ({"label": 3}, DataError, "no label, .* got 3: leave `label` out, or take a model that was trained with"),
        ({"n": 0}, SettingError, "at least one image to sample, got 0"),
        ({"temperature": -1.0}, SettingError, "a finite temperature of at least 0, got -1.0"),
        ({"temperature": float("nan")}, SettingError, "a finite temperature of at least 0, got nan"),
    ],
    ids=str,
)
def test_generate_refuses_what_makes_no_sense(
    tmp_path: Path, arguments: dict[str, Any], error: type[MnistvaeError], message: str
) -> None:
    with pytest.raises(error, match=message):
        generate(plane(), tmp_path, **arguments)
    assert content(tmp_path) == {}


@pytest.mark.parametrize(("label", "got"), [(4, "4"), (-1, "-1")])
def test_generate_refuses_a_label_that_is_not_there(tmp_path: Path, label: int, got: str) -> None:
    with pytest.raises(DataError, match=f"a class of this model, 0 to 3, got {got}: give another `label`"):
        generate(ConditionalVAE(2, 4, SHAPE), tmp_path, 2, label=label)
    with pytest.raises(DataError, match="a class, 0 to 3, beside the points, got none: give `label`"):
        generate(ConditionalVAE(2, 4, SHAPE), tmp_path, at=[(0.0, 0.0)])
    assert content(tmp_path) == {}


# --- reconstruct ----------------------------------------------------------------------------------------------------


def test_reconstruct_draws_a_picture(tmp_path: Path) -> None:
    path = reconstruct(plane(), tiny(), tmp_path / "out", 6)
    assert path == tmp_path / "out" / "reconstructions.png"
    six = png(path)
    three = png(reconstruct(plane(), tiny(), tmp_path / "three", 3))
    assert six.shape[1] > three.shape[1]
    assert six.shape[0] == three.shape[0]


def test_reconstruct_with_a_conditional_model(tmp_path: Path) -> None:
    model = ConditionalVAE(2, 4, SHAPE)
    assert png(reconstruct(model, tiny(), tmp_path, 4)).size > 1000
    with pytest.raises(DataError, match="labels for a model conditioned on 4 classes, got none"):
        reconstruct(model, tiny(classes=None), tmp_path / "other", 4)
    with pytest.raises(DataError, match="labels from 0 to 3, got 4"):
        reconstruct(model, tiny(classes=5), tmp_path / "other", 5)
    assert not (tmp_path / "other").exists()


def test_reconstruct_more_than_there_are(tmp_path: Path) -> None:
    assert png(reconstruct(plane(), tiny(3), tmp_path, 50)).size > 1000


def test_reconstruct_refuses(tmp_path: Path) -> None:
    (tmp_path / "reconstructions.png").write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"a folder without reconstructions\.png"):
        reconstruct(plane(), tiny(), tmp_path)
    assert content(tmp_path) == {"reconstructions.png": b"precious"}
    with pytest.raises(SettingError, match="at least one image to reconstruct, got 0"):
        reconstruct(plane(), tiny(), tmp_path, 0)
    with pytest.raises(DataError, match=r"images of 1 x 9 x 8, .*got 1 x 28 x 28 in .*: choose another"):
        reconstruct(plane(), ImageDataset(torch.zeros(20, 28, 28)), tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("binarization", ["none", "static", "dynamic", "threshold"])
def test_reconstruct_draws_what_the_model_was_trained_on(
    tmp_path: Path, drawn: list[torch.Tensor], binarization: str
) -> None:
    data = tiny()
    for folder in ("one", "two"):
        reconstruct(plane(), data, tmp_path / folder, 8, binarization=binarization)
    grey = one_of_each(data, 8).images
    assert torch.equal(*drawn)
    assert torch.equal(drawn[0], grey) is (binarization == "none")
    assert torch.equal(drawn[0], (grey >= 128) * 255) is (binarization == "threshold")
    assert set(drawn[0].unique().tolist()) == ({0, 255} if binarization != "none" else set(grey.unique().tolist()))
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert data.binarization == "none"


@pytest.mark.parametrize("binarization", ["none", "static", "dynamic", "threshold"])
def test_images_that_are_black_and_white_already_are_drawn_as_they_are(binarization: str) -> None:
    data = tiny().binarized("threshold")
    assert as_trained(data, binarization) is data


# --- fit_prior ------------------------------------------------------------------------------------------------------


def test_fit_prior_writes_a_copy_with_a_mixture_and_its_samples(tmp_path: Path) -> None:
    model, notes = plane(), {"recipe": "mine", "dataset": "tiny", "fitted_prior": "an earlier one"}
    path = fit_prior(model, tiny(), tmp_path / "new" / "fitted", 3, covariance="diag", seed=4, metadata=notes)
    assert path == tmp_path / "new" / "fitted" / "model.safetensors"
    assert content(path.parent).keys() == {"model.safetensors", "samples.png"}
    file, fitted = io.read(path), load(path)
    assert file.metadata == {
        "recipe": "mine",
        "dataset": "tiny",
        "fitted_prior": {
            "dataset": "tiny",
            "images": 40,
            "seed": 4,
            "kind": "mixture",
            "components": 3,
            "covariance": "diag",
        },
    }
    assert notes["fitted_prior"] == "an earlier one"
    assert repr(fitted.prior) == "GaussianMixture(latent_dim=2, components=3, covariance='diag')"
    assert not isinstance(model.prior, GaussianMixture)
    x = torch.rand(3, *SHAPE)
    assert torch.equal(fitted.reconstruct(x), model.reconstruct(x))
    assert png(path.parent / "samples.png").size > 1000
    for each, name in ((fitted, "same"), (model, "other")):
        RunFolder(tmp_path).write_figure(f"{name}.png", _pictures.draw_samples(each, 4))
    samples = (path.parent / "samples.png").read_bytes()
    assert samples == (tmp_path / "same.png").read_bytes()
    assert samples != (tmp_path / "other.png").read_bytes()
    expected = fitting.fit_prior(model, tiny(), 3, covariance="diag", seed=4)
    for name, value in expected.prior.state_dict().items():
        assert torch.equal(fitted.prior.state_dict()[name], value), name


def test_fit_prior_of_a_conditional_model(tmp_path: Path) -> None:
    model = ConditionalVAE(2, 4, SHAPE)
    fitted = load(fit_prior(model, tiny(), tmp_path, 2))
    assert isinstance(fitted.prior, GaussianMixture)
    assert fitted.sample(3, 1).shape == (3, *SHAPE)
    height, width = png(tmp_path / "samples.png").shape[:2]
    assert height > 1.5 * width  # a column for each of four classes, and eight rows
    with pytest.raises(DataError, match="labels for a model conditioned on 4 classes, got none"):
        fit_prior(model, tiny(classes=None), tmp_path / "other", 2)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "samples.png"])
def test_fit_prior_writes_over_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(OutputError, match=f"a folder without {name}, got .*which has one"):
        fit_prior(plane(), tiny(), tmp_path, 2)
    assert content(tmp_path) == {name: b"precious"}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"components": 0}, SettingError, "components as an integer of at least 1, got 0"),
        ({"components": 41}, DataError, "at least 41 images for 41 components, got 40"),
        ({"seed": -1}, SettingError, "seed as an integer of at least 0, got -1"),
        ({"covariance": "tied"}, SettingError, "covariance as one of 'diag', 'full', got 'tied'"),
        ({"metadata": {"binarization": "grey"}}, SettingError, "got 'grey'"),
    ],
    ids=str,
)
def test_fit_prior_refuses_what_makes_no_sense(
    tmp_path: Path, arguments: dict[str, Any], error: type[MnistvaeError], message: str
) -> None:
    with pytest.raises(error, match=message):
        fit_prior(plane(), tiny(), tmp_path / "out", **{"components": 2, **arguments})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("binarization", ["none", "static", "dynamic", "threshold"])
def test_fit_prior_sees_the_images_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, binarization: Any, seed: int
) -> None:
    monkeypatch.setattr(RunFolder, "write_figure", lambda folder, name, figure: folder.path / name)
    run = train(tmp_path / "run", epochs=1, binarization=binarization, seed=seed)
    seen: list[ImageDataset] = []
    fit = fitting.fit_prior

    def watched(model: VAE, data: Any, *arguments: Any, **options: Any) -> VAE:
        seen.append(data)
        return fit(model, data, *arguments, **options)

    monkeypatch.setattr(fitting, "fit_prior", watched)
    metadata = io.read(run.folder.model).metadata
    fit_prior(run.model, tiny(), tmp_path / "fitted", 2, metadata=metadata)
    assert seen[0].binarization == binarization
    trained = tiny() if binarization == "none" else tiny().binarized(binarization, seed=seed)
    assert torch.equal(seen[0].images, trained.images)
    assert io.read(tmp_path / "fitted" / "model.safetensors").metadata["binarization"] == binarization


# --- one of each ----------------------------------------------------------------------------------------------------


def test_one_of_each_goes_round_the_classes() -> None:
    labels = torch.tensor([2, 2, 0, 1, 0, 2, 1, 0])
    data = ImageDataset(torch.arange(8, dtype=torch.uint8).reshape(8, 1, 1), labels)
    chosen = one_of_each(data, 7)
    assert chosen.labels is not None
    assert chosen.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert chosen.images.flatten().tolist() == [2, 3, 0, 4, 6, 1, 7]  # in their own order within a class


def test_one_of_each_when_a_class_runs_out_or_is_missing() -> None:
    data = ImageDataset(torch.zeros(5, 1, 1), torch.tensor([7, 3, 3, 3, 9]))
    chosen = one_of_each(data, 10)
    assert chosen.labels is not None
    assert chosen.labels.tolist() == [3, 7, 9, 3, 3]


def test_one_of_each_without_labels_is_the_first_ones() -> None:
    data = tiny(classes=None)
    assert torch.equal(one_of_each(data, 3).images, data.images[:3])


# --------------------------------------------------------------------------------------- one run, one folder


def test_a_second_run_into_the_same_folder_is_refused_while_the_first_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = CSVLog.on_fit_start
    seen: list[str] = []

    def start_another(self: Any, state: Any) -> None:
        fit(self, state)
        monkeypatch.setattr(CSVLog, "on_fit_start", fit)
        with pytest.raises(OutputError, match="a folder that no other command is writing into"):
            train(tmp_path)
        seen.append("refused")

    monkeypatch.setattr(CSVLog, "on_fit_start", start_another)
    run = train(tmp_path)
    assert seen == ["refused"]
    assert len(History.from_csv(tmp_path / "history.csv")) == len(run.history)


def test_a_run_that_fails_in_its_first_epoch_leaves_the_folder_free(tmp_path: Path) -> None:
    with pytest.raises(TrainingError):
        train(tmp_path, learning_rate=1e30)
    assert list(tmp_path.iterdir()) == []
    train(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()


def test_images_that_cannot_be_drawn_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    two = ImageDataset(torch.zeros(8, 2, 9, 8, dtype=torch.uint8))
    with pytest.raises(DataError, match="1 or 3 channels, which a run can draw, got 2 channels"):
        train(tmp_path / "run", dataset=two, validation=None)
    model = VAE(2, (2, 9, 8), encoder=MLPEncoder(2, (2, 9, 8)), decoder=MLPDecoder(2, (2, 9, 8)))
    with pytest.raises(DataError, match="images of shape"):
        generate(model, tmp_path / "run", 4)
    assert not (tmp_path / "run").exists()


def test_samples_of_a_conditional_model_have_a_column_for_each_class(tmp_path: Path) -> None:
    model = ConditionalVAE(2, 5, (1, 9, 8))
    generate(model, tmp_path, 10)
    height, width = png(tmp_path / "samples.png").shape[:2]
    assert width > 2 * height  # two rows of five


@pytest.mark.filterwarnings("ignore:.*posterior collapse")  # of so few steps
@pytest.mark.parametrize(("every", "left"), [(0, []), (1, [1, 2, 3]), (2, [2, 3])])
def test_pictures_of_samples_after_the_epochs(tmp_path: Path, every: int, left: list[int]) -> None:
    recipe = recipes.get("mlp-2d")
    data = load_dataset("mnist-mini", "test")[:64]
    train(tmp_path / "run", recipe=recipe, dataset=data, validation=None, epochs=3, samples_every=every)
    folder = tmp_path / "run" / "epochs"
    assert [path.name for path in sorted(folder.glob("samples*"))] == [f"samples-{epoch:04d}.png" for epoch in left]
    assert len(list(folder.glob("*"))) == 2 * len(left)  # and as many of the plane
    assert RunFolder(tmp_path / "run").read_record().samples_every == every


def pictures(folder: Path, kind: str, n: int) -> list[np.ndarray[Any, Any]]:
    (folder / "epochs").mkdir(parents=True, exist_ok=True)
    found = [np.full((40, 60), 20 * epoch, np.uint8) for epoch in range(1, n + 1)]
    for epoch, picture in enumerate(found, 1):
        Image.fromarray(picture).save(folder / "epochs" / f"{kind}-{epoch:04d}.png")
    return found


def test_films(tmp_path: Path) -> None:
    shown = pictures(tmp_path, "samples", 3)
    (film,) = commands.animate(tmp_path, per_second=5)
    assert film == tmp_path / "samples.gif"
    with Image.open(film) as gif:
        assert (gif.n_frames, gif.size, gif.info["loop"]) == (3, (120, 104), 0)  # type: ignore[attr-defined]
        for frame, picture in enumerate(shown):
            gif.seek(frame)
            pixels = np.asarray(gif.convert("L"))
            assert np.abs(pixels[:80].astype(int) - int(picture[0, 0])).max() <= 2
            assert pixels[80:].min() < 100 < pixels[80:].max()  # the number of the epoch on white
            assert gif.info["duration"] == (2000 if frame == 2 else 200)
    before = content(tmp_path)
    with pytest.raises(OutputError, match=r"a folder without samples\.gif"):
        commands.animate(tmp_path)
    assert content(tmp_path) == before
    pictures(tmp_path, "plane", 1)
    films = commands.animate(tmp_path, out=tmp_path / "films")
    assert [path.name for path in films] == ["samples.gif", "plane.gif"]


def test_films_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"pictures of epochs in .*got none: train with `samples_every`=1"):
        commands.animate(tmp_path)
    pictures(tmp_path, "samples", 2)
    for speed in (0, 1e-4, 1000.0):
        with pytest.raises(SettingError, match=r"per_second as a number from 0\.01 to 50"):
            commands.animate(tmp_path, out=tmp_path / "films", per_second=speed)
    assert not (tmp_path / "films").exists()
    (tmp_path / "epochs" / "samples-0002.png").write_bytes(b"nothing")
    with pytest.raises(FileFormatError, match="to be a picture"):
        commands.animate(tmp_path)
    assert not (tmp_path / "samples.gif").exists()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (1, 5, 5),
            "expected images of 1 x 9 x 8, which the model is for, got 1 x 5 x 5 in other: pass --image-size 9,8",
        ),
        ((3, 9, 8), "got 3 x 9 x 8 in other: pass --image-channels 1"),
        ((3, 5, 5), "pass --image-size 9,8 and --image-channels 1"),
    ],
)
def test_images_of_another_shape_name_the_options_that_mend_them(
    shape: tuple[int, ...], message: str, tmp_path: Path
) -> None:
    from mnistvae.commands.main import cli

    io.save(plane(), tmp_path / "model.safetensors")
    np.savez(tmp_path / "other.npz", images=np.zeros((20, *shape), dtype=np.uint8), labels=np.arange(20) % 2)
    for command in ("encode", "evaluate", "reconstruct"):
        how = [command, str(tmp_path / "model.safetensors"), "--dataset", str(tmp_path / "other.npz")]
        done = CliRunner().invoke(cli, how, prog_name="mnistvae")
        assert done.exit_code == 2
        assert message in done.stderr, done.output


def test_floats_up_to_255_are_told_the_option_for_their_white() -> None:
    with pytest.raises(DataError) as refused, errors_name(Path(__file__)):
        ImageDataset(np.full((2, 8, 8), 254.5, dtype=np.float32))
    assert str(refused.value).endswith("give the value that is white: max_value=255 (--max-value 255)")


def named_run(tmp_path: Path) -> Path:
    """A run of a conditional model on shapes with names."""
    names = ["circle", "square", "triangle", "star"]
    data, test = (ImageDataset(one.images, one.labels, class_names=names, name="shapes") for one in (tiny(), tiny(12)))
    how: dict[str, Any] = {"channels": (4, 4), "epochs": 1, "batch_size": 16, **QUIET}
    run = commands.train(recipe="conditional", dataset=data, validation=test, out=tmp_path / "run", **how)
    return run.folder.path


def test_a_model_knows_the_names_of_its_classes(tmp_path: Path) -> None:
    run = named_run(tmp_path)
    lines: list[str] = []
    commands.info(run, say=lines.append)
    assert "class_names: ('circle', 'square', 'triangle', 'star')" in "\n".join(lines)
    by_name, by_number = (commands.generate(run, n=2, label=one, out=tmp_path / str(one)) for one in ("triangle", 2))
    assert torch.equal(by_name, by_number)
    assert torch.equal(commands.generate(run, n=2, label="2", out=tmp_path / "text"), by_name)
    for wrong in ("hexagon", 4, -1, "-1", True):
        with pytest.raises(DataError, match=f"a class of this model, circle, square, triangle, star, got {wrong}"):
            commands.generate(run, n=2, label=wrong, out=tmp_path / "none")
    with pytest.raises(DataError, match="a class, circle, square, triangle, star, beside the points"):
        commands.generate(run, at=[[0.0] * 8], out=tmp_path / "none")


def test_names_that_are_no_texts_are_notes() -> None:
    lists = {"class_names": ["circle", 3], "callbacks": [None], "image_size": ["28"]}
    record = Provenance.from_metadata(lists)
    assert (record.class_names, record.callbacks, record.image_size) == ((), (), ())
    assert record.notes == lists


def test_data_with_other_classes_are_refused_and_names_alone_are_told(tmp_path: Path) -> None:
    run = named_run(tmp_path)
    other = ImageDataset(
        tiny().images, tiny().labels, class_names=["star", "square", "triangle", "circle"], name="other"
    )
    with pytest.raises(DataError, match="classes of one numbering in other, got number 0 for 'circle' and for 'star'"):
        commands.encode(run, dataset=other, out=tmp_path / "codes.npz")
    model = load(run / "model.safetensors")
    with pytest.warns(UserWarning, match="knows its classes by number alone; of other, 'star' is 0, 'square' is 1"):
        commands.encode(model, dataset=other, out=tmp_path / "codes.npz")
    commands.encode(model, dataset=tiny(), out=tmp_path / "numbers.npz")
