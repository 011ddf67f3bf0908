#!/usr/bin/env python3
"""Prepares ADE20K's 150 classes (ADEChallengeData2016) as images and label maps.

The source holds images/training, annotations/training, ..., objectInfo150.txt.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from seg_projects.data.datasets.label_map_sets import prepare_ade
from seg_projects.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Parses ``argv`` and writes the data set; returns the exit status, 2 for a mistake."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="folder of the publisher's unpacked files")
    root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))
    parser.add_argument(
        "--output", type=Path, default=root / "prepared_ade", help="default: %(default)s"
    )
    args = parser.parse_args(argv)
    try:
        print(prepare_ade(args.source, args.output))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
