from __future__ import annotations

import math

import pytest
import torch
from golden import Golden, exception_name

from detectron2.modeling.matcher import Matcher


@pytest.mark.parametrize("call", [0, 1, 2])
def test_matches_and_labels_are_the_recorded_ones(call: int) -> None:
    golden = Golden("matcher")
    thresholds, labels, low_quality = golden.params["calls"][call]
    matches, match_labels = Matcher(thresholds, labels, low_quality)(golden.input("quality"))
    golden.check(f"match{call}", matches)
    golden.check(f"label{call}", match_labels)


def test_without_ground_truth_all_are_negative_as_recorded() -> None:
    golden = Golden("matcher")
    thresholds, labels, low_quality = golden.params["calls"][0]
    matches, match_labels = Matcher(thresholds, labels, low_quality)(torch.zeros(0, 5))
    golden.check("match_empty", matches)
    golden.check("label_empty", match_labels)


def test_attributes_and_misuse_are_as_recorded() -> None:
    facts = Golden("matcher").json("facts")
    matcher = Matcher([0.5], [0, 1])
    assert [str(bound) for bound in matcher.thresholds] == facts["thresholds_after_init"]
    assert str(matcher(torch.ones(1, 1))[1].dtype) == facts["label_dtype"]
    assert exception_name(lambda: Matcher([0.5], [0, 2])) == facts["bad_labels"]
    assert exception_name(lambda: Matcher([0.7, 0.3], [0, -1, 1])) == facts["bad_order"]


def test_the_arguments_stay_as_they_are() -> None:
    thresholds, labels = [0.3, 0.7], [0, -1, 1]
    assert Matcher(thresholds, labels).thresholds == [-math.inf, 0.3, 0.7, math.inf]
    assert thresholds == [0.3, 0.7]


def test_a_bound_belongs_to_the_range_above() -> None:
    quality = torch.tensor([[0.25, 0.5, 0.75, 1.0]])
    assert Matcher([0.5, 0.75], [0, -1, 1])(quality)[1].tolist() == [0, -1, 1, 1]


def test_the_best_predictions_of_each_ground_truth_are_positive() -> None:
    # The second ground truth's best are predictions 1 and 2, which match the first one better.
    quality = torch.tensor([[0.1, 0.2, 0.3, 0.9], [0.0, 0.1, 0.1, 0.0]])
    matches, labels = Matcher([0.5], [0, 1], allow_low_quality_matches=True)(quality)
    assert matches.tolist() == [0, 0, 0, 0]
    assert labels.tolist() == [0, 1, 1, 1]


def test_without_predictions_nothing_is_matched() -> None:
    matches, labels = Matcher([0.5], [0, 1], allow_low_quality_matches=True)(torch.zeros(3, 0))
    assert matches.shape == labels.shape == (0,)


def test_the_host_never_waits_for_qualities() -> None:
    # Tensors on the meta device have no values that could be waited for.
    quality = torch.zeros(3, 7, device="meta")
    matches, labels = Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True)(quality)
    assert (matches.shape, labels.shape) == ((7,), (7,))


@pytest.mark.parametrize(
    ("thresholds", "labels", "message"),
    [([0.0], [0, 1], "positive"), ([0.5], [0], "1 thresholds need 2 labels")],
)
def test_wrong_ranges_are_refused(thresholds: list[float], labels: list[int], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        Matcher(thresholds, labels)
