"""Writing files: links are followed, what is no file is left alone, a failure takes nothing away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mnistvae._files import output_folder, write_atomically
from mnistvae.errors import OutputError


def write_and_fail(folder: Path) -> None:
    (folder / "kept").touch()
    raise KeyError


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes of this kind")
def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="got a device or pipe: choose another name"):
        write_atomically(tmp_path / "pipe", b"new")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_name_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="choose another"):
        write_atomically(tmp_path / name, b"new")
    assert list(tmp_path.iterdir()) == []


def test_the_mode_is_kept_and_new_files_are_as_open_makes_them(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "new", b"")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "plain").chmod(0o640)
    write_atomically(tmp_path / "plain", b"more")
    assert (tmp_path / "plain").stat().st_mode & 0o777 == 0o640


def test_a_folder_made_for_a_block_that_fails_goes_again_if_it_is_empty(tmp_path: Path) -> None:
    with pytest.raises(KeyError), output_folder(None, tmp_path, "run"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyError), output_folder(None, tmp_path, "run") as folder:
        write_and_fail(folder)
    assert [path.name for path in folder.iterdir()] == ["kept"]
    (tmp_path / "there").mkdir()
    with pytest.raises(KeyError), output_folder(tmp_path / "there", tmp_path, "run"):
        raise KeyError
    assert (tmp_path / "there").is_dir()


def test_two_folders_asked_for_in_one_second_differ(tmp_path: Path) -> None:
    with output_folder(None, tmp_path, "run") as first, output_folder(None, tmp_path, "run") as second:
        assert first != second
        assert first.is_dir()
        assert second.is_dir()
