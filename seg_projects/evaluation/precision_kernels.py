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
    longest = max(np.diff(bounds).max(), 1)
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
def _number(text, place, end):  # type: ignore[no-untyped-def]
    """The number of a compressed RLE at ``place``, and where the next one begins."""
    value, shift = 0, 0
    while True:
        if place == end or shift > 55:
            raise ValueError("The run lengths of a mask are damaged: a number has no end.")
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
def _area(text, start, end):  # type: ignore[no-untyped-def]
    """Pixels of a mask."""
    value, before, index, area = 0, 0, 0, 0
    while start < end:
        # Most numbers are of one character. Read here and in _decode: a helper that gives the
        # number and the next place takes 1.3 to 2.6 times the time, inlined or not.
        number = np.int64(text[start]) - 48
        if number & 32:
            number, start = _number(text, start, end)
        else:
            number -= (number & 16) << 1
            start += 1
        if index & 1:
            value = number + before
            before = value
            area += value
        index += 1
    return area


@njit(cache=True)
def _decode(text, start, end, height, starts, stops, box):  # type: ignore[no-untyped-def]
    """Writes the foreground runs of a mask, down the columns; their number and the area.

    ``box`` becomes the x0, y0, x1, y1 of the columns and rows that they lie within.
    """
    before, last, position, index, runs, area = 0, 0, 0, 0, 0, 0
    column, top, bottom = 0, height, 0  # where the column of ``position`` begins
    while start < end:
        value = np.int64(text[start]) - 48
        if value & 32:
            value, start = _number(text, start, end)
        else:
            value -= (value & 16) << 1
            start += 1
        if index > 2:
            value += before
        before, last = last, value
        index += 1
        position += value
        if index & 1 or not value:
            continue
        starts[runs], stops[runs] = position - value, position
        runs += 1
        area += value
        if position - value - column >= height:
            column += height
            if position - value - column >= height:
                column = (position - value) // height * height
        if position - column > height:
            top, bottom = 0, height
        else:
            top, bottom = min(top, position - value - column), max(bottom, position - column)
    box[:] = 0
    if runs:
        box[0], box[2] = starts[0] // height, (stops[runs - 1] - 1) // height + 1
        box[1], box[3] = top, bottom
    return runs, area


@njit(cache=True)
def decode_runs(text, offsets, heights):  # type: ignore[no-untyped-def]
    """The foreground runs of compressed COCO RLEs.

    Args:
        text: (C,) uint8, the counts of all masks.
        offsets: (M + 1,) int64 where each mask begins in ``text``.
        heights: (M,) int64 of the images.

    Returns:
        (M + 1,) where each mask begins in the next two; (S,) starts and (S,) stops of the runs,
        pixels down the columns; (M, 4) x0, y0, x1, y1 of what encloses them; (M,) areas.
    """
    first = np.zeros(len(heights) + 1, np.int64)
    # Each run is two numbers of a character or more.
    starts = np.empty(len(text) // 2 + 1, np.int64)
    stops = np.empty(len(text) // 2 + 1, np.int64)
    boxes = np.zeros((len(heights), 4), np.int64)
    areas = np.zeros(len(heights), np.int64)
    for m in range(len(heights)):
        part = slice(first[m], None)
        runs, areas[m] = _decode(
            text, offsets[m], offsets[m + 1], heights[m], starts[part], stops[part], boxes[m]
        )
        first[m + 1] = first[m] + runs
    return first, starts[: first[-1]].copy(), stops[: first[-1]].copy(), boxes, areas


@njit(cache=True)
def _shared_pixels(starts_a, stops_a, starts_b, stops_b):  # type: ignore[no-untyped-def]
    """How many pixels two masks of runs share."""
    i, j, total = 0, 0, 0
    while i < len(starts_a) and j < len(starts_b):
        low, high = max(starts_a[i], starts_b[j]), min(stops_a[i], stops_b[j])
        total += max(high - low, 0)
        step = stops_a[i] < stops_b[j]
        i += step
        j += not step
    return total


@njit(cache=True)
def _grown(array, size):  # type: ignore[no-untyped-def]
    """``array`` itself, or a copy of twice the length where it has no place left."""
    if size < len(array):
        return array
    result = np.empty(2 * len(array), array.dtype)
    result[:size] = array
    return result


@njit(cache=True)
def _most_shared(box, area, other, other_area):  # type: ignore[no-untyped-def]
    """A bound of the pixels that two masks share, from boxes x0, y0, x1, y1 and areas."""
    wide = min(box[2], other[2]) - max(box[0], other[0])
    high = min(box[3], other[3]) - max(box[1], other[1])
    return min(area, other_area, max(wide, 0) * max(high, 0))


@njit(cache=True)
def overlapping_masks(  # type: ignore[no-untyped-def]
    text, offsets, kept, truth_heights, truth_runs, crowd, order, first, number, least
):
    """(P,) detections, (P,) truths and (P,) IoUs of at least ``least``; (D,) areas.

    Args:
        text: as of :func:`decode_runs`, of M masks among which the detections' are.
        offsets: likewise.
        kept: (D,) which of the masks belongs to a detection.
        truth_heights: (G,) as of :func:`decode_runs`.
        truth_runs: what that gives of the truths.
        crowd: (G,) bool; with those the share of the detection counts.
        order: (G,) truths, those of one image and category side by side.
        first: (D,) where those of a detection begin in ``order``.
        number: (D,) how many they are.
        least: the lowest IoU.
    """
    truth_first, truth_starts, truth_stops, truth_boxes, truth_areas = truth_runs
    longest = np.diff(offsets).max() // 2 + 1 if len(kept) else 1
    starts, stops = np.empty(longest, np.int64), np.empty(longest, np.int64)
    box, areas = np.zeros(4, np.int64), np.zeros(len(kept), np.int64)
    detection, truth = np.empty(1024, np.int64), np.empty(1024, np.int64)
    iou, size = np.empty(1024), 0
    # In the order of the text, which is several times faster to read.
    for d in np.argsort(kept):
        begin, end = offsets[kept[d]], offsets[kept[d] + 1]
        if not number[d]:
            areas[d] = _area(text, begin, end)
            continue
        height = truth_heights[order[first[d]]]
        runs, areas[d] = _decode(text, begin, end, height, starts, stops, box)
        for t in order[first[d] : first[d] + number[d]]:
            shared = _most_shared(box, areas[d], truth_boxes[t], truth_areas[t])
            union = areas[d] if crowd[t] else areas[d] + truth_areas[t] - shared
            if shared == 0 or shared / union < least:
                continue
            part = slice(truth_first[t], truth_first[t + 1])
            shared = _shared_pixels(
                starts[:runs], stops[:runs], truth_starts[part], truth_stops[part]
            )
            union = areas[d] if crowd[t] else areas[d] + truth_areas[t] - shared
            if shared == 0 or shared / union < least:
                continue
            detection, truth = _grown(detection, size), _grown(truth, size)
            iou = _grown(iou, size)
            detection[size], truth[size], iou[size] = d, t, shared / union
            size += 1
    return detection[:size].copy(), truth[:size].copy(), iou[:size].copy(), areas


@njit(cache=True)
def overlapping_boxes(boxes, truth_boxes, crowd, order, first, number, least):  # type: ignore[no-untyped-def]
    """(P,) detections, (P,) truths and (P,) IoUs of at least ``least``.

    Args:
        boxes: (D, 4) float64 x, y, width, height.
        truth_boxes: (G, 4) likewise.
        crowd: as of :func:`overlapping_masks`, and so are all that follow.
        order: likewise.
        first: likewise.
        number: likewise.
        least: likewise.
    """
    detection, truth = np.empty(1024, np.int64), np.empty(1024, np.int64)
    iou, size = np.empty(1024), 0
    for d in range(len(boxes)):
        x, y, width, height = boxes[d]
        for t in order[first[d] : first[d] + number[d]]:
            other = truth_boxes[t]
            wide = min(x + width, other[0] + other[2]) - max(x, other[0])
            high = min(y + height, other[1] + other[3]) - max(y, other[1])
            if wide <= 0 or high <= 0:
                continue
            shared = wide * high
            area = width * height
            union = area if crowd[t] else area + other[2] * other[3] - shared
            if shared / union < least:
                continue
            detection, truth = _grown(detection, size), _grown(truth, size)
            iou = _grown(iou, size)
            detection[size], truth[size], iou[size] = d, t, shared / union
            size += 1
    return detection[:size].copy(), truth[:size].copy(), iou[:size].copy()
