#!/usr/bin/env python3
"""Prepares Oxford-IIIT Pet (cats, dogs, background) as images and label maps.

The source holds images/*.jpg, annotations/trimaps/*.png, annotations/trainval.txt, test.txt.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from seg_projects.data.datasets.label_map_sets import prepare_pets
from seg_projects.data.datasets.preparation_command import prepare_label_maps


def main(argv: Sequence[str] | None = None) -> int:
    """Parses ``argv`` and writes the data set; returns the exit status, 2 for a mistake."""
    return prepare_label_maps(prepare_pets, "prepared_pets", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
