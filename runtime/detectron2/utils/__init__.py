"""Services that the other packages share: registries, logging, events, processes, files.

The modules are imported when they are first used: ``import detectron2.utils`` costs nothing.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = [
    "analysis",
    "collect_env",
    "colormap",
    "comm",
    "env",
    "events",
    "file_io",
    "logger",
    "memory",
    "registry",
    "serialize",
    "tracing",
    "visualizer",
]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module 'detectron2.utils' has no attribute {name!r}")
    return importlib.import_module(f"detectron2.utils.{name}")
