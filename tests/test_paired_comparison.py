"""Values by image in the record of an evaluation, and the stars of a comparison: paired, unpaired, and over runs."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from mnistvae import VAE, ImageDataset, commands
from mnistvae.commands import cli
from mnistvae.errors import DataError, FileFormatError, SettingError
from mnistvae.metrics import Evaluation, Score, compare, evaluate, mse, psnr
from mnistvae.networks import MLPDecoder, MLPEncoder

SHAPE = (1, 8, 8)
RNG = np.random.default_rng(0)


def small(seed: int = 0) -> VAE:
    torch.manual_seed(seed)
    return VAE(2, SHAPE, encoder=MLPEncoder(2, SHAPE, (8,)), decoder=MLPDecoder(2, SHAPE, (8,)))


def images(n: int = 30, **named: Any) -> ImageDataset:
    generator = torch.Generator().manual_seed(1)
    return ImageDataset(torch.rand(n, *SHAPE, generator=generator), torch.arange(n) % 3, **named)


def record(values: Any, better: Any = "lower", fingerprint: Any = "one", *, by_image: bool = True) -> Evaluation:
    """An evaluation of one metric, from its values by image."""
    values = np.asarray(values, float)
    finite = values[np.isfinite(values)]
    error = float(finite.std(ddof=1)) / math.sqrt(len(finite)) if len(finite) > 1 else None
    score = Score("m", float(finite.mean()) if len(finite) else math.inf, "", better, standard_error=error)
    protocol = {"fingerprint": fingerprint, "images": len(values)}
    return Evaluation((score,), protocol=protocol, by_image={"m": values} if by_image else {})


def starred(found: dict[str, Any]) -> str | None:
    """The name of the column with the star."""
    head, line = (row.split("|")[2:-1] for row in compare(found, "markdown").splitlines()[::2][:2])
    (names, cells) = ([cell.strip() for cell in row] for row in (head, line))
    marked = [name for name, cell in zip(names, cells, strict=True) if cell.endswith("*")]
    assert len(marked) <= 1
    return marked[0] if marked else None


# --- values by image ------------------------------------------------------------------------------------------------


def test_an_evaluation_keeps_the_values_of_each_image() -> None:
    data, model = images(), small()
    found = evaluate(model, data, include=["reconstruction", "likelihood"], num_samples=2, batch_size=7)
    means = {name for name in found.names() if found.score(name).standard_error is not None}
    assert set(found.by_image) == means >= {"mse", "nll", "bits_per_dimension", "negative_elbo"}
    made = model.eval().reconstruct(data.images)
    np.testing.assert_allclose(found.by_image["mse"], mse(data.images, made), rtol=1e-5)
    np.testing.assert_allclose(found.by_image["psnr"], psnr(data.images, made), rtol=1e-5)
    assert found["bits_per_dimension"] == pytest.approx(found["nll"] / 64 / math.log(2))
    for name, values in found.by_image.items():
        assert (values.shape, values.dtype) == ((30,), np.float32)
        assert values.mean() == pytest.approx(found[name], rel=1e-5)
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 0


@given(st.dictionaries(st.text(max_size=5), st.integers(0, 99), max_size=3), st.integers(1, 9), st.booleans())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_they_are_written_and_read(tmp_path: Path, seeds: dict[str, int], n: int, whole: bool) -> None:
    special = [math.inf, -math.inf, math.nan, 0.0, 1e-40, 3e38, 1e300]
    values = {
        name: np.append(np.random.default_rng(seed).normal(size=n), [] if whole else special)
        for name, seed in seeds.items()
    }
    found = Evaluation((), protocol={"images": n} if whole else {}, by_image=values)
    read = Evaluation.from_json(found.to_json(tmp_path / "a.json"))
    assert read == found
    assert list(read.by_image) == list(values)
    for name, kept in values.items():
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(read.by_image[name], kept.astype(np.float32))
        assert not read.by_image[name].flags.writeable


def test_ten_metrics_of_ten_thousand_images_are_a_small_file(tmp_path: Path) -> None:
    values = {f"metric {number}": RNG.normal(size=10_000) for number in range(10)}
    path = Evaluation((), protocol={"images": 10_000}, by_image=values).to_json(tmp_path / "a.json")
    assert path.stat().st_size < 600_000


def test_a_file_without_them_is_read(tmp_path: Path) -> None:
    path = record([1, 2, 3]).to_json(tmp_path / "a.json")
    content = json.loads(path.read_text())
    del content["by_image"], content["sha256"]
    path.write_text(json.dumps(content))
    assert Evaluation.from_json(path) == record([1, 2, 3])
    assert Evaluation.from_json(path).by_image == {}


@pytest.mark.parametrize(
    "bad",
    [
        None,
        3,
        "abc",
        ["AACAPw=="],
        {"m": None},
        {"m": 3},
        {"m": [1.0, 2.0, 3.0]},
        {"m": "AACAPw=="},  # one number for three images
        {"m": base64.b64encode(bytes(11)).decode()},  # not whole numbers
        {"m": base64.b64encode(bytes(13)).decode()},
        {"m": base64.b64encode(bytes(24)).decode()},  # as float64
        {"m": "!" + base64.b64encode(bytes(12)).decode()},
        {"m": base64.b64encode(bytes(12)).decode()[:-1]},
        {"m": "äöü="},
        {"m": ""},
        {"m": base64.b64encode(bytes(12)).decode(), "n": base64.b64encode(bytes(16)).decode()},
    ],
)
@pytest.mark.parametrize("images", [3, None, "3", [3]])
def test_damaged_values_are_refused(bad: Any, images: Any, tmp_path: Path) -> None:
    content = json.loads(record([1, 2, 3]).to_json(tmp_path / "a.json").read_text()) | {"by_image": bad}
    del content["sha256"]
    content["protocol"]["images"] = images
    (tmp_path / "a.json").write_text(json.dumps(content))
    if images is None and isinstance(bad, dict) and bad["m"] in ["AACAPw==", "A" * 32]:
        assert len(Evaluation.from_json(tmp_path / "a.json").by_image["m"]) in {1, 6}  # as many as there may be
        return
    with pytest.raises(FileFormatError, match=r"written by Evaluation\.to_json, got .*: evaluate the model again"):
        Evaluation.from_json(tmp_path / "a.json")


@pytest.mark.parametrize("bad", [{"m": [[1.0]]}, {"m": "abc"}, {"m": None}, {"m": 3.0}, {"m": []}, {"m": [1j]}])
def test_values_that_are_not_one_for_each_image(bad: Any) -> None:
    with pytest.raises(DataError, match="the values of m by image"):
        Evaluation((), by_image=bad)
    with pytest.raises(SettingError, match="values by image of each metric, got a list"):
        Evaluation((), by_image=[])  # type: ignore[arg-type]


# --- of the same images ---------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.sampled_from(["lower", "higher"]), st.floats(0, 0.3))
@settings(max_examples=60, deadline=None)
def test_the_star_is_that_of_differences_image_by_image(seed: int, n: int, better: str, shift: float) -> None:
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=n, scale=10)  # what makes an image hard makes it hard for both
    a, b = (np.float32(hard + rng.normal(size=n, scale=0.3) + one) for one in (0.0, shift))
    difference = a.astype(float) - b
    sure = abs(difference.mean()) > 2 * stats.sem(difference)
    wanted = ("a" if (difference.mean() < 0) == (better == "lower") else "b") if sure else None
    assert starred({"a": record(a, better), "b": record(b, better)}) == wanted


def test_what_is_ahead_on_every_image_gets_the_star() -> None:
    hard = RNG.normal(size=50, scale=10)
    a, b = hard, hard + 0.1 + RNG.normal(size=50, scale=0.01)
    assert starred({"a": record(a), "b": record(b)}) == "a"
    assert starred({"a": record(a), "b": record(b, by_image=False)}) is None  # as two sets of images would be
    assert starred({"a": record(a, fingerprint=None), "b": record(b, fingerprint=None)}) is None
    longer = dataclasses.replace(record(b), by_image={"m": [*b, 0.0]})
    assert starred({"a": record(a), "b": longer}) is None
    assert starred({"a": record(a), "b": record(a)}) is None
    assert starred({"a": record(a), "b": record(b), "c": record(b + 5)}) == "a"
    assert starred({"a": record(a), "b": record(b), "c": record(a + RNG.normal(size=50))}) is None


def test_images_with_an_infinite_value_are_left_out_of_both() -> None:
    hard = np.linspace(20, 30, 10)
    exact = record([*[math.inf] * 10, *(hard - 0.1)], "higher")  # the better mean, since the other ten are left out
    near = record([*[0.0] * 10, *hard], "higher")
    assert exact["m"] > near["m"]
    assert starred({"a": exact, "b": near}) is None  # on the images of both it is behind
    ahead = record([*[math.inf] * 10, *(hard + 0.1 + 0.01 * np.sin(hard))], "higher")
    assert starred({"a": ahead, "b": near}) == "a"
    assert starred({"a": record([math.inf] * 3), "b": record([1.0, 2.0, 3.0])}) is None
    assert starred({"a": record([1.0, math.inf, 3.0]), "b": record([math.inf, 9.0, 9.0])}) is None


def test_models_on_the_same_images_are_paired(tmp_path: Path) -> None:
    """The same images, whatever they are called and whichever seed their threshold did not need."""
    model, better = small(), small()
    with torch.no_grad():
        for weight in better.decoder.parameters():
            weight.mul_(0.5)  # nearer to grey, which is nearer to noise
    for how in ({}, {"binarization": "threshold"}):
        found = {
            "a": evaluate(model, images(), include=["reconstruction"], seed=0, **how),
            "b": evaluate(better, images(name="mine", split="kept"), include=["reconstruction"], seed=1, **how),
        }
        difference = found["a"].by_image["mse"].astype(float) - found["b"].by_image["mse"]
        sure = abs(difference.mean()) > 2 * stats.sem(difference)
        line = compare(found).splitlines()[1]
        assert line.startswith("↓ mse")
        assert ("*" in line) == sure
        read = {name: Evaluation.from_json(one.to_json(tmp_path / name)) for name, one in found.items()}
        assert compare(read) == compare(found)


# --- several runs ---------------------------------------------------------------------------------------------------


def runs(values: Any, better: Any = "lower") -> list[Evaluation]:
    protocol = {"fingerprint": "one", "images": 9}
    return [
        Evaluation((Score("m", float(one), "nats", better, standard_error=0.5),), protocol=protocol) for one in values
    ]


@given(
    st.lists(st.floats(-9, 9), min_size=3, max_size=6, unique=True),
    st.lists(st.floats(-9, 9), min_size=3, max_size=6, unique=True),
    st.sampled_from(["lower", "higher"]),
)
@settings(max_examples=60, deadline=None)
def test_the_star_of_runs_is_welchs(a: list[float], b: list[float], better: str) -> None:
    test = stats.ttest_ind(a, b, equal_var=False)
    ahead = (test.statistic < 0) == (better == "lower")
    wanted = None if not test.pvalue < 0.05 else f"{'a' if ahead else 'b'} ({len(a if ahead else b)} runs)"
    if not math.isclose(test.pvalue, 0.05, rel_tol=1e-6):
        assert starred({"a": runs(a, better), "b": runs(b, better)}) == wanted


def test_three_runs_are_few() -> None:
    """Of four degrees of freedom, 2.78 standard errors are 5 %, not 2."""
    for shift, wanted in ((2.2, None), (2.3, "a (3 runs)")):  # 2.69 and 2.82 standard errors
        assert starred({"a": runs([0, 1, 2]), "b": runs([shift, 1 + shift, 2 + shift])}) == wanted


def test_the_table_of_runs() -> None:
    head, line, *notes = compare({"mlp": runs([1, 2, 3]), "conv": runs([11, 12, 13.5])}).splitlines()
    assert head.split("  ")[-2:] == ["mlp (3 runs)", "conv (3 runs)"]
    assert line.split() == ["↓", "m", "nats", "2.0", "±", "1.0", "*", "12.2", "±", "1.3"]
    assert notes == ["± of several runs is the standard deviation over them, a star Welch's t-test at 5 %"]


@pytest.mark.parametrize("other", [runs([90.0]), runs([90.0])[0], runs([90.0, 91.0])])
def test_too_few_runs_give_no_star_and_say_so(other: Any) -> None:
    text = compare({"mlp": runs([1, 2, 3]), "conv": other})
    assert "*" not in text
    assert text.splitlines()[-1] == "names with fewer than 3 runs are not told from others, and so give no star"
    single = not isinstance(other, list) or len(other) == 1
    assert ("± of one run is the standard error over its images" in text) == single
    assert ("conv (" in text) == (not single)


def test_runs_without_spread_give_no_star() -> None:
    def same(value: float) -> list[Evaluation]:
        return [dataclasses.replace(one, left_out={"x": str(n)}) for n, one in enumerate(runs([value] * 3))]

    assert "*" not in compare({"a": same(1.0), "b": same(2.0)})
    rounding = {"a": runs([1.0, 1.0000001, 1.0000002]), "b": runs([2.0, 2.0000001, 2.0000002])}
    assert "*" not in compare(rounding)
    assert "*" in compare({"a": same(1.0), "b": runs([2.0, 2.1, 2.2])})
    assert "inf" in compare({"a": runs([math.inf, 1, 2]), "b": runs([2.0, 2.1, 2.2])})


def test_one_run_in_a_list_is_that_run() -> None:
    a, b = record([1.0, 2.0, 3.0]), record([2.0, 3.0, 4.1])
    assert compare({"a": [a], "b": (b,)}) == compare({"a": a, "b": b})


def test_a_score_that_one_run_left_out_is_said() -> None:
    with_mig = [
        dataclasses.replace(one, scores=(*one.scores, Score("mig", n / 9, "", "higher")))
        for n, one in enumerate(runs([1, 2, 3]))
    ]
    without = dataclasses.replace(runs([2.5])[0], left_out={"mig": "no labels"})
    text = compare({"a": [*with_mig, without], "b": with_mig[0]})
    assert "mig is not compared: left out of a, run 4, no labels" in text.splitlines()


def test_what_cannot_be_pooled() -> None:
    one, *_ = pair = runs([1, 2])
    with pytest.raises(DataError, match="several runs under 'a', got the same one twice: a copy tells nothing"):
        compare({"a": [one, dataclasses.replace(one)], "b": pair})
    with pytest.raises(DataError, match="none under 'b'"):
        compare({"a": pair, "b": []})
    with pytest.raises(DataError, match="a str under 'b'"):
        compare({"a": pair, "b": [one, "c"]})  # type: ignore[list-item]
    with pytest.raises(DataError, match="a str under 'b'"):
        compare({"a": pair, "b": "metrics.json"})  # type: ignore[dict-item]
    with pytest.raises(DataError, match="by two names, got 1"):
        compare({"a": pair})
    other = dataclasses.replace(runs([3])[0], protocol={"fingerprint": "two", "images": 9})
    with pytest.raises(DataError, match="evaluations of one set of images"):
        compare({"a": [one, other], "b": pair})


# --- on the command line --------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Evaluations a0, a1, a2, b0, b1, b2 in a folder of their own each."""
    for name, values in {"a": [1, 2, 3], "b": [11, 12, 13]}.items():
        for number, one in enumerate(runs(values)):
            one.to_json(tmp_path / f"{name}{number}" / "metrics.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_name_that_comes_again_pools(folder: Path) -> None:
    lines: list[str] = []
    files = ["mlp=a0", f"mlp={folder / 'a1'}", "conv=b0", "conv=b1/metrics.json", "mlp=a2", "conv=b2"]
    found = commands.compare(files, say=lines.append)
    assert {name: [one["m"] for one in of] for name, of in found.items()} == {"mlp": [1, 2, 3], "conv": [11, 12, 13]}
    assert lines == [compare(found)]
    assert "mlp (3 runs)" in lines[0]
    result = CliRunner().invoke(cli, ["compare", *files])
    assert (result.exit_code, result.stdout) == (0, f"{lines[0]}\n")


def test_names_beside_paths(folder: Path) -> None:
    assert list(commands.compare(["mlp=a0", "b0", "conv=b1"])) == ["mlp", "b0", "conv"]
    assert list(commands.compare(["b0=a0", "b0"])) == ["b0", f"{folder.name}/b0"]  # which is not pooled with a0


def test_an_equals_sign_in_a_path_is_part_of_it(folder: Path) -> None:
    (folder / "a0").rename(folder / "lr=0.1")
    assert list(commands.compare(["lr=0.1", "b0"])) == ["lr=0.1", "b0"]
    assert list(commands.compare(["mlp=lr=0.1", "b0"])) == ["mlp", "b0"]
    for bad in (f"{folder}/lr=0.2", "=b0", "b0=", "a0/=b0"):
        with pytest.raises(FileFormatError, match=f"to_json at {re.escape(bad)}"):
            commands.compare([bad, "b0"])
    with pytest.raises(FileFormatError, match="to_json at none"):
        commands.compare(["mlp=none", "b0"])


def test_a_run_given_twice_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="several runs under 'mlp', got the same one twice"):
        commands.compare(["mlp=a0", "mlp=a0", "conv=b0"])
