#!/usr/bin/env python3
"""Prepares the stuff of COCO's panoptic annotations as label maps, panoptic_stuff_*/.

The folder holds annotations/panoptic_*.json and panoptic_*/*.png. What is written is read as
coco_2017_*_panoptic_separated and coco_2017_*_panoptic_stuffonly.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from seg_projects.data.datasets.coco_stuff import prepare_panoptic_stuff
from seg_projects.data.datasets.preparation_command import prepare_in_place


def main(argv: Sequence[str] | None = None) -> int:
    """Parses ``argv`` and writes the files; returns the exit status, 2 for a mistake."""
    return prepare_in_place(prepare_panoptic_stuff, "coco", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
