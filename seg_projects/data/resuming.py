"""Training data from where a training was interrupted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch.utils.data import Sampler


class ResumableSampler(Sampler):
    """The indices of a training sampler, without those of the batches that are done."""

    def __init__(
        self, sampler: Iterable[int], *, batch_size: int, groups: Sequence[int] | None = None
    ) -> None:
        """Starts at the first index.

        Args:
            sampler: endless.
            batch_size: of this process.
            groups: 0 or 1 for each index, where batches hold images of one group alone.
        """
        self.sampler = sampler
        self.batch_size = batch_size
        self.groups = groups
        self.batches_done = 0

    def __iter__(self) -> Iterator[int]:
        indices = iter(self.sampler)
        yield from self._waiting(indices)
        yield from indices

    def _waiting(self, indices: Iterator[int]) -> list[int]:
        """Takes what the finished batches took; returns what still waits for its batch."""
        waiting: tuple[list[int], list[int]] = ([], [])
        batches = 0
        while batches < self.batches_done:
            index = next(indices)
            group = waiting[0 if self.groups is None else self.groups[index]]
            group.append(index)
            if len(group) == self.batch_size:
                group.clear()
                batches += 1
        return [*waiting[0], *waiting[1]]


def by_orientation(records: Iterable[dict[str, Any]]) -> list[int]:
    """The group of each image: 0 if it is wider than high, as Detectron2 groups them, else 1."""
    return [int(record["width"] <= record["height"]) for record in records]


class ResumableLoader:
    """A loader whose first batches can be left out."""

    def __init__(self, loader: Iterable[list[dict[str, Any]]], sampler: ResumableSampler) -> None:
        """``loader`` draws from ``sampler``."""
        self.loader = loader
        self._sampler = sampler

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        return iter(self.loader)

    def skip(self, batches: int) -> None:
        """Lets the next iterator begin after so many ``batches``, without loading them."""
        self._sampler.batches_done = batches
