"""Pictures that are nearly the same: copies in another size or compression, or slightly brightened.

A picture's fingerprint are the signs of the 255 lowest frequencies of its 32 x 32 grey version (its
cosine transform, as Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions",
2010, uses it). Brightness, contrast and size hardly change them.

Measured on 317 photographs, micrographs and video frames with 17 copies of each: copies of half or
a quarter of the size, of JPEG quality 30, with brightness or contrast changed by 20 %, noise, blur,
or in grey differ from the original in at most 22 of the 255 signs, with 1 % cut off each side in at
most 29. Different pictures differ in 43 and more, the median of the most similar ones being 103:
neighbouring slices of a stack of micrographs in 56, frames of a moving camera in 51. Two frames of
a standing camera, other cars passing by, differ in 12: such a pair is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from seg_projects.data.doctor.findings import Finding
from seg_projects.data.images import upright

NUM_FEATURES = 255
# Features in which a copy may differ.
MAX_DISTANCE = 30
# Grey levels: below this deviation, what remains of a picture is noise.
_MIN_CONTRAST = 1.0
_SIDE, _FREQUENCIES = 32, 16
_BANDS = 16
# Earlier pictures that a picture is compared with per look-up: what bounds the work where all are
# alike, as in the frames of one video.
_MOST_PER_LOOKUP = 8


def _cosines() -> np.ndarray:
    """(16, 32) rows of the discrete cosine transform."""
    frequency = np.arange(_FREQUENCIES)[:, None]
    return np.cos(np.pi * (2 * np.arange(_SIDE) + 1) * frequency / (2 * _SIDE))


_COSINES = _cosines()


def fingerprint(image: Image.Image) -> bytes | None:
    """32 bytes of a decoded image as it is shown; None where it is nearly of one colour."""
    grey = _small_grey(image)
    if grey.std() < _MIN_CONTRAST:
        return None
    coefficients = (_COSINES @ upright(grey, image) @ _COSINES.T).ravel()
    coefficients[0] = 0  # the mean, always positive
    return np.packbits(coefficients > 0).tobytes()


def _small_grey(image: Image.Image) -> np.ndarray:
    """(32, 32) means in [0, 255] of areas, as the file stores them."""
    if image.mode.startswith(("I", "F")):  # 16 bits
        values = np.asarray(image, dtype=np.float32) / 257
        image = Image.fromarray(values)
    else:
        image = image.convert("L")
    # In whole pixels first, which is much faster.
    image = image.reduce((max(1, image.width // (2 * _SIDE)), max(1, image.height // (2 * _SIDE))))
    return np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.float64)


class Nearest(NamedTuple):
    """The most similar picture of each picture, of those within ``MAX_DISTANCE``."""

    rows: np.ndarray
    """(P,) int64: which pictures have one."""
    partners: np.ndarray
    """(P,) int64: the most similar one of each, the first of equals."""
    distances: np.ndarray
    """(P,) int64: features in which they differ."""


def nearest(prints: np.ndarray, known: np.ndarray, *, earlier: bool = False) -> Nearest:
    """The most similar one among ``known``.

    Two fingerprints that differ in at most 30 bits differ in at most one bit in one of 16 bands of
    16 bits: each band is looked up with each of its bits inverted. Work grows as N log N; where
    more than ``_MOST_PER_LOOKUP`` pictures share a band, the last ones are compared.

    Args:
        prints: (N, 32) uint8.
        known: (M, 32) uint8.
        earlier: whether only the first n of ``known`` are asked of the picture number n.
    """
    total = len(known)
    index = np.arange(len(prints))
    end = index if earlier else np.full(len(prints), total)
    wide, wide_known = (np.ascontiguousarray(p).view(np.uint64) for p in (prints, known))
    none = (NUM_FEATURES + 1) * max(1, total)
    best = np.full(len(prints), none)
    keys, known_keys = _bands(prints), _bands(known)
    for band in range(_BANDS):
        table = np.sort(known_keys[band] * total + np.arange(total))
        for flipped in (0, *(1 << bit for bit in range(16))):
            wanted = (keys[band] ^ flipped) * total
            last = np.searchsorted(table, wanted + end)
            first = np.maximum(np.searchsorted(table, wanted), last - _MOST_PER_LOOKUP)
            counts = last - first
            rows = np.repeat(index, counts)
            starts = np.cumsum(counts) - counts
            places = np.arange(len(rows)) - np.repeat(starts - first, counts)
            found = table[places] % max(1, total)
            distances = np.bitwise_count(wide[rows] ^ wide_known[found]).sum(axis=1, dtype=np.int64)
            near = distances <= MAX_DISTANCE
            np.minimum.at(best, rows[near], distances[near] * total + found[near])
    rows = np.flatnonzero(best < none)
    return Nearest(rows, best[rows] % max(1, total), best[rows] // max(1, total))


def _bands(prints: np.ndarray) -> np.ndarray:
    """(16, N) int64 keys of 16 bits, each of low and high frequencies of both directions."""
    bits = np.unpackbits(prints, axis=1).reshape(-1, _FREQUENCIES, _FREQUENCIES)
    row = np.arange(_FREQUENCIES)
    diagonals = bits[:, row[:, None], (row[:, None] + row) % _FREQUENCIES]  # (N, row, band)
    weights = 1 << np.arange(16)
    return np.einsum("nrb,r->bn", diagonals, weights, dtype=np.int64)


def mirrored(prints: np.ndarray) -> np.ndarray:
    """The (N, 32) fingerprints of the pictures seen in a mirror.

    Odd horizontal frequencies change their sign.
    """
    odd = np.zeros((_FREQUENCIES, _FREQUENCIES), dtype=bool)
    odd[:, 1::2] = True
    return prints ^ np.packbits(odd)


def check_near_duplicates(
    prints: Mapping[str, bytes], folder: Path, *, mirror: bool = False
) -> Iterator[Finding]:
    """Pictures that are nearly an earlier one.

    Args:
        prints: fingerprint by file name, one of each content.
        folder: of the files.
        mirror: whether mirror images count as copies.
    """
    for name, other, how in _pairs(prints, None, mirror):
        text = how.format(other)
        yield Finding("near-duplicate image", name, text, image=name, beside=folder / other)


def check_near_splits(
    prints: Mapping[str, bytes], others: Mapping[str, bytes], folder: Path, *, mirror: bool = False
) -> Iterator[Finding]:
    """Pictures that are nearly one of the other split, whose files lie in ``folder``."""
    for name, other, how in _pairs(prints, others, mirror):
        text = how.format(f"{other} of the other split")
        yield Finding("near-duplicate in two splits", name, text, image=name, beside=folder / other)


def _pairs(
    prints: Mapping[str, bytes], others: Mapping[str, bytes] | None, mirror: bool
) -> Iterator[tuple[str, str, str]]:
    """Name, the most similar one's name, how similar they are; ``others`` None: earlier ones."""
    known = prints if others is None else others
    if not prints or not known:
        return
    names, known_names = list(prints), list(known)
    rows, known_rows = _as_array(prints), _as_array(known)
    kinds = [(rows, "like {}")]
    if mirror:
        kinds.append((mirrored(rows), "like the mirror image of {}"))
    seen: set[int] = set()
    for queries, how in kinds:
        found = nearest(queries, known_rows, earlier=others is None)
        for row, partner, distance in zip(*(a.tolist() for a in found), strict=True):
            if row not in seen:
                seen.add(row)
                differs = f"({distance} of {NUM_FEATURES} features differ)"
                yield names[row], known_names[partner], f"{how} {differs}"


def _as_array(prints: Mapping[str, bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(prints.values()), dtype=np.uint8).reshape(-1, 32)
