#!/usr/bin/env python
r"""Converts annotations to COCO panoptic, COCO instances, label maps or two-channel PNG files.

python tools/convert.py labelme photos --to instances --output my_data \
    --held-out 0.2 --config-out my.yaml
python tools/convert.py labelme photos/ --output my_data --name train \
    --things car person --stuff road sky --ignore __ignore__

The second writes my_data/train/ (the images), my_data/train.json and my_data/train_masks/.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

TOOLS = (
    *("labelme", "via", "supervisely", "labelbox", "cvat", "yolo", "voc"),
    *("mask-folders", "instance-maps", "label-maps", "label-and-instance-maps", "nifti"),
    *("coco-instances", "coco-panoptic", "two-channels"),
)
FORMATS = ("panoptic", "instances", "label-maps", "two-channels")
OVERLAPS = ("later-on-top", "earlier-on-top", "smaller-on-top")
CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("tool", choices=TOOLS, help="what the annotations were made with")
    add("source", type=Path, help="its file or folder")
    add("--to", choices=FORMATS, default="panoptic", help="what is written")
    add("--output", type=Path, required=True, metavar="DIR", help="folder of the data set")
    add("--name", help="of this part: DIR/NAME/, DIR/NAME.json; train, or all with --held-out")
    choice = parser.add_argument_group(
        "classes",
        '"*" stands for all labels not listed elsewhere. Where none is named, all are things of '
        "--to instances, all are stuff of --to label-maps.",
    )
    add = choice.add_argument
    add("--things", nargs="+", default=[], metavar="LABEL", help="countable objects")
    add("--stuff", nargs="+", default=[], metavar="LABEL", help="regions: one segment per image")
    add("--ignore", nargs="+", default=[], metavar="LABEL", help="their pixels become void")
    known = "ids and names as in this COCO file; names, a line each, of label maps"
    add("--categories", type=Path, metavar="FILE", help=known)
    rules = parser.add_argument_group("rules of the panoptic format")
    add = rules.add_argument
    add("--overlap", choices=OVERLAPS, default="later-on-top", help="which object is seen")
    add("--unlabelled", metavar="STUFF", help="class of pixels without object; default: void")
    reading = parser.add_argument_group("what the files do not say")
    add = reading.add_argument
    add("--images", type=Path, metavar="DIR", help="the images, where they lie elsewhere")
    add("--instances", type=Path, metavar="DIR", help="the instance maps beside the label maps")
    add("--class-attribute", metavar="NAME", help="VIA: region attribute that holds the class")
    add("--default-label", metavar="LABEL", help="of objects that carry none")
    add("--names", type=Path, metavar="FILE", help="class names: a line each, or JSON")
    add("--strict", action="store_true", help="exit with 1 if anything was left out")
    training = parser.add_argument_group("training")
    add = training.add_argument
    share = "list this share of the images, 0.2 say, in val, the others in train"
    add("--held-out", type=float, metavar="SHARE", help=share)
    add("--group-by", metavar="REGEX", help="(...) in the file name: images that stay together")
    add("--config-out", type=Path, metavar="YAML", help="write a config that trains with the set")
    base = "the config that it starts from; default: a small model, without weights"
    add("--config-base", type=Path, metavar="YAML", help=base)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Converts; returns the exit status: 1 for notes under --strict, 2 for a user's mistake."""
    args = parse_arguments(argv)
    from seg_projects.command_line import run_tool

    return run_tool(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Reads, writes and prints what was left out; returns the exit status."""
    from seg_projects.data.conversion import ConversionLog
    from seg_projects.data.conversion.command import convert, describe_training
    from seg_projects.errors import UserError

    log = ConversionLog()
    try:
        written = convert(args, log)
        following = describe_training(args, CONFIGS)
    except UserError:
        if table := log.table():
            print(table, file=sys.stderr)
        raise
    print(log.table() or "Nothing was left out.")
    print(f"Written: {written}")
    print(following, end="")
    return int(args.strict and bool(log.entries))


if __name__ == "__main__":
    sys.exit(main())
