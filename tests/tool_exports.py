"""Small exports of every annotation tool: the same scenes, written as each of them would."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

SIZE = (48, 40)  # width, height
NAMES = ("disc", "box")
Points = list[list[float]]


def scene(number: int) -> list[tuple[str, Points]]:
    """A label and its polygon for each object of picture ``number``; the objects are apart."""
    shift = number % 4
    return [
        ("disc", [[4 + shift, 4], [16 + shift, 4], [16 + shift, 16], [4 + shift, 16]]),
        ("box", [[24, 20 + shift], [42, 20 + shift], [42, 34 + shift], [24, 34 + shift]]),
    ]


def save_picture(path: Path, number: int) -> None:
    """The picture of a scene."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(number)
    width, height = SIZE
    image = Image.fromarray(rng.integers(0, 90, (height, width, 3), dtype=np.uint8))
    draw = ImageDraw.Draw(image)
    for label, points in scene(number):
        colour = (230, 60, 60) if label == "disc" else (60, 60, 230)
        draw.polygon([(x, y) for x, y in points], fill=colour)
    image.save(path)


def name_of(number: int) -> str:
    """The file name of a picture."""
    return f"photo_{number}.png"


def mask_of(number: int, place: int) -> np.ndarray:
    """The (H, W) bool mask of an object."""
    image = Image.new("L", SIZE)
    ImageDraw.Draw(image).polygon([tuple(p) for p in scene(number)[place][1]], fill=1, outline=1)
    return np.asarray(image) > 0


def write_labelme(folder: Path, count: int) -> Path:
    """A folder of pictures and JSON files."""
    for number in range(count):
        save_picture(folder / name_of(number), number)
        drawn = [
            {"label": label, "points": points, "shape_type": "polygon", "group_id": None}
            for label, points in scene(number)
        ]
        content: dict[str, Any] = {
            "version": "5.4.1",
            "flags": {},
            "shapes": drawn,
            "imageData": None,
        }
        content |= {"imagePath": name_of(number), "imageHeight": SIZE[1], "imageWidth": SIZE[0]}
        (folder / f"photo_{number}.json").write_text(json.dumps(content))
    return folder


def write_via(folder: Path, count: int) -> Path:
    """A folder of pictures and a project of VIA 2, whose regions have no attributes."""
    entries = {}
    for number in range(count):
        save_picture(folder / name_of(number), number)
        regions = []
        for _, points in scene(number):
            xs, ys = zip(*points, strict=True)
            shape = {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
            regions.append({"shape_attributes": shape, "region_attributes": {}})
        entry = {"filename": name_of(number), "size": 1, "regions": regions, "file_attributes": {}}
        entries[f"{name_of(number)}1"] = entry
    (folder / "via_project.json").write_text(json.dumps({"_via_img_metadata": entries}))
    return folder


def write_cvat(folder: Path, count: int) -> Path:
    """``annotations.xml`` of "CVAT for images 1.1", and the pictures."""
    width, height = SIZE
    lines = ["<annotations><version>1.1</version>"]
    for number in range(count):
        save_picture(folder / "images" / name_of(number), number)
        head = f'<image id="{number}" name="{name_of(number)}" width="{width}" height="{height}">'
        lines.append(head)
        for label, points in scene(number):
            text = ";".join(f"{x:.2f},{y:.2f}" for x, y in points)
            lines.append(f'<polygon label="{label}" occluded="0" points="{text}" z_order="0"/>')
        lines.append("</image>")
    (folder / "annotations.xml").write_text("\n".join([*lines, "</annotations>"]))
    return folder


def write_yolo(folder: Path, count: int) -> Path:
    """``images``, ``labels`` and ``data.yaml``."""
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    width, height = SIZE
    for number in range(count):
        save_picture(folder / "images" / name_of(number), number)
        lines = [
            " ".join([str(NAMES.index(label)), *(f"{x / width} {y / height}" for x, y in points)])
            for label, points in scene(number)
        ]
        (folder / "labels" / f"photo_{number}.txt").write_text("\n".join(lines))
    (folder / "data.yaml").write_text("names: [disc, box]\n")
    return folder


def write_labelbox(file: Path, count: int) -> Path:
    """The NDJSON export of data rows; pictures lie in ``photos`` beside it."""
    rows = []
    for number in range(count):
        save_picture(file.parent / "photos" / name_of(number), number)
        objects = [
            {"name": label, "polygon": [{"x": x, "y": y} for x, y in points]}
            for label, points in scene(number)
        ]
        row: dict[str, Any] = {"data_row": {"id": str(number), "external_id": name_of(number)}}
        row["media_attributes"] = {"width": SIZE[0], "height": SIZE[1]}
        row["projects"] = {"p": {"labels": [{"annotations": {"objects": objects}}]}}
        rows.append(json.dumps(row))
    file.write_text("\n".join(rows))
    return file


def write_supervisely(folder: Path, count: int) -> Path:
    """A project of one data set; the first object is a bitmap, the second a polygon."""
    for number in range(count):
        save_picture(folder / "ds" / "img" / name_of(number), number)
        (_, _), (label, points) = scene(number)
        bitmap = {"classTitle": "disc", "geometryType": "bitmap", "bitmap": _bitmap(number)}
        ring = {"exterior": points, "interior": []}
        polygon = {"classTitle": label, "geometryType": "polygon", "points": ring}
        content = {"size": {"width": SIZE[0], "height": SIZE[1]}, "objects": [bitmap, polygon]}
        path = folder / "ds" / "ann" / f"{name_of(number)}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    (folder / "meta.json").write_text('{"classes": []}')
    return folder


def _bitmap(number: int) -> dict[str, Any]:
    buffer = io.BytesIO()
    alpha = np.zeros((*SIZE[::-1], 4), np.uint8)
    alpha[..., 3] = mask_of(number, 0) * 255
    Image.fromarray(alpha).save(buffer, format="PNG")
    data = base64.b64encode(zlib.compress(buffer.getvalue())).decode()
    return {"data": data, "origin": [0, 0]}


def write_coco(file: Path, count: int) -> Path:
    """A COCO instances file; pictures lie in ``photos`` beside it."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(count):
        save_picture(file.parent / "photos" / name_of(number), number)
        record: dict[str, Any] = {"id": number, "file_name": name_of(number)}
        images.append(record | {"width": SIZE[0], "height": SIZE[1]})
        for label, points in scene(number):
            (left, top), (right, bottom) = points[0], points[2]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": NAMES.index(label) + 1,
                    "segmentation": [[v for point in points for v in point]],
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i, "name": name} for i, name in enumerate(NAMES, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    file.write_text(json.dumps(content))
    return file


def write_mask_folders(folder: Path, count: int) -> Path:
    """``NAME/images/*.png`` and ``NAME/masks/*.png``, a file per object."""
    for number in range(count):
        save_picture(folder / f"photo_{number}" / "images" / name_of(number), number)
        for place in range(2):
            path = folder / f"photo_{number}" / "masks" / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask_of(number, place).astype(np.uint8) * 255).save(path)
    return folder


def write_label_maps(folder: Path, count: int) -> Path:
    """Maps of 0 background, 1 disc, 2 box; pictures in ``photos``, names beside the folder."""
    _write_maps(folder, count, np.array((1, 2), np.uint8))
    (folder.parent / "names.txt").write_text("background\ndisc\nbox\n")
    return folder


def write_instance_maps(folder: Path, count: int) -> Path:
    """Maps of 16 bits that number the objects; pictures in ``photos`` beside the folder."""
    return _write_maps(folder, count, np.array((7, 3000), np.uint16))


def _write_maps(folder: Path, count: int, values: np.ndarray) -> Path:
    """Maps of the two objects' ``values``, 0 elsewhere, in the type of these."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        save_picture(folder.parent / "photos" / name_of(number), number)
        pixels = mask_of(number, 0) * values[0] + mask_of(number, 1) * values[1]
        Image.fromarray(pixels).save(folder / name_of(number))
    return folder


def write_pairs(folder: Path, count: int) -> Path:
    """Class maps beside ``numbers`` of instances, in which the background is of one number, too."""
    write_label_maps(folder, count)
    numbers = folder.parent / "numbers"
    numbers.mkdir(exist_ok=True)
    for number in range(count):
        pixels = np.asarray(Image.open(folder / name_of(number)))
        Image.fromarray((pixels > 0).astype(np.uint8)).save(numbers / name_of(number))
    return folder


def write_voc(folder: Path, count: int) -> Path:
    """``JPEGImages``, ``SegmentationClass`` and ``SegmentationObject``; names beside the folder."""
    for number in range(count):
        save_picture(folder / "JPEGImages" / name_of(number), number)
        for kind, values in (("Class", (1, 2)), ("Object", (1, 2))):
            pixels = sum(mask_of(number, i) * np.uint8(v) for i, v in enumerate(values))
            path = folder / f"Segmentation{kind}" / name_of(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path)
    (folder.parent / "names.txt").write_text("background\ndisc\nbox\n")
    return folder


# By name of the tool: the writer, and the source's name in datasets/README.md.
EXPORTS: dict[str, tuple[Callable[[Path, int], Path], str]] = {
    "labelme": (write_labelme, "photos"),
    "via": (write_via, "via_export"),
    "cvat": (write_cvat, "cvat_export"),
    "yolo": (write_yolo, "yolo_export"),
    "labelbox": (write_labelbox, "export.ndjson"),
    "supervisely": (write_supervisely, "project"),
    "coco-instances": (write_coco, "annotations.json"),
    "mask-folders": (write_mask_folders, "cells"),
    "label-maps": (write_label_maps, "masks"),
}
# Likewise, of tools that the page shows no line for.
MORE_EXPORTS: dict[str, tuple[Callable[[Path, int], Path], str]] = {
    "instance-maps": (write_instance_maps, "masks"),
    "label-and-instance-maps": (write_pairs, "masks"),
    "voc": (write_voc, "VOC2012"),
}
