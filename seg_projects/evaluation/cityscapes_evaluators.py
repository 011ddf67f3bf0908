"""Cityscapes' protocols for a model's output, in memory, from the raw files of gtFine."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from seg_projects.errors import UserError
from seg_projects.evaluation.cityscapes_precision import (
    ImagePairs,
    PredictedMask,
    cityscapes_precision,
    pair_image,
)
from seg_projects.evaluation.cityscapes_semantic import (
    LABEL_IDS,
    CityscapesCounts,
    cityscapes_counts,
    cityscapes_scores,
    no_counts,
    total_counts,
)
from seg_projects.evaluation.gathering import gather_by_image
from seg_projects.evaluation.label_map_files import read_label_map
from seg_projects.evaluation.published_scores import publish_scores
from seg_projects.postprocessing.label_argmax import argmax_labels

logger = logging.getLogger(__name__)


def _label_ids(dataset_name: str, kind: str) -> list[int]:
    """The label ids of the classes that the metadata lists under ``kind``; not all are judged.

    Raises:
        UserError: one of them is no class of the benchmark.
    """
    names = MetadataCatalog.get(dataset_name).get(kind)
    if unknown := [name for name in names if name not in LABEL_IDS]:
        raise UserError(
            f"{dataset_name}: Cityscapes has no class {unknown[0]!r} ({kind} in the metadata, "
            f"{len(unknown)} of {len(names)} unknown); name it as one of {', '.join(LABEL_IDS)}, "
            "or set evaluator_type to 'instances' or 'sem_seg' instead."
        )
    return [LABEL_IDS[name] for name in names]


class _TruthFiles:
    """gtFine's files of an image of Detectron2's Cityscapes data sets."""

    def __init__(self, dataset_name: str) -> None:
        self.folder = Path(MetadataCatalog.get(dataset_name).gt_dir)

    def read(self, image: str, kind: str) -> np.ndarray:
        """(H, W) ids of the ``kind`` "labelIds" or "instanceIds"."""
        city, name = Path(image).parent.name, Path(image).name
        stem = name.removesuffix("_leftImg8bit.png")
        return read_label_map(self.folder / city / f"{stem}_gtFine_{kind}.png")


class CityscapesInstanceEvaluator(DatasetEvaluator):
    """AP and AP50 of ``instances`` as the benchmark computes them."""

    def __init__(self, dataset_name: str, output_dir: str | Path | None = None) -> None:
        """Against gtFine; ``output_dir`` is for ``cityscapes_instances.json``."""
        self.truth = _TruthFiles(dataset_name)
        self.label_ids = _label_ids(dataset_name, "thing_classes")
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.reset()

    def reset(self) -> None:
        # Per image the overlaps of what was found with what there is, not the masks.
        self.pairs: dict[Any, dict[int, ImagePairs]] = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images: ``instances`` with masks, scores and classes."""
        for input_, output in zip(inputs, outputs, strict=True):
            found = output["instances"].to("cpu")
            columns = (found.pred_classes.tolist(), found.scores.tolist(), found.pred_masks)
            masks = (
                PredictedMask(self.label_ids[label], score, mask.numpy().astype(bool))
                for label, score, mask in zip(*columns, strict=True)
            )
            truth = self.truth.read(input_["file_name"], "instanceIds")
            self.pairs[input_["file_name"]] = pair_image(truth, masks)

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """``{"segm": {"AP": ..., "AP50": ..., "AP-car": ..., ...}}``; None beside the first."""
        by_image = gather_by_image(self.pairs)
        if by_image is None:
            return None
        scores = cityscapes_precision(list(by_image.values()))
        title, file_name = "Cityscapes instances", "cityscapes_instances.json"
        publish_scores(logger, scores, title=title, folder=self.output_dir, file_name=file_name)
        of_labels = {f"AP-{name}": row["AP"] for name, row in scores.per_category.items()}
        return {"segm": scores.summary | of_labels}


class CityscapesSemanticEvaluator(DatasetEvaluator):
    """IoU and iIoU of ``sem_seg``, over classes and, under ``_sup``, over categories."""

    def __init__(self, dataset_name: str, output_dir: str | Path | None = None) -> None:
        """Against gtFine; ``output_dir`` is for ``cityscapes_labels.json``."""
        self.truth = _TruthFiles(dataset_name)
        # A licence plate, -1, is as unlabelled as 0 is.
        self.label_ids = np.maximum(_label_ids(dataset_name, "stuff_classes"), 0)
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.reset()

    def reset(self) -> None:
        # Per image a table of fixed size, so that one that two processes see counts once.
        self.counts: dict[Any, CityscapesCounts] = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images: ``sem_seg`` of each output is the (19, H, W) logits."""
        for input_, output in zip(inputs, outputs, strict=True):
            predicted = self.label_ids[argmax_labels(output["sem_seg"]).cpu().numpy()]
            labels = self.truth.read(input_["file_name"], "labelIds")
            instances = self.truth.read(input_["file_name"], "instanceIds")
            counts = cityscapes_counts(labels, instances, predicted)
            compact = counts._replace(confusion=counts.confusion.astype(np.int32))
            self.counts[input_["file_name"]] = compact

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """``{"sem_seg": {"IoU": ..., "iIoU": ..., "IoU_sup": ..., "iIoU_sup": ..., "IoU-car"}}``.

        Detectron2's keys; None on all processes but the first.
        """
        by_image = gather_by_image(self.counts)
        if by_image is None:
            return None
        scores = cityscapes_scores(total_counts([no_counts(), *by_image.values()]))
        title, file_name = "Cityscapes labels", "cityscapes_labels.json"
        publish_scores(logger, scores, title=title, folder=self.output_dir, file_name=file_name)
        names = {"mIoU": "IoU", "miIoU": "iIoU"}
        names |= {f"{key}_category": f"{name}_sup" for key, name in names.items()}
        means = {name: scores.summary[key] for key, name in names.items()}
        of_labels = {f"IoU-{name}": row["IoU"] for name, row in scores.per_category.items()}
        return {"sem_seg": means | of_labels}
