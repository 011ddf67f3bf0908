"""The weights that stand behind the recordings."""

import importlib.util

import numpy as np
import pytest
import torch
import weight_rule
from golden import REFERENCE
from torch import nn


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("backbone.stem.conv1.weight", (4, 3, 7, 7)),
        ("backbone.stem.conv1.norm.weight", (4,)),
        ("backbone.stem.conv1.norm.bias", (4,)),
        ("backbone.stem.conv1.norm.running_mean", (4,)),
        ("backbone.stem.conv1.norm.running_var", (4,)),
        ("head.scalar", ()),
    ],
)
def test_rule_equals_that_of_the_recordings(name: str, shape: tuple[int, ...]) -> None:
    path = REFERENCE / "weights.py"
    if not path.is_file():
        pytest.skip("weights.py is absent (../shared/reference)")
    spec = importlib.util.spec_from_file_location("recorded_weights", path)
    assert spec is not None
    assert spec.loader is not None
    recorded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recorded)
    gains = [("stem", 3.0), ("conv1", 0.5), ("other", 7.0)]
    have, want = (rule.value(name, shape, 5, gains) for rule in (weight_rule, recorded))
    assert have.dtype == want.dtype == np.float32
    assert np.array_equal(have, want)


def test_fill_depends_on_the_name_and_leaves_counters_alone() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.BatchNorm2d(2))
    weight_rule.fill(model, seed=1)
    assert not torch.equal(model[0].weight, model[1].weight)
    assert model[2].num_batches_tracked.item() == 0
    assert (model[2].running_var > 0.5).all()
