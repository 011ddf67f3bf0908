"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from seg_projects import files
from seg_projects.files import read_figures, remove_stale_files, write_atomically, write_json


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


def _start_writing(path: Path) -> subprocess.Popen[str]:
    """A process that has begun to write ``path`` and goes no further."""
    program = (
        "import pathlib, sys, time\n"
        "from seg_projects.files import open_atomically\n"
        "with open_atomically(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); print('writing', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def test_what_a_killed_process_has_left_is_removed_and_a_running_ones_file_is_not(
    tmp_path: Path,
) -> None:
    (tmp_path / ".mine.tmp").write_text("not ours")
    with _start_writing(tmp_path / "model.pth") as process:
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
