"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import math
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

# What open_atomically() writes to.
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """A file to write that becomes ``path`` in one step, unless an error ends the writing."""
    temporary, file = _open_temporary(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _open_temporary(path: Path) -> tuple[Path, BinaryIO]:
    """A new file beside ``path``, locked as long as it is open: killing its process unlocks it."""
    while True:
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        file = temporary.open("xb")
        # Another process may have taken it for a stale one before it was locked.
        if not _lock(file, wait=True) or os.fstat(file.fileno()).st_nlink:
            return temporary, file
        file.close()


def remove_stale_files(folder: Path) -> list[Path]:
    """Removes what killed processes have left of their :func:`open_atomically` in ``folder``.

    Files that a running process writes to stay, and all of them where files cannot be locked.
    """
    removed = []
    for path in folder.glob(".*.tmp"):
        if TEMPORARY.fullmatch(path.name) is None:
            continue
        try:
            with path.open("rb") as file:
                if _lock(file, wait=False):
                    path.unlink()
                    removed.append(path)
        except OSError:  # its process has finished it meanwhile, or it belongs to someone else
            continue
    return removed


def _lock(file: BinaryIO, *, wait: bool) -> bool:
    """Locks ``file`` until it is closed; False where there are no locks, or another has it."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (ImportError, OSError):
        return False
    return True


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
