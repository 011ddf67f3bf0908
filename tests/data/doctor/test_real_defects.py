"""Defects planted in copies of real data sets: each one is found, and nothing but it."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_runs import tool_main

from seg_projects.data.doctor import inspect_data
from seg_projects.data.panoptic_ids import read_panoptic_ids, rgb_from_ids

Content = dict[str, Any]
Plant = Callable[[Content, Path], object]


@pytest.fixture
def fruits(shared_data: Path, tmp_path: Path) -> tuple[Content, Path]:
    """Two photographs of fruits with their polygons; one has the id 0."""
    source = shared_data / "fruits_nuts" / "data"
    return _copied(source / "trainval.json", source / "images", tmp_path), tmp_path


@pytest.fixture
def street(shared_data: Path, tmp_path: Path) -> tuple[Content, Path]:
    """Two COCO photographs with their segments."""
    source = shared_data / "coco_panoptic"
    masks = source / "annotations" / "panoptic_val2017"
    content = _copied(masks.with_suffix(".json"), source / "val2017", tmp_path)
    (tmp_path / "masks").mkdir()
    for annotation in content["annotations"]:
        shutil.copy(masks / annotation["file_name"], tmp_path / "masks")
    return content, tmp_path


def _copied(path: Path, images: Path, folder: Path, count: int = 2) -> Content:
    content: Content = json.loads(path.read_text())
    content["images"] = sorted(content["images"], key=lambda image: image["id"])[:count]
    ids = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in ids]
    (folder / "images").mkdir()
    for image in content["images"]:
        image["file_name"] = Path(image["file_name"]).name
        shutil.copy(images / image["file_name"], folder / "images")
    return content


def _found(content: Content, folder: Path, **options: Any) -> set[str]:
    found = inspect_data(content, folder / "images", folder / "masks", workers=1, **options)
    return {finding.kind for finding in found}


def _file(content: Content, folder: Path) -> Path:
    return folder / "images" / content["images"][0]["file_name"]


def _truncate(content: Content, folder: Path) -> None:
    path = _file(content, folder)
    path.write_bytes(path.read_bytes()[:-2000])


def _turn_by_exif(content: Content, folder: Path) -> None:
    path = _file(content, folder)
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(path) as image:
        image.load()
        image.save(path, exif=exif, quality=95)


def _shrink(content: Content, folder: Path) -> None:
    path = _file(content, folder)
    with Image.open(path) as image:
        small = image.resize((image.width // 2, image.height // 2))
    small.save(path)


def _add_copy(change: Callable[[Image.Image], Image.Image] | None) -> Plant:
    """A third image, a copy of the first one, with its annotations."""

    def plant(content: Content, folder: Path) -> None:
        path, first = _file(content, folder), content["images"][0]
        target = path.with_name(f"copy{path.suffix}")
        shutil.copy(path, target)
        if change is not None:
            with Image.open(path) as image:
                image.load()
                change(image).save(target, quality=70)
        with Image.open(target) as image:
            size = {"height": image.height, "width": image.width}
        content["images"].append({**first, **size, "id": 10**6, "file_name": target.name})

    return plant


def _change(part: str, **values: Any) -> Plant:
    return lambda content, folder: content[part][0].update(values)


def _repeat(part: str, **values: Any) -> Plant:
    return lambda content, folder: content[part].append(copy.deepcopy(content[part][0]) | values)


def _segment(**values: Any) -> Plant:
    return lambda content, folder: content["annotations"][0]["segments_info"][0].update(values)


def _box_beyond(content: Content, folder: Path) -> None:
    annotation, image = content["annotations"][0], content["images"][0]
    x, y, width, height = annotation["bbox"]
    annotation["bbox"] = [x - image["width"], y, width + image["width"], height]


def _erase_segment(content: Content, folder: Path) -> None:
    """In the PNG alone."""
    annotation = content["annotations"][0]
    path = folder / "masks" / annotation["file_name"]
    ids = read_panoptic_ids(path).copy()
    ids[ids == annotation["segments_info"][0]["id"]] = 0
    Image.fromarray(rgb_from_ids(ids)).save(path)


def _wrong_isthing(content: Content, folder: Path) -> None:
    things = {c["id"]: c["isthing"] for c in content["categories"]}
    segment = content["annotations"][0]["segments_info"][0]
    segment["isthing"] = 1 - things[segment["category_id"]]


def _shift_overlap(content: Content, folder: Path) -> None:
    """The first object again, moved by a tenth of its width, as another class."""
    first = content["annotations"][0]
    shift = first["bbox"][2] / 10
    moved = copy.deepcopy(first)
    moved |= {"id": 10**6, "category_id": content["categories"][-1]["id"]}
    if moved["category_id"] == first["category_id"]:
        moved["category_id"] = content["categories"][0]["id"]
    moved["bbox"][0] += shift
    moved["segmentation"] = [
        [v + shift * (i % 2 == 0) for i, v in enumerate(p)] for p in moved["segmentation"]
    ]
    content["annotations"].append(moved)


OF_IMAGES: list[tuple[str, Plant]] = [
    ("missing image", lambda c, f: _file(c, f).unlink()),
    ("unreadable image", lambda c, f: _file(c, f).write_bytes(b"\x00" * 100)),
    ("truncated image", _truncate),
    ("size mismatch", _shrink),
    ("size before EXIF rotation", _turn_by_exif),
    ("malformed image record", _change("images", width=None)),
    ("duplicate image id", _repeat("images", file_name="none.jpg")),
    ("duplicate image", _add_copy(None)),
    ("near-duplicate image", _add_copy(lambda i: i.resize((i.width // 2, i.height // 2)))),
]
OF_OBJECTS: list[tuple[str, Plant]] = [
    *OF_IMAGES,
    ("unknown category", _change("annotations", category_id=10**6)),
    ("annotation without image", _change("annotations", image_id=10**6)),
    (
        "duplicate annotation id",
        lambda c, f: c["annotations"][1].update(id=c["annotations"][0]["id"]),
    ),
    ("duplicate annotation", _repeat("annotations", id=10**6)),
    ("overlapping annotations", _shift_overlap),
    ("box outside image", _box_beyond),
    ("malformed box", _change("annotations", bbox=[10, 10, 0, 5])),
    ("wrong area", _change("annotations", area=3)),
    ("degenerate polygon", _change("annotations", segmentation=[[10, 10, 60, 60, 110, 110]])),
    ("empty mask", _change("annotations", segmentation=[[10.1, 10.1, 10.2, 10.1, 10.2, 10.2]])),
    ("duplicate category id", lambda c, f: c["categories"][1].update(id=c["categories"][0]["id"])),
]
OF_SEGMENTS: list[tuple[str, Plant]] = [
    *OF_IMAGES[:3],
    ("missing PNG", lambda c, f: (f / "masks" / c["annotations"][0]["file_name"]).unlink()),
    ("segment not in PNG", _erase_segment),
    ("segment not in JSON", lambda c, f: c["annotations"][0]["segments_info"].pop()),
    ("segment id out of range", _segment(id=0)),
    ("unknown category", _segment(category_id=10**6)),
    ("wrong segment area", _segment(area=3)),
    ("wrong segment box", _segment(bbox=[0, 0, 1, 1])),
    ("contradicting isthing", _wrong_isthing),
    ("image without annotation", lambda c, f: c["annotations"].pop()),
]
# What follows from the planted defect itself.
ALSO = {
    "duplicate image id": {"duplicate image id", "missing image"},
    "box outside image": {"box outside image", "box differs from mask"},
    "segment id out of range": {
        *("segment id out of range", "segment not in PNG", "segment not in JSON")
    },
    "duplicate category id": {"duplicate category id", "unknown category"},
    "empty mask": {"empty mask"},
}


@pytest.mark.parametrize(("kind", "plant"), OF_OBJECTS)
def test_defect_of_fruits_is_found(fruits: tuple[Content, Path], kind: str, plant: Plant) -> None:
    content, folder = fruits
    plant(content, folder)
    assert _found(content, folder, num_classes=3) == ALSO.get(kind, {kind})


@pytest.mark.parametrize(("kind", "plant"), OF_SEGMENTS)
def test_defect_of_street_scenes_is_found(
    street: tuple[Content, Path], kind: str, plant: Plant
) -> None:
    content, folder = street
    plant(content, folder)
    assert _found(content, folder, num_classes=80) == ALSO.get(kind, {kind})


def test_copies_without_defects_are_silent(fruits: tuple[Content, Path], tmp_path: Path) -> None:
    content, folder = fruits
    assert _found(content, folder, num_classes=3) == set()
    assert _found(content, folder, num_classes=4) == {"class count"}
    assert _found(content, folder, other=(content, folder / "images")) == {"image in two splits"}


def test_segments_without_defects_are_silent(street: tuple[Content, Path]) -> None:
    content, folder = street
    assert _found(content, folder, num_classes=80) == set()
    assert "more instances than the divisor" in _found(content, folder, divisor=2)


def _image_of(path: Path) -> Path:
    return path.parent.with_name("val") / path.name


def _blacken(path: Path) -> None:
    values = np.asarray(Image.open(path)).copy()
    values[values == 1] = 77
    Image.fromarray(values).save(path)


@pytest.mark.parametrize(
    ("kind", "plant"),
    [
        (None, lambda path: None),
        ("missing label map", lambda path: path.unlink()),
        ("missing image", lambda path: path.with_stem("another").write_bytes(path.read_bytes())),
        ("duplicate file name", lambda path: shutil.copy(path, path.with_suffix(".bmp"))),
        ("unreadable image", lambda path: _image_of(path).write_text("no image")),
        ("label value without class", _blacken),
        ("label map of another size", lambda path: Image.open(path).reduce(2).save(path)),
        ("unreadable label map", lambda path: path.write_text("no image")),
    ],
)
def test_defect_of_camvid_is_found(
    shared_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str | None,
    plant: Callable[[Path], object],
) -> None:
    source = shared_data / "camvid" / "CamVid"
    for folder in ("val", "valannot"):
        (tmp_path / folder).mkdir()
        for path in sorted((source / folder).iterdir())[::6]:
            shutil.copy(path, tmp_path / folder)
    plant(sorted((tmp_path / "valannot").iterdir())[0])
    folders = [str(tmp_path / "val"), "--labels", str(tmp_path / "valannot")]
    page = tmp_path / "page.html"
    arguments = [*folders, "--num-classes", "12", "--html", str(page)]
    assert tool_main("inspect_data")(arguments) == int(kind is not None)
    printed = capsys.readouterr().out
    assert (kind or "No defects found.") in printed
    assert "class 3" in page.read_text()


def test_membrane_read_as_classes_is_found(
    shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # 255 is the inside of the cells, not what does not count.
    source = shared_data / "membrane" / "train"
    folders = [str(source / "image"), "--labels", str(source / "label")]
    other = ["--against-images", str(shared_data / "fruits_nuts" / "data" / "images")]
    assert tool_main("inspect_data")([*folders, *other, "--num-classes", "2"]) == 0
    printed = capsys.readouterr().out
    assert "VALUE_MAP {0: 0, 255: 1}" in printed
    assert "duplicate" not in printed
