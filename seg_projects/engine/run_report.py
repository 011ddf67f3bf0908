"""The report of a finished training: its figures, its curves, and predictions beside the truth."""

from __future__ import annotations

import json
import math
import platform
from pathlib import Path
from typing import Any

import torch

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
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

MEANS = ("panoptic_seg/PQ", "segm/AP", "bbox/AP", "sem_seg/mIoU")


def report_run(cfg: CfgNode, *, num_samples: int = 12) -> Path:
    """Writes ``report.html`` and its PNGs into ``OUTPUT_DIR`` of a trained and evaluated ``cfg``.

    Args:
        cfg: with the weights to show in ``MODEL.WEIGHTS``.
        num_samples: how many images of the first test set are shown, evenly spread.

    Raises:
        UserError: the run has not been evaluated.
    """
    folder = Path(cfg.OUTPUT_DIR)
    figures = folder / "evaluation.json"
    if not figures.is_file():
        raise UserError(f"{folder} holds no evaluation.json: train or evaluate first.")
    results = json.loads(figures.read_text(encoding="utf-8"))
    declare_panoptic_datasets(cfg)
    truth = PanopticGroundTruth(cfg.DATASETS.TEST[0])
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
        rows = [(name, *(panoptic[f"{k}{s}"] for k in ("PQ", "SQ", "RQ"))) for name, s in groups]
        tables.append(Table(title="Panoptic quality", columns=("", "PQ", "SQ", "RQ"), rows=rows))
    instances = {task: results[task] for task in ("bbox", "segm") if task in results}
    if instances:
        names = ("AP", "AP50", "AP75", "APs", "APm", "APl")
        rows = [(task, *(values[n] for n in names)) for task, values in instances.items()]
        tables.append(Table(title="Instances", columns=("", *names), rows=rows))
    if semantic := results.get("sem_seg"):
        names = ("mIoU", "fwIoU", "mACC", "pACC")
        row = [semantic[n] for n in names]
        tables.append(Table(title="Semantic segmentation", columns=names, rows=[row]))
    columns = ("category", "PQ", "mask AP", "IoU")
    rows = [
        (
            name,
            results.get("panoptic_seg", {}).get(f"PQ-{name}"),
            results.get("segm", {}).get(f"AP-{name}"),
            results.get("sem_seg", {}).get(f"IoU-{name}"),
        )
        for name in truth.names
    ]
    occurring = [row for row in rows if any(v is not None and not math.isnan(v) for v in row[1:])]
    return [*tables, Table(title="By category", columns=columns, rows=occurring)]


def _samples(cfg: CfgNode, truth: PanopticGroundTruth, count: int) -> list[Sample]:
    records = DatasetCatalog.get(cfg.DATASETS.TEST[0])
    chosen = records[:: max(1, math.ceil(len(records) / count))]
    predict = PanopticPredictor(cfg)
    categories = categories_from_coco(truth.categories)
    return [_sample(record, predict, truth, categories) for record in chosen]


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
    occurring = panoptic_quality(counts).pq
    mean = float(occurring[~torch.isnan(torch.from_numpy(occurring)).numpy()].mean())
    return panoptic_sample(
        path.stem,
        image,
        ground_truth=Panoptic(annotation.ids, annotation.segments),
        prediction=Panoptic(ids, segments),
        categories=categories,
        caption=f"PQ {mean:.1f}",
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
