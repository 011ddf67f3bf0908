"""The merger of instances and semantics."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from golden import Golden
from torch import Tensor

from detectron2.modeling.meta_arch.panoptic_fpn import (
    _claim_in_rounds,
    _claim_in_turn,
    combine_semantic_and_instance_outputs,
)
from detectron2.structures import Instances


def make_instances(masks: Tensor, scores: list[float] | Tensor, classes: Tensor) -> Instances:
    return Instances(
        tuple(masks.shape[1:]),
        scores=torch.as_tensor(scores),
        pred_classes=classes,
        pred_masks=masks,
    )


@pytest.mark.parametrize("variant", range(7))
def test_variants_are_the_recorded_ones(variant: int) -> None:
    golden = Golden("combine_panoptic")
    setting = golden.params["variants"][variant]
    use = torch.tensor(setting["use"], dtype=torch.int64)
    instances = make_instances(
        golden.input("masks")[use], golden.input("scores")[use], golden.input("classes")[use]
    )
    semantic = golden.input("semantic")
    panoptic, segments = combine_semantic_and_instance_outputs(
        instances, semantic, *setting["args"]
    )
    golden.check(f"seg{variant}", panoptic)
    want = golden.json("segments")[variant]
    assert segments == want
    assert [list(x) for x in segments] == [list(x) for x in want]
    assert torch.equal(semantic, golden.input("semantic"))
    assert torch.equal(instances.pred_masks, golden.input("masks")[use])


def test_facts_are_the_recorded_ones() -> None:
    golden = Golden("combine_panoptic")
    nothing = make_instances(torch.zeros(0, 4, 4, dtype=torch.bool), [], torch.zeros(0))
    panoptic, all_things = combine_semantic_and_instance_outputs(
        nothing, torch.zeros(4, 4, dtype=torch.int64), 0.5, 1, 0.5
    )
    one = make_instances(torch.ones(1, 2, 2, dtype=torch.bool), [0.9], torch.tensor([3]))
    one.pred_masks[0, 0] = False
    _, segments = combine_semantic_and_instance_outputs(
        one, torch.ones(2, 2, dtype=torch.int64), 0.5, 1, 0.5
    )
    types = {k: type(v).__name__ for segment in reversed(segments) for k, v in segment.items()}
    types.pop("area")
    golden.check_json(
        "facts", {"dtype": str(panoptic.dtype), "all_thing_semantic": all_things, "types": types}
    )


def test_fully_covered_instance_keeps_its_segment_where_any_overlap_is_allowed() -> None:
    masks = torch.ones(2, 1, 2, dtype=torch.bool)
    instances = make_instances(masks, [0.9, 0.8], torch.tensor([5, 6]))
    panoptic, segments = combine_semantic_and_instance_outputs(
        instances, torch.zeros(1, 2, dtype=torch.int64), 1.0, 1, 0.5
    )
    assert panoptic.tolist() == [[1, 1]]
    assert [x["category_id"] for x in segments] == [5, 6]


def test_covered_stuff_counts_where_empty_stuff_is_allowed() -> None:
    instances = make_instances(torch.tensor([[[True, False]]]), [0.9], torch.tensor([5]))
    _, segments = combine_semantic_and_instance_outputs(
        instances, torch.tensor([[2, 4]]), 0.5, 0, 0.5
    )
    assert [(x["category_id"], x.get("area")) for x in segments] == [(5, None), (2, 0), (4, 1)]


def test_negative_labels_are_stuff() -> None:
    nothing = make_instances(torch.zeros(0, 1, 3, dtype=torch.bool), [], torch.zeros(0))
    panoptic, segments = combine_semantic_and_instance_outputs(
        nothing, torch.tensor([[-1, 0, 3]]), 0.5, 1, 0.5
    )
    assert panoptic.tolist() == [[1, 0, 2]]
    assert [x["category_id"] for x in segments] == [-1, 3]


def test_equal_scores_keep_their_order() -> None:
    masks = torch.ones(3, 1, 1, dtype=torch.bool)
    instances = make_instances(masks, [0.7, 0.7, 0.7], torch.tensor([1, 2, 3]))
    _, segments = combine_semantic_and_instance_outputs(
        instances, torch.zeros(1, 1, dtype=torch.int64), 0.5, 1, 0.5
    )
    assert [x["instance_id"] for x in segments] == [0]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("density", [0.02, 0.3, 0.9])
def test_both_ways_to_claim_pixels_agree(threshold: float, density: float) -> None:
    masks = torch.rand(12, 9, 11) < density
    masks[4] = False
    order = torch.randperm(12).tolist()
    in_turn = torch.full((9, 11), 12)
    in_rounds = in_turn.clone()
    accepted = _claim_in_turn(in_turn, masks, order, threshold)
    assert _claim_in_rounds(in_rounds, masks, order, threshold) == accepted
    assert torch.equal(in_turn, in_rounds)
    assert order.index(4) not in accepted


@pytest.mark.parametrize("claim", [_claim_in_turn, _claim_in_rounds])
def test_rejected_instances_leave_their_pixels_to_others(
    claim: Callable[[Tensor, Tensor, list[int], float], list[int]],
) -> None:
    # The second is half covered by the first and so gives way; the third then fits.
    masks = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]], dtype=torch.bool)[:, None]
    keys = torch.full((1, 4), 3)
    assert claim(keys, masks, [0, 1, 2], 0.4) == [0, 2]
    assert keys.tolist() == [[0, 0, 2, 2]]


@pytest.mark.gpu
def test_cuda_gives_the_result_of_the_cpu() -> None:
    masks, scores, classes = torch.rand(20, 30, 40) < 0.2, torch.rand(20), torch.arange(20)
    semantic = torch.randint(0, 5, (30, 40))
    on_cpu = combine_semantic_and_instance_outputs(
        make_instances(masks, scores, classes), semantic, 0.5, 10, 0.2
    )
    on_gpu = combine_semantic_and_instance_outputs(
        make_instances(masks.cuda(), scores.cuda(), classes.cuda()), semantic.cuda(), 0.5, 10, 0.2
    )
    assert torch.equal(on_gpu[0].cpu(), on_cpu[0])
    assert on_gpu[1] == on_cpu[1]
