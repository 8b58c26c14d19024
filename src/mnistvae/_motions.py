"""Images turned and shifted, each by a little of its own."""

from __future__ import annotations

import math

import torch
from torch import Size, Tensor, nn

from mnistvae._random import batch_noise

__all__ = ["black_and_white_like", "draw_motions", "moved"]


def moved(x: Tensor, angles: Tensor, shifts: Tensor) -> Tensor:
    r"""Images turned about their centre, and then shifted; black comes in from beyond the edges.

    .. math:: \tilde x(p) = x\left(R_{-\alpha} (p - s - m) + m\right)

    where m is the centre of the image and values between pixels are interpolated bilinearly.

    Args:
        x: Images, (B, C, H, W) in [0, 1].
        angles: Angle of each image, (B,), in degrees, counterclockwise as one looks at it.
        shifts: Shift of each image, (B, 2), in pixels to the right and down.

    Returns:
        (B, C, H, W) in [0, 1].

    Example:
        >>> bar = torch.zeros(1, 1, 3, 3)
        >>> bar[..., 1, :] = 1  # lies, and a quarter of a turn lets it stand
        >>> moved(bar, torch.tensor([90.0]), torch.zeros(1, 2)).round().squeeze()
        tensor([[0., 1., 0.],
                [0., 1., 0.],
                [0., 1., 0.]])
    """
    height, width = x.shape[-2:]
    dtype = torch.promote_types(x.dtype, torch.float32)  # of half precision there is no interpolation everywhere
    turn = angles.to(dtype) * (math.pi / 180)
    cosine, sine = turn.cos()[:, None, None], turn.sin()[:, None, None]
    right, down = shifts.to(dtype)[:, :, None, None].unbind(1)
    across = torch.arange(width, device=x.device, dtype=dtype) - (width - 1) / 2 - right
    along = torch.arange(height, device=x.device, dtype=dtype)[:, None] - (height - 1) / 2 - down
    # Where each pixel comes from, on the scale from -1 at one edge of the image to 1 at the other.
    columns = (cosine * across - sine * along) * (2 / width)
    rows = (sine * across + cosine * along) * (2 / height)
    places = torch.stack([columns, rows], dim=-1)
    found = nn.functional.grid_sample(x.to(dtype), places, "bilinear", "zeros", align_corners=False)
    return found.clamp(0.0, 1.0).to(x.dtype)  # weights may add up to more than 1 by a rounding error


def draw_motions(x: Tensor, max_angle: float, max_shift: float) -> tuple[Tensor, Tensor]:
    """Angles (B,) and shifts (B, 2) for images, uniform up to the greatest both ways, from the noise of the batch.

    Args:
        x: Images, (B, C, H, W).
        max_angle: Greatest angle, in degrees.
        max_shift: Greatest shift along each side, in pixels.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    # A normal's distribution function makes uniform noise of it: each process draws that of its rows of a batch.
    uniform = torch.erf(batch_noise(Size([x.shape[0], 3]), dtype, x.device) * math.sqrt(0.5))
    return max_angle * uniform[:, 0], max_shift * uniform[:, 1:]


def black_and_white_like(x: Tensor, images: Tensor) -> Tensor:
    """``images`` with their pixels rounded to 0 or 1 where those of ``x`` are all 0 or 1, image by image.

    Example:
        >>> x = torch.tensor([0.0, 1.0, 0.5, 1.0]).reshape(2, 1, 1, 2)
        >>> black_and_white_like(x, torch.full_like(x, 0.7)).flatten()
        tensor([1.0000, 1.0000, 0.7000, 0.7000])
    """
    binary = ((x == 0) | (x == 1)).flatten(1).all(1)[:, None, None, None]
    return torch.where(binary, (images >= 0.5).to(images.dtype), images)
