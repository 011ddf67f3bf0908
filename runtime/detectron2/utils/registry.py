"""Name-to-object registries, and lookup of objects by their dotted path."""

from __future__ import annotations

import builtins
import importlib
from difflib import get_close_matches
from typing import Any

from fvcore.common.registry import Registry as _Registry

__all__ = ["Registry", "locate"]


class Registry(_Registry):
    """fvcore's registry; an unknown name is answered with the names there are."""

    def get(self, name: str) -> Any:
        """The object registered as ``name``; KeyError if there is none."""
        if name in self:
            return super().get(name)
        known = sorted(str(known) for known, _ in self)
        close = get_close_matches(str(name), known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise KeyError(
            f"No object named {name!r} in the {self._name!r} registry.{hint} "
            f"Registered: {', '.join(known) or 'nothing yet'}. "
            "An object is registered when the module that defines it is imported."
        )


def locate(name: str) -> Any:
    """The object at the dotted path ``name``, such as ``torch.nn.Linear`` or ``int``.

    Importing the modules on the path runs their top-level code, as any import does.

    Raises:
        ImportError: A part of the path cannot be imported or is not an attribute.
    """
    parts = name.split(".")
    if not all(parts):
        raise ImportError(f"Cannot locate {name!r}: a dotted path such as 'torch.nn.Linear'.")
    try:
        found: Any = importlib.import_module(parts[0])
    except ModuleNotFoundError as error:
        if error.name != parts[0]:
            raise
        if not hasattr(builtins, parts[0]):
            raise ImportError(
                f"Cannot locate {name!r}: no module {parts[0]!r} is installed."
            ) from error
        found = getattr(builtins, parts[0])
    for index, part in enumerate(parts[1:], start=1):
        found = _child(found, part, ".".join(parts[:index]), name)
    return found


def _child(parent: Any, part: str, parent_path: str, name: str) -> Any:
    """Attribute or submodule ``part`` of ``parent``, which is what ``parent_path`` names."""
    if hasattr(parent, part):
        return getattr(parent, part)
    if not hasattr(parent, "__path__"):
        raise ImportError(f"Cannot locate {name!r}: {parent_path!r} has no attribute {part!r}.")
    path = f"{parent_path}.{part}"
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        raise ImportError(
            f"Cannot locate {name!r}: package {parent_path!r} has no attribute or module {part!r}."
        ) from error
