"""Data sets made of lists and of other data sets."""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import logging
import pickle
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import data
from torch.utils.data.sampler import Sampler

from detectron2.utils.serialize import PicklableWrapper

__all__ = ["AspectRatioGroupedDataset", "DatasetFromList", "MapDataset", "ToIterableDataset"]

logger = logging.getLogger(__name__)


class MapDataset(data.Dataset):
    """Applies a function to the elements of a data set, map-style or iterable.

    Where the function gives None, as for a broken image, a map-style data set returns another
    element, chosen at random, and an iterable one skips it.
    """

    def __new__(
        cls, dataset: data.Dataset | Sequence[Any], map_func: Callable[[Any], Any]
    ) -> MapDataset | _MapIterableDataset:
        """An iterable data set for an iterable one."""
        if isinstance(dataset, data.IterableDataset):
            return _MapIterableDataset(dataset, map_func)
        return super().__new__(cls)

    def __getnewargs__(self) -> tuple[Any, Any]:
        return self._dataset, self._map_func

    def __init__(
        self, dataset: data.Dataset | Sequence[Any], map_func: Callable[[Any], Any]
    ) -> None:
        """Stores both; the function may be a lambda, even where processes are spawned."""
        self._dataset: Any = dataset
        self._map_func = PicklableWrapper(map_func)
        self._rng = random.Random(42)
        self._unusable: set[int] = set()

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, idx: int) -> Any:
        index = int(idx)
        for trial in itertools.count(1):
            element = self._map_func(self._dataset[index])
            if element is not None:
                self._unusable.discard(index)
                return element
            self._unusable.add(index)
            if trial == 3:
                logger.warning("Three elements in a row were mapped to None; last: %d", index)
            index = self._another()
        raise AssertionError("unreachable")

    def _another(self) -> int:
        """A random index that was not yet found unusable."""
        usable = [index for index in range(len(self._dataset)) if index not in self._unusable]
        if not usable:
            raise ValueError(
                f"all {len(self._dataset)} elements of the data set are mapped to None"
            )
        return self._rng.choice(usable)


class _MapIterableDataset(data.IterableDataset):
    """Applies a function to an iterable data set, and skips what becomes None."""

    def __init__(self, dataset: data.IterableDataset, map_func: Callable[[Any], Any]) -> None:
        self._dataset: Any = dataset
        self._map_func = PicklableWrapper(map_func)

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator[Any]:
        for element in map(self._map_func, self._dataset):
            if element is not None:
                yield element


class _SerializedList:
    """A list as one buffer of pickles.

    Forked workers share the buffer: reading it touches no reference counts, which would copy
    the pages of ordinary objects. Spawned workers get it through shared memory, as tensors.
    """

    def __init__(self, elements: Sequence[Any]) -> None:
        stream = io.BytesIO()
        ends = np.zeros(len(elements) + 1, dtype=np.int64)
        for index, element in enumerate(elements, start=1):
            pickle.dump(element, stream, protocol=pickle.HIGHEST_PROTOCOL)
            ends[index] = stream.tell()
        self._ends = torch.from_numpy(ends)
        buffer = np.frombuffer(stream.getbuffer(), dtype=np.uint8)
        self._buffer = torch.from_numpy(buffer)
        logger.info("%d elements take %.2f MiB", len(elements), len(buffer) / 2**20)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f"element {index} of a list of {len(self)}")
        begin, end = self._ends[index % len(self) :][:2].tolist()
        return pickle.loads(memoryview(self._buffer[begin:end].numpy()))


_default_serialize: Callable[[Sequence[Any]], Any] = _SerializedList


@contextlib.contextmanager
def set_default_dataset_from_list_serialize_method(
    new: Callable[[Sequence[Any]], Any],
) -> Iterator[None]:
    """Within it, ``DatasetFromList(serialize=True)`` stores its elements as ``new(elements)``."""
    global _default_serialize
    previous, _default_serialize = _default_serialize, new
    try:
        yield
    finally:
        _default_serialize = previous


class DatasetFromList(data.Dataset):
    """A list as a map-style data set."""

    def __init__(
        self,
        lst: list,
        copy: bool = True,
        serialize: bool | Callable[[Sequence[Any]], Any] = True,
    ) -> None:
        """Stores the list.

        Args:
            lst: the elements.
            copy: whether an element is a deep copy; a serialised one always is.
            serialize: whether to pickle the elements into one buffer, which saves memory where
                workers are forked; or a function that stores them in its own way.
        """
        self._copy = copy
        self._serialize = serialize
        self._lst: Any = lst
        if serialize:
            store = serialize if callable(serialize) else _default_serialize
            self._lst = store(lst)

    def __len__(self) -> int:
        return len(self._lst)

    def __getitem__(self, idx: int) -> Any:
        element = self._lst[idx]
        return copy.deepcopy(element) if self._copy and not self._serialize else element


class ToIterableDataset(data.IterableDataset):
    """The elements of a map-style data set in the order of a sampler."""

    def __init__(
        self,
        dataset: data.Dataset,
        sampler: Sampler,
        shard_sampler: bool = True,
        shard_chunk_size: int = 1,
    ) -> None:
        """Stores both.

        Args:
            dataset: map-style.
            sampler: gives indices of it, the same ones in all workers of a loader.
            shard_sampler: whether the workers of a loader share the indices; else each of them
                runs through all.
            shard_chunk_size: how many consecutive indices one worker gets at a time. With the
                batch size, batches are the same for any number of workers.
        """
        assert not isinstance(dataset, data.IterableDataset), f"{dataset} is iterable already"
        assert isinstance(sampler, Sampler), f"Expect a Sampler but got {type(sampler)}"
        self.dataset: Any = dataset
        self.sampler = sampler
        self.shard_sampler = shard_sampler
        self.shard_chunk_size = shard_chunk_size

    def __iter__(self) -> Iterator[Any]:
        for index in self._indices():
            yield self.dataset[index]

    def _indices(self) -> Iterator[int]:
        worker = data.get_worker_info()
        if not self.shard_sampler or worker is None or worker.num_workers == 1:
            yield from self.sampler
            return
        chunk = self.shard_chunk_size
        for position, index in enumerate(self.sampler):
            if position // chunk % worker.num_workers == worker.id:
                yield index

    def __len__(self) -> int:
        return len(self.sampler)


class AspectRatioGroupedDataset(data.IterableDataset):
    """Batches of elements that are all wider than high, or all not, to save padding.

    Elements are dicts with ``width`` and ``height``. An incomplete batch waits for the next run.
    """

    def __init__(self, dataset: data.IterableDataset | Sequence[Any], batch_size: int) -> None:
        """Takes an iterable of single elements."""
        self.dataset: Any = dataset
        self.batch_size = batch_size
        self._buckets: tuple[list[Any], list[Any]] = ([], [])

    def __iter__(self) -> Iterator[list[Any]]:
        for element in self.dataset:
            bucket = self._buckets[element["width"] <= element["height"]]
            bucket.append(element)
            if len(bucket) == self.batch_size:
                batch = bucket.copy()
                bucket.clear()
                yield batch
