"""Tests of the dataset mapper against the recorded facts, and of its messages."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden import Golden, exception_name
from PIL import Image

from detectron2.config import get_cfg
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.data.detection_utils import SizeMismatchError
from detectron2.structures import BoxMode


@pytest.fixture
def golden() -> Golden:
    return Golden("dataset_mapper")


def recorded_record(golden: Golden, folder: Path, *, rle: bool) -> dict[str, Any]:
    Image.fromarray(golden.input_array("image")).save(folder / "image.png")
    Image.fromarray(golden.input_array("sem")).save(folder / "sem.png")
    annotations = copy.deepcopy(golden.params["annos"])
    for annotation in annotations:
        mask = annotation.pop("rle")
        if rle:
            annotation["segmentation"] = mask
    return {
        "file_name": str(folder / "image.png"),
        "height": 80,
        "width": 120,
        "image_id": 1,
        "annotations": annotations,
        "sem_seg_file_name": str(folder / "sem.png"),
    }


def recorded_mapper(variant: str) -> DatasetMapper:
    augmentations: list[Any] = [T.ResizeShortestEdge(60, 200), T.HFlipTransform(90)]
    options: dict[str, Any] = {"image_format": "BGR", "use_instance_mask": True}
    if variant in ("bitmask", "crop"):
        options["instance_mask_format"] = "bitmask"
    if variant == "crop":
        augmentations = [T.CropTransform(10, 5, 60, 50)]
        options["recompute_boxes"] = True
    if variant == "test":
        augmentations, options = [], {"image_format": "RGB"}
    return DatasetMapper(variant != "test", augmentations=augmentations, **options)


@pytest.mark.parametrize("variant", ["polygon", "bitmask", "crop", "test"])
def test_inputs_are_as_recorded(golden: Golden, variant: str, tmp_path: Path) -> None:
    record = recorded_record(golden, tmp_path, rle=variant in ("bitmask", "crop"))
    before = copy.deepcopy(record)
    mapped = recorded_mapper(variant)(record)
    golden.check(f"{variant}_image", mapped["image"])
    golden.check(f"{variant}_sem", mapped["sem_seg"])
    facts = golden.json("facts")
    assert facts["input_unchanged"]
    assert record == before
    facts = facts[variant]
    assert sorted(mapped) == facts["keys"]
    assert {key: type(mapped[key]).__name__ for key in facts["types"]} == facts["types"]
    assert str(mapped["image"].dtype) == facts["image_dtype"]
    assert str(mapped["sem_seg"].dtype) == facts["sem_dtype"]
    if variant == "test":
        return
    instances = mapped["instances"]
    golden.check(f"{variant}_boxes", instances.gt_boxes.tensor)
    golden.check(f"{variant}_classes", instances.gt_classes)
    if variant == "polygon":
        golden.check("polygon_areas", instances.gt_masks.area())
    else:
        golden.check(f"{variant}_masks", instances.gt_masks.tensor)
    found = {name: type(field).__name__ for name, field in instances.get_fields().items()}
    assert found == facts["instance_fields"]
    assert list(instances.image_size) == facts["image_size"]


def test_a_wrong_size_is_as_recorded(golden: Golden, tmp_path: Path) -> None:
    record = {**recorded_record(golden, tmp_path, rle=False), "width": 7}
    assert (
        exception_name(lambda: recorded_mapper("test")(record))
        == golden.json("facts")["size_mismatch"]
    )


@pytest.fixture
def record(tmp_path: Path) -> dict[str, Any]:
    """A grey image, 6 x 8, with one instance."""
    Image.new("RGB", (8, 6), (10, 20, 30)).save(tmp_path / "image.png")
    return {
        "file_name": str(tmp_path / "image.png"),
        "height": 6,
        "width": 8,
        "image_id": 1,
        "annotations": [
            {
                "bbox": [1, 1, 2, 2],
                "bbox_mode": BoxMode.XYWH_ABS,
                "category_id": 3,
                "segmentation": [[1, 1, 3, 1, 3, 3, 1, 3]],
            }
        ],
    }


def mapper(**options: Any) -> DatasetMapper:
    return DatasetMapper(
        **{"is_train": True, "augmentations": [], "image_format": "RGB", **options}
    )


@pytest.mark.parametrize(
    ("format", "first"), [("RGB", [10, 20, 30]), ("BGR", [30, 20, 10]), ("L", [18])]
)
def test_channels_come_first_in_the_order_of_the_format(
    record: dict[str, Any], format: str, first: list[int]
) -> None:
    image = mapper(image_format=format)(record)["image"]
    assert image.shape == (len(first), 6, 8)
    assert image[:, 0, 0].tolist() == first
    assert image.is_contiguous()


def test_masks_are_left_out_unless_asked_for(record: dict[str, Any]) -> None:
    assert not mapper()(record)["instances"].has("gt_masks")
    assert mapper(use_instance_mask=True)(record)["instances"].has("gt_masks")


@pytest.mark.parametrize("annotations", [[], [{"iscrowd": 1}]])
def test_images_without_instances_have_no_masks(
    record: dict[str, Any], annotations: list[dict[str, Any]]
) -> None:
    record["annotations"] = [{**record["annotations"][0], **change} for change in annotations]
    instances = mapper(use_instance_mask=True)(record)["instances"]
    assert len(instances) == 0
    assert sorted(instances.get_fields()) == ["gt_boxes", "gt_classes"]
    assert instances.gt_classes.dtype == torch.int64


def test_images_without_instances_can_recompute_boxes(record: dict[str, Any]) -> None:
    record["annotations"] = []
    assert len(mapper(use_instance_mask=True, recompute_boxes=True)(record)["instances"]) == 0


def test_crops_recompute_boxes_from_what_is_left(record: dict[str, Any]) -> None:
    crop = mapper(
        augmentations=[T.CropTransform(2, 0, 6, 6)],
        use_instance_mask=True,
        instance_mask_format="bitmask",
        recompute_boxes=True,
    )
    assert crop(record)["instances"].gt_boxes.tensor.tolist() == [[0, 1, 1, 3]]


def test_keypoints_of_a_record_are_dropped(record: dict[str, Any]) -> None:
    record["annotations"][0]["keypoints"] = [1, 2, 3]
    assert len(mapper()(record)["instances"]) == 1


def test_proposals_are_transformed_where_asked_for(record: dict[str, Any]) -> None:
    record["proposal_boxes"] = np.array([[0, 0, 2, 2], [1, 1, 5, 5]], np.float32)
    record["proposal_objectness_logits"] = np.array([2.0, 1.0])
    record["proposal_bbox_mode"] = BoxMode.XYXY_ABS
    flip = mapper(augmentations=[T.HFlipTransform(8)], precomputed_proposal_topk=1)
    assert flip(record)["proposals"].proposal_boxes.tensor.tolist() == [[6, 0, 8, 2]]
    assert "proposal_boxes" in record
    assert "proposals" not in mapper()(record)


def test_labels_of_another_size_are_named(record: dict[str, Any], tmp_path: Path) -> None:
    Image.new("L", (4, 5)).save(tmp_path / "labels.png")
    record["sem_seg_file_name"] = str(tmp_path / "labels.png")
    with pytest.raises(SizeMismatchError, match=r"labels\.png.*\(5, 4\).*image\.png.*\(6, 8\)"):
        mapper()(record)


def test_masks_of_another_size_are_named(record: dict[str, Any]) -> None:
    record["annotations"][0]["segmentation"] = {"size": [4, 4], "counts": [16]}
    with pytest.raises(SizeMismatchError, match=r"\(4, 4\).*image\.png.*\(6, 8\)"):
        mapper(use_instance_mask=True, instance_mask_format="bitmask")(record)


def test_the_config_gives_the_arguments() -> None:
    cfg = get_cfg()
    cfg.MODEL.MASK_ON = True
    cfg.MODEL.LOAD_PROPOSALS = True
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.MASK_FORMAT = "bitmask"
    train, test = (DatasetMapper.from_config(cfg, is_train) for is_train in (True, False))
    assert [type(a).__name__ for a in train.pop("augmentations")] == [
        "RandomCrop",
        "ResizeShortestEdge",
        "RandomFlip",
    ]
    assert train == {
        "is_train": True,
        "image_format": "BGR",
        "use_instance_mask": True,
        "use_keypoint": False,
        "instance_mask_format": "bitmask",
        "precomputed_proposal_topk": 2000,
        "recompute_boxes": True,
    }
    assert [type(a).__name__ for a in test["augmentations"]] == ["ResizeShortestEdge"]
    assert (test["precomputed_proposal_topk"], test["recompute_boxes"]) == (1000, False)


def test_a_mapper_is_built_from_a_config(record: dict[str, Any]) -> None:
    build: Any = DatasetMapper
    mapped = build(get_cfg(), is_train=False)(record)
    assert mapped["image"].shape == (3, 800, 1067)
    assert "annotations" not in mapped


def test_impossible_wishes_are_refused() -> None:
    with pytest.raises(ValueError, match="use_instance_mask"):
        mapper(recompute_boxes=True)
    with pytest.raises(NotImplementedError, match="KEYPOINT_ON"):
        mapper(use_keypoint=True)


def test_subclasses_may_change_the_annotations_of_their_copy(record: dict[str, Any]) -> None:
    class Relabelling(DatasetMapper):
        def _transform_annotations(self, dataset_dict: dict[str, Any], *rest: Any) -> None:
            for annotation in dataset_dict["annotations"]:
                annotation["category_id"] = 0
            super()._transform_annotations(dataset_dict, *rest)

    relabel = Relabelling(True, augmentations=[], image_format="RGB")
    assert relabel(record)["instances"].gt_classes.tolist() == [0]
    assert record["annotations"][0]["category_id"] == 3


@pytest.mark.parametrize("view", [np.s_[:], np.s_[:, ::-1], np.s_[::-1], np.s_[1:, 2:]])
def test_any_view_of_an_image_becomes_its_planes(view: Any, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    mapper = DatasetMapper(
        True, augmentations=[T.ColorTransform(lambda image: image[view])], image_format="RGB"
    )
    out = mapper({"file_name": str(tmp_path / "image.png")})["image"]
    assert np.array_equal(out.numpy(), pixels[view].transpose(2, 0, 1))
    assert out.is_contiguous()
