"""Builds the objects that lazy configurations describe."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

from detectron2.utils.registry import locate

__all__ = ["dump_dataclass", "instantiate"]


def qualified_name(obj: Any) -> str:
    """The dotted path of a class or function, by which ``locate`` finds it again."""
    return f"{obj.__module__}.{obj.__qualname__}"


def dump_dataclass(obj: Any) -> dict[str, Any]:
    """A dict with ``_target_`` from which ``instantiate`` builds an equal dataclass instance.

    Dataclass instances among the values, directly or in lists, are treated alike.
    """
    if not dataclasses.is_dataclass(obj) or isinstance(obj, type):
        raise AssertionError(f"dump_dataclass() takes an instance of a dataclass, not {obj!r}.")

    def dump(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dump_dataclass(value)
        return [dump(element) for element in value] if isinstance(value, list) else value

    values = {field.name: dump(getattr(obj, field.name)) for field in dataclasses.fields(obj)}
    return {"_target_": qualified_name(type(obj)), **values}


def instantiate(cfg: Any) -> Any:
    """Builds what ``cfg`` describes, its arguments first.

    A mapping with ``_target_``, a callable, its dotted path or a description of it, becomes the
    result of calling it with the other entries. Lists are built element by element. Everything
    else, other mappings included, is returned as it is. The targets are called: build only
    configurations that you trust.

    Raises:
        AssertionError: A target is not callable.
        ImportError: The path of a target leads nowhere.
    """
    if isinstance(cfg, (int, float, str, bytes, type(None))):
        return cfg
    from omegaconf import DictConfig, ListConfig, OmegaConf

    if isinstance(cfg, list):
        return [instantiate(element) for element in cfg]
    if isinstance(cfg, ListConfig):
        return ListConfig([instantiate(element) for element in cfg], flags={"allow_objects": True})
    if isinstance(cfg, DictConfig) and dataclasses.is_dataclass(OmegaConf.get_type(cfg)):
        return OmegaConf.to_object(cfg)
    if isinstance(cfg, Mapping) and "_target_" in cfg:
        return _call_target(cfg)
    return cfg


def _call_target(cfg: Mapping[Any, Any]) -> Any:
    arguments = {str(key): instantiate(value) for key, value in cfg.items() if key != "_target_"}
    named = cfg["_target_"]
    target = locate(named) if isinstance(named, str) else instantiate(named)
    if not callable(target):
        raise AssertionError(f"_target_ {named!r} is not callable, so it builds nothing.")
    try:
        return target(**arguments)
    except TypeError:
        logging.getLogger(__name__).error("The call of _target_ %s failed.", named)
        raise
