"""Lambdas and closures travel between processes in a wrapper."""

from __future__ import annotations

import copy
import pickle

import pytest

from detectron2.utils.serialize import PicklableWrapper


def test_a_closure_survives_pickling() -> None:
    offset = 3
    wrapper = PicklableWrapper(lambda x: x + offset)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(lambda x: x + offset)
    assert pickle.loads(pickle.dumps(wrapper))(4) == 7
    assert copy.deepcopy(wrapper)(4) == 7


def test_attributes_are_those_of_the_object() -> None:
    wrapper = PicklableWrapper([1, 2, 1])
    assert wrapper.count(1) == 2
    with pytest.raises(AttributeError, match="nope"):
        _ = wrapper.nope


def test_a_wrapper_is_not_wrapped_again() -> None:
    inner = [1]
    assert PicklableWrapper(PicklableWrapper(inner))._obj is inner
