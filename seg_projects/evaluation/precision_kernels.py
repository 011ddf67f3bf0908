"""Loops of average precision, compiled by numba: to the last digit what the array code gives.

Importing this module imports numba, so it is imported where it is used. Compiled code is kept on
disk; the first use ever costs some seconds.

Legend: D detections, G truths, P pairs, T IoU thresholds, A area ranges, R recall thresholds, K
categories, B draws, N images.
"""

from __future__ import annotations

import numpy as np
from numba import njit

EPSILON = np.spacing(1)


@njit(cache=True)
def _interpolate(precision, hits, total, recalls, result):  # type: ignore[no-untyped-def]
    """Writes the (R,) best precisions at each recall or beyond; ``precision`` is overwritten."""
    count = len(hits)
    for i in range(count - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    place = 0
    for r in range(len(recalls)):
        while place < count and hits[place] / total < recalls[r]:
            place += 1
        result[r] = precision[place] if place < count else 0.0


@njit(cache=True)
def match_pairs(detection, truth, reached, crowd, ignored_truth, free, matched, ignored):  # type: ignore[no-untyped-def]
    """Greedy matching; writes into the last three arrays.

    Args:
        detection: (P,) of each pair, the pairs of one side by side, the best ranks first.
        truth: (P,) of each pair, of one detection what it prefers last.
        reached: (P,) int64 thresholds that its IoU reaches.
        crowd: (G,) bool.
        ignored_truth: (G, A) bool.
        free: (G, A, T) bool.
        matched: (D, A, T) bool.
        ignored: (D, A, T) bool.
    """
    start = 0
    while start < len(detection):
        row = detection[start]
        end = start
        while end < len(detection) and detection[end] == row:
            end += 1
        for area in range(free.shape[1]):
            for t in range(reached[start:end].max()):
                chosen, found_ignored = -1, True
                for p in range(end - 1, start - 1, -1):
                    if reached[p] <= t or not free[truth[p], area, t]:
                        continue
                    if chosen < 0 or (found_ignored and not ignored_truth[truth[p], area]):
                        chosen, found_ignored = truth[p], ignored_truth[truth[p], area]
                    if not found_ignored:
                        break
                if chosen >= 0:
                    matched[row, area, t] = True
                    ignored[row, area, t] = found_ignored
                    free[chosen, area, t] = crowd[chosen]
        start = end


@njit(cache=True)
def _add_curves(rows, matched, ignored, counted, found, curve):  # type: ignore[no-untyped-def]
    """Adds the precision at each hit of one category to ``curve`` (A, T, H)."""
    areas, thresholds = found.shape
    wrong = np.zeros((areas, thresholds), np.int64)
    for row in rows:
        for area in range(areas):
            if not counted[area]:
                continue
            for t in range(thresholds):
                if ignored[row, area, t]:
                    continue
                if not matched[row, area, t]:
                    wrong[area, t] += 1
                    continue
                count = found[area, t] + 1.0
                # Summed in pycocotools' order: the last digit depends on it.
                curve[area, t, found[area, t]] = count / (wrong[area, t] + count + EPSILON)
                found[area, t] += 1


@njit(cache=True)
def interpolated_precision(bounds, order, matched, ignored, totals, recalls):  # type: ignore[no-untyped-def]
    """(K, A, T, R) precision, NaN without truths, and (K, A, T) hits.

    Args:
        bounds: (K + 1,) int64 where the detections of each category begin in ``order``.
        order: (D,) int64 detections by category, then from the best score on.
        matched: (D, A, T) bool.
        ignored: (D, A, T) bool.
        totals: (K, A) int64 truths that count.
        recalls: (R,) float64.
    """
    categories, areas = totals.shape
    thresholds = matched.shape[2]
    precision = np.full((categories, areas, thresholds, len(recalls)), np.nan)
    found = np.zeros((categories, areas, thresholds), np.int64)
    places = np.arange(1, totals.max() + 1).astype(np.float64)
    curve = np.empty((areas, thresholds, totals.max()))
    for category in range(categories):
        counted = totals[category] > 0
        if not counted.any():
            continue
        rows = order[bounds[category] : bounds[category + 1]]
        _add_curves(rows, matched, ignored, counted, found[category], curve)
        for area in np.flatnonzero(counted):
            for t in range(thresholds):
                hits = found[category, area, t]
                result = precision[category, area, t]
                _interpolate(
                    curve[area, t, :hits], places[:hits], totals[category, area], recalls, result
                )
    return precision, found


@njit(cache=True)
def _drawn_curve(image, hits, ignored, weights, count, reached, curve):  # type: ignore[no-untyped-def]
    """Writes weighted hits and precision (T, H) at each hit of one category, and their number."""
    thresholds = len(count)
    seen = 0.0
    right = np.zeros(thresholds)
    left_out = np.zeros(thresholds)
    for i in range(len(image)):
        weight = weights[image[i]]
        seen += weight
        if weight == 0 or (hits[i] == 0 and ignored[i] == 0):
            continue
        for t in range(thresholds):
            if ignored[i] >> t & 1:
                left_out[t] += weight
            elif hits[i] >> t & 1:
                right[t] += weight
                reached[t, count[t]] = right[t]
                curve[t, count[t]] = right[t] / (seen - left_out[t] + EPSILON)
                count[t] += 1


@njit(cache=True)
def sampled_precision(bounds, image, hits, ignored, totals, draws, recalls, thresholds):  # type: ignore[no-untyped-def]
    """(B, T) mean over categories of the precision over recalls, of drawn data sets.

    Args:
        bounds: (K + 1,) int64 where the detections of each category begin.
        image: (D,) int64 image of each detection, by category, then from the best score on.
        hits: (D,) int64: bit t is 1 where it is right at threshold t.
        ignored: (D,) int64: bit t is 1 where it is neither right nor wrong.
        totals: (B, K) float64 truths of each drawn data set.
        draws: (B, N) float64 how often each image was drawn.
        recalls: (R,) float64.
        thresholds: T.
    """
    samples = len(totals)
    result = np.full((samples, thresholds), np.nan)
    longest = np.diff(bounds).max()
    curve = np.empty((thresholds, longest))
    reached = np.empty((thresholds, longest))
    row = np.empty(len(recalls))
    for b in range(samples):
        sums = np.zeros(thresholds)
        for k in np.flatnonzero(totals[b]):
            part = slice(bounds[k], bounds[k + 1])
            count = np.zeros(thresholds, np.int64)
            _drawn_curve(image[part], hits[part], ignored[part], draws[b], count, reached, curve)
            for t in range(thresholds):
                found = count[t]
                _interpolate(curve[t, :found], reached[t, :found], totals[b, k], recalls, row)
                sums[t] += row.mean()
        occurring = (totals[b] > 0).sum()
        if occurring:
            result[b] = sums / occurring
    return result


@njit(cache=True)
def _number(text, place):  # type: ignore[no-untyped-def]
    """The number of a compressed RLE at ``place``, and where the next one begins."""
    value, shift = 0, 0
    while True:
        character = np.int64(text[place]) - 48
        value |= (character & 31) << shift
        place += 1
        shift += 5
        if not character & 32:
            break
    if character & 16:
        value -= 1 << shift
    return value, place


@njit(cache=True)
def _enclose(box, start, stop, height):  # type: ignore[no-untyped-def]
    """Widens x0, y0, x1, y1 to a run of pixels that is not empty."""
    left, right = start // height, (stop - 1) // height
    top, bottom = start % height, (stop - 1) % height
    if left != right:
        top, bottom = 0, height - 1
    box[0], box[2] = min(box[0], left), max(box[2], right + 1)
    box[1], box[3] = min(box[1], top), max(box[3], bottom + 1)


@njit(cache=True)
def decode_runs(text, offsets, first, heights):  # type: ignore[no-untyped-def]
    """The foreground runs of compressed COCO RLEs.

    Args:
        text: (C,) uint8, the counts of all masks.
        offsets: (M + 1,) int64 where each mask begins in ``text``.
        first: (M + 1,) int64 where each mask begins in the result.
        heights: (M,) int64 of the images.

    Returns:
        (S,) starts and (S,) stops of the runs, pixels down the columns; (M,) areas; (M, 4) x0, y0,
        x1, y1 of the columns and rows that they lie within.
    """
    starts = np.empty(first[-1], np.int64)
    stops = np.empty(first[-1], np.int64)
    areas = np.zeros(len(heights), np.int64)
    boxes = np.zeros((len(heights), 4), np.int64)
    boxes[:, :2] = 1 << 40
    for mask in range(len(heights)):
        place = offsets[mask]
        last, before, position, index = 0, 0, 0, 0
        while place < offsets[mask + 1]:
            value, place = _number(text, place)
            if index > 2:
                value += before
            before, last = last, value
            if index % 2:
                run = first[mask] + index // 2
                starts[run], stops[run] = position, position + value
                areas[mask] += value
                if value:
                    _enclose(boxes[mask], position, position + value, heights[mask])
            position += value
            index += 1
    return starts, stops, areas, boxes


@njit(cache=True)
def shared_pixels(one, other, first_pairs, second_pairs):  # type: ignore[no-untyped-def]
    """(P,) pixels that masks share: ``one`` and ``other`` are (first, starts, stops, boxes)."""
    first_a, starts_a, stops_a, boxes_a = one
    first_b, starts_b, stops_b, boxes_b = other
    result = np.zeros(len(first_pairs), np.int64)
    for p in range(len(first_pairs)):
        a, b = first_pairs[p], second_pairs[p]
        if min(boxes_a[a, 2], boxes_b[b, 2]) <= max(boxes_a[a, 0], boxes_b[b, 0]):
            continue
        if min(boxes_a[a, 3], boxes_b[b, 3]) <= max(boxes_a[a, 1], boxes_b[b, 1]):
            continue
        i, j = first_a[a], first_b[b]
        end_i, end_j = first_a[a + 1], first_b[b + 1]
        total = 0
        while i < end_i and j < end_j:
            low = max(starts_a[i], starts_b[j])
            high = min(stops_a[i], stops_b[j])
            total += max(high - low, 0)
            step = stops_a[i] < stops_b[j]
            i += step
            j += not step
        result[p] = total
    return result
