"""Panoptic quality of a model on a data set in COCO's panoptic format."""

from __future__ import annotations

import itertools
import logging
import os
from collections import OrderedDict
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detectron2.data.catalog import MetadataCatalog
from detectron2.data.datasets.annotation_files import missing_data_error, read_json, write_json
from detectron2.evaluation.evaluator import DatasetEvaluator
from detectron2.evaluation.panoptic_quality import (
    CategoryCounts,
    PairCounts,
    PanopticQuality,
    average_quality,
    count_matches,
    pair_counts,
)
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

logger = logging.getLogger(__name__)

Record = dict[str, Any]


class COCOPanopticEvaluator(DatasetEvaluator):
    """Panoptic, segmentation and recognition quality in percent (arXiv:1801.00868).

    The metadata of the data set name the ground truth (``panoptic_json``, ``panoptic_root``). Each
    prediction is compared when it comes, in memory; what is kept of an image are four numbers for
    each of its categories. Results are ``{"panoptic_seg": {"PQ", "SQ", "RQ", "PQ_th", ...,
    "PQ_st", ...}}``; NaN where the data set has no thing or no stuff.
    """

    def __init__(self, dataset_name: str, output_dir: str | None = None) -> None:
        """Prepares the maps of class ids.

        Args:
            dataset_name: a registered data set.
            output_dir: where to write ``predictions.json``, the predicted segments.
        """
        self._metadata = MetadataCatalog.get(dataset_name)
        self._output_dir = output_dir
        things = self._metadata.thing_dataset_id_to_contiguous_id
        stuff = self._metadata.stuff_dataset_id_to_contiguous_id
        self._thing_ids = {index: number for number, index in things.items()}
        self._stuff_ids = {index: number for number, index in stuff.items()}
        self.reset()

    def reset(self) -> None:
        self._predictions: list[Record] = []
        self._counts: dict[Any, dict[int, CategoryCounts]] = {}

    @cached_property
    def _ground_truth(self) -> Record:
        return read_json(self._metadata.panoptic_json, self._metadata.name)

    @cached_property
    def _annotations(self) -> dict[Any, Record]:
        return {a["image_id"]: a for a in self._ground_truth["annotations"]}

    def process(self, inputs: Any, outputs: Any) -> None:
        """Takes in one batch.

        Args:
            inputs: dicts with "file_name" and "image_id".
            outputs: dicts with "panoptic_seg": the map (H, W) at the size of the original image and
                its ``segments_info``, where 0 is void; or a map of class * label_divisor + number
                and None, where -1 is void. They are left as they are.
        """
        for item, output in zip(inputs, outputs, strict=False):
            panoptic, segments = output["panoptic_seg"]
            annotation = self._annotations.get(item["image_id"])
            if segments is None:
                panoptic = panoptic + 1  # Void becomes 0.
            pairs = self._compare(panoptic, annotation)
            if segments is None:
                segments = self._segments_of_labels({pred_id for _, pred_id in pairs} - {0})
            segments = [self._with_dataset_id(segment) for segment in segments]
            if annotation is not None:
                self._counts[item["image_id"]] = count_matches(
                    pairs, annotation["segments_info"], segments
                )
            stem = os.path.splitext(os.path.basename(item["file_name"]))[0]
            self._predictions.append(
                {
                    "image_id": item["image_id"],
                    "file_name": f"{stem}.png",
                    "segments_info": segments,
                }
            )

    def _compare(self, panoptic: Tensor, annotation: Record | None) -> PairCounts:
        """The joint histogram with the ground truth; all void where the image has none."""
        if annotation is None:
            return pair_counts(torch.zeros_like(panoptic), panoptic)
        path = os.path.join(self._metadata.panoptic_root, annotation["file_name"])
        try:
            ids = read_panoptic_ids(path)
        except FileNotFoundError:
            raise missing_data_error(path, self._metadata.name) from None
        return pair_counts(torch.from_numpy(ids).to(panoptic.device), panoptic)

    def _segments_of_labels(self, ids: set[int]) -> list[Record]:
        """``segments_info`` of a map that encodes classes; an id is one more than the label."""
        divisor = self._metadata.label_divisor
        return [
            {
                "id": number,
                "category_id": (number - 1) // divisor,
                "isthing": (number - 1) // divisor in self._thing_ids,
            }
            for number in sorted(ids)
        ]

    def _with_dataset_id(self, segment: Record) -> Record:
        """The segment with ``category_id`` of the annotation file, without ``isthing``.

        A segment that does not say ``isthing`` has such an id already.
        """
        rest = {key: value for key, value in segment.items() if key != "isthing"}
        if "isthing" in segment:
            class_ids = self._thing_ids if segment["isthing"] else self._stuff_ids
            if segment["category_id"] not in class_ids:
                raise KeyError(
                    f"A predicted {'thing' if segment['isthing'] else 'stuff'} segment has class"
                    f" {segment['category_id']}; {self._metadata.name} has {sorted(class_ids)}."
                )
            rest["category_id"] = class_ids[segment["category_id"]]
        return rest

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """Merges the ranks and averages; None on ranks other than the main one."""
        comm.synchronize()
        # An image that two ranks have seen counts once.
        gathered = comm.gather(self._counts, dst=0)
        predictions = comm.gather(self._predictions, dst=0) if self._output_dir else []
        if not comm.is_main_process():
            return None
        by_image = dict(itertools.chain(*[counts.items() for counts in gathered]))
        missing = self._annotations.keys() - by_image.keys()
        if missing:
            raise ValueError(
                f"{len(missing)} of the {len(self._annotations)} images of"
                f" {self._metadata.panoptic_json} have no prediction, e.g. {sorted(missing)[:3]}:"
                " panoptic quality is defined on all of them."
            )
        if self._output_dir:
            path = os.path.join(self._output_dir, "predictions.json")
            annotations = list(itertools.chain(*predictions))
            write_json(path, {**self._ground_truth, "annotations": annotations})
        return OrderedDict({"panoptic_seg": self._results(by_image)})

    def _results(self, by_image: dict[Any, dict[int, CategoryCounts]]) -> dict[str, float]:
        total: dict[int, CategoryCounts] = {}
        for counts in by_image.values():
            for category_id, count in counts.items():
                total.setdefault(category_id, CategoryCounts()).add(count)
        isthing = {c["id"]: bool(c["isthing"]) for c in self._ground_truth["categories"]}
        unknown = total.keys() - isthing.keys()
        if unknown:
            raise KeyError(f"Predicted category ids {sorted(unknown)} are not in the ground truth.")
        groups = {
            "": average_quality(total, isthing),
            "_th": average_quality(total, [i for i in isthing if isthing[i]]),
            "_st": average_quality(total, [i for i in isthing if not isthing[i]]),
        }
        _log_table(groups)
        return {
            f"{name}{suffix}": 100 * getattr(quality, name.lower())
            for suffix, quality in groups.items()
            for name in ("PQ", "SQ", "RQ")
        }


def read_panoptic_ids(path: str) -> np.ndarray:
    """Segment ids, (H, W) int32, of a panoptic PNG: R + 256 G + 65536 B."""
    from PIL import Image

    with PathManager.open(path, "rb") as file, Image.open(file) as image:
        # Four bytes a pixel are one little-endian integer, whose fourth byte is opacity.
        rgba = np.asarray(image.convert("RGBA"))
    return (rgba.view("<u4")[..., 0] & 0xFFFFFF).astype(np.int32)


def _log_table(groups: dict[str, PanopticQuality]) -> None:
    from tabulate import tabulate

    names = {"": "All", "_th": "Things", "_st": "Stuff"}
    rows = [
        [names[suffix], 100 * q.pq, 100 * q.sq, 100 * q.rq, q.categories]
        for suffix, q in groups.items()
    ]
    table = tabulate(
        rows,
        headers=["", "PQ", "SQ", "RQ", "#categories"],
        tablefmt="pipe",
        floatfmt=".3f",
        stralign="center",
        numalign="center",
    )
    logger.info("Panoptic quality:\n%s", table)
