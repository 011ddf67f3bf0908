"""There and back: COCO panoptic, COCO instances, label maps, two channels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_runs import tool_main

from seg_projects.data.panoptic_ids import read_panoptic_ids

SAMPLE = Path("panopticapi_sample") / "sample_data"


def _convert(tool: str, source: Path, output: Path, *options: str | Path) -> Path:
    arguments = [tool, str(source), "--output", str(output), *map(str, options)]
    assert tool_main("convert")(arguments) == 0
    return output / "train.json"


def _pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def _segments(json_file: Path, masks: Path) -> dict[str, set[tuple[int, int, bytes]]]:
    """By file name: category, crowd and pixels of each segment."""
    content = json.loads(json_file.read_text())
    return {
        a["file_name"]: {
            (s["category_id"], s["iscrowd"], np.packbits(ids == s["id"]).tobytes())
            for s in a["segments_info"]
        }
        for a in content["annotations"]
        for ids in (read_panoptic_ids(masks / a["file_name"]),)
    }


@pytest.fixture
def sample(shared_data: Path) -> dict[str, Any]:
    """Panopticapi's own pair of formats."""
    folder = shared_data / SAMPLE
    return {
        "json": folder / "panoptic_examples.json",
        "masks": folder / "panoptic_examples",
        "channels": folder / "panoptic_examples_2ch_format",
        "images": ("--images", folder / "input_images"),
        "categories": shared_data / "panopticapi_sample" / "panoptic_coco_categories.json",
    }


def test_two_channels_are_those_of_panopticapi(sample: dict[str, Any], tmp_path: Path) -> None:
    _convert("coco-panoptic", sample["json"], tmp_path, *sample["images"], "--to", "two-channels")
    files = sorted((tmp_path / "train_masks").iterdir())
    assert len(files) == 2
    for file in files:
        assert np.array_equal(_pixels(file), _pixels(sample["channels"] / file.name))


def test_two_channels_become_the_same_segments(sample: dict[str, Any], tmp_path: Path) -> None:
    options = (*sample["images"], "--categories", sample["categories"])
    written = _convert("two-channels", sample["channels"], tmp_path, *options)
    expected = _segments(sample["json"], sample["masks"])
    assert _segments(written, tmp_path / "train_masks") == expected


def test_things_survive_instances(sample: dict[str, Any], tmp_path: Path) -> None:
    options = (*sample["images"], "--to", "instances")
    instances = _convert("coco-panoptic", sample["json"], tmp_path / "instances", *options)
    images = ("--images", tmp_path / "instances" / "train")
    back = _convert("coco-instances", instances, tmp_path / "back", *images)
    content = json.loads(sample["json"].read_text())
    things = {c["id"] for c in content["categories"] if c["isthing"]}
    expected = {
        name: {s for s in segments if s[0] in things}
        for name, segments in _segments(sample["json"], sample["masks"]).items()
    }
    assert _segments(back, tmp_path / "back" / "train_masks") == expected


def test_classes_survive_label_maps(sample: dict[str, Any], tmp_path: Path) -> None:
    options = (*sample["images"], "--to", "label-maps")
    _convert("coco-panoptic", sample["json"], tmp_path / "maps", *options)
    classes = tmp_path / "maps" / "train_classes.txt"
    options = ("--images", tmp_path / "maps" / "train", "--names", classes)
    known = ("--categories", sample["json"])
    masks = tmp_path / "maps" / "train_masks"
    back = _convert("label-maps", masks, tmp_path / "back", *options, *known)
    before = _segments(sample["json"], sample["masks"])
    after = _segments(back, tmp_path / "back" / "train_masks")
    assert after.keys() == before.keys() != set()
    for name, segments in after.items():
        merged: dict[int, np.ndarray] = {}
        for category, _, bits in before[name]:
            pixels = np.frombuffer(bits, np.uint8)
            merged[category] = merged.get(category, np.zeros_like(pixels)) | pixels
        assert {(c, p.tobytes()) for c, p in merged.items()} == {(c, p) for c, _, p in segments}


def test_too_many_objects_for_a_channel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    Image.new("L", (300, 1)).save(tmp_path / "images" / "a.png")
    numbers = np.arange(1, 301, dtype=np.uint16)[None]
    Image.fromarray(numbers).save(tmp_path / "masks" / "a.png")
    arguments = ["instance-maps", tmp_path / "masks", "--output", tmp_path / "out"]
    arguments += ["--images", tmp_path / "images", "--default-label", "cell", "--things", "cell"]
    assert tool_main("convert")([*map(str, arguments), "--to", "two-channels"]) == 2
    assert "a.png has more than 255 objects of 'cell'" in capsys.readouterr().err
