"""Writing of files that are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from detectron2.utils.atomic import atomic_write


def test_content_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with atomic_write(str(path), "w") as file:
        file.write("ü")
        assert path.read_text() == "old"
    assert path.read_text(encoding="utf-8") == "ü"
    assert list(tmp_path.iterdir()) == [path]


def test_the_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    with atomic_write(str(path)) as file:
        file.write(b"1")
    assert path.read_bytes() == b"1"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def fail_in_the_middle() -> None:
        with atomic_write(str(path)) as file:
            file.write(b"half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail_in_the_middle()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_writers_side_by_side_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with atomic_write(str(path)) as first, atomic_write(str(path)) as second:
        first.write(b"first")
        second.write(b"2")
    # The outer one ends last.
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]
