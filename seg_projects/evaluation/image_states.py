"""What each image adds to a metric: kept in files, so that finished runs can be compared.

The comparison is a paired bootstrap: both runs are scored on the same data sets, drawn from the
images with replacement; the p-value is twice the share of draws on the side of no difference.
"""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from seg_projects.errors import UserError
from seg_projects.evaluation.bootstrap import (
    Interval,
    PairedTest,
    corrected_interval,
    draw_images,
    interval,
    paired_test,
    sampled_miou,
    sampled_pq,
)
from seg_projects.evaluation.precision_bootstrap import MatchedByScore, sampled_ap
from seg_projects.evaluation.scores import Scores
from seg_projects.files import write_atomically


class PanopticStates(NamedTuple):
    """Of N images and C categories."""

    images: np.ndarray  # (N,) ids
    counts: np.ndarray  # (4, N, C) as of counts_table


class SemanticStates(NamedTuple):
    """Of N images and K classes."""

    images: np.ndarray  # (N,) ids
    pixels: np.ndarray  # (N, 3, K) right pixels, those of the truth, those predicted


States: TypeAlias = PanopticStates | SemanticStates | MatchedByScore

# The files that evaluators write, and the metrics that follow from them.
FILES: dict[str, tuple[str, type[States]]] = {
    "panoptic_images.npz": ("PQ", PanopticStates),
    "instances_bbox_images.npz": ("box AP", MatchedByScore),
    "instances_segm_images.npz": ("mask AP", MatchedByScore),
    "semantic_images.npz": ("mIoU", SemanticStates),
}


class Comparison(NamedTuple):
    """A metric of two runs in percent."""

    first: float
    second: float
    test: PairedTest


def sampled_metric(states: States, draws: np.ndarray) -> np.ndarray:
    """(B,) PQ, AP or mIoU in percent of each drawn data set; ``draws`` is (B, N)."""
    if isinstance(states, PanopticStates):
        return sampled_pq(states.counts, draws)
    if isinstance(states, SemanticStates):
        return sampled_miou(states.pixels, draws)
    return sampled_ap(states, draws).mean(axis=1)


def sampled_interval(states: States, draws: np.ndarray) -> Interval:
    """The 95 % interval of PQ, AP or mIoU from drawn data sets; ``draws`` is (B, N).

    That of AP, which few images make too high, is bias-corrected; PQ and mIoU have no bias to
    speak of, and the correction would cost coverage (``bench/interval_coverage.py``).
    """
    samples = sampled_metric(states, draws)
    if not isinstance(states, MatchedByScore):
        return interval(samples)
    return corrected_interval(samples, _value(states))


def _value(states: States) -> float:
    """PQ, AP or mIoU of the images themselves."""
    return float(sampled_metric(states, np.ones((1, len(states.images))))[0])


def compare(first: States, second: States, samples: int) -> Comparison:
    """Both on the same ``samples`` drawn data sets.

    Raises:
        UserError: they are not of the same images.
    """
    if not np.array_equal(first.images, second.images):
        alone = np.setxor1d(first.images, second.images)
        raise UserError(
            f"The two runs were evaluated on {len(first.images)} and {len(second.images)} images, "
            f"{len(alone)} of them in one run alone (first: {alone[:5].tolist()}); a paired test "
            "needs the same images."
        )
    draws = draw_images(len(first.images), samples)
    drawn = [sampled_metric(states, draws) for states in (first, second)]
    return Comparison(_value(first), _value(second), paired_test(drawn[0], drawn[1]))


def add_comparison(scores: Scores, metric: str, result: Comparison, other: str) -> None:
    """Writes a comparison of the scored predictions with ``other`` ones into ``scores``."""
    low, high = result.test.difference
    scores.summary.update(
        {
            f"{metric}_other": result.second,
            f"{metric}_difference": result.second - result.first,
            f"{metric}_difference_low": low,
            f"{metric}_difference_high": high,
            f"{metric}_p": result.test.p_value,
        }
    )
    if math.isnan(result.second - result.first):
        scores.notes.append(
            f"{metric} of {other} is {result.second:.3f}: where one of both is undefined (NaN), "
            "there is no difference."
        )
        return
    scores.notes.append(
        f"{metric} of {other} is {result.second:.3f}, {result.second - result.first:+.3f}; 95 % of "
        f"the drawn data sets give {low:+.3f} to {high:+.3f}, p = {result.test.p_value:.3g} "
        "(paired bootstrap over images)."
    )


def write_states(path: Path, states: States) -> None:
    """Writes a file of ``FILES``."""
    content = io.BytesIO()
    np.savez_compressed(content, **states._asdict())
    write_atomically(path, content.getvalue())


def read_states(path: Path) -> States:
    """What :func:`write_states` wrote.

    Raises:
        UserError: the file is not of that kind.
    """
    _, kind = FILES[path.name]
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return kind(**{name: arrays[name] for name in kind._fields})
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} does not hold the states of images: {error}.") from error


def compare_runs(first: Path, second: Path, samples: int) -> dict[tuple[str, str], Comparison]:
    """By data set and metric, what two ``OUTPUT_DIR`` of evaluated runs have in common.

    Raises:
        UserError: there is nothing that both have evaluated, or it was on other images.
    """
    result = {}
    for path in sorted((first / "inference").glob("*/*_images.npz")):
        other = second / path.relative_to(first)
        if path.name in FILES and other.is_file():
            try:
                values = compare(read_states(path), read_states(other), samples)
            except UserError as error:
                raise UserError(f"{path} and {other}: {error}") from error
            result[path.parent.name, FILES[path.name][0]] = values
    if not result:
        raise UserError(
            f"{first}/inference and {second}/inference have no data set in common; evaluate both "
            "runs (tools/train_net.py --eval-only) on the same DATASETS.TEST."
        )
    return result
