#!/usr/bin/env python3
"""Prepares the objects of PASCAL VOC 2012 as COCO instances, in annotations/.

The folder holds JPEGImages/, SegmentationClass/, SegmentationObject/ and ImageSets/Segmentation/.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from seg_projects.data.datasets.pascal_voc import prepare_voc
from seg_projects.data.datasets.preparation_command import prepare_in_place


def main(argv: Sequence[str] | None = None) -> int:
    """Parses ``argv`` and writes the files; returns the exit status, 2 for a mistake."""
    return prepare_in_place(prepare_voc, "VOC2012", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
