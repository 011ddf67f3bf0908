"""The command line that the ``datasets/prepare_*.py`` of label-map data sets share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from seg_projects.command_line import run_tool
from seg_projects.files import remove_stale_files


def prepare_label_maps(
    prepare: Callable[[Path, Path], Path],
    name: str,
    description: str | None,
    argv: Sequence[str] | None,
) -> int:
    """Parses ``argv`` (SOURCE [--output DIR]) and calls ``prepare``; returns the exit status.

    Args:
        prepare: from the publisher's folder to the output folder, which it returns.
        name: of the output folder below the data sets' root, where ``--output`` is not given.
        description: what ``--help`` says first.
        argv: the arguments; None takes those of the process.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="folder of the publisher's unpacked files")
    root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))
    parser.add_argument("--output", type=Path, default=root / name, help="default: %(default)s")
    args = parser.parse_args(argv)

    def work() -> int:
        remove_stale_files(args.output, below=True)
        sys.stdout.write(f"{prepare(args.source, args.output)}\n")
        return 0

    return run_tool(work)


def prepare_in_place(
    prepare: Callable[[Path], list[Path]],
    name: str,
    description: str | None,
    argv: Sequence[str] | None,
) -> int:
    """Parses ``argv`` ([FOLDER]), calls ``prepare`` and lists what it wrote; the exit status.

    Args:
        prepare: from the publisher's folder, into which it writes, to the files.
        name: of that folder below the data sets' root, where it is not given.
        description: what ``--help`` says first.
        argv: the arguments; None takes those of the process.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))
    parser.add_argument(
        "folder",
        type=Path,
        nargs="?",
        default=root / name,
        help="the publisher's unpacked files, beside which is written; default: %(default)s",
    )
    args = parser.parse_args(argv)

    def work() -> int:
        remove_stale_files(args.folder, below=True)
        sys.stdout.write("".join(f"{path}\n" for path in prepare(args.folder)))
        return 0

    return run_tool(work)
