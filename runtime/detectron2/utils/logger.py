"""Logging to the terminal and to a file per process."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from types import FrameType
from typing import IO, Any

from termcolor import colored

from detectron2.utils.file_io import PathManager

__all__ = ["log_every_n", "log_every_n_seconds", "log_first_n", "setup_logger"]

D2_LOG_BUFFER_SIZE_KEY = "D2_LOG_BUFFER_SIZE"
"""Environment variable: size in bytes of the buffer of log files on remote file systems."""

DEFAULT_LOG_BUFFER_SIZE = 1024 * 1024

_DATE_FORMAT = "%m/%d %H:%M:%S"
_LEVEL_COLORS: dict[int, dict[str, Any]] = {
    logging.WARNING: {"color": "red", "attrs": ["blink"]},
    logging.ERROR: {"color": "red", "attrs": ["blink", "underline"]},
    logging.CRITICAL: {"color": "red", "attrs": ["blink", "underline"]},
}


class _Formatter(logging.Formatter):
    """Shortens the root of the logger's name; with ``color`` marks warnings and errors."""

    def __init__(self, fmt: str, *, root: str, short_root: str, color: bool) -> None:
        super().__init__(fmt, datefmt=_DATE_FORMAT)
        self._root, self._short_root, self._color = root, short_root, color

    def format(self, record: logging.LogRecord) -> str:
        shown = logging.makeLogRecord(record.__dict__)  # other handlers see the record, too
        below = record.name.removeprefix(self._root)
        if below != record.name and below.startswith("."):
            shown.name = self._short_root + below if self._short_root else below[1:]
        text = super().format(shown)
        style = _LEVEL_COLORS.get(record.levelno)
        if not self._color or style is None:
            return text
        prefix = colored(record.levelname, **style)
        return f"{prefix} {text}"


@functools.cache  # one set of handlers per logger and file
def setup_logger(
    output: str | None = None,
    distributed_rank: int = 0,
    *,
    color: bool = True,
    name: str = "detectron2",
    abbrev_name: str | None = None,
    enable_propagation: bool = False,
    configure_stdout: bool = True,
) -> logging.Logger:
    """Gives the logger ``name`` a terminal handler (rank 0 only) and a file handler.

    Args:
        output: A file ending in .txt or .log, or a folder, in which ``log.txt`` is appended to.
            ``.rank<r>`` is added to the name in other processes than 0. None: no file.
        distributed_rank: Rank of this process.
        color: Mark terminal output with colours.
        name: Root of the loggers that are set up.
        abbrev_name: What stands for ``name`` in front of the modules' names, "" for nothing; by
            default ``d2`` for ``detectron2``, else ``name``.
        enable_propagation: Pass the messages to the handlers of the root logger as well.
        configure_stdout: Write to the terminal.
    """
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    logger.propagate = enable_propagation
    if abbrev_name is None:
        abbrev_name = "d2" if name == "detectron2" else name
    formatter = functools.partial(_Formatter, root=name, short_root=abbrev_name)
    plain = "[%(asctime)s] %(name)s %(levelname)s: %(message)s"
    if configure_stdout and distributed_rank == 0:
        header = "[%(asctime)s %(name)s]:"
        shown = f"{colored(header, 'green')} %(message)s" if color else plain
        terminal = logging.StreamHandler(stream=sys.stdout)
        terminal.setFormatter(formatter(shown, color=color))
        logger.addHandler(terminal)
    if output is not None:
        file = logging.StreamHandler(_open_log(_log_path(output, distributed_rank)))
        file.setFormatter(formatter(plain, color=False))
        logger.addHandler(file)
    return logger


def _log_path(output: str, rank: int) -> str:
    path = output if output.endswith((".txt", ".log")) else os.path.join(output, "log.txt")
    return path if rank == 0 else f"{path}.rank{rank}"


@functools.cache  # loggers that share a file share its stream
def _open_log(path: str) -> IO[str]:
    folder = os.path.dirname(path)
    if folder:
        PathManager.mkdirs(folder)
    remote = "://" in path
    size = int(os.environ.get(D2_LOG_BUFFER_SIZE_KEY, DEFAULT_LOG_BUFFER_SIZE))
    stream = PathManager.open(path, "a", buffering=size if remote else -1)
    atexit.register(stream.close)
    return stream


# Of the log_* functions below, by key: number of calls, and time of the last message.
_calls: Counter[object] = Counter()
_last_logged: dict[object, float] = {}


def _caller() -> tuple[str, tuple[str, int, str]]:
    """(logger name, place) of the code outside this module that is logging."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    assert frame is not None
    code = frame.f_code
    module = frame.f_globals.get("__name__", "__main__")
    name = "detectron2" if module == "__main__" else module
    return name, (code.co_filename, frame.f_lineno, code.co_name)


def log_first_n(
    lvl: int,
    msg: str,
    n: int = 1,
    *,
    name: str | None = None,
    key: str | tuple[str, ...] = "caller",
) -> None:
    """Logs only the first ``n`` messages that agree in ``key``.

    Args:
        lvl: Level, such as ``logging.WARNING``.
        msg: The message.
        n: How many to log.
        name: The logger; by default that of the calling module.
        key: What makes messages the same: "caller" (the line of code), "message", or both.
    """
    keys = (key,) if isinstance(key, str) else tuple(key)
    unknown = set(keys) - {"caller", "message"}
    if unknown:
        raise ValueError(f"key={key!r}: give 'caller', 'message' or a tuple of both.")
    caller, place = _caller()
    same = (
        "first",
        *((place,) if "caller" in keys else ()),
        *((msg,) if "message" in keys else ()),
    )
    _calls[same] += 1
    if _calls[same] <= n:
        logging.getLogger(name or caller).log(lvl, msg)


def log_every_n(lvl: int, msg: str, n: int = 1, *, name: str | None = None) -> None:
    """Logs the first and then every ``n``-th message from the calling line of code."""
    caller, place = _caller()
    _calls["every", place] += 1
    if n == 1 or _calls["every", place] % n == 1:
        logging.getLogger(name or caller).log(lvl, msg)


def log_every_n_seconds(lvl: int, msg: str, n: float = 1, *, name: str | None = None) -> None:
    """Logs a message from the calling line of code unless it logged within ``n`` seconds."""
    caller, place = _caller()
    now = time.monotonic()
    last = _last_logged.get(place)
    if last is None or now - last >= n:
        _last_logged[place] = now
        logging.getLogger(name or caller).log(lvl, msg)


def create_small_table(small_dict: Mapping[str, Any]) -> str:
    """A table of one row with the keys as headers; for a few numbers only."""
    from tabulate import tabulate

    return tabulate(
        [list(small_dict.values())],
        headers=list(small_dict),
        tablefmt="pipe",
        floatfmt=".3f",
        stralign="center",
        numalign="center",
    )
