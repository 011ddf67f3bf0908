from __future__ import annotations

from typing import Any

import pytest
import torch
from golden import Golden, exception_name
from torch import nn

from detectron2.config import get_cfg
from detectron2.solver import build_optimizer, get_default_optimizer_params
from detectron2.solver.build import (
    GradientClipType,
    maybe_add_gradient_clipping,
    reduce_param_groups,
)

HYPER = ("lr", "weight_decay", "momentum", "dampening", "nesterov")


class Mixed(nn.Module):
    """Convolutions, three kinds of normalisation, a frozen layer and a shared one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 1, bias=False)
        self.gn = nn.GroupNorm(2, 4)
        self.fc = nn.Linear(4, 2)
        self.ln = nn.LayerNorm(2)
        self.frozen = nn.Linear(2, 2)
        self.frozen.requires_grad_(False)
        self.tied = self.fc


def described(groups: list[dict[str, Any]], model: nn.Module) -> list[dict[str, Any]]:
    """Hyper-parameters and sorted names of each group, in the order of the recording."""
    names = {param: name for name, param in model.named_parameters()}
    result = [
        {
            "hyper": {key: group[key] for key in HYPER if key in group},
            "names": sorted(names[param] for param in group["params"]),
        }
        for group in groups
    ]
    return sorted(result, key=lambda group: group["names"])


@pytest.mark.parametrize("call", range(5))
def test_groups_of_explicit_options(call: int) -> None:
    golden, model = Golden("solver_params"), Mixed()
    assert [name for name, _ in model.named_parameters()] == golden.json("names")
    groups = get_default_optimizer_params(model, **golden.params["calls"][call])
    golden.check_json(f"groups{call}", described(groups, model))


@pytest.mark.parametrize("call", range(3))
def test_groups_of_a_config(call: int) -> None:
    golden, model = Golden("solver_params"), Mixed()
    cfg = get_cfg()
    cfg.merge_from_list(golden.params["cfgs"][call])
    groups = build_optimizer(cfg, model).param_groups
    golden.check_json(f"cfg_groups{call}", described(groups, model))


def test_groups_keep_the_order_of_their_first_parameter() -> None:
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.WEIGHT_DECAY_BIAS", 0.0, "SOLVER.BIAS_LR_FACTOR", 2.0])
    model = Mixed()
    names = {param: name for name, param in model.named_parameters()}
    groups = build_optimizer(cfg, model).param_groups
    assert [[names[p] for p in group["params"]] for group in groups] == [
        ["conv1.weight", "conv2.weight", "fc.weight"],
        ["conv1.bias", "bn.bias", "gn.bias", "fc.bias", "ln.bias"],
        ["bn.weight", "gn.weight", "ln.weight"],
    ]


def clipping_config(clip_type: str, value: float) -> Any:
    cfg = get_cfg()
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = clip_type
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = value
    return cfg


@pytest.mark.parametrize("clip_type", ["value", "norm"])
def test_clipped_step(clip_type: str) -> None:
    # The gradient (3, -4) becomes (.5, -.5) by value, and (.3, -.4) by norm .5.
    weight = nn.Parameter(torch.zeros(1, 2))
    sgd: Any = maybe_add_gradient_clipping(clipping_config(clip_type, 0.5), torch.optim.SGD)
    optimizer = sgd([weight], lr=1.0)
    weight.grad = torch.tensor([[3.0, -4.0]])
    optimizer.step()
    recorded = Golden("solver_params").json("clip")[clip_type]
    assert type(optimizer).__name__ == recorded["class"]
    assert weight.tolist()[0] == pytest.approx(recorded["weight"][0], rel=1e-5)


def test_each_parameter_is_clipped_by_its_own_norm() -> None:
    small, large, unused = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    sgd: Any = maybe_add_gradient_clipping(clipping_config("norm", 1.0), torch.optim.SGD)
    optimizer = sgd([small, large, unused], lr=1.0)
    small.grad, large.grad = torch.tensor([0.1, 0.0]), torch.tensor([0.0, 7.0])
    optimizer.step()
    assert small.tolist() == pytest.approx([-0.1, 0.0])
    assert large.tolist() == pytest.approx([0.0, -1.0], rel=1e-5)
    assert unused.tolist() == [0.0, 0.0]


def test_step_without_gradients_does_nothing() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer: Any = maybe_add_gradient_clipping(
        clipping_config("norm", 1.0),
        torch.optim.SGD([weight], lr=1.0),
    )
    optimizer.step()
    assert weight.tolist() == [1.0, 1.0]
    assert type(optimizer).__name__ == "SGDWithGradientClip"


def test_recorded_facts() -> None:
    model = Mixed()
    optimizer = build_optimizer(get_cfg(), model)
    Golden("solver_params").check_json(
        "facts",
        {
            "optimizer": type(optimizer).__name__,
            "base_class": maybe_add_gradient_clipping(get_cfg(), torch.optim.SGD).__name__,
            "bias_factor_without_lr": exception_name(
                lambda: get_default_optimizer_params(model, bias_lr_factor=2.0)
            ),
            "bias_conflict": exception_name(
                lambda: get_default_optimizer_params(
                    model, base_lr=0.1, bias_lr_factor=2.0, overrides={"bias": {"lr": 1.0}}
                )
            ),
        },
    )


def test_sgd_updates_all_parameters_at_once() -> None:
    assert build_optimizer(get_cfg(), Mixed()).defaults["foreach"] is True


def test_factor_by_name_multiplies_the_rate() -> None:
    groups = get_default_optimizer_params(
        nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)),
        base_lr=0.1,
        lr_factor_func=lambda name: 0.5 if name.startswith("0.") else 1.0,
    )
    assert [(group["lr"], len(group["params"])) for group in groups] == [(0.05, 2), (0.1, 2)]


def test_factor_by_name_needs_a_rate() -> None:
    with pytest.raises(ValueError, match="requires base_lr"):
        get_default_optimizer_params(Mixed(), lr_factor_func=lambda name: 1.0)


def test_equal_groups_are_merged() -> None:
    a, b, c = (nn.Parameter(torch.zeros(1)) for _ in range(3))
    groups = reduce_param_groups(
        [{"params": [a], "lr": 1}, {"params": [b], "lr": 2}, {"params": c, "lr": 1}]
    )
    assert [group["lr"] for group in groups] == [1, 2]
    assert [len(group["params"]) for group in groups] == [2, 1]


def test_model_without_trainable_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match="no trainable parameter"):
        build_optimizer(get_cfg(), nn.ReLU())


def test_unknown_clip_type_is_refused() -> None:
    with pytest.raises(ValueError, match="'cut' is not a valid GradientClipType"):
        maybe_add_gradient_clipping(clipping_config("cut", 1.0), torch.optim.SGD)
    assert GradientClipType("norm") is GradientClipType.NORM
