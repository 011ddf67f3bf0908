"""The instance mapper: Detectron2's results where Detectron2 has them, and ours beyond."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as mask_api

from detectron2.config import get_cfg
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from seg_projects.config import add_seg_projects_config
from seg_projects.data import InstanceMapper
from seg_projects.data.augmentation import CopyPaste, build_augmentations
from seg_projects.data.augmentation.geometry import LargeScaleJitter, RandomRotations, Window
from seg_projects.data.instance_shapes import move_masks
from seg_projects.errors import UserError

ALL = CopyPaste(probability=1.0, share=1.0)
SIZE = (30, 40)


def _rectangle(x0: float, y0: float, x1: float, y1: float, category: int, **more: Any) -> dict:
    return {
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": category,
        "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
        "iscrowd": 0,
        **more,
    }


def _as_runs(annotation: dict[str, Any]) -> dict[str, Any]:
    runs = mask_api.merge(mask_api.frPyObjects(annotation["segmentation"], *SIZE))
    return {**annotation, "segmentation": runs}


def _record(folder: Path, name: str, *annotations: dict[str, Any]) -> dict[str, Any]:
    pixels = np.random.default_rng(len(name)).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f"{name}.png")
    return {
        "file_name": str(folder / f"{name}.png"),
        "image_id": name,
        "height": SIZE[0],
        "width": SIZE[1],
        "annotations": list(annotations),
    }


@pytest.fixture
def record(tmp_path: Path) -> dict[str, Any]:
    """Two overlapping objects, a crowd, and one in the corner."""
    return _record(
        tmp_path,
        "one",
        _rectangle(4, 3, 20, 15, 2),
        _rectangle(10, 8, 30, 25, 0),
        _rectangle(0, 0, 40, 30, 1, iscrowd=1),
        _rectangle(36, 26, 40, 30, 1),
    )


def _mapper(*steps: Any, **options: Any) -> InstanceMapper:
    return InstanceMapper(
        options.pop("is_train", True), augmentations=steps, image_format="BGR", **options
    )


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
@pytest.mark.parametrize("crop", [False, True])
def test_without_augmentations_of_ours_it_gives_what_detectron2_gives(record, mask_format, crop):
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.MODEL.MASK_ON = True
    cfg.INPUT.MASK_FORMAT = mask_format
    cfg.INPUT.MIN_SIZE_TRAIN = (SIZE[0],)
    cfg.INPUT.CROP.ENABLED = crop
    for seed in range(4):
        np.random.seed(seed)  # noqa: NPY002  # Detectron2's augmentations use this generator
        theirs = DatasetMapper(cfg, is_train=True)(copy.deepcopy(record))
        np.random.seed(seed)  # noqa: NPY002
        ours = InstanceMapper(cfg, is_train=True)(record)
        assert set(ours) == set(theirs)
        assert int((ours["image"].int() - theirs["image"].int()).abs().max()) <= 1
        a, b = ours["instances"], theirs["instances"]
        assert a.gt_classes.tolist() == b.gt_classes.tolist()
        assert torch.allclose(a.gt_boxes.tensor, b.gt_boxes.tensor, atol=1e-4)
        if mask_format == "bitmask":
            assert torch.equal(a.gt_masks.tensor, b.gt_masks.tensor)
        else:
            assert a.gt_masks.area().tolist() == pytest.approx(b.gt_masks.area().tolist())


@pytest.mark.parametrize("as_runs", [False, True])
@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_boxes_are_tight_and_ids_conserved_under_all_movements(tmp_path_factory, as_runs, seed):
    annotations = [_rectangle(4, 3, 20, 15, 2), _rectangle(10, 8, 30, 25, 0)]
    annotations = [_as_runs(a) if as_runs else a for a in annotations]
    record = _record(tmp_path_factory.mktemp("a"), "moved", *annotations)
    steps = (RandomRotations(angle=180), LargeScaleJitter(size=(50, 40), scale=(0.5, 2)))
    np.random.seed(seed)  # noqa: NPY002
    out = _mapper(*steps)(record)["instances"]
    assert out.image_size == (50, 40)
    assert set(out.gt_classes.tolist()) <= {0, 2}
    for box, mask in zip(out.gt_boxes.tensor.tolist(), out.gt_masks.tensor.numpy(), strict=True):
        ys, xs = mask.nonzero()
        assert box == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_polygons_and_run_lengths_move_alike(tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("a")
    annotation = _rectangle(8, 6, 32, 25, 2)
    results = []
    for item in (annotation, _as_runs(annotation)):
        np.random.seed(seed)  # noqa: NPY002
        mapper = _mapper(RandomRotations(angle=90), LargeScaleJitter(size=SIZE, scale=(0.8, 1.5)))
        results.append(mapper(_record(folder, "moved", item))["instances"].gt_masks.tensor)
    # Rotation and resize round an edge by up to half a pixel each.
    a, b = (r.any(dim=0) for r in results)
    assert (a & b).sum() >= 0.8 * (a | b).sum()


def test_padding_belongs_to_no_mask(record):
    record["annotations"] = [_as_runs(a) for a in record["annotations"]]
    out = _mapper(Window(-5, -5, 50, 40, (0.0,)))(record)["instances"]
    assert out.gt_masks.tensor[0].nonzero().min(dim=0).values.tolist() == [8, 9]
    assert out.gt_boxes.tensor[0].tolist() == [9, 8, 25, 20]


@pytest.mark.parametrize("overlapping", [False, True])
def test_masks_move_at_once_as_one_by_one(overlapping):
    masks = np.random.default_rng(0).integers(0, 2, (3, 20, 30), dtype=np.uint8)
    if not overlapping:
        masks = np.eye(4, dtype=np.uint8)[np.random.default_rng(0).integers(0, 4, (20, 30))]
        masks = masks.transpose(2, 0, 1)[:3]
    transform = T.TransformList([T.HFlipTransform(30), Window(-3, 4, 30, 30, (0.0,))])
    expected = [transform.apply_segmentation(mask) == 1 for mask in masks]
    assert np.array_equal(move_masks(masks, transform), expected)


def test_objects_that_left_the_picture_are_dropped(record):
    for mask_format in ("polygon", "bitmask"):
        mapper = _mapper(T.CropTransform(0, 0, 9, 30), mask_format=mask_format)
        out = mapper(record)["instances"]
        assert out.gt_classes.tolist() == [2]
        assert out.gt_boxes.tensor.tolist() == [[4, 3, 9, 15]]


def test_pasted_objects_hide_what_is_below(tmp_path, record):
    # It covers the first object wholly and the left half of the second one.
    cover = _record(tmp_path, "cover", _rectangle(0, 0, 20, 30, 5))
    out = _mapper(ALL, partners=[cover])(record)
    instances = out["instances"]
    assert instances.gt_classes.tolist() == [0, 1, 5]
    assert instances.gt_boxes.tensor.tolist() == [[20, 8, 30, 25], [36, 26, 40, 30], [0, 0, 20, 30]]
    assert int(instances.gt_masks.tensor.sum(dim=0).max()) == 1
    alone, other = _mapper()(record)["image"], _mapper()(cover)["image"]
    assert torch.equal(out["image"][:, :, :20], other[:, :, :20])
    assert torch.equal(out["image"][:, :, 20:], alone[:, :, 20:])


def test_a_label_map_moves_and_is_pasted_too(tmp_path, record):
    cover = _record(tmp_path, "cover", _rectangle(0, 0, 20, 30, 5))
    for item, label in ((record, 3), (cover, 7)):
        item["sem_seg_file_name"] = str(tmp_path / f"{label}.png")
        Image.fromarray(np.full(SIZE, label, np.uint8)).save(item["sem_seg_file_name"])
    steps = (ALL, T.RandomFlip(prob=1.0), Window(0, 0, 41, 30, (0.0,)))
    labels = _mapper(*steps, partners=[cover])(record)["sem_seg"]
    assert labels[0].tolist() == [3] * 20 + [7] * 20 + [255]


def test_pasting_needs_masks_of_pixels(record):
    for options in ({"mask_format": "polygon"}, {"use_masks": False}):
        with pytest.raises(UserError, match=r"MASK_ON True and INPUT\.MASK_FORMAT 'bitmask'"):
            _mapper(ALL, partners=[record], **options)


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
def test_an_image_without_objects_gives_empty_instances(tmp_path, mask_format):
    out = _mapper(mask_format=mask_format)(_record(tmp_path, "none"))["instances"]
    assert len(out) == 0
    assert out.gt_boxes.tensor.shape == (0, 4)


def test_without_masks_the_annotated_boxes_move(record):
    out = _mapper(T.RandomFlip(prob=1.0), use_masks=False)(record)["instances"]
    assert not out.has("gt_masks")
    assert out.gt_boxes.tensor[0].tolist() == [20, 3, 36, 15]


def test_a_test_input_has_no_annotations(record):
    out = _mapper(is_train=False)(record)
    assert "annotations" not in out
    assert out["image"].shape == (3, *SIZE)


def test_the_record_stays_as_it_is(record):
    before = pickle.dumps(record)
    for _ in range(2):
        _mapper(T.RandomFlip(prob=1.0), ALL, partners=[record])(record)
    assert pickle.dumps(record) == before


def test_run_lengths_do_not_become_polygons(record):
    record["annotations"] = [_as_runs(a) for a in record["annotations"]]
    with pytest.raises(UserError, match=r"run-length encoding: set INPUT\.MASK_FORMAT"):
        _mapper(mask_format="polygon")(record)


def test_wrong_masks_are_named(record):
    record["annotations"][0]["segmentation"] = {"size": [3, 4], "counts": [12]}
    with pytest.raises(UserError, match=r"one\.png has the size \(30, 40\), one of its masks"):
        _mapper()(record)
    record["annotations"][0]["segmentation"] = None
    with pytest.raises(UserError, match=r"one\.png: a segmentation is NoneType"):
        _mapper()(record)


def test_a_crop_by_category_needs_a_label_map(record):
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.INPUT.AUGMENTATIONS = [["crop", {"size": [10, 10], "single_category_max_area": 0.5}]]
    with pytest.raises(UserError, match=r"needs a label map, and .*one\.png has none"):
        _mapper(*build_augmentations(cfg, True))(record)
