"""Whether compressed run lengths cover their image: on others pycocotools runs without an end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np

_CHARACTERS_AT_ONCE = 1 << 21


def damaged_run_lengths(
    counts: Sequence[str | bytes], pixels: Sequence[int]
) -> Iterator[tuple[int, str]]:
    """(place, what is wrong) of each of M compressed COCO RLEs that is not one of its image.

    Args:
        counts: (M,) as in the files.
        pixels: (M,) of the images.
    """
    # Characters that no file of this kind holds become one that is refused.
    texts = [text.encode("ascii", "replace") if isinstance(text, str) else text for text in counts]
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    first = 0
    while first < len(texts):
        begin = ends[first] - len(texts[first])
        stop = max(first + 1, int(np.searchsorted(ends, begin + _CHARACTERS_AT_ONCE)))
        covered = _covered(texts[first:stop])
        expected = np.array(pixels[first:stop], dtype=np.int64)
        for place in np.flatnonzero(covered != expected).tolist():
            found = "that are damaged"
            if covered[place] >= 0:
                found = f"of {covered[place]} pixels; its image has {expected[place]}"
            yield first + place, f"has run lengths {found}"
        first = stop


def _covered(texts: Sequence[bytes]) -> np.ndarray:
    """(M,) int64 sums of the run lengths, -1 where there are none or a number is no length.

    A number is written in groups of 5 bits, the lowest first, each a character from "0" on; 32
    tells that one more follows, 16 in the last one that the number is below 0. From the fourth one
    on, it is the difference to the last but one.
    """
    characters = np.frombuffer(b"".join(texts), dtype=np.uint8).astype(np.int64) - 48
    ends = np.array(list(accumulate(map(len, texts))), dtype=np.int64)
    mask = np.repeat(np.arange(len(texts)), np.diff(ends, prepend=0))
    last = (characters & 32) == 0
    begins = np.flatnonzero(np.concatenate(([True], last[:-1]))) if len(characters) else ends[:0]
    group = np.arange(len(characters)) - np.repeat(begins, np.diff(begins, append=len(characters)))
    wrong = np.ones(len(texts), dtype=bool)
    wrong[mask] = False
    # A number that ends in another mask, is too long, or is no number.
    wrong[mask[(group > 10) | (characters < 0) | (characters > 63)]] = True
    closed = np.zeros(len(characters) + 1, dtype=bool)
    closed[1:] = last
    wrong[~closed[ends]] = True
    bits = np.where(group > 10, 0, characters & 31) << (5 * np.minimum(group, 10))
    values = np.add.reduceat(bits, begins) if len(begins) else bits
    stops = np.append(begins[1:], len(characters)) - 1
    negative = (characters[stops] & 16) > 0
    values -= negative.astype(np.int64) << (5 * (group[stops] + 1))
    return _sums(values, mask[begins], wrong)


def _sums(differences: np.ndarray, mask: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """(M,) sums of the runs whose ``differences`` (R,) of each ``mask`` (R,) are given."""
    first = np.searchsorted(mask, np.arange(len(wrong)))
    index = np.arange(len(mask)) - first[mask]
    # The first stands alone; the others add up along two chains, of odd and of even places.
    chain = 3 * mask + np.where(index == 0, 0, 1 + index % 2)
    order = np.argsort(chain, kind="stable")
    chain = chain[order]
    sums = np.cumsum(differences[order])
    starts = np.flatnonzero(np.diff(chain, prepend=-1))
    before = np.concatenate(([0], sums))[starts]
    runs = sums - np.repeat(before, np.diff(starts, append=len(chain)))
    wrong[chain[runs < 0] // 3] = True
    total = np.bincount(chain // 3, weights=runs, minlength=len(wrong)).astype(np.int64)
    return np.where(wrong, -1, total)
