#!/usr/bin/env python3
"""Writes the shapes data set: synthetic scenes in COCO's panoptic format, for a first training."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from seg_projects.data.datasets.shapes import prepare_shapes
from seg_projects.errors import UserError


def main(argv: Sequence[str] | None = None) -> None:
    """Parses ``argv`` and writes the data set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(os.environ.get("DETECTRON2_DATASETS", "datasets")),
        help="folder of the data sets; the files go to ROOT/shapes",
    )
    parser.add_argument("--num-train", type=int, default=400, help="training scenes")
    parser.add_argument("--num-val", type=int, default=50, help="validation scenes")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        default=(128, 160),
        metavar=("HEIGHT", "WIDTH"),
        help="size of each image in pixels",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the whole data set")
    args = parser.parse_args(argv)
    height, width = args.size
    try:
        folder = prepare_shapes(
            args.root,
            num_train=args.num_train,
            num_val=args.num_val,
            size=(height, width),
            seed=args.seed,
        )
    except UserError as error:
        parser.error(str(error))
    print(folder)


if __name__ == "__main__":
    main()
