"""Hugging Face's form: a folder there and back, the Hub's cache and its interface, and what is refused."""

from __future__ import annotations

import json
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mnistvae as mv
from mnistvae import hub
from mnistvae.commands import generate
from mnistvae.errors import ComponentError, FileFormatError, OutputError, SettingError
from mnistvae.networks import GaussianEncoder, MLPDecoder, MLPEncoder

SHAPE = (1, 8, 8)


def small(kind: Any = mv.VAE, **parts: Any) -> Any:
    torch.manual_seed(0)
    parts = {"encoder": MLPEncoder(2, SHAPE, (4,)), "decoder": MLPDecoder(2, SHAPE, (4,))} | parts
    return kind(latent_dim=2, image_shape=SHAPE, **parts).eval()


class Trunk(nn.Module):
    """A part of the user's own."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.width = width
        self.layer = nn.Linear(64, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.flatten(1))
        return out


class MyVAE(mv.VAE):
    """A model of the user's own."""


def test_a_folder_there_and_back(tmp_path: Path) -> None:
    vae = small(mv.BetaVAE, beta=3.0)
    folder = vae.save_pretrained(tmp_path / "a" / "digits", metadata={"dataset": "mnist", "note": "first"})
    assert folder == tmp_path / "a" / "digits"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    for same in (
        mv.VAE.from_pretrained(folder),
        mv.BetaVAE.from_pretrained(str(folder)),
        mv.load(folder / hub.WEIGHTS),
    ):
        assert type(same) is mv.BetaVAE
        assert same.beta == 3.0
        assert not same.training
        assert all(torch.equal(value, same.state_dict()[name]) for name, value in vae.state_dict().items())
    assert mv.io.read(folder / hub.WEIGHTS).metadata == {"dataset": "mnist", "note": "first"}


def test_the_config(tmp_path: Path) -> None:
    folder = small(mv.BetaVAE, beta=3.0).save_pretrained(tmp_path / "x")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["BetaVAE"]
    assert config["model_type"] == "mnistvae"
    assert config["mnistvae_version"] == mv.__version__
    assert config["spec"] == mv.io.read(folder / hub.WEIGHTS).spec


def test_the_card(tmp_path: Path) -> None:
    text = hub.model_card(small(), "me/digits", {"dataset": "mnist", "binarization": "dynamic"})
    assert text.startswith("---\nlibrary_name: mnistvae\n")
    assert 'datasets:\n- "mnist"\n---\n\n# me/digits\n' in text
    assert "binarized-dynamic" in text
    assert 'VAE.from_pretrained("me/digits")\n' in text
    assert "classes=[...]" in hub.model_card(small(encoder=GaussianEncoder(Trunk(), 2)), "mine")
    assert "datasets:" not in hub.model_card(small(), "mine", {"dataset": "/home/me/photographs"})
    folder = small().save_pretrained(tmp_path / "x")
    (folder / "README.md").write_text("my own words", encoding="utf-8")
    small().save_pretrained(folder)
    assert (folder / "README.md").read_text(encoding="utf-8") == "my own words"


def test_a_card_goes_with_its_model_until_somebody_changes_it(tmp_path: Path) -> None:
    card = small().save_pretrained(tmp_path / "x", metadata={"by": "M\u00e9lanie"}) / "README.md"
    assert "M\u00e9lanie" in card.read_text(encoding="utf-8")
    small(mv.BetaVAE, beta=3.0).save_pretrained(tmp_path / "x")
    assert "BetaVAE" in card.read_text(encoding="utf-8")
    card.write_text(card.read_text(encoding="utf-8").replace("# x", "# Ours"), encoding="utf-8")
    small().save_pretrained(tmp_path / "x")
    assert "# Ours" in card.read_text(encoding="utf-8")
    assert "BetaVAE" in card.read_text(encoding="utf-8")


@pytest.mark.parametrize("config", ['{"model_type": "bert"}', "[]", "not JSON"])
def test_the_config_of_another_librarys_model_is_not_replaced(config: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    with pytest.raises(OutputError, match=r"got another config\.json there: choose another folder"):
        small().save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert (tmp_path / "config.json").read_text(encoding="utf-8") == config


def test_the_code_in_the_card_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(
        mv.ConditionalVAE,
        num_classes=3,
        encoder=MLPEncoder(2, SHAPE, (4,), num_classes=3),
        decoder=MLPDecoder(2, SHAPE, (4,), num_classes=3),
    )
    monkeypatch.chdir(tmp_path)
    text = (model.save_pretrained("digits") / "README.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], names)  # noqa: S102
    assert names["images"].shape == (16, *SHAPE)


def test_commands_take_the_folder(tmp_path: Path) -> None:
    folder = small().save_pretrained(tmp_path / "x")
    assert generate(folder, n=2, out=tmp_path / "drawn").shape == (2, *SHAPE)


def test_classes_of_the_users_own(tmp_path: Path) -> None:
    folder = small(MyVAE, encoder=GaussianEncoder(Trunk(), 2)).save_pretrained(tmp_path / "x")
    with pytest.raises(FileFormatError, match="to be allowed"):
        mv.VAE.from_pretrained(folder)
    with pytest.raises(FileFormatError, match="'Trunk'"):
        MyVAE.from_pretrained(folder)
    assert type(MyVAE.from_pretrained(folder, classes=[Trunk])) is MyVAE
    assert type(mv.VAE.from_pretrained(folder, classes=[Trunk, MyVAE])) is MyVAE
    assert type(MyVAE.from_pretrained(folder, classes=[Trunk, MyVAE])) is MyVAE


# --- what is refused ------------------------------------------------------------------------------------------------


def test_a_model_of_another_class(tmp_path: Path) -> None:
    folder = small().save_pretrained(tmp_path / "x")
    with pytest.raises(FileFormatError, match=r"the class BetaVAE in .*, got a VAE: call VAE\.from_pretrained"):
        mv.BetaVAE.from_pretrained(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "config.json to hold JSON"),
        ("[" * 10_000, "nested too deeply"),
        ('{"model_type": "bert"}', "a config of something else"),
        ('{"spec": {"class": "mnistvae.VAE", "args": {"latent_dim": 2}}}', "take both files of one model"),
        ("\xff", "to hold JSON"),
    ],
)
def test_a_config_that_is_damaged_or_of_something_else(text: str, message: str, tmp_path: Path) -> None:
    folder = small().save_pretrained(tmp_path / "x")
    (folder / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(FileFormatError, match=message):
        mv.VAE.from_pretrained(folder)


def test_a_missing_file(tmp_path: Path) -> None:
    folder = small().save_pretrained(tmp_path / "x")
    (folder / "config.json").unlink()
    with pytest.raises(FileFormatError, match=r"a config\.json at .*, got nothing"):
        mv.VAE.from_pretrained(folder)
    (folder / hub.WEIGHTS).unlink()
    with pytest.raises(FileFormatError, match="a model file at"):
        mv.VAE.from_pretrained(folder)


def test_a_pickle_is_not_looked_at(tmp_path: Path) -> None:
    folder = small().save_pretrained(tmp_path / "x")
    shutil.move(folder / hub.WEIGHTS, folder / "pytorch_model.bin")
    with pytest.raises(FileFormatError, match="a model file at"):
        mv.VAE.from_pretrained(folder)


def test_what_is_no_model_and_no_name(tmp_path: Path) -> None:
    with pytest.raises(ComponentError, match="a mnistvae model to save"):
        hub.save_pretrained(nn.Linear(1, 1), tmp_path / "x")  # type: ignore[arg-type]
    with pytest.raises(FileFormatError, match="name of a model on the Hub, got an int"):
        mv.VAE.from_pretrained(3)  # type: ignore[arg-type]
    folder = small().save_pretrained(tmp_path / "x")
    with pytest.raises(SettingError, match="no revision for a folder, got 'main'"):
        mv.VAE.from_pretrained(folder, revision="main")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    mv.VAE.from_pretrained(small().save_pretrained(tmp_path / "x"))
    for call in (lambda: mv.VAE.from_pretrained("me/digits"), lambda: small().push_to_hub("me/digits")):
        with pytest.raises(SettingError, match=r'huggingface_hub for .* pip install "mnistvae\[hub\]"') as caught:
            call()
        assert "\n" not in str(caught.value)


# --- the Hub --------------------------------------------------------------------------------------------------------


class Hub:
    """The Hub's interface over a local folder."""

    root: Path
    refuses: Exception | None = None

    def __init__(self, token: str | None = None) -> None:
        self.token = token

    def create_repo(self, repo_id: str, private: bool | None = None, exist_ok: bool = False) -> None:
        if self.refuses:
            raise self.refuses
        (self.root / repo_id).mkdir(parents=True, exist_ok=exist_ok)
        (self.root / "private").write_text(repr((private, self.token)), encoding="utf-8")

    def file_exists(self, repo_id: str, filename: str) -> bool:
        return (self.root / repo_id / filename).exists()

    def upload_folder(self, repo_id: str, folder_path: str, commit_message: str) -> Any:
        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)
        return types.SimpleNamespace(commit_url=f"hub://{repo_id}/{commit_message}")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Hub]:
    module, errors = types.ModuleType("huggingface_hub"), types.ModuleType("huggingface_hub.errors")
    errors.HfHubHTTPError = type("HfHubHTTPError", (Exception,), {})  # type: ignore[attr-defined]
    module.HfApi, module.errors = Hub, errors  # type: ignore[attr-defined]
    module.snapshot_download = lambda name, revision, allow_patterns: str(Hub.root / name)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    monkeypatch.setattr(Hub, "root", tmp_path / "hub", raising=False)
    return Hub


def test_to_the_hub_and_back(fake: type[Hub]) -> None:
    vae = small()
    address = vae.push_to_hub("me/digits", private=True, token="t", message="first")  # noqa: S106
    assert address == "hub://me/digits/first"
    assert (fake.root / "private").read_text(encoding="utf-8") == "(True, 't')"
    card = fake.root / "me" / "digits" / "README.md"
    assert "# me/digits" in card.read_text(encoding="utf-8")
    card.write_text("my own words", encoding="utf-8")
    vae.push_to_hub("me/digits")
    assert card.read_text(encoding="utf-8") == "my own words"
    same = mv.VAE.from_pretrained("me/digits")
    assert all(torch.equal(value, same.state_dict()[name]) for name, value in vae.state_dict().items())


class ConnectionLostError(Exception):
    """An error of the library that huggingface_hub speaks to the network by."""


@pytest.mark.parametrize("error", [ConnectionLostError, OSError, ValueError])
def test_a_hub_that_refuses(fake: type[Hub], error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake, "refuses", error("401\nUnauthorized"))
    with pytest.raises(OutputError, match="to put the model at me/digits, got 401 Unauthorized: check the name, the"):
        small().push_to_hub("me/digits")


def test_the_real_library_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants", reason="the extra [hub]")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    commit, repository = "0123456789" * 4, tmp_path / "models--me--digits"
    small().save_pretrained(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit, encoding="utf-8")
    assert type(mv.VAE.from_pretrained("me/digits")) is mv.VAE
    assert type(mv.VAE.from_pretrained("me/digits", revision=commit)) is mv.VAE
    for name in ("me/other", "not a name", "a/b/c"):
        with pytest.raises(FileFormatError, match=r"a folder or a model on the Hub, .* whether there is a network"):
            mv.VAE.from_pretrained(name)
    with pytest.raises(OutputError, match="to put the model at me/digits"):
        small().push_to_hub("me/digits")
