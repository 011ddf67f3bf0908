"""How sure the numbers are: PQ and mIoU of data sets drawn from the images with replacement."""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """Where 95 % of the drawn data sets lie, in the metric's unit; NaN where undefined."""

    low: float
    high: float


class PairedTest(NamedTuple):
    """Two runs on the same images."""

    difference: Interval  # second minus first
    # Two-sided, that both are equally good; at least 2 / (samples + 1); NaN where undefined.
    p_value: float


def draw_images(num_images: int, samples: int, seed: int = 0) -> np.ndarray:
    """(B, N) float64: how often each of N images is in each of B drawn data sets of N images."""
    if not num_images:
        return np.zeros((samples, 0))
    rng = np.random.default_rng(seed)
    share = np.full(num_images, 1 / num_images)
    return rng.multinomial(num_images, share, size=samples).astype(np.float64)


def sampled_pq(counts: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """(B,) PQ in percent of each drawn data set.

    Args:
        counts: (4, N, C) of the N images, as of :func:`counts_table`.
        draws: (B, N) as of :func:`draw_images`.
    """
    iou, hits, wrong, missed = (draws @ part for part in counts)
    return 100 * _mean_ratio(iou, hits + 0.5 * wrong + 0.5 * missed)


def sampled_miou(pixels: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """(B,) mIoU in percent, over the classes that the truth holds, of each drawn data set.

    Args:
        pixels: (N, 3, K) per image and class: right pixels, those of the truth, those predicted.
        draws: (B, N) as of :func:`draw_images`.
    """
    hits, truth, predicted = (draws @ pixels[:, row].astype(np.float64) for row in range(3))
    return 100 * _mean_ratio(hits, np.where(truth > 0, truth + predicted - hits, 0))


def _mean_ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """(B,) mean of part / whole (B, K) where whole is not 0; NaN where all of it is."""
    ratio = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    occurring = (whole > 0).sum(axis=1)
    result = np.full(len(part), np.nan)
    return np.divide(ratio.sum(axis=1), occurring, out=result, where=occurring > 0)


def interval(samples: np.ndarray) -> Interval:
    """The middle 95 % of (B,) samples, undefined ones left out."""
    defined = samples[~np.isnan(samples)]
    if not defined.size:
        return Interval(float("nan"), float("nan"))
    low, high = np.percentile(defined, (2.5, 97.5))
    return Interval(float(low), float(high))


def corrected_interval(samples: np.ndarray, value: float) -> Interval:
    """The 95 % interval of a metric, bias-corrected (Efron 1981, section 7).

    AP of few images is too high, since precision is the best at a recall or beyond, and of drawn
    ones, which repeat images, still higher: so the percentiles move down by twice as much as the
    samples lie above ``value``, measured in the normal distribution's unit.

    Args:
        samples: (B,) of drawn data sets, undefined ones left out.
        value: of the data set itself.
    """
    defined = samples[~np.isnan(samples)]
    if not defined.size:
        return interval(defined)
    below = (defined < value).sum() + 0.5 * (defined == value).sum()
    normal = NormalDist()
    # Half a sample short of none and of all, whose quantiles are infinite.
    center = normal.inv_cdf(float(np.clip(below, 0.5, defined.size - 0.5)) / defined.size)
    levels = [100 * normal.cdf(2 * center + normal.inv_cdf(level)) for level in (0.025, 0.975)]
    low, high = np.percentile(defined, levels)
    return Interval(float(low), float(high))


def paired_test(first: np.ndarray, second: np.ndarray) -> PairedTest:
    """Whether the second run is better or worse: both (B,) samples are of the same draws."""
    difference = second - first
    difference = difference[~np.isnan(difference)]
    if not difference.size:
        return PairedTest(interval(difference), float("nan"))
    below, above = (difference <= 0).sum(), (difference >= 0).sum()
    p_value = min(1.0, 2 * (min(below, above) + 1) / (len(difference) + 1))
    return PairedTest(interval(difference), float(p_value))
