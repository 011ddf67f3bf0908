"""Reads YAML configurations with ``_BASE_`` inheritance, as data: nothing in them is executed."""

from __future__ import annotations

import os
import re
from typing import Any

import yaml
from fvcore.common.config import BASE_KEY

from detectron2.utils.file_io import PathManager

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class _DataLoader(yaml.SafeLoader):
    """The safe loader, which also knows ``!!python/tuple``: a tuple is data like a list."""


def _tuple(loader: yaml.SafeLoader, node: Any) -> tuple[Any, ...]:
    return tuple(loader.construct_sequence(node, deep=True))


_DataLoader.add_constructor("tag:yaml.org,2002:python/tuple", _tuple)


def load_yaml_with_base(filename: str, *, tuples: bool) -> dict[str, Any]:
    """The mapping in ``filename``, over those of the files that it names under ``_BASE_``.

    Args:
        filename: The YAML file. Its bases are relative to its folder, and on a local disk.
        tuples: Accept the tag ``!!python/tuple``, the only one of Python's that is mere data.

    Raises:
        yaml.constructor.ConstructorError: A file has other Python tags.
        ValueError: A base is remote or inherits from itself; a file is not a mapping.
    """
    return _load(filename, _DataLoader if tuples else yaml.SafeLoader, ())


def read_yaml(filename: str) -> dict[str, Any]:
    """The mapping in ``filename``, without regard to ``_BASE_``; tuples may be tagged as such."""
    return _read(filename, _DataLoader)


def _load(
    filename: str, loader: type[yaml.SafeLoader], descendants: tuple[str, ...]
) -> dict[str, Any]:
    own = _read(filename, loader)
    bases = own.pop(BASE_KEY, [])
    merged: dict[str, Any] = {}
    for base in bases if isinstance(bases, list) else [bases]:
        path = _base_path(base, filename)
        if path in (filename, *descendants):
            raise ValueError(f"{filename}: its {BASE_KEY} {path!r} inherits from itself.")
        _merge(_load(path, loader, (filename, *descendants)), merged, filename)
    _merge(own, merged, filename)
    return merged


def _read(filename: str, loader: type[yaml.SafeLoader]) -> dict[str, Any]:
    with PathManager.open(filename, "r") as file:
        try:
            # Both loaders are safe: they build plain data only.
            content = yaml.load(file, Loader=loader)
        except yaml.constructor.ConstructorError as error:
            raise yaml.constructor.ConstructorError(
                error.context,
                error.context_mark,
                f"{error.problem}: {filename} is loaded as data, so tags that build Python "
                "objects or run code are refused. Write plain YAML values",
                error.problem_mark,
            ) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(
            f"{filename}: a configuration is a mapping of keys to values, "
            f"not a {type(content).__name__}."
        )
    return content


def _base_path(base: Any, filename: str) -> str:
    """Where the ``_BASE_`` entry of ``filename`` lies."""
    if not isinstance(base, str):
        raise ValueError(f"{filename}: {BASE_KEY} names files; {base!r} is not a file name.")
    path = os.path.join(os.path.dirname(filename), os.path.expanduser(base))
    if _REMOTE.match(path) or _REMOTE.match(base):
        raise ValueError(
            f"{filename}: its {BASE_KEY} {base!r} is remote. A configuration inherits from local "
            "files only: download the file and name the copy."
        )
    return os.path.normpath(path)


def _merge(source: dict[str, Any], target: dict[str, Any], filename: str) -> None:
    """Puts ``source`` over ``target``, key by key where both are mappings."""
    for key, value in source.items():
        if not isinstance(value, dict) or key not in target:
            target[key] = value
        elif isinstance(target[key], dict):
            _merge(value, target[key], filename)
        else:
            raise AssertionError(
                f"{filename}: {key!r} is a group of keys here, but the value "
                f"{target[key]!r} in its {BASE_KEY}."
            )
