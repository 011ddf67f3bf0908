#!/usr/bin/env python3
"""Prepares Cityscapes: panoptic and instance annotations, and maps of train ids.

The folder holds leftImg8bit/ and gtFine/ with labelIds and instanceIds. What is written lies in
gtFine/, under the names of cityscapesScripts: Detectron2's cityscapes_fine_* read it, too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from seg_projects.data.datasets.cityscapes import prepare_cityscapes
from seg_projects.data.datasets.preparation_command import prepare_in_place


def main(argv: Sequence[str] | None = None) -> int:
    """Parses ``argv`` and writes the files; returns the exit status, 2 for a mistake."""
    return prepare_in_place(prepare_cityscapes, "cityscapes", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
