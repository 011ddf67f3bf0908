#!/usr/bin/env python
r"""Shows what the network will see: training images and targets after mapper and augmentation.

python tools/visualize_data.py --config-file configs/quickstart/panoptic_fpn_shapes.yaml \
    --output output/data DATASETS.ROOT output/datasets
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from seg_projects.command_line import config_parser, read_config, run_tool
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing}")


def build_parser() -> argparse.ArgumentParser:
    """The arguments; needs no torch, so that ``--help`` is immediate."""
    parser = config_parser(__doc__, config="of the training")
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="of the files")
    parser.add_argument("--samples", type=int, default=12, help="how many images are drawn")
    parser.add_argument("--repeat", type=int, default=1, help="augmentations shown per image")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    return parser


def run(args: argparse.Namespace) -> int:
    """Writes the pictures; returns the exit status."""
    from seg_projects.engine.data_sheet import write_data_sheet
    from seg_projects.engine.setup import declare_datasets

    cfg = read_config(args)
    declare_datasets(cfg)
    page = write_data_sheet(
        cfg, args.output, num_samples=args.samples, repeats=args.repeat, seed=args.seed
    )
    print(f"Pictures: {page}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parses ``argv`` and writes the pictures; returns the exit status, 2 for a user's mistake."""
    args = build_parser().parse_args(argv)
    return run_tool(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
