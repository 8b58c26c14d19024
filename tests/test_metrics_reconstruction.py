"""Images beside their reconstructions: against scikit-image, closed forms, and what must not change a figure."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skimage.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mnistvae.data import load_dataset
from mnistvae.errors import DataError, SettingError
from mnistvae.metrics import _pairs, similarity
from mnistvae.metrics.reconstruction import ClassMean, by_class, mae, mse, psnr
from mnistvae.metrics.similarity import ssim as tolerant_ssim

Metric = Callable[..., Tensor]
#: In float64.
ssim = functools.partial(tolerant_ssim, tolerance=0)
METRICS = [mse, mae, psnr, ssim]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def digits(n: int) -> Tensor:
    return load_dataset("mnist-mini", "test").images[:n]


def blurred(x: Tensor) -> Tensor:
    """Something like a reconstruction of each."""
    return torch.nn.functional.avg_pool2d(x.double() / 255, 3, stride=1, padding=1)


def scikit_ssim(a: Tensor, b: Tensor, data_range: float = 1.0) -> Tensor:
    """Image by image and channel by channel, (N,)."""
    pairs = zip(a.flatten(0, 1).numpy(), b.flatten(0, 1).numpy(), strict=True)
    planes = [skimage.metrics.structural_similarity(x, y, data_range=data_range) for x, y in pairs]
    return torch.tensor(planes, dtype=torch.float64).view(len(a), -1).mean(1)


# ------------------------------------------------------------------------------------------------ what they equal


@given(seed=st.integers(0, 2**31), height=st.integers(7, 40), width=st.integers(7, 40), channels=st.integers(1, 3))
def test_ssim_is_that_of_scikit_image_at_every_size(seed: int, height: int, width: int, channels: int) -> None:
    a = noise(2, channels, height, width, seed=seed)
    b = (a + 0.3 * noise(2, channels, height, width, seed=seed + 1)).clamp(0, 1)
    torch.testing.assert_close(ssim(a, b), scikit_ssim(a, b), rtol=0, atol=1e-12)


def test_ssim_is_that_of_scikit_image_on_digits() -> None:
    x = digits(300)
    a, b = x.double() / 255, blurred(x)
    torch.testing.assert_close(ssim(x, b), scikit_ssim(a, b), rtol=0, atol=1e-12)
    torch.testing.assert_close(ssim(a, a.roll(1, 0)), scikit_ssim(a, a.roll(1, 0)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("spread", [0.0, 1e-3, 0.03])
def test_ssim_is_that_of_scikit_image_where_variances_cancel(spread: float) -> None:
    a, b = (noise(50, 1, 1, 1, seed=s) * (1 - spread) + spread * noise(50, 1, 12, 9, seed=s + 2) for s in (0, 1))
    torch.testing.assert_close(ssim(a, b), scikit_ssim(a, b), rtol=0, atol=1e-11)


def flat(n: int, spread: float) -> Tensor:
    """Grey images, each of one value and a little noise, where float32 loses the variances."""
    return noise(n, 1, 1, 1) * (1 - spread) + spread * noise(n, 1, 28, 28, seed=1)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (digits(500), blurred(digits(500)).float()),
        (digits(500), digits(1000)[500:]),
        (noise(200, 1, 28, 28), noise(200, 1, 28, 28, seed=1)),
        (flat(200, 0.0), flat(200, 0.0).flip(0)),
        (flat(200, 1e-3), flat(200, 1e-3).flip(0)),
        (flat(200, 0.05), flat(200, 0.03).flip(0)),
        (1 - blurred(digits(500)), 1 - blurred(digits(500)).roll(1, 3)),
        (0.5 + 0.5 * blurred(digits(500)), 0.5 + 0.5 * blurred(digits(500)).roll(1, 2)),
    ],
    ids=["reconstructions", "bytes", "noise", "one value each", "nearly", "almost", "negatives", "grey"],
)
def test_rounding_is_within_the_tolerance(first: Tensor, second: Tensor, tolerance: float) -> None:
    exact = ssim(first, second)
    torch.testing.assert_close(tolerant_ssim(first, second, tolerance=tolerance), exact, rtol=0, atol=tolerance)
    values, bounds = similarity._ssim_in(torch.float32, first, second, 1.0)
    assert ((values - exact).abs() <= bounds).all()
    single = tolerant_ssim(first, second, tolerance=tolerance)
    assert torch.equal(single[bounds <= tolerance], values[bounds <= tolerance])
    torch.testing.assert_close(single[bounds > tolerance], exact[bounds > tolerance], rtol=0, atol=1e-13)


def test_digits_are_compared_in_float32_and_flat_images_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[torch.dtype, int]] = []
    compute = similarity._ssim_in

    def spied(dtype: torch.dtype, a: Any, b: Any, data_range: float) -> Any:
        asked.append((dtype, len(a)))
        return compute(dtype, a, b, data_range)

    monkeypatch.setattr(similarity, "_ssim_in", spied)
    shifted = torch.cat([digits(50), (255 * flat(50, 0.01)).byte()])
    for x in (shifted, shifted.numpy()):
        asked.clear()
        tolerant_ssim(x, 255 - x)
        (_, everything), (dtype, few) = asked
        assert everything == 100
        assert dtype == torch.float64
        assert few >= 50
    asked.clear()
    tolerant_ssim(digits(50), digits(100)[50:])
    assert asked == [(torch.float32, 50)]


@pytest.mark.parametrize("offset", [0.0, 30.0, -1e4])
@pytest.mark.parametrize("data_range", [1e-12, 1e-3, 255.0, 1e9])
def test_the_tolerance_holds_for_every_range(data_range: float, offset: float) -> None:
    a, b = (data_range * (offset + noise(20, 1, 9, 9, seed=seed)) for seed in (0, 1))
    found = tolerant_ssim(a, b, data_range)
    torch.testing.assert_close(found, ssim(a, b, data_range), rtol=0, atol=1e-5)
    assert (tolerant_ssim(a, a, data_range) == 1).all()


def test_tolerances_and_values_that_make_no_sense_are_refused() -> None:
    a = noise(2, 8, 8)
    for bad in (-1e-9, math.nan, math.inf, "1", None):
        with pytest.raises(SettingError, match="tolerance as a finite number of at least 0"):
            tolerant_ssim(a, a, tolerance=bad)
    with pytest.raises(DataError, match="values in a that float32 can hold"):
        tolerant_ssim(a + 1e300, a)


def test_ssim_of_colour_is_that_of_scikit_image() -> None:
    a, b = noise(3, 3, 16, 20), noise(3, 3, 16, 20, seed=1)
    expected = [
        skimage.metrics.structural_similarity(x, y, channel_axis=0, data_range=1.0)
        for x, y in zip(a.numpy(), b.numpy(), strict=True)
    ]
    torch.testing.assert_close(ssim(a, b), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_bytes_give_what_scikit_image_gives_for_bytes() -> None:
    a, b = digits(20)[:, 0], digits(40)[20:, 0]
    pairs = list(zip(a.numpy(), b.numpy(), strict=True))
    similar = [skimage.metrics.structural_similarity(x, y, data_range=255) for x, y in pairs]
    ratio = [skimage.metrics.peak_signal_noise_ratio(x, y) for x, y in pairs]
    torch.testing.assert_close(ssim(a, b), torch.tensor(similar, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(psnr(a, b), torch.tensor(ratio, dtype=torch.float64), rtol=1e-12, atol=0)


@given(seed=st.integers(0, 2**31), data_range=st.sampled_from([1.0, 2.0, 255.0]))
def test_errors_and_ratios_are_those_of_scikit_image(seed: int, data_range: float) -> None:
    a, b = noise(4, 2, 5, 6, seed=seed), noise(4, 2, 5, 6, seed=seed + 1)
    pairs = list(zip(a.numpy(), b.numpy(), strict=True))
    squared = [skimage.metrics.mean_squared_error(x, y) for x, y in pairs]
    ratio = [skimage.metrics.peak_signal_noise_ratio(x, y, data_range=data_range) for x, y in pairs]
    np.testing.assert_allclose(mse(a, b), squared, rtol=1e-12)
    np.testing.assert_allclose(mae(a, b), [np.abs(x - y).mean() for x, y in pairs], rtol=1e-12)
    np.testing.assert_allclose(psnr(a, b, data_range=data_range), ratio, rtol=1e-12)


@given(seed=st.integers(0, 2**31), data_range=st.sampled_from([0.5, 2.0, 255.0]))
@settings(max_examples=10)
def test_ssim_and_psnr_scale_with_the_data_range(seed: int, data_range: float) -> None:
    a, b = noise(2, 1, 9, 9, seed=seed), noise(2, 1, 9, 9, seed=seed + 1)
    scaled_a, scaled_b = data_range * a, data_range * b
    torch.testing.assert_close(ssim(scaled_a, scaled_b, data_range=data_range), ssim(a, b), rtol=0, atol=1e-11)
    torch.testing.assert_close(psnr(scaled_a, scaled_b, data_range=data_range), psnr(a, b), rtol=1e-9, atol=0)
    expected = scikit_ssim(scaled_a, scaled_b, data_range)
    torch.testing.assert_close(ssim(scaled_a, scaled_b, data_range=data_range), expected, rtol=0, atol=1e-11)


@given(first=st.floats(0, 1), second=st.floats(0, 1))
def test_constant_images_have_a_closed_form(first: float, second: float) -> None:
    a, b = (torch.full((1, 1, 8, 11), value, dtype=torch.float64) for value in (first, second))
    similarity = (2 * first * second + 1e-4) / (first**2 + second**2 + 1e-4)
    assert float(ssim(a, b)) == pytest.approx(similarity, abs=1e-11)
    assert float(mse(a, b)) == pytest.approx((first - second) ** 2, rel=1e-9, abs=1e-300)
    assert float(mae(a, b)) == pytest.approx(abs(first - second), rel=1e-9, abs=1e-300)


def test_one_wrong_pixel() -> None:
    a, b = torch.zeros(2, 1, 10, 10), torch.zeros(2, 1, 10, 10)
    b[1, 0, 3, 4] = 0.5
    torch.testing.assert_close(mse(a, b), torch.tensor([0, 0.0025], dtype=torch.float64), rtol=1e-12, atol=0)
    torch.testing.assert_close(mae(a, b), torch.tensor([0, 0.005], dtype=torch.float64), rtol=1e-12, atol=0)
    expected = torch.tensor([math.inf, 10 * math.log10(400)], dtype=torch.float64)
    torch.testing.assert_close(psnr(a, b), expected, rtol=1e-12, atol=0)


# ------------------------------------------------------------------------------------------------ what must hold


@given(seed=st.integers(0, 2**31), height=st.integers(7, 12), width=st.integers(7, 12), spread=st.floats(0, 1))
def test_ranges_and_symmetry(seed: int, height: int, width: int, spread: float) -> None:
    a = noise(3, 1, height, width, seed=seed)
    b = a + spread * (noise(3, 1, height, width, seed=seed + 1) - a)
    for metric in METRICS:
        torch.testing.assert_close(metric(a, b), metric(b, a), rtol=1e-9, atol=1e-12)
    assert (ssim(a, b).abs() <= 1).all()
    assert (mae(a, b).square() <= mse(a, b) * (1 + 1e-12)).all()
    assert (mse(a, b) <= mae(a, b) * (1 + 1e-12)).all()
    torch.testing.assert_close(psnr(a, b), -10 * mse(a, b).log10(), rtol=1e-12, atol=0)


def test_equal_images_are_perfect_and_nothing_is_said_of_it() -> None:
    for x in (digits(5), noise(5, 3, 7, 7), torch.zeros(2, 9, 9), torch.ones(1, 64)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert (ssim(x, x) == 1).all()
            assert (psnr(x, x) == math.inf).all()
        assert (mse(x, x) == 0).all()
        assert (mae(x, x) == 0).all()


def test_the_negative_of_an_image_is_not_like_it() -> None:
    x = digits(50).double() / 255
    assert (ssim(x, 1 - x) < 0.05).all()
    checks = (torch.arange(100).view(1, 10, 10) // 10 + torch.arange(100).view(1, 10, 10)) % 2.0
    assert float(ssim(checks, 1 - checks)) < -0.95


@pytest.mark.parametrize("metric", METRICS)
def test_every_form_of_a_batch_gives_the_same(metric: Metric) -> None:
    x, y = digits(6), digits(12)[6:]
    expected = metric(x.double() / 255, y.double() / 255)
    assert expected.shape == (6,)
    assert expected.dtype is torch.float64
    for form in (x, x[:, 0], x.flatten(1), x.numpy(), x[:, 0].numpy(), x.flatten(1).double() / 255):
        for other in (y, y.flatten(1).numpy(), y[:, 0].double() / 255, (y.double() / 255).numpy()):
            torch.testing.assert_close(metric(form, other), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shape", [(1, 8, 12), (3, 8, 12)])
def test_a_flat_batch_has_the_size_of_the_other(metric: Metric, shape: tuple[int, ...]) -> None:
    a, b = noise(4, *shape), noise(4, *shape, seed=1)
    assert torch.equal(metric(a, b.flatten(1)), metric(a, b))
    assert torch.equal(metric(a.flatten(1), b), metric(a, b))
    if shape[0] == 1:
        assert torch.equal(metric(a.flatten(1), b[:, 0]), metric(a, b))


@pytest.mark.parametrize("metric", METRICS)
def test_halves_and_views_are_taken_as_they_are(metric: Metric) -> None:
    a, b = noise(5, 1, 9, 9).float(), noise(5, 1, 9, 9, seed=1).float()
    expected = metric(a, b)
    for dtype in (torch.float16, torch.bfloat16):
        rounded = a.to(dtype)
        assert torch.equal(metric(rounded, b), metric(rounded.double(), b))
    read_only = a.numpy().copy()
    read_only.flags.writeable = False
    backwards = np.ascontiguousarray(a.numpy()[::-1])[::-1]
    columns = a.transpose(2, 3).contiguous().transpose(2, 3)
    for form in (read_only, backwards, columns, a.clone().requires_grad_()):
        assert torch.equal(metric(form, b), expected)
        assert not metric(form, b).requires_grad


@pytest.mark.parametrize("metric", METRICS)
def test_the_images_are_left_alone(metric: Metric) -> None:
    a, b = noise(5, 1, 9, 9), noise(5, 1, 9, 9, seed=1)
    before = a.clone(), b.clone()
    metric(a, b)
    assert torch.equal(a, before[0])
    assert torch.equal(b, before[1])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 23])
def test_each_image_has_its_own_figure_however_the_batch_is_cut(
    metric: Metric, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = noise(n, 2, 8, 9), noise(n, 2, 8, 9, seed=1)
    one_by_one = torch.cat([metric(a[[i]], b[[i]]) for i in range(n)])
    assert one_by_one.shape == (n,)
    for images_in_chunk, images_in_tile in ((1000, 1000), (7, 3), (1, 1), (8, 5)):
        monkeypatch.setitem(_pairs._CHUNK, "cpu", images_in_chunk * 144 * 8)
        monkeypatch.setitem(similarity._TILE, "cpu", images_in_tile * 144 * 8)
        torch.testing.assert_close(metric(a, b), one_by_one, rtol=1e-12, atol=1e-13)


def test_an_image_larger_than_a_chunk_is_compared_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = noise(3, 1, 20, 20), noise(3, 1, 20, 20, seed=1)
    expected = ssim(a, b)
    monkeypatch.setitem(_pairs._CHUNK, "cpu", 10)
    monkeypatch.setitem(similarity._TILE, "cpu", 10)
    torch.testing.assert_close(ssim(a, b), expected, rtol=0, atol=1e-13)


class Largest(TorchDispatchMode):
    """The most bytes of a tensor that was made."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for made in result if isinstance(result, tuple | list) else [result]:
            if isinstance(made, Tensor) and made.dtype.is_floating_point:
                self.size = max(self.size, made.numel() * made.dtype.itemsize)
        return result


@pytest.mark.parametrize("metric", [*METRICS, tolerant_ssim])
def test_memory_does_not_grow_with_the_number_of_images(metric: Metric) -> None:
    a = torch.zeros(1, 28, 28, dtype=torch.uint8).expand(6000, -1, -1)  # 38 MB, were it float64
    with Largest() as seen:
        metric(a, a)
    assert seen.size <= 2**18 * 8


# ----------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize("array", [False, True])
def test_pixels_that_are_not_finite_are_refused(metric: Metric, value: float, name: str, array: bool) -> None:
    batches = {"a": noise(900, 1, 28, 28), "b": noise(900, 1, 28, 28)}
    for i, j in ((701, 5), (701, 6), (899, 0)):  # beyond the first chunk
        batches[name].flatten(1)[i, j] = value
    given_batches = [x.numpy() if array else x for x in batches.values()]
    message = f"expected finite images in {name}, got NaN or infinity in 2 of 900, the first of them number 701: "
    with pytest.raises(DataError, match=message):
        metric(*given_batches)


@pytest.mark.parametrize("metric", METRICS)
def test_batches_that_do_not_match_are_refused(metric: Metric) -> None:
    with pytest.raises(DataError, match=r"as many images in a as in b, got 3 and 4: "):
        metric(torch.zeros(3, 28, 28), torch.zeros(4, 28, 28))
    for shapes in (
        ((2, 28, 28), (2, 27, 28)),
        ((2, 1, 8, 9), (2, 1, 9, 8)),
        ((2, 3, 8, 8), (2, 8, 8)),
        ((2, 64), (2, 81)),
    ):
        with pytest.raises(DataError, match="images of one size in a and b, got shapes"):
            metric(*(torch.zeros(shape) for shape in shapes))
    with pytest.raises(DataError, match=r"flat images that are square, .*, got shape \(2, 72\): "):
        metric(torch.zeros(2, 72), torch.zeros(2, 72))
    with pytest.raises(DataError, match="at least one image"):
        metric(torch.zeros(0, 28, 28), torch.zeros(0, 28, 28))


@pytest.mark.parametrize("metric", METRICS)
def test_what_is_no_batch_of_images_is_refused(metric: Metric) -> None:
    good = torch.zeros(2, 28, 28)
    for bad in (torch.zeros(784), torch.zeros(()), torch.zeros(2, 1, 1, 28, 28), torch.zeros(2, 0, 28)):
        with pytest.raises(DataError, match=r"expected b as images of shape .*, got shape"):
            metric(good, bad)
    for bad in ({"x": 0.0}, "images", None, 3):
        with pytest.raises(DataError, match=r"expected a as a torch tensor or a numpy array, got (None|an? )"):
            metric(bad, good)
    for dtype in (torch.int64, torch.int16, torch.complex64):
        with pytest.raises(DataError, match=f"got dtype {dtype}"):
            metric(good, good.to(dtype))


@pytest.mark.parametrize("metric", METRICS)
def test_values_beyond_the_range_are_refused(metric: Metric) -> None:
    a = noise(2, 8, 8)
    with pytest.raises(DataError, match=r"values span at most 1, got values from .* to 255: bring both into"):
        metric(a, torch.full((2, 8, 8), 255.0))
    with pytest.raises(DataError, match="values span at most 1"):
        metric(a, -a)  # each alone would do
    from_black_to_white = digits(2).double() / 255
    assert metric(from_black_to_white, from_black_to_white * (1 + 1e-8)).shape == (2,)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_a_data_range_that_makes_no_sense_is_refused(metric: Metric) -> None:
    a = noise(2, 8, 8)
    for bad in (0, -1.0, math.nan, math.inf, "1", None):
        with pytest.raises(SettingError, match="data_range as a finite number above 0"):
            metric(a, a, data_range=bad)
    for pair in ((a, digits(2)[:, :, :8, :8]), (digits(2).numpy(), digits(2).numpy())):
        with pytest.raises(SettingError, match=r"data_range=1 for uint8 images, .* got 255.0: leave data_range out"):
            metric(*pair, data_range=255)
    with pytest.raises(DataError, match=r"values span at most 0.5"):
        metric(a, a, data_range=0.5)


@pytest.mark.parametrize("shape", [(6, 7), (7, 6), (1, 1), (6, 28)])
def test_images_smaller_than_the_window_are_refused(shape: tuple[int, int]) -> None:
    a = noise(2, 1, *shape)
    with pytest.raises(DataError, match=f"at least 7 x 7 pixels, .*, got {shape[0]} x {shape[1]}: use psnr"):
        ssim(a, a)
    assert psnr(a, 1 - a).shape == (2,)


# -------------------------------------------------------------------------------------------------- other devices


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("metric", METRICS)
def test_a_gpu_gives_the_same(metric: Metric) -> None:
    a, b = digits(100), blurred(digits(100)).float()
    got = metric(a.cuda(), b.cuda())
    assert got.device.type == "cuda"
    torch.testing.assert_close(got.cpu(), metric(a, b), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_figures_are_on_the_device_of_the_tensors(metric: Metric) -> None:
    a = noise(2, 8, 8)
    for pair in ((a, a), (a, a.numpy()), (a.numpy(), a), (a.numpy(), a.numpy())):
        assert metric(*pair).device == a.device


# ------------------------------------------------------------------------------------------------------ by_class


@given(rows=st.lists(st.tuples(st.floats(-100, 100), st.integers(0, 5)), min_size=1, max_size=30))
def test_means_by_class(rows: list[tuple[float, int]]) -> None:
    values, labels = (torch.tensor(column) for column in zip(*rows, strict=True))
    got = by_class(values.double(), labels)
    assert list(got) == sorted({label for _, label in rows})
    assert sum(mean.images for mean in got.values()) == len(rows)
    for label, found in got.items():
        own = [float(value) for value, k in zip(values, labels, strict=True) if k == label]
        assert found.images == len(own)
        assert found.mean == pytest.approx(math.fsum(own) / len(own), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("labels", [torch.tensor([2, 0, 2]), np.array([2, 0, 2], dtype=np.uint8), [2, 0, 2]])
def test_classes_that_are_missing_are_left_out(labels: Any) -> None:
    expected = {0: ClassMean(math.inf, 1), 2: ClassMean(3.0, 2)}
    assert by_class(torch.tensor([2.0, math.inf, 4.0]), labels) == expected
    array = np.array([2.0, math.inf, 4.0], dtype=np.float32)
    array.flags.writeable = False
    assert by_class(array, labels) == expected
    assert by_class(torch.tensor([1.0, 3.0]), 7) == {7: ClassMean(2.0, 2)}


def test_what_by_class_refuses() -> None:
    with pytest.raises(DataError, match=r"values without NaN, got 2 NaN, the first at index 1: "):
        by_class(torch.tensor([1.0, math.nan, 2.0, math.nan]), [0, 0, 0, 0])
    with pytest.raises(DataError, match=r"one value an image, shape \(N,\), got shape \(2, 2\): "):
        by_class(torch.zeros(2, 2), [0, 0])
    with pytest.raises(DataError, match="one label for each of 3 images"):
        by_class(torch.zeros(3), [0, 0])
    with pytest.raises(DataError, match="labels as integers"):
        by_class(torch.zeros(2), torch.zeros(2))
