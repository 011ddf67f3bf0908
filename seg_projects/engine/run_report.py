"""The report of a finished training: its figures, its curves, and predictions beside the truth."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from pathlib import Path

import torch

from detectron2.config import CfgNode
from seg_projects.data.categories import output_categories
from seg_projects.engine.report_samples import ground_truth, report_samples
from seg_projects.engine.worst_images import worst_of_run
from seg_projects.errors import UserError
from seg_projects.files import read_figures
from seg_projects.visualization import (
    Report,
    Table,
    categories_from_coco,
    read_metrics,
    write_report,
)

Cell = str | float | None

MEANS = ("panoptic_seg/PQ", "segm/AP", "bbox/AP", "sem_seg/mIoU")


def report_run(cfg: CfgNode, *, num_samples: int = 12, num_worst: int = 3) -> Path:
    """Writes ``report.html`` and its PNGs into ``OUTPUT_DIR`` of a trained and evaluated ``cfg``.

    Args:
        cfg: with the weights to show in ``MODEL.WEIGHTS``.
        num_samples: how many images of the first test set are shown, evenly spread.
        num_worst: how many images are shown of those with the worst values of each metric.

    Raises:
        UserError: the run has not been evaluated, or not on a data set that a report shows.
    """
    folder = Path(cfg.OUTPUT_DIR)
    figures = folder / "evaluation.json"
    if not figures.is_file():
        raise UserError(f"{folder} holds no evaluation.json: train or evaluate first.")
    truth = ground_truth(cfg)
    results = read_figures(figures)
    # With several test sets, the figures are those of each.
    results = results.get(cfg.DATASETS.TEST[0], results)
    categories = categories_from_coco(output_categories(truth.metadata).records)
    names = [category.name for category in categories.values()]
    worst = worst_of_run(folder / "inference" / cfg.DATASETS.TEST[0], num_worst)
    samples = report_samples(cfg, truth, num_samples, worst)
    metrics = folder / "metrics.json"
    report = Report(
        title=f"{cfg.MODEL.META_ARCHITECTURE} on {cfg.DATASETS.TEST[0]}",
        summary=f"Trained for {_length(cfg)}.",
        highlights=_highlights(results),
        tables=_tables(results, names),
        records=read_metrics(metrics) if metrics.is_file() else (),
        samples=samples.spread,
        worst=samples.worst,
        categories=tuple(categories.values()),
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


def _tables(results: dict[str, dict[str, float]], categories: Sequence[str]) -> list[Table]:
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
        kinds = {"bbox": "boxes", "segm": "masks"}
        rows = [(kinds[task], *(values[n] for n in names)) for task, values in instances.items()]
        tables.append(Table(title="Instances", columns=("", *names), rows=rows))
    if semantic := results.get("sem_seg"):
        names = [n for n in ("mIoU", "mDice", "mBF1", "mACC", "pACC") if n in semantic]
        rows = [[semantic[n] for n in names]]
        tables.append(Table(title="Semantic segmentation", columns=names, rows=rows))
    return [*tables, _category_table(results, categories)]


# Figures of a category: of which task, their key there, what the column is called.
CATEGORY_FIGURES = (
    ("panoptic_seg", "PQ", "PQ"),
    ("segm", "AP", "mask AP"),
    ("bbox", "AP", "box AP"),
    ("sem_seg", "IoU", "IoU"),
    ("sem_seg", "Dice", "Dice"),
    ("sem_seg", "BF1", "BF1"),
)


def _category_table(results: dict[str, dict[str, float]], names: Sequence[str]) -> Table:
    """The categories and the figures that occur; others are absent from the test set."""
    columns, found = ["category"], []
    for task, key, title in CATEGORY_FIGURES:
        figures = [results.get(task, {}).get(f"{key}-{name}", math.nan) for name in names]
        if not all(map(math.isnan, figures)):
            columns.append(title)
            found.append(figures)
    rows: list[Sequence[Cell]] = [
        (name, *figures)
        for name, *figures in zip(names, *found, strict=True)
        if not all(map(math.isnan, figures))
    ]
    return Table(title="By category", columns=columns, rows=rows)


def _config_summary(cfg: CfgNode) -> dict[str, str]:
    backbone = cfg.MODEL.BACKBONE.NAME
    if "resnet" in backbone:
        backbone += f", depth {cfg.MODEL.RESNETS.DEPTH}, {cfg.MODEL.RESNETS.NORM}"
    return {
        "architecture": cfg.MODEL.META_ARCHITECTURE,
        "backbone": backbone,
        "training set": ", ".join(cfg.DATASETS.TRAIN),
        "test set": ", ".join(cfg.DATASETS.TEST),
        "short side": f"{list(cfg.INPUT.MIN_SIZE_TRAIN)}, test {cfg.INPUT.MIN_SIZE_TEST}",
        "optimizer": f"{cfg.SOLVER.OPTIMIZER}, learning rate {cfg.SOLVER.BASE_LR}",
        "iterations": _length(cfg),
        "seed": str(cfg.SEED),
    }
