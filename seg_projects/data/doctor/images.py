"""Checks of the categories, the image records and the image files."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from seg_projects.data.conversion.image_files import is_turned
from seg_projects.data.doctor.findings import Finding, Record
from seg_projects.data.doctor.near_duplicates import fingerprint


def repeated(values: Iterable[Any]) -> list[Any]:
    """The values that occur more than once, in the order of their first repetition."""
    seen: set[Any] = set()
    twice: dict[Any, None] = {}
    for value in values:
        if value in seen:
            twice[value] = None
        seen.add(value)
    return list(twice)


def is_whole(value: object) -> bool:
    """Whether ``value`` is an integer, not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_categories(
    categories: Sequence[Record], *, panoptic: bool, num_classes: int | None
) -> Iterator[Finding]:
    """Ids, names, ``isthing``, and the number of thing classes that a config expects."""
    if not categories:
        yield Finding("no categories", "categories", "the list is empty")
    for record in categories:
        valid = is_whole(record.get("id")) and isinstance(record.get("name"), str)
        if not valid or record["id"] < int(panoptic):
            yield Finding("malformed category", str(record), "needs a number 'id' and a 'name'")
        elif panoptic and record.get("isthing") not in (0, 1):
            yield Finding("malformed category", record["name"], "'isthing' is neither 0 nor 1")
    for value in repeated(record.get("id") for record in categories):
        yield Finding("duplicate category id", "categories", f"id {value} occurs again")
    for value in repeated(record.get("name") for record in categories):
        yield Finding("duplicate category name", "categories", f"{value!r} occurs again")
    things = sum(1 for record in categories if record.get("isthing", 1))
    if num_classes is not None and things != num_classes:
        text = f"{things} thing categories, the config has {num_classes} classes"
        yield Finding("class count", "categories", text)


def check_image_records(images: Sequence[Record]) -> Iterator[Finding]:
    """Fields, ids and file names of the image records."""
    for number, record in enumerate(images):
        if not is_sound_image(record):
            text = "needs 'id', 'file_name', and positive 'height' and 'width'"
            yield Finding("malformed image record", f"images[{number}]", text)
    for value in repeated(record.get("id") for record in images):
        yield Finding("duplicate image id", "images", f"id {value} occurs again")
    for value in repeated(record.get("file_name") for record in images):
        yield Finding("duplicate file name", "images", f"{value} occurs again")


def sound_images(content: Record) -> dict[Any, Record]:
    """The image records that have their fields, by id."""
    return {record["id"]: record for record in content["images"] if is_sound_image(record)}


def is_sound_image(record: Record) -> bool:
    """Whether an image record has its fields, so that it can be checked further."""
    sizes = (record.get("height"), record.get("width"))
    positive = all(is_whole(size) and size > 0 for size in sizes if size is not None)
    named = isinstance(record.get("file_name"), str) and "id" in record
    return named and positive and None not in sizes


class CheckedFile(NamedTuple):
    """One decoded file."""

    findings: list[Finding]
    digest: str | None = None
    """Of its content, where it could be read."""
    color: tuple[float, ...] | None = None
    """Mean red, green and blue, in [0, 255], where it could be decoded."""
    fingerprint: bytes | None = None
    """Of the picture, see :mod:`near_duplicates`; None where it is nearly of one colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What was seen of the images of a data set, all by file name or giving one."""

    names: dict[str, str] = field(default_factory=dict)
    """By digest of the content; the first one of each."""
    colors: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Mean red, green, blue, in [0, 255]."""
    fingerprints: dict[str, bytes] = field(default_factory=dict)
    """Of the first one of each content."""


def check_image_files(
    images: Sequence[Record], folder: Path, facts: ImageFacts, *, workers: int
) -> Iterator[Finding]:
    """Each file decoded once, beside each other in ``workers`` threads; fills ``facts``."""

    def check(record: Record) -> CheckedFile:
        return check_image_file(folder / record["file_name"], record)

    sound = [record for record in images if is_sound_image(record)]
    for record, checked in zip(sound, in_threads(check, sound, workers), strict=True):
        name = record["file_name"]
        yield from (finding._replace(image=name) for finding in checked.findings)
        if checked.color is not None:
            facts.colors[name] = checked.color
        if checked.digest is None:
            continue
        first = facts.names.setdefault(checked.digest, name)
        if first != name:
            text = f"the same content as {first}"
            yield Finding("duplicate image", name, text, image=name, beside=folder / first)
        elif checked.fingerprint is not None:
            facts.fingerprints[name] = checked.fingerprint


def in_threads(function: Callable[[Any], Any], items: Sequence[Any], workers: int) -> Iterator[Any]:
    """``function`` of each item, in order; decoding images releases the interpreter's lock."""
    with ThreadPoolExecutor(max_workers=workers) as pool:
        yield from pool.map(function, items)


def check_image_file(path: Path, record: Record) -> CheckedFile:
    """What one file is like, beside its record."""
    name = record["file_name"]
    try:
        content = path.read_bytes()
    except OSError:
        return CheckedFile([Finding("missing image", name, f"{path} does not exist")])
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    try:
        with Image.open(io.BytesIO(content)) as image:
            height, width = image.height, image.width
            size = (width, height) if is_turned(image) else (height, width)
            findings = check_size(record, size, lambda: (height, width))
            try:
                image.load()
                return CheckedFile(findings, digest, _mean_color(image), fingerprint(image))
            except (OSError, SyntaxError, ValueError) as error:
                findings.append(Finding("truncated image", name, str(error)))
                return CheckedFile(findings, digest)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        return CheckedFile([Finding("unreadable image", name, str(error))], digest)


def check_size(
    record: Record, size: tuple[int, int], stored: Callable[[], tuple[int, int]]
) -> list[Finding]:
    """At most one finding about an image of ``size`` (H, W) as shown, ``stored`` before EXIF."""
    stated = (record["height"], record["width"])
    if stated == size:
        return []
    turned = stated == size[::-1] and size != stored()
    kind = "size before EXIF rotation" if turned else "size mismatch"
    text = f"JSON {stated[1]} x {stated[0]}, image {size[1]} x {size[0]} pixels"
    return [Finding(kind, record["file_name"], text)]


def _mean_color(image: Image.Image) -> tuple[float, ...]:
    """Of a thousand pixels on a grid: reading all of them costs as much as decoding."""
    small = image.resize((32, 32), Image.Resampling.NEAREST)
    if small.mode.startswith("I"):  # 16 bits
        grey = np.asarray(small, dtype=np.float64).mean() / 257
        return (grey, grey, grey)
    return tuple(np.asarray(small.convert("RGB")).reshape(-1, 3).mean(axis=0).tolist())


def check_splits(
    names: Mapping[str, str], others: Mapping[str, str], folder: Path
) -> Iterator[Finding]:
    """Images whose content occurs in another split, too.

    Args:
        names: file name by digest.
        others: those of the other split.
        folder: of its files.
    """
    for digest, name in names.items():
        if other := others.get(digest):
            text = f"the same content as {other} of the other split"
            yield Finding("image in two splits", name, text, image=name, beside=folder / other)
