"""Evaluates five synthetic images with three evaluators: alone, or as one of several processes.

``evaluators_program.py FOLDER``; started by torchrun, ``launch`` joins the processes. Rank 0 writes
``results.json`` into the folder, each rank the images that it saw.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from torch import Tensor, nn

from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_test_loader
from detectron2.data.datasets import register_coco_instances
from detectron2.data.samplers import InferenceSampler
from detectron2.engine import launch
from detectron2.evaluation import (
    COCOEvaluator,
    COCOPanopticEvaluator,
    DatasetEvaluators,
    SemSegEvaluator,
    inference_on_dataset,
)
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm

COUNT, HEIGHT, WIDTH = 5, 40, 56


def rectangles(index: int, shift: int) -> list[tuple[int, int, int, int]]:
    """Two boxes (x0, y0, x1, y1) of image ``index``; ``shift`` moves them, as an error does."""
    stream = np.random.default_rng(index)
    left = [int(value) for value in stream.integers(0, 8, size=2)]
    side = [int(value) for value in stream.integers(12, 20, size=2)]
    return [(28 * k + left[k] + shift, 4, 28 * k + left[k] + shift + side[k], 30) for k in (0, 1)]


def filled(box: tuple[int, int, int, int]) -> np.ndarray:
    """(HEIGHT, WIDTH) bool: the box."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def write_truth(folder: Path) -> None:
    """Writes COCO's annotations, label maps and panoptic maps of the five images."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    panoptic: list[dict[str, Any]] = []
    for index in range(COUNT):
        labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        images.append({"id": index, "file_name": f"{index}.jpg", "height": HEIGHT, "width": WIDTH})
        segments: list[dict[str, Any]] = []
        ids = np.full((HEIGHT, WIDTH), 3)
        for k, box in enumerate(rectangles(index, 0), start=1):
            mask = filled(box)
            labels[mask], ids[mask] = k, k
            size = [box[2] - box[0], box[3] - box[1]]
            record: dict[str, Any] = {"category_id": k, "iscrowd": 0, "area": size[0] * size[1]}
            record["bbox"] = [box[0], box[1], *size]
            run = coco_mask.encode(np.asfortranarray(mask))
            annotations.append(
                {
                    **record,
                    "id": len(annotations) + 1,
                    "image_id": index,
                    "segmentation": {**run, "counts": run["counts"].decode()},
                }
            )
            segments.append({**record, "id": k})
        ground = {"id": 3, "category_id": 3, "iscrowd": 0, "area": int((ids == 3).sum())}
        segments.append({**ground, "bbox": [0, 0, WIDTH, HEIGHT]})
        Image.fromarray(labels).save(folder / f"{index}_labels.png")
        rgb = np.stack([ids, 0 * ids, 0 * ids], axis=-1).astype(np.uint8)
        Image.fromarray(rgb).save(folder / f"{index}_ids.png")
        panoptic.append(
            {"image_id": index, "file_name": f"{index}_ids.png", "segments_info": segments}
        )
    categories = [{"id": k, "name": f"c{k}", "isthing": int(k < 3)} for k in (1, 2, 3)]
    coco = {"images": images, "annotations": annotations, "categories": categories[:2]}
    (folder / "coco.json").write_text(json.dumps(coco))
    truth = {"images": images, "annotations": panoptic, "categories": categories}
    (folder / "panoptic.json").write_text(json.dumps(truth))


def register(folder: Path) -> None:
    """Registers the data set once for each evaluator."""
    register_coco_instances("coco_five", {}, str(folder / "coco.json"), str(folder))
    DatasetCatalog.get("coco_five")  # fills the metadata's map of category ids
    records = [
        {
            "file_name": str(folder / f"{k}.jpg"),
            "sem_seg_file_name": str(folder / f"{k}_labels.png"),
            "image_id": k,
        }
        for k in range(COUNT)
    ]
    DatasetCatalog.register("five", lambda: records)
    MetadataCatalog.get("five").set(stuff_classes=["ground", "c1", "c2"], ignore_label=255)
    MetadataCatalog.get("panoptic_five").set(
        panoptic_json=str(folder / "panoptic.json"),
        panoptic_root=str(folder),
        thing_dataset_id_to_contiguous_id={1: 0, 2: 1},
        stuff_dataset_id_to_contiguous_id={3: 2},
        label_divisor=1000,
    )


class ShiftedTruth(nn.Module):
    """Predicts the truth, moved to the right by as many pixels as the image's number."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The predictions of all three kinds."""
        self.seen += [x["image_id"] for x in inputs]
        return [self.predict(x["image_id"]) for x in inputs]

    def predict(self, index: int) -> dict[str, Any]:
        """Instances, scores of three classes and a panoptic map."""
        boxes = rectangles(index, index)
        masks = torch.from_numpy(np.stack([filled(box) for box in boxes]))
        instances = Instances((HEIGHT, WIDTH))
        instances.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32))
        instances.scores = torch.tensor([0.9, 0.8]) - 0.07 * index
        instances.pred_classes = torch.tensor([0, 1])
        instances.pred_masks = masks
        ids = (masks * torch.tensor([1, 2])[:, None, None]).sum(0)
        ids[ids == 0] = 3
        infos = [
            {"id": 1, "category_id": 0, "isthing": True},
            {"id": 2, "category_id": 1, "isthing": True},
            {"id": 3, "category_id": 2, "isthing": False},
        ]
        scores: Tensor = nn.functional.one_hot(ids % 3, 3).permute(2, 0, 1).float()
        return {"instances": instances, "sem_seg": scores, "panoptic_seg": (ids, infos)}


def evaluate(folder: Path) -> None:
    """Evaluates this process's share."""
    register(folder)
    evaluators = DatasetEvaluators(
        [
            COCOEvaluator("coco_five", output_dir=str(folder / "coco")),
            SemSegEvaluator("five", output_dir=str(folder / "semantic")),
            COCOPanopticEvaluator("panoptic_five", output_dir=str(folder / "panoptic")),
        ]
    )
    loader = build_detection_test_loader(
        dataset=DatasetCatalog.get("five"),
        mapper=lambda record: {**record, "height": HEIGHT, "width": WIDTH},
        sampler=InferenceSampler(COUNT),
        num_workers=0,
    )
    model = ShiftedTruth()
    results = inference_on_dataset(model, loader, evaluators)
    seen = comm.gather(model.seen)
    if comm.is_main_process():
        (folder / "results.json").write_text(
            json.dumps({"results": results, "seen": seen, "world": comm.get_world_size()})
        )
    else:
        assert not results, f"only the main process has results, not {results}"


if __name__ == "__main__":
    launch(evaluate, int(os.environ.get("LOCAL_WORLD_SIZE", "1")), args=(Path(sys.argv[1]),))
