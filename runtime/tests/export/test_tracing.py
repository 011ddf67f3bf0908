from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detectron2.export import TracingAdapter
from detectron2.export.tracing import flatten
from detectron2.structures import Boxes, Instances


def instances() -> Instances:
    return Instances((3, 4), scores=torch.ones(2), pred_boxes=Boxes(torch.ones(2, 4)))


class Doubler(nn.Module):
    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"twice": entry["image"] * 2, "again": entry["image"]} for entry in batch]


class WithNumber(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"x": x + 1, "number": 3}


def test_members_are_in_the_order_of_their_names() -> None:
    value = {"b": torch.ones(1), "a": [torch.ones(2), (torch.ones(3),)]}
    leaves, structure = flatten(value)
    assert [len(leaf) for leaf in leaves] == [2, 3, 1]
    rebuilt = structure(leaves)
    assert list(rebuilt) == ["a", "b"]
    assert isinstance(rebuilt["a"][1], tuple)
    assert torch.equal(rebuilt["b"], value["b"])


def test_instances_are_fields_then_the_image_size() -> None:
    leaves, structure = flatten([instances()])
    assert [tuple(leaf.shape) for leaf in leaves] == [(2, 4), (2,), (2,)]
    assert leaves[2].tolist() == [3, 4]
    (rebuilt,) = structure(leaves)
    assert isinstance(rebuilt.pred_boxes, Boxes)
    assert torch.equal(rebuilt.scores, torch.ones(2))


def test_other_values_are_leaves() -> None:
    for value in ("abc", None, 3):
        assert flatten((value,))[0] == (value,)


def test_structures_are_compared_by_value() -> None:
    assert flatten({"a": (1,)})[1] == flatten({"a": (2,)})[1]
    assert flatten({"a": (1,)})[1] != flatten({"a": [1]})[1]


def test_empty_values_stay_empty() -> None:
    leaves, structure = flatten(([], {}, ()))
    assert leaves == ()
    assert structure(leaves) == ([], {}, ())


@pytest.mark.parametrize("leaves", [(), (1, 2, 3)])
def test_the_number_of_leaves_must_fit(leaves: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="than the structure"):
        flatten([1, 2])[1](leaves)


def test_keys_must_be_strings() -> None:
    with pytest.raises(KeyError, match="strings"):
        flatten({1: 2})


def test_traced_model_serves_other_inputs() -> None:
    adapter = TracingAdapter(Doubler(), [{"image": torch.ones(2)}])
    traced = torch.jit.trace(adapter, adapter.flattened_inputs)
    results = traced(torch.full((2,), 3.0))
    assert adapter.outputs_schema is not None
    (output,) = adapter.outputs_schema(results)
    assert output["twice"].tolist() == [6.0, 6.0]
    assert output["again"].tolist() == [3.0, 3.0]


def test_other_inputs_than_tensors_are_refused() -> None:
    with pytest.raises(ValueError, match="Got 3 of type int instead"):
        TracingAdapter(Doubler(), [{"image": torch.ones(2), "height": 3}])


def test_other_inputs_than_tensors_can_be_constants() -> None:
    inputs = [{"image": torch.ones(2), "height": 3}]
    adapter = TracingAdapter(Doubler(), inputs, allow_non_tensor=True)
    assert adapter.inputs_schema is None
    assert len(adapter(*adapter.flattened_inputs)) == 2
    with pytest.raises(ValueError, match="takes no other inputs"):
        adapter(torch.ones(2))
    with pytest.raises(ValueError, match="takes no other inputs"):
        adapter()


def test_other_outputs_than_tensors() -> None:
    with pytest.raises(ValueError, match="cannot flatten"):
        TracingAdapter(WithNumber(), torch.ones(1))(torch.ones(1))
    adapter = TracingAdapter(WithNumber(), torch.ones(1), allow_non_tensor=True)
    assert adapter(torch.ones(1)) == (torch.tensor([2.0]),)
    assert adapter.outputs_schema is None


def test_a_function_can_stand_for_the_model() -> None:
    adapter = TracingAdapter(WithNumber(), (torch.ones(1),), lambda model, x: model(x)["x"])
    assert adapter(torch.ones(1)) == (torch.tensor([2.0]),)


def test_outputs_of_another_structure_are_refused() -> None:
    class Fickle(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            return [x] * int(x.sum())

    adapter = TracingAdapter(Fickle(), torch.ones(1))
    adapter(torch.ones(1))
    with pytest.raises(AssertionError, match="another structure"):
        adapter(torch.full((1,), 2.0))
