"""Scripts models that use ``Instances``, whose fields TorchScript cannot know by itself."""

from __future__ import annotations

import itertools
import keyword
import linecache
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import nn

from detectron2.structures import Instances

# Each generated class has a name of its own: TorchScript knows classes by their names.
_numbers = itertools.count()

_CLASS = """
from typing import List, Optional, Tuple

import torch
from torch import Tensor


class ScriptedInstances:
    def __init__(self, image_size: Tuple[int, int]):
        self.image_size = image_size
{attributes}
{properties}
    def has(self, name: str) -> bool:
{has}
        return False

    def __len__(self) -> int:
{length}
        raise NotImplementedError("Empty Instances does not support __len__!")

    def to(self, device: torch.device) -> "ScriptedInstances":
        result = ScriptedInstances(self.image_size)
{to}
        return result

    def __getitem__(self, item: Tensor) -> "ScriptedInstances":
        result = ScriptedInstances(self.image_size)
{select}
        return result
"""

_ATTRIBUTE = "        self._{name} = torch.jit.annotate(Optional[{type}], None)"

_PROPERTY = """
    @property
    def {name}(self) -> {type}:
        value = self._{name}
        assert value is not None, "the field '{name}' is not set"
        return value

    @{name}.setter
    def {name}(self, value: {type}) -> None:
        self._{name} = value
"""

_HAS = """        if name == "{name}":
            return self._{name} is not None"""

_LENGTH = """        {name} = self._{name}
        if {name} is not None:
            return len({name})"""

_TO = """        {name} = self._{name}
        if {name} is not None:
            result._{name} = {name}.to(device)"""

_SELECT = """        {name} = self._{name}
        if {name} is not None:
            result._{name} = {name}[item]"""


def scripting_with_instances(
    model: nn.Module, fields: Mapping[str, type]
) -> torch.jit.ScriptModule:
    """``torch.jit.script`` for a model in eval mode that uses ``Instances``.

    While it compiles, ``Instances`` stands for a class with just these fields. A scripted model
    may set and read them, and call ``has``, ``len``, ``to`` and ``[tensor]``; the objects that it
    returns have the fields as attributes.

    Args:
        model: what TorchScript can compile, but for its use of ``Instances``.
        fields: name and type of every field that the model uses, e.g.
            ``{"scores": Tensor, "pred_boxes": Boxes}``.
    """
    assert not model.training, (
        "Only models in evaluation mode can be exported to TorchScript: call model.eval()."
    )
    with _instances_with(fields):
        return torch.jit.script(model)


@contextmanager
def _instances_with(fields: Mapping[str, type]) -> Iterator[None]:
    """Within the block, TorchScript compiles ``Instances`` as a class with ``fields``."""
    module = _generate(fields)
    scripted = module.ScriptedInstances
    _forget_compiled()
    try:
        from torch._sources import fake_range

        torch.jit._script._recursive_compile_class(scripted, fake_range())
        Instances._jit_override_qualname = (  # type: ignore[attr-defined]  # read by TorchScript
            torch._jit_internal._qualified_name(scripted)
        )
        yield
    finally:
        if "_jit_override_qualname" in vars(Instances):
            del Instances._jit_override_qualname  # type: ignore[attr-defined]
        # What was compiled knows these fields: nobody else may be given it.
        _forget_compiled()
        del sys.modules[module.__name__]
        linecache.cache.pop(str(module.__file__), None)


def _forget_compiled() -> None:
    """Empties TorchScript's caches of compiled modules and functions."""
    torch.jit._recursive.concrete_type_store = torch.jit._recursive.ConcreteTypeStore()
    torch.jit._state._jit_caching_layer.clear()


def _generate(fields: Mapping[str, type]) -> ModuleType:
    """A module with the class; its source is where TorchScript looks for it."""
    for name in fields:
        if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
            raise ValueError(f"{name!r} cannot be a field of Instances: it is no public name.")
        if hasattr(Instances, name):
            raise ValueError(f"{name!r} cannot be a field: Instances has a method of that name.")
    types = {name: f"Type{number}" for number, name in enumerate(fields)}

    def for_each(template: str) -> str:
        return "\n".join(template.format(name=name, type=types[name]) for name in fields)

    source = _CLASS.format(
        attributes=for_each(_ATTRIBUTE),
        properties=for_each(_PROPERTY),
        has=for_each(_HAS),
        length=for_each(_LENGTH),
        to=for_each(_TO),
        select=for_each(_SELECT),
    )
    module = ModuleType(f"detectron2_scripted_instances_{next(_numbers)}")
    module.__file__ = f"<{module.__name__}>"
    namespace: dict[str, Any] = vars(module)
    namespace.update((types[name], kind) for name, kind in fields.items())
    linecache.cache[module.__file__] = (
        len(source),
        None,
        source.splitlines(keepends=True),
        module.__file__,
    )
    sys.modules[module.__name__] = module
    # The source is the template above and the names that were checked. TorchScript needs its
    # annotations evaluated: the future statement of this file is not for it.
    exec(compile(source, module.__file__, "exec", dont_inherit=True), namespace)
    return module
