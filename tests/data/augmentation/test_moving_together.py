"""Through every mapper and augmentation, image and targets show the same object at each place.

Scenes are drawn so that the grey of a pixel tells its segment: where the grey of the augmented
image is known, so are the label, the instance and the panoptic id that must lie there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from detectron2.config import CfgNode, get_cfg
from detectron2.structures import BoxMode
from seg_projects.config import add_seg_projects_config
from seg_projects.data import ClassMaskMapper, InstanceMapper, PanopticMapper, SemanticMapper
from seg_projects.data.augmentation import build_augmentations
from seg_projects.data.class_masks import mask_table
from seg_projects.data.label_maps import class_table
from seg_projects.data.panoptic_deeplab_mapper import PanopticDeepLabMapper
from seg_projects.data.panoptic_deeplab_targets import PanopticDeepLabTargetGenerator
from seg_projects.data.panoptic_ids import rgb_from_ids

SIZE = (48, 64)
# Segment id -> (grey, category, class of a joint data set); 9 and 11 are stuff, 3 and 8 things.
SEGMENTS = {1: (40, 9, 2), 2: (90, 11, 3), 300: (150, 3, 0), 70000: (200, 8, 1), 5: (240, 3, 0)}
GREYS = np.array([grey for grey, _, _ in SEGMENTS.values()])
THINGS = {3: 0, 8: 1}
FILL = 120.0
ENTRIES: dict[str, list[Any]] = {
    "none": [],
    "resize": ["resize", {"short_side": [30, 70], "max_size": 90}],
    "jitter": ["large_scale_jitter", {"size": [40, 60], "scale": [0.5, 2.0]}],
    "crop": ["crop", {"size": [30, 35]}],
    "relative crop": ["crop", {"type": "relative_range", "size": [0.5, 0.5]}],
    "crop by category": ["crop", {"size": [30, 35], "single_category_max_area": 0.6}],
    "flip": ["flip", {"horizontal": 0.5, "vertical": 0.5}],
    "rotation": ["rotation", {"angle": 180}],
    "expanding rotation": ["rotation", {"angle": [20, 70], "expand": True}],
    "quarter turns": ["quarter_turns"],
    "colour": ["colour", {"brightness": [0.95, 1.05], "contrast": [0.95, 1.05], "hue": 20}],
    "grey": ["grey"],
    "noise": ["noise", {"sigma": 3}],
    "blur": ["blur", {"sigma": 0.6}],
    "copy-paste": ["copy_paste", {"probability": 1.0}],
    "cutout": ["cutout", {"count": 2}],
    "albumentations": ["albumentations", {"transforms": [["Affine", {"rotate": 30, "p": 1}]]}],
}


class Seen(NamedTuple):
    """What a mapper gave, as grey values."""

    image: np.ndarray  # (H, W) grey
    truths: dict[str, np.ndarray]  # (H, W) the grey that a target tells, 0 where it tells none


def _scene(seed: int) -> np.ndarray:
    """(H, W) ids: two kinds of stuff, three things that hide one another, a void corner."""
    rng = np.random.default_rng(seed)
    ids = np.full(SIZE, 1)
    ids[rng.integers(20, 30) :] = 2
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for number, cx in ((300, 16), (70000, 34), (5, 48)):
        cy, radius = rng.integers(14, 34), rng.integers(9, 13)
        ids[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = number
    ids[:5, :5] = 0
    return ids


def _write(folder: Path, seed: int) -> dict[str, Any]:
    """A record that every mapper can read."""
    ids = _scene(seed)
    grey, labels = np.full(SIZE, 10, np.uint8), np.full(SIZE, 255, np.uint8)
    segments, annotations = [], []
    for number, (value, category, label) in SEGMENTS.items():
        mask = ids == number
        grey[mask], labels[mask] = value, label
        segments.append({"id": number, "category_id": category, "iscrowd": 0})
        if category in THINGS:
            annotations.append(_annotation(mask, THINGS[category]))
    Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).save(folder / f"{seed}.png")
    Image.fromarray(labels).save(folder / f"{seed}_labels.png")
    Image.fromarray(rgb_from_ids(ids.astype(np.int32))).save(folder / f"{seed}_ids.png")
    return {
        "file_name": str(folder / f"{seed}.png"),
        "image_id": seed,
        "height": SIZE[0],
        "width": SIZE[1],
        "segments_info": segments,
        "annotations": annotations,
    }


def _annotation(mask: np.ndarray, label: int) -> dict[str, Any]:
    from pycocotools import mask as coco_mask

    runs = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    box = coco_mask.toBbox(runs).tolist()
    where = {"bbox": box, "bbox_mode": BoxMode.XYWH_ABS, "category_id": label, "iscrowd": 0}
    return where | {"segmentation": runs}


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Two scenes: each may be pasted into the other."""
    folder = tmp_path_factory.mktemp("scenes")
    return [_write(folder, seed) for seed in (1, 2)]


def _config(name: str) -> CfgNode:
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (SIZE[0],), SIZE[1]
    cfg.INPUT.AUGMENTATIONS = [ENTRIES[name]] if ENTRIES[name] else []
    cfg.MODEL.PIXEL_MEAN = [FILL] * 3
    return cfg


def _arguments(name: str) -> dict[str, Any]:
    return {"augmentations": build_augmentations(_config(name), True), "image_format": "BGR"}


def _greys_of(labels: torch.Tensor, of_label: dict[int, int]) -> np.ndarray:
    table = np.zeros(256)
    for label, grey in of_label.items():
        table[label] = grey
    return table[labels.numpy()]


def _semantic(name: str, records: list[dict[str, Any]]) -> Seen:
    table = class_table(4, value_map=None, ignore_label=255)
    mapper = SemanticMapper(True, **_arguments(name), label_table=table, ignore_value=255)
    file = records[0]["file_name"].replace(".png", "_labels.png")
    found = mapper(records[0] | {"sem_seg_file_name": file})
    # Class 0 has two greys; where the mapper says 0, both are right.
    labels = _greys_of(found["sem_seg"], {2: 40, 3: 90, 1: 200})
    return Seen(found["image"][0].numpy(), {"sem_seg": labels})


def _class_masks(name: str, records: list[dict[str, Any]]) -> Seen:
    """A mask per segment, and one of all things, which is not known in the void corner."""
    file = Path(records[0]["file_name"])
    ids = _scene(records[0]["image_id"])
    things = np.isin(ids, (300, 70000, 5)) * np.uint8(255) + (ids == 0) * np.uint8(7)
    masks = [(ids == number).astype(np.uint8) for number in SEGMENTS]
    files = [str(file.with_name(f"{file.stem}_mask{k}.png")) for k in range(len(masks) + 1)]
    for mask, path in zip([*masks, things], files, strict=True):
        Image.fromarray(mask).save(path)
    mapper = ClassMaskMapper(
        True, **_arguments(name), label_table=mask_table(ignore_label=7), ignore_value=255
    )
    found = mapper(records[0] | {"class_mask_file_names": files})
    image, planes = found["image"][0].numpy(), found["sem_seg"].numpy()
    known = planes[-1] != 255
    assert np.array_equal((planes[-1] == 1)[known], planes[2:5].max(axis=0)[known] == 1)
    greys = sum((planes[k] == 1) * int(GREYS[k]) for k in range(len(masks)))
    return Seen(image, {"planes": np.asarray(greys)})


def _with_file(record: dict[str, Any]) -> dict[str, Any]:
    return record | {"pan_seg_file_name": record["file_name"].replace(".png", "_ids.png")}


def _instance_greys(instances: Any, image: np.ndarray) -> np.ndarray:
    """Each mask in the grey of most of its pixels, which one of its class must have."""
    greys = np.zeros(image.shape)
    for mask, label in zip(instances.gt_masks.tensor.numpy(), instances.gt_classes, strict=True):
        allowed = [g for g, c, _ in SEGMENTS.values() if THINGS.get(c) == int(label)]
        seen = float(np.median(image[mask]))
        greys[mask] = min(allowed, key=lambda grey: abs(grey - seen))
    return greys


def _check_boxes(instances: Any) -> None:
    """Boxes are tight around the masks."""
    for mask, box in zip(instances.gt_masks.tensor.numpy(), instances.gt_boxes, strict=True):
        ys, xs = np.nonzero(mask)
        tight = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        assert box.tolist() == pytest.approx(tight)


def _instances(name: str, records: list[dict[str, Any]]) -> Seen:
    mapper = InstanceMapper(True, **_arguments(name), mask_format="bitmask", partners=records)
    # A crop by category asks the label map that a record may name.
    file = records[0]["file_name"].replace(".png", "_labels.png")
    found = mapper(records[0] | {"sem_seg_file_name": file})
    image = found["image"][0].numpy()
    _check_boxes(found["instances"])
    return Seen(image, {"masks": _instance_greys(found["instances"], image)})


def _panoptic(name: str, records: list[dict[str, Any]]) -> Seen:
    mapper = PanopticMapper(
        True,
        **_arguments(name),
        thing_ids=THINGS,
        stuff_ids={0: 0, 9: 1, 11: 2},
        ignore_label=255,
        partners=[_with_file(r) for r in records],
    )
    found = mapper(_with_file(records[0]))
    image = found["image"][0].numpy()
    _check_boxes(found["instances"])
    masks = _instance_greys(found["instances"], image)
    labels = found["sem_seg"]
    # All things, and nothing else, have the label 0.
    assert np.array_equal(labels.numpy() == 0, masks > 0)
    return Seen(image, {"masks": masks, "sem_seg": _greys_of(labels, {1: 40, 2: 90})})


def _deeplab(name: str, records: list[dict[str, Any]]) -> Seen:
    generator = PanopticDeepLabTargetGenerator(ignore_label=255, thing_ids=[0, 1], sigma=2)
    joint = [_joint(_with_file(record)) for record in records]
    mapper = PanopticDeepLabMapper(
        True, **_arguments(name), generate_targets=generator, partners=joint
    )
    found = mapper(joint[0])
    image, labels = found["image"][0].numpy(), found["sem_seg"]
    things = (labels.numpy() < 2) & (found["offset_weights"][0].numpy() > 0)
    _check_centers(found, things)
    return Seen(image, {"sem_seg": _greys_of(labels, {2: 40, 3: 90, 1: 200})})


def _joint(record: dict[str, Any]) -> dict[str, Any]:
    segments = [
        segment | {"category_id": SEGMENTS[segment["id"]][2]} for segment in record["segments_info"]
    ]
    return record | {"segments_info": segments}


def _check_centers(found: dict[str, Any], things: np.ndarray) -> None:
    """Offsets lead from each pixel of a thing to the middle of its own mask, a peak of the heat."""
    ys, xs = np.nonzero(things)
    dy, dx = found["offset"].numpy()[:, ys, xs]
    targets = np.stack([ys + dy, xs + dx], axis=1)
    image = found["image"][0].numpy()
    for target in np.unique(targets.round(3), axis=0):
        mine = (np.abs(targets - target) < 0.01).all(axis=1)
        middle = np.array([ys[mine].mean(), xs[mine].mean()])
        assert np.abs(middle - target).max() < 1
        greys = image[ys[mine], xs[mine]].astype(float)
        assert np.ptp(np.percentile(greys[greys != FILL], (20, 80))) < 25
        y, x = target.round().astype(int)
        if 0 <= y < things.shape[0] and 0 <= x < things.shape[1]:
            heat = found["center"].numpy().reshape(things.shape)
            assert heat[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].max() > 0.9


MAPPERS: dict[str, Callable[[str, list[dict[str, Any]]], Seen]] = {
    "semantic": _semantic,
    "class masks": _class_masks,
    "instances": _instances,
    "panoptic": _panoptic,
    "Panoptic-DeepLab": _deeplab,
}


def _disagreement(image: np.ndarray, truth: np.ndarray) -> float:
    """Share of the pixels inside of what a target tells whose grey is another segment's."""
    kernel = np.ones((5, 5), np.uint8)
    wrong = total = 0
    for grey in np.unique(truth[truth > 0]):
        deep = cv2.erode((truth == grey).astype(np.uint8), kernel, borderValue=1) == 1
        nearest = GREYS[np.abs(image[deep].astype(float)[:, None] - GREYS).argmin(axis=1)]
        wrong, total = wrong + int((nearest != grey).sum()), total + int(deep.sum())
    return wrong / max(1, total)


# Label maps and masks of classes know no objects to paste.
TOGETHER = [
    (mapper, name)
    for mapper in MAPPERS
    for name in ENTRIES
    if name != "cutout" and (name != "copy-paste" or mapper not in ("semantic", "class masks"))
]


@pytest.mark.parametrize(("mapper", "name"), TOGETHER)
def test_image_and_targets_show_the_same(
    records: list[dict[str, Any]], mapper: str, name: str
) -> None:
    if name == "albumentations":
        pytest.importorskip("albumentations", reason="the extra `augment` is not installed")
    told = 0
    for seed in range(3):
        np.random.seed(seed)  # noqa: NPY002  # Detectron2's augmentations use this generator
        seen = MAPPERS[mapper](name, records)
        for target, truth in seen.truths.items():
            assert truth.shape == seen.image.shape
            assert _disagreement(seen.image, truth) <= 0.01, (target, seed)
            told += int((truth > 0).sum())
    assert told > 3 * 200


@pytest.mark.parametrize("mapper", MAPPERS)
def test_a_hole_covers_the_image_alone(records: list[dict[str, Any]], mapper: str) -> None:
    whole = MAPPERS[mapper]("none", records)
    holed = MAPPERS[mapper]("cutout", records)
    assert (holed.image == FILL).sum() > 50
    if mapper in ("semantic", "class masks", "Panoptic-DeepLab"):
        for target, truth in whole.truths.items():
            assert np.array_equal(truth, holed.truths[target])


def _saved(path: Path, kind: str) -> None:
    """Writes the grey image ``path`` anew, as another kind of file of the same name."""
    with Image.open(path) as opened:
        grey = opened.convert("L")
    options: dict[str, Any] = {}
    if kind == "16 bits":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    elif kind == "turned by EXIF":
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = 6
        image = grey.convert("RGB").transpose(Image.Transpose.ROTATE_90)
    elif kind == "CMYK":
        options["format"] = "TIFF"
        image = grey.convert("RGB").convert("CMYK")
    else:
        image = grey.convert(kind)
    image.save(path, **options)


@pytest.mark.parametrize("mapper", MAPPERS)
@pytest.mark.parametrize("kind", ["L", "16 bits", "RGBA", "LA", "P", "CMYK", "turned by EXIF"])
def test_every_kind_of_file_goes_through_every_mapper(
    tmp_path: Path, mapper: str, kind: str
) -> None:
    written = [_write(tmp_path, 1)]
    expected = MAPPERS[mapper]("none", written)
    _saved(Path(written[0]["file_name"]), kind)
    found = MAPPERS[mapper]("none", written)
    assert found.image.shape == SIZE
    assert np.abs(found.image.astype(float) - expected.image).max() <= 1
    for target, truth in expected.truths.items():
        assert np.array_equal(truth, found.truths[target])
    for name in ("jitter", "colour"):
        seen = MAPPERS[mapper](name, written)
        assert all(_disagreement(seen.image, truth) <= 0.01 for truth in seen.truths.values())
