"""Images turned and shifted: beside SciPy's, a loop over pixels, and motions whose outcome is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torch import Tensor

from mnistvae._motions import black_and_white_like, draw_motions, moved
from mnistvae._random import noise_for_rows

SHAPES = [(1, 28, 28), (2, 7, 10), (3, 9, 5), (1, 1, 1)]


def images(n: int, shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def motions(n: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    noise = torch.rand(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1
    return 70 * noise[:, 0], 3 * noise[:, 1:]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_scipys_affine_transform(shape: tuple[int, int, int]) -> None:
    x, (angles, shifts) = images(6, shape), motions(6)
    found = moved(x, angles, shifts)
    centre = (np.array(shape[1:]) - 1) / 2
    for image, angle, shift, got in zip(x, angles.tolist(), shifts.tolist(), found, strict=True):
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        back = np.array([[cosine, sine], [-sine, cosine]])  # rows go down, so counterclockwise is the other way round
        offset = centre - back @ (centre + np.array(shift[::-1]))
        for channel, one in zip(image.numpy(), got.numpy(), strict=True):
            expected = ndimage.affine_transform(channel, back, offset, order=1, mode="grid-constant", cval=0.0)
            np.testing.assert_allclose(one, expected, atol=1e-12)


def test_it_is_a_loop_over_pixels() -> None:
    x, (angles, shifts) = images(3, (1, 4, 6)), motions(3, 2)
    found = moved(x, angles, shifts)
    for n in range(3):
        turn = math.radians(float(angles[n]))
        for row in range(4):
            for column in range(6):
                # To the right and up of the centre, before the shift; then turned back.
                right, up = column - 2.5 - float(shifts[n, 0]), 1.5 - row + float(shifts[n, 1])
                back = complex(right, up) * complex(math.cos(turn), -math.sin(turn))
                i, j = 1.5 - back.imag, back.real + 2.5
                total = 0.0
                for k in range(math.floor(i), math.floor(i) + 2):
                    for m in range(math.floor(j), math.floor(j) + 2):
                        if 0 <= k < 4 and 0 <= m < 6:
                            total += (1 - abs(i - k)) * (1 - abs(j - m)) * float(x[n, 0, k, m])
                assert float(found[n, 0, row, column]) == pytest.approx(total, abs=1e-12)


def test_motions_whose_outcome_is_known() -> None:
    x, zero = images(2, (2, 6, 6)), torch.zeros(2, dtype=torch.float64)
    none = torch.zeros(2, 2, dtype=torch.float64)
    torch.testing.assert_close(moved(x, zero, none), x)
    torch.testing.assert_close(moved(x, zero + 90, none), torch.rot90(x, 1, (2, 3)))
    torch.testing.assert_close(moved(x, zero - 180, none), torch.rot90(x, 2, (2, 3)))
    right_and_up = moved(x, zero, torch.tensor([2.0, -1.0]).expand(2, 2))
    torch.testing.assert_close(right_and_up[:, :, :-1, 2:], x[:, :, 1:, :-2])
    assert float(right_and_up[..., :2].abs().max()) < 1e-12
    assert float(right_and_up[..., -1, :].abs().max()) < 1e-12
    assert float(moved(x, zero, none + 20).max()) == 0.0  # out of sight
    half = moved(x, zero, torch.tensor([0.5, 0.0]).expand(2, 2))
    torch.testing.assert_close(half[..., 1:], 0.5 * (x[..., 1:] + x[..., :-1]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_it_keeps_the_dtype_and_stays_within_0_and_1(dtype: torch.dtype) -> None:
    x = torch.ones(50, 1, 9, 9, dtype=dtype)
    found = moved(x, *(one.to(dtype) for one in motions(50)))
    assert found.dtype is dtype
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert float(found[:, 0, 4, 4].min()) == pytest.approx(1.0, abs=1e-2)


def test_each_image_is_moved_by_its_own_motion() -> None:
    x, (angles, shifts) = images(4, (1, 8, 8)), motions(4)
    together = moved(x, angles, shifts)
    for n in range(4):
        torch.testing.assert_close(together[n : n + 1], moved(x[n : n + 1], angles[n : n + 1], shifts[n : n + 1]))
    same = moved(x[:1].expand(4, -1, -1, -1), angles, shifts)
    assert len({tuple(one.flatten().tolist()) for one in same}) == 4


def test_motions_are_uniform_and_independent() -> None:
    angles, shifts = draw_motions(torch.zeros(20_000, 1, 2, 2), 15.0, 2.0)
    for values, most in ((angles, 15.0), (shifts[:, 0], 2.0), (shifts[:, 1], 2.0)):
        assert float(values.abs().max()) <= most
        assert stats.kstest(values.numpy(), "uniform", (-most, 2 * most)).pvalue > 1e-3
    correlations = np.corrcoef(torch.cat([angles[:, None], shifts], 1).numpy().T)
    assert np.abs(correlations - np.eye(3)).max() < 0.03
    still = draw_motions(torch.zeros(3, 1, 2, 2, dtype=torch.float64), 0.0, 0.0)
    assert all(float(one.abs().max()) == 0.0 for one in still)
    assert still[0].dtype is torch.float64
    assert draw_motions(torch.zeros(3, 1, 2, 2, dtype=torch.bfloat16), 15.0, 2.0)[0].dtype is torch.float32


def test_a_part_of_a_batch_is_moved_as_it_is_in_the_whole() -> None:
    whole = draw_motions(torch.zeros(6, 1, 2, 2), 15.0, 2.0)
    torch.manual_seed(0)
    with noise_for_rows(slice(2, 5), 6):
        part = draw_motions(torch.zeros(3, 1, 2, 2), 15.0, 2.0)
    assert all(torch.equal(a[2:5], b) for a, b in zip(whole, part, strict=True))


def test_black_and_white_images_stay_so_and_others_are_left() -> None:
    grey, binary = images(3, (1, 8, 8)), images(3, (1, 8, 8), 1).round()
    x = torch.cat([grey, binary])
    changed = moved(x, *motions(6))
    found = black_and_white_like(x, changed)
    assert torch.equal(found[:3], changed[:3])
    assert torch.equal(found[3:], (changed[3:] >= 0.5).double())
    assert set(found[3:].unique().tolist()) == {0.0, 1.0}
    assert found.dtype is x.dtype
