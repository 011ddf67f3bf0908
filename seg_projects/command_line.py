"""What the command lines in ``tools/`` share: arguments, and a user's mistake as one line.

Importing this is immediate; what needs torch is imported where it is called.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from seg_projects.errors import UserError

if TYPE_CHECKING:
    from detectron2.config import CfgNode

USER_ERROR_STATUS = 2


def config_parser(description: str | None, *, config: str) -> argparse.ArgumentParser:
    """A parser with ``--config-file`` and ``--import``, which :func:`read_config` follows.

    ``opts``, the overrides of the config, are for the caller to add, after all else.

    Args:
        description: what ``--help`` says first.
        config: which config is meant.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help=config)
    parser.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="import MODULE first, which registers heads or data sets of yours; repeatable",
    )
    return parser


def read_config(args: argparse.Namespace) -> CfgNode:
    """The config that the arguments of a :func:`config_parser` name, with their ``opts`` applied.

    Raises:
        UserError: a module or the file is missing, a key is unknown, a value has another type.
    """
    from seg_projects.engine import import_modules, load_config

    import_modules(args.modules)
    return load_config(args.config_file, args.opts)


def run_tool(work: Callable[[], int]) -> int:
    """Calls ``work``; returns its exit status, or 2 after a :class:`UserError`, told on stderr."""
    try:
        return work()
    except UserError as error:
        message = str(error)
    except Exception as error:
        # Raised in a process of its own (torch's ProcessRaisedException), it is text in a text.
        _, marker, message = str(error).rpartition(f"{UserError.__module__}.UserError: ")
        if not marker:
            raise
    sys.stderr.write(f"error: {message.strip()}\n")
    return USER_ERROR_STATUS
