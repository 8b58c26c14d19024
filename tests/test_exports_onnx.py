"""Parts of models as ONNX files, run by onnxruntime, where the extra [onnx] and onnxruntime are installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_exports import FAMILIES, PRIORS, expected, inputs_of, recipe, small
from torch import Tensor

import mnistvae as mv
from mnistvae import exports
from mnistvae.errors import SettingError

onnx = pytest.importorskip("onnx", reason="the extra [onnx]")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra [dev]")
pytest.importorskip("onnxscript", reason="the extra [onnx]")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def run(path: Path, *inputs: Tensor) -> tuple[Tensor, ...]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = {one.name: value.numpy() for one, value in zip(session.get_inputs(), inputs, strict=True)}
    return tuple(torch.from_numpy(value) for value in session.run(None, given))


def check(model: mv.VAE, part: Any, path: Path, **settings: Any) -> None:
    """What an ONNX file computes is what the model does, for one image and for several."""
    mv.export(model, path, part=part, **settings)
    for n in (1, 5):
        inputs = inputs_of(model, part, n)
        torch.testing.assert_close(run(path, *inputs), expected(model, part, *inputs), rtol=0, atol=1e-5)


@pytest.mark.parametrize("part", exports._PARTS)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family(name: str, part: str, tmp_path: Path) -> None:
    check(recipe(name), part, tmp_path / "x.onnx")


@pytest.mark.parametrize("name", PRIORS)
def test_samples_of_every_prior_and_likelihood(name: str, tmp_path: Path) -> None:
    check(PRIORS[name](), "sample", tmp_path / "x.onnx")


def test_what_a_file_says(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = PRIORS["vamp-conditional"]()
    path = mv.export(model, tmp_path / "x.onnx", part="sample", binarization="static")
    assert capfd.readouterr() == ("", "")
    made = onnx.load(path)
    onnx.checker.check_model(made, full_check=True)
    assert [(one.domain, one.version) for one in made.opset_import] == [("", exports.OPSET)]
    told = {one.key: one.value for one in made.metadata_props}
    about = exports.describe(model, "sample", binarization="static")
    assert told == {key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert {one.name: one.shape for one in session.get_inputs()} == {
        "noise": ["batch", 2],
        "uniform": ["batch"],
        "labels": ["batch"],
    }
    assert {one.name: one.shape for one in session.get_outputs()} == {"images": ["batch", 1, 8, 8]}
    assert session.get_modelmeta().custom_metadata_map == told
    with pytest.raises(Exception, match=r"out of bounds|out of data bounds"):
        run(path, torch.zeros(1, 2), torch.zeros(1), torch.tensor([3]))


@pytest.mark.parametrize("opset", [15, 21])
def test_another_opset(opset: int, tmp_path: Path) -> None:
    check(PRIORS["residual"](), "sample", tmp_path / "x.onnx", opset=opset)
    assert onnx.load(tmp_path / "x.onnx").opset_import[0].version == opset


def test_an_opset_that_lacks_an_operator(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingError, match=r"an opset with every operator of the graph, got 9: .*: take 18"):
        mv.export(PRIORS["residual"](), tmp_path / "x.onnx", part="sample", opset=9)
    newest = onnx.defs.onnx_opset_version()
    with pytest.raises(SettingError, match=f"opset of at most {newest}, .* got {newest + 1}: leave it out for 18"):
        mv.export(small(), tmp_path / "x.onnx", opset=newest + 1)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
