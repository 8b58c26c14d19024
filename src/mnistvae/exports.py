"""Parts of a model as graphs from tensors to tensors, in files for programs that have no mnistvae: ONNX and pt2."""

from __future__ import annotations

import copy
import importlib
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, MixtureSameFamily

from mnistvae._checks import check_choice, check_count
from mnistvae._files import write_atomically
from mnistvae._random import seeded
from mnistvae._tensor_modules import Decode, Encode, Reconstruct, Sample, SampleMixture
from mnistvae._version import __version__
from mnistvae._wrappers import uncompiled
from mnistvae.distributions import HypersphericalUniform, Joint, PushForward, noise_size
from mnistvae.errors import ComponentError, MnistvaeError, SettingError, raised_text, type_name
from mnistvae.models import VAE

__all__ = ["OPSET", "describe", "export"]

#: The version of ONNX's operators where nobody asks for another: what torch's own graphs are written in.
OPSET = 18
_PARTS: tuple[Literal["encoder", "decoder", "reconstruct", "sample"], ...]
_PARTS = ("encoder", "decoder", "reconstruct", "sample")
_FORMATS: tuple[Literal["onnx", "pt2"], ...] = ("onnx", "pt2")


def export(
    model: VAE,
    path: str | os.PathLike[str],
    *,
    part: Literal["encoder", "decoder", "reconstruct", "sample"] = "decoder",
    format: Literal["onnx", "pt2"] = "onnx",  # noqa: A002 (the name of the option)
    opset: int | None = None,
    binarization: str = "none",
) -> Path:
    r"""Write one part of a model as a graph from tensors to tensors, which other programs run without mnistvae.

    The number of images is free, numbers are float32, and nothing is drawn inside: equal inputs give equal outputs.

    ================  ==========================================  ================================================
    part              inputs                                      outputs
    ================  ==========================================  ================================================
    ``encoder``       ``images`` (B, C, H, W) in [0, 1]           ``mean``, ``logvar`` (B, latent_dim) of q(z | x)
    ``decoder``       ``codes`` (B, latent_dim)                   ``images``, the mean of p(x | z), in [0, 1]
    ``reconstruct``   ``images`` (B, C, H, W) in [0, 1]           ``reconstructions``, from the mean of q(z | x)
    ``sample``        ``noise`` (B, latent_dim), standard normal  ``images``, decoded from draws of p(z)
    ================  ==========================================  ================================================

    A conditional model takes ``labels`` (B,), int64, as the last input. Samples from a mixture take ``uniform`` (B,),
    uniform in [0, 1), after the noise: it chooses the component. A code of a second stage is made of more numbers than
    it has (:func:`mnistvae.distributions.noise_size`). Noise times 0.8 is a temperature of 0.8. The file's metadata
    name all of that, with the model's tag and the mnistvae that wrote it. Labels and values of pixels are not checked.

    Args:
        model: The model, which stays as it is; one in another precision is exported in float32.
        path: File to write; its name usually ends in ``.onnx`` or ``.pt2``. One that is there is replaced.
        part: Part of the model: ``"encoder"``, ``"decoder"``, ``"reconstruct"`` or ``"sample"``.
        format: Format of the file: ``"onnx"``, or ``"pt2"`` for ``torch.export.load``.
        opset: Version of ONNX's operators (default: 18).
        binarization: Binarization of the pixels that the model was trained on, for the tag.

    Returns:
        The path.

    Raises:
        SettingError: If the part or format is another word, the opset lacks an operator, or onnx and onnxscript are not
            installed: ``pip install "mnistvae[onnx]"``.
        ComponentError: If the model is none, torch cannot follow one of its own parts, its images are made pixel by
            pixel, or draws from its prior are no function of noise, see :func:`mnistvae.distributions.from_noise`.
        OutputError: If the file cannot be written.

    Example:
        >>> vae = mv.VAE(latent_dim=2)
        >>> mv.export(vae, tmp_path / "decoder.pt2", part="decoder", format="pt2").name
        'decoder.pt2'
    """
    part, format = check_choice("part", part, _PARTS), check_choice("format", format, _FORMATS)  # noqa: A001
    if format == "pt2" and opset is not None:
        raise SettingError("no opset for pt2", str(opset), 'leave it out, or take format="onnx"')
    opset = OPSET if opset is None else check_count("opset as an integer of at least 1", opset)
    graph = _graph(model, part)
    about = _about(model, part, graph, binarization)
    if format == "onnx":
        return write_atomically(path, _onnx(graph, about, opset))
    stream = io.BytesIO()
    program = _program(graph)
    with _quiet():
        torch.export.save(program, stream, extra_files={"mnistvae.json": json.dumps(about, indent=2)})
    return write_atomically(path, stream.getvalue())


def describe(
    model: VAE,
    part: Literal["encoder", "decoder", "reconstruct", "sample"] = "decoder",
    *,
    binarization: str = "none",
) -> dict[str, Any]:
    """The description of a part that :func:`export` writes into its file, with words for each input and output.

    Args:
        model: The model.
        part: Part of the model.
        binarization: Binarization of the pixels that the model was trained on, for the tag.

    Raises:
        SettingError: If the part is another word.
        ComponentError: If the model is none.

    Example:
        >>> describe(mv.VAE(latent_dim=2), "decoder")["inputs"]
        {'codes': 'float32 (batch, 2), codes z'}
    """
    part = check_choice("part", part, _PARTS)
    return _about(model, part, _graph(model, part), binarization)


class _Graph(NamedTuple):
    """A module from tensors to tensors, an example of its inputs, and words about inputs and outputs by their names."""

    module: nn.Module
    examples: tuple[Tensor, ...]
    inputs: dict[str, str]
    outputs: dict[str, str]


def _about(model: VAE, part: str, graph: _Graph, binarization: str) -> dict[str, Any]:
    """The description of a graph, which JSON can hold."""
    model = uncompiled(model)
    return {
        "mnistvae_version": __version__,
        "part": part,
        "tag": model.tag(binarization),
        "latent_dim": model.latent_dim,
        "image_shape": list(model.image_shape),
        "num_classes": model.num_classes,
        "pixels": "float32 in [0, 1], 0 is black",
        "inputs": graph.inputs,
        "outputs": graph.outputs,
    }


def _graph(model: VAE, part: str) -> _Graph:
    """The module of a part, on a copy of the model."""
    model = uncompiled(model)
    if not isinstance(model, VAE):
        raise ComponentError("a mnistvae model to export", type_name(model), "pass a VAE, and name its part by part=")
    model = copy.deepcopy(model).to("cpu", torch.float32).eval().requires_grad_(requires_grad=False)
    n, d, shape, classes = 4, model.latent_dim, model.image_shape, model.num_classes
    pixels = f"float32 (batch, {', '.join(map(str, shape))}), images in [0, 1]"
    row = f"float32 (batch, {d}), "
    with seeded(0):
        images, codes, uniform = torch.rand(n, *shape), torch.randn(n, d), torch.rand(n)
    made: tuple[nn.Module, dict[str, tuple[Tensor, str]]]
    if part == "encoder":
        made = Encode(model), {"images": (images, pixels)}
    elif part == "decoder":
        made = Decode(model), {"codes": (codes, f"{row}codes z")}
    elif part == "reconstruct":
        made = Reconstruct(model), {"images": (images, pixels)}
    else:
        prior = model.latent_prior(None if classes is None else torch.zeros(1, dtype=torch.int64))
        heat = "" if isinstance(prior, HypersphericalUniform) else "; times a factor it is a temperature"
        size = noise_size(prior)
        with seeded(1):
            given = {"noise": (torch.randn(n, size), f"float32 (batch, {size}), standard normal{heat}")}
        if _chooses(prior):
            given["uniform"] = uniform, "float32 (batch), uniform in [0, 1): chooses the component of the prior"
        made = (SampleMixture if "uniform" in given else Sample)(model, prior), given
    module, inputs = made
    if classes is not None:
        inputs["labels"] = torch.arange(n) % classes, f"int64 (batch), labels from 0 to {classes - 1}"
    outputs = {"reconstructions" if part == "reconstruct" else "images": pixels}
    if part == "encoder":
        outputs = {"mean": f"{row}means of q(z | x)", "logvar": f"{row}logarithms of its variances"}
    examples, told = zip(*inputs.values(), strict=True)
    return _Graph(module, examples, dict(zip(inputs, told, strict=True)), outputs)


def _chooses(prior: Distribution) -> bool:
    """Tell whether draws need a component to be chosen."""
    parts = prior.parts if isinstance(prior, Joint) else [prior.base] if isinstance(prior, PushForward) else []
    return isinstance(prior, MixtureSameFamily) or any(map(_chooses, parts))


@torch.no_grad()
def _program(graph: _Graph) -> torch.export.ExportedProgram:
    """The graph that torch records of a module, tried with other numbers of images than it is recorded with."""
    batch = torch.export.Dim("batch", min=1)
    shapes = tuple({0: batch} for _ in graph.inputs)
    tries = [[example[:n] for example in graph.examples] for n in (1, 3)]
    wanted = [graph.module(*some) for some in tries]  # before: distributions keep what they compute first
    try:
        with _quiet():
            program = torch.export.export(graph.module, graph.examples, dynamic_shapes=shapes)
        recorded = program.module()
        for some, right in zip(tries, wanted, strict=True):
            torch.testing.assert_close(recorded(*some), right, rtol=1e-4, atol=1e-4)
    except MnistvaeError:
        raise
    except Exception as error:  # parts of the user's may do anything
        raise ComponentError(
            "a part that torch.export can follow, for any number of images",
            " ".join(raised_text(error).split())[:300],
            "write it without Python's if on values of tensors, and without numbers of images as constants",
        ) from error
    return program


def _onnx(graph: _Graph, about: Mapping[str, Any], opset: int) -> bytes:
    """The graph as an ONNX file."""
    onnx = _library("onnx")
    _library("onnxscript")
    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise SettingError(f"opset of at most {newest}, which this onnx knows", str(opset), f"leave it out for {OPSET}")
    axes = tuple({0: "batch"} for _ in graph.inputs)
    with _quiet():
        made: Any = torch.onnx.export(
            _program(graph),
            dynamo=True,
            opset_version=max(opset, OPSET),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=axes,
            verbose=False,
        )
        model = made.model_proto
        try:
            if model.opset_import[0].version != opset:
                model = onnx.version_converter.convert_version(model, opset)
            onnx.checker.check_model(model, full_check=True)
        except (RuntimeError, onnx.checker.ValidationError) as error:
            reason = str(error).strip().splitlines()[0].rpartition("failed: ")[2]
            raise SettingError(
                "an opset with every operator of the graph", f"{opset}: {reason}", f"take {OPSET}"
            ) from error
    model.doc_string = f"{about['part']} of a variational autoencoder by mnistvae; see the metadata"
    for key, value in about.items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    return bytes(model.SerializeToString())


def _library(name: str) -> Any:
    """A library of the extra [onnx].

    Raises:
        SettingError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SettingError(
            f'the library {name} for format="onnx"', str(error), 'pip install "mnistvae[onnx]"'
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """A block in which torch's exporters do not tell of their own affairs."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "torch")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
