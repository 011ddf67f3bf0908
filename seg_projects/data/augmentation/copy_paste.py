"""Copy-paste of objects from one image into another (arXiv:2012.07177)."""

from __future__ import annotations

import numpy as np

from seg_projects.data.augmentation.ranges import Range, as_probability, as_range


class CopyPaste:
    """Stands among the augmentations where objects of a second image are put into the first.

    What comes before it happens to each of the two images, what comes after it to the result. It is
    no augmentation of Detectron2: it needs a second record, which the mapper draws.
    """

    def __init__(self, *, probability: float = 0.5, share: float | Range = (0.0, 1.0)) -> None:
        """Takes the probability and the range.

        Args:
            probability: of pasting into an image at all.
            share: how much of the second image's objects is taken, (least, greatest), in [0, 1].
        """
        self.probability = as_probability(probability, "probability")
        self.share = as_range(share, "share", least=0)
        if self.share[1] > 1:
            raise ValueError(f"share is {share!r}; it is [least, greatest], none above 1.")

    def draw_partner(self, count: int) -> int | None:
        """The index of a second record out of ``count``; None where nothing is pasted."""
        # The legacy generator of the augmentations, so that one seed governs all of them.
        pasting = np.random.rand() < self.probability  # noqa: NPY002
        return int(np.random.randint(count)) if pasting and count else None  # noqa: NPY002

    def draw_objects(self, count: int) -> np.ndarray:
        """Indices, ascending, of those of ``count`` objects that are pasted."""
        share = np.random.uniform(*self.share)  # noqa: NPY002
        return np.sort(np.random.permutation(count)[: round(share * count)])  # noqa: NPY002

    def __repr__(self) -> str:
        return f"CopyPaste(probability={self.probability}, share={list(self.share)})"


def paste_pixels(image: np.ndarray, other: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """``image`` with the pixels of ``other`` where ``mask`` is set; corners lie on one another.

    Args:
        image: (H, W, C).
        other: (H', W', C) of the same type.
        mask: (min(H, H'), min(W, W')) bool.
    """
    image = image.astype(np.result_type(image, other))
    height, width = mask.shape
    image[:height, :width][mask] = other[:height, :width][mask]
    return image
