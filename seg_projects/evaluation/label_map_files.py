"""Semantic scores of two folders of label maps with equal file names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from seg_projects.errors import UserError
from seg_projects.evaluation.bootstrap import draw_images
from seg_projects.evaluation.image_states import (
    SemanticStates,
    add_comparison,
    compare,
    sampled_interval,
)
from seg_projects.evaluation.scores import Problems, Scores
from seg_projects.evaluation.semantic_metrics import (
    LabelPair,
    PixelMetric,
    SemanticMetric,
    build_semantic_metrics,
)
from seg_projects.evaluation.semantic_scores import compact, semantic_scores

SUFFIXES = {".png", ".bmp", ".tif", ".tiff", ".npy"}


class LabelMapPair(NamedTuple):
    """The label maps of one image."""

    name: str
    truth: Path
    predicted: Path


def read_label_map(path: Path) -> np.ndarray:
    """The (H, W) integer labels of a one-channel image (of a palette: the index) or .npy file.

    Raises:
        UserError: it cannot be read, or has colours instead of labels.
    """
    try:
        if path.suffix == ".npy":
            labels = np.load(path, allow_pickle=False)
        else:
            with Image.open(path) as image:
                labels = np.asarray(image)
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise UserError(f"The label map {path} cannot be read: {error}.") from error
    if labels.ndim != 2 or labels.dtype.kind not in "iub":
        raise UserError(
            f"The label map {path} has the shape {labels.shape} and the type {labels.dtype}; "
            "labels are one whole number per pixel."
        )
    return labels


def pair_label_maps(truth: Path, predictions: Path) -> list[LabelMapPair]:
    """The files of both folders by their names without suffix, in the order of names.

    Raises:
        UserError: a folder is missing or empty, or a file has no counterpart; all are named.
    """
    problems = Problems()
    by_name: list[dict[str, Path]] = []
    for folder in (truth, predictions):
        if not folder.is_dir():
            raise UserError(f"The folder {folder} does not exist.")
        files: dict[str, Path] = {}
        for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
            first = files.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
            if first != path:
                problems.add(str(path), f"is a second label map of that name, beside {first.name}")
        by_name.append(files)
    true_files, predicted_files = by_name
    for name in sorted(true_files.keys() - predicted_files.keys()):
        problems.add(str(true_files[name]), f"has no counterpart in {predictions}")
    for name in sorted(predicted_files.keys() - true_files.keys()):
        problems.add(str(predicted_files[name]), f"has no counterpart in {truth}")
    problems.raise_if_any(f"{predictions} against {truth}")
    if not true_files:
        raise UserError(f"No label map ({', '.join(sorted(SUFFIXES))}) in {truth}.")
    return [LabelMapPair(n, true_files[n], predicted_files[n]) for n in sorted(true_files)]


def evaluate_label_maps(
    truth: Path,
    predictions: Path,
    names: Sequence[str],
    *,
    ignore_label: int,
    bootstrap: int = 0,
    metrics: Sequence[Any] = (),
    spacing: tuple[float, float] = (1.0, 1.0),
    num_worst: int = 20,
    other: Path | None = None,
) -> Scores:
    """Scores of the folder ``predictions`` against ``truth``.

    Args:
        truth: folder of label maps, labels in [0, K) or ``ignore_label``.
        predictions: folder of label maps of the same names and sizes, labels in [0, K).
        names: the K classes.
        ignore_label: pixels of the truth that count nowhere.
        bootstrap: number of drawn data sets; ``mIoU_low`` and ``mIoU_high`` enclose 95 % of
            their mIoUs. None are drawn for 0.
        metrics: beyond those of pixels, as ``TEST.SEMANTIC_METRICS`` names them.
        spacing: height and width of a pixel, the unit of surface distances.
        num_worst: images that are named per metric.
        other: folder of other predictions, with which these are compared on the drawn data sets,
            or on 1000.

    Raises:
        UserError: maps cannot be compared; all of them are named.
    """
    _check_options(names, spacing)
    chosen = build_semantic_metrics(metrics)
    pairs = {pair.name: pair for pair in pair_label_maps(truth, predictions)}
    judge = _Judge(chosen, len(names), ignore_label, spacing)
    tables = _count_pairs(pairs, judge, f"{predictions} against {truth}")
    scores = semantic_scores(
        tables, chosen, names, lambda name: str(pairs[name].predicted), num_worst=num_worst
    )
    if bootstrap:
        low, high = sampled_interval(_states(tables), draw_images(len(tables), bootstrap))
        scores.summary.update(mIoU_low=low, mIoU_high=high)
    if other is not None:
        others = {pair.name: pair for pair in pair_label_maps(truth, other)}
        judge = judge._replace(metrics=[PixelMetric()])
        second = _states(_count_pairs(others, judge, f"{other} against {truth}"))
        add_comparison(
            scores, "mIoU", compare(_states(tables), second, bootstrap or 1000), str(other)
        )
    return scores


def _check_options(names: Sequence[str], spacing: tuple[float, float]) -> None:
    if len(set(names)) < len(names) or not all(names):
        raise UserError(f"The classes are {list(names)}; each has a name of its own.")
    if not all(0 < side < math.inf for side in spacing):
        raise UserError(f"spacing={spacing}: height and width of a pixel are above 0.")


class _Judge(NamedTuple):
    """How pairs of label maps are counted."""

    metrics: Sequence[SemanticMetric]  # the first is PixelMetric
    num_classes: int
    ignore_label: int
    spacing: tuple[float, float]


def _count_pairs(
    pairs: Mapping[str, LabelMapPair], judge: _Judge, what: str
) -> dict[str, list[np.ndarray]]:
    """By name, of each metric what it counts.

    Raises:
        UserError: maps cannot be compared; all of them are named, under the title ``what``.
    """
    problems = Problems()
    tables: dict[str, list[np.ndarray]] = {}
    for name, pair in tqdm(pairs.items(), desc="labels", unit="image", disable=None):
        file = pair.truth
        try:
            true_labels = read_label_map(pair.truth)
            _check_labels("truth", true_labels, true_labels, judge)
            file = pair.predicted
            labels = read_label_map(pair.predicted)
            _check_labels("prediction", labels, true_labels, judge)
            judged = np.where(true_labels == judge.ignore_label, -1, true_labels.astype(np.int32))
            maps = LabelPair(judged, labels, judge.num_classes, judge.spacing)
            tables[name] = [compact(metric.count(maps)) for metric in judge.metrics]
        except ValueError as error:
            problems.add(str(file), str(error))
    problems.raise_if_any(what)
    return tables


def _states(tables: Mapping[str, Sequence[np.ndarray]]) -> SemanticStates:
    return SemanticStates(
        np.array(list(tables)), np.stack([of_metrics[0] for of_metrics in tables.values()])
    )


def _check_labels(side: str, labels: np.ndarray, truth: np.ndarray, judge: _Judge) -> None:
    """Raises a UserError where the ``labels`` of one side do not fit, ignored pixels left out."""
    if labels.shape != truth.shape:
        raise UserError(f"has the size {labels.shape}, the truth {truth.shape}")
    values = labels[truth != judge.ignore_label]
    if values.size and (values.min() < 0 or values.max() >= judge.num_classes):
        wrong = np.unique(values[(values < 0) | (values >= judge.num_classes)]).tolist()
        raise UserError(
            f"the {side} has the unknown categories {wrong}; {judge.num_classes} are named, "
            f"{judge.ignore_label} is ignored"
        )
