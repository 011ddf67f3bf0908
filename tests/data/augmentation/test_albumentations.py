"""Pipelines of albumentations: data from a config, one run for all that belongs to an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from detectron2.config import get_cfg
from detectron2.data import transforms as T
from detectron2.structures import polygons_to_bitmask
from seg_projects.config import add_seg_projects_config
from seg_projects.data.augmentation import build_augmentations
from seg_projects.data.augmentation.albumentations_pipeline import TRANSFORMS, Albumentations
from seg_projects.data.augmentation.geometry import VOID
from seg_projects.errors import UserError

A = pytest.importorskip("albumentations", reason="an extra: pip install albumentations")

SIZE = (30, 40)
SIZED = {"height": 20, "width": 24}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "CenterCrop": SIZED,
    "Crop": {"x_max": 20, "y_max": 20},
    "CropAndPad": {"px": 5},
    "RandomCrop": SIZED,
    "RandomResizedCrop": {"size": [20, 20]},
    "RandomSizedCrop": {"min_max_height": [10, 20], "size": [20, 20]},
    "Resize": SIZED,
    "Pad": {"padding": 4},
    "PadIfNeeded": {"min_height": 50, "min_width": 60},
    "LongestMaxSize": {"max_size": 30},
    "SmallestMaxSize": {"max_size": 30},
    "Affine": {"rotate": [-40, 40], "scale": [0.7, 1.3]},
}


def _image(dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(dtype)


def _run(augmentation: T.Augmentation, inputs: T.AugInput, seed: int = 0) -> T.Transform:
    np.random.seed(seed)  # noqa: NPY002  # Detectron2's augmentations use this generator
    return augmentation(inputs)


@pytest.mark.filterwarnings("ignore:ShiftScaleRotate")
@pytest.mark.parametrize("name", TRANSFORMS)
def test_each_transform_moves_image_labels_and_coordinates_alike(name):
    augmentation = Albumentations(transforms=[[name, ARGUMENTS.get(name, {}) | {"p": 1.0}]])
    corners = np.array([(8.0, 9.0), (28.0, 6.0), (34.0, 22.0), (12.0, 27.0)])
    mask = polygons_to_bitmask([corners.ravel()], *SIZE).astype(np.uint8)
    inputs = T.AugInput(_image(), sem_seg=np.full(SIZE, 7, np.uint8))
    transform = _run(augmentation, inputs)
    moved = transform.apply_segmentation(mask) == 1
    assert inputs.image.dtype == np.uint8
    assert inputs.image.shape == (*moved.shape, 3)
    assert set(np.unique(inputs.sem_seg)) <= {7, VOID}
    rendered = polygons_to_bitmask([transform.apply_coords(corners).ravel()], *moved.shape)
    # Nearest neighbours move an edge by up to half a pixel, and elastic bends what is straight.
    assert (moved & rendered).sum() >= 0.8 * (moved | rendered).sum()


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_other_types_of_images_keep_type_and_range(dtype):
    augmentation = Albumentations(transforms=["HorizontalFlip", ["Affine", {"rotate": [30, 30]}]])
    image = _image(dtype) * dtype(257 if dtype == np.uint16 else 1)
    inputs = T.AugInput(image)
    _run(augmentation, inputs)
    bytes_ = T.AugInput(_image())
    _run(augmentation, bytes_)
    assert inputs.image.dtype == dtype
    scale = 257 if dtype == np.uint16 else 1
    assert np.abs(inputs.image / scale - bytes_.image).max() <= 2


def test_labels_beyond_bytes_survive():
    labels = np.random.default_rng(0).choice([3, 70000, 2**24 - 2], SIZE).astype(np.int32)
    augmentation = Albumentations(transforms=[["Rotate", {"limit": [45, 45], "p": 1}]])
    transform = _run(augmentation, T.AugInput(_image()))
    assert set(np.unique(transform.apply_segmentation(labels))) == {3, 70000, 2**24 - 2, VOID}


def test_one_seed_gives_one_run_and_another_seed_another():
    augmentation = Albumentations(
        transforms=[["OneOf", {"transforms": [["GaussNoise", {"p": 1}], ["RGBShift", {"p": 1}]]}]]
    )
    results = []
    for seed in (1, 1, 2):
        inputs = T.AugInput(_image())
        _run(augmentation, inputs, seed)
        results.append(inputs.image)
    assert np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_a_file_that_albumentations_wrote_is_read(tmp_path: Path, suffix):
    pipeline = A.Compose([A.OneOf([A.VerticalFlip(p=1), A.VerticalFlip(p=1)], p=1)], p=1)
    path = tmp_path / f"pipeline.{suffix}"
    A.save(pipeline, path, data_format=suffix)
    inputs = T.AugInput(_image())
    _run(Albumentations(file=str(path)), inputs)
    assert np.array_equal(inputs.image, _image()[::-1])


def _refused(**options: Any) -> Any:
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.INPUT.AUGMENTATIONS = [["albumentations", options]]
    return build_augmentations(cfg, True)


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ([["Lambda", {}]], "'Lambda' is none of the transforms"),
        ([["os.system", {}]], "'os.system' is none of the transforms"),
        ([["HorizontalFlip", {"q": 1}]], "HorizontalFlip has no argument 'q'; it knows p"),
        ([["HorizontalFlip", {"p": 3}]], "p .*less than or equal to 1"),
        ([5], r"5 is no \[name, {argument: value}\]"),
        (None, "give transforms, or the file"),
    ],
)
def test_what_cannot_be_used_is_named(transforms, message):
    options = {} if transforms is None else {"transforms": transforms}
    with pytest.raises(
        UserError, match=r"INPUT\.AUGMENTATIONS: albumentations refuses .*" + message
    ):
        _refused(**options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2", "cannot be read"),
        ("!!python/object/apply:os.getcwd []", "cannot be read"),
        (yaml.safe_dump([1]), "was not written by albumentations.save"),
        (
            yaml.safe_dump({"transform": {"__class_fullname__": "builtins.eval"}}),
            "'eval' is none of the transforms",
        ),
    ],
)
def test_a_wrong_file_is_named_and_runs_no_code(tmp_path: Path, content, message):
    path = tmp_path / "pipeline.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        _refused(file=str(path))
    with pytest.raises(UserError, match=r"absent\.json cannot be read"):
        _refused(file="absent.json")
