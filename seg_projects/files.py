"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

# Where files and folders are made.
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")
_COPIED_AT_ONCE = 1 << 20  # bytes


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """A file to write that becomes ``path`` in one step, unless an error ends the writing."""
    temporary, file = _open_temporary(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            _become(temporary, file, path)
    finally:
        temporary.unlink(missing_ok=True)


def copy_atomically(source: Path, path: Path) -> None:
    """Copies ``source`` to ``path`` in one step; as after any copy, the system may write later."""
    temporary, file = _open_temporary(path)
    try:
        with file, source.open("rb") as content:
            shutil.copyfileobj(content, file, _COPIED_AT_ONCE)
            _become(temporary, file, path)
    finally:
        temporary.unlink(missing_ok=True)


def _open_temporary(path: Path) -> tuple[Path, BinaryIO]:
    """A new file beside ``path``, locked as long as it is open: killing its process unlocks it."""
    while True:
        temporary = _temporary_of(path)
        file = temporary.open("xb")
        # Another process may have taken it for a stale one before it was locked.
        if not _lock(file, wait=True) or os.fstat(file.fileno()).st_nlink:
            return temporary, file
        file.close()


def _temporary_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


def _become(temporary: Path, file: BinaryIO, path: Path) -> None:
    """Gives the finished file its name, while it is locked where open files can be renamed."""
    file.flush()
    if os.name != "posix":
        file.close()
    temporary.replace(path)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """A hidden folder beside ``path``, which is not touched; removed in the end."""
    while True:
        scratch = _temporary_of(path)
        scratch.mkdir()
        with _locked(scratch, wait=True):
            # As of files: it may have been taken for a stale one.
            if not scratch.is_dir():
                continue
            try:
                yield scratch
            finally:
                shutil.rmtree(scratch)
        return


def remove_stale_files(folder: Path, *, below: bool = False) -> list[Path]:
    """Removes what killed processes have left of the functions above in ``folder``.

    What a running process writes to stays, and all of it where files cannot be locked.

    Args:
        folder: need not be there.
        below: whether to look into the folders in it, too; not into those behind links.
    """
    removed = []
    for path in _temporaries(folder, below=below):
        try:
            with _locked(path, wait=False) as locked:
                if not locked:
                    continue
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
                removed.append(path)
        except OSError:  # its process has finished it meanwhile, or it belongs to someone else
            continue
    return removed


def _temporaries(folder: Path, *, below: bool) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        own = [n for n in (*folders, *names) if n[0] == "." and TEMPORARY.fullmatch(n)]
        folders[:] = [name for name in folders if below and name not in own]
        yield from (Path(parent, name) for name in own)


@contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Whether a file or folder could be locked, for as long as the context lasts."""
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:  # it is gone; or a folder, where these cannot be opened
        yield False
        return
    try:
        yield _lock(file, wait=wait)
    finally:
        os.close(file)


def _lock(file: BinaryIO | int, *, wait: bool) -> bool:
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
