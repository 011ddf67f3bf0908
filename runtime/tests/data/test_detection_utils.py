"""Tests of reading images and of the ground truth made of annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden import Golden, exception_name
from PIL import Image, ImageOps

from detectron2.config import CfgNode, get_cfg
from detectron2.data import MetadataCatalog
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import BoxMode, Instances

SQUARE = [1.0, 1.0, 3.0, 1.0, 3.0, 3.0, 1.0, 3.0]


@pytest.fixture
def golden() -> Golden:
    return Golden("detection_utils")


@pytest.fixture
def cfg() -> CfgNode:
    return get_cfg()


def annotation(**changes: Any) -> dict[str, Any]:
    return {"bbox": [1, 1, 2, 2], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1, **changes}


def recorded_instances(golden: Golden, mask_format: str) -> Instances:
    height, width = golden.params["size"]
    flip = T.HFlipTransform(width)
    annos = [
        utils.transform_instance_annotations(anno, flip, (height, width))
        for anno in golden.params["annos"]
    ]
    return utils.annotations_to_instances(annos, (height, width), mask_format)


def test_polygons_are_as_recorded(golden: Golden) -> None:
    instances = recorded_instances(golden, "polygon")
    golden.check("boxes", instances.gt_boxes.tensor)
    golden.check("classes", instances.gt_classes)
    golden.check("areas", instances.gt_masks.area())
    golden.check("filtered", utils.filter_empty_instances(instances).gt_boxes.tensor)
    facts = golden.json("facts")
    assert sorted(instances.get_fields()) == facts["fields"]
    assert [
        str(instances.gt_boxes.tensor.dtype),
        str(instances.gt_classes.dtype),
    ] == facts["dtypes"]


def test_masks_are_as_recorded(golden: Golden) -> None:
    golden.check("masks", recorded_instances(golden, "bitmask").gt_masks.tensor)


def test_transformed_annotations_are_as_recorded(golden: Golden) -> None:
    facts = golden.json("facts")
    anno = golden.params["annos"][0]
    moved = utils.transform_instance_annotations(anno, T.HFlipTransform(50), (40, 50))
    assert moved is anno
    assert sorted(moved) == facts["anno_keys"]
    assert type(moved["bbox"]).__name__ == facts["bbox_type"]
    assert moved["bbox_mode"] == facts["bbox_mode"]


@pytest.mark.parametrize("format", ["RGB", "BGR", "L", "YUV-BT.601"])
def test_images_are_read_as_recorded(golden: Golden, format: str, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(golden.input_array("image")).save(path)
    image = utils.read_image(str(path), format)
    golden.check(f"read_{format.replace('-', '_').replace('.', '')}", image)


def test_images_become_rgb_as_recorded(golden: Golden) -> None:
    image = Image.fromarray(golden.input_array("image"))
    yuv = utils.convert_PIL_to_numpy(image, "YUV-BT.601")
    golden.check("yuv_rgb", utils.convert_image_to_rgb(yuv, "YUV-BT.601"))
    golden.check("bgr_rgb", utils.convert_image_to_rgb(golden.input("image"), "BGR"))
    grey = utils.convert_PIL_to_numpy(image, "L")
    assert list(grey.shape) == golden.json("facts")["l_shape"]
    assert np.array_equal(utils.convert_image_to_rgb(grey, "L"), np.repeat(grey, 3, axis=2))
    four = np.arange(4, dtype=np.uint8).reshape(1, 1, 4)
    assert utils.convert_image_to_rgb(four, "BGR").tolist() == [[[2, 1, 0]]]


def test_empty_annotations_and_errors_are_as_recorded(golden: Golden, tmp_path: Path) -> None:
    facts = golden.json("facts")
    empty = utils.annotations_to_instances([], (4, 5))
    shapes = {
        "gt_boxes": list(empty.gt_boxes.tensor.shape),
        "gt_classes": list(empty.gt_classes.shape),
    }
    assert shapes == facts["no_annos"]
    missing = exception_name(lambda: utils.read_image(str(tmp_path / "none.png")))
    record = {"width": 3, "height": 4}
    mismatch = exception_name(lambda: utils.check_image_size(record, np.zeros((3, 4))))
    assert [missing, mismatch] == [facts["missing"], facts["size_error"]]


def test_default_augmentations_are_as_recorded(golden: Golden, cfg: CfgNode) -> None:
    facts = golden.json("facts")
    assert [repr(a) for a in utils.build_augmentation(cfg, True)] == facts["aug_train"]
    assert [repr(a) for a in utils.build_augmentation(cfg, False)] == facts["aug_test"]


@pytest.mark.parametrize(("flip", "expected"), [("vertical", "vertical=True"), ("none", "")])
def test_the_config_chooses_the_flip(cfg: CfgNode, flip: str, expected: str) -> None:
    cfg.INPUT.RANDOM_FLIP = flip
    shown = [repr(a) for a in utils.build_augmentation(cfg, True)][1:]
    assert shown == ([f"RandomFlip(horizontal=False, {expected})"] if expected else [])


# mode of the file -> shape and type of the pixels that are read without a format
MODES: dict[str, tuple[tuple[int, ...], str]] = {
    "1": ((6, 8), "bool"),
    "L": ((6, 8), "uint8"),
    "LA": ((6, 8, 2), "uint8"),
    "P": ((6, 8), "uint8"),
    "RGB": ((6, 8, 3), "uint8"),
    "RGBA": ((6, 8, 4), "uint8"),
    "CMYK": ((6, 8, 4), "uint8"),
    "I;16": ((6, 8), "uint16"),
    "F": ((6, 8), "float32"),
}


@pytest.mark.parametrize("mode", MODES)
def test_files_of_each_mode_are_read_in_each_format(mode: str, tmp_path: Path) -> None:
    path = str(tmp_path / "image.tiff")
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    if mode == "I;16":
        image = Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(pixels).convert(mode)
    image.save(path)
    plain = utils.read_image(path)
    assert (plain.shape, str(plain.dtype)) == MODES[mode]
    rgb = utils.read_image(path, "RGB")
    assert rgb.shape == (6, 8, 3)
    assert np.array_equal(utils.read_image(path, "BGR"), rgb[:, :, ::-1])
    assert utils.read_image(path, "L").shape == (6, 8, 1)
    assert np.array_equal(rgb, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda image: image),
        (2, lambda image: image[:, ::-1]),
        (3, lambda image: image[::-1, ::-1]),
        (4, lambda image: image[::-1]),
        (5, lambda image: image.swapaxes(0, 1)),
        (6, lambda image: np.rot90(image, 3)),
        (7, lambda image: np.rot90(image, 2).swapaxes(0, 1)),
        (8, lambda image: np.rot90(image)),
        (9, lambda image: image),
    ],
)
def test_images_are_turned_upright(orientation: int, upright: Any, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "image.png", exif=exif.tobytes())
    assert np.array_equal(utils.read_image(str(tmp_path / "image.png"), "RGB"), upright(pixels))


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    good, cut, text = (tmp_path / name for name in ("good.jpg", "cut.jpg", "text.jpg"))
    Image.effect_noise((64, 64), 50).save(good)
    cut.write_bytes(good.read_bytes()[:900])
    text.write_text("no image")
    with pytest.raises(FileNotFoundError, match=r"absent\.jpg"):
        utils.read_image(str(tmp_path / "absent.jpg"))
    for path in (cut, text):
        with pytest.raises(OSError, match=rf"{path.name}.*cannot be read"):
            utils.read_image(str(path), "RGB")


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format='FOO'"):
        utils.convert_PIL_to_numpy(Image.new("RGB", (2, 2)), "FOO")


def test_size_errors_name_sizes_and_file() -> None:
    record = {"file_name": "a.jpg", "width": 5, "height": 6}
    with pytest.raises(utils.SizeMismatchError, match=r"a\.jpg.*\(8, 6\).*\(5, 6\)"):
        utils.check_image_size(record, np.zeros((6, 8, 3)))


def test_unknown_sizes_are_noted() -> None:
    record: dict[str, Any] = {}
    utils.check_image_size(record, np.zeros((6, 8, 3)))
    assert record == {"width": 8, "height": 6}


def test_boxes_are_clipped_to_the_image() -> None:
    anno = utils.transform_instance_annotations(
        annotation(bbox=[-3, -3, 30, 4]), [T.HFlipTransform(8)], (6, 8)
    )
    assert anno["bbox"].tolist() == [0, 0, 8, 1]


@pytest.mark.parametrize("make", [list, np.array])
def test_polygons_of_the_record_stay_as_they_are(make: Any) -> None:
    polygon = make(SQUARE)
    anno = utils.transform_instance_annotations(
        annotation(segmentation=[polygon]), T.HFlipTransform(8), (6, 8)
    )
    assert list(polygon) == SQUARE
    assert anno["segmentation"][0].tolist() == [7, 1, 5, 1, 5, 3, 7, 3]


def test_integer_polygons_are_scaled_exactly() -> None:
    polygon = [1, 1, 3, 1, 3, 3]
    anno = utils.transform_instance_annotations(
        annotation(segmentation=[polygon]), T.ResizeTransform(8, 8, 4, 4), (4, 4)
    )
    assert anno["segmentation"][0].tolist() == [0.5, 0.5, 1.5, 0.5, 1.5, 1.5]


# A 2 x 3 mask whose second column is set: by columns 2 zeros, 2 ones, 2 zeros.
RLE = {"size": [2, 3], "counts": [2, 2, 2]}


def test_run_lengths_become_transformed_masks() -> None:
    crop = T.CropTransform(1, 0, 2, 2)
    anno = utils.transform_instance_annotations(annotation(segmentation=dict(RLE)), crop, (2, 2))
    assert anno["segmentation"].tolist() == [[1, 0], [1, 0]]


def test_a_mask_of_another_size_names_both() -> None:
    with pytest.raises(ValueError, match=r"\[2, 3\].*\(2, 3\).*\(6, 8\)"):
        utils.transform_instance_annotations(
            annotation(segmentation=dict(RLE)), T.NoOpTransform(), (6, 8)
        )
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(6, 8\)"):
        utils.annotations_to_instances([annotation(segmentation=dict(RLE))], (6, 8), "bitmask")


def test_masks_of_every_kind_become_bitmaps() -> None:
    bitmap = np.zeros((6, 8), np.uint8)
    bitmap[1:3, 1:3] = 1
    kinds: list[Any] = [[SQUARE], bitmap, {"size": [6, 8], "counts": [7, 2, 4, 2, 33]}]
    annos = [annotation(segmentation=kind) for kind in kinds]
    masks = utils.annotations_to_instances(annos, (6, 8), "bitmask").gt_masks.tensor
    assert masks.dtype == torch.bool
    assert all(np.array_equal(mask, bitmap.astype(bool)) for mask in masks.numpy())


@pytest.mark.parametrize(
    ("segmentation", "mask_format", "error", "message"),
    [
        ([[1, 1, 3, 3]], "polygon", ValueError, "mask_format=='polygon'"),
        (dict(RLE), "polygon", ValueError, "MASK_FORMAT 'bitmask'"),
        ("abc", "bitmask", ValueError, "type '<class 'str'>'"),
        (np.zeros((6, 8, 1)), "bitmask", AssertionError, "2 dimensions, got 3"),
        ([SQUARE], "dots", AssertionError, "mask_format='dots'"),
    ],
)
def test_wrong_masks_are_named(
    segmentation: Any, mask_format: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        utils.annotations_to_instances([annotation(segmentation=segmentation)], (6, 8), mask_format)


def test_masks_of_unknown_type_cannot_be_transformed() -> None:
    with pytest.raises(ValueError, match="Cannot transform segmentation"):
        utils.transform_instance_annotations(
            annotation(segmentation="abc"), T.NoOpTransform(), (6, 8)
        )


def test_keypoints_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="keypoints are not supported"):
        utils.transform_instance_annotations(annotation(keypoints=[]), T.NoOpTransform(), (6, 8))


def test_empty_instances_are_filtered() -> None:
    annos = [
        annotation(segmentation=[SQUARE]),
        annotation(bbox=[0, 0, 0, 3], segmentation=[SQUARE]),
        annotation(segmentation=np.zeros((6, 8))),
    ]
    instances = utils.annotations_to_instances(annos, (6, 8), "bitmask")
    kept, mask = utils.filter_empty_instances(instances, return_mask=True)
    assert mask.tolist() == [True, False, False]
    assert len(kept) == 1
    assert len(utils.filter_empty_instances(instances, by_mask=False)) == 2
    assert len(utils.filter_empty_instances(instances, by_box=False)) == 2
    with pytest.raises(AssertionError, match="by_box or by_mask"):
        utils.filter_empty_instances(instances, by_box=False, by_mask=False)


def test_nothing_to_filter_is_fine() -> None:
    assert len(utils.filter_empty_instances(utils.annotations_to_instances([], (6, 8)))) == 0


def test_proposals_are_transformed_and_limited() -> None:
    record = {
        "proposal_boxes": np.array([[0, 0, 4, 4], [7, 0, 9, 2], [1, 1, 2, 2]], np.float32),
        "proposal_bbox_mode": BoxMode.XYXY_ABS,
        "proposal_objectness_logits": np.array([3.0, 2.0, 1.0]),
    }
    utils.transform_proposals(record, (6, 8), T.HFlipTransform(8), proposal_topk=2, min_box_size=1)
    # The second one is 1 pixel wide after clipping, the third is 1 x 1.
    assert list(record) == ["proposals"]
    proposals: Any = record["proposals"]
    assert proposals.proposal_boxes.tensor.tolist() == [[4, 0, 8, 4]]
    assert proposals.objectness_logits.tolist() == [3]


def test_records_without_proposals_stay_as_they_are() -> None:
    record: dict[str, Any] = {"image_id": 1}
    utils.transform_proposals(record, (6, 8), T.NoOpTransform(), proposal_topk=2)
    assert record == {"image_id": 1}


@pytest.mark.parametrize("seed", range(5))
def test_crops_around_an_instance_hold_its_centre(seed: int) -> None:
    np.random.seed(seed)  # noqa: NPY002  (the generator that it draws from)
    crop = utils.gen_crop_transform_with_instance((6, 5), (20, 30), annotation(bbox=[7, 6, 4, 8]))
    assert crop.x0 <= 9 <= crop.x0 + crop.w
    assert crop.y0 <= 10 <= crop.y0 + crop.h
    assert (crop.h, crop.w) == (6, 5)


def test_crops_around_an_instance_need_it_inside() -> None:
    with pytest.raises(AssertionError, match="outside"):
        utils.gen_crop_transform_with_instance((3, 3), (6, 8), annotation(bbox=[90, 90, 4, 4]))
    with pytest.raises(AssertionError, match="larger"):
        utils.gen_crop_transform_with_instance((30, 30), (6, 8), annotation())


def test_different_metadata_is_refused() -> None:
    MetadataCatalog.get("utils_a").things = ["a"]
    MetadataCatalog.get("utils_b").things = ["b"]
    utils.check_metadata_consistency("things", ["utils_a", "utils_a"])
    utils.check_metadata_consistency("things", [])
    with pytest.raises(ValueError, match="'utils_b' differs from 'utils_a'"):
        utils.check_metadata_consistency("things", ["utils_a", "utils_b"])


def test_federated_weights_follow_the_image_counts() -> None:
    MetadataCatalog.get("utils_counts").class_image_count = [
        {"id": 2, "image_count": 9},
        {"id": 1, "image_count": 4},
    ]
    weights = utils.get_fed_loss_cls_weights("utils_counts", freq_weight_power=0.5)
    assert weights.tolist() == [2, 3]


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_jpeg_has_the_pixels_that_pillow_decodes(tmp_path: Path, orientation: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (37, 50, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "image.jpg"
    Image.fromarray(pixels).save(path, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    assert np.array_equal(utils.read_image(str(path), "BGR"), expected[:, :, ::-1])


def test_a_truncated_jpeg_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(OSError, match=r"image\.jpg.*truncated"):
        utils.read_image(str(path), "BGR")
