"""What a model costs: operations, activations, parameters; and which parameters it never uses."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from fvcore.nn import activation_count, flop_count, parameter_count, parameter_count_table
from fvcore.nn.flop_count import FlopCountAnalysis as _FlopCountAnalysis
from torch import nn

from detectron2.utils.events import EventStorage

__all__ = [
    "FlopCountAnalysis",
    "activation_count_operators",
    "flop_count_operators",
    "parameter_count",
    "parameter_count_table",
]

FLOPS_MODE = "flops"
ACTIVATIONS_MODE = "activations"

# Cheap beside convolutions and matrix products: left out silently instead of being reported.
_NEGLIGIBLE = (
    *("add", "add_", "sub", "rsub", "mul", "mul_", "div", "div_", "neg", "pow", "sqrt", "abs"),
    *("exp", "log", "log2", "sin", "cos", "sigmoid", "sigmoid_", "softmax", "sum", "mean", "min"),
    *("lt", "le", "ne", "logical_and", "logical_not", "__or__", "any", "all", "where", "isfinite"),
    *("argmax", "argsort", "sort", "topk", "cumsum", "unique", "_unique2", "repeat", "meshgrid"),
    *("max_pool2d", "scatter", "scatter_", "full", "zeros", "empty_like", "ones_like", "fill_"),
    *("expand_as", "clone", "lift_fresh", "numpy_T", "alias", "new_ones", "linspace", "round"),
    *("broadcast_tensors", "index_copy_", "nonzero_numpy", "pad", "reciprocal", "unflatten"),
)
_NEGLIGIBLE_OPERATORS = (*(f"aten::{name}" for name in _NEGLIGIBLE), "prim::PythonOp")


class FlopCountAnalysis(_FlopCountAnalysis):
    """fvcore's count of floating point operations, for models with structured inputs.

    Operators that no handle knows, such as deformable convolutions, count nothing and are
    reported. A multiply-add is one operation.
    """

    def __init__(self, model: nn.Module, inputs: Any) -> None:
        """Traces nothing yet.

        Args:
            model: In the mode, training or not, that is to be counted.
            inputs: Its only argument, say a list of dicts with ``image``.
        """
        adapter = _traceable(model, inputs)
        super().__init__(adapter, adapter.flattened_inputs)
        self.set_op_handle(**dict.fromkeys(_NEGLIGIBLE_OPERATORS))


def flop_count_operators(model: nn.Module, inputs: list[Any]) -> defaultdict[str, float]:
    """Operations of each operator in units of 1e9, in evaluation mode; see FlopCountAnalysis.

    The count depends on the inputs: on their size, and on how many objects are found in them.
    """
    return _count(flop_count, model, inputs)


def activation_count_operators(
    model: nn.Module, inputs: list[Any], **kwargs: Any
) -> defaultdict[str, float]:
    """Elements of the outputs of each operator in units of 1e6, in evaluation mode.

    Args:
        model: The model.
        inputs: Its only argument.
        **kwargs: For ``fvcore.nn.activation_count``.
    """
    return _count(activation_count, model, inputs, **kwargs)


def _count(
    counter: Callable[..., tuple[dict[str, float], Any]],
    model: nn.Module,
    inputs: list[Any],
    *,
    supported_ops: dict[str, Any] | None = None,
    **kwargs: Any,
) -> defaultdict[str, float]:
    negligible = dict.fromkeys(_NEGLIGIBLE_OPERATORS)
    was_training = model.training
    model.eval()
    try:
        adapter = _traceable(model, inputs).eval()
        with torch.no_grad():
            counts, _ = counter(
                adapter,
                adapter.flattened_inputs,
                supported_ops={**negligible, **(supported_ops or {})},
                **kwargs,
            )
    finally:
        model.train(was_training)
    return defaultdict(float, counts)


def _traceable(model: nn.Module, inputs: Any) -> Any:
    """``model`` as a module from tensors to tensors."""
    # Layers import torchvision when they need it, but it cannot be imported inside a trace.
    import torchvision  # noqa: F401

    from detectron2.export import TracingAdapter

    return TracingAdapter(model, inputs, allow_non_tensor=True)


def find_unused_parameters(model: nn.Module, inputs: Any) -> list[str]:
    """Names of the parameters that receive no gradient from the losses of ``model(inputs)``.

    Args:
        model: In training mode; it returns a loss or a dict of losses. Its gradients are cleared.
        inputs: Its only argument.
    """
    if not model.training:
        raise AssertionError("find_unused_parameters() needs the model in training mode.")
    model.zero_grad(set_to_none=True)
    with EventStorage():
        losses = model(inputs)
    total = sum(losses.values()) if isinstance(losses, dict) else losses
    assert isinstance(total, torch.Tensor), "the model returned no loss"
    total.backward()
    unused = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    model.zero_grad(set_to_none=True)
    logging.getLogger(__name__).debug("%d parameters are not used.", len(unused))
    return unused
