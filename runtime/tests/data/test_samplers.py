"""Tests of the samplers: streams of the recorded facts, and their split among processes."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from golden import Golden, exception_name
from torch.utils.data import SequentialSampler

from detectron2.data.samplers import (
    GroupedBatchSampler,
    InferenceSampler,
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from detectron2.utils import comm


@pytest.fixture
def golden() -> Golden:
    return Golden("samplers")


def first(sampler: Iterable[int], count: int) -> np.ndarray:
    return np.array(list(itertools.islice(sampler, count)), dtype=np.int64)


def test_training_streams_are_as_recorded(golden: Golden) -> None:
    size, seed, count = (golden.params[key] for key in ("size", "seed", "n"))
    golden.check("training", first(TrainingSampler(size, seed=seed), count))
    golden.check("sequential", first(TrainingSampler(size, shuffle=False, seed=seed), count))


def test_the_subset_stream_is_as_recorded(golden: Golden) -> None:
    subset = RandomSubsetTrainingSampler(17, 0.4, seed_shuffle=42, seed_subset=43)
    golden.check("subset", first(subset, golden.params["n"]))


def test_repeated_streams_are_as_recorded(golden: Golden) -> None:
    factors, seed, count = golden.input("repeat"), golden.params["seed"], golden.params["n"]
    golden.check("repeat", first(RepeatFactorTrainingSampler(factors, seed=seed), count))
    in_order = RepeatFactorTrainingSampler(factors, shuffle=False, seed=seed)
    golden.check("repeat_noshuffle", first(in_order, count))


def test_repeat_factors_are_as_recorded(golden: Golden) -> None:
    records = [
        {"annotations": [{"category_id": c} for c in cats]} for cats in golden.params["cats"]
    ]
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(records, 0.3)
    golden.check("repeat_factors", factors)


def test_inference_shards_are_as_recorded(golden: Golden) -> None:
    size = golden.params["size"]
    shards = {
        world: [list(InferenceSampler._get_local_indices(size, world, r)) for r in range(world)]
        for world in (1, 3, 4)
    }
    golden.check_json("inference", shards)


def test_groups_and_errors_are_as_recorded(golden: Golden) -> None:
    grouped = GroupedBatchSampler(SequentialSampler(range(7)), [0, 1, 0, 1, 0, 1, 0], 3)
    golden.check_json("grouped", list(itertools.islice(grouped, 9)))
    facts = golden.json("facts")
    size: Any = 1.5
    assert exception_name(lambda: TrainingSampler(0)) == facts["bad_size"]
    assert exception_name(lambda: TrainingSampler(size)) == facts["bad_type"]
    assert len(InferenceSampler(golden.params["size"])) == facts["inference_len"]


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize(
    "make",
    [
        lambda: TrainingSampler(7, seed=3),
        lambda: RandomSubsetTrainingSampler(9, 0.8, seed_shuffle=3, seed_subset=4),
        lambda: RepeatFactorTrainingSampler(torch.tensor([1.0, 2.5, 0.3]), seed=3),
    ],
)
def test_processes_share_one_stream(
    make: Any, world_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = first(make(), 12 * world_size)
    monkeypatch.setattr(comm, "get_world_size", lambda: world_size)
    shares = []
    for rank in range(world_size):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        shares.append(first(make(), 12))
    assert np.array_equal(np.stack(shares, axis=1).reshape(-1), whole)


@pytest.mark.parametrize(("size", "world_size"), [(1, 4), (4, 4), (7, 3), (1000, 7)])
def test_inference_shards_cover_all_once(size: int, world_size: int) -> None:
    shards = [InferenceSampler._get_local_indices(size, world_size, r) for r in range(world_size)]
    assert list(itertools.chain.from_iterable(shards)) == list(range(size))
    lengths = [len(shard) for shard in shards]
    assert max(lengths) - min(lengths) <= 1


def test_each_round_of_training_is_a_permutation() -> None:
    stream = first(TrainingSampler(5), 15).reshape(3, 5)
    assert np.sort(stream).tolist() == [[0, 1, 2, 3, 4]] * 3


def test_the_subset_stays_the_same() -> None:
    rounds = first(RandomSubsetTrainingSampler(10, 0.5), 15).reshape(3, 5)
    assert len({tuple(sorted(one)) for one in rounds.tolist()}) == 1
    fixed = RandomSubsetTrainingSampler(10, 0.5, shuffle=False, seed_subset=1)
    assert np.array_equal(first(fixed, 5), first(fixed, 10)[5:])


def test_fractional_factors_hold_on_average() -> None:
    # Per round 1 + 0.25 + 2.5 indices are expected: 4000 of them are about 1067 rounds.
    stream = first(RepeatFactorTrainingSampler(torch.tensor([1.0, 0.25, 2.5]), seed=0), 4000)
    counts = Counter(stream.tolist())
    assert counts[1] / counts[0] == pytest.approx(0.25, abs=0.05)
    assert counts[2] / counts[0] == pytest.approx(2.5, abs=0.05)


def test_repeat_factors_without_the_root_and_without_annotations() -> None:
    records: list[dict[str, Any]] = [{"annotations": [{"category_id": 1}]}]
    records += [{"annotations": []}] * 9
    # Category 1 is on a tenth of the images: 0.3 / 0.1.
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
        records, 0.3, sqrt=False
    )
    assert factors.tolist() == pytest.approx([3] + [1] * 9)


@pytest.mark.parametrize("ratio", [0, -1, 1.5])
def test_a_ratio_outside_its_range_is_named(ratio: float) -> None:
    with pytest.raises(ValueError, match=rf"subset_ratio={ratio}"):
        RandomSubsetTrainingSampler(10, ratio)


def test_an_empty_subset_is_refused() -> None:
    with pytest.raises(ValueError, match="is no element"):
        RandomSubsetTrainingSampler(3, 0.1)


def test_nothing_to_infer_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        InferenceSampler(0)


def test_groups_need_a_sampler_and_one_axis() -> None:
    with pytest.raises(ValueError, match="instance of torch"):
        GroupedBatchSampler([1], [0], 1)
    with pytest.raises(ValueError, match=r"\(1, 1\)"):
        GroupedBatchSampler(SequentialSampler([1]), np.zeros((1, 1)), 1)
    with pytest.raises(NotImplementedError, match="number of batches"):
        len(GroupedBatchSampler(SequentialSampler([1]), [0], 1))
