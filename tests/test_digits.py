"""The digit classifier that ships with the package: its weights, what it reads, and how it was made."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from scipy.signal import correlate2d
from torch import Tensor, nn

from mnistvae._tensorfile import digest
from mnistvae.data import ImageDataset, load_dataset
from mnistvae.errors import DataError, FileFormatError, SettingError
from mnistvae.metrics import digits
from mnistvae.metrics.digits import DIGIT_SHAPE, DigitClassifier, classify, digit_classifier

ROOT = Path(__file__).parents[1]
FOLDER = files("mnistvae.metrics")
WEIGHTS = FOLDER.joinpath("digit_classifier.safetensors").read_bytes()
RECORD: dict[str, Any] = json.loads(FOLDER.joinpath("digit_classifier.json").read_text(encoding="utf-8"))
#: What it reads wrongly of mnist-mini's 2,000 test digits, a fifth of MNIST's: 99.55 % are right.
ERRORS = 9


@pytest.fixture(scope="module")
def mini() -> ImageDataset:
    return load_dataset("mnist-mini", "test")


@pytest.fixture(scope="module")
def figures(mini: ImageDataset) -> tuple[Tensor, Tensor]:
    return classify(mini.images)


@pytest.fixture
def unread() -> Iterator[None]:
    """As in a process that has not read the file yet."""
    digits._shipped.cache_clear()
    yield
    digits._shipped.cache_clear()


def some(n: int = 4) -> Tensor:
    return load_dataset("mnist-mini", "test").images[:n].float() / 255


# ------------------------------------------------------------------------------------------------------ what ships


def test_the_weights_are_small_and_are_those_of_the_record() -> None:
    assert len(WEIGHTS) == RECORD["weights"]["bytes"] < 600_000
    assert hashlib.sha256(WEIGHTS).hexdigest() == RECORD["weights"]["sha256"]
    assert digest(digit_classifier().state_dict(), {}) == RECORD["weights"]["tensors_sha256"]
    assert sum(parameter.numel() for parameter in digit_classifier().parameters()) == RECORD["parameters"]


def test_the_record_says_how_the_weights_were_made() -> None:
    assert (ROOT / RECORD["script"]).name == "train_digit_classifier.py"
    assert RECORD["command"].startswith(f"python {RECORD['script']} ")
    assert f"--seed {RECORD['seed']}" in RECORD["command"]
    assert f"--epochs {RECORD['settings']['epochs']}" in RECORD["command"]
    data = RECORD["data"]
    sizes = (data["training_digits"], data["validation_digits"], data["test_digits"])
    assert (data["name"], *sizes) == ("mnist", 55_000, 5_000, 10_000)
    assert "settings were chosen on the validation digits" in RECORD["use_of_the_test_digits"]
    assert RECORD["date"] == "2026-11-20"


def test_the_record_claims_at_least_99_2_percent() -> None:
    by_class = RECORD["test_accuracy_by_class"]
    assert RECORD["test_accuracy"] >= 0.992
    assert len(by_class) == 10
    assert min(by_class) >= 0.985
    assert np.mean(by_class) == pytest.approx(RECORD["test_accuracy"], abs=0.001)


def test_mnist_minis_digits_are_read(mini: ImageDataset, figures: tuple[Tensor, Tensor]) -> None:
    wrong = int((figures[1].argmax(1) != mini.labels).sum())
    assert wrong <= ERRORS + 2  # another machine may round a digit on the fence to the other side
    assert wrong == pytest.approx(2000 * (1 - RECORD["test_accuracy"]), abs=8)  # three standard errors


def test_the_whole_test_set_is_read_as_the_record_says(mnist_root: Path) -> None:
    test = load_dataset("mnist", "test", mnist_root, download=False)
    assert test.labels is not None
    right = classify(test.images)[1].argmax(1) == test.labels
    assert float(right.double().mean()) >= 0.992
    assert float(right.double().mean()) == pytest.approx(RECORD["test_accuracy"], abs=0.0003)
    by_class = [float(right[test.labels == digit].double().mean()) for digit in range(10)]
    assert by_class == pytest.approx(RECORD["test_accuracy_by_class"], abs=0.0025)


def test_the_record_names_the_digits_it_was_trained_on(mnist_root: Path) -> None:
    images = load_dataset("mnist", "train", mnist_root, download=False).images
    assert hashlib.sha256(images.numpy().tobytes()).hexdigest() == RECORD["data"]["training_images_sha256"]


@pytest.mark.usefixtures("unread")
def test_a_damaged_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = bytearray(WEIGHTS)
    damaged[-1000] ^= 1
    (tmp_path / "digit_classifier.safetensors").write_bytes(damaged)
    monkeypatch.setattr(digits, "files", lambda package: tmp_path)
    with pytest.raises(FileFormatError, match="SHA-256"):
        digit_classifier()


@pytest.mark.usefixtures("unread")
def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "files", lambda package: tmp_path)
    with pytest.raises(FileFormatError, match=r"digit classifier at .*digit_classifier\.safetensors"):
        digit_classifier()


# --------------------------------------------------------------------------------------------------- what it computes


def by_hand(image: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features and logits of one image (28, 28), in float64 and without torch."""
    arrays = {name: array.astype(np.float64) for name, array in load_arrays(WEIGHTS).items()}
    layers = sorted({int(name.split(".")[1]) for name in arrays if name.startswith("layers.")})
    x = image[None]
    for number, layer in enumerate(layers):
        if number in {2, 4}:
            channels, side, _ = x.shape
            x = x.reshape(channels, side // 2, 2, side // 2, 2).max((2, 4))
        weight, bias = arrays[f"layers.{layer}.weight"], arrays[f"layers.{layer}.bias"]
        maps = [sum(correlate2d(plane, kernel, "same") for plane, kernel in zip(x, row, strict=True)) for row in weight]
        x = np.maximum(np.stack(maps) + bias[:, None, None], 0)
    features = x.mean((1, 2))
    return features, arrays["head.weight"] @ features + arrays["head.bias"]


def test_it_is_the_network_that_the_weights_describe() -> None:
    image = some(1)
    features, logits = by_hand(image[0, 0].double().numpy())
    got = classify(image)
    np.testing.assert_allclose(got[0][0].numpy(), features, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got[1][0].numpy(), logits, rtol=1e-4, atol=1e-4)


def test_features_are_what_the_last_linear_map_sees() -> None:
    classifier, seen = digit_classifier(), []
    classifier.head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = some()
    logits = classifier(x)
    features = classifier.features(x)
    assert torch.equal(features, seen[0])
    torch.testing.assert_close(logits, features @ classifier.head.weight.T + classifier.head.bias)
    assert features.shape == (4, classifier.num_features)
    assert logits.shape == (4, classifier.num_classes)
    assert features.dtype is logits.dtype is torch.float32
    assert (features >= 0).all()


def test_classify_is_the_classifier(figures: tuple[Tensor, Tensor], mini: ImageDataset) -> None:
    features, logits = figures
    classifier = digit_classifier()
    torch.testing.assert_close(features[:8], classifier.features(mini.images[:8]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits[:8], classifier(mini.images[:8]), rtol=1e-5, atol=1e-4)


def test_features_fill_their_space(figures: tuple[Tensor, Tensor]) -> None:
    """A dead or doubled feature would leave a Frechet distance blind to it."""
    features = figures[0].double().numpy()
    spectrum = np.linalg.eigvalsh(np.cov(features.T))
    assert np.linalg.matrix_rank(np.cov(features.T), hermitian=True) == DigitClassifier.num_features
    assert spectrum[-1] / spectrum[0] < 2e4  # 8e3 on MNIST's test digits
    assert (features > 0).mean(0).min() > 0.5


@pytest.mark.parametrize("worse", ["noisy", "blurred"])
def test_features_move_away_as_digits_get_worse(worse: str, figures: tuple[Tensor, Tensor], mini: ImageDataset) -> None:
    x = mini.images[:300].float() / 255
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
    end = {"noisy": noise, "blurred": nn.functional.avg_pool2d(x, 7, 1, 3)}[worse]
    away = [
        float((classify(torch.lerp(x, end, share))[0] - figures[0][:300]).norm(dim=1).mean())
        for share in (0.0, 0.2, 0.4, 0.8)
    ]
    assert away == sorted(away)
    assert away[0] < 1e-4
    assert away[1] > 0.01


# ------------------------------------------------------------------------------------------------------- what it takes

FORMS: dict[str, Callable[[Tensor], Any]] = {
    "no channel": lambda x: x[:, 0],
    "flat": lambda x: x.flatten(1),
    "numpy": lambda x: x.numpy(),
    "numpy flat": lambda x: x.flatten(1).numpy(),
    "numpy read-only": lambda x: np.broadcast_to(x.numpy(), x.shape),
    "numpy backwards": lambda x: x.numpy()[::-1].copy()[::-1],
    "big-endian": lambda x: x.numpy().astype(">f4"),
    "float64": lambda x: x.double(),
    "uint8": lambda x: (x * 255).round().to(torch.uint8),
    "numpy uint8 flat": lambda x: (x * 255).round().to(torch.uint8).flatten(1).numpy(),
    "strided": lambda x: x.repeat_interleave(2, 0)[::2],
    "transposed twice": lambda x: x.mT.contiguous().mT,
    "with gradients": lambda x: x.clone().requires_grad_(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_digits_gives_the_same(form: str, figures: tuple[Tensor, Tensor]) -> None:
    features, logits = classify(FORMS[form](some(16)))
    torch.testing.assert_close(features, figures[0][:16], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits, figures[1][:16], rtol=1e-5, atol=1e-4)
    assert not features.requires_grad
    assert not logits.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_taken(dtype: torch.dtype, mini: ImageDataset) -> None:
    features, logits = classify(some(64).to(dtype))
    assert features.dtype is logits.dtype is torch.float32
    assert mini.labels is not None
    assert (logits.argmax(1) == mini.labels[:64]).float().mean() > 0.95


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_the_batch_size_changes_nothing(batch_size: int, figures: tuple[Tensor, Tensor]) -> None:
    features, logits = classify(some(10), batch_size=batch_size)
    torch.testing.assert_close(features, figures[0][:10], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits, figures[1][:10], rtol=1e-5, atol=1e-4)


def test_memory_is_bounded_by_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    features = DigitClassifier.features
    monkeypatch.setattr(DigitClassifier, "features", lambda self, x: sizes.append(len(x)) or features(self, x))
    classify(some(25), batch_size=10)
    assert sizes == [10, 10, 5]


def test_one_digit_is_enough() -> None:
    one = some(1)
    for form in (one, one[0], one.flatten(1)):
        assert [len(figure) for figure in classify(form)] == [1, 1]


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (torch.zeros(3, 1, 32, 32), r"28 x 28 grey pixels, all that the digit classifier reads.*\(3, 1, 32, 32\)"),
        (torch.zeros(3, 3, 28, 28), r"got shape \(3, 3, 28, 28\): bring them to that size and one channel"),
        (torch.zeros(3, 28, 28, 1), "got shape"),
        (torch.zeros(3, 783), "got shape"),
        (np.zeros((3, 27, 28)), "got shape"),
        (torch.zeros(28, 28), r"add the batch dimension: x\[None\]"),
        (torch.zeros(784), r"add the batch dimension: x\[None\]"),
        (torch.tensor(0.5), r"got shape \(\)"),
        (torch.zeros(0, 1, 28, 28), "at least one digit, got an empty batch"),
        (torch.zeros(3, 1, 28, 28, dtype=torch.int64), "dtype torch.int64"),
        (torch.zeros(3, 1, 28, 28, dtype=torch.int16), r"dtype torch.int16: convert: x.to\(torch.uint8\)"),
        (np.full((3, 28, 28), "a"), "convert it to numbers"),
        ("digits.npy", "a torch tensor or a numpy array, got a str"),
        (None, "got None"),
        (torch.full((3, 1, 28, 28), 255.0), r"in \[0, 1\], got a maximum of 255.0: divide by 255"),
        (torch.full((3, 1, 28, 28), -0.5), r"in \[0, 1\], got a minimum of -0.5"),
    ],
)
def test_other_images_are_refused(images: Any, match: str) -> None:
    with pytest.raises(DataError, match=match):
        classify(images)


@given(
    bad=st.sets(st.integers(0, 9), min_size=1),
    value=st.sampled_from([float("nan"), float("inf"), float("-inf")]),
    pixel=st.integers(0, 783),
    batch_size=st.integers(1, 12),
)
def test_pixels_that_are_not_finite_are_counted(bad: set[int], value: float, pixel: int, batch_size: int) -> None:
    x = torch.zeros(10, 784)
    x[list(bad), pixel] = value
    words = f"NaN or infinity in {len(bad)} of 10, the first of them number {min(bad)}:"
    for images in (x, x.double().numpy()):
        with pytest.raises(DataError, match=words):
            classify(images, batch_size=batch_size)


def test_a_pixel_out_of_range_is_found_in_any_batch() -> None:
    x = torch.zeros(25, 784)
    x[24, 5] = 1.5
    with pytest.raises(DataError, match=r"a maximum of 1.5"):
        classify(x, batch_size=10)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, True, None])
def test_a_batch_size_that_makes_no_sense_is_refused(batch_size: Any) -> None:
    with pytest.raises(SettingError, match="batch_size of at least 1"):
        classify(some(), batch_size=batch_size)


def test_the_classifier_itself_refuses_other_sizes() -> None:
    """Its mean over pixels would take any size without a word."""
    for call in (digit_classifier(), digit_classifier().features):
        with pytest.raises(DataError, match="28 x 28 grey pixels"):
            call(torch.zeros(2, 1, 32, 32))


# ---------------------------------------------------------------------------------------------- what it leaves alone


@pytest.mark.usefixtures("unread")
def test_it_is_repeatable_to_the_bit_and_draws_nothing() -> None:
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = classify(some(32))
    digits._shipped.cache_clear()
    second = classify(some(32))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002


def test_images_are_left_as_they_are() -> None:
    x = some()
    before = x.clone()
    classify(x)
    assert torch.equal(x, before)


def test_gradients_reach_the_image_and_not_the_weights() -> None:
    classifier = digit_classifier()
    x = some().requires_grad_()
    classifier(x).square().sum().backward()
    assert x.grad is not None
    assert (x.grad.flatten(1).norm(dim=1) > 0).all()
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in classifier.parameters())


def test_the_gradient_is_the_slope() -> None:
    classifier = digit_classifier().double()
    generator = torch.Generator().manual_seed(0)
    x = (some(1).double() + 0.1 * torch.rand(1, 1, 28, 28, generator=generator)).clamp(0, 1).requires_grad_()
    direction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(classifier(x).sum(), x)
    step = 1e-7
    ahead, behind = (classifier((x + sign * step * direction).detach()).sum() for sign in (1, -1))
    assert float((ahead - behind) / (2 * step)) == pytest.approx(float((gradient * direction).sum()), rel=1e-5)


def test_nothing_done_to_one_classifier_reaches_another(figures: tuple[Tensor, Tensor]) -> None:
    mine = digit_classifier()
    mine.train().requires_grad_()
    with torch.no_grad():
        for parameter in mine.parameters():
            parameter.zero_()
    mine.double()
    other = digit_classifier()
    assert not any(module.training for module in other.modules())
    assert not any(parameter.requires_grad for parameter in other.parameters())
    assert {parameter.dtype for parameter in other.parameters()} == {torch.float32}
    torch.testing.assert_close(other(some()), figures[1][:4], rtol=1e-5, atol=1e-4)
    assert torch.equal(classify(some())[1], classify(some())[1])
    torch.testing.assert_close(classify(some())[1], figures[1][:4], rtol=1e-5, atol=1e-4)


def test_training_mode_means_nothing_to_it() -> None:
    x = some()
    assert torch.equal(digit_classifier().train()(x), digit_classifier()(x))


@pytest.mark.usefixtures("unread")
def test_a_first_use_under_inference_mode_keeps_gradients_possible() -> None:
    with torch.inference_mode():
        classify(some())
        made = digit_classifier()
    for classifier in (made, digit_classifier()):
        x = some().requires_grad_()
        classifier(x).sum().backward()
        assert x.grad is not None


@pytest.mark.usefixtures("unread")
def test_a_first_use_under_another_default_dtype_is_the_same(figures: tuple[Tensor, Tensor]) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        features, _ = classify(some())
    finally:
        torch.set_default_dtype(torch.float32)
    assert features.dtype is torch.float32
    torch.testing.assert_close(features, figures[0][:4], rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("unread")
def test_the_file_is_read_once_for_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Any] = []
    read = digits.read_tensors
    monkeypatch.setattr(digits, "read_tensors", lambda *how: reads.append(how) or read(*how))
    for device in ("cpu", torch.device("cpu"), "cpu"):
        digit_classifier(device)
        classify(some(), device=device)
    assert len(reads) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_it_works_on_a_gpu(figures: tuple[Tensor, Tensor]) -> None:
    for form in (classify(some().cuda()), classify(some(), device="cuda")):
        assert {figure.device.type for figure in form} == {"cuda"}
        torch.testing.assert_close(form[0].cpu(), figures[0][:4], rtol=1e-2, atol=1e-2)  # convolutions may be in TF32


# ------------------------------------------------------------------------------------------------- how it was trained


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "scripts" / "train_digit_classifier.py"
    if not path.is_file():
        pytest.skip("the script is not part of an installed package")
    spec = importlib.util.spec_from_file_location("train_digit_classifier", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_record_has_the_settings_of_the_script(script: ModuleType) -> None:
    assert script.settings(RECORD["settings"]["epochs"]) == RECORD["settings"]
    assert RECORD["data"]["training_digits"] == script.TRAINED_ON


def test_the_script_counts_what_is_read_rightly(
    script: ModuleType, mini: ImageDataset, figures: tuple[Tensor, Tensor]
) -> None:
    read = figures[1].argmax(1)
    assert script.accuracy(digit_classifier(), mini.images, read) == (1.0, [1.0] * 10)
    read[:40] = (read[:40] + 1) % 10
    overall, by_class = script.accuracy(digit_classifier(), mini.images, read)
    assert overall == 0.98
    counts = torch.bincount(read, minlength=10)
    wrong = torch.bincount(read[:40], minlength=10)
    assert by_class == pytest.approx((1 - wrong / counts).tolist(), abs=1e-6)


def test_folding_keeps_the_function(script: ModuleType) -> None:
    network = script.trainable(DigitClassifier())
    network.train()
    for _ in range(3):  # the running statistics leave 0 and 1
        network(torch.rand(8, 1, 28, 28))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.normal_(module.bias)
    x = torch.rand(8, 1, 28, 28)
    folded = script.folded(network)
    expected = network.eval()(x)
    assert expected.std() > 0.01
    torch.testing.assert_close(folded(x), expected, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())


def test_no_distortion_leaves_digits_alone(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROTATION", "SCALING", "SHIFT"):
        monkeypatch.setattr(script, name, 0.0)
    levels = load_dataset("mnist-mini", "test").images[:8]
    torch.testing.assert_close(script.distorted(levels), levels.float() / 255, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "bound"), [("SHIFT", 2.0), ("ROTATION", 10.0), ("SCALING", 0.1)])
def test_distortions_have_the_size_that_the_record_says(
    name: str, bound: float, script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blob at a known place, its centre of mass before and after."""
    assert getattr(script, name) == bound
    for other in {"ROTATION", "SCALING", "SHIFT"} - {name}:
        monkeypatch.setattr(script, other, 0.0)
    place = torch.arange(28) - 13.5
    across, down = torch.exp(-((place - 7) ** 2) / 4), torch.exp(-(place**2) / 4)  # 7 pixels right of the centre
    blob = (255 * down.outer(across)).round().to(torch.uint8).expand(500, 1, 28, 28)
    out = script.distorted(blob)[:, 0]
    mass = out.sum((1, 2))
    x, y = (out.sum(1) * place).sum(1) / mass, (out.sum(2) * place).sum(1) / mass
    if name == "SHIFT":
        amounts = [x - 7, y]
    elif name == "ROTATION":
        amounts = [torch.atan2(y, x).rad2deg()]
        torch.testing.assert_close(torch.hypot(x, y), torch.full((500,), 7.0), rtol=0, atol=0.02)
    else:
        amounts = [(x / 7).log()]
    for amount in amounts:
        assert float(amount.abs().max()) == pytest.approx(bound, rel=0.06)
        assert float(amount.mean()) == pytest.approx(0.0, abs=0.15 * bound)
        assert float(amount.std()) == pytest.approx(bound / 3**0.5, rel=0.1)  # uniform


def test_the_script_writes_the_same_weights_and_record_each_time(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a few of the digits."""
    part = {"train": load_dataset("mnist-mini", "train")[:384], "test": load_dataset("mnist-mini", "test")[:100]}
    monkeypatch.setattr(script.mv, "load_dataset", lambda name, split, root, download: part[split])
    monkeypatch.setattr(script, "TRAINED_ON", 256)
    monkeypatch.setattr(script, "AVERAGE", 0.5)
    outputs = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        torch.manual_seed(len(outputs))
        how = ["train", "--data-root", str(tmp_path), "--epochs", "2", "--out", str(folder), "--seed", "3"]
        monkeypatch.setattr(sys, "argv", how)
        script.main()
        outputs.append((folder / "digit_classifier.safetensors").read_bytes())
    records = [json.loads((tmp_path / name / "digit_classifier.json").read_text(encoding="utf-8")) for name in "ab"]
    record = records[0]
    assert len({record["weights"]["tensors_sha256"] for record in records}) == 1
    assert record.keys() == RECORD.keys()
    assert record["weights"]["sha256"] == hashlib.sha256(outputs[0]).hexdigest()
    assert record["data"]["training_digits"] == 256
    assert record["data"]["validation_digits"] == 128
    assert record["command"].endswith("--seed 3 --epochs 2")
    assert str(tmp_path) not in json.dumps(record)  # no machine's folders in what ships
    assert "epoch 2/2" in capsys.readouterr().out


def test_the_script_asks_for_the_whole_mnist(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MNISTVAE_DATA", raising=False)
    monkeypatch.setattr(sys, "argv", ["train"])
    with pytest.raises(SystemExit):
        script.main()
    assert "the whole MNIST is needed" in capsys.readouterr().err


def test_the_classifier_takes_what_it_says() -> None:
    assert DIGIT_SHAPE == (1, 28, 28)
    assert DigitClassifier.num_features == 64
    assert DigitClassifier.num_classes == 10
