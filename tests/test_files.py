"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from half_written import start_writing

from seg_projects import files
from seg_projects.files import (
    copy_atomically,
    read_figures,
    remove_stale_files,
    scratch_folder,
    write_atomically,
    write_json,
)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def test_undefined_figures_are_null_in_the_file_and_nan_again_when_read(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    write_json(path, {"segm": {"AP": np.float64(np.nan), "AP50": 1.5}, "rows": ({"PQ": math.inf},)})
    content = json.loads(path.read_text(), parse_constant=_refuse)
    assert content == {"segm": {"AP": None, "AP50": 1.5}, "rows": [{"PQ": None}]}
    figures = read_figures(path)
    assert math.isnan(figures["segm"]["AP"])
    assert figures["segm"]["AP50"] == 1.5


def test_figures_of_files_that_hold_nan_itself_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text('{"segm": {"AP": NaN}}')
    assert math.isnan(read_figures(path)["segm"]["AP"])


def test_outer_entries_have_lines_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "panoptic.json"
    content = {
        "info": {},
        "sizes": [1, 2],
        "names": {7: "a", "b\n": {"c": {"d": 1.5}}},
        "rows": [{"id": 1, "segments": [{"id": 2}]}, {"id": 3, "segments": []}],
    }
    write_json(path, content)
    assert json.loads(path.read_text()) == json.loads(json.dumps(content))
    assert path.read_text().splitlines() == [
        "{",
        ' "info": {},',
        ' "sizes": [1, 2],',
        ' "names": {',
        '  "7": "a",',
        '  "b\\n": {"c": {"d": 1.5}}',
        " },",
        ' "rows": [',
        '  {"id": 1, "segments": [{"id": 2}]},',
        '  {"id": 3, "segments": []}',
        " ]",
        "}",
    ]


def test_what_a_killed_process_has_left_is_removed_and_a_running_ones_file_is_not(
    tmp_path: Path,
) -> None:
    (tmp_path / ".mine.tmp").write_text("not ours")
    with start_writing(tmp_path / "model.pth") as process:
        (temporary,) = tmp_path.glob(".model.pth.*.tmp")
        assert remove_stale_files(tmp_path) == []
        process.kill()
        process.wait()
    assert temporary.read_bytes() == b"half"
    assert remove_stale_files(tmp_path) == [temporary]
    assert [path.name for path in tmp_path.iterdir()] == [".mine.tmp"]


def test_a_file_taken_for_a_stale_one_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, calls = files._lock, []

    def lock_too_late(file: BinaryIO, *, wait: bool) -> bool:
        calls.append(file.name)
        if len(calls) == 1:
            Path(file.name).unlink()
        return lock(file, wait=wait)

    monkeypatch.setattr(files, "_lock", lock_too_late)
    write_atomically(tmp_path / "model.pth", b"all")
    assert len(calls) == 2
    assert (tmp_path / "model.pth").read_bytes() == b"all"


def test_copies_appear_whole_and_leave_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"all")
    copy_atomically(tmp_path / "a", tmp_path / "b")
    with pytest.raises(FileNotFoundError):
        copy_atomically(tmp_path / "gone", tmp_path / "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert (tmp_path / "b").read_bytes() == b"all"


def test_a_finished_file_is_renamed_while_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, found = Path.replace, []

    def remove_before(path: Path, target: Path) -> Path:
        found.extend(remove_stale_files(tmp_path))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", remove_before)
    write_atomically(tmp_path / "a", b"all")
    copy_atomically(tmp_path / "a", tmp_path / "b")
    assert found == []
    assert (tmp_path / "b").read_bytes() == b"all"


def test_folders_below_are_looked_into_where_asked_and_links_are_not(tmp_path: Path) -> None:
    name = f".a.png.{'0' * 32}.tmp"
    for folder in ("set/train", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / name).write_text("half")
    (tmp_path / "set" / "link").symlink_to(tmp_path / "elsewhere")
    assert remove_stale_files(tmp_path / "set") == []
    assert remove_stale_files(tmp_path / "set", below=True) == [tmp_path / "set/train" / name]
    assert (tmp_path / "elsewhere" / name).is_file()
    assert remove_stale_files(tmp_path / "nowhere", below=True) == []


def test_scratch_folder_is_safe_while_it_is_used(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "set") as scratch:
        (scratch / "part").write_text("half")
        assert remove_stale_files(tmp_path) == []
        assert (scratch / "part").is_file()
    assert list(tmp_path.iterdir()) == []


def test_scratch_folder_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    scratch = tmp_path / f".set.{'0' * 32}.tmp"
    (scratch / "fresh").mkdir(parents=True)
    assert remove_stale_files(tmp_path) == [scratch]
    assert list(tmp_path.iterdir()) == []
