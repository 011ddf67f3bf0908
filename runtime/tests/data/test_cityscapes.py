"""Cityscapes' annotations, on generated files in the published layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api

from detectron2.data.datasets import cityscapes
from detectron2.data.datasets.builtin_meta import cityscapes_panoptic_metadata
from detectron2.data.datasets.cityscapes import load_cityscapes_instances, load_cityscapes_semantic
from detectron2.data.datasets.cityscapes_panoptic import (
    get_cityscapes_panoptic_files,
    load_cityscapes_panoptic,
)

ROAD, CAR, CARAVAN = 7, 26, 29


def polygon(label: str, x0: int, y0: int, x1: int, y1: int, **more: Any) -> dict[str, Any]:
    return {"label": label, "polygon": [[x0, y0], [x1, y0], [x1, y1], [x0, y1]], **more}


OBJECTS = [
    polygon("road", 0, 0, 29, 19),
    polygon("car", 2, 2, 10, 10),
    polygon("car", 6, 2, 14, 10),  # Hides a part of the first car.
    polygon("cargroup", 20, 2, 26, 8),
    polygon("person", 0, 0, 1, 1, deleted=1),
    polygon("caravan", 22, 12, 26, 18),
    polygon("license plate", 12, 6, 13, 7),
]


def instance_map() -> np.ndarray:
    ids = np.full((20, 30), ROAD, dtype=np.uint16)
    ids[2:8, 3:9] = CAR * 1000
    ids[10:15, 10:20] = CAR * 1000 + 1
    ids[15:, :5] = CAR  # A group.
    ids[0, 5:9] = 25000  # One row: too thin for a box.
    ids[9:12, :3] = CARAVAN * 1000
    return ids


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for city, number in (("bb", 1), ("aa", 2), ("aa", 1)):
        images, labels = tmp_path / "img" / city, tmp_path / "gtFine" / city
        images.mkdir(parents=True, exist_ok=True)
        labels.mkdir(parents=True, exist_ok=True)
        stem = f"{city}_00000{number}_000019"
        Image.new("RGB", (30, 20)).save(images / f"{stem}_leftImg8bit.png")
        Image.fromarray(instance_map()).save(labels / f"{stem}_gtFine_instanceIds.png")
        Image.new("L", (30, 20)).save(labels / f"{stem}_gtFine_labelTrainIds.png")
        content = {"imgHeight": 20, "imgWidth": 30, "objects": OBJECTS}
        (labels / f"{stem}_gtFine_polygons.json").write_text(json.dumps(content))
    return tmp_path


def instances(root: Path, **options: bool) -> list[dict[str, Any]]:
    return load_cityscapes_instances(str(root / "img"), str(root / "gtFine"), **options)


def test_semantic_records_are_by_city_and_name(root: Path) -> None:
    records = load_cityscapes_semantic(str(root / "img"), str(root / "gtFine"))
    names = [Path(r["file_name"]).name[:9] for r in records]
    assert names == ["aa_000001", "aa_000002", "bb_000001"]
    assert records[0]["sem_seg_file_name"].endswith("aa/aa_000001_000019_gtFine_labelTrainIds.png")
    assert (records[0]["height"], records[0]["width"]) == (20, 30)


def test_polygons_lose_what_nearer_objects_hide(root: Path) -> None:
    record = instances(root)[0]
    group, near, far = record["annotations"]
    assert record["image_id"] == "aa_000001_000019_leftImg8bit.png"
    # Pixels 20 to 26 cover 20.0 to 27.0.
    assert (group["bbox"], group["iscrowd"], group["category_id"]) == ((20, 2, 27, 9), True, 2)
    assert (near["bbox"], near["iscrowd"]) == ((6, 2, 15, 11), False)
    x0, y0, x1, y1 = far["bbox"]
    assert (x0, y0, y1) == (2, 2, 11)
    assert x1 == pytest.approx(6, abs=0.5)  # The near car begins at 6, with round corners.
    (outline,) = far["segmentation"]
    assert min(outline[0::2]) == 2
    assert max(outline[1::2]) == 11


def test_an_object_cut_in_two_has_two_polygons(root: Path) -> None:
    objects = [polygon("car", 0, 0, 20, 4), polygon("pole", 8, 0, 12, 10)]
    for file in root.glob("gtFine/*/*.json"):
        file.write_text(json.dumps({"imgHeight": 20, "imgWidth": 30, "objects": objects}))
    (car,) = instances(root)[0]["annotations"]
    assert len(car["segmentation"]) == 2


def test_instance_maps_give_masks(root: Path) -> None:
    annotations = instances(root, from_json=False, to_polygons=False)[0]["annotations"]
    ids = instance_map()
    for annotation, number in zip(annotations, (CAR, CAR * 1000, CAR * 1000 + 1), strict=True):
        assert (mask_api.decode(annotation["segmentation"]) == (ids == number)).all()
    assert [a["iscrowd"] for a in annotations] == [True, False, False]
    assert [a["category_id"] for a in annotations] == [2, 2, 2]
    assert annotations[1]["bbox"] == [3, 2, 8, 7]  # First and last pixel.


def test_instance_maps_give_contours(root: Path) -> None:
    annotations = instances(root, from_json=False)[0]["annotations"]
    (contour,) = annotations[1]["segmentation"]
    points = set(zip(contour[0::2], contour[1::2], strict=True))
    border = {(x, y) for x in range(3, 9) for y in range(2, 8) if x in (3, 8) or y in (2, 7)}
    assert points == border


def test_processes_give_the_same_records(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = instances(root)
    monkeypatch.setattr(cityscapes, "MIN_IMAGES_FOR_PROCESSES", 1)
    assert instances(root) == alone


def test_polygon_files_have_no_masks(root: Path) -> None:
    with pytest.raises(AssertionError, match="needs from_json=False"):
        instances(root, from_json=True, to_polygons=False)


def test_missing_labels_say_how_to_make_them(root: Path) -> None:
    next(root.glob("gtFine/bb/*labelTrainIds.png")).unlink()
    with pytest.raises(AssertionError, match=r"createTrainIdLabelImgs\.py"):
        load_cityscapes_semantic(str(root / "img"), str(root / "gtFine"))


def test_missing_and_wrong_folders_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent does not exist"):
        load_cityscapes_semantic(str(root / "absent"), str(root / "gtFine"))
    with pytest.raises(AssertionError, match=r"does not end in 'leftImg8bit\.png'"):
        load_cityscapes_semantic(str(root / "gtFine"), str(root / "gtFine"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(AssertionError, match="No images found"):
        load_cityscapes_semantic(str(tmp_path / "empty"), str(root / "gtFine"))


class Panoptic:
    def __init__(self, root: Path) -> None:
        # The published folder names: the semantic maps are found from those of the images.
        (root / "img").rename(root / "leftImg8bit")
        self.images = str(root / "leftImg8bit")
        self.maps = str(root / "panoptic")
        self.json = root / "panoptic.json"
        Path(self.maps).mkdir()
        self.info = {
            "annotations": [
                {
                    "image_id": f"{stem}_000019",
                    "file_name": f"{stem}_000019_gtFine_panoptic.png",
                    "segments_info": [
                        {"id": 26000, "category_id": 26, "iscrowd": 0, "bbox": [1, 2, 3, 4]},
                        {"id": 7, "category_id": 7, "iscrowd": 0, "bbox": [1, 2, 3, 4]},
                    ],
                }
                for stem in ("aa_000002", "aa_000001", "bb_000001")
            ]
        }
        for annotation in self.info["annotations"]:
            Path(self.maps, str(annotation["file_name"])).touch()
        self.json.write_text(json.dumps(self.info))

    def load(self) -> list[dict[str, Any]]:
        metadata = cityscapes_panoptic_metadata()
        return load_cityscapes_panoptic(self.images, self.maps, str(self.json), metadata)


@pytest.fixture
def panoptic(root: Path) -> Panoptic:
    return Panoptic(root)


def test_panoptic_records_have_train_ids(panoptic: Panoptic) -> None:
    first, *_ = panoptic.load()
    assert first["image_id"] == "aa_000002_000019"
    assert first["file_name"].endswith("leftImg8bit/aa/aa_000002_000019_leftImg8bit.png")
    assert first["sem_seg_file_name"].endswith(
        "gtFine/aa/aa_000002_000019_gtFine_labelTrainIds.png"
    )
    assert first["pan_seg_file_name"].endswith("panoptic/aa_000002_000019_gtFine_panoptic.png")
    assert [s["category_id"] for s in first["segments_info"]] == [13, 0]


def test_panoptic_files_keep_the_dataset_ids(panoptic: Panoptic) -> None:
    files = get_cityscapes_panoptic_files(panoptic.images, panoptic.maps, panoptic.info)
    assert [Path(image).name[:9] for image, _, _ in files] == [
        "aa_000002",
        "aa_000001",
        "bb_000001",
    ]
    assert files[0][2] == panoptic.info["annotations"][0]["segments_info"]


def test_missing_panoptic_files_say_how_to_make_them(panoptic: Panoptic) -> None:
    next(Path(panoptic.maps).glob("bb*")).unlink()
    with pytest.raises(AssertionError, match=r"createPanopticImgs\.py"):
        panoptic.load()
    panoptic.json.unlink()
    with pytest.raises(AssertionError, match=r"createPanopticImgs\.py"):
        panoptic.load()


def test_annotation_without_image_is_named(panoptic: Panoptic) -> None:
    next(Path(panoptic.images).glob("bb/*")).unlink()
    with pytest.raises(AssertionError, match="no image for the annotation 'bb_000001_000019'"):
        panoptic.load()
