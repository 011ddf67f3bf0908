"""Batches of elements of the same group."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data.sampler import BatchSampler, Sampler


class GroupedBatchSampler(BatchSampler):
    """Collects the indices of a sampler into batches whose elements share their group.

    It follows the sampler's order as closely as it can, and drops incomplete batches at the end.
    """

    def __init__(
        self, sampler: Sampler, group_ids: np.ndarray | list[int], batch_size: int
    ) -> None:
        """Stores the groups.

        Args:
            sampler: gives indices in [0, N).
            group_ids: (N,) integer group of each index.
            batch_size: number of indices per batch.
        """
        if not isinstance(sampler, Sampler):
            raise ValueError(
                f"sampler should be an instance of torch.utils.data.Sampler, but got {sampler!r}"
            )
        self.sampler = sampler
        self.group_ids = np.asarray(group_ids)
        if self.group_ids.ndim != 1:
            raise ValueError(f"group_ids have the shape {self.group_ids.shape}; one axis is needed")
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[int]]:
        waiting: dict[int, list[int]] = {}
        for index in self.sampler:
            group = int(self.group_ids[index])
            batch = waiting.setdefault(group, [])
            batch.append(index)
            if len(batch) == self.batch_size:
                yield waiting.pop(group)

    def __len__(self) -> int:
        raise NotImplementedError(
            "the number of batches depends on the order in which the groups come"
        )
