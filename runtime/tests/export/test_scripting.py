from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from detectron2.export import scripting_with_instances
from detectron2.structures import Instances


class Detector(nn.Module):
    """Keeps the rows whose sum is positive."""

    def forward(self, x: Tensor) -> Instances:
        result = Instances((x.shape[0], x.shape[1]))
        result.scores = x.sum(dim=1)
        return result[result.scores > 0]


class Counter(nn.Module):
    def forward(self, x: Tensor) -> tuple[int, bool, bool]:
        result = Instances((1, 2))
        result.boxes = x
        return len(result), result.has("boxes"), result.has("scores")


ROWS = torch.tensor([[1.0, 2.0], [-1.0, -2.0], [3.0, 4.0]])


def test_scripted_model_gives_the_eager_result() -> None:
    model = Detector().eval()
    scripted = scripting_with_instances(model, {"scores": Tensor})
    got, want = scripted(ROWS), model(ROWS)
    assert torch.equal(got.scores, want.scores)
    assert got.image_size == want.image_size == (3, 2)


def test_other_fields_give_another_class() -> None:
    scores = scripting_with_instances(Detector().eval(), {"scores": Tensor})
    counter = scripting_with_instances(Counter().eval(), {"boxes": Tensor, "scores": Tensor})
    assert counter(ROWS) == (3, True, False)
    assert len(scores(ROWS)) == 2


def test_scripted_model_can_be_saved(tmp_path: object) -> None:
    path = f"{tmp_path}/model.ts"
    scripting_with_instances(Detector().eval(), {"scores": Tensor}).save(path)
    assert torch.jit.load(path)(ROWS).scores.tolist() == [3.0, 7.0]


def test_instances_are_themselves_again() -> None:
    scripting_with_instances(Detector().eval(), {"scores": Tensor})
    instances = Instances((1, 1))
    instances.anything = [1, 2]
    assert len(instances) == 2
    assert "_jit_override_qualname" not in vars(Instances)


def test_a_model_in_training_is_refused() -> None:
    with pytest.raises(AssertionError, match=r"model\.eval\(\)"):
        scripting_with_instances(Detector(), {"scores": Tensor})


@pytest.mark.parametrize("name", ["a-b", "class", "_hidden", "has", "1x", "x: int = print()"])
def test_impossible_field_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a field"):
        scripting_with_instances(Detector().eval(), {name: Tensor})
