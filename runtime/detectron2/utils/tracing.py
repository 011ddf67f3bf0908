"""Is the code being recorded by torch.fx, and assertions that survive it."""

import torch
from torch.fx import _symbolic_trace

tracing_current_exists = hasattr(_symbolic_trace, "is_fx_symbolic_tracing") or hasattr(
    _symbolic_trace, "is_fx_tracing"
)
"""Does this torch say itself whether it traces?"""

tracing_legacy_exists = hasattr(_symbolic_trace, "_orig_module_call")
"""Can tracing be recognised by the replaced ``nn.Module.__call__``?"""

_ask_torch = getattr(_symbolic_trace, "is_fx_symbolic_tracing", None) or getattr(
    _symbolic_trace, "is_fx_tracing", None
)


@torch.jit.ignore
def is_fx_tracing_legacy() -> bool:
    """Is torch.fx tracing, judged by its replacement of ``nn.Module.__call__``?"""
    original = getattr(_symbolic_trace, "_orig_module_call", torch.nn.Module.__call__)
    return torch.nn.Module.__call__ is not original


@torch.jit.ignore
def is_fx_tracing() -> bool:
    """Is torch.fx tracing the code that asks?"""
    return bool(_ask_torch()) if _ask_torch is not None else is_fx_tracing_legacy()


def assert_fx_safe(condition: bool, message: str) -> torch.Tensor:
    """Asserts ``condition``, except while torch.fx traces: there it has no value yet.

    Returns:
        (1,) float32 one, which lets the call stand where a tensor is expected.
    """
    if not torch.jit.is_scripting() and is_fx_tracing():
        return torch.ones(1)
    if not condition:
        raise AssertionError(message)
    return torch.ones(1)
