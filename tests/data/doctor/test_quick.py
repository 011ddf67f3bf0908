"""The quick part: errors stop a training before it begins, clean data pass at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import WritePanoptic
from converted_sets import save_image

from seg_projects.data import (
    register_instance_maps,
    register_instances,
    register_panoptic,
    register_semantic,
)
from seg_projects.data.conversion.coco_panoptic import write_png
from seg_projects.data.doctor.quick import quick_findings, require_sound, spread
from seg_projects.errors import UserError

NAME = "quick_set"
IDS = np.zeros((10, 12), dtype=np.int32)
IDS[2:6, 2:6], IDS[8:] = 300, 7


@pytest.fixture
def panoptic(tmp_path: Path, write_panoptic: WritePanoptic) -> Path:
    """A registered set of two images."""
    path = write_panoptic(tmp_path / "set", [(IDS, [(300, 3, 0), (7, 5, 0)])] * 2)
    _register(path)
    return path


def _register(path: Path) -> None:
    folder = path.parent
    register_panoptic(
        NAME,
        image_root=folder / "images",
        panoptic_json=path,
        panoptic_root=folder / "masks",
    )


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    _register(path)


def test_clean_sets_pass(panoptic: Path) -> None:
    assert quick_findings(NAME) == []
    require_sound(NAME)


@pytest.mark.parametrize(
    ("kind", "plant"),
    [
        ("missing image", lambda path: (path.parent / "images" / "1.png").unlink()),
        ("missing PNG", lambda path: (path.parent / "masks" / "1.png").unlink()),
        ("unreadable image", lambda path: (path.parent / "images" / "1.png").write_text("x")),
        ("unreadable PNG", lambda path: (path.parent / "masks" / "1.png").write_text("x")),
        ("size mismatch", lambda path: save_image(path.parent / "images" / "1.png", 5, 5)),
        ("PNG of another size", lambda path: save_image(path.parent / "masks" / "1.png", 5, 5)),
    ],
)
def test_defect_of_files_is_found(panoptic: Path, kind: str, plant: Callable[[Path], Any]) -> None:
    plant(panoptic)
    assert [f.kind for f in quick_findings(NAME)] == [kind]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("duplicate image id", lambda c: c["images"][1].update(id=0)),
        ("malformed image record", lambda c: c["images"][0].update(height=0)),
        ("image annotated twice", lambda c: c["annotations"].append(c["annotations"][0])),
        (
            "unknown category",
            lambda c: c["annotations"][0]["segments_info"][0].update(category_id=99),
        ),
        ("malformed annotation", lambda c: c["annotations"][1]["segments_info"][0].pop("id")),
    ],
)
def test_defect_of_records_is_found(
    panoptic: Path, kind: str, change: Callable[[dict[str, Any]], object]
) -> None:
    _edit(panoptic, change)
    assert kind in {f.kind for f in quick_findings(NAME)}


def test_message_counts_and_names_the_tool(panoptic: Path) -> None:
    for file in (panoptic.parent / "images").iterdir():
        file.unlink()
    message = r"errors: missing image \(2\)\. The first: .*0\.png.*python tools/inspect_data\.py "
    with pytest.raises(UserError, match=message + r".*panoptic\.json --images .* --masks .*CHECK"):
        require_sound(NAME)


def test_instances_are_checked_without_their_masks(tmp_path: Path) -> None:
    save_image(tmp_path / "images" / "a.png", 12, 10)
    annotation = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [2, 2, 0, 4], "area": 1}
    content = {
        "images": [{"id": 0, "file_name": "a.png", "height": 10, "width": 12}],
        "annotations": [annotation | {"segmentation": [[2, 2, 6, 2, 6, 6]]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    path = tmp_path / "set.json"
    path.write_text(json.dumps(content))
    register_instances(NAME, image_root=tmp_path / "images", instances_json=path)
    assert [f.kind for f in quick_findings(NAME)] == ["malformed box"]


def test_label_maps_are_sampled(tmp_path: Path) -> None:
    save_image(tmp_path / "images" / "a.png", 3, 2)
    write_png(tmp_path / "labels" / "a.png", np.array([[0, 1, 255]] * 2, np.uint8))
    folders = {"image_root": tmp_path / "images", "label_root": tmp_path / "labels"}
    register_semantic(NAME, **folders, classes=["sky", "road"])
    assert quick_findings(NAME) == []
    register_semantic(NAME, **folders, classes=["sky"])
    with pytest.raises(UserError, match=r"label value without class .*--labels .*--num-classes 1"):
        require_sound(NAME)


def test_real_sets_pass(shared_data: Path) -> None:
    coco, membrane = shared_data / "coco_panoptic", shared_data / "membrane" / "train"
    annotations = coco / "annotations" / "panoptic_val2017"
    register_panoptic(
        NAME,
        image_root=coco / "val2017",
        panoptic_json=annotations.with_suffix(".json"),
        panoptic_root=annotations,
    )
    assert quick_findings(NAME) == []
    instances = coco / "annotations" / "instances_val2017.json"
    register_instances(NAME, image_root=coco / "val2017", instances_json=instances)
    assert quick_findings(NAME) == []
    register_semantic(
        NAME,
        image_root=membrane / "image",
        label_root=membrane / "label",
        classes=["membrane", "inside"],
        value_map={0: 0, 255: 1},
    )
    assert quick_findings(NAME) == []


UNUSED_DEFECTS: list[Callable[[dict[str, Any]], object]] = [
    lambda c: c["images"][1].update(height=0),
    lambda c: c["images"][1].update(file_name="absent.png"),
    lambda c: c["annotations"][1]["segments_info"][0].update(category_id=99),
    lambda c: c["annotations"].append(c["annotations"][1]),
    lambda c: c["annotations"].pop(),
]


@pytest.mark.parametrize("change", UNUSED_DEFECTS)
def test_images_that_are_not_used_are_not_judged(
    panoptic: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    _edit(panoptic, change)
    for image_id, sound in ((0, True), (1, False)):
        register_panoptic(
            NAME,
            image_root=panoptic.parent / "images",
            panoptic_json=panoptic,
            panoptic_root=panoptic.parent / "masks",
            image_ids=[image_id],
        )
        if sound:
            require_sound(NAME)
        else:
            with pytest.raises(UserError):
                require_sound(NAME)


def test_instances_of_images_that_are_not_used_are_not_judged(tmp_path: Path) -> None:
    save_image(tmp_path / "images" / "a.png", 12, 10)
    shape = {"category_id": 1, "area": 8, "segmentation": [[2, 2, 6, 2, 6, 6]]}
    content = {
        "images": [
            {"id": i, "file_name": f"{name}.png", "height": 10, "width": 12}
            for i, name in enumerate(("a", "absent"))
        ],
        "annotations": [
            {"id": 1, "image_id": 0, "bbox": [2, 2, 4, 4], **shape},
            {"id": 2, "image_id": 1, "bbox": [2, 2, 0, 4], **shape},
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }
    path = tmp_path / "set.json"
    path.write_text(json.dumps(content))
    places = {"image_root": tmp_path / "images", "instances_json": path}
    register_instances(NAME, **places, image_ids=[0])
    assert quick_findings(NAME) == []
    register_instances(NAME, **places, image_ids=[0, 1])
    assert {f.kind for f in quick_findings(NAME)} == {"malformed box", "missing image"}


def test_masks_that_cannot_be_used_stop_a_training(tmp_path: Path) -> None:
    save_image(tmp_path / "images" / "a.png", 3, 2)
    write_png(tmp_path / "masks" / "a.png", np.array([[0, 1, 2]] * 2, np.uint8))
    folders = {"images": tmp_path / "images", "label": "cell"}
    register_instance_maps(NAME, tmp_path / "masks", **folders)
    assert quick_findings(NAME) == []
    write_png(tmp_path / "masks" / "b.png", np.array([[0, 1]], np.uint8))
    register_instance_maps(NAME, tmp_path / "masks", **folders)
    command = rf"inspect_data\.py {tmp_path}/masks --tool instance-maps --images {tmp_path}/images"
    with pytest.raises(UserError, match=rf"left out by the reader \(1\).*b\.png.*{command}"):
        require_sound(NAME)


def test_sets_of_other_kinds_are_left_to_their_loaders() -> None:
    assert quick_findings("voc_2007_val") == []


def test_spread_keeps_both_ends() -> None:
    assert spread(range(10), 4) == [0, 3, 6, 9]
    assert spread([1, 2], 4) == [1, 2]
