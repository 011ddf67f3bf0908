#!/usr/bin/env python3
"""Prepares COCO-Stuff as pairs of maps (classes, instances) in COCO's panoptic format.

The source holds {train,val}_{img,label,inst}/, as image synthesis uses them. The label maps that
COCO-Stuff publishes need no preparation.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from seg_projects.data.datasets.coco_stuff import prepare_pairs
from seg_projects.data.datasets.preparation_command import prepare_label_maps


def main(argv: Sequence[str] | None = None) -> int:
    """Parses ``argv`` and writes the data set; returns the exit status, 2 for a mistake."""
    return prepare_label_maps(prepare_pairs, "prepared_coco_stuff", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
