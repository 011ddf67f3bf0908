"""Average precision of boxes by the definition of PASCAL VOC."""

from __future__ import annotations

import logging
import os
import tempfile
from collections import OrderedDict, defaultdict
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from detectron2.data.catalog import MetadataCatalog
from detectron2.evaluation.evaluator import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

logger = logging.getLogger(__name__)

THRESHOLDS = range(50, 100, 5)


class PascalVOCDetectionEvaluator(DatasetEvaluator):
    """VOC's AP in percent, averaged over classes: ``{"bbox": {"AP", "AP50", "AP75"}}``.

    AP is the mean over IoU thresholds from 0.5 to 0.95, as in COCO. The numbers are those of the
    official evaluation up to its rounding; the interpolation is that of 2007 (11 points) or later,
    by the metadata's ``year``.
    """

    def __init__(self, dataset_name: str) -> None:
        """Looks up the files of the split.

        Args:
            dataset_name: a registered data set in VOC's layout, e.g. "voc_2007_test".
        """
        metadata = MetadataCatalog.get(dataset_name)
        if metadata.year not in (2007, 2012):
            raise AssertionError(f"year={metadata.year} of {dataset_name} is not 2007 or 2012.")
        # Images are read only from a local folder; annotations may have to be fetched.
        folder = PathManager.get_local_path(os.path.join(metadata.dirname, "Annotations/"))
        self._annotation_path = os.path.join(folder, "{}.xml")
        self._image_list = os.path.join(
            metadata.dirname, "ImageSets", "Main", f"{metadata.split}.txt"
        )
        self._class_names = metadata.thing_classes
        self._use_07_metric = metadata.year == 2007
        self.reset()

    def reset(self) -> None:
        self._lines: dict[int, list[str]] = defaultdict(list)

    def process(self, inputs: Any, outputs: Any) -> None:
        """Takes in one batch.

        Args:
            inputs: dicts with "image_id".
            outputs: dicts with "instances": ``pred_boxes``, ``scores``, ``pred_classes``.
        """
        for item, output in zip(inputs, outputs, strict=False):
            instances = output["instances"].to("cpu")
            rows = zip(
                instances.pred_boxes.tensor.tolist(),
                instances.scores.tolist(),
                instances.pred_classes.tolist(),
                strict=True,
            )
            for (x0, y0, x1, y1), score, class_id in rows:
                # VOC counts pixels from 1: the inverse of what reading the annotations does.
                self._lines[class_id].append(
                    f"{item['image_id']} {score:.3f} {x0 + 1:.1f} {y0 + 1:.1f} {x1:.1f} {y1:.1f}"
                )

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """Merges the ranks; None on ranks other than the main one."""
        gathered = comm.gather(dict(self._lines), dst=0)
        if not comm.is_main_process():
            return None
        lines: dict[int, list[str]] = defaultdict(list)
        for part in gathered:
            for class_id, rows in part.items():
                lines[class_id] += rows
        aps = np.zeros((len(THRESHOLDS), len(self._class_names)))
        with tempfile.TemporaryDirectory(prefix="pascal_voc_eval_") as folder:
            template = os.path.join(folder, "{}.txt")
            for class_id, name in enumerate(self._class_names):
                Path(template.format(name)).write_text("\n".join([*lines[class_id], ""]))
                for row, threshold in enumerate(THRESHOLDS):
                    *_, ap = voc_eval(
                        template,
                        self._annotation_path,
                        self._image_list,
                        name,
                        ovthresh=threshold / 100,
                        use_07_metric=self._use_07_metric,
                    )
                    aps[row, class_id] = 100 * ap
        means = dict(zip(THRESHOLDS, aps.mean(axis=1).tolist(), strict=True))
        result = {"AP": float(aps.mean()), "AP50": means[50], "AP75": means[75]}
        logger.info("VOC evaluation: %s", result)
        return OrderedDict({"bbox": result})


@cache
def parse_rec(filename: str) -> list[dict[str, Any]]:
    """Reads the objects of an annotation file of VOC.

    Returns:
        For each object ``name``, ``pose``, ``truncated``, ``difficult`` and ``bbox``: [xmin, ymin,
        xmax, ymax], counted from 1.
    """
    with PathManager.open(filename) as file:
        root = ElementTree.parse(file).getroot()
    sides = ("xmin", "ymin", "xmax", "ymax")
    return [
        {
            "name": item.findtext("name"),
            "pose": item.findtext("pose"),
            "truncated": int(item.findtext("truncated") or 0),
            "difficult": int(item.findtext("difficult") or 0),
            "bbox": [int(float(item.findtext(f"bndbox/{side}") or 0)) for side in sides],
        }
        for item in root.findall("object")
    ]


def voc_ap(rec: np.ndarray, prec: np.ndarray, use_07_metric: bool = False) -> float:
    """Average precision of a curve.

    Args:
        rec, prec: recall, ascending, and precision after each detection.
        use_07_metric: the mean of the best precision at 11 recalls, as in 2007, instead of the area
            below the curve made monotonic.
    """
    if use_07_metric:
        best = [prec[rec >= recall].max(initial=0.0) for recall in np.arange(0.0, 1.1, 0.1)]
        return float(np.mean(best))
    recall = np.concatenate([[0.0], rec, [1.0]])
    precision = np.concatenate([[0.0], prec, [0.0]])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope[1:]))


def voc_eval(
    detpath: str,
    annopath: str,
    imagesetfile: str,
    classname: str,
    ovthresh: float = 0.5,
    use_07_metric: bool = False,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Evaluates the detections of one class.

    Args:
        detpath: path of the detections with {} for the class; a line is "image score xmin ymin xmax
            ymax".
        annopath: path of the annotations with {} for the image.
        imagesetfile: file with the ids of the images, one a line.
        classname: the class.
        ovthresh: a detection is right when its IoU with an object is above this.
        use_07_metric: see :func:`voc_ap`.

    Returns:
        recall and precision after each detection, by descending score; average precision.
    """
    with PathManager.open(imagesetfile) as file:
        image_ids = [line.split()[0] for line in file if line.strip()]
    truth = {}
    for image_id in image_ids:
        objects = [o for o in parse_rec(annopath.format(image_id)) if o["name"] == classname]
        boxes = np.array([o["bbox"] for o in objects], dtype=np.float64).reshape(-1, 4)
        truth[image_id] = boxes, np.array([o["difficult"] for o in objects], dtype=bool)
    positives = sum(int((~difficult).sum()) for _, difficult in truth.values())

    with PathManager.open(detpath.format(classname)) as file:
        rows = [line.split() for line in file if line.strip()]
    values = np.array([[float(x) for x in row[1:]] for row in rows]).reshape(-1, 5)
    order = np.argsort(-values[:, 0], kind="stable")
    found = {image_id: np.zeros(len(boxes), dtype=bool) for image_id, (boxes, _) in truth.items()}
    right, wrong = np.zeros(len(rows)), np.zeros(len(rows))
    for rank, index in enumerate(order):
        image_id = rows[index][0]
        boxes, difficult = truth[image_id]
        overlaps = _overlaps(values[index, 1:], boxes)
        best = int(overlaps.argmax()) if overlaps.size else -1
        if (
            best < 0
            or overlaps[best] <= ovthresh
            or (found[image_id][best] and not difficult[best])
        ):
            wrong[rank] = 1
        elif not difficult[best]:
            right[rank] = 1
            found[image_id][best] = True
    right, wrong = right.cumsum(), wrong.cumsum()
    recall = right / positives if positives else np.full(len(rows), np.nan)
    # Detections of difficult objects count neither way: nothing may have been counted yet.
    precision = right / np.maximum(right + wrong, np.finfo(np.float64).eps)
    return recall, precision, voc_ap(recall, precision, use_07_metric)


def _overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(N,) IoU of a box with (N, 4) boxes, whose last pixel belongs to them."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]) + 1
    intersection = np.maximum(sides, 0).prod(axis=1)
    union = (box[2:] - box[:2] + 1).prod() + (boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1)
    return intersection / (union - intersection)
