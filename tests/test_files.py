"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from seg_projects.files import read_figures, write_json


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
