"""Fields of equal length, their selection and joining."""

import copy
import pickle
from typing import Any

import pytest
import torch
from golden import Golden, exception_name

from detectron2.structures import Boxes, Instances


def described(instances: Instances) -> dict[str, Any]:
    return {
        "len": len(instances),
        "size": list(instances.image_size),
        "types": {name: type(v).__name__ for name, v in instances.get_fields().items()},
    }


@pytest.fixture
def golden() -> Golden:
    return Golden("instances_semantics")


@pytest.fixture
def five(golden: Golden) -> Instances:
    return Instances(
        (40, 50),
        pred_boxes=Boxes(golden.input("boxes")),
        scores=golden.input("scores"),
        tags=[f"t{i}" for i in range(5)],
    )


@pytest.fixture
def pair() -> Instances:
    instances = Instances((4, 5), scores=torch.tensor([0.5, 0.25]))
    instances.pred_boxes = Boxes(torch.zeros(2, 4))
    return instances


def test_selection_equals_the_recorded_one(
    golden: Golden, five: Instances, pair: Instances
) -> None:
    facts = golden.json("facts")
    assert described(five[0]) == facts["int"]
    assert described(five[-2]) == facts["neg_int"]
    assert described(five[1:3]) == facts["slice"]
    assert five[1:3].tags == facts["tags_slice"]
    assert described(pair[torch.tensor([True, True])]) == facts["mask_tensor_fields"]
    ids = Instances((4, 5), scores=torch.arange(3))[torch.tensor([2, 0])]
    assert {"len": len(ids), "scores": ids.scores.tolist()} == facts["long"]


def test_joining_equals_the_recorded_one(golden: Golden, five: Instances) -> None:
    facts = golden.json("facts")
    joined = Instances.cat([five, five[:1]])
    assert described(joined) == facts["cat"]
    assert joined.tags == facts["cat_tags"]
    assert (Instances.cat([five]) is five) == facts["cat_single_is_same"]


def test_misuse_raises_what_is_recorded(golden: Golden, five: Instances, pair: Instances) -> None:
    facts = golden.json("facts")
    other_size, empty = Instances((4, 6), scores=torch.zeros(1)), Instances((4, 5))
    calls = {
        "mask": lambda: five[torch.tensor([True, False, True, False, True])],
        "long_with_list_field": lambda: five[torch.tensor([0, 1])],
        "cat_size_mismatch": lambda: Instances.cat([pair, other_size]),
        "cat_empty": lambda: Instances.cat([]),
        "cat_missing_field": lambda: Instances.cat(
            [pair, Instances((4, 5), scores=torch.zeros(1))]
        ),
        "wrong_len": lambda: five.set("extra", torch.zeros(3)),
        "missing_attr": lambda: five.missing,
        "missing_get": lambda: five.get("missing"),
        "remove_missing": lambda: five.remove("missing"),
        "out_of_range": lambda: five[5],
        "neg_out_of_range": lambda: five[-6],
        "len_of_empty": lambda: len(empty),
        "iter": lambda: iter(five),
    }
    for name, call in calls.items():
        assert (name, exception_name(call)) == (name, facts[name])


def test_fields_behave_as_recorded(golden: Golden, five: Instances, pair: Instances) -> None:
    facts = golden.json("facts")
    assert described(Instances((4, 5), scores=torch.zeros(2))) == facts["kwargs"]
    assert [five.has("scores"), five.has("nope")] == facts["has"]
    assert list(five.get_fields()) == facts["field_order"]
    pair._note = 3
    assert [pair.has("_note"), pair._note] == facts["underscore_attr"]
    pair.get_fields().pop("pred_boxes")
    assert (not pair.has("pred_boxes")) == facts["get_fields_is_live"]
    assert type(five.to("cpu")).__name__ == facts["to_type"]
    assert str(pair) == repr(pair) == facts["str"]


def test_an_object_without_fields_has_a_text() -> None:
    # len() raises, but a debugger must be able to show it.
    text = "Instances(num_instances=0, image_height=4, image_width=5, fields=[])"
    assert repr(Instances((4, 5))) == text


def test_survives_pickling_and_copying(pair: Instances) -> None:
    pair._note = 3
    for twin in (pickle.loads(pickle.dumps(pair)), copy.copy(pair), copy.deepcopy(pair)):
        assert twin.scores.tolist() == [0.5, 0.25]
        assert twin.image_size == (4, 5)
        assert twin._note == 3


def test_copying_while_fields_are_absent_asks_for_an_attribute_only() -> None:
    with pytest.raises(AttributeError, match="no field 'scores'"):
        _ = object.__new__(Instances).scores


def test_a_missing_field_names_those_that_are_there(pair: Instances) -> None:
    with pytest.raises(AttributeError, match=r"'mask'; they have \['scores', 'pred_boxes'\]"):
        _ = pair.mask


def test_a_value_without_length_is_refused() -> None:
    with pytest.raises(TypeError):
        Instances((4, 5)).count = 3


def test_to_moves_what_can_move_and_keeps_lists() -> None:
    instances = Instances((4, 5), scores=torch.zeros(1), tags=["a"])
    moved = instances.to(torch.float64)
    assert moved.scores.dtype == torch.float64
    assert moved.tags == ["a"]
    assert instances.scores.dtype == torch.float32


def test_a_field_that_cannot_be_joined_is_named() -> None:
    instances = Instances((4, 5), pairs=(1, 2))
    with pytest.raises(ValueError, match="'pairs' is a tuple"):
        Instances.cat([instances, instances])
