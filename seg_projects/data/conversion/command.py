"""What ``tools/convert.py`` does with its arguments."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path

from seg_projects.data.conversion.annotated import ConversionLog, ReaderOptions
from seg_projects.data.conversion.categories import ALL_OTHERS, CategoryChoice
from seg_projects.data.conversion.coco_instances import write_coco_instances
from seg_projects.data.conversion.coco_panoptic import write_coco_panoptic
from seg_projects.data.conversion.image_files import list_images, read_names
from seg_projects.data.conversion.label_maps import write_label_maps
from seg_projects.data.conversion.output import OutputFolder
from seg_projects.data.conversion.parts import Part, hold_out, parts_beside
from seg_projects.data.conversion.readers import READERS, known_categories
from seg_projects.data.conversion.training_config import config_text, declaration, yaml_text
from seg_projects.data.conversion.two_channels import write_two_channels
from seg_projects.errors import UserError
from seg_projects.files import write_atomically

NIFTI_VOLUME = r"^(.*)_[0-9]+"  # of the names that slices have


def convert(args: argparse.Namespace, log: ConversionLog) -> Path:
    """Reads ``args.source``, writes ``args.output``; returns the file that describes the rest.

    Raises:
        UserError: something in the arguments or in the source has to be put right.
    """
    _check(args)
    options = ReaderOptions(
        images=args.images,
        part=args.name,
        class_attribute=args.class_attribute,
        default_label=args.default_label,
        instances=args.instances,
        names=args.names or (args.categories if args.tool == "two-channels" else None),
    )
    choice = _choice(args, options)
    _output(args).remove_stale()
    images = READERS[args.tool](args.source, options, log)
    if args.to == "instances":
        return write_coco_instances(images, choice, _output(args), log)
    write: Callable[..., Path] = {
        "panoptic": write_coco_panoptic,
        "label-maps": write_label_maps,
        "two-channels": write_two_channels,
    }[args.to]
    rules = {"overlap": args.overlap, "unlabelled": args.unlabelled}
    return write(images, choice, _output(args), log, **rules)


def _check(args: argparse.Namespace) -> None:
    """Raises before anything is written."""
    if not args.source.exists():
        raise UserError(f"{args.source} does not exist.")
    if args.name is not None and Path(args.name).name != args.name:
        raise UserError(f"--name {args.name} is no name of a folder below --output.")
    if args.held_out is not None and not 0 < args.held_out < 1:
        raise UserError(f"--held-out {args.held_out}: a share of the images, between 0 and 1.")
    if args.held_out is not None and args.name in ("train", "val"):
        raise UserError(f"--name {args.name} is one of the parts that --held-out lists.")
    if args.to == "two-channels" and (args.held_out is not None or args.config_out is not None):
        raise UserError("Two-channel files are no format to train with: choose another --to.")
    if args.config_out is not None and args.config_out.exists():
        raise UserError(f"{args.config_out} exists: remove it, or name another --config-out.")
    if args.config_base is not None and not args.config_base.is_file():
        raise UserError(f"--config-base {args.config_base} does not exist.")


def _output(args: argparse.Namespace) -> OutputFolder:
    return OutputFolder(args.output, args.name or ("train" if args.held_out is None else "all"))


def _choice(args: argparse.Namespace, options: ReaderOptions) -> CategoryChoice:
    listed = args.categories or (args.source if args.tool.startswith("coco-") else None)
    things, stuff = list(args.things), list(args.stuff)
    if not (things or stuff or listed):
        things += [ALL_OTHERS] if args.to == "instances" else []
        stuff += [ALL_OTHERS] if args.to == "label-maps" else []
    choice = CategoryChoice(
        things=things,
        stuff=stuff,
        ignored=args.ignore,
        known=known_categories(listed) if listed else (),
    )
    if args.to in ("label-maps", "two-channels") and ALL_OTHERS in (*things, *stuff):
        return choice.spelled_out(_labels(args, options))
    return choice


def _labels(args: argparse.Namespace, options: ReaderOptions) -> list[str]:
    """Every label: that of unlabelled pixels, those of a file of names, the others by alphabet."""
    first = [args.unlabelled] if args.unlabelled else []
    if args.names is not None and args.names.suffix not in (".yaml", ".yml"):
        first += read_names(args.names).values()
    images = READERS[args.tool](args.source, options, ConversionLog())
    return first + sorted({item.label for image in images for item in image.objects})


def _held_out(args: argparse.Namespace, output: OutputFolder) -> list[Part]:
    # Slices of one volume are alike: they stay together.
    pattern = args.group_by or (NIFTI_VOLUME if args.tool == "nifti" else None)
    return hold_out(output, args.to, args.held_out, pattern)


def describe_training(args: argparse.Namespace, configs: Path) -> str:
    """Splits what was written, writes ``args.config_out``; returns what to do next, as text.

    Args:
        args: those of the command line, after :func:`convert`.
        configs: the folder of the configs to start from.

    Raises:
        UserError: the images do not fill two parts, or there is nothing to train for.
    """
    if args.to == "two-channels":
        return ""
    output = _output(args)
    held_out = None if args.held_out is None else _held_out(args, output)
    file = args.config_out
    if file is None:
        try:
            content = declaration(held_out or parts_beside(output, args.to), args.to)
        except UserError as error:
            return f"No config fits yet: {error}\n"
        return f"For a config that trains with it:\n\n{yaml_text(content)}"
    parts = held_out or parts_beside(output, args.to)
    text = config_text(parts, args.to, configs=configs, base=args.config_base, file=file)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, text.encode())
    # Images of some tools lie in subfolders, and a folder stands for the images right in it.
    pictures = list_images(output.images)[0].parent
    return (
        f"Written: {file}\nNext:\n"
        f"  python tools/train_net.py --config-file {shlex.quote(str(file))}\n"
        f"  python tools/predict.py --config-file output/{file.stem}/config.yaml "
        f"--input {shlex.quote(str(pictures))} --output output/{file.stem}_predictions\n"
    )
