"""Splits of COCO files, stratified by class, groups kept together."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seg_projects.errors import UserError

Content = dict[str, Any]


def assign_groups(
    counts: Mapping[str, Counter[Any]], sizes: Mapping[str, int], shares: Sequence[float], seed: int
) -> dict[str, int]:
    """The part of each group, by iterative stratification (Sechidis et al., ECML 2011).

    The class with the fewest groups left goes first; each of its groups goes to the part that
    lacks most of it, among those that have room: the number of images comes before the classes, so
    that a part has as many as its share says, within a group. The result depends on names, counts
    and seed, not on their order.

    Args:
        counts: objects per class of each group.
        sizes: images of each group.
        shares: of the parts, positive, with any sum.
        seed: another one gives another split.
    """
    portions = np.asarray(shares, dtype=np.float64) / sum(shares)
    totals: Counter[Any] = Counter()
    for group in counts.values():
        totals.update(group)
    wanted = {label: portions * total for label, total in totals.items()}
    room = portions * sum(sizes.values())
    left = sorted(counts, key=lambda name: _digest(seed, name))
    parts: dict[str, int] = {}
    while left:
        holders = Counter(label for name in left for label in counts[name])
        if holders:
            label = min(holders, key=lambda key: (holders[key], str(key)))
            chosen = [name for name in left if label in counts[name]]
            chosen.sort(key=lambda name: -counts[name][label])  # stable: large groups first
        else:
            label, chosen = None, list(left)
            chosen.sort(key=lambda name: -sizes[name])
        for name in chosen:
            need = wanted.get(label, room)
            part = _choose_part(sizes[name], room, need)
            parts[name] = part
            room[part] -= sizes[name]
            for key, count in counts[name].items():
                wanted[key][part] -= count
        left = [name for name in left if name not in parts]
    return parts


def _choose_part(size: int, room: np.ndarray, need: np.ndarray) -> int:
    """The part with the greatest ``need``, among those that ``size`` images more still fit into.

    Where they fit nowhere, the part with the most ``room``, which they overfill the least.
    """
    fits = room >= size
    if not fits.any():
        return int(np.lexsort((-need, -room))[0])
    return int(np.lexsort((-room, -need, ~fits))[0])


def _digest(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()


def split_coco(
    content: Content, shares: Sequence[float], *, group_pattern: str | None, seed: int
) -> list[Content]:
    """One COCO file, instances or panoptic, per share; images of a group are in one of them.

    Args:
        content: the file.
        shares: of the parts.
        group_pattern: regular expression whose first group, found in the file name, names the
            group (video, patient); None makes each image its own.
        seed: of the split.

    Raises:
        UserError: the pattern does not fit a file name, or a part stays empty.
    """
    groups = {i["id"]: group_of(i["file_name"], group_pattern) for i in content["images"]}
    counts: dict[str, Counter[Any]] = {name: Counter() for name in groups.values()}
    for annotation in content["annotations"]:
        if annotation["image_id"] in groups:
            objects = annotation.get("segments_info", [annotation])
            labels = [item["category_id"] for item in objects]
            counts[groups[annotation["image_id"]]].update(labels)
    parts = assign_groups(counts, Counter(groups.values()), shares, seed)
    members: dict[int, set[Any]] = defaultdict(set)
    for image_id, group in groups.items():
        members[parts[group]].add(image_id)
    if len(members) < len(shares):
        raise UserError(
            f"{len(counts)} groups of {len(groups)} images do not fill {len(shares)} parts."
        )
    return [_subset(content, members[part]) for part in range(len(shares))]


def merge(parts: Sequence[Content]) -> Content:
    """The images and annotations of all ``parts`` of one file."""
    joined = {key: [r for part in parts for r in part[key]] for key in ("images", "annotations")}
    return parts[0] | joined


def group_of(file_name: str, pattern: str | None) -> str:
    """What the first group of ``pattern`` finds in a name; without a pattern, the name itself.

    Raises:
        UserError: it is no regular expression, or it does not fit the name.
    """
    if pattern is None:
        return file_name
    try:
        match = re.search(pattern, file_name)
    except re.error as error:
        raise UserError(f"--group-by {pattern!r} is no regular expression: {error}.") from error
    if match is None or not match.groups():
        raise UserError(f"--group-by {pattern!r} finds no group (...) in {file_name!r}.")
    return str(match[1])


def _subset(content: Content, image_ids: set[Any]) -> Content:
    return content | {
        "images": [i for i in content["images"] if i["id"] in image_ids],
        "annotations": [a for a in content["annotations"] if a["image_id"] in image_ids],
    }
