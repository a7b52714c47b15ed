"""What a machine says of itself, on this one and on trees laid out as a Jetson's are."""

import os
from pathlib import Path

import psutil
import pytest

from palijet.jetson.board import read_board

ORIN_RELEASE = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8\n"


@pytest.fixture
def orin(tmp_path: Path) -> Path:
    """An Orin Nano's files, as Jetson Linux 36.4.3 has them."""
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "proc/device-tree/model").write_text("NVIDIA Jetson Orin Nano Developer Kit\0")
    (tmp_path / "proc/cpuinfo").write_text("".join(f"processor\t: {core}\nCPU part\t: 0xd42\n\n" for core in range(6)))
    (tmp_path / "proc/meminfo").write_text("MemTotal:        7802208 kB\nMemFree:  1 kB\n")
    (tmp_path / "etc/nv_tegra_release").write_text(ORIN_RELEASE)
    return tmp_path


def test_a_jetson_names_its_board_and_release(orin: Path) -> None:
    board = read_board(orin)
    assert board.name == "NVIDIA Jetson Orin Nano Developer Kit"
    assert (board.cores, board.memory_bytes, board.l4t) == (6, 7802208 * 1024, "36.4.3")
    assert str(board) == "NVIDIA Jetson Orin Nano Developer Kit, 6 cores, 7 GiB, L4T 36.4.3"


def test_this_machine_is_named_as_psutil_counts_it() -> None:
    board = read_board()
    assert board.cores == os.cpu_count()
    assert board.memory_bytes == psutil.virtual_memory().total
    assert board.name


def test_a_machine_that_says_nothing_still_has_a_name(tmp_path: Path) -> None:
    board = read_board(tmp_path)
    assert board.name
    assert board.l4t is None
    assert board.memory_bytes == 0
