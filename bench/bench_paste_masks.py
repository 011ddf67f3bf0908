#!/usr/bin/env python
"""Pasting predicted 28 x 28 masks into images.

python bench/bench_paste_masks.py --reference-python PATH
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from _compare import Case, Tolerance, build_parser, compare
from _instances import boxes_xyxy

SIZES = ((480, 640, 100), (800, 1333, 100), (1024, 2048, 50))


def pasting(height: int, width: int, number: int) -> Callable[[], Any]:
    """Pastes ``number`` masks."""
    import torch

    from detectron2.layers import paste_masks_in_image
    from detectron2.structures import Boxes

    random = np.random.default_rng(0)
    coarse = torch.from_numpy(random.uniform(0, 1, (number, 1, 4, 4)).astype(np.float32))
    masks = torch.nn.functional.interpolate(coarse, (28, 28), mode="bilinear")[:, 0]
    boxes = Boxes(torch.from_numpy(boxes_xyxy(number, height, width)))
    return lambda: {"masks": paste_masks_in_image(masks, boxes, (height, width)).numpy()}


def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, times, prints."""
    args = build_parser(__doc__).parse_args(argv)
    cases = [
        Case(
            name=f"paste {number} masks, {width}x{height}",
            function="pasting",
            settings={"height": height, "width": width, "number": number},
            # Values that lie on the threshold up to rounding.
            tolerance=Tolerance(fraction=1e-5),
        )
        for height, width, number in ([(48, 64, 3)] if args.quick else SIZES)
    ]
    compare(__file__, cases, args)


if __name__ == "__main__":
    main()
