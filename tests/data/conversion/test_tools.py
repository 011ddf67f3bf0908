"""Each annotation tool on small files, and what goes wrong with them."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from converted_sets import Convert, perfect_quality, save_image
from PIL import Image

from seg_projects.data.conversion.coco_panoptic import write_png
from seg_projects.data.panoptic_ids import read_panoptic_ids

SQUARE = [[2, 2], [5, 2], [5, 5], [2, 5]]  # 16 pixels


def _labelme(folder: Path, drawn: list[dict[str, Any]], **fields: Any) -> Path:
    save_image(folder / "a.png", 12, 10)
    content = {"shapes": drawn, "imagePath": "a.png", "imageHeight": 10, "imageWidth": 12}
    (folder / "a.json").write_text(json.dumps(content | fields))
    return folder


def _shape(label: str, points: Any, **fields: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": "polygon"} | fields


def _areas(content: dict[str, Any]) -> dict[str, int]:
    names = {c["id"]: c["name"] for c in content["categories"]}
    segments = content["annotations"][0]["segments_info"]
    return {names[s["category_id"]]: s["area"] for s in segments}


def test_group_is_one_object_and_stuff_one_segment(tmp_path: Path, convert: Convert) -> None:
    far = [[8, 8], [9, 8], [9, 9], [8, 9]]
    shapes = [
        _shape("cat", SQUARE, group_id=1),
        _shape("cat", far, group_id=1),
        _shape("sky", [[0, 0], [1, 0], [1, 1], [0, 1]]),
        _shape("sky", [[10, 0], [11, 0], [11, 1], [10, 1]]),
    ]
    content = convert("labelme", _labelme(tmp_path, shapes), "--things", "cat", "--stuff", "sky")
    assert _areas(content) == {"cat": 20, "sky": 8}


@pytest.mark.parametrize(
    ("rule", "areas"),
    [
        # The small square lies in the big one and is drawn first: "later" hides it whole.
        ("later-on-top", {"big": 64}),
        ("earlier-on-top", {"big": 60, "small": 4}),
        ("smaller-on-top", {"big": 60, "small": 4}),
    ],
)
def test_areas_are_counted_after_overlaps(
    tmp_path: Path, convert: Convert, rule: str, areas: dict[str, int]
) -> None:
    small = _shape("small", [[1, 1], [2, 1], [2, 2], [1, 2]])
    big = _shape("big", [[1, 1], [8, 1], [8, 8], [1, 8]])
    options = ("--things", "*", "--overlap", rule)
    content = convert("labelme", _labelme(tmp_path, [small, big]), *options)
    assert _areas(content) == areas


def test_hidden_object_is_reported(
    tmp_path: Path, convert: Convert, capsys: pytest.CaptureFixture[str]
) -> None:
    shapes = [_shape("cat", SQUARE), _shape("dog", SQUARE)]
    convert("labelme", _labelme(tmp_path, shapes), "--things", "*", "--strict", status=1)
    assert "hidden object: 1\n    a.png: 'cat' has no visible pixel" in capsys.readouterr().out


def test_things_lie_on_stuff_that_was_drawn_later(tmp_path: Path, convert: Convert) -> None:
    ground = _shape("ground", [[0, 0], [11, 0], [11, 9], [0, 9]])
    folder = _labelme(tmp_path, [_shape("cat", SQUARE), ground])
    content = convert("labelme", folder, "--things", "cat", "--stuff", "ground")
    assert _areas(content) == {"cat": 16, "ground": 104}


def test_unlabelled_pixels_become_the_named_stuff(
    tmp_path: Path, output: Path, convert: Convert
) -> None:
    folder = _labelme(tmp_path, [_shape("cat", SQUARE), _shape("skip", [[8, 8], [9, 8], [9, 9]])])
    options = ("--things", "cat", "--stuff", "rest", "--ignore", "skip", "--unlabelled", "rest")
    content = convert("labelme", folder, *options)
    ignored = int((read_panoptic_ids(output / "train_masks" / "a.png") == 0).sum())
    assert ignored == 3
    assert _areas(content) == {"cat": 16, "rest": 120 - 16 - 3}


def test_label_without_role_is_a_mistake(
    tmp_path: Path, convert: Convert, capsys: pytest.CaptureFixture[str]
) -> None:
    shapes = [_shape("cat", SQUARE), _shape("sky", SQUARE)]
    convert("labelme", _labelme(tmp_path, shapes), "--things", "cat", status=2)
    assert "'sky' (1)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"imagePath": "absent.png"}, "missing image"),
        ({"imageHeight": 99}, "size mismatch"),
        ({"shapes": {}}, "other JSON"),
        ({"imagePath": "", "imageData": "%%%"}, "unreadable image"),
    ],
)
def test_unusable_labelme_file_is_reported(
    tmp_path: Path,
    convert: Convert,
    capsys: pytest.CaptureFixture[str],
    fields: dict[str, Any],
    note: str,
) -> None:
    convert("labelme", _labelme(tmp_path, [], **fields), "--things", "*", status=2)
    message = capsys.readouterr().err
    assert note in message
    assert "No image could be converted" in message


@pytest.mark.parametrize("shape_type", ["polygon", "linestrip", "blob"])
def test_degenerate_or_unknown_shape_is_reported(
    tmp_path: Path, convert: Convert, capsys: pytest.CaptureFixture[str], shape_type: str
) -> None:
    shapes = [_shape("x", [[1, 1]], shape_type=shape_type), _shape("cat", SQUARE)]
    content = convert("labelme", _labelme(tmp_path, shapes), "--things", "*")
    assert _areas(content) == {"cat": 16}
    assert "unusable shape: 1" in capsys.readouterr().out


def test_exif_rotation_is_named(
    tmp_path: Path, convert: Convert, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _labelme(tmp_path, [], imagePath="b.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    save_image(folder / "b.jpg", 12, 10, exif=exif)
    convert("labelme", folder, "--things", "*", status=2)
    assert "the size before the EXIF rotation" in capsys.readouterr().err


def test_via_2_with_every_shape(tmp_path: Path, convert: Convert) -> None:
    save_image(tmp_path / "a.png", 40, 40)
    regions: list[dict[str, Any]] = [
        {"name": "rect", "x": 1, "y": 1, "width": 3, "height": 2},
        {"name": "circle", "cx": 10, "cy": 10, "r": 3},
        {"name": "ellipse", "cx": 25, "cy": 25, "rx": 5, "ry": 3, "theta": 0.5},
        {"name": "polygon", "all_points_x": [30, 35, 35], "all_points_y": [5, 5, 9]},
        {"name": "point", "cx": 1, "cy": 1},
    ]
    entries = [
        {"shape_attributes": shape, "region_attributes": {"kind": {shape["name"]: True}}}
        for shape in regions
    ]
    project = {"_via_img_metadata": {"k": {"filename": "a.png", "regions": entries}}}
    (tmp_path / "via.json").write_text(json.dumps(project))
    content = convert("via", tmp_path, "--things", "*", "--to", "instances")
    names = [c["name"] for c in content["categories"]]
    assert names == ["circle", "ellipse", "polygon", "rect"]
    assert content["annotations"][0]["area"] == 12


def test_via_with_several_attributes_asks(
    tmp_path: Path, convert: Convert, capsys: pytest.CaptureFixture[str]
) -> None:
    save_image(tmp_path / "a.png", 8, 8)
    region = {"shape_attributes": {}, "region_attributes": {"kind": "a", "colour": "b"}}
    (tmp_path / "v.json").write_text(json.dumps({"k": {"filename": "a.png", "regions": [region]}}))
    convert("via", tmp_path, "--things", "*", status=2)
    assert "['colour', 'kind']: name the one" in capsys.readouterr().err


def test_supervisely_polygon_with_hole_and_bitmap(tmp_path: Path, convert: Convert) -> None:
    save_image(tmp_path / "ds" / "img" / "a.png", 12, 10)
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[0, :, 3] = 255
    write_png(tmp_path / "m.png", pixels)
    data = base64.b64encode(zlib.compress((tmp_path / "m.png").read_bytes())).decode()
    points = {"exterior": [[0, 0], [6, 0], [6, 6], [0, 6]], "interior": [SQUARE]}
    objects = [
        {"classTitle": "ring", "geometryType": "polygon", "points": points},
        {"classTitle": "bar", "geometryType": "bitmap", "bitmap": {"data": data, "origin": [8, 8]}},
    ]
    (tmp_path / "ds" / "ann").mkdir()
    content = {"size": {"height": 10, "width": 12}, "objects": objects}
    (tmp_path / "ds" / "ann" / "a.png.json").write_text(json.dumps(content))
    written = convert("supervisely", tmp_path, "--things", "*")
    assert written["images"][0]["file_name"] == "ds/a.png"
    assert _areas(written) == {"ring": 49 - 16, "bar": 3}


def test_yolo_polygons_and_a_box(
    tmp_path: Path, convert: Convert, capsys: pytest.CaptureFixture[str]
) -> None:
    save_image(tmp_path / "images" / "a.png", 12, 10)
    (tmp_path / "labels").mkdir()
    lines = "1 0 0 0.5 0 0.5 0.5 0 0.5\n0 0.5 0.5 0.1 0.1\n7 0 0 1 0 1 1\n"
    (tmp_path / "labels" / "a.txt").write_text(lines)
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\n")
    content = convert("yolo", tmp_path, "--things", "*")
    assert _areas(content) == {"dog": 7 * 6}
    printed = capsys.readouterr().out
    assert "a.txt:2: a box, not a polygon" in printed
    assert "class without name: 1" in printed


CVAT = """<annotations><image id="0" name="a.png" width="12" height="10">
<box label="top" xtl="2" ytl="2" xbr="3" ybr="3" z_order="1"/>
<polygon label="cat" points="2,2;5,2;5,5;2,5" z_order="0"/>
<mask label="bar" rle="1,2,3" left="8" top="0" width="3" height="2" z_order="0"/>
<points label="dot" points="1,1"/></image></annotations>"""


def test_cvat_orders_by_z(
    tmp_path: Path, convert: Convert, capsys: pytest.CaptureFixture[str]
) -> None:
    save_image(tmp_path / "images" / "a.png", 12, 10)
    (tmp_path / "annotations.xml").write_text(CVAT)
    content = convert("cvat", tmp_path, "--things", "*")
    assert _areas(content) == {"cat": 12, "bar": 2, "top": 4}
    assert "<points> has no area" in capsys.readouterr().out


@pytest.mark.parametrize("new", [True, False])
def test_labelbox_new_and_old(
    tmp_path: Path, convert: Convert, capsys: pytest.CaptureFixture[str], new: bool
) -> None:
    save_image(tmp_path / "a.png", 12, 10)
    objects = [
        {"name": "cat", "polygon": [{"x": x, "y": y} for x, y in SQUARE]},
        {"name": "dog", "mask": {"url": "https://example.org/mask"}},
    ]
    labels = {"p": {"labels": [{"annotations": {"objects": objects}}]}}
    row: Any = {"data_row": {"external_id": "a.png"}, "projects": labels}
    if not new:
        row = [{"External ID": "a.png", "Label": {"objects": objects}}]
    file = tmp_path / "export.json"
    file.write_text(json.dumps(row))
    assert _areas(convert("labelbox", file, "--things", "*")) == {"cat": 16}
    assert "lies behind a link" in capsys.readouterr().out


def test_numbered_16_bit_masks(tmp_path: Path, output: Path, convert: Convert) -> None:
    save_image(tmp_path / "images" / "a.jpg", 3, 2)
    write_png(tmp_path / "masks" / "a.png", np.array([[0, 300, 300], [7, 7, 7]], np.uint16))
    options = ("--images", tmp_path / "images", "--default-label", "cell", "--things", "cell")
    content = convert("instance-maps", tmp_path / "masks", *options)
    areas = sorted(s["area"] for s in content["annotations"][0]["segments_info"])
    assert areas == [2, 3]
    assert perfect_quality(output) == 100


def test_unnamed_label_value_is_reported(
    tmp_path: Path, convert: Convert, capsys: pytest.CaptureFixture[str]
) -> None:
    save_image(tmp_path / "images" / "a.jpg", 3, 1)
    write_png(tmp_path / "masks" / "a.png", np.array([[0, 9, 255]], np.uint8))
    (tmp_path / "names.txt").write_text("ground\n")
    options = ("--images", tmp_path / "images", "--names", tmp_path / "names.txt", "--stuff", "*")
    assert _areas(convert("label-maps", tmp_path / "masks", *options)) == {"ground": 1}
    assert "label value without name: 1\n    a.jpg: 9; void" in capsys.readouterr().out


def test_categories_of_an_earlier_part_are_kept(tmp_path: Path, convert: Convert) -> None:
    known = tmp_path / "known.json"
    known.write_text(json.dumps({"categories": [{"id": 9, "name": "cat", "isthing": 1}]}))
    folder = _labelme(
        tmp_path / "set", [_shape("dog", SQUARE), _shape("cat", [[7, 7], [9, 7], [9, 9]])]
    )
    content = convert("labelme", folder, "--categories", known, "--things", "*")
    assert {c["name"]: c["id"] for c in content["categories"]} == {"cat": 9, "dog": 10}


@pytest.mark.parametrize("tool", ["labelme", "via", "supervisely", "mask-folders", "voc", "yolo"])
def test_empty_folder_is_one_message(
    tmp_path: Path, convert: Convert, capsys: pytest.CaptureFixture[str], tool: str
) -> None:
    convert(tool, tmp_path, "--things", "*", "--default-label", "x", status=2)
    assert "error: " in capsys.readouterr().err


def test_label_maps_name_the_class_of_each_pixel(
    tmp_path: Path, output: Path, convert: Convert
) -> None:
    folder = _labelme(tmp_path, [_shape("cat", SQUARE), _shape("sky", [[0, 0], [11, 0], [11, 0]])])
    convert("labelme", folder, "--to", "label-maps", "--things", "cat", "--stuff", "sky")
    labels = np.asarray(Image.open(output / "train_masks" / "a.png"))
    assert np.bincount(labels.ravel())[[0, 1, 255]].tolist() == [16, 12, 120 - 28]
    assert (output / "train_classes.txt").read_text() == "cat\nsky\n"


def test_label_maps_have_all_labels_in_alphabetical_order(
    tmp_path: Path, output: Path, convert: Convert
) -> None:
    folder = _labelme(tmp_path, [_shape("sky", SQUARE), _shape("cat", SQUARE)])
    options = ("--things", "*", "--stuff", "rest", "--unlabelled", "rest")
    convert("labelme", folder, "--to", "label-maps", *options)
    assert (output / "train_classes.txt").read_text().split() == ["cat", "sky", "rest"]
    # "sky" lies below "cat", which was drawn later.
    labels = np.asarray(Image.open(output / "train_masks" / "a.png"))
    assert np.bincount(labels.ravel()).tolist() == [16, 0, 104]
