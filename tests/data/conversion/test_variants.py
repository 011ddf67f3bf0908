"""Exports as they come out of the tools: other folders, other paths, other forms of masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from converted_sets import Convert, perfect_quality, save_image
from pycocotools import mask as coco_mask
from tiny_runs import tool_main
from tool_exports import EXPORTS, MORE_EXPORTS, SIZE

from seg_projects.data.panoptic_ids import read_panoptic_ids

SQUARE = [[2, 2], [5, 2], [5, 5], [2, 5]]  # 16 pixels
LINE = "0 0.2 0.2 0.5 0.2 0.5 0.5 0.2 0.5\n"


def _areas(content: dict[str, Any]) -> list[int]:
    return [s["area"] for a in content["annotations"] for s in a.get("segments_info", [a])]


# What data.yaml says, where images lie, and where their labels.
LAYOUTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "ultralytics": (
        {"path": "../datasets/mine", "train": "images/train", "val": "images/val"},
        *("images/{}", "labels/{}"),
    ),
    "roboflow": (
        {"train": "../train/images", "val": "../valid/images", "roboflow": {"license": "CC"}},
        *("{}/images", "{}/labels"),
    ),
    "absolute": ({"train": ["/home/me/x/images/train"]}, "images/{}", "labels/{}"),
    "side by side": ({"train": "train", "val": "val"}, "{}", "{}"),
}


@pytest.fixture(params=LAYOUTS)
def yolo(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A data set in two parts."""
    source = tmp_path / "set"
    settings, images, labels = LAYOUTS[request.param]
    parts = ("train", "valid" if request.param == "roboflow" else "val")
    for number, part in enumerate(parts):
        save_image(source / images.format(part) / f"{number}.jpg", 12, 10)
        text = source / labels.format(part) / f"{number}.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(LINE)
    (source / "data.yaml").write_text(yaml.safe_dump(settings | {"names": {0: "cat", 1: "dog"}}))
    return source


def test_yolo_layouts_are_read_whole_or_by_part(yolo: Path, convert: Convert, output: Path) -> None:
    content = convert("yolo", yolo, "--to", "instances", "--name", "train")
    assert [image["file_name"] for image in content["images"]] == ["0.jpg"]
    assert len(content["annotations"]) == 1
    convert("yolo", yolo, "--to", "instances", "--name", "all")
    whole = json.loads((output / "all.json").read_text())
    assert (len(whole["images"]), len(whole["annotations"])) == (2, 2)


def test_yolo_without_any_label_file_is_a_mistake(
    tmp_path: Path, convert: Convert, capsys: pytest.CaptureFixture[str]
) -> None:
    save_image(tmp_path / "pictures" / "a.jpg", 12, 10)
    (tmp_path / "data.yaml").write_text("names: [cat]")
    convert("yolo", tmp_path, "--things", "*", status=2)
    assert "No image has a text file" in capsys.readouterr().err


def test_cvat_video_is_a_picture_per_frame(tmp_path: Path, convert: Convert) -> None:
    for number in range(3):
        save_image(tmp_path / "images" / f"frame_{number:06d}.PNG", 12, 10)
    polygon = '<polygon frame="{}" outside="{}" points="2,2;5,2;5,5;2,5" z_order="0"/>'
    box = '<box frame="1" outside="0" xtl="7" ytl="7" xbr="8" ybr="8"/>'
    (tmp_path / "annotations.xml").write_text(
        "<annotations><meta><job><mode>interpolation</mode></job></meta>"
        f'<track id="0" label="cat">{polygon.format(0, 0)}{polygon.format(1, 0)}'
        f'{polygon.format(2, 1)}</track><track id="1" label="dog">{box}</track></annotations>'
    )
    content = convert("cvat", tmp_path, "--to", "instances")
    assert [i["file_name"] for i in content["images"]] == ["frame_000000.PNG", "frame_000001.PNG"]
    assert _areas(content) == [16, 16, 4]


def test_cvat_turns_boxes_and_ellipses(tmp_path: Path, convert: Convert) -> None:
    save_image(tmp_path / "a.png", 40, 40)
    (tmp_path / "annotations.xml").write_text(
        '<annotations><image name="a.png" width="40" height="40">'
        '<box label="bar" xtl="5" ytl="18" xbr="35" ybr="22" rotation="90.0"/>'
        '<ellipse label="bean" cx="20" cy="20" rx="15" ry="2" rotation="90.0"/>'
        "</image></annotations>"
    )
    for box in (a["bbox"] for a in convert("cvat", tmp_path, "--to", "instances")["annotations"]):
        assert box[2] < 7
        assert box[3] > 29


def test_labelbox_rows_of_several_labels_and_names_without_suffix(
    tmp_path: Path, convert: Convert, capsys: pytest.CaptureFixture[str]
) -> None:
    save_image(tmp_path / "a.png", 12, 10)
    polygon = [{"x": x, "y": y} for x, y in SQUARE]
    objects = [
        {"name": "cat", "annotation_kind": "ImagePolygon", "polygon": polygon},
        {"name": "dot", "annotation_kind": "ImagePoint", "point": {"x": 1, "y": 1}},
        {"name": "mask", "composite_mask": {"url": "https://example.org", "color_rgb": [0, 0, 0]}},
    ]
    label = {"annotations": {"objects": objects, "classifications": []}}
    row = {
        "data_row": {"id": "x", "global_key": "folder/a", "row_data": "https://x/y/z.png"},
        "media_attributes": {"height": 10, "width": 12, "exif_rotation": "1"},
        "projects": {"p": {"labels": [label, label]}, "q": {"labels": []}},
    }
    (tmp_path / "export.ndjson").write_text(json.dumps(row) + "\n\n")
    content = convert("labelbox", tmp_path / "export.ndjson", "--to", "instances")
    assert _areas(content) == [16]
    printed = capsys.readouterr().out
    assert "several labels: 1" in printed
    assert "lies behind a link" in printed


def test_labelme_paths_of_windows(tmp_path: Path, convert: Convert) -> None:
    save_image(tmp_path / "imgs" / "a.jpg", 12, 10)
    shape = {"label": "cat", "points": SQUARE, "shape_type": "polygon"}
    content = {"shapes": [shape], "imagePath": "..\\imgs\\a.jpg", "imageData": None}
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "a.json").write_text(json.dumps(content))
    written = convert("labelme", tmp_path / "json", "--to", "instances")
    assert written["images"][0]["file_name"] == "a.jpg"
    assert _areas(written) == [16]


def test_coco_of_roboflow(tmp_path: Path, convert: Convert) -> None:
    name = "a_jpg.rf.0123456789abcdef.jpg"
    save_image(tmp_path / "train" / name, 12, 10)
    flat = [value for point in SQUARE for value in point]
    annotation = {"id": 0, "image_id": 0, "category_id": 1, "bbox": [2, 2, 3, 3], "area": 9}
    categories = [
        {"id": 0, "name": "animals", "supercategory": "none"},
        {"id": 1, "name": "cat", "supercategory": "animals"},
    ]
    content = {
        "info": {"year": "2024", "url": "https://public.roboflow.com"},
        "licenses": [{"id": 1, "url": "", "name": "Public Domain"}],
        "categories": categories,
        "images": [
            {"id": 0, "license": 1, "file_name": name, "height": 10, "width": 12, "extra": {}}
        ],
        "annotations": [annotation | {"segmentation": [flat], "iscrowd": 0}],
    }
    file = tmp_path / "train" / "_annotations.coco.json"
    file.write_text(json.dumps(content))
    written = convert("coco-instances", file, "--to", "instances", "--ignore", "animals")
    assert [c["name"] for c in written["categories"]] == ["cat"]
    assert _areas(written) == [9]  # as pycocotools draws


@pytest.mark.parametrize(
    "name", ["images\\1\\a.jpg", "/data/upload/1/a.jpg", "../../media/a.jpg", "C:\\x\\a.jpg"]
)
def test_coco_of_label_studio(
    tmp_path: Path, convert: Convert, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    save_image(tmp_path / "images" / "a.jpg", 12, 10)
    boxed = {"id": 0, "image_id": 0, "category_id": 0, "segmentation": [], "bbox": [2, 2, 3, 3]}
    drawn = boxed | {"id": 1, "segmentation": [[2, 2, 5, 2, 5, 5, 2, 5]], "area": 9.0}
    content = {
        "images": [{"id": 0, "file_name": name, "width": 12, "height": 10}],
        "annotations": [boxed | {"ignore": 0, "iscrowd": 0, "area": 9}, drawn],
        "categories": [{"id": 0, "name": "cat"}],
    }
    (tmp_path / "result.json").write_text(json.dumps(content))
    options = ("--images", tmp_path / "images", "--to", "instances")
    written = convert("coco-instances", tmp_path / "result.json", *options)
    assert written["images"][0]["file_name"] == "a.jpg"
    assert _areas(written) == [9]  # as pycocotools draws
    assert "unusable annotation: 1\n    id 0" in capsys.readouterr().out


def test_run_lengths_of_both_kinds_beside_polygons(tmp_path: Path, convert: Convert) -> None:
    save_image(tmp_path / "a.png", 4, 3)
    mask = np.zeros((3, 4), np.uint8, order="F")
    mask[:2, 2] = 1
    packed = coco_mask.encode(mask)
    kinds: list[Any] = [
        {"size": [3, 4], "counts": packed["counts"].decode()},
        {"size": [3, 4], "counts": [6, 2, 4]},
        [[2, 0, 3, 0, 3, 2, 2, 2]],
    ]
    annotations = [
        {"id": i, "image_id": 1, "category_id": 1, "bbox": [2, 0, 1, 2], "segmentation": kind}
        for i, kind in enumerate(kinds)
    ]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 4, "height": 3}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert _areas(convert("coco-instances", tmp_path / "a.json", "--to", "instances")) == [2, 2, 2]


ALL_EXPORTS = EXPORTS | MORE_EXPORTS


def _options(tool: str, folder: Path) -> list[str | Path]:
    """What the files of an export below ``folder`` do not say."""
    photos: list[str | Path] = ["--images", folder / "photos"]
    names: list[str | Path] = ["--names", folder / "names.txt"]
    of_one_class: list[str | Path] = ["--default-label", "disc"]
    known: dict[str, list[str | Path]] = {
        "via": of_one_class,
        "mask-folders": of_one_class,
        "instance-maps": [*photos, *of_one_class],
        "labelbox": photos,
        "coco-instances": photos,
        "label-maps": [*photos, *names],
        "label-and-instance-maps": [*photos, *names, "--instances", folder / "numbers"],
        "voc": names,
    }
    return known.get(tool, [])


@pytest.mark.parametrize("tool", ALL_EXPORTS)
def test_perfect_prediction_of_any_converted_set_scores_100(
    tmp_path: Path, convert: Convert, output: Path, tool: str
) -> None:
    write, source = ALL_EXPORTS[tool]
    choice = ("--things", "disc", "--stuff", "*")
    content = convert(tool, write(tmp_path / source, 3), *_options(tool, tmp_path), *choice)
    assert perfect_quality(output) == 100
    # Each scene has a square from 4 to 16, whose rim belongs to it, and a box; pycocotools draws
    # polygons without their right and lower rim.
    disc, box = (144, 252) if tool == "coco-instances" else (169, 285)
    areas = sorted(_areas(content))
    assert areas[:6] == [disc] * 3 + [box] * 3
    background = tool in ("label-maps", "label-and-instance-maps")
    assert sum(areas) == 3 * (SIZE[0] * SIZE[1] if background else disc + box)


@pytest.mark.parametrize("between", ["coco-panoptic", "two-channels"])
@pytest.mark.parametrize("tool", ALL_EXPORTS)
def test_converted_set_comes_through_another_format_unchanged(
    tmp_path: Path, tool: str, between: str
) -> None:
    write, source = ALL_EXPORTS[tool]
    write(tmp_path / source, 2)
    classes = ["--things", "disc", "--stuff", "*"]

    def run(*words: str | Path) -> None:
        assert tool_main("convert")([str(word) for word in words]) == 0

    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    run(tool, tmp_path / source, *_options(tool, tmp_path), *classes, "--output", first)
    images: list[str | Path] = ["--images", first / "train"]
    if between == "coco-panoptic":
        run(between, first / "train.json", *images, "--output", third)
    else:
        run("coco-panoptic", first / "train.json", *images, "--to", between, "--output", second)
        known: list[str | Path] = ["--categories", first / "train.json"]
        run(between, second / "train_masks", *images, *known, "--output", third)
    assert perfect_quality(third) == 100
    assert _pixels(first) == _pixels(third)


def _pixels(folder: Path) -> dict[str, list[list[str]]]:
    """Category and, of things, number of each pixel, whatever the ids of the segments are."""
    content = json.loads((folder / "train.json").read_text())
    isthing = {c["id"]: c["isthing"] for c in content["categories"]}
    maps = {}
    for annotation in content["annotations"]:
        ids = read_panoptic_ids(folder / "train_masks" / annotation["file_name"])
        names = np.full(int(ids.max()) + 1, "", dtype="<U40")
        for s in annotation["segments_info"]:
            place = s["bbox"] if isthing[s["category_id"]] else ""
            names[s["id"]] = f"{s['category_id']} {place}"
        maps[annotation["file_name"]] = names[ids].tolist()
    return maps
