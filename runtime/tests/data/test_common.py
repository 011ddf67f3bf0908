"""Tests of data sets made of lists and of other data sets."""

from __future__ import annotations

import itertools
import multiprocessing
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from golden import Golden
from torch.utils import data

from detectron2.data import DatasetFromList, MapDataset, ToIterableDataset
from detectron2.data.common import (
    AspectRatioGroupedDataset,
    set_default_dataset_from_list_serialize_method,
)
from detectron2.data.samplers import InferenceSampler, TrainingSampler


class Numbers(data.IterableDataset):
    def __init__(self, *numbers: Any) -> None:
        self.numbers = numbers

    def __iter__(self) -> Iterator[Any]:
        return iter(self.numbers)


@pytest.fixture
def golden() -> Golden:
    return Golden("samplers")


def test_batches_of_one_orientation_are_as_recorded(golden: Golden) -> None:
    elements = [{"width": w, "height": h, "id": i} for i, (w, h) in enumerate(golden.params["ar"])]
    batches = [[e["id"] for e in batch] for batch in AspectRatioGroupedDataset(elements, 2)]
    assert batches == golden.json("facts")["ar"]


def test_lists_and_maps_are_as_recorded(golden: Golden) -> None:
    facts = golden.json("facts")
    elements = DatasetFromList([{"a": i} for i in range(facts["len"])])
    assert len(elements) == facts["len"]
    assert elements[2] == facts["item"]
    mapped = MapDataset(DatasetFromList(list(range(6))), lambda x: x * 10)
    assert [mapped[0], mapped[5]] == facts["map"]
    holes = MapDataset(list(range(6)), lambda x: None if x == 3 else x)
    assert (holes[3] in (0, 1, 2, 4, 5)) == facts["map_none_replaced_by_valid"]


def test_the_iterable_order_is_as_recorded(golden: Golden) -> None:
    recorded = golden.json("facts")["iter"]
    ordered = ToIterableDataset(list(range(7)), TrainingSampler(7, seed=3))
    assert list(itertools.islice(ordered, len(recorded))) == recorded


@pytest.mark.parametrize("serialize", [True, False])
def test_elements_are_copies(serialize: bool) -> None:
    original = [{"a": [1, 2]}, {"b": np.ones(2)}]
    elements = DatasetFromList(original, serialize=serialize)
    elements[0]["a"].append(3)
    assert elements[0] == {"a": [1, 2]}
    assert original[0] == {"a": [1, 2]}
    assert elements[1]["b"].tolist() == [1, 1]


def test_without_copies_the_elements_themselves_come() -> None:
    original = [{"a": 1}]
    assert DatasetFromList(original, copy=False, serialize=False)[0] is original[0]


@pytest.mark.parametrize("serialize", [True, False])
def test_lists_are_indexed_like_lists(serialize: bool) -> None:
    elements = DatasetFromList([5, 6, 7], serialize=serialize)
    assert [elements[0], elements[2], elements[-1], elements[-3]] == [5, 7, 7, 5]
    assert list(elements) == [5, 6, 7]
    for index in (3, -4):
        with pytest.raises(IndexError):
            elements[index]


def test_an_empty_list_has_no_elements() -> None:
    assert len(DatasetFromList([])) == 0
    assert list(DatasetFromList([])) == []


def test_a_serialised_list_survives_pickling() -> None:
    elements = pickle.loads(pickle.dumps(DatasetFromList(["a", {"b": 1}])))
    assert list(elements) == ["a", {"b": 1}]


def test_the_way_of_storing_can_be_chosen() -> None:
    assert DatasetFromList([1, 2], serialize=lambda lst: lst[::-1])[0] == 2
    with set_default_dataset_from_list_serialize_method(lambda lst: [x + 1 for x in lst]):
        assert DatasetFromList([1, 2])[0] == 2
    assert DatasetFromList([1, 2])[0] == 1


def test_elements_without_a_result_are_never_returned() -> None:
    holes = MapDataset(list(range(10)), lambda x: x if x in (2, 7) else None)
    assert {holes[i] for i in range(10)} == {2, 7}
    assert [holes[2], holes[7]] == [2, 7]
    assert len(holes) == 10


def test_the_elements_in_their_place_are_those_of_detectron2() -> None:
    # Random(42) chooses among the indices that have not failed: 2 of 1-8, 1 of 1, 2, 4-8, ...
    holes = MapDataset(list(range(9)), lambda x: x if x % 3 else None)
    assert [holes[i] for i in range(9)] == [2, 1, 2, 1, 4, 5, 8, 7, 8]


def test_a_data_set_of_nothing_usable_says_so() -> None:
    with pytest.raises(ValueError, match="all 3 elements"):
        MapDataset([1, 2, 3], lambda x: None)[0]


def test_iterable_data_sets_stay_iterable_and_skip_nothings() -> None:
    mapped: Any = MapDataset(Numbers(1, None, 3), lambda x: x)
    assert isinstance(mapped, data.IterableDataset)
    assert list(mapped) == [1, 3]


@pytest.mark.parametrize("inner", [[1, 2], Numbers(1, 2)])
def test_mapped_data_sets_survive_pickling(inner: Any) -> None:
    mapped = pickle.loads(pickle.dumps(MapDataset(inner, lambda x: x + 1)))
    assert list(itertools.islice(mapped, 2)) == [2, 3]


@pytest.mark.parametrize(("chunk", "workers"), [(1, 2), (2, 2), (2, 3)])
def test_workers_share_the_sampler_in_chunks(
    chunk: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordered = ToIterableDataset(list(range(10)), InferenceSampler(10), shard_chunk_size=chunk)
    shares = []
    for worker in range(workers):
        info = type("Info", (), {"id": worker, "num_workers": workers})
        monkeypatch.setattr(data, "get_worker_info", lambda info=info: info)
        shares.append(list(ordered))
    expected = [
        [i for i in range(10) if i // chunk % workers == worker] for worker in range(workers)
    ]
    assert shares == expected
    assert sorted(itertools.chain.from_iterable(shares)) == list(range(10))


def test_batches_are_the_same_with_and_without_workers() -> None:
    loaders = [
        data.DataLoader(
            ToIterableDataset(list(range(8)), TrainingSampler(8, seed=1), shard_chunk_size=3),
            batch_size=3,
            num_workers=workers,
        )
        for workers in (0, 2)
    ]
    alone, shared = ([b.tolist() for b in itertools.islice(loader, 6)] for loader in loaders)
    assert alone == shared


def test_unshared_workers_run_through_all() -> None:
    ordered = ToIterableDataset([1, 2], InferenceSampler(2), shard_sampler=False)
    assert sorted(data.DataLoader(ordered, batch_size=None, num_workers=2)) == [1, 1, 2, 2]
    assert len(ordered) == 2


def test_iterable_data_sets_cannot_be_sampled() -> None:
    with pytest.raises(AssertionError, match="iterable already"):
        ToIterableDataset(Numbers(1), TrainingSampler(1))
    with pytest.raises(AssertionError, match="Expect a Sampler"):
        ToIterableDataset([1], [0])


def test_squares_count_as_high() -> None:
    wide, square, high = ({"width": w, "height": 2} for w in (3, 2, 1))
    batches = AspectRatioGroupedDataset([wide, square, wide, high], 2)
    assert list(batches) == [[wide, wide], [square, high]]


def test_an_incomplete_batch_waits_for_the_next_run() -> None:
    wide = {"width": 3, "height": 2}
    batches = AspectRatioGroupedDataset([wide], 2)
    assert [len(list(batches)), len(list(batches))] == [0, 1]


def read_second(elements: DatasetFromList, results: Any) -> None:
    results.put(elements[1])


def test_spawned_processes_read_the_list() -> None:
    context = torch.multiprocessing.get_context("spawn")
    assert isinstance(context, multiprocessing.context.SpawnContext)
    results = context.SimpleQueue()
    process = context.Process(target=read_second, args=(DatasetFromList([1, {"a": 2}]), results))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert results.get() == {"a": 2}
