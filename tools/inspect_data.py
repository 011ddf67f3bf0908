#!/usr/bin/env python
"""The data doctor: checks a COCO instances or COCO panoptic file, its images and its PNG files.

python tools/inspect_data.py my_data/train.json --against my_data/val.json
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main(argv: Sequence[str] | None = None) -> int:
    """Prints what is wrong; returns 0 without errors, 1 with, 2 for a user's mistake."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("json", type=Path, help="the annotation file")
    add("--images", type=Path, metavar="DIR", help="default: the folder of the JSON's name")
    add("--masks", type=Path, metavar="DIR", help="default: the same with _masks")
    add("--num-classes", type=int, metavar="N", help="thing classes of the config")
    add("--divisor", type=int, default=1000, help="panoptic label divisor")
    add("--against", type=Path, metavar="JSON", help="another split that must share no image")
    add("--against-images", type=Path, metavar="DIR", help="its images, if not in its own folder")
    add("--workers", type=int, default=os.cpu_count() or 1, help="threads")
    add("--examples", type=int, default=3, help="shown of each kind")
    args = parser.parse_args(argv)
    from seg_projects.data import doctor
    from seg_projects.errors import UserError

    try:
        content = doctor.read_annotations(args.json)
        other = None
        if args.against is not None:
            folder = args.against_images or args.against.with_suffix("")
            other = (doctor.read_annotations(args.against), folder)
        findings = doctor.inspect_data(
            content,
            args.images or args.json.with_suffix(""),
            args.masks or args.json.with_name(f"{args.json.stem}_masks"),
            num_classes=args.num_classes,
            divisor=args.divisor,
            other=other,
            workers=args.workers,
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(_summary(content))
    print(doctor.findings_table(findings, examples=args.examples) or "No defects found.")
    return int(doctor.has_errors(findings))


def _summary(content: dict[str, Any]) -> str:
    """How much there is, and which categories do not occur."""
    objects = [s for a in content["annotations"] for s in a.get("segments_info", [a])]
    counts = Counter(item.get("category_id") for item in objects)
    unused = [c.get("name") for c in content["categories"] if not counts[c.get("id")]]
    text = f"{len(content['images'])} images, {len(objects)} objects, "
    text += f"{len(content['categories'])} categories"
    return f"{text}; without objects: {', '.join(map(str, unused))}" if unused else text


if __name__ == "__main__":
    sys.exit(main())
