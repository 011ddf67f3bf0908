"""Configurations written in Python: descriptions of calls that are made later."""

from __future__ import annotations

import ast
import functools
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

import yaml

from detectron2.config.instantiate import qualified_name
from detectron2.config.overrides import parse_override
from detectron2.utils.atomic import atomic_write
from detectron2.utils.file_io import PathManager
from detectron2.utils.registry import locate

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["LazyCall", "LazyConfig"]


class LazyCall:
    """Wraps a callable so that calling it describes the call, for ``instantiate`` to make.

    ``LazyCall(nn.Linear)(in_features=2, out_features=3)`` is a ``DictConfig`` of the arguments,
    which can still be changed, with the callable under ``_target_``.
    """

    def __init__(self, target: Any) -> None:
        if not (callable(target) or isinstance(target, (str, Mapping))):
            raise TypeError(
                f"LazyCall takes a callable, its path or a description of it, not {target!r}."
            )
        self._target = target

    def __call__(self, **kwargs: Any) -> DictConfig:
        """Describes the call with these arguments."""
        # OmegaConf would take a dataclass for the schema of the node: its path stands for it.
        target = qualified_name(self._target) if is_dataclass(self._target) else self._target
        return _to_config({**kwargs, "_target_": target})


class LazyConfig:
    """Loads, saves and changes lazy configurations.

    Python configuration files are programs: loading one runs it with your rights, as importing
    it would. Load only files that you have read or trust. YAML files are read as data.
    """

    @staticmethod
    def load_rel(filename: str, keys: str | tuple[str, ...] | None = None) -> Any:
        """``load`` with ``filename`` relative to the file that makes this call."""
        caller = sys._getframe(1).f_code.co_filename
        if caller.startswith("<"):
            raise ValueError(f"load_rel({filename!r}) is called from {caller}, which is no file.")
        return LazyConfig.load(os.path.join(os.path.dirname(caller), filename), keys)

    @staticmethod
    def load(filename: str, keys: str | tuple[str, ...] | None = None) -> Any:
        """The configuration in a ``.py`` file, which is run, or in a YAML file.

        In a Python file ``from .name import x`` reads ``name.py`` beside it, afresh each time, so
        that changing ``x`` changes nothing elsewhere; imported dicts become ``DictConfig``.

        Args:
            filename: The file.
            keys: Names of the objects wanted; by default all public dicts in one ``DictConfig``.
        """
        names = _read(os.path.normpath(filename) if "://" not in filename else filename)
        if keys is None:
            return _to_config(
                {
                    name: _as_config(value)
                    for name, value in names.items()
                    if isinstance(value, Mapping) and not name.startswith("_")
                }
                if filename.endswith(".py")
                else names
            )
        wanted = (keys,) if isinstance(keys, str) else keys
        missing = [key for key in wanted if key not in names]
        if missing:
            public = sorted(str(name) for name in names if not str(name).startswith("_"))
            raise KeyError(f"{filename} has no {missing[0]!r}; it has {', '.join(public)}.")
        values = tuple(_as_config(names[key]) for key in wanted)
        return values[0] if isinstance(keys, str) else values

    @staticmethod
    def save(cfg: Any, filename: str) -> None:
        """Writes ``cfg`` as YAML, with callables under ``_target_`` as their dotted paths.

        Where it holds other objects than plain values, the YAML is for reading only, and
        ``filename.pkl`` holds the configuration itself, pickled by cloudpickle.
        """
        from omegaconf import OmegaConf, SCMode

        plain = OmegaConf.to_container(
            cfg if OmegaConf.is_config(cfg) else _to_config(cfg),
            resolve=False,
            structured_config_mode=SCMode.DICT,
        )
        named = _with_named_targets(plain)
        layout: dict[str, Any] = {"default_flow_style": None, "allow_unicode": True, "width": 9999}
        try:
            text = yaml.safe_dump(named, **layout)
        except yaml.representer.RepresenterError:
            _replace(filename, yaml.safe_dump(_described(named), **layout).encode())
            import cloudpickle

            _replace(filename + ".pkl", cloudpickle.dumps(cfg))
            logging.getLogger(__name__).warning(
                "The configuration holds objects that YAML cannot express: %s is for reading; "
                "%s.pkl is the whole of it.",
                filename,
                filename,
            )
        else:
            _replace(filename, text.encode())

    @staticmethod
    def apply_overrides(cfg: DictConfig, overrides: list[str]) -> DictConfig:
        """Changes ``cfg`` by settings such as ``model.depth=50``, and returns it.

        New keys are added; ``config.overrides`` tells how values are written. Dicts are merged.

        Raises:
            KeyError: A part of a key is a value, not a group of keys.
            NotImplementedError: ``~key``, which would delete it.
        """
        from omegaconf import OmegaConf

        for text in overrides:
            override = parse_override(text)
            parts = override.key.split(".")
            for length in range(1, len(parts)):
                parent = ".".join(parts[:length])
                node = OmegaConf.select(cfg, parent, throw_on_missing=False)
                if node is not None and not OmegaConf.is_config(node):
                    raise KeyError(
                        f"{text!r}: {parent} is the value {node!r}, so it has no keys below it."
                    )
            OmegaConf.update(cfg, override.key, override.value, merge=True)
        return cfg

    @staticmethod
    def to_py(cfg: Any, prefix: str = "cfg.") -> str:
        """``cfg`` as assignments in Python's notation: for reading, not for running.

        Args:
            cfg: The configuration.
            prefix: What stands in front of each name.
        """
        from omegaconf import OmegaConf

        plain = OmegaConf.to_container(cfg if OmegaConf.is_config(cfg) else _to_config(cfg))
        lines: list[str] = []
        _assignments(_with_named_targets(plain), prefix.rstrip("."), lines)
        return "\n".join(lines) + "\n"


def _to_config(content: Any) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.create(content, flags={"allow_objects": True})


def _as_config(value: Any) -> Any:
    return _to_config(value) if isinstance(value, dict) else value


def _read(filename: str) -> dict[str, Any]:
    """The names that a configuration file defines."""
    if filename.endswith(".py"):
        return _run(filename)
    if filename.endswith((".yaml", ".yml")):
        from detectron2.config.yaml_files import read_yaml

        return read_yaml(filename)
    raise ValueError(f"{filename}: a configuration is a .py, .yaml or .yml file.")


_IMPORT = "__import_from_config__"


class _RelativeImports(ast.NodeTransformer):
    """Turns ``from .a.b import x as y`` into ``(y,) = __import_from_config__(1, "a.b", ("x",))``.

    So relative imports work between files that are in no package, without an import hook.
    """

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt:
        if not node.level:
            return node
        names = [alias.name for alias in node.names]
        targets = [alias.asname or alias.name for alias in node.names]
        if names == ["*"]:
            raise ImportError("A configuration file imports names from others, not '*'.")
        call = f"{_IMPORT}({node.level}, {node.module!r}, {tuple(names)!r})"
        replacement = ast.parse(f"({', '.join(targets)},) = {call}").body[0]
        return ast.fix_missing_locations(ast.copy_location(replacement, node))


def _run(path: str) -> dict[str, Any]:
    """Runs the Python file and returns its global names."""
    if "://" in path:
        raise ValueError(f"{path}: remote Python is not run. Download the file and read it first.")
    with PathManager.open(path, "r") as file:
        source = file.read()
    try:
        tree = _RelativeImports().visit(ast.parse(source, filename=path))
    except SyntaxError as error:
        raise SyntaxError(f"The configuration file {path} is not valid Python: {error}") from error
    namespace: dict[str, Any] = {
        "__file__": path,
        "__name__": f"config_{os.path.splitext(os.path.basename(path))[0]}",
        _IMPORT: functools.partial(_import_relative, path),
    }
    exec(compile(tree, path, "exec"), namespace)
    hidden = {"__builtins__", "__file__", "__name__", _IMPORT}
    return {name: value for name, value in namespace.items() if name not in hidden}


def _import_relative(
    importer: str, level: int, module: str | None, names: tuple[str, ...]
) -> tuple[Any, ...]:
    """What ``from <level dots><module> import <names>`` means in the file ``importer``."""
    folder = os.path.dirname(importer)
    for _ in range(level - 1):
        folder = os.path.join(folder, os.pardir)
    stem = os.path.normpath(os.path.join(folder, *(module or "").split(".")))
    if not module or PathManager.isdir(stem):
        raise ImportError(
            f"{importer}: {stem!r} is a folder; a configuration file imports from files only."
        )
    path = stem + ".py"
    if not PathManager.isfile(path):
        raise ImportError(f"{importer}: cannot import {', '.join(names)}: there is no file {path}.")
    found = _run(path)
    missing = [name for name in names if name not in found]
    if missing:
        raise ImportError(f"{importer}: {path} defines no {missing[0]!r}.")
    return tuple(_as_config(found[name]) for name in names)


def _with_named_targets(value: Any) -> Any:
    """A copy in which each callable under ``_target_`` is its dotted path, where it has one."""
    if isinstance(value, list):
        return [_with_named_targets(element) for element in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _name_of(entry) if key == "_target_" else _with_named_targets(entry)
        for key, entry in value.items()
    }


def _name_of(target: Any) -> Any:
    """The shortest dotted path of ``target``; ``target`` itself if no path leads to it."""
    module, name = getattr(target, "__module__", None), getattr(target, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return target
    packages = module.split(".")
    # Public classes are mostly re-exported by a package above: torch.nn.Linear.
    for length in range(1, len(packages) + 1):
        path = ".".join([*packages[:length], name])
        try:
            if locate(path) is target:
                return path
        except ImportError:
            continue
    return target


def _described(value: Any) -> Any:
    """A copy in which whatever YAML cannot express is its ``repr``."""
    if isinstance(value, dict):
        return {key: _described(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_described(element) for element in value]
    return value if isinstance(value, (int, float, str, type(None))) else repr(value)


def _replace(filename: str, content: bytes) -> None:
    """Writes a file at once: readers see the old or the new one, never a part."""
    if "://" in filename:
        with PathManager.open(filename, "wb") as file:
            file.write(content)
        return
    with atomic_write(filename) as file:
        file.write(content)


def _assignments(value: Any, name: str, lines: list[str]) -> None:
    """Appends ``name = value``, or the assignments of a dict's entries."""
    is_group = isinstance(value, dict) and "_target_" not in value and value
    if is_group and all(str(key).isidentifier() for key in value):
        for key, entry in value.items():
            _assignments(entry, f"{name}.{key}" if name else str(key), lines)
    else:
        lines.append(f"{name} = {_expression(value)}")


def _expression(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_expression, value))}]"
    if not isinstance(value, dict):
        return repr(value)
    if "_target_" not in value:
        return f"{{{', '.join(f'{key!r}: {_expression(entry)}' for key, entry in value.items())}}}"
    arguments = [f"{key}={_expression(entry)}" for key, entry in value.items() if key != "_target_"]
    target = value["_target_"]
    return f"{target if isinstance(target, str) else repr(target)}({', '.join(arguments)})"
