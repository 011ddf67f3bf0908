#!/usr/bin/env python
"""Splits a COCO panoptic or COCO instances file; images and PNG files stay where they are.

python tools/split.py my_data/all.json --parts train=0.8 val=0.1 test=0.1
python tools/split.py my_data/all.json --folds 5 --group-by '^(video[0-9]+)_'
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seg_projects.data.split import Content


def _share(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    if not name or "/" in name or not float(value) > 0:
        raise ValueError(text)
    return name, float(value)


def main(argv: Sequence[str] | None = None) -> int:
    """Writes a JSON per part; returns the exit status, 2 for a user's mistake."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("json", type=Path, help="the annotation file")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--parts", nargs="+", type=_share, metavar="NAME=SHARE", help="shares")
    kind.add_argument("--folds", type=int, metavar="K", help="foldN_train.json, foldN_val.json")
    add("--output", type=Path, metavar="DIR", help="default: the folder of the JSON")
    add("--group-by", metavar="REGEX", help="(...) in the file name: images that stay together")
    add("--seed", type=int, default=0, help="another seed, another split")
    args = parser.parse_args(argv)
    if args.folds is not None and args.folds < 2:
        parser.error(f"--folds {args.folds}: at least 2")
    from seg_projects.command_line import run_tool

    return run_tool(lambda: split(args))


def split(args: argparse.Namespace) -> int:
    """Writes the parts or folds; returns the exit status."""
    from seg_projects.data.doctor import read_annotations
    from seg_projects.data.split import split_coco
    from seg_projects.errors import UserError
    from seg_projects.files import remove_stale_files, write_json

    shares = [1.0] * args.folds if args.folds else [share for _, share in args.parts]
    folder = args.output or args.json.parent
    content = read_annotations(args.json)
    parts = split_coco(content, shares, group_pattern=args.group_by, seed=args.seed)
    names = [name for name, _ in args.parts or ()]
    files = _folds(parts) if args.folds else dict(zip(names, parts, strict=True))
    if folder / args.json.name in [folder / f"{name}.json" for name in files]:
        raise UserError(f"A part would overwrite {args.json}: choose another name.")
    folder.mkdir(parents=True, exist_ok=True)
    remove_stale_files(folder)
    for name, part in files.items():
        write_json(folder / f"{name}.json", part)
        counts = f"{len(part['images'])} images, {len(part['annotations'])} annotations"
        print(f"{folder / name}.json: {counts}")
    return 0


def _folds(parts: list[Content]) -> dict[str, Content]:
    """Each part as validation, the others as training."""
    from seg_projects.data.split import merge

    files = {}
    for number, part in enumerate(parts):
        files[f"fold{number}_train"] = merge(parts[:number] + parts[number + 1 :])
        files[f"fold{number}_val"] = part
    return files


if __name__ == "__main__":
    sys.exit(main())
