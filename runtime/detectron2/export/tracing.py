"""Gives a model, whatever its inputs and outputs are, a form that ``torch.jit.trace`` takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from detectron2.structures import Boxes, Instances, ROIMasks


@dataclass(frozen=True, slots=True)
class Structure:
    """How a nested value is put together from its leaves.

    Attributes:
        kind: type of the value; None for a leaf, which stands for itself.
        keys: of a mapping, or of the fields of ``Instances``, in the order of ``parts``.
        parts: the structures of its members, in the order of the leaves.
    """

    kind: type | None = None
    keys: tuple[str, ...] = ()
    parts: tuple[Structure, ...] = ()

    def __call__(self, leaves: Sequence[Any]) -> Any:
        """The value with this structure and these leaves: the inverse of ``flatten``."""
        remaining = iter(leaves)
        value = self._build(remaining)
        if next(remaining, self) is not self:
            raise ValueError(f"{len(leaves)} leaves are more than the structure {self} takes.")
        return value

    def _build(self, leaves: Iterator[Any]) -> Any:
        if self.kind is None:
            for leaf in islice(leaves, 1):
                return leaf
            raise ValueError("There are fewer leaves than the structure takes.")
        members = [part._build(leaves) for part in self.parts]
        if self.kind is Instances:
            return Instances(members[-1], **dict(zip(self.keys, members[:-1], strict=True)))
        if self.kind is dict:
            return dict(zip(self.keys, members, strict=True))
        if self.kind in (list, tuple):
            return self.kind(members)
        return self.kind(members[0])


def flatten(value: Any) -> tuple[tuple[Any, ...], Structure]:
    """The leaves of ``value``, and its structure.

    Lists, tuples, mappings (in the order of their keys), ``Instances`` (in the order of their
    fields, then the image size), ``Boxes`` and ``ROIMasks`` have members; all else is a leaf.
    """
    if isinstance(value, (Boxes, ROIMasks)):
        return _flatten_members(type(value), (), [value.tensor])
    if isinstance(value, Instances):
        fields = value.get_fields()
        names = tuple(sorted(fields))
        size = torch.as_tensor(value.image_size)
        return _flatten_members(Instances, names, [*(fields[name] for name in names), size])
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise KeyError(f"The keys {list(value)} are not all strings, as in a traced value.")
        names = tuple(sorted(value))
        return _flatten_members(dict, names, [value[name] for name in names])
    if isinstance(value, (list, tuple)):
        return _flatten_members(list if isinstance(value, list) else tuple, (), value)
    return (value,), Structure()


def _flatten_members(
    kind: type, keys: tuple[str, ...], members: Sequence[Any]
) -> tuple[tuple[Any, ...], Structure]:
    pairs = [flatten(member) for member in members]
    leaves = tuple(leaf for part, _ in pairs for leaf in part)
    return leaves, Structure(kind, keys, tuple(structure for _, structure in pairs))


class TracingAdapter(nn.Module):
    """A model from a flat tuple of tensors to another one.

    Trace it with ``torch.jit.trace(adapter, adapter.flattened_inputs)``. Around the traced model,
    ``flatten(inputs)`` makes its arguments, and ``outputs_schema(results)`` the original outputs.
    """

    flattened_inputs: tuple[torch.Tensor, ...] = None  # type: ignore[assignment]
    """The inputs, flat."""

    inputs_schema: Structure | None = None
    """The structure of the inputs; None if they hold more than tensors."""

    outputs_schema: Structure | None = None
    """The structure of the outputs of the last call; None if they hold more than tensors."""

    def __init__(
        self,
        model: nn.Module,
        inputs: Any,
        inference_func: Callable[..., Any] | None = None,
        allow_non_tensor: bool = False,
    ) -> None:
        """Takes a model and an example of its inputs.

        Args:
            model: from ``inputs`` to anything that ``flatten`` can take apart.
            inputs: arguments of the model; one that is no tuple is the only argument.
            inference_func: called with the model and its arguments, instead of the model.
            allow_non_tensor: keep what is no tensor as it is: inputs become constants of the
                traced model, which then takes no others, and outputs are left out.
        """
        super().__init__()
        if isinstance(model, (DistributedDataParallel, DataParallel)):
            model = model.module
        self.model = model
        self.inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        self.inference_func = inference_func or _call
        self.allow_non_tensor = allow_non_tensor
        leaves, structure = flatten(self.inputs)
        self.flattened_inputs = tuple(leaf for leaf in leaves if isinstance(leaf, torch.Tensor))
        if len(self.flattened_inputs) == len(leaves):
            self.inputs_schema = structure
        elif not allow_non_tensor:
            other = next(leaf for leaf in leaves if not isinstance(leaf, torch.Tensor))
            raise ValueError(
                "Inputs for tracing must only contain tensors. "
                f"Got {other!r} of type {type(other).__name__} instead; "
                "with allow_non_tensor=True it becomes a constant."
            )

    def forward(self, *args: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The tensors of the model's outputs for the flat inputs ``args``."""
        with torch.no_grad():
            outputs = self.inference_func(self.model, *self._restore(args))
        leaves, structure = flatten(outputs)
        tensors = tuple(leaf for leaf in leaves if isinstance(leaf, torch.Tensor))
        if len(tensors) < len(leaves):
            if not self.allow_non_tensor:
                raise ValueError(
                    "Model cannot be traced because some model outputs cannot flatten to "
                    "tensors; with allow_non_tensor=True those are left out."
                )
            self.outputs_schema = None
        elif self.outputs_schema is None:
            self.outputs_schema = structure
        else:
            assert self.outputs_schema == structure, (
                "The model returned outputs of another structure than before: "
                f"{structure}, not {self.outputs_schema}."
            )
        return tensors

    def _restore(self, args: tuple[torch.Tensor, ...]) -> Sequence[Any]:
        """The model's arguments."""
        if self.inputs_schema is not None:
            return self.inputs_schema(args)
        same = len(args) == len(self.flattened_inputs) and all(
            given is own for given, own in zip(args, self.flattened_inputs, strict=True)
        )
        if not same:
            raise ValueError(
                "The inputs held more than tensors: TracingAdapter does not contain valid "
                "inputs_schema, takes no other inputs, and is traced with `.flattened_inputs`."
            )
        return self.inputs


def _call(model: nn.Module, *inputs: Any) -> Any:
    return model(*inputs)
