"""The configuration tree, its defaults, and classes that are built from it."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any, TypeVar, overload

from fvcore.common.config import CfgNode as _CfgNode

from detectron2.config.yaml_files import load_yaml_with_base
from detectron2.utils.file_io import PathManager

__all__ = ["CfgNode", "configurable", "get_cfg", "global_cfg", "set_global_cfg"]

CURRENT_VERSION = 2
"""Value of ``VERSION`` in configurations that use today's key names."""

T = TypeVar("T")


class CfgNode(_CfgNode):
    """A tree of settings with attribute access, merged from YAML files and command lines.

    Only keys that exist can be merged, and values keep their type, but a list may stand for a
    tuple. What is merged is data: no file and no command line value is ever executed.
    """

    @classmethod
    def load_yaml_with_base(cls, filename: str, allow_unsafe: bool = False) -> dict[str, Any]:
        """The content of a YAML file, over that of the files it names under ``_BASE_``.

        Args:
            filename: The file.
            allow_unsafe: Accept the tag ``!!python/tuple``. Other tags that build Python objects
                are always refused: unlike in Detectron2 there is no unsafe loader behind this.
        """
        return load_yaml_with_base(filename, tuples=allow_unsafe)

    @classmethod
    def _load_cfg_py_source(cls, filename: str) -> CfgNode:
        raise ValueError(f"{filename} is Python code: a CfgNode is read from YAML only.")

    def merge_from_file(self, cfg_filename: str, allow_unsafe: bool = True) -> None:
        """Merges a YAML file, which may inherit from others through ``_BASE_``.

        Args:
            cfg_filename: A path, or what else ``PathManager`` opens.
            allow_unsafe: See ``load_yaml_with_base``; in spite of its name it is safe.

        Raises:
            AssertionError: The file does not exist, or is of a newer ``VERSION``.
            KeyError: It has a key that this tree has not.
            ValueError: A value has another type than here.
        """
        if not PathManager.isfile(cfg_filename):
            raise AssertionError(f"The configuration file {cfg_filename!r} does not exist.")
        loaded = self.load_yaml_with_base(cfg_filename, allow_unsafe=allow_unsafe)
        version = self.get("VERSION", CURRENT_VERSION)
        # Keys of older versions that still exist mean what they meant.
        if loaded.pop("VERSION", version) > version:
            raise AssertionError(
                f"{cfg_filename} is of a newer VERSION than {version}, which is the newest known."
            )
        self.merge_from_other_cfg(type(self)(loaded))

    def merge_from_other_cfg(self, cfg_other: _CfgNode) -> None:
        """Merges another tree; KeyError, and nothing merged, for a key that this one has not."""
        for unknown in _unknown_keys(cfg_other, self):
            if not self._has_history(unknown):
                raise KeyError(self._explain_unknown(unknown))
        super().merge_from_other_cfg(cfg_other)

    def merge_from_list(self, cfg_list: list[Any]) -> None:
        """Merges ``[key, value, key, value, ...]``, as a command line gives them.

        String values are read as Python literals where they are such, else taken as they stand.

        Raises:
            AssertionError: A key does not exist, or the last one has no value.
            ValueError: A value has another type than here.
        """
        if len(cfg_list) % 2:
            raise AssertionError(
                f"Settings come in pairs KEY VALUE; {cfg_list[-1]!r} is left over in {cfg_list}."
            )
        for full_key in cfg_list[0::2]:
            node: Any = self
            for part in str(full_key).split("."):
                if isinstance(node, _CfgNode) and part in node:
                    node = node[part]
                elif not self._has_history(full_key):
                    raise AssertionError(self._explain_unknown(full_key))
        super().merge_from_list(cfg_list)

    def _has_history(self, full_key: str) -> bool:
        """Did the key exist once, so that yacs has an answer for it?"""
        return (
            full_key in self.__dict__[_CfgNode.DEPRECATED_KEYS]
            or full_key in self.__dict__[_CfgNode.RENAMED_KEYS]
        )

    def _explain_unknown(self, full_key: str) -> str:
        known = list(_full_keys(self))
        close = get_close_matches(full_key, known, n=1, cutoff=0.0)
        hint = f" The nearest known key is {close[0]}." if close else ""
        return (
            f"Non-existent config key: {full_key}.{hint} A project's keys exist once its "
            "add_..._config(cfg) was called."
        )

    def dump(self, *args: Any, **kwargs: Any) -> str:
        """The tree as YAML; tuples become lists."""
        return super().dump(*args, **kwargs)


def _full_keys(node: _CfgNode, prefix: str = "") -> Iterator[str]:
    """The dotted keys of all values below ``node``."""
    for key, value in node.items():
        if isinstance(value, _CfgNode):
            yield from _full_keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _unknown_keys(other: _CfgNode, node: _CfgNode, prefix: str = "") -> Iterator[str]:
    """The dotted keys of ``other`` that cannot be merged into ``node``."""
    for key, value in other.items():
        if key not in node:
            if not node.is_new_allowed():
                yield f"{prefix}{key}"
        elif isinstance(value, _CfgNode) and isinstance(node[key], _CfgNode):
            yield from _unknown_keys(value, node[key], f"{prefix}{key}.")


global_cfg = CfgNode()
"""A tree for settings that no argument can carry; empty until ``set_global_cfg``."""


def get_cfg() -> CfgNode:
    """A fresh tree with all keys at their defaults."""
    from detectron2.config.defaults import _C

    return _C.clone()


def set_global_cfg(cfg: CfgNode) -> None:
    """Makes ``global_cfg`` hold the settings of ``cfg``."""
    global_cfg.clear()
    global_cfg.update(cfg)


# What is decorated takes its own arguments or a config and what from_config takes: any arguments.
@overload
def configurable(
    init_func: Callable[..., None], *, from_config: Callable[..., Any] | None = None
) -> Callable[..., None]: ...
@overload
def configurable(
    init_func: None = None, *, from_config: Callable[..., dict[str, Any]] | None = None
) -> Callable[[Callable[..., T]], Callable[..., T]]: ...
def configurable(
    init_func: Callable[..., Any] | None = None,
    *,
    from_config: Callable[..., dict[str, Any]] | None = None,
) -> Any:
    """Lets a function or an ``__init__`` be called with a config instead of its arguments.

    On ``__init__``, the class says in ``from_config(cls, cfg, ...)`` how a config becomes a dict
    of arguments; on a function, ``@configurable(from_config=...)`` does::

        class Head(nn.Module):
            @configurable
            def __init__(self, *, channels): ...

            @classmethod
            def from_config(cls, cfg, input_shape):
                return {"channels": cfg.MODEL.CHANNELS}

        Head(channels=3)
        Head(cfg, input_shape)

    A first positional argument or a ``cfg=`` that is a config chooses the second way. Arguments
    that ``from_config`` does not take go on to the function, over what ``from_config`` returned.
    """
    if init_func is not None:
        if not inspect.isfunction(init_func) or init_func.__name__ != "__init__":
            raise AssertionError(
                "@configurable without arguments is for __init__; a function needs "
                "@configurable(from_config=...)."
            )
        if from_config is not None:
            raise AssertionError("On __init__, from_config is a classmethod of its class.")
        return _configurable_init(init_func)
    if not inspect.isfunction(from_config):
        raise AssertionError("@configurable(from_config=...) needs a function.")
    _check_first_parameter(from_config)
    return functools.partial(_configurable_function, from_config=from_config)


def _configurable_init(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        from_config = getattr(type(self), "from_config", None)
        if from_config is None:
            raise AttributeError(
                f"{type(self).__name__} has a @configurable __init__ but no from_config."
            )
        if not inspect.ismethod(from_config):
            raise TypeError(f"{type(self).__name__}.from_config must be a classmethod.")
        if _gives_config(*args, **kwargs):
            init(self, **_arguments(from_config, *args, **kwargs))
        else:
            init(self, *args, **kwargs)

    return wrapped


def _configurable_function(
    function: Callable[..., Any], *, from_config: Callable[..., dict[str, Any]]
) -> Callable[..., Any]:
    if function.__name__ == "__init__":
        raise AssertionError("On __init__, from_config is a classmethod of its class.")

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if _gives_config(*args, **kwargs):
            return function(**_arguments(from_config, *args, **kwargs))
        return function(*args, **kwargs)

    # Lets tools that build lazily find the way from a config.
    wrapped.from_config = from_config  # type: ignore[attr-defined]
    return wrapped


def _gives_config(*args: Any, **kwargs: Any) -> bool:
    """Do these arguments ask for the way through ``from_config``?"""
    config = args[0] if args else kwargs.get("cfg")
    if isinstance(config, _CfgNode):
        return True
    # Where nothing has imported omegaconf yet, no argument can be one of its configs.
    omegaconf = sys.modules.get("omegaconf")
    return omegaconf is not None and isinstance(config, omegaconf.DictConfig)


def _check_first_parameter(from_config: Callable[..., Any]) -> None:
    names = list(inspect.signature(from_config).parameters)
    if not names or names[0] != "cfg":
        owner = getattr(from_config, "__qualname__", repr(from_config))
        raise TypeError(f"{owner}: the first parameter of from_config must be named cfg.")


def _arguments(
    from_config: Callable[..., dict[str, Any]], *args: Any, **kwargs: Any
) -> dict[str, Any]:
    """The explicit arguments that a call with a config stands for."""
    _check_first_parameter(from_config)
    parameters = inspect.signature(from_config).parameters.values()
    takes_all = any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)
    if takes_all:
        return from_config(*args, **kwargs)
    accepted = {p.name for p in parameters}
    passed_on = {name: value for name, value in kwargs.items() if name not in accepted}
    own = {name: value for name, value in kwargs.items() if name in accepted}
    return {**from_config(*args, **own), **passed_on}
