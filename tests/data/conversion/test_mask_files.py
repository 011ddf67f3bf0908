"""Mask files that do not fit are left out, each with a note that says why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from converted_sets import save_image

from seg_projects.data.conversion import READERS, ConversionLog, ReaderOptions
from seg_projects.data.conversion.coco_panoptic import write_png

GREY = np.zeros((4, 6), dtype=np.uint8)
COLOURED = np.stack([GREY, GREY + 1, GREY], axis=2)
UNFIT = [
    ("two-channels", lambda path: write_png(path, GREY), "mask of one channel: 1"),
    ("two-channels", lambda path: write_png(path, COLOURED[:3]), "(3, 6) pixels, the image has (4"),
    ("two-channels", lambda path: path.write_bytes(b"no PNG"), "unreadable mask: 1"),
    ("instance-maps", lambda path: write_png(path, COLOURED), "coloured mask: 1"),
    ("instance-maps", lambda path: write_png(path, GREY[:, :5]), "(4, 5) pixels, the image has (4"),
    ("instance-maps", lambda path: path.write_bytes(b"no PNG"), "unreadable mask: 1"),
]


@pytest.mark.parametrize(("kind", "write", "note"), UNFIT)
def test_a_mask_that_does_not_fit_is_left_out(
    kind: str, write: Callable[[Path], object], note: str, tmp_path: Path
) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    save_image(tmp_path / "images" / "a.png", 6, 4)
    (tmp_path / "names.json").write_text(json.dumps({"1": "cat"}))
    write(tmp_path / "masks" / "a.png")
    log = ConversionLog()
    options = ReaderOptions(
        images=tmp_path / "images", names=tmp_path / "names.json", default_label="cat"
    )
    assert list(READERS[kind](tmp_path / "masks", options, log)) == []
    assert note in log.table()
