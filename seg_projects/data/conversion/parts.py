"""The parts of a converted data set: what is trained with, and what is tested with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from seg_projects.data.conversion.image_files import read_json
from seg_projects.data.conversion.output import OutputFolder
from seg_projects.data.split import assign_groups, group_of, split_coco
from seg_projects.errors import UserError
from seg_projects.files import write_atomically, write_json

Format = Literal["panoptic", "instances", "label-maps"]
TRAINING, VALIDATION = "train", "val"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some images of a data set below ``output.root``."""

    name: str
    output: OutputFolder
    """Where the images lie, and their PNG files."""
    listing: Path
    """The COCO file; of label maps, a text file of names without suffix, a line each."""

    def categories(self) -> list[dict[str, Any]]:
        """COCO's records; of label maps, ``id`` and ``name`` of each class."""
        if self.listing.suffix == ".json":
            return list(read_json(self.listing)["categories"])
        names = self.output.classes_file.read_text(encoding="utf-8").splitlines()
        return [{"id": value, "name": name} for value, name in enumerate(names)]


def written_part(output: OutputFolder, kind: Format) -> Part:
    """All that was written to ``output``."""
    return Part(name=output.name, output=output, listing=_listing(output, kind))


def _listing(output: OutputFolder, kind: Format) -> Path:
    return output.stems_file if kind == "label-maps" else output.json_file


def hold_out(
    output: OutputFolder, kind: Format, share: float, group_pattern: str | None = None
) -> list[Part]:
    """Lists what was written to ``output`` as training and as validation; files stay in place.

    The classes of COCO files are spread evenly. The same images give the same lists.

    Args:
        output: what was written.
        kind: its format.
        share: of the images for validation, in (0, 1).
        group_pattern: regular expression whose first group, found in the file name, names what
            stays together (video, patient); None makes each image its own.

    Raises:
        UserError: one of both would be empty, or the pattern does not fit a name.
    """
    shares = (1 - share, share)
    names = (TRAINING, VALIDATION)
    listing = _listing(output, kind)
    files = [listing.with_stem(name) for name in names]
    if kind == "label-maps":
        for file, stems in zip(files, _split_stems(listing, shares, group_pattern), strict=True):
            write_atomically(file, "".join(f"{stem}\n" for stem in stems).encode())
    else:
        contents = split_coco(read_json(listing), shares, group_pattern=group_pattern, seed=0)
        for file, content in zip(files, contents, strict=True):
            write_json(file, content)
    return [
        Part(name=name, output=output, listing=file)
        for name, file in zip(names, files, strict=True)
    ]


def _split_stems(
    listing: Path, shares: Sequence[float], group_pattern: str | None
) -> list[list[str]]:
    stems = listing.read_text(encoding="utf-8").splitlines()
    groups = {stem: group_of(stem, group_pattern) for stem in stems}
    sizes = Counter(groups.values())
    counts: dict[str, Counter[Any]] = {group: Counter() for group in sizes}
    places = assign_groups(counts, sizes, shares, seed=0)
    lists = [[stem for stem in stems if places[groups[stem]] == n] for n in range(len(shares))]
    if not all(lists):
        raise UserError(f"{len(sizes)} groups of {len(stems)} images do not fill 2 parts.")
    return lists


def parts_beside(output: OutputFolder, kind: Format) -> list[Part]:
    """The parts to train and to test with in the folder that ``output`` was written to.

    Training is the part ``train``, where it was converted, else this one; the test is ``val``,
    else ``test``, where one of them was.

    Raises:
        UserError: both parts have other categories.
    """
    names = [name for name in (TRAINING, output.name) if _is_there(output, name, kind)][:1]
    names += [
        name for name in (VALIDATION, "test") if name not in names and _is_there(output, name, kind)
    ][:1]
    parts = [written_part(OutputFolder(output.root, name), kind) for name in names]
    first, *others = parts
    for other in others:
        if other.categories() != first.categories():
            known = first.listing if kind != "label-maps" else first.output.classes_file
            raise UserError(
                f"{other.name!r} has other categories than {first.name!r}: convert it again with "
                f"--categories {known}."
            )
    return parts


def _is_there(output: OutputFolder, name: str, kind: Format) -> bool:
    other = OutputFolder(output.root, name)
    return other.images.is_dir() and _listing(other, kind).is_file()
