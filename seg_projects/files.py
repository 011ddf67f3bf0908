"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """A file to write that becomes ``path`` in one step, unless an error ends the writing."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes ``content`` to ``path`` in one step: readers see the old file or the new one."""
    with open_atomically(path) as file:
        file.write(content)


def write_json(path: Path, content: object) -> None:
    """Writes ``content`` as JSON, in one step; NaN and infinity, which JSON lacks, as null.

    Two levels of objects and the entries of their lists have lines of their own.
    """
    try:
        text = _in_lines(content, 2)
    except ValueError:
        text = _in_lines(_with_null(content), 2)
    write_atomically(path, text.encode())


def _in_lines(content: object, levels: int) -> str:
    """JSON whose outer ``levels`` are broken into lines.

    Python's ``indent`` leaves the compiled encoder out, which is ten times faster.
    """
    if isinstance(content, dict) and content and levels:
        entries = [
            # The key as JSON writes it, numbers in quotes.
            json.dumps({key: 0})[1:-2] + _in_lines(value, levels - 1)
            for key, value in content.items()
        ]
        brackets = "{}"
    elif isinstance(content, list | tuple) and content and isinstance(content[0], dict):
        entries = [json.dumps(value, allow_nan=False) for value in content]
        brackets = "[]"
    else:
        return json.dumps(content, allow_nan=False)
    indent = " " * (3 - levels)
    return (
        f"{brackets[0]}\n{indent}" + f",\n{indent}".join(entries) + f"\n{indent[1:]}{brackets[1]}"
    )


def _with_null(content: object) -> object:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {key: _with_null(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_with_null(value) for value in content]
    return content


def read_figures(path: Path) -> dict[str, Any]:
    """The JSON object at ``path``, in which each null is a figure that is undefined: NaN."""

    def figures(values: dict[str, Any]) -> dict[str, Any]:
        return {key: math.nan if value is None else value for key, value in values.items()}

    content: dict[str, Any] = json.loads(path.read_bytes(), object_hook=figures)
    return content
