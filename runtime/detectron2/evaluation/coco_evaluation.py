"""Average precision of boxes and masks by COCO's definition."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import itertools
import logging
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pycocotools.cocoeval import COCOeval

from detectron2.config import CfgNode
from detectron2.data.catalog import MetadataCatalog
from detectron2.data.datasets.annotation_files import (
    missing_data_error,
    write_json,
)
from detectron2.data.datasets.coco import convert_to_coco_json
from detectron2.evaluation.evaluator import DatasetEvaluator
from detectron2.evaluation.mask_runs import encode_masks
from detectron2.evaluation.proposal_recall import proposal_recall
from detectron2.structures import Instances
from detectron2.utils import comm
from detectron2.utils.atomic import atomic_write
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import create_small_table

logger = logging.getLogger(__name__)

Record = dict[str, Any]
TASKS = ("bbox", "segm")
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


class COCOEvaluator(DatasetEvaluator):
    """Average precision and, for proposals, average recall, in percent, by COCO's definition.

    The data set's metadata name the ground truth (``json_file``); a data set without one is
    converted to COCO's format first. Results are ``{"bbox": {"AP", "AP50", "AP75", "APs", "APm",
    "APl", "AP-<class>"...}, "segm": {...}}``, where a metric without any ground truth is NaN.
    """

    def __init__(
        self,
        dataset_name: str,
        tasks: Sequence[str] | CfgNode | None = None,
        distributed: bool = True,
        output_dir: str | None = None,
        *,
        max_dets_per_image: int | None = None,
        use_fast_impl: bool = True,
        kpt_oks_sigmas: Sequence[float] = (),
        allow_cached_coco: bool = True,
    ) -> None:
        """Reads the ground truth.

        Args:
            dataset_name: a registered data set.
            tasks: of "bbox" and "segm"; by default those that the predictions allow. A config,
                which earlier programs give here, means that default.
            distributed: collect the predictions of all ranks, else of this process alone.
            output_dir: where to write ``instances_predictions.pth`` (all predictions as they came)
                and ``coco_instances_results.json`` (in COCO's format).
            max_dets_per_image: only so many detections of an image count, those of highest score;
                by default COCO's 100.
            use_fast_impl: use the package faster_coco_eval where it is installed; same numbers.
            kpt_oks_sigmas: must be empty; keypoints are not supported.
            allow_cached_coco: reuse annotations that were converted to COCO's format earlier.
        """
        if isinstance(tasks, CfgNode):
            logger.warning("COCOEvaluator takes the tasks from the predictions, not from a config.")
            tasks = None
        unknown = set(tasks or ()) - set(TASKS)
        if unknown or kpt_oks_sigmas:
            raise ValueError(
                f"COCOEvaluator evaluates {TASKS}, not {sorted(unknown) or 'keypoints'}."
            )
        self._tasks = None if tasks is None else tuple(tasks)
        self._distributed = distributed
        self._output_dir = output_dir
        limit = 100 if max_dets_per_image is None else max_dets_per_image
        self._max_dets = [min(1, limit), min(10, limit), limit]
        self._fast = use_fast_impl and importlib.util.find_spec("faster_coco_eval") is not None
        self._metadata = MetadataCatalog.get(dataset_name)
        if not hasattr(self._metadata, "json_file"):
            self._metadata.json_file = _converted(dataset_name, output_dir, allow_cached_coco)
        self._coco_api = _read_ground_truth(self._metadata.json_file, dataset_name, self._fast)
        # The published test sets have images but no annotations.
        self._has_ground_truth = "annotations" in self._coco_api.dataset
        self._predictions: list[Record] = []

    def reset(self) -> None:
        self._predictions = []

    def process(self, inputs: Any, outputs: Any) -> None:
        """Takes in one batch.

        Args:
            inputs: dicts with "image_id".
            outputs: dicts with "instances" (Instances at the size of the original image) and / or
                "proposals" (Instances with ``proposal_boxes`` and ``objectness_logits``).
        """
        for item, output in zip(inputs, outputs, strict=False):
            prediction: Record = {"image_id": item["image_id"]}
            if "instances" in output:
                instances = output["instances"].to("cpu")
                prediction["instances"] = instances_to_coco_json(instances, item["image_id"])
            if "proposals" in output:
                prediction["proposals"] = output["proposals"].to("cpu")
            if len(prediction) > 1:
                self._predictions.append(prediction)

    def evaluate(self, img_ids: Sequence[Any] | None = None) -> dict[str, Any] | None:
        """Computes the metrics.

        Args:
            img_ids: the images to evaluate on; by default all of the data set.
        """
        predictions = self._predictions
        if self._distributed:
            comm.synchronize()
            predictions = list(itertools.chain(*comm.gather(predictions, dst=0)))
            if not comm.is_main_process():
                return {}
        if not predictions:
            logger.warning("COCOEvaluator got no predictions: there is nothing to evaluate.")
            return {}
        if self._output_dir:
            path = os.path.join(self._output_dir, "instances_predictions.pth")
            with atomic_write(path) as file:
                torch.save(predictions, file)
        results: OrderedDict[str, Any] = OrderedDict()
        if "proposals" in predictions[0]:
            results["box_proposals"] = self._evaluate_proposals(predictions)
        if "instances" in predictions[0]:
            results.update(self._evaluate_instances(predictions, img_ids))
        return copy.deepcopy(results)

    def _evaluate_proposals(self, predictions: list[Record]) -> dict[str, float]:
        if not self._has_ground_truth:
            logger.info("There are no annotations to evaluate the proposals with.")
            return {}
        ground_truth = []
        for prediction in predictions:
            ids = self._coco_api.getAnnIds(imgIds=[prediction["image_id"]], iscrowd=False)
            ground_truth.append(self._coco_api.loadAnns(ids))
        recalls = proposal_recall([p["proposals"] for p in predictions], ground_truth)
        logger.info("Proposals:\n%s", create_small_table(recalls))
        return recalls

    def _evaluate_instances(
        self, predictions: list[Record], img_ids: Sequence[Any] | None
    ) -> dict[str, dict[str, float]]:
        detections = self._with_dataset_ids(itertools.chain(*[p["instances"] for p in predictions]))
        if self._output_dir:
            write_json(os.path.join(self._output_dir, "coco_instances_results.json"), detections)
        if not self._has_ground_truth:
            logger.info("There are no annotations to evaluate the detections with.")
            return {}
        tasks = self._tasks
        if tasks is None:
            tasks = TASKS if any("segmentation" in d for d in detections) else ("bbox",)
        class_names = self._metadata.get("thing_classes")
        results = {}
        for task in sorted(tasks):
            precision = None
            if detections:
                evaluation = self._accumulate(detections, task, img_ids)
                logger.info("Evaluation of %s:\n%s", task, summary_table(evaluation))
                precision = evaluation.eval["precision"]
                _check_class_count(class_names, precision.shape[2])
            results[task] = _metrics(precision, class_names)
            _log_metrics(task, results[task])
        return results

    def _with_dataset_ids(self, detections: Any) -> list[Record]:
        """New records whose ``category_id`` is that of the annotation file."""
        id_map = self._metadata.get("thing_dataset_id_to_contiguous_id")
        if id_map is None:
            return list(detections)
        dataset_ids = {index: number for number, index in id_map.items()}
        converted = []
        for detection in detections:
            class_id = detection["category_id"]
            if class_id not in dataset_ids:
                raise AssertionError(
                    f"A detection has class {class_id}, but {self._metadata.name} has the classes"
                    f" {min(dataset_ids)} to {max(dataset_ids)}. Does NUM_CLASSES fit the data set?"
                )
            converted.append({**detection, "category_id": dataset_ids[class_id]})
        return converted

    def _accumulate(
        self, detections: list[Record], task: str, img_ids: Sequence[Any] | None
    ) -> Any:
        """Matches detections with the ground truth; ``.eval["precision"]`` is the result."""
        if task == "segm":
            # With a box in the record, COCO's API would call an instance small, medium or large by
            # the area of that box instead of the mask's.
            detections = [{k: v for k, v in d.items() if k != "bbox"} for d in detections]
        else:
            detections = [{**d} for d in detections]  # loadRes writes into them
        implementation = _fast_implementation() if self._fast else COCOevalMaxDets
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = implementation(
                self._coco_api, self._coco_api.loadRes(detections), iouType=task
            )
            evaluation.params.maxDets = self._max_dets
            if img_ids is not None:
                evaluation.params.imgIds = img_ids
            evaluation.evaluate()
            evaluation.accumulate()
        return evaluation


def _fast_implementation() -> Any:
    from faster_coco_eval import COCOeval_faster

    return COCOeval_faster


def instances_to_coco_json(instances: Instances, img_id: Any) -> list[Record]:
    """Turns the detections of an image into the records of COCO's result format.

    Args:
        instances: on the CPU, with ``pred_boxes``, ``scores``, ``pred_classes`` and, where there
            are masks, ``pred_masks`` (R, H, W), at the size of the image.
        img_id: the id of the image.

    Returns:
        For each instance ``image_id``, ``category_id`` (as predicted), ``bbox`` (XYWH), ``score``
        and ``segmentation`` (RLE).
    """
    if not len(instances):
        return []
    boxes = instances.pred_boxes.tensor.clone()
    boxes[:, 2:] -= boxes[:, :2]  # XYXY -> XYWH
    scores = instances.scores.tolist()
    classes = instances.pred_classes.tolist()
    records: list[Record] = [
        {"image_id": img_id, "category_id": class_id, "bbox": box, "score": score}
        for class_id, box, score in zip(classes, boxes.tolist(), scores, strict=True)
    ]
    if instances.has("pred_masks"):
        rles = encode_masks(np.asarray(instances.pred_masks))
        for record, rle in zip(records, rles, strict=True):
            record["segmentation"] = rle
    return records


class COCOevalMaxDets(COCOeval):
    """pycocotools' evaluation whose summary holds for any number of detections of an image.

    Its own ``summarize`` is written for 100 and gives -1 otherwise.
    """

    def summarize(self) -> None:
        """Sets ``stats``, 12 numbers in COCO's order, and logs them."""
        if not self.eval:
            raise RuntimeError("Run accumulate() first: there is nothing to summarize.")
        self.stats = np.array([value for _, value in summary(self)])
        logger.info("Evaluation of %s:\n%s", self.params.iouType, summary_table(self))


def summary(evaluation: Any) -> list[tuple[str, float]]:
    """COCO's 12 summary numbers, in [0, 1], or -1 where there is no ground truth.

    Args:
        evaluation: an accumulated evaluation. ``eval["precision"]`` is (thresholds, recalls,
            classes, areas, maxDets), ``eval["recall"]`` is the same without recalls.
    """
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    limits = evaluation.params.maxDets
    rows = [(name, _mean(_of_metric(precision, name))) for name in METRICS]
    rows += [(f"AR@{limit}", _mean(recall[:, :, 0, i])) for i, limit in enumerate(limits)]
    rows += [(f"AR{size}@{limits[-1]}", _mean(recall[:, :, i, -1])) for i, size in _SIZES]
    return rows


_SIZES = ((1, "s"), (2, "m"), (3, "l"))


def summary_table(evaluation: Any) -> str:
    """The summary as text, in percent."""
    return create_small_table(dict(_percent(summary(evaluation))))


def _percent(rows: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    return [(name, value * 100 if value > -1 else float("nan")) for name, value in rows]


def _of_metric(precision: np.ndarray, name: str) -> np.ndarray:
    """The part of (thresholds, recalls, classes, areas, maxDets) that a metric is the mean of."""
    area = {"APs": 1, "APm": 2, "APl": 3}.get(name, 0)
    # The IoU thresholds are 0.50, 0.55, ..., 0.95.
    thresholds = {"AP50": slice(0, 1), "AP75": slice(5, 6)}.get(name, slice(None))
    return precision[thresholds, :, :, area, -1]


def _mean(values: np.ndarray) -> float:
    valid = values[values > -1]
    return float(valid.mean()) if valid.size else -1.0


def _metrics(precision: np.ndarray | None, class_names: Sequence[str] | None) -> dict[str, float]:
    """Named metrics in percent; those of single classes only where there are several."""
    if precision is None:
        return dict.fromkeys(METRICS, float("nan"))
    rows = [(name, _mean(_of_metric(precision, name))) for name in METRICS]
    if class_names is not None and len(class_names) > 1:
        rows += [
            (f"AP-{name}", _mean(precision[:, :, index, 0, -1]))
            for index, name in enumerate(class_names)
        ]
    return dict(_percent(rows))


def _check_class_count(class_names: Sequence[str] | None, count: int) -> None:
    if class_names is not None and len(class_names) > 1 and len(class_names) != count:
        raise AssertionError(
            f"The metadata list {len(class_names)} thing_classes, the annotation file has {count}"
            " categories: they must be the same."
        )


def _log_metrics(task: str, metrics: Mapping[str, float]) -> None:
    main = {name: metrics[name] for name in METRICS}
    logger.info("Results for %s:\n%s", task, create_small_table(main))
    if any(np.isnan(value) for value in main.values()):
        logger.info(
            "NaN: the data set has no object of that size (small, medium, large), or there are no"
            " detections at all."
        )
    classes = {name.removeprefix("AP-"): metrics[name] for name in metrics if name not in main}
    if classes:
        logger.info("AP of every class for %s:\n%s", task, _class_table(classes))


def _class_table(classes: Mapping[str, float], columns: int = 3) -> str:
    """Names and numbers side by side, read row by row."""
    from tabulate import tabulate

    cells = [cell for name, value in classes.items() for cell in (name, value)]
    columns = min(columns, len(classes))
    rows = [cells[i : i + 2 * columns] for i in range(0, len(cells), 2 * columns)]
    headers = ["category", "AP"] * columns
    return tabulate(rows, headers=headers, tablefmt="pipe", floatfmt=".3f", numalign="left")


def _converted(dataset_name: str, output_dir: str | None, allow_cached: bool) -> str:
    if output_dir is None:
        raise ValueError(
            f"{dataset_name} has no annotations in COCO's format (metadata 'json_file'): give"
            " COCOEvaluator an output_dir, where they are converted to."
        )
    path = os.path.join(output_dir, f"{dataset_name}_coco_format.json")
    convert_to_coco_json(dataset_name, path, allow_cached=allow_cached)
    return path


def _read_ground_truth(json_file: str, dataset_name: str, fast: bool) -> Any:
    if fast:
        from faster_coco_eval import COCO
    else:
        from pycocotools.coco import COCO
    local = PathManager.get_local_path(json_file)
    if not os.path.exists(local):
        raise missing_data_error(json_file, dataset_name)
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(local)
