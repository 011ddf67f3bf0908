"""Optimizers and learning-rate schedules from a config."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

import torch
from fvcore.common.param_scheduler import (
    CosineParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
    StepWithFixedGammaParamScheduler,
)
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from detectron2.config import CfgNode

from .lr_scheduler import LRMultiplier, WarmupParamScheduler

logger = logging.getLogger(__name__)

_NORM_TYPES = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.LocalResponseNorm,
)


class _StepWithFixedGamma(StepWithFixedGammaParamScheduler):
    """fvcore's schedule, defined at the end of the training, too, where the last step goes."""

    def __call__(self, where: float) -> float:
        return super().__call__(min(where, 1 - 1e-5))


class GradientClipType(Enum):
    """How ``SOLVER.CLIP_GRADIENTS`` limits the gradient of each parameter."""

    VALUE = "value"
    NORM = "norm"


def maybe_add_gradient_clipping(cfg: CfgNode, optimizer: type[Optimizer]) -> type[Optimizer]:
    """Makes ``optimizer`` clip gradients before each step where the config asks for it.

    Args:
        cfg: a config with ``SOLVER.CLIP_GRADIENTS``.
        optimizer: a class, for which a class is returned, or an instance, which is changed and
            returned.
    """
    if not cfg.SOLVER.CLIP_GRADIENTS.ENABLED:
        return optimizer
    is_instance = isinstance(optimizer, Optimizer)
    base: Any = type(optimizer) if is_instance else optimizer
    clip = _gradient_clipper(cfg.SOLVER.CLIP_GRADIENTS)

    def step(self: Optimizer, closure: Callable[[], Any] | None = None) -> Any:
        clip([p.grad for group in self.param_groups for p in group["params"] if p.grad is not None])
        return base.step(self, closure)

    clipping = type(f"{base.__name__}WithGradientClip", (base,), {"step": step})
    if is_instance:
        optimizer.__class__ = clipping
        return optimizer
    return clipping


def _gradient_clipper(clip_cfg: CfgNode) -> Callable[[list[torch.Tensor]], None]:
    kind = GradientClipType(clip_cfg.CLIP_TYPE)
    limit, order = float(clip_cfg.CLIP_VALUE), float(clip_cfg.NORM_TYPE)

    @torch.no_grad()
    def clip_values(grads: list[torch.Tensor]) -> None:
        if grads:
            torch._foreach_clamp_min_(grads, -limit)
            torch._foreach_clamp_max_(grads, limit)

    @torch.no_grad()
    def clip_norms(grads: list[torch.Tensor]) -> None:
        # Each parameter on its own, as Detectron2 does, but all of them in a few kernels.
        if grads:
            scales = torch._foreach_norm(grads, order)
            torch._foreach_add_(scales, 1e-6)
            torch._foreach_reciprocal_(scales)
            torch._foreach_mul_(scales, limit)
            torch._foreach_clamp_max_(scales, 1.0)
            torch._foreach_mul_(grads, scales)

    return clip_values if kind is GradientClipType.VALUE else clip_norms


def build_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer:
    """SGD over the trainable parameters of ``model``, with the options of ``cfg.SOLVER``."""
    solver = cfg.SOLVER
    params = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
    )
    if not params:
        raise ValueError(
            "The model has no trainable parameter; lower MODEL.BACKBONE.FREEZE_AT or "
            "set requires_grad on what is to be trained."
        )
    optimizer_class: Any = maybe_add_gradient_clipping(cfg, torch.optim.SGD)
    return optimizer_class(
        params,
        lr=solver.BASE_LR,
        momentum=solver.MOMENTUM,
        nesterov=solver.NESTEROV,
        weight_decay=solver.WEIGHT_DECAY,
        foreach=True,
    )


def get_default_optimizer_params(
    model: nn.Module,
    base_lr: float | None = None,
    weight_decay: float | None = None,
    weight_decay_norm: float | None = None,
    bias_lr_factor: float | None = 1.0,
    weight_decay_bias: float | None = None,
    lr_factor_func: Callable[[str], float] | None = None,
    overrides: dict[str, dict[str, float]] | None = None,
) -> list[dict[str, Any]]:
    """Parameter groups for a torch optimizer: each trainable parameter once, in as few as possible.

    What is None is left to the optimizer's own defaults.

    Args:
        model: its modules are walked in order; frozen and repeated parameters are left out.
        base_lr: learning rate.
        weight_decay: weight decay of all but normalisation layers.
        weight_decay_norm: weight decay of normalisation layers.
        bias_lr_factor: factor on ``base_lr`` for parameters named "bias"; needs ``base_lr``.
        weight_decay_bias: weight decay of parameters named "bias".
        lr_factor_func: from a parameter's full name to a factor on its learning rate.
        overrides: last part of a parameter's name -> options that replace those above.
    """
    options = dict(overrides or {})
    bias: dict[str, float] = {}
    if bias_lr_factor is not None and bias_lr_factor != 1.0:
        if base_lr is None:
            raise ValueError(f"bias_lr_factor={bias_lr_factor} requires base_lr.")
        bias["lr"] = base_lr * bias_lr_factor
    if weight_decay_bias is not None:
        bias["weight_decay"] = weight_decay_bias
    if bias:
        if "bias" in options:
            raise ValueError(
                "Conflicting overrides for 'bias': give them in overrides, "
                "or by bias_lr_factor and weight_decay_bias."
            )
        options["bias"] = bias

    groups = []
    for module, module_name, name, param in _trainable_parameters(model):
        group = _drop_none(lr=base_lr, weight_decay=weight_decay)
        if isinstance(module, _NORM_TYPES) and weight_decay_norm is not None:
            group["weight_decay"] = weight_decay_norm
        if lr_factor_func is not None:
            if base_lr is None:
                raise ValueError("lr_factor_func requires base_lr.")
            group["lr"] *= lr_factor_func(f"{module_name}.{name}" if module_name else name)
        group.update(options.get(name, {}))
        groups.append({"params": [param], **group})
    return reduce_param_groups(groups)


def _trainable_parameters(
    model: nn.Module,
) -> Iterator[tuple[nn.Module, str, str, nn.Parameter]]:
    """Yields (module, its name, parameter's name in it, parameter), each parameter once."""
    seen: set[nn.Parameter] = set()
    for module_name, module in model.named_modules():
        for name, param in module.named_parameters(recurse=False):
            if param.requires_grad and param not in seen:
                seen.add(param)
                yield module, module_name, name, param


def _drop_none(**options: float | None) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def reduce_param_groups(params: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merges groups whose options agree; fewer groups make a ``foreach`` optimizer faster.

    The merged groups, and the parameters within them, keep the order of their first appearance,
    by which an optimizer's saved state is matched again.
    """
    merged: dict[tuple[tuple[str, Any], ...], list[Any]] = {}
    for group in params:
        options = {key: value for key, value in group.items() if key != "params"}
        members = group["params"]
        merged.setdefault(tuple(options.items()), []).extend(
            [members] if isinstance(members, torch.Tensor) else members
        )
    return [{**dict(options), "params": members} for options, members in merged.items()]


def build_lr_scheduler(cfg: CfgNode, optimizer: Optimizer) -> LRScheduler:
    """The schedule ``SOLVER.LR_SCHEDULER_NAME`` with its warm-up, one step per iteration."""
    solver = cfg.SOLVER
    scheduler = WarmupParamScheduler(
        _main_schedule(solver),
        solver.WARMUP_FACTOR,
        min(solver.WARMUP_ITERS / solver.MAX_ITER, 1.0),
        solver.WARMUP_METHOD,
        solver.RESCALE_INTERVAL,
    )
    return LRMultiplier(optimizer, multiplier=scheduler, max_iter=solver.MAX_ITER)


def _main_schedule(solver: CfgNode) -> ParamScheduler:
    """The factor on the base learning rate over the progress in [0, 1], without warm-up."""
    name, max_iter = solver.LR_SCHEDULER_NAME, solver.MAX_ITER
    if max_iter <= 0:
        raise ValueError(f"SOLVER.MAX_ITER={max_iter}: a schedule needs at least one iteration.")
    if name == "WarmupMultiStepLR":
        steps = [step for step in solver.STEPS if step <= max_iter]
        if len(steps) != len(solver.STEPS):
            logger.warning(
                "SOLVER.STEPS %s contains values beyond SOLVER.MAX_ITER=%d; they are ignored.",
                tuple(solver.STEPS),
                max_iter,
            )
        return MultiStepParamScheduler(
            values=[solver.GAMMA**k for k in range(len(steps) + 1)],
            milestones=steps,
            num_updates=max_iter,
        )
    if name == "WarmupCosineLR":
        end_value = solver.BASE_LR_END / solver.BASE_LR
        assert 0.0 <= end_value <= 1.0, (
            f"SOLVER.BASE_LR_END={solver.BASE_LR_END} is outside [0, BASE_LR={solver.BASE_LR}]."
        )
        return CosineParamScheduler(1.0, end_value)
    if name == "WarmupStepWithFixedGammaLR":
        return _StepWithFixedGamma(
            base_value=1.0,
            gamma=solver.GAMMA,
            num_decays=solver.NUM_DECAYS,
            num_updates=max_iter,
        )
    raise ValueError(
        f"Unknown LR scheduler: {name!r}; SOLVER.LR_SCHEDULER_NAME is 'WarmupMultiStepLR', "
        "'WarmupCosineLR' or 'WarmupStepWithFixedGammaLR'."
    )
