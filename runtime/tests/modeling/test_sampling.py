from __future__ import annotations

import pytest
import torch
from golden import Golden

from detectron2.modeling.sampling import subsample_labels


@pytest.mark.parametrize("call", range(5))
def test_seeded_choices_are_the_recorded_ones(call: int) -> None:
    golden = Golden("subsample_labels")
    labels = golden.input("labels")
    torch.manual_seed(0)
    positive, negative = subsample_labels(labels, *golden.params["calls"][call])
    golden.check(f"pos{call}", positive)
    golden.check(f"neg{call}", negative)
    assert [len(positive), len(negative)] == golden.json("counts")[call]


def test_ignored_labels_are_never_drawn() -> None:
    labels = torch.tensor([-1, 3, 0, -1, 2])
    positive, negative = subsample_labels(labels, 10, 1.0, bg_label=0)
    assert sorted(positive.tolist()) == [1, 4]
    assert negative.tolist() == [2]


def test_missing_positives_are_replaced_by_negatives() -> None:
    labels = torch.tensor([1, 0, 0, 0, 0])
    positive, negative = subsample_labels(labels, 4, 0.5, bg_label=0)
    assert (len(positive), len(negative)) == (1, 3)


def test_no_labels_give_no_samples() -> None:
    positive, negative = subsample_labels(torch.zeros(0, dtype=torch.int64), 4, 0.5, bg_label=0)
    assert len(positive) == len(negative) == 0
