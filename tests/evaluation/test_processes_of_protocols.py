"""Cityscapes', VOC's and COCO's protocols in several processes give the numbers of one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from process_groups import results_of_processes

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from seg_projects.data import register_instances
from seg_projects.data.datasets.pascal_voc import BORDER, CLASSES
from seg_projects.data.datasets.semantic import register_semantic
from seg_projects.evaluation import build_evaluator

NUM_IMAGES = 5
SHAPE = (36, 40)
NAME = "protocol"
CARS, PEOPLE = 26, 24
# Uneven; the sampler has dealt out images 0 and 1 twice; one process has nothing.
SHARES = [[[0, 1, 2], [3, 4]], [[4, 0], [2, 3], [1, 0, 1]], [[3, 1, 0, 4, 2], []]]
METRICS = ["boundary_f1", "boundary_iou", "surface_distance"]


def _objects(number: int, classes: int) -> list[tuple[int, np.ndarray]]:
    """(class, mask) of blocks of 12 x 10 pixels, more than the 100 that Cityscapes asks for."""
    rng = np.random.default_rng(number)
    result = []
    for y, x in np.ndindex(3, 4):
        mask = np.zeros(SHAPE, dtype=bool)
        mask[12 * y : 12 * y + 12, 10 * x : 10 * x + 10] = True
        if rng.random() < 0.7:
            result.append((int(rng.integers(0, classes)), mask))
    return result


def _found(number: int, classes: int) -> Instances:
    """The objects, shifted by up to three pixels; scores tie within and between images."""
    rng = np.random.default_rng(100 + number)
    objects = _objects(number, classes)
    instances = Instances(SHAPE)
    masks = [np.roll(mask, rng.integers(-3, 4), axis=1) for _, mask in objects]
    instances.pred_masks = torch.from_numpy(np.array(masks))
    instances.pred_classes = torch.tensor([label for label, _ in objects])
    instances.scores = torch.from_numpy(rng.choice([0.2, 0.5, 0.9], len(objects)))
    instances.pred_boxes = Boxes(torch.from_numpy(rng.uniform(0, 36, (len(objects), 4))))
    return instances


def _labels(number: int, classes: int) -> np.ndarray:
    labels = np.zeros(SHAPE, dtype=np.uint8)
    for label, mask in _objects(number, classes):
        labels[mask] = label
    return labels


def _output(number: int, classes: int) -> dict[str, Any]:
    labels = torch.from_numpy(np.roll(_labels(number, classes), 2, axis=0)).long()
    logits = torch.nn.functional.one_hot(labels, classes).permute(2, 0, 1)
    return {"instances": _found(number, classes), "sem_seg": logits.float()}


def _register_cityscapes(folder: Path, kind: str, labels: list[int], names: list[str]) -> None:
    city = folder / "gtFine/ulm"
    city.mkdir(parents=True)
    records = []
    for number in range(NUM_IMAGES):
        ids = np.full(SHAPE, 7)
        for place, (label, mask) in enumerate(_objects(number, len(labels))):
            # Every fifth is a group, which is neither to be found nor wrong.
            ids[mask] = labels[label] * (1 if place % 5 == 4 else 1000) + (place % 5 != 4) * place
        of_labels = np.where(ids < 1000, ids, ids // 1000).astype(np.uint8)
        stem = f"ulm_{number:06d}_000019"
        Image.fromarray(ids.astype(np.uint16)).save(city / f"{stem}_gtFine_instanceIds.png")
        Image.fromarray(of_labels).save(city / f"{stem}_gtFine_labelIds.png")
        records.append({"file_name": str(folder / f"ulm/{stem}_leftImg8bit.png")})
    DatasetCatalog.register(NAME, lambda: records)
    MetadataCatalog.get(NAME).set(
        gt_dir=str(folder / "gtFine"),
        evaluator_type=kind,
        thing_classes=names,
        stuff_classes=names,
    )


def _write_images(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(NUM_IMAGES):
        Image.new("RGB", SHAPE[::-1]).save(folder / f"{number}.png")


def _register_voc(folder: Path) -> None:
    _write_images(folder / "images")
    (folder / "labels").mkdir()
    for number in range(NUM_IMAGES):
        labels = _labels(number, 6)
        labels[::12] = BORDER
        image = Image.fromarray(labels).convert("P")
        image.putpalette(list(range(256)) * 3)
        image.save(folder / f"labels/{number}.png")
    register_semantic(
        NAME, image_root=folder / "images", label_root=folder / "labels", classes=CLASSES[:6][:6]
    )


def _register_coco(folder: Path, classes: int) -> None:
    _write_images(folder / "images")
    from pycocotools import mask as coco_mask

    annotations: list[dict[str, Any]] = []
    for number in range(NUM_IMAGES):
        for place, (label, mask) in enumerate(_objects(number, classes)):
            rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "iscrowd": int(place == 5),
                    "area": float(mask.sum()),
                    "bbox": coco_mask.toBbox(rle).tolist(),
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                }
            )
    sizes = {"height": SHAPE[0], "width": SHAPE[1]}
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", **sizes} for n in range(NUM_IMAGES)],
        "annotations": annotations,
        "categories": [{"id": n + 1, "name": f"kind {n}"} for n in range(classes)],
    }
    (folder / "truth.json").write_text(json.dumps(content))
    register_instances(NAME, image_root=folder / "images", instances_json=folder / "truth.json")


# What is registered, how many classes the model has, and a number that is between 0 and 100.
Register = Callable[[Path], None]
CASES: dict[str, tuple[Register, int, tuple[str, str]]] = {
    "cityscapes instances": (
        lambda folder: _register_cityscapes(
            folder, "cityscapes_instance", [PEOPLE, CARS], ["person", "car"]
        ),
        2,
        ("segm", "AP"),
    ),
    "cityscapes instances of one class": (
        lambda folder: _register_cityscapes(folder, "cityscapes_instance", [CARS], ["car"]),
        1,
        ("segm", "AP"),
    ),
    "cityscapes labels": (
        lambda folder: _register_cityscapes(
            folder, "cityscapes_sem_seg", [7, PEOPLE, CARS], ["road", "person", "car"]
        ),
        3,
        ("sem_seg", "iIoU"),
    ),
    "cityscapes labels of one class": (
        lambda folder: _register_cityscapes(folder, "cityscapes_sem_seg", [CARS], ["car"]),
        1,
        ("sem_seg", "IoU"),
    ),
    "voc": (_register_voc, 6, ("sem_seg", "mIoU_all")),
    "coco instances": (lambda folder: _register_coco(folder, 3), 3, ("segm", "BAP")),
    "coco instances of one class": (lambda folder: _register_coco(folder, 1), 1, ("segm", "BAP")),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, str, str]]:
    register, classes, (task, key) = CASES[request.param]
    register(tmp_path / "data")
    yield classes, task, key
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def _results(images: list[int], classes: int, folder: Path) -> Any:
    evaluator = build_evaluator(NAME, folder, semantic_metrics=METRICS, boundary_share=0.05)
    evaluator.reset()
    records = DatasetCatalog.get(NAME)
    for image in images:
        evaluator.process([records[image]], [_output(image, classes)])
    return evaluator.evaluate()


def test_processes_give_the_numbers_of_one(case: tuple[int, str, str], tmp_path: Path) -> None:
    classes, task, key = case
    expected = _results(list(range(NUM_IMAGES)), classes, tmp_path / "one")
    assert 0 < expected[task][key] < 100
    for number, shares in enumerate(SHARES):
        folder = tmp_path / str(number)
        folder.mkdir()

        def evaluate(
            rank: int, shares: list[list[int]] = shares, folder: Path = folder / "out"
        ) -> Any:
            return _results(shares[rank], classes, folder)

        results = results_of_processes(len(shares), evaluate, folder)
        assert json.dumps(results) == json.dumps(expected)
        for file in (tmp_path / "one").iterdir():
            assert (folder / "out" / file.name).read_bytes() == file.read_bytes()
