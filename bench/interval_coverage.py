#!/usr/bin/env python
"""How often the 95 % intervals of PQ, mIoU and AP hold the truth, and the paired test errs.

Many data sets of a few hundred images are drawn from a population whose value is known from very
many images; images differ in difficulty and content. Of each set the interval is made, and two
runs of equal quality are compared on it. No model, no files.

    python bench/interval_coverage.py [--sets 400] [--images 300] [--draws 500]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np

from seg_projects.evaluation import average_precision
from seg_projects.evaluation.average_precision import IOU_THRESHOLDS
from seg_projects.evaluation.bootstrap import draw_images, paired_test
from seg_projects.evaluation.image_states import (
    PanopticStates,
    SemanticStates,
    States,
    sampled_interval,
    sampled_metric,
)
from seg_projects.evaluation.precision_bootstrap import MatchedByScore

CATEGORIES = 5
SHARES = np.array([0.9, 0.6, 0.4, 0.2, 0.1])  # of the images, that hold a category
Population = Callable[[np.random.Generator, int], tuple[States, States]]


def _scenes(rng: np.random.Generator, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Objects (N, C) of each image and its ease (N, 1) in (0, 1)."""
    present = rng.random((images, CATEGORIES)) < SHARES
    return present * (1 + rng.poisson(2.0, present.shape)), rng.beta(4, 2, (images, 1))


def panoptic(rng: np.random.Generator, images: int) -> tuple[States, States]:
    """Two runs of equal quality on the same images: segments found, missed and invented."""
    objects, ease = _scenes(rng, images)

    def run() -> PanopticStates:
        hits = rng.binomial(objects, ease)
        iou = hits * (0.5 + 0.5 * rng.beta(5, 2, hits.shape))
        wrong = rng.poisson(0.5 * (1 - ease) * (objects > 0))
        counts = np.stack([iou, hits, wrong, objects - hits])
        return PanopticStates(np.arange(images), counts)

    return run(), run()


def semantic(rng: np.random.Generator, images: int) -> tuple[States, States]:
    """Two runs of equal quality on the same images: pixels found and invented."""
    objects, ease = _scenes(rng, images)
    truth = objects * rng.integers(200, 5000, objects.shape)

    def run() -> SemanticStates:
        hits = (truth * ease ** rng.uniform(0.2, 1, truth.shape)).astype(np.int64)
        found = hits + (0.3 * truth * (1 - ease) * rng.random(truth.shape)).astype(np.int64)
        return SemanticStates(np.arange(images), np.stack([hits, truth, found], axis=1))

    return run(), run()


def instances(rng: np.random.Generator, images: int) -> tuple[States, States]:
    """Two runs of equal quality on the same images: detections by score, right up to an IoU."""
    objects, ease = _scenes(rng, images)

    def run() -> MatchedByScore:
        found = rng.binomial(objects, 0.3 + 0.7 * ease)
        wrong = rng.poisson(1.5 * (1 - ease) * (objects > 0))
        parts = []
        for counts, right in ((found, True), (wrong, False)):
            image, category = (
                np.repeat(x.ravel(), counts.ravel()) for x in np.indices(counts.shape)
            )
            iou = 0.5 + 0.5 * rng.beta(1 + 4 * ease[image, 0], 2) if right else np.zeros(len(image))
            score = rng.normal(iou, 0.3)
            parts.append(np.stack([image, category, iou, score]))
        image, category, iou, score = np.concatenate(parts, axis=1)
        order = np.lexsort((-score, category))
        hits = ((iou[:, None] >= IOU_THRESHOLDS) @ (1 << np.arange(len(IOU_THRESHOLDS))))[order]
        bounds = np.searchsorted(category[order], np.arange(CATEGORIES + 1))
        places = image[order].astype(np.int64)
        return MatchedByScore(np.arange(images), bounds, places, hits, np.zeros_like(hits), objects)

    return run(), run()


def measure(population: Population, sets: int, images: int, draws: int, many: int) -> list[float]:
    """The population's value, coverage, width, and shares of p-values below 0.05, 0.2 and 0.5."""
    rng = np.random.default_rng(0)
    value = float(sampled_metric(population(rng, many)[0], np.ones((1, many)))[0])
    held, widths, p_values = [], [], []
    for seed in range(sets):
        first, second = population(rng, images)
        drawn = draw_images(images, draws, seed)
        samples = [sampled_metric(states, drawn) for states in (first, second)]
        low, high = sampled_interval(first, drawn)
        held.append(low <= value <= high)
        widths.append(high - low)
        p_values.append(paired_test(samples[0], samples[1]).p_value)
    below = [100 * float(np.mean(np.array(p_values) < limit)) for limit in (0.05, 0.2, 0.5)]
    return [value, 100 * float(np.mean(held)), float(np.mean(widths)), *below]


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a table."""
    from tabulate import tabulate

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=400, help="data sets (400)")
    parser.add_argument("--images", type=int, default=300, help="of each (300)")
    parser.add_argument("--draws", type=int, default=500, help="drawn from each (500)")
    parser.add_argument("--many", type=int, default=50_000, help="images of the population")
    args = parser.parse_args(argv)
    # Loaded once for all sets, the compiled loops are worth it for smaller ones.
    average_precision.KERNELS_FROM //= args.sets
    rows = [
        (name, *measure(population, args.sets, args.images, args.draws, args.many))
        for name, population in (("PQ", panoptic), ("mIoU", semantic), ("AP", instances))
    ]
    columns = ("", "value", "held %", "width", "p < 0.05 %", "p < 0.2 %", "p < 0.5 %")
    print(tabulate(rows, headers=columns, tablefmt="pipe", floatfmt=".1f"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
