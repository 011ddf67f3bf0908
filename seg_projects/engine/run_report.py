"""The report of a finished training: its figures, its curves, and predictions beside the truth."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from seg_projects.data import declare_panoptic_datasets
from seg_projects.engine.prediction_files import read_image_rgb
from seg_projects.engine.predictor import PanopticPredictor
from seg_projects.errors import UserError
from seg_projects.evaluation.ground_truth import PanopticGroundTruth
from seg_projects.evaluation.panoptic_quality import panoptic_counts, panoptic_quality
from seg_projects.visualization import (
    Panoptic,
    Report,
    Sample,
    Table,
    categories_from_coco,
    panoptic_sample,
    read_metrics,
    write_report,
)

Cell = str | float | None

MEANS = ("panoptic_seg/PQ", "segm/AP", "bbox/AP", "sem_seg/mIoU")


def report_run(cfg: CfgNode, *, num_samples: int = 12) -> Path:
    """Writes ``report.html`` and its PNGs into ``OUTPUT_DIR`` of a trained and evaluated ``cfg``.

    Args:
        cfg: with the weights to show in ``MODEL.WEIGHTS``.
        num_samples: how many images of the first test set are shown, evenly spread.

    Raises:
        UserError: the run has not been evaluated, or not on a panoptic data set.
    """
    folder = Path(cfg.OUTPUT_DIR)
    figures = folder / "evaluation.json"
    if not figures.is_file():
        raise UserError(f"{folder} holds no evaluation.json: train or evaluate first.")
    truth = _ground_truth(cfg)
    results = json.loads(figures.read_text(encoding="utf-8"))
    # With several test sets, the figures are those of each.
    results = results.get(cfg.DATASETS.TEST[0], results)
    metrics = folder / "metrics.json"
    report = Report(
        title=f"{cfg.MODEL.META_ARCHITECTURE} on {cfg.DATASETS.TEST[0]}",
        summary=f"Trained for {_length(cfg)}.",
        highlights=_highlights(results),
        tables=_tables(results, truth),
        records=read_metrics(metrics) if metrics.is_file() else (),
        samples=_samples(cfg, truth, num_samples),
        categories=tuple(categories_from_coco(truth.categories).values()),
        config=_config_summary(cfg),
        environment={
            "torch": torch.__version__,
            "Python": platform.python_version(),
            "device": cfg.MODEL.DEVICE,
            "processor": platform.processor() or platform.machine(),
        },
    )
    return write_report(folder, report)


def _ground_truth(cfg: CfgNode) -> PanopticGroundTruth:
    declare_panoptic_datasets(cfg)
    names = list(cfg.DATASETS.TEST)
    if not names or not MetadataCatalog.get(names[0]).get("panoptic_json"):
        raise UserError(
            f"DATASETS.TEST is {names}; the report shows the first one, a panoptic data set."
        )
    return PanopticGroundTruth(names[0])


def _length(cfg: CfgNode) -> str:
    return f"{cfg.SOLVER.MAX_ITER} iterations of {cfg.SOLVER.IMS_PER_BATCH} images"


def _highlights(results: dict[str, dict[str, float]]) -> dict[str, float]:
    flat = {f"{task}/{k}": v for task, values in results.items() for k, v in values.items()}
    names = {"segm/AP": "mask AP", "bbox/AP": "box AP"}
    return {names.get(key, key.split("/")[-1]): flat[key] for key in MEANS if key in flat}


def _tables(results: dict[str, dict[str, float]], truth: PanopticGroundTruth) -> list[Table]:
    tables = []
    if panoptic := results.get("panoptic_seg"):
        groups = (("all", ""), ("things", "_th"), ("stuff", "_st"))
        rows: list[Sequence[Cell]] = [
            (name, *(panoptic[f"{key}{suffix}"] for key in ("PQ", "SQ", "RQ")))
            for name, suffix in groups
        ]
        tables.append(Table(title="Panoptic quality", columns=("", "PQ", "SQ", "RQ"), rows=rows))
    instances = {task: results[task] for task in ("bbox", "segm") if task in results}
    if instances:
        names = ["AP", "AP50", "AP75", "APs", "APm", "APl"]
        rows = [(task, *(values[n] for n in names)) for task, values in instances.items()]
        tables.append(Table(title="Instances", columns=("", *names), rows=rows))
    if semantic := results.get("sem_seg"):
        names = ["mIoU", "fwIoU", "mACC", "pACC"]
        rows = [[semantic[n] for n in names]]
        tables.append(Table(title="Semantic segmentation", columns=names, rows=rows))
    return [*tables, _category_table(results, truth.names)]


def _category_table(results: dict[str, dict[str, float]], names: Sequence[str]) -> Table:
    """The categories that have any figure; the others are absent from the test set."""
    kinds = (("panoptic_seg", "PQ"), ("segm", "AP"), ("sem_seg", "IoU"))
    rows: list[Sequence[Cell]] = []
    for name in names:
        figures = [results.get(task, {}).get(f"{key}-{name}", math.nan) for task, key in kinds]
        if not all(map(math.isnan, figures)):
            rows.append((name, *figures))
    return Table(title="By category", columns=("category", "PQ", "mask AP", "IoU"), rows=rows)


def _samples(cfg: CfgNode, truth: PanopticGroundTruth, count: int) -> list[Sample]:
    records = DatasetCatalog.get(cfg.DATASETS.TEST[0])
    chosen = np.linspace(0, len(records) - 1, min(max(count, 0), len(records))).round().astype(int)
    predict = PanopticPredictor(cfg)
    categories = categories_from_coco(truth.categories)
    return [_sample(records[i], predict, truth, categories) for i in chosen.tolist()]


def _sample(
    record: dict[str, Any],
    predict: PanopticPredictor,
    truth: PanopticGroundTruth,
    categories: dict[int, Any],
) -> Sample:
    path = Path(record["file_name"])
    image = read_image_rgb(path)
    ids, segments = predict(image)
    annotation = truth.annotation(record["image_id"])
    counts = panoptic_counts(annotation.ids, annotation.segments, ids, segments, truth.column)
    quality = panoptic_quality(counts).pq
    occurring = quality[~np.isnan(quality)]
    return panoptic_sample(
        path.stem,
        image,
        ground_truth=Panoptic(annotation.ids, annotation.segments),
        prediction=Panoptic(ids, segments),
        categories=categories,
        # No category in the truth and none predicted: there is nothing to judge.
        caption=f"PQ {occurring.mean():.1f}" if occurring.size else "",
    )


def _config_summary(cfg: CfgNode) -> dict[str, str]:
    return {
        "architecture": cfg.MODEL.META_ARCHITECTURE,
        "backbone": f"{cfg.MODEL.BACKBONE.NAME}, depth {cfg.MODEL.RESNETS.DEPTH}",
        "normalisation": cfg.MODEL.RESNETS.NORM,
        "training set": ", ".join(cfg.DATASETS.TRAIN),
        "test set": ", ".join(cfg.DATASETS.TEST),
        "short side": f"{list(cfg.INPUT.MIN_SIZE_TRAIN)}, test {cfg.INPUT.MIN_SIZE_TEST}",
        "optimizer": f"{cfg.SOLVER.OPTIMIZER}, learning rate {cfg.SOLVER.BASE_LR}",
        "iterations": _length(cfg),
        "seed": str(cfg.SEED),
    }
