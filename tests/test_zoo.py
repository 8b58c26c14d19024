"""The trained models that ship with the package, in Python and where the commands take a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner

import mnistvae as mv
from mnistvae import zoo
from mnistvae.commands import cli
from mnistvae.errors import FileFormatError, SettingError
from mnistvae.zoo import models as files

NAMES = zoo.names()


def invoke(*args):
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def test_all_are_small():
    sizes = {name: files.find_file(name).stat().st_size for name in NAMES}
    assert sum(sizes.values()) < 4_000_000, sizes


@pytest.mark.parametrize("name", NAMES)
def test_a_model_computes_in_single_precision_with_weights_that_were_rounded_to_half(name):
    model = mv.pretrained(name)
    assert not model.training
    assert {tensor.dtype for tensor in model.state_dict().values() if tensor.is_floating_point()} == {torch.float32}
    assert all(torch.equal(weight, weight.half().float()) for weight in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_card_tells_what_is_measured_here_too(name):
    """Of the first thousand test digits: the mean is within five of its standard errors of the card's figure."""
    model, card = mv.pretrained(name), zoo.card(name)
    test = mv.load_dataset("mnist-mini", "test")
    found = mv.metrics.evaluate(model, test, include=["reconstruction"], binarization=card.training["binarization"])
    error = found.score("mse").standard_error
    assert abs(found["mse"] - card.evaluation["mse"]) < 5 * error
    assert card.history["validation_loss"][-1] < card.history["validation_loss"][0]
    assert card.command.startswith("mnistvae train --recipe")
    assert {"nll", "kl", "psnr", "ssim"} <= set(card.evaluation.names())
    assert card.evaluation.protocol["images"] == 10_000


@pytest.mark.parametrize("name", NAMES)
def test_info_prints_the_card(name):
    text = invoke("info", name).stdout
    assert text.startswith(f"{name}: ") or f"\n{name}: " in text
    card = zoo.card(name)
    for part in (card.command, card.sha256, card.licence, card.evaluation.score("nll").text()):
        assert part in text


def test_a_conditional_model_draws_the_digit_that_is_asked_for():
    sevens = mv.pretrained("conditional").sample(200, y=7, generator=torch.Generator().manual_seed(0))
    _, logits = mv.metrics.classify(sevens)
    assert (logits.argmax(1) == 7).float().mean() > 0.9


def test_commands_take_a_name_and_write_into_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "wrote 64 images" in invoke("generate", "conditional", "--label", "7").stdout
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    out = invoke("evaluate", "mlp-2d", "--only", "reconstruction", "--limit", "100", "--no-progress").stdout
    assert "mlp-2d on 100 test images of mnist-mini" in out
    assert invoke("reconstruct", "conv", "--out", "seen").exit_code == 0
    assert (tmp_path / "seen" / "reconstructions.png").exists()


def test_a_report_has_the_history_of_the_training(monkeypatch, tmp_path):
    reports = []
    monkeypatch.setattr("mnistvae.report.write_report", lambda *_, history, **__: reports.append(history) or tmp_path)
    mv.commands.report("conv-binary", limit=10, out=tmp_path / "report")
    (history,), card = reports, zoo.card("conv-binary")
    assert history.tag == "binarized-dynamic"
    assert {name: tuple(history.column(name)) for name in card.history} == card.history
    assert history.column("epoch") == [*range(1, len(history) + 1)]


def test_what_is_on_the_disk_goes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mv.save(mv.VAE(latent_dim=3), "conv")
    assert mv.commands.generate("conv", n=1, out="drawn").shape == (1, 1, 28, 28)
    assert "latent_dim=3" in invoke("info", "conv").stdout


def test_an_unknown_name_lists_those_that_are_known():
    with pytest.raises(SettingError, match=r"mlp-2d, mlp-20, conv, .*the closest is 'conv'"):
        mv.pretrained("convv")
    error = invoke("generate", "convv").stderr
    assert "one of mlp-2d, mlp-20, conv" in error
    assert "the closest is 'conv'" in error


def test_a_file_that_is_not_the_shipped_one_is_refused(tmp_path, monkeypatch):
    for path in files.find_file("conv").parent.glob("conv*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    mv.save(mv.pretrained("conv"), tmp_path / "conv.safetensors")  # sound, but another
    monkeypatch.setattr(files, "files", lambda package: tmp_path)
    with pytest.raises(FileFormatError, match=r"SHA-256 .* install mnistvae again"):
        mv.pretrained("conv")
    assert "SHA-256" in invoke("generate", "conv").stderr
    (tmp_path / "conv.safetensors").unlink()
    with pytest.raises(FileFormatError, match="install mnistvae again"):
        mv.pretrained("conv")


def test_the_cards_are_those_of_the_script():
    """``scripts/train_ready_models.py`` knows the same models and commands."""
    import runpy

    script = runpy.run_path("scripts/train_ready_models.py")
    assert sorted(script["COMMANDS"]) == sorted(NAMES)
    for name in NAMES:
        assert zoo.card(name).command == f"mnistvae train {script['COMMANDS'][name]} {script['EVERYWHERE']}"


def test_names_are_listed_without_torch():
    code = "import sys, mnistvae as mv; mv.zoo.names(); print('torch' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)  # noqa: S603
    assert done.stdout.strip() == "False"


def test_the_content_of_a_card_is_plain_json():
    for name in NAMES:
        content = json.loads(files._path(name, ".json").read_text())
        assert set(content) == {"command", "history", "licence", "model_sha256", "sha256"}
