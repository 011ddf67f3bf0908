"""Cityscapes' scores of folders: gtFine on one side, label maps or instance masks on the other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from seg_projects.data.datasets.cityscapes import TRAIN_IDS
from seg_projects.errors import UserError
from seg_projects.evaluation.cityscapes_precision import (
    PredictedMask,
    cityscapes_precision,
    pair_image,
)
from seg_projects.evaluation.cityscapes_semantic import (
    AVERAGE_SIZES,
    LABEL_IDS,
    NAMES,
    NUM_LABELS,
    cityscapes_counts,
    cityscapes_scores,
    total_counts,
)
from seg_projects.evaluation.label_map_files import read_label_map
from seg_projects.evaluation.scores import Problems, Scores


class CityscapesPair(NamedTuple):
    """One image."""

    instance_ids: Path
    predicted: Path

    @property
    def label_ids(self) -> Path:
        """The truth's label ids, beside the instance ids."""
        name = self.instance_ids.name.replace("instanceIds", "labelIds")
        return self.instance_ids.with_name(name)


def pair_cityscapes(truth: Path, predictions: Path, suffix: str) -> list[CityscapesPair]:
    """The ``*_gtFine_instanceIds.png`` below ``truth`` with the prediction of the same image.

    Args:
        truth: such as ``gtFine/val``.
        predictions: folder with files CITY_SEQUENCE_FRAME*``suffix``, at any depth.
        suffix: ``.png`` or ``.txt``.

    Raises:
        UserError: a folder or its files are missing, or an image has no or several predictions.
    """
    for folder in (truth, predictions):
        if not folder.is_dir():
            raise UserError(f"The folder {folder} does not exist.")
    files: dict[str, list[Path]] = {}
    for path in sorted(predictions.rglob(f"*{suffix}")):
        files.setdefault(_image_name(path), []).append(path)
    problems, pairs = Problems(), []
    for instance_ids in sorted(truth.rglob("*_gtFine_instanceIds.png")):
        found = files.get(_image_name(instance_ids), [])
        if len(found) == 1:
            pairs.append(CityscapesPair(instance_ids, found[0]))
        else:
            count = f"{len(found)} predictions" if found else "no prediction"
            problems.add(str(instance_ids), f"has {count} (*{suffix}) in {predictions}")
    problems.raise_if_any(f"{predictions} against {truth}")
    if not pairs:
        raise UserError(
            f"No CITY/*_gtFine_instanceIds.png in {truth}: name gtFine/val or the like."
        )
    return pairs


def _image_name(path: Path) -> str:
    """CITY_SEQUENCE_FRAME."""
    return "_".join(path.stem.split("_")[:3])


def evaluate_cityscapes_labels(truth: Path, predictions: Path, *, train_ids: bool) -> Scores:
    """IoU and iIoU of classes and categories of a folder of label maps.

    Args:
        truth: such as ``gtFine/val``.
        predictions: folder of PNGs of label ids.
        train_ids: the predictions are train ids 0 to 18 instead, 255 for none.

    Raises:
        UserError: files are missing or do not fit; all of them are named.
    """
    table = np.arange(256, dtype=np.int64)
    if train_ids:
        table = np.full(256, NUM_LABELS, dtype=np.int64)  # which is refused
        table[255] = 0
        table[list(TRAIN_IDS.values())] = list(TRAIN_IDS)
    problems, parts = Problems(), []
    pairs = pair_cityscapes(truth, predictions, ".png")
    for pair in tqdm(pairs, desc="Cityscapes", unit="image", disable=None):
        try:
            predicted = read_label_map(pair.predicted)
            if predicted.dtype != np.uint8:
                raise UserError(f"has the type {predicted.dtype}; label ids are 8 bits")
            labels, instances = read_label_map(pair.label_ids), read_label_map(pair.instance_ids)
            parts.append(cityscapes_counts(labels, instances, table[predicted]))
        except UserError as error:
            problems.add(str(pair.predicted), str(error))
    problems.raise_if_any(f"{predictions} against {truth}")
    return cityscapes_scores(total_counts(parts))


def evaluate_cityscapes_instances(truth: Path, predictions: Path) -> Scores:
    """AP and AP50 of a folder of text files: a line per mask, "PNG label-id score".

    Raises:
        UserError: files are missing or do not fit; all of them are named.
    """
    problems, images = Problems(), []
    pairs = pair_cityscapes(truth, predictions, ".txt")
    for pair in tqdm(pairs, desc="Cityscapes", unit="image", disable=None):
        try:
            masks = read_predicted_masks(pair.predicted, predictions)
            images.append(pair_image(read_label_map(pair.instance_ids), masks))
        except UserError as error:
            problems.add(str(pair.predicted), str(error))
    problems.raise_if_any(f"{predictions} against {truth}")
    return cityscapes_precision(images)


def read_predicted_masks(path: Path, root: Path) -> Iterator[PredictedMask]:
    """The masks that the text file ``path`` lists, paths relative to it, one at a time.

    Raises:
        UserError: a line has another form; a mask is missing, outside of ``root`` or named twice.
    """
    named = set()
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            name, label, score = line.split(" ")
            numbers = _label_id(label), float(score)
        except UserError as error:
            raise UserError(f"line {number} has {error}") from None
        except ValueError:
            raise UserError(f"line {number} is {line!r}, not 'MASK.png LABEL_ID SCORE'") from None
        if math.isnan(numbers[1]):
            raise UserError(f"line {number} has the score NaN, by which nothing can be sorted")
        file = (path.parent / name).resolve()
        if not file.is_relative_to(root.resolve()):
            raise UserError(f"line {number} names {name}, which is outside of {root}")
        if file in named:
            raise UserError(f"line {number} names {name} again; one mask has one label and score")
        named.add(file)
        yield PredictedMask(*numbers, read_label_map(file) != 0)


def _label_id(text: str) -> int:
    """The label id of a line, one that is not judged too.

    Raises:
        UserError: it is a name, or none of the benchmark's ids.
        ValueError: it is no number, and no name either.
    """
    if text in LABEL_IDS:
        raise UserError(f"the class {text!r} where its label id belongs, {LABEL_IDS[text]}")
    label = int(float(text))
    if label not in LABEL_IDS.values():
        judged = ", ".join(f"{i} {NAMES[i]}" for i in AVERAGE_SIZES)
        raise UserError(f"the label id {text}, which Cityscapes does not have; judged are {judged}")
    return label
