#!/usr/bin/env python
"""The data doctor: checks a COCO instances or panoptic file, label or class masks, and images.

python tools/inspect_data.py my_data/train.json --against my_data/val.json
python tools/inspect_data.py my_data/images --labels my_data/labels --num-classes 3
python tools/inspect_data.py my_data/images --class-masks my_data/masks --classes road,marking
python tools/inspect_data.py my_data/nuclei --tool mask-folders
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from seg_projects.data.doctor import Converted


def build_parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("json", type=Path, help="the annotation file; with --labels, the folder of the images")
    add("--tool", metavar="TOOL", help="it is what tools/convert.py calls so: mask-folders, ...")
    add("--labels", type=Path, metavar="DIR", help="label maps, of the images' names")
    add("--class-masks", type=Path, metavar="DIR", help="of CLASS/NAME.png or NAME/CLASS.png")
    add("--classes", metavar="NAMES", help="of the class masks, with commas between")
    help_text = "value that does not count; of label maps 255, of class masks none"
    add("--ignore-label", type=int, help=help_text)
    add("--images", type=Path, metavar="DIR", help="default: the folder of the JSON's name")
    add("--masks", type=Path, metavar="DIR", help="default: the same with _masks")
    add("--num-classes", type=int, metavar="N", help="classes of the config; of things")
    add("--divisor", type=int, default=1000, help="panoptic label divisor")
    add("--against", type=Path, metavar="JSON", help="another split that must share no image")
    add("--against-images", type=Path, metavar="DIR", help="its images; enough for label maps")
    add("--mirrored", action="store_true", help="mirror images are near-duplicates, too")
    add("--workers", type=int, default=os.cpu_count() or 1, help="threads")
    add("--examples", type=int, default=3, help="shown of each kind")
    add("--html", type=Path, metavar="FILE", help="write a page: findings, samples, statistics")
    add(
        "--fix",
        type=Path,
        metavar="JSON",
        help="write a new file with areas, boxes and isthing as pixels and categories say",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Prints what is wrong; returns 0 without errors, 1 with, 2 for a user's mistake."""
    args = build_parser().parse_args(argv)
    from seg_projects.command_line import run_tool

    return run_tool(lambda: inspect(args))


def inspect(args: argparse.Namespace) -> int:
    """What the arguments ask for; returns the exit status."""
    from seg_projects.data import doctor

    of_pixels = args.labels is not None or args.class_masks is not None
    inspected = _inspect_pixels(args) if of_pixels else _inspect_objects(args)
    statistics = doctor.data_statistics(inspected.content, inspected.colors)
    print("\n".join([statistics.summary(), *statistics.lines()]))
    findings = inspected.findings
    print(doctor.findings_table(findings, examples=args.examples) or "No defects found.")
    if args.html is not None:
        from seg_projects.visualization.data_page import DataPage, write_data_page
        from seg_projects.visualization.data_samples import annotated_samples

        samples = annotated_samples(
            inspected.content,
            inspected.images,
            inspected.masks,
            findings,
            label_table=inspected.label_table,
        )
        title = f"{args.json.name}: data"
        page = DataPage(
            title=title,
            findings=findings,
            statistics=statistics,
            images=inspected.images,
            samples=samples,
        )
        print(f"Written: {write_data_page(args.html, page)}")
    if args.fix is not None:
        _write_corrected(args.fix, inspected.content, inspected.masks)
    return int(doctor.has_errors(findings))


class Inspected(NamedTuple):
    """Data of any kind, and what is wrong with them."""

    content: dict[str, Any]
    """As of a COCO file."""
    images: Path
    masks: Path
    findings: list[Any]
    colors: dict[str, tuple[float, ...]]
    label_table: np.ndarray | None = None
    """Of label maps: value in the file -> class."""


def _inspect_objects(args: argparse.Namespace) -> Inspected:
    from seg_projects.data import doctor

    images = args.images or args.json.with_suffix("")
    if args.tool is None:
        content, before = doctor.read_annotations(args.json), list[doctor.Finding]()
    else:
        content, images, before = _read_tool(args)
    masks = args.masks or args.json.with_name(f"{args.json.stem}_masks")
    other = None
    if args.against is not None:
        folder = args.against_images or args.against.with_suffix("")
        other = (doctor.read_annotations(args.against), folder)
    facts = doctor.ImageFacts()
    findings = before + doctor.inspect_data(
        content,
        images,
        masks,
        num_classes=args.num_classes,
        divisor=args.divisor,
        other=other,
        workers=args.workers,
        mirror=args.mirrored,
        facts=facts,
    )
    return Inspected(content, images, masks, findings, facts.colors)


def _inspect_pixels(args: argparse.Namespace) -> Inspected:
    from seg_projects.data import doctor
    from seg_projects.errors import UserError

    if args.fix is not None or args.against is not None:
        raise UserError("--fix and --against are for annotation files; use --against-images.")
    for path in filter(None, (args.json, args.labels, args.class_masks, args.against_images)):
        if not path.is_dir():
            raise UserError(f"{path} is no folder.")
    facts = doctor.ImageFacts()
    areas: list[dict[str, Any]] = []
    inspect = _inspect_label_maps if args.labels is not None else _inspect_class_masks
    records, names, table, findings = inspect(
        args,
        other=args.against_images,
        workers=args.workers,
        mirror=args.mirrored,
        facts=facts,
        areas=areas,
    )
    content = {
        "images": doctor.image_records(records),
        "annotations": areas,
        "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
    }
    masks = args.labels or args.class_masks
    return Inspected(content, args.json, masks, findings, facts.colors, table)


class InspectedPixels(NamedTuple):
    """Records with their findings."""

    records: list[dict[str, Any]]
    names: list[str]
    table: np.ndarray
    findings: list[Any]


def _inspect_label_maps(args: argparse.Namespace, **options: Any) -> InspectedPixels:
    from seg_projects.data import doctor
    from seg_projects.data.label_maps import IGNORED, class_table
    from seg_projects.errors import UserError

    if args.num_classes is None:
        raise UserError("Label maps need --num-classes: their values are 0 to N - 1.")
    ignored = IGNORED if args.ignore_label is None else args.ignore_label
    table = class_table(args.num_classes, value_map=None, ignore_label=ignored)
    records, before = doctor.match_label_maps(args.json, args.labels)
    if not records and not before:
        raise UserError(f"{args.json} holds no images.")
    findings = before + doctor.inspect_label_maps(records, table, **options)
    names = [f"class {i}" for i in range(args.num_classes)]
    return InspectedPixels(records, names, table, findings)


def _inspect_class_masks(args: argparse.Namespace, **options: Any) -> InspectedPixels:
    from seg_projects.data import doctor
    from seg_projects.data.class_masks import check_class_names, mask_table
    from seg_projects.errors import UserError

    if not args.classes:
        raise UserError("--class-masks needs --classes: their names, with commas between.")
    names = [name.strip() for name in args.classes.split(",")]
    check_class_names(names)
    table = mask_table(args.ignore_label)
    records, before = doctor.match_class_masks(args.json, args.class_masks, names)
    if not records and not before:
        raise UserError(f"{args.json} holds no images.")
    findings = before + doctor.inspect_class_masks(records, table, names, **options)
    return InspectedPixels(records, names, table, findings)


def _read_tool(args: argparse.Namespace) -> Converted:
    """What a conversion would make of the files of an annotation tool, and what it would lack."""
    from seg_projects.data.conversion import READERS, ReaderOptions
    from seg_projects.data.doctor import read_converted
    from seg_projects.errors import UserError

    if args.tool not in READERS:
        raise UserError(f"--tool {args.tool!r} is unknown; known are {', '.join(READERS)}.")
    if not args.json.exists():
        raise UserError(f"{args.json} does not exist.")
    options = ReaderOptions(images=args.images, default_label="object")
    return read_converted(args.tool, args.json, options)


def _write_corrected(path: Path, content: dict[str, Any], masks: Path) -> None:
    from seg_projects.data.doctor import corrected
    from seg_projects.errors import UserError
    from seg_projects.files import write_json

    if path.exists():
        raise UserError(f"--fix {path} exists already: name a new file.")
    new, changed = corrected(content, masks)
    write_json(path, new)
    text = ", ".join(f"{count} {field}" for field, count in sorted(changed.items()))
    print(f"Written: {path}; set {text or 'nothing'}")


if __name__ == "__main__":
    sys.exit(main())
