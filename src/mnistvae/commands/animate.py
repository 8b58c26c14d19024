"""The command ``mnistvae animate``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from mnistvae._checks import check_number
from mnistvae.commands._face import command
from mnistvae.commands._inputs import Say, print_nothing, run_folder
from mnistvae.commands.folder import RunFolder
from mnistvae.errors import FileFormatError, SettingError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["animate"]

_FASTEST = 50  # pictures a second in a GIF


@command()
def animate(
    run: str | Path, *, per_second: float = 4.0, out: str | Path | None = None, say: Say = print_nothing
) -> list[Path]:
    """Make films of what the model in the folder RUN drew after each epoch.

    Writes samples.gif and, for a model with two latent dimensions, plane.gif.

    Args:
        run: Folder of the run, or its model.
        per_second: Epochs a second; the last one stays for two seconds.
        out: Folder for the films (default: RUN).
        say: Called with each line that the command prints.

    Returns:
        The paths of the films.

    Raises:
        FileFormatError: If the run left no pictures, or one of them is damaged.
        OutputError: If there are such films already, or the folder cannot be written.
        SettingError: If the speed is not from 0.01 to 50.
    """
    from mnistvae._files import write_atomically

    expected = "per_second as a number from 0.01 to 50"
    speed = check_number(expected, per_second, low=0.01)
    if speed > _FASTEST:
        raise SettingError(expected, f"{speed:g}", "a GIF counts in hundredths of a second")
    run = run_folder(run)
    source = RunFolder(run).epochs
    kinds = {kind: sorted(source.glob(f"{kind}-*.png")) for kind in ("samples", "plane")}
    if not kinds["samples"]:
        raise FileFormatError(
            f"pictures of epochs in {source}", "none", "train with `samples_every`=1, or with the callback SampleGrid"
        )
    films = []
    for kind, paths in kinds.items():
        if not paths:
            continue
        frames = [_frame(path) for path in paths]
        with RunFolder.claim(run if out is None else out, [f"{kind}.gif"]) as folder:
            films.append(write_atomically(folder.path / f"{kind}.gif", _film(frames, speed)))
    for film in films:
        say(f"wrote {film}")
    return films


def _film(frames: list[Image.Image], speed: float) -> bytes:
    """Pictures as an animated GIF that starts again at its end."""
    stream = io.BytesIO()
    durations = [round(1000 / speed)] * (len(frames) - 1) + [2000]
    frames[0].save(
        stream, format="gif", save_all=True, append_images=frames[1:], duration=durations, loop=0, disposal=1
    )
    return stream.getvalue()


def _frame(path: Path) -> Image.Image:
    """A picture of an epoch at twice its size, with the epoch's number under it."""
    from PIL import Image, ImageDraw

    try:
        with Image.open(path) as picture:
            large = picture.convert("RGB").resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST)
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{path} to be a picture", str(error), "train again, or remove it") from error
    frame = Image.new("RGB", (large.width, large.height + 24), "white")
    frame.paste(large)
    epoch = int(path.stem.rpartition("-")[2])
    ImageDraw.Draw(frame).text((6, large.height + 4), f"epoch {epoch}", fill="black", font_size=14)
    return frame
