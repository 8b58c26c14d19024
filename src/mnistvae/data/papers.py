"""The pixels that papers compare on, from files that their authors published: Larochelle's MNIST, and OMNIGLOT."""

from __future__ import annotations

import hashlib
import warnings
from functools import partial
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnistvae.data.dataset import ImageDataset
from mnistvae.data.files import errors_name
from mnistvae.errors import DatasetNotFoundError, FileFormatError

__all__ = ["PAPERS", "read_amat", "read_chardata", "read_papers"]

_SIDE = 28
_PIXELS = _SIDE**2
_LARGEST_LINE = 4 * _PIXELS


class Published(NamedTuple):
    """Files that somebody published."""

    #: Name of the file of each split.
    files: dict[str, str]
    #: Folder under the root that they lie in, if not in the root itself.
    folder: str
    #: Page that they are published on.
    page: str


#: The sets of this module by name.
PAPERS = MappingProxyType(
    {
        "mnist-larochelle": Published(
            {
                "train": "binarized_mnist_train.amat",
                "validation": "binarized_mnist_valid.amat",
                "test": "binarized_mnist_test.amat",
            },
            "binarized_mnist",
            "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist",
        ),
        "omniglot-28": Published(
            {"train": "chardata.mat", "test": "chardata.mat"},
            "OMNIGLOT",
            "https://github.com/yburda/iwae/tree/master/datasets/OMNIGLOT",
        ),
    }
)
#: Digests of the published files: SHA-256 as TensorFlow Datasets has it (datasets/binarized_mnist/checksums.tsv), or
#: the SHA-1 under which git keeps a file (`git hash-object FILE`), in commit 78a6075 of github.com/yburda/iwae.
_DIGESTS = {
    "binarized_mnist_train.amat": "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
    "binarized_mnist_valid.amat": "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
    "binarized_mnist_test.amat": "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
    "chardata.mat": "016a3536ffe5e1d38e42563a18d7a78bfaf643ec",
}


def read_papers(name: str, split: str, root: Path) -> ImageDataset:
    """A split of one of the sets in :data:`PAPERS`, from its file under a folder.

    Args:
        name: Name of the set.
        split: One of its splits.
        root: Folder that has the file, or has its folder.

    Raises:
        DatasetNotFoundError: If the file is not there.
        FileFormatError: If it is damaged, or of another kind.

    Warns:
        UserWarning: If it is not the file that was published.
    """
    known = PAPERS[name]
    file = known.files[split]
    try:
        path = next((one for one in (root / known.folder / file, root / file) if one.is_file()), None)
    except (OSError, ValueError) as error:
        raise DatasetNotFoundError(f"a folder of data sets, {root}", str(error), "check the path") from None
    if path is None:
        names = ", ".join(dict.fromkeys(known.files.values()))
        raise DatasetNotFoundError(
            f"the data set {name!r} under {root}",
            f"no file {file} in {root / known.folder} or {root}, and this set is not downloaded",
            f"get {names} from {known.page}, into the folder {known.folder} under `root` (or MNISTVAE_DATA)",
        )
    data = read_amat(path) if name == "mnist-larochelle" else read_chardata(path, split)
    _warn_of_another(path, known.page)
    return data.replace(name=name, split=split)


def read_amat(path: str | PathLike[str]) -> ImageDataset:
    """Black and white images from a text file of Larochelle's: a line an image, 784 times 0 or 1 with spaces between.

    The images have ``binarization="larochelle"`` and no labels.

    Args:
        path: Path of the file, .amat.

    Raises:
        DatasetNotFoundError: If there is no such file.
        FileFormatError: If a line is another one.
    """
    path = Path(path)
    rows: list[bytes] = []
    spaces = b" " * (_PIXELS - 1)
    with errors_name(path), path.open("rb") as stream:
        for line in iter(partial(stream.readline, _LARGEST_LINE), b""):
            text = line.rstrip()
            digits = text[::2]
            if len(digits) != _PIXELS or text[1::2] != spaces or digits.strip(b"01"):
                expected = f"{_PIXELS} values, 0 or 1, with a space between two, in line {len(rows) + 1} of {path}"
                raise FileFormatError(expected, _what(text), "copy the file again")
            rows.append(digits)
    if not rows:
        raise FileFormatError(f"a line for each image in {path}", "an empty file", "copy it again")
    pixels = (np.frombuffer(b"".join(rows), np.uint8) & 1) * np.uint8(255)
    images = pixels.reshape(-1, _SIDE, _SIDE)
    return ImageDataset(images, max_value=255, name=path.stem, binarization="larochelle")


def _what(text: bytes) -> str:
    """A line that is no image, in a few words."""
    values = text.split()
    other = next((value for value in values if value not in {b"0", b"1"}), None)
    if len(text) >= _LARGEST_LINE - 1:
        return f"a line of {_LARGEST_LINE:,} characters or more"
    if other is not None:
        return f"{repr(other[:20])[1:]} among them"
    return f"{len(values)} values" if len(values) != _PIXELS else "other marks between them"


def read_chardata(path: str | PathLike[str], split: str = "train") -> ImageDataset:
    """OMNIGLOT at 28 x 28 from the MATLAB file of Burda et al., in grey, with the number of its alphabet as label.

    The file has an image in each column of ``data`` (784, 24345) and of ``testdata`` (784, 8070), column after column
    as MATLAB has it, in [0, 1]; ``target`` and ``testtarget`` (50, N) have a one for the alphabet.

    Args:
        path: Path of the file, chardata.mat.
        split: "train" or "test".

    Raises:
        DatasetNotFoundError: If there is no such file.
        FileFormatError: If it holds other arrays, or is damaged.

    References:
        Burda, Grosse and Salakhutdinov (2016), "Importance Weighted Autoencoders"; `datasets.py` of their code.
    """
    from scipy.io import loadmat, whosmat

    path = Path(path)
    names = ("testdata", "testtarget") if split == "test" else ("data", "target")
    with errors_name(path):
        shapes = {name: tuple(shape) for name, shape, _ in whosmat(path)}
        pixels, alphabets = (shapes.get(name, ()) for name in names)
        fits = len(pixels) == len(alphabets) == 2 and pixels[0] == _PIXELS and pixels[1] == alphabets[1]
        if not fits:
            got = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "none"
            expected = f"arrays {names[0]} ({_PIXELS}, N) and {names[1]} (K, N) in {path}"
            raise FileFormatError(expected, got, "copy the file again")
        arrays: dict[str, NDArray[Any]] = loadmat(path, variable_names=names)
        upright = arrays[names[0]].T.reshape(-1, _SIDE, _SIDE).transpose(0, 2, 1)
        return ImageDataset(upright, arrays[names[1]].T, max_value=1, name=path.stem, split=split)


def _warn_of_another(path: Path, page: str) -> None:
    """Warn of a file that is not the one that was published."""
    known = _DIGESTS[path.name]
    with path.open("rb") as stream:
        if len(known) == 64:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        else:
            head = f"blob {path.stat().st_size}\0".encode()
            found = hashlib.file_digest(stream, lambda: hashlib.sha1(head, usedforsecurity=False)).hexdigest()
    if found != known:
        warnings.warn(
            f"{path} is not the file of the papers: its checksum is {found[:12]}..., that of {path.name} on {page} is "
            f"{known[:12]}...; figures of its images cannot be compared with theirs",
            stacklevel=4,
        )
