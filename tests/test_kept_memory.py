"""Memory that a process keeps when it is freed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mnistvae import devices
from mnistvae.errors import SettingError

#: Frees and asks for 80 MB ten times, in blocks of 16; prints what was set, and the pages that the system gave.
#: It begins with glibc's own thresholds, fixed: glibc moves them by itself, and the heap's layout, another one in each
#: process, can hold freed memory up by chance.
PROGRAM = """
import ctypes, resource, sys, torch
from mnistvae.devices import keep_freed_memory
mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
for threshold in (-1, -3) if mallopt else ():  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
    mallopt(threshold, 128 * 1024)
print(sys.argv[1] == "kept" and keep_freed_memory())
for turn in range(13):
    if turn == 3:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(4_000_000) for _ in range(5)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(how: str, **variables: str) -> tuple[bool, int]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), **variables}
    command = [sys.executable, "-c", PROGRAM, how]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)  # noqa: S603
    was_set, pages = done.stdout.split()
    return was_set == "True", int(pages)


@pytest.mark.skipif(
    not hasattr(os, "confstr") or "glibc" not in (os.confstr("CS_GNU_LIBC_VERSION") or ""), reason="glibc's"
)
def test_memory_that_is_kept_is_not_asked_for_again():
    (_, returned), (was_set, kept) = run("returned"), run("kept")
    assert was_set
    assert returned > 10_000  # 80 MB have 20,000 pages
    assert kept < returned / 10


def test_a_choice_of_the_users_is_left_as_it_is():
    assert run("kept", MALLOC_TRIM_THRESHOLD_="1000000")[0] is False


def test_other_systems_have_no_such_setting(monkeypatch):
    monkeypatch.setattr(devices.sys, "platform", "darwin")
    assert devices.keep_freed_memory() is False


@pytest.mark.parametrize("limit", [-1, 1.5, 1 << 31, "much"])
def test_a_limit_is_a_number_of_bytes(limit):
    with pytest.raises(SettingError, match="limit as a number of bytes of at least 0"):
        devices.keep_freed_memory(limit)
