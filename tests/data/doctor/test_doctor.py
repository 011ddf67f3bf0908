"""Each kind of defect, planted alone in clean data, is found; clean data have none."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from converted_sets import save_image
from PIL import Image
from tiny_runs import tool_main

from seg_projects.data.conversion.coco_instances import expand_counts
from seg_projects.data.conversion.coco_panoptic import write_png
from seg_projects.data.datasets.semantic import load_semantic_records
from seg_projects.data.doctor import (
    KINDS,
    data_statistics,
    findings_table,
    inspect_data,
    inspect_label_maps,
    match_label_maps,
    read_annotations,
)
from seg_projects.data.label_maps import class_table
from seg_projects.data.panoptic_ids import rgb_from_ids
from seg_projects.errors import UserError

Content = dict[str, Any]
Plant = Callable[[Content, Path], object]

SQUARE = [2, 2, 6, 2, 6, 6, 2, 6]
IDS = np.zeros((10, 12), dtype=np.int32)
IDS[2:6, 2:6], IDS[8:] = 300, 7


def _set(*path: Any) -> Plant:
    """Sets the last of ``path`` at the place that the others lead to."""

    def plant(content: Content, folder: Path) -> None:
        place: Any = content
        for key in path[:-2]:
            place = place[key]
        place[path[-2]] = path[-1]

    return plant


def _append(*path: Any, **changes: Any) -> Plant:
    """Appends a changed copy of the first record of the list that ``path`` leads to."""

    def plant(content: Content, folder: Path) -> None:
        place: Any = content
        for key in path:
            place = place[key]
        place.append(copy.deepcopy(place[0]) | changes)

    return plant


def _image(**options: Any) -> Plant:
    """Writes the image anew."""
    size = options.pop("size", (12, 10))
    return lambda content, folder: save_image(folder / "images" / "a.jpg", *size, **options)


def _bytes(name: str, change: Callable[[bytes], bytes]) -> Plant:
    def plant(content: Content, folder: Path) -> None:
        path = folder / name
        path.write_bytes(change(path.read_bytes()))

    return plant


def _png(pixels: np.ndarray) -> Plant:
    return lambda content, folder: write_png(folder / "masks" / "a.png", pixels)


def _rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two different images and a PNG."""
    for name in ("a", "b"):
        pixels = np.random.default_rng(ord(name)).integers(0, 255, (10, 12, 3), dtype=np.uint8)
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{name}.jpg")
        write_png(tmp_path / "masks" / f"{name}.png", rgb_from_ids(IDS))
    return tmp_path


def _images() -> list[Content]:
    return [
        {"id": i, "file_name": f"{name}.jpg", "height": 10, "width": 12}
        for i, name in enumerate("ab")
    ]


def _instances() -> Content:
    runs = {"size": [10, 12], "counts": [22, 4, 6, 4, 6, 4, 6, 4, 64]}
    shared = {"category_id": 1, "iscrowd": 0, "area": 16, "bbox": [2, 2, 4, 4]}
    annotations = [
        {"id": 1, "image_id": 0, "segmentation": [list(SQUARE)], **shared},
        {"id": 2, "image_id": 1, "segmentation": runs, **shared},
    ]
    categories = [{"id": 1, "name": "cat"}]
    return {"images": _images(), "annotations": annotations, "categories": categories}


def _panoptic() -> Content:
    segments = [
        {"id": 300, "category_id": 1, "iscrowd": 0, "area": 16, "bbox": [2, 2, 4, 4]},
        {"id": 7, "category_id": 2, "iscrowd": 0, "area": 24, "bbox": [0, 8, 12, 2]},
    ]
    annotations = [
        {"image_id": i, "file_name": f"{name}.png", "segments_info": copy.deepcopy(segments)}
        for i, name in enumerate("ab")
    ]
    categories = [{"id": 1, "name": "cat", "isthing": 1}, {"id": 2, "name": "sky", "isthing": 0}]
    return {"images": _images(), "annotations": annotations, "categories": categories}


def _kinds(content: Content, folder: Path, **options: Any) -> set[str]:
    found = inspect_data(content, folder / "images", folder / "masks", workers=1, **options)
    return {finding.kind for finding in found}


@pytest.mark.parametrize("content", [_instances(), _panoptic()], ids=["instances", "panoptic"])
def test_clean_data_have_no_findings(folder: Path, content: Content) -> None:
    assert _kinds(content, folder, num_classes=1) == set()


@pytest.mark.parametrize(
    ("file", "images", "overlaps"),
    [
        ("coco_panoptic/annotations/panoptic_val2017.json", "coco_panoptic/val2017", 0),
        ("coco_panoptic/annotations/instances_val2017.json", "coco_panoptic/val2017", 3),
        ("coco_instances/annotations/instances_train2017.json", "coco_instances/train2017", 5),
        ("coco_instances/annotations/instances_val2017.json", "coco_instances/val2017", 5),
        ("fruits_nuts/data/trainval.json", "fruits_nuts/data/images", 0),
    ],
)
def test_of_real_sets_only_objects_annotated_twice_are_found(
    shared_data: Path, file: str, images: str, overlaps: int
) -> None:
    path = shared_data / file
    content = read_annotations(path)
    found = inspect_data(content, shared_data / images, path.with_suffix(""))
    # COCO's annotators gave one object two categories: cup and bowl, chair and couch, ...
    assert {f.kind for f in found} <= {"overlapping annotations", "duplicate annotation"}
    assert len(found) == overlaps


FIRST = ("annotations", 0)
INSTANCES: list[tuple[str, Plant]] = [
    ("no categories", lambda content, folder: content["categories"].clear()),
    ("malformed category", _set("categories", 0, "id", "one")),
    ("duplicate category id", _append("categories", name="dog")),
    ("duplicate category name", _append("categories", id=2)),
    ("class count", _append("categories", id=2, name="dog")),
    ("malformed image record", _set("images", 0, "height", 0)),
    ("duplicate image id", _set("images", 1, "id", 0)),
    ("duplicate file name", _set("images", 1, "file_name", "a.jpg")),
    ("missing image", _set("images", 0, "file_name", "absent.jpg")),
    ("unreadable image", _bytes("images/a.jpg", lambda content: b"no image")),
    ("truncated image", _bytes("images/a.jpg", lambda content: content[:-40])),
    ("size mismatch", _image(size=(12, 11))),
    ("size before EXIF rotation", _image(exif=_rotated())),
    ("duplicate image", _set("images", 1, "file_name", "copy.jpg")),
    ("malformed annotation", _set(*FIRST, "segmentation", [])),
    ("duplicate annotation id", _set("annotations", 1, "id", 1)),
    ("annotation without image", _set(*FIRST, "image_id", 9)),
    ("unknown category", _set(*FIRST, "category_id", 9)),
    ("malformed box", _set(*FIRST, "bbox", [2, 2, 0, 4])),
    ("box outside image", _set(*FIRST, "bbox", [2, 2, 14, 4])),
    ("box differs from mask", _set(*FIRST, "bbox", [7, 2, 4, 4])),
    ("wrong area", _set(*FIRST, "area", 90)),
    ("degenerate polygon", _set(*FIRST, "segmentation", [[1, 1, 5, 5]])),
    ("degenerate polygon", _set(*FIRST, "segmentation", [[1, 1, 5, 5, 3, 3]])),
    ("polygon outside image", _set(*FIRST, "segmentation", [[2, 2, 6, 2, 6, 14, 2, 14]])),
    ("empty mask", _set(*FIRST, "segmentation", {"size": [10, 12], "counts": [120]})),
    ("run lengths of another size", _set("annotations", 1, "segmentation", "size", [12, 10])),
    ("corrupt run lengths", _set("annotations", 1, "segmentation", "counts", [5, 200])),
    ("crowd with polygons", _set(*FIRST, "iscrowd", 1)),
    ("invalid iscrowd", _set(*FIRST, "iscrowd", 2)),
    ("duplicate annotation", _append("annotations", id=3)),
    (
        "duplicate annotation",
        _append("annotations", id=3, area=15.5, segmentation=[[*SQUARE, 2, 3]]),
    ),
    (
        "overlapping annotations",
        _append("annotations", id=3, segmentation=[[2, 2, 5, 2, 5, 6, 2, 6]]),
    ),
]
PANOPTIC: list[tuple[str, Plant]] = [
    ("malformed category", _set("categories", 0, "isthing", None)),
    ("image without annotation", lambda content, folder: content["annotations"].pop()),
    ("image annotated twice", _append("annotations")),
    ("missing PNG", _set(*FIRST, "file_name", "absent.png")),
    ("unreadable PNG", _bytes("masks/a.png", lambda content: b"no image")),
    ("PNG without colour", _png(IDS.astype(np.uint8))),
    ("PNG of another size", _png(rgb_from_ids(IDS[1:]))),
    ("segment id out of range", _set(*FIRST, "segments_info", 0, "id", 0)),
    ("duplicate segment id", _append(*FIRST, "segments_info")),
    ("segment not in PNG", _append(*FIRST, "segments_info", id=9)),
    ("segment not in JSON", lambda content, folder: content[FIRST[0]][0]["segments_info"].pop()),
    ("wrong segment area", _set(*FIRST, "segments_info", 0, "area", 17)),
    ("wrong segment box", _set(*FIRST, "segments_info", 0, "bbox", [2, 2, 5, 4])),
    ("contradicting isthing", _set(*FIRST, "segments_info", 0, "isthing", 0)),
    ("stuff in several segments", _set(*FIRST, "segments_info", 0, "category_id", 2)),
    ("malformed annotation", _set(*FIRST, "segments_info", None)),
    ("unknown category", _set(*FIRST, "segments_info", 0, "category_id", 9)),
    ("invalid iscrowd", _set(*FIRST, "segments_info", 0, "iscrowd", 3)),
]


@pytest.mark.parametrize(("kind", "plant"), INSTANCES)
def test_defect_of_instances_is_found(folder: Path, kind: str, plant: Plant) -> None:
    content = _instances()
    (folder / "images" / "copy.jpg").write_bytes((folder / "images" / "a.jpg").read_bytes())
    plant(content, folder)
    assert kind in _kinds(content, folder, num_classes=1)


@pytest.mark.parametrize(("kind", "plant"), PANOPTIC)
def test_defect_of_panoptic_is_found(folder: Path, kind: str, plant: Plant) -> None:
    content = _panoptic()
    plant(content, folder)
    assert kind in _kinds(content, folder)


def test_instances_beyond_the_divisor_are_found(folder: Path) -> None:
    assert _kinds(_panoptic(), folder, divisor=1) == {"more instances than the divisor"}


def test_image_of_two_splits_is_found(folder: Path) -> None:
    other = (_instances(), folder / "images")
    assert _kinds(_instances(), folder, other=other) == {"image in two splits"}


def test_overlap_that_objects_have_is_no_finding(folder: Path) -> None:
    content = _instances()
    half = {"bbox": [4, 2, 4, 4], "segmentation": [[4, 2, 8, 2, 8, 6, 4, 6]]}  # IoU 1/3
    _append("annotations", id=3, **half)(content, folder)
    crowd = {"segmentation": content["annotations"][1]["segmentation"], "iscrowd": 1}
    _append("annotations", id=4, **crowd)(content, folder)
    assert _kinds(content, folder) == set()


def test_overlap_names_both_annotations(folder: Path) -> None:
    content = _instances()
    content["categories"].append({"id": 2, "name": "dog"})
    _append("annotations", id=3, category_id=2)(content, folder)
    (found,) = inspect_data(content, folder / "images", folder / "masks", workers=1)
    assert found.where == "annotation 3 of a.jpg"
    assert found.text == "IoU 1.00 with annotation 1, of category 1 instead of 2"


def test_gaps_in_category_ids_are_noted_not_found(folder: Path) -> None:
    content = _instances()
    content["categories"] += [{"id": i, "name": str(i)} for i in (3, 7)]
    assert _kinds(content, folder) == set()
    assert "no category has the ids 2, 4-6" in "\n".join(data_statistics(content, {}).lines())
    content["categories"] = content["categories"][:1]
    assert "no category" not in "\n".join(data_statistics(content, {}).lines())


LABEL_MAPS = [
    ("missing label map", lambda path: path.unlink()),
    ("unreadable label map", lambda path: path.write_text("no image")),
    ("unreadable label map", lambda path: write_png(path, np.zeros((10, 12, 3), np.uint8))),
    ("label map of another size", lambda path: write_png(path, np.zeros((9, 12), np.uint8))),
    ("label value without class", lambda path: write_png(path, np.full((10, 12), 7, np.uint16))),
    ("gap in label values", lambda path: write_png(path, np.full((10, 12), 2, np.uint8))),
    ("single class", lambda path: write_png(path, np.full((10, 12), 255, np.uint8))),
]


@pytest.mark.parametrize(("kind", "plant"), [(None, None), *LABEL_MAPS])
def test_defect_of_label_maps_is_found(
    folder: Path, kind: str | None, plant: Callable[[Path], object] | None
) -> None:
    labels = np.zeros((10, 12), np.uint8)
    labels[0] = 255
    if kind not in ("gap in label values", "single class"):
        labels[1] = 1
    for name in "ab":
        write_png(folder / "labels" / f"{name}.png", labels)
    records = load_semantic_records(folder / "images", folder / "labels")
    if plant is not None:
        plant(folder / "labels" / "a.png")
    table = class_table(3, value_map=None, ignore_label=255)
    found = inspect_label_maps(records, table, workers=1)
    assert [f.kind for f in found] == ([kind] if kind else [])


def test_every_file_without_a_partner_is_listed(folder: Path) -> None:
    write_png(folder / "labels" / "c.png", np.zeros((10, 12), np.uint8))
    write_png(folder / "labels" / "d.png", np.zeros((10, 12), np.uint8))
    records, found = match_label_maps(folder / "images", folder / "labels")
    assert records == []
    assert [(f.kind, f.where) for f in found] == [
        ("missing image", "c"),
        ("missing image", "d"),
        ("missing label map", "a.jpg"),
        ("missing label map", "b.jpg"),
    ]


def test_images_below_the_folder_are_named_and_masks_there_are_not(folder: Path) -> None:
    for name in ("images/a", "images/day 2/a", "images/labels/a", "images/labels/b"):
        write_png(folder / f"{name}.png", np.zeros((10, 12), np.uint8))
    _, found = match_label_maps(folder / "images", folder / "images" / "labels")
    below = [(f.where, f.severity, f.text) for f in found if f.kind == "images in a subfolder"]
    text = "1 images in it are not looked at; tools/convert.py takes such folders"
    assert below == [("day 2", "warning", text)]


def test_tool_looks_at_label_maps(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        write_png(folder / "labels" / f"{name}.png", np.full((10, 12), 2, np.uint8))
    arguments = [str(folder / "images"), "--labels", str(folder / "labels"), "--num-classes"]
    assert tool_main("inspect_data")([*arguments, "3"]) == 0
    assert tool_main("inspect_data")([*arguments, "2"]) == 1
    assert "label value without class" in capsys.readouterr().out
    assert tool_main("inspect_data")(arguments[:-1]) == 2
    assert "need --num-classes" in capsys.readouterr().err


def test_every_kind_is_planted() -> None:
    planted = {"images in a subfolder", *(kind for kind, _ in INSTANCES + PANOPTIC)}
    planted |= {kind for kind, *_ in LABEL_MAPS} | {
        "image in two splits",
        "more instances than the divisor",
    }
    # Planted in test_class_masks.py, test_near_duplicates.py and in test_conversion.py.
    planted |= {kind for kind in KINDS if "class mask" in kind} | {"class without pixels"}
    planted |= {"near-duplicate image", "near-duplicate in two splits", "left out by the reader"}
    assert planted == set(KINDS)


def test_compressed_run_lengths_expand_as_pycocotools_wrote_them() -> None:
    from pycocotools import mask as coco_mask

    pixels = np.zeros((50, 60), np.uint8, order="F")
    pixels[3:40, 5:50:3] = 1
    text = coco_mask.encode(pixels)["counts"].decode()
    values = np.diff(np.flatnonzero(np.diff(np.r_[2, pixels.ravel("F"), 2])))
    assert expand_counts(text) == values.tolist()


def test_table_counts_and_shortens(folder: Path) -> None:
    content = _instances()
    for annotation in content["annotations"]:
        annotation["category_id"] = 9
    found = inspect_data(content, folder / "images", folder / "masks", workers=1)
    table = findings_table(found, examples=1)
    assert "unknown category" in table
    assert "... and 1 more" in table


@pytest.mark.parametrize(("wrong", "status"), [(False, 0), (True, 1)])
def test_exit_status_tells_of_errors(
    folder: Path, capsys: pytest.CaptureFixture[str], wrong: bool, status: int
) -> None:
    content = _panoptic()
    content["annotations"][0]["segments_info"][0]["area"] += int(wrong)
    (folder / "set.json").write_text(json.dumps(content))
    arguments = [str(folder / "set.json"), "--images", str(folder / "images")]
    arguments += ["--masks", str(folder / "masks")]
    assert tool_main("inspect_data")(arguments) == status
    assert ("wrong segment area" in capsys.readouterr().out) == wrong


@pytest.mark.parametrize("text", ["[]", "{", '{"images": [], "annotations": [1]}'])
def test_other_files_are_a_mistake(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"a\.json"):
        read_annotations(tmp_path / "a.json")
