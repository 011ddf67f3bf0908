"""The process environment: seeds, versions, a site's own setup."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import os
import random
import sys
import time
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np
import torch

__all__ = ["seed_all_rng"]

TORCH_VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])
"""(major, minor) of the installed torch."""

DOC_BUILDING = os.environ.get("_DOC_BUILDING", "").lower() in ("1", "true", "yes")
"""Is the documentation being built?"""


def seed_all_rng(seed: int | None = None) -> None:
    """Seeds the generators of torch, numpy and random; ``None`` draws a seed and logs it."""
    if seed is None:
        seed = (os.getpid() + time.time_ns() + int.from_bytes(os.urandom(4), "big")) % 2**31
        logging.getLogger(__name__).info("Using the random seed %d.", seed)
    np.random.seed(seed)  # noqa: NPY002 - augmentations draw from the global generator
    torch.manual_seed(seed)
    random.seed(seed)
    os.environ["PYTHONHASHSEED"] = str(seed)


@functools.lru_cache(maxsize=1)
def setup_environment() -> None:
    """Runs, once, the module that the variable ``DETECTRON2_ENV_MODULE`` names, if it is set."""
    custom_module = os.environ.get("DETECTRON2_ENV_MODULE")
    if custom_module:
        setup_custom_environment(custom_module)


def setup_custom_environment(custom_module: str) -> None:
    """Imports ``custom_module``, a module name or a ``.py`` file, and calls its function.

    Raises:
        AssertionError: The module has no function ``setup_environment``.
    """
    if custom_module.endswith(".py"):
        module = _import_file("detectron2.utils.env.custom_module", custom_module)
    else:
        module = importlib.import_module(custom_module)
    if not callable(getattr(module, "setup_environment", None)):
        raise AssertionError(
            f"The environment module {custom_module!r} has no function setup_environment()."
        )
    module.setup_environment()


def _import_file(module_name: str, path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path!r} cannot be imported as a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return module


def fixup_module_metadata(
    module_name: str, namespace: dict[str, Any], keys: Iterable[str] | None = None
) -> None:
    """Makes the public objects in ``namespace`` report ``module_name`` as their home.

    Args:
        module_name: The package that re-exports them.
        namespace: Its ``globals()``.
        keys: Names to treat; by default those without a leading underscore.
    """
    root = module_name.partition(".")[0]
    names = namespace if keys is None else keys
    seen: set[int] = set()
    for name in [n for n in names if not n.startswith("_")]:
        _move_home(module_name, root, namespace[name], seen)


def _move_home(module_name: str, root: str, obj: Any, seen: set[int]) -> None:
    """Sets ``__module__`` of ``obj`` and, for a class, of its members, where it is ours."""
    home = getattr(obj, "__module__", None)
    if id(obj) in seen or not isinstance(home, str) or home.partition(".")[0] != root:
        return
    seen.add(id(obj))
    try:
        obj.__module__ = module_name
    except AttributeError:
        return  # a builtin or a method: it keeps its home
    if isinstance(obj, type):
        for member in vars(obj).values():
            _move_home(module_name, root, member, seen)
