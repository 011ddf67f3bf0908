#!/usr/bin/env python
"""From detections with masks to COCO's result records: run-length encoding.

python bench/bench_rle.py --reference-python PATH
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from _compare import Case, build_parser, compare
from _instances import detections

SIZES = ((480, 640, 100), (800, 1333, 100), (1024, 2048, 50))


def encoding(height: int, width: int, number: int) -> Callable[[], Any]:
    """Encodes the detections of one image."""
    from detectron2.evaluation.coco_evaluation import instances_to_coco_json

    instances = detections(number, height, width)

    def run() -> dict[str, Any]:
        records = instances_to_coco_json(instances, 1)
        return {"json": json.dumps(records, sort_keys=True)}

    return run


def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, times, prints."""
    args = build_parser(__doc__).parse_args(argv)
    cases = [
        Case(
            name=f"{number} instances to COCO JSON, {width}x{height}",
            function="encoding",
            settings={"height": height, "width": width, "number": number},
        )
        for height, width, number in ([(48, 64, 3)] if args.quick else SIZES)
    ]
    compare(__file__, cases, args)


if __name__ == "__main__":
    main()
