"""Run lengths that do not cover their image are told from those that do."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pycocotools import mask as coco_mask

from seg_projects.evaluation.run_lengths import damaged_run_lengths

masks = npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=9))


def _counts(mask: np.ndarray) -> bytes:
    return coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]


@given(st.lists(masks, max_size=5), st.integers(-2, 2))
def test_pixels_are_those_that_pycocotools_wrote(shapes: list[np.ndarray], extra: int) -> None:
    counts = [_counts(mask) for mask in shapes]
    wrong = list(damaged_run_lengths(counts, [mask.size + extra for mask in shapes]))
    assert [place for place, _ in wrong] == (list(range(len(shapes))) if extra else [])


def test_long_runs_and_many_masks_are_read() -> None:
    mask = np.zeros((3000, 2000), dtype=bool)
    mask[::2, 700:1400] = True
    counts = [_counts(mask), _counts(~mask), _counts(mask[:1])] * 3
    assert not list(damaged_run_lengths(counts, [mask.size, mask.size, 2000] * 3))


def test_damaged_text_is_told_and_its_neighbours_are_not() -> None:
    good = _counts(np.eye(4))
    # A number without an end, nothing, signs of no such file, a run below 0, a number too long.
    texts: list[str | bytes] = [
        good,
        good[:-1] + b"o",
        b"",
        "é0",
        "0 ",
        b"4N",
        b"0" + 20 * b"o" + b"1",
        good,
    ]
    wrong = dict(damaged_run_lengths(texts, [16] * len(texts)))
    assert sorted(wrong) == [1, 2, 3, 4, 5, 6]
    assert wrong[1] == "has run lengths that are damaged"
    [(_, sentence)] = damaged_run_lengths([good], [17])
    assert sentence == "has run lengths of 16 pixels; its image has 17"
