"""What the data doctor finds: kinds of defects, how grave each is, and where they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tabulate import tabulate

Severity = Literal["error", "warning"]
Record = dict[str, Any]

# Errors break a training or falsify its numbers; warnings are likely mistakes.
KINDS: dict[str, Severity] = {
    "no categories": "error",
    "malformed category": "error",
    "duplicate category id": "error",
    "duplicate category name": "warning",
    "class count": "error",
    "malformed image record": "error",
    "duplicate image id": "error",
    "duplicate file name": "error",
    "missing image": "error",
    "unreadable image": "error",
    "truncated image": "error",
    "size mismatch": "error",
    "size before EXIF rotation": "error",
    "duplicate image": "warning",
    "image in two splits": "error",
    "near-duplicate image": "warning",
    "near-duplicate in two splits": "warning",
    "malformed annotation": "error",
    "duplicate annotation id": "error",
    "annotation without image": "error",
    "unknown category": "error",
    "malformed box": "error",
    "box outside image": "warning",
    "box differs from mask": "warning",
    "wrong area": "warning",
    "degenerate polygon": "error",
    "polygon outside image": "warning",
    "empty mask": "error",
    "run lengths of another size": "error",
    "corrupt run lengths": "error",
    "crowd with polygons": "error",
    "invalid iscrowd": "error",
    "duplicate annotation": "warning",
    "overlapping annotations": "warning",
    "image without annotation": "error",
    "image annotated twice": "error",
    "missing PNG": "error",
    "unreadable PNG": "error",
    "PNG without colour": "error",
    "PNG of another size": "error",
    "segment id out of range": "error",
    "duplicate segment id": "error",
    "segment not in PNG": "error",
    "segment not in JSON": "error",
    "wrong segment area": "error",
    "wrong segment box": "warning",
    "contradicting isthing": "error",
    "stuff in several segments": "warning",
    "more instances than the divisor": "error",
    "missing label map": "error",
    "unreadable label map": "error",
    "label map of another size": "error",
    "label value without class": "error",
    "images in a subfolder": "warning",
    "missing class mask": "error",
    "unreadable class mask": "error",
    "class mask of another size": "error",
    "value in a class mask": "error",
    "class without pixels": "warning",
    "gap in label values": "warning",
    "single class": "warning",
    "left out by the reader": "error",
}


class Finding(NamedTuple):
    """One defect."""

    kind: str
    where: str
    text: str
    image: str | None = None
    """File name of the image that shows it, if there is one."""
    shape: Record | None = None
    """What to draw there: a ``bbox`` and perhaps a ``segmentation``, as in COCO."""
    beside: Path | None = None
    """Another image, with which it is to be compared."""

    @property
    def severity(self) -> Severity:
        """How grave it is."""
        return KINDS[self.kind]


def has_errors(findings: Iterable[Finding]) -> bool:
    """Whether any finding is an error."""
    return any(finding.severity == "error" for finding in findings)


def findings_table(findings: Iterable[Finding], *, examples: int = 3) -> str:
    """A row per kind, errors first, with the first ``examples`` of each; "" without findings."""
    by_kind: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_kind[finding.kind].append(finding)
    if not by_kind:
        return ""
    rows = []
    for kind in (kind for kind in KINDS if kind in by_kind):
        found = by_kind[kind]
        shown = [f"{f.where}: {f.text}" for f in found[:examples]]
        if len(found) > examples:
            shown.append(f"... and {len(found) - examples} more")
        rows.append((KINDS[kind], kind, len(found), "\n".join(shown)))
    rows.sort(key=lambda row: row[0])
    return tabulate(rows, headers=("", "defect", "number", "where"), tablefmt="simple")
