"""COCO's annotation format: reading it and converting to it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden import Golden, check_json
from pycocotools import mask as mask_api

from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.coco import (
    convert_to_coco_dict,
    convert_to_coco_json,
    load_coco_json,
    load_sem_seg,
    register_coco_instances,
)
from detectron2.structures import BoxMode

NAME = "coco_format_test"
DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    DatasetCatalog.pop(NAME, None)
    MetadataCatalog.pop(NAME, None)


def annotation(**changes: Any) -> dict[str, Any]:
    base = {"id": 1, "image_id": 9, "category_id": 7, "bbox": [1, 1, 2, 2], "area": 2, "iscrowd": 0}
    return {**base, "segmentation": [[1, 1, 3, 1, 3, 3]], **changes}


def write(folder: Path, annotations: list[dict[str, Any]] | None, name: str = "a.json") -> str:
    """Two images, 9 before 0, and the categories 7 = b before 2 = a."""
    content: dict[str, Any] = {
        "images": [
            {"id": 9, "file_name": "9.jpg", "height": 5, "width": 6},
            {"id": 0, "file_name": "sub/0.jpg", "height": 5, "width": 6},
        ],
        "categories": [{"id": 7, "name": "b"}, {"id": 2, "name": "a"}],
    }
    if annotations is not None:
        content["annotations"] = annotations
    (folder / name).write_text(json.dumps(content))
    return str(folder / name)


def test_records_are_sorted_and_classes_contiguous(tmp_path: Path) -> None:
    path = write(tmp_path, [annotation()])
    records = load_coco_json(path, "R", NAME)
    assert [r["image_id"] for r in records] == [0, 9]
    assert records[0] == {
        "file_name": "R/sub/0.jpg",
        "height": 5,
        "width": 6,
        "image_id": 0,
        "annotations": [],
    }
    assert records[1]["annotations"] == [
        {
            "iscrowd": 0,
            "bbox": [1, 1, 2, 2],
            "category_id": 1,
            "segmentation": [[1, 1, 3, 1, 3, 3]],
            "bbox_mode": BoxMode.XYWH_ABS,
        }
    ]
    meta = MetadataCatalog.get(NAME)
    assert meta.thing_classes == ["a", "b"]
    assert meta.thing_dataset_id_to_contiguous_id == {2: 0, 7: 1}


def test_without_a_name_category_ids_are_those_of_the_file(tmp_path: Path) -> None:
    records = load_coco_json(write(tmp_path, [annotation()]), "R")
    assert records[1]["annotations"][0]["category_id"] == 7


def test_extra_keys_are_kept_where_present(tmp_path: Path) -> None:
    path = write(tmp_path, [annotation(depth=3)])
    kept = load_coco_json(path, "R", NAME, ["depth", "absent"])[1]["annotations"][0]
    assert kept["depth"] == 3
    assert "absent" not in kept
    assert "area" not in kept


def test_uncompressed_rle_is_compressed(tmp_path: Path) -> None:
    rle = {"counts": [5, 3, 22], "size": [5, 6]}
    path = write(tmp_path, [annotation(segmentation=rle, iscrowd=1)])
    loaded = load_coco_json(path, "R", NAME)[1]["annotations"][0]["segmentation"]
    # Three pixels from the top of the second column on.
    expected = np.zeros((5, 6), dtype=np.uint8)
    expected[:3, 1] = 1
    assert (mask_api.decode(loaded) == expected).all()


@pytest.mark.parametrize(
    ("segmentation", "kept"),
    [
        ([[1, 1, 2]], None),  # Odd.
        ([[1, 1, 2, 2]], None),  # Two points.
        ([[1, 1, 2], [1, 1, 3, 1, 3, 3]], [[1, 1, 3, 1, 3, 3]]),
    ],
)
def test_degenerate_polygons_are_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, segmentation: list, kept: list | None
) -> None:
    path = write(tmp_path, [annotation(segmentation=segmentation)])
    annotations = load_coco_json(path, "R", NAME)[1]["annotations"]
    assert [a["segmentation"] for a in annotations] == ([] if kept is None else [kept])
    assert ("without a valid polygon" in caplog.text) == (kept is None)


@pytest.mark.parametrize("segmentation", [[], None])
def test_an_annotation_without_mask_keeps_its_box(tmp_path: Path, segmentation: Any) -> None:
    path = write(tmp_path, [annotation(segmentation=segmentation)])
    (kept,) = load_coco_json(path, "R", NAME)[1]["annotations"]
    assert "segmentation" not in kept


def test_annotations_of_unknown_images_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = load_coco_json(write(tmp_path, [annotation(image_id=77)]), "R", NAME)
    assert all(not r["annotations"] for r in records)
    assert "only 0 belong to an image" in caplog.text


def test_a_file_without_annotations_lists_its_images(tmp_path: Path) -> None:
    assert len(load_coco_json(write(tmp_path, None), "R", NAME)) == 2


@pytest.mark.parametrize(
    ("annotations", "error", "message"),
    [
        ([annotation(), annotation()], AssertionError, r"not unique: \[1\]"),
        ([annotation(category_id=5)], KeyError, r"category_id=5.*\[2, 7\]"),
        ([annotation(bbox=[])], ValueError, "image 9 has an empty 'bbox'"),
        ([annotation(ignore=1)], AssertionError, "'ignore'"),
    ],
)
def test_invalid_annotations_raise(
    tmp_path: Path, annotations: list, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_coco_json(write(tmp_path, annotations), "R", NAME)


def test_minival_may_repeat_annotation_ids(tmp_path: Path) -> None:
    path = write(tmp_path, [annotation(), annotation()], "minival.json")
    assert len(load_coco_json(path, "R", NAME)[1]["annotations"]) == 2


def test_missing_file_names_path_data_set_and_remedy(tmp_path: Path) -> None:
    register_coco_instances(NAME, {}, str(tmp_path / "no.json"), "R")
    with pytest.raises(FileNotFoundError, match=f"no.json.*{NAME}.*DETECTRON2_DATASETS"):
        DatasetCatalog.get(NAME)


def test_broken_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(ValueError, match=r"b\.json is not valid JSON"):
        load_coco_json(str(tmp_path / "b.json"), "R")


def test_registration_sets_the_recorded_metadata(tmp_path: Path) -> None:
    golden = Golden("coco_evaluator")
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(golden.params["gt"]))
    register_coco_instances(NAME, {}, str(path), "root")
    records = DatasetCatalog.get(NAME)
    first = records[0]
    golden.check_json(
        "dataset_dict",
        {
            "keys": sorted(first),
            "file_name": first["file_name"],
            "anno": {**first["annotations"][0], "bbox_mode": 1},
            "n": [len(r["annotations"]) for r in records],
            "image_id": first["image_id"],
        },
    )
    meta = MetadataCatalog.get(NAME)
    golden.check_json(
        "meta",
        {
            "keys": sorted(meta.as_dict()),
            "thing_classes": meta.thing_classes,
            "map": meta.thing_dataset_id_to_contiguous_id,
            "evaluator_type": meta.evaluator_type,
        },
    )


@pytest.mark.parametrize("arguments", [(3, {}, "a", "b"), (NAME, {}, 3, "b"), (NAME, {}, "a", 3)])
def test_registration_wants_strings(arguments: Any) -> None:
    with pytest.raises(AssertionError, match="not a str or path"):
        register_coco_instances(*arguments)


def test_sem_seg_pairs_the_common_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for file in ("g/b.png", "g/a.png", "g/x.txt", "g/sub/c.png", "i/a.jpg", "i/b.jpg", "i/z.jpg"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    records = load_sem_seg(str(tmp_path / "g"), str(tmp_path / "i"))
    assert records == [
        {
            "file_name": str(tmp_path / "i" / f"{stem}.jpg"),
            "sem_seg_file_name": str(tmp_path / "g" / f"{stem}.png"),
        }
        for stem in "ab"
    ]
    assert "have 3 and 2 files; the 2 names" in caplog.text


def test_sem_seg_without_labels_raises(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no label map"):
        load_sem_seg(str(tmp_path), str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"absent does not exist.*DETECTRON2_DATASETS"):
        load_sem_seg(str(tmp_path / "absent"), str(tmp_path))


def register_one(**record: Any) -> None:
    base = {"file_name": "q.jpg", "image_id": 4, "height": 9, "width": 12}
    DatasetCatalog.register(NAME, lambda: [{**base, **record}])
    MetadataCatalog.get(NAME).thing_classes = ["a", "b"]


def test_conversion_equals_the_recorded_one() -> None:
    golden = Golden("panoptic_dataset")
    polygon = [1, 2, 6, 2, 6, 8, 1, 8]
    register_one(
        annotations=[
            {
                "bbox": [1, 2, 6, 8],
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": 1,
                "segmentation": [polygon],
            }
        ]
    )
    converted = convert_to_coco_dict(NAME)
    converted["info"] = sorted(converted["info"])
    golden.check_json("coco", converted)


def test_conversion_knows_rle_boxes_and_dataset_ids() -> None:
    box = {"bbox": np.array([1, 2, 6, 8.1234]), "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
    rle = mask_api.encode(np.asfortranarray(np.eye(9, 12, dtype=np.uint8)))
    register_one(annotations=[box, {**box, "category_id": 1, "segmentation": rle, "iscrowd": 1}])
    MetadataCatalog.get(NAME).thing_dataset_id_to_contiguous_id = {4: 0, 9: 1}
    converted = convert_to_coco_dict(NAME)
    assert converted["categories"] == [{"id": 4, "name": "a"}, {"id": 9, "name": "b"}]
    plain, crowd = converted["annotations"]
    check_json("box", plain["area"], 6 * 8.1234)
    assert plain["bbox"] == [1, 2, 6, 8.123]
    assert (crowd["area"], crowd["iscrowd"], crowd["category_id"], crowd["id"]) == (9, 1, 9, 2)
    assert crowd["segmentation"]["counts"] == rle["counts"].decode()
    assert isinstance(rle["counts"], bytes), "the record must be left as it is"


def test_images_without_id_are_numbered() -> None:
    DatasetCatalog.register(NAME, lambda: [{"file_name": "q", "height": 1, "width": 1}] * 2)
    MetadataCatalog.get(NAME).thing_classes = ["a"]
    assert [image["id"] for image in convert_to_coco_dict(NAME)["images"]] == [0, 1]


def test_unknown_segmentation_type_raises() -> None:
    box = {"bbox": [1, 2, 6, 8], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
    register_one(annotations=[{**box, "segmentation": 3}])
    with pytest.raises(TypeError, match="not a int"):
        convert_to_coco_dict(NAME)


def test_converted_file_is_kept_only_if_allowed(tmp_path: Path) -> None:
    register_one()
    path = tmp_path / "new" / "c.json"
    convert_to_coco_json(NAME, str(path))
    assert json.loads(path.read_text())["images"][0]["id"] == 4
    path.write_text("old")
    convert_to_coco_json(NAME, str(path))
    assert path.read_text() == "old"
    convert_to_coco_json(NAME, str(path), allow_cached=False)
    assert path.read_text() != "old"
    assert [p.name for p in path.parent.iterdir()] == ["c.json"]


def test_converted_file_can_be_read_back(tmp_path: Path) -> None:
    box = {"bbox": [1.0, 2, 6, 8], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1, "iscrowd": 0}
    register_one(annotations=[{**box, "segmentation": [[1, 1, 3, 1, 3, 3]]}])
    convert_to_coco_json(NAME, str(tmp_path / "c.json"))
    (record,) = load_coco_json(str(tmp_path / "c.json"), "", NAME)
    assert record == DatasetCatalog.get(NAME)[0]


@pytest.mark.skipif(not DATA.is_dir(), reason="sample data are absent (../shared/data)")
def test_a_real_file_is_read(caplog: pytest.LogCaptureFixture) -> None:
    root = DATA / "coco_instances"
    with caplog.at_level(logging.WARNING):
        records = load_coco_json(
            str(root / "annotations" / "instances_val2017.json"), str(root / "val2017"), NAME
        )
    assert len(records) == 26
    annotations = [a for r in records for a in r["annotations"]]
    assert len(annotations) == 219
    assert sum(a["iscrowd"] for a in annotations) == 2
    assert all(Path(r["file_name"]).is_file() for r in records)
    assert "dropped" not in caplog.text
