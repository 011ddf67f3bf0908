"""Counts what would make the host wait for a GPU, on a machine that has none.

:func:`on_device` wraps a CPU tensor so that it says to be on ``cuda``; what is done with it inside
:func:`counted_waits` happens on the CPU, by the code that runs on a GPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_any, tree_map

aten = torch.ops.aten
# Their result's size, or their result, is known to the host only when the device is done.
WAITING = {
    aten._local_scalar_dense: "item",
    aten.nonzero: "nonzero",
    aten.nonzero_numpy: "nonzero",
    aten.masked_select: "masked_select",
    aten._unique2: "unique",
    aten._unique: "unique",
    aten.unique_consecutive: "unique",
    aten.unique_dim: "unique",
    aten.bincount: "bincount",
    aten.isin: "isin",
    aten.equal: "equal",
}
# Functions that read a tensor, before they are taken apart into operators.
READING = {Tensor.tolist, Tensor.numpy, Tensor.item, Tensor.__array__}


class OnDevice(Tensor):
    """A CPU tensor that says to be on the first CUDA device."""

    inner: Tensor
    waits: ClassVar[Counter[str]] = Counter()

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnDevice:
        self = Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device("cuda", 0),
            requires_grad=inner.requires_grad,
        )
        self.inner = inner.detach()
        return self

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        packet = func.overloadpacket
        if packet in WAITING:
            cls.waits[WAITING[packet]] += 1
        _count_masks(cls, packet, args)
        moves_away = _moves_away(packet, kwargs)
        if moves_away and not kwargs.get("non_blocking"):
            cls.waits["to the host"] += 1
        if (
            packet is aten.copy_
            and _is_wrapped(args[0]) != _is_wrapped(args[1])
            and not any(args[2:])
        ):
            cls.waits["copy between host and device"] += 1
        if packet is aten.histc and not args[0].is_floating_point():
            # Of integers it is for GPUs alone.
            return OnDevice(torch.bincount(args[0].inner, minlength=args[1]))
        result = func(*tree_map(_unwrapped, args), **_on_host(tree_map(_unwrapped, kwargs)))
        if func._schema.name.endswith("_") and isinstance(args[0], OnDevice):
            return args[0]
        return result if moves_away else tree_map(_wrapped, result)


def _count_masks(cls: type[OnDevice], packet: Any, args: Any) -> None:
    """A mask as an index is a nonzero, except where one value fills what it marks."""
    if packet not in (aten.index, aten.index_put, aten.index_put_, aten._unsafe_index):
        return
    masks = [i for i in args[1] if i is not None and i.dtype in (torch.bool, torch.uint8)]
    one_value = (
        packet is not aten.index and args[2].dim() == 0 and not isinstance(args[2], OnDevice)
    )
    if masks and not (one_value and len(masks) == 1):
        cls.waits["mask as index"] += len(masks)


def _moves_away(packet: Any, kwargs: dict[str, Any]) -> bool:
    device = kwargs.get("device")
    return packet in (aten._to_copy, aten.to) and device is not None and device.type == "cpu"


def _on_host(kwargs: dict[str, Any]) -> dict[str, Any]:
    host = torch.device("cpu")
    return {k: host if isinstance(v, torch.device) else v for k, v in kwargs.items()}


def _unwrapped(x: Any) -> Any:
    return x.inner if isinstance(x, OnDevice) else x


def _wrapped(x: Any) -> Any:
    return OnDevice(x) if isinstance(x, Tensor) and not isinstance(x, OnDevice) else x


class _Factories(TorchFunctionMode):
    """Makes what is asked for on the device on the CPU, and counts readings."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in READING and isinstance(args[0], OnDevice):
            OnDevice.waits[func.__name__] += 1
            return func(args[0].inner, *args[1:], **kwargs)
        if func is Tensor.new_tensor and isinstance(args[0], OnDevice):
            OnDevice.waits["new_tensor"] += 1
            return OnDevice(args[0].inner.new_tensor(*args[1:], **kwargs))
        if func is Tensor.unsqueeze_ and isinstance(args[0], OnDevice):
            # The shape of a wrapper is fixed; what is called on is used no more.
            return args[0].unsqueeze(*args[1:], **kwargs)
        if func is Tensor.to:
            return _to(*args, **kwargs)
        if _is_device(kwargs.get("device")) and not tree_any(_is_wrapped, args):
            kwargs["device"] = "cpu"
            if func in (torch.tensor, torch.as_tensor):
                OnDevice.waits[func.__name__] += 1
            return tree_map(_wrapped, func(*args, **kwargs))
        return func(*args, **kwargs)


class _InnerFactories(TorchDispatchMode):
    """Makes on the CPU what other operators ask for on the device, such as their scalars."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if _is_device(kwargs.get("device")) and not tree_any(_is_wrapped, (args, kwargs)):
            return tree_map(_wrapped, func(*args, **_on_host(kwargs)))
        return func(*args, **kwargs)


def _is_wrapped(x: Any) -> bool:
    return isinstance(x, OnDevice)


def _is_device(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def _to(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    target = args[0] if args else kwargs.get("device")
    if not isinstance(target, torch.device | str | OnDevice):
        return x.to(*args, **kwargs)
    dtype = target.dtype if isinstance(target, OnDevice) else kwargs.get("dtype")
    if not isinstance(target, OnDevice) and not _is_device(target):
        return x.to(*args, **kwargs)
    if isinstance(x, OnDevice):
        return x.to(dtype) if dtype else x
    if not kwargs.get("non_blocking"):
        OnDevice.waits["to the device"] += 1
    return OnDevice(x.to(dtype) if dtype else x.clone())


def on_device(x: Tensor) -> OnDevice:
    """``x`` as if it were on a GPU, without counting."""
    # Without CUDA nothing knows how to choose its devices; this does nothing where there is CUDA.
    torch._C._ensureCUDADeviceGuardSet()
    return OnDevice(x)


@contextmanager
def counted_waits() -> Iterator[Counter[str]]:
    """What would have made the host wait within the block, by kind."""
    waits: Counter[str] = Counter()
    OnDevice.waits = waits
    with _Factories(), _InnerFactories(), torch.backends.cudnn.flags(enabled=False):
        yield waits


def put_on_device(model: nn.Module) -> nn.Module:
    """``model``, whose parameters and buffers say to be on a GPU from now on."""
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = on_device(tensor.detach())
    return model


def to_host(result: Any) -> Any:
    """``result`` with plain CPU tensors."""
    return tree_map(_unwrapped, result)
