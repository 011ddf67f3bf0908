"""What a report shows of the images of a test set: the truth beside the prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from seg_projects.data import declare_all
from seg_projects.data.categories import OutputCategories, output_categories
from seg_projects.engine.class_mask_prediction import ClassMaskPredictor
from seg_projects.engine.input_images import in_eight_bits, read_image_rgb
from seg_projects.engine.instance_prediction import (
    PAINTED_SCORE,
    InstancePredictor,
    painted_instances,
)
from seg_projects.engine.predictor import PanopticPredictor
from seg_projects.engine.semantic_prediction import SemanticPredictor
from seg_projects.errors import UserError
from seg_projects.evaluation.class_masks import ClassMaskTruth, plane_counts
from seg_projects.evaluation.confusion import class_counts, confusion_matrix, mean_scores
from seg_projects.evaluation.ground_truth import PanopticGroundTruth
from seg_projects.evaluation.instance_truth import InstanceTruth, instance_truth
from seg_projects.evaluation.label_map_truth import LabelMapGroundTruth
from seg_projects.evaluation.panoptic_quality import panoptic_counts, panoptic_quality
from seg_projects.visualization import (
    Panoptic,
    Sample,
    categories_from_coco,
    flatten_masks,
    instance_overlay,
    panoptic_sample,
    semantic_sample,
)
from seg_projects.visualization.class_masks import combined_categories, painted_classes

Truth = PanopticGroundTruth | LabelMapGroundTruth | ClassMaskTruth | InstanceTruth
TRUTHS: dict[str, Callable[[str], Truth]] = {
    "panoptic": PanopticGroundTruth,
    "coco_panoptic_seg": PanopticGroundTruth,
    "label_maps": LabelMapGroundTruth,
    "class_masks": ClassMaskTruth,
    "instances": instance_truth,
    "coco": instance_truth,
}


class ReportSamples(NamedTuple):
    """Images of a test set as the weights of a config see them."""

    spread: list[Sample]
    worst: list[Sample]


def report_samples(
    cfg: CfgNode, truth: Truth, count: int, worst: Mapping[Any, str]
) -> ReportSamples:
    """``count`` images of the first test set, evenly spread, and those of the ids in ``worst``.

    Under the latter stands their caption in ``worst``.
    """
    records = DatasetCatalog.get(cfg.DATASETS.TEST[0])
    chosen = np.linspace(0, len(records) - 1, min(max(count, 0), len(records))).round().astype(int)
    places = {record["image_id"]: place for place, record in enumerate(records)}
    captions = {places[image_id]: worst[image_id] for image_id in worst if image_id in places}
    if not chosen.size and not captions:
        return ReportSamples([], [])
    show = _sampler(cfg, truth)

    @cache
    def sample(place: int) -> Sample:
        record = records[place]
        return show(record, read_image_rgb(Path(record["file_name"])))

    return ReportSamples(
        [sample(place) for place in chosen.tolist()],
        [replace(sample(place), caption=caption) for place, caption in captions.items()],
    )


def _sampler(cfg: CfgNode, truth: Truth) -> Callable[[dict[str, Any], np.ndarray], Sample]:
    """What makes a sample of a record and its image."""
    if isinstance(truth, PanopticGroundTruth):
        return _panoptic_sampler(PanopticPredictor(cfg), truth)
    categories = output_categories(truth.metadata)
    if isinstance(truth, LabelMapGroundTruth):
        return _semantic_sampler(SemanticPredictor(cfg), truth, categories)
    if isinstance(truth, ClassMaskTruth):
        return _class_mask_sampler(ClassMaskPredictor(cfg), truth, categories)
    return _instance_sampler(InstancePredictor(cfg), truth, categories)


def _panoptic_sampler(
    predict: PanopticPredictor, truth: PanopticGroundTruth
) -> Callable[[dict[str, Any], np.ndarray], Sample]:
    categories = categories_from_coco(truth.categories)

    def sample(record: dict[str, Any], image: np.ndarray) -> Sample:
        ids, segments = predict(image)
        annotation = truth.annotation(record["image_id"])
        counts = panoptic_counts(annotation.ids, annotation.segments, ids, segments, truth.column)
        quality = panoptic_quality(counts).pq
        occurring = quality[~np.isnan(quality)]
        return panoptic_sample(
            Path(record["file_name"]).stem,
            in_eight_bits(image),
            ground_truth=Panoptic(annotation.ids, annotation.segments),
            prediction=Panoptic(ids, segments),
            categories=categories,
            # No category in the truth and none predicted: there is nothing to judge.
            caption=f"PQ {occurring.mean():.1f}" if occurring.size else "",
        )

    return sample


def _semantic_sampler(
    predict: SemanticPredictor, truth: LabelMapGroundTruth, known: OutputCategories
) -> Callable[[dict[str, Any], np.ndarray], Sample]:
    categories = categories_from_coco(known.records)

    def sample(record: dict[str, Any], image: np.ndarray) -> Sample:
        labels = truth.labels(record["image_id"])
        predicted = predict(image)
        scores = mean_scores(class_counts(confusion_matrix(labels, predicted, len(categories))))
        return semantic_sample(
            Path(record["file_name"]).stem,
            in_eight_bits(image),
            ground_truth=labels,
            prediction=predicted,
            categories=categories,
            caption=f"mIoU {scores['mIoU']:.1f}, {scores['pACC']:.1f} % of the pixels are right",
        )

    return sample


def _class_mask_sampler(
    predict: ClassMaskPredictor, truth: ClassMaskTruth, known: OutputCategories
) -> Callable[[dict[str, Any], np.ndarray], Sample]:
    categories = list(categories_from_coco(known.records).values())

    def sample(record: dict[str, Any], image: np.ndarray) -> Sample:
        planes, predicted = truth.planes(record["image_id"]), predict(image)
        scores = mean_scores(plane_counts(planes, predicted))
        painted = [painted_classes(planes), painted_classes(predicted)]
        segments = [segment for one in painted for segment in one.segments]
        return panoptic_sample(
            Path(record["file_name"]).stem,
            in_eight_bits(image),
            ground_truth=Panoptic(*painted[0]),
            prediction=Panoptic(*painted[1]),
            categories=combined_categories(categories, segments),
            caption=f"mIoU {scores['mIoU']:.1f}, mDice {scores['mDice']:.1f}",
            overlay=instance_overlay,
        )

    return sample


def _instance_sampler(
    predict: InstancePredictor, truth: InstanceTruth, known: OutputCategories
) -> Callable[[dict[str, Any], np.ndarray], Sample]:
    from pycocotools import mask as coco_mask

    categories = categories_from_coco(known.records)

    def sample(record: dict[str, Any], image: np.ndarray) -> Sample:
        rows = truth.instance_annotations(record["image_id"])
        rows = sorted(rows, key=lambda row: -row["area"])
        masks = [coco_mask.decode(row["segmentation"]).astype(bool) for row in rows]
        category_ids = [row["category_id"] for row in rows]
        found = predict(image)
        return panoptic_sample(
            Path(record["file_name"]).stem,
            in_eight_bits(image),
            ground_truth=Panoptic(*flatten_masks(_stack(masks, image), category_ids)),
            prediction=painted_instances(found, predict.categories),
            categories=categories,
            caption=_counted(len(rows), int((found.scores >= PAINTED_SCORE).sum())),
            overlay=instance_overlay,
        )

    return sample


def _counted(objects: int, predictions: int) -> str:
    """What of an image is told beside its name."""
    return (
        f"{objects} {'object' if objects == 1 else 'objects'}, {predictions} "
        f"{'prediction' if predictions == 1 else 'predictions'} with a score of {PAINTED_SCORE} or "
        "more"
    )


def _stack(masks: list[np.ndarray], image: np.ndarray) -> np.ndarray:
    return np.stack(masks) if masks else np.zeros((0, *image.shape[:2]), dtype=bool)


def ground_truth(cfg: CfgNode) -> Truth:
    """The truth of the first test set; data sets of the config are declared.

    Raises:
        UserError: there is none, its files are missing, or no report shows sets of its kind.
    """
    declare_all(cfg)
    names = list(cfg.DATASETS.TEST)
    kind = MetadataCatalog.get(names[0]).get("evaluator_type") if names else None
    if kind not in TRUTHS or names[0] not in DatasetCatalog.list():
        raise UserError(
            f"DATASETS.TEST is {names}; the report shows the first one, which the config declares "
            "under DATASETS.PANOPTIC, SEMANTIC, CLASS_MASKS, INSTANCES or INSTANCE_MASKS, or which "
            f"is registered with an evaluator_type of {', '.join(TRUTHS)}."
        )
    try:
        return TRUTHS[kind](names[0])
    except FileNotFoundError as error:
        raise UserError(f"The data set {names[0]} is not there: {error}") from error
