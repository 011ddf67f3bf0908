#!/usr/bin/env python3
"""Prepares ADE20K's 150 classes (ADEChallengeData2016) as images and label maps.

The source holds images/training, annotations/training, ..., objectInfo150.txt.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from seg_projects.data.datasets.label_map_sets import prepare_ade
from seg_projects.data.datasets.preparation_command import prepare_label_maps


def main(argv: Sequence[str] | None = None) -> int:
    """Parses ``argv`` and writes the data set; returns the exit status, 2 for a mistake."""
    return prepare_label_maps(prepare_ade, "prepared_ade", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
