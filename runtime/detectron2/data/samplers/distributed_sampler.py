"""Samplers that split a stream of indices among the processes of a training or evaluation."""

from __future__ import annotations

import itertools
import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data.sampler import Sampler

from detectron2.utils import comm

logger = logging.getLogger(__name__)


class TrainingSampler(Sampler):
    """An endless stream of indices: permutation after permutation, interleaved among processes.

    Every process draws the same stream from the same seed and keeps each ``world_size``-th index
    from its rank on.
    """

    def __init__(self, size: int, shuffle: bool = True, seed: int | None = None) -> None:
        """Stores the size.

        Args:
            size: number of elements of the data set.
            shuffle: whether each round is a random permutation, or 0, 1, 2, ...
            seed: of the permutations, equal in all processes; drawn and shared if None.
        """
        if not isinstance(size, int):
            raise TypeError(f"TrainingSampler(size=) expects an int. Got type {type(size)}.")
        if size <= 0:
            raise ValueError(f"TrainingSampler(size=) expects a positive int. Got {size}.")
        self._size = size
        self._shuffle = shuffle
        self._seed = _shared_seed(seed)
        self._rank, self._world_size = comm.get_rank(), comm.get_world_size()

    def __iter__(self) -> Iterator[int]:
        yield from itertools.islice(self._stream(), self._rank, None, self._world_size)

    def _stream(self) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(self._seed)
        while True:
            yield from self._round(generator)

    def _round(self, generator: torch.Generator) -> list[int]:
        """The indices of one round."""
        if self._shuffle:
            return torch.randperm(self._size, generator=generator).tolist()
        return list(range(self._size))


class RandomSubsetTrainingSampler(TrainingSampler):
    """Like :class:`TrainingSampler`, over a fixed random subset of the data set."""

    def __init__(
        self,
        size: int,
        subset_ratio: float,
        shuffle: bool = True,
        seed_shuffle: int | None = None,
        seed_subset: int | None = None,
    ) -> None:
        """Draws the subset.

        Args:
            size: number of elements of the data set.
            subset_ratio: share of the elements that is used, in (0, 1].
            shuffle: whether each round is a random permutation of the subset.
            seed_shuffle: of the permutations; drawn and shared if None.
            seed_subset: of the subset; drawn and shared if None.
        """
        super().__init__(size=size, shuffle=shuffle, seed=seed_shuffle)
        if not 0.0 < subset_ratio <= 1.0:
            raise ValueError(f"subset_ratio={subset_ratio} is outside (0, 1]")
        self._size_subset = int(size * subset_ratio)
        if self._size_subset == 0:
            raise ValueError(f"subset_ratio={subset_ratio} of {size} elements is no element")
        generator = torch.Generator()
        generator.manual_seed(_shared_seed(seed_subset))
        self._indexes_subset = torch.randperm(size, generator=generator)[: self._size_subset]
        logger.info("Training on %d of %d elements, a random subset", self._size_subset, size)

    def _round(self, generator: torch.Generator) -> list[int]:
        if not self._shuffle:
            return self._indexes_subset.tolist()
        order = torch.randperm(self._size_subset, generator=generator)
        return self._indexes_subset[order].tolist()


class RepeatFactorTrainingSampler(Sampler):
    """An endless stream in which elements occur as often as their repeat factors say.

    A fractional factor is rounded up or down at random in each round, so that it holds on
    average (arXiv:1908.03195, section "repeat factor sampling").
    """

    def __init__(
        self, repeat_factors: torch.Tensor, *, shuffle: bool = True, seed: int | None = None
    ) -> None:
        """Stores the factors.

        Args:
            repeat_factors: (N,) float repeats of each element of the data set.
            shuffle: whether the elements of a round come in random order.
            seed: equal in all processes; drawn and shared if None.
        """
        self._shuffle = shuffle
        self._seed = _shared_seed(seed)
        self._rank, self._world_size = comm.get_rank(), comm.get_world_size()
        self._int_part = torch.trunc(repeat_factors)
        self._frac_part = repeat_factors - self._int_part

    @staticmethod
    def repeat_factors_from_category_frequency(
        dataset_dicts: Sequence[dict[str, Any]], repeat_thresh: float, sqrt: bool = True
    ) -> torch.Tensor:
        """Repeat factors that let images of rare categories occur more often.

        A category on the share f of the images has the factor max(1, sqrt(repeat_thresh / f)),
        and an image the largest factor of its categories, or 1 without annotations.

        Args:
            dataset_dicts: annotated records.
            repeat_thresh: share of the images below which a category is repeated.
            sqrt: whether the square root is taken.

        Returns:
            (N,) float32.
        """
        categories = [{a["category_id"] for a in r["annotations"]} for r in dataset_dicts]
        images_with = Counter(itertools.chain.from_iterable(categories))
        factor: dict[int, float] = {}
        for category, count in images_with.items():
            ratio = repeat_thresh / (count / len(dataset_dicts))
            factor[category] = max(1.0, math.sqrt(ratio) if sqrt else ratio)
        per_image = [max((factor[c] for c in present), default=1.0) for present in categories]
        return torch.tensor(per_image, dtype=torch.float32)

    def __iter__(self) -> Iterator[int]:
        yield from itertools.islice(self._stream(), self._rank, None, self._world_size)

    def _stream(self) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(self._seed)
        while True:
            indices = self._repeated(generator)
            if self._shuffle:
                order = torch.randperm(len(indices), generator=generator)
                indices = indices[order]
            yield from indices.tolist()

    def _repeated(self, generator: torch.Generator) -> torch.Tensor:
        """Indices of one round in ascending order, with the factors rounded at random."""
        up = torch.rand(len(self._frac_part), generator=generator) < self._frac_part
        repeats = (self._int_part + up).long()
        return torch.repeat_interleave(torch.arange(len(repeats)), repeats)


class InferenceSampler(Sampler):
    """The indices of this process: contiguous shards, which together are 0 ... ``size`` - 1."""

    def __init__(self, size: int) -> None:
        """Takes the number of elements of the data set."""
        self._size = size
        if size <= 0:
            raise ValueError(f"InferenceSampler(size=) expects a positive int. Got {size}.")
        self._local_indices = self._get_local_indices(size, comm.get_world_size(), comm.get_rank())

    @staticmethod
    def _get_local_indices(total_size: int, world_size: int, rank: int) -> range:
        """The shard of ``rank``: all equally long but for the first ones, longer by 1."""
        length, longer = divmod(total_size, world_size)
        begin = rank * length + min(rank, longer)
        return range(begin, begin + length + (rank < longer))

    def __iter__(self) -> Iterator[int]:
        yield from self._local_indices

    def __len__(self) -> int:
        return len(self._local_indices)


def _shared_seed(seed: int | None) -> int:
    return comm.shared_random_seed() if seed is None else int(seed)
