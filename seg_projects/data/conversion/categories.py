"""The choice of things and stuff, and the category records that follow from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from seg_projects.data.conversion.annotated import Record
from seg_projects.errors import UserError

Role = Literal["thing", "stuff", "ignored"]
ALL_OTHERS = "*"


@dataclass(slots=True, kw_only=True)
class CategoryChoice:
    """Which labels are things, stuff or ignored; counts those that are none of these."""

    things: Sequence[str] = ()
    """Labels of things; ``"*"`` stands for all labels that are not listed elsewhere."""
    stuff: Sequence[str] = ()
    """Labels of stuff; ``"*"`` as for things."""
    ignored: Sequence[str] = ()
    """Labels whose pixels become void."""
    known: Sequence[Record] = ()
    """Category records of another file; they keep their ids and, unless listed, their kind."""
    unknown: Counter[str] = field(default_factory=Counter)
    _others: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Checks that no label has two roles.

        Raises:
            UserError: one has.
        """
        listed = Counter([*self.things, *self.stuff, *self.ignored])
        if twice := [label for label, count in listed.items() if count > 1]:
            raise UserError(
                f"The label {twice[0]!r} is listed more than once in things, stuff and ignored."
            )

    def role(self, label: str) -> Role | None:
        """What ``label`` is; None, and counted as unknown, where nothing says it."""
        roles: tuple[tuple[Role, Sequence[str]], ...] = (
            ("thing", self.things),
            ("stuff", self.stuff),
            ("ignored", self.ignored),
        )
        for role, labels in roles:
            if label in labels:
                return role
        for record in self.known:
            if record["name"] == label:
                return "thing" if record.get("isthing", 1) else "stuff"
        for role, labels in roles:
            if ALL_OTHERS in labels:
                self._others.add(label)
                return role
        self.unknown[label] += 1
        return None

    def spelled_out(self, labels: Iterable[str]) -> CategoryChoice:
        """The same choice with those of ``labels`` that ``"*"`` stands for, in their order."""
        listed = {*self.things, *self.stuff, *self.ignored, *(r["name"] for r in self.known)}
        others = [label for label in dict.fromkeys(labels) if label not in listed]

        def spell(chosen: Sequence[str]) -> list[str]:
            named = [label for label in chosen if label != ALL_OTHERS]
            return named + (others if ALL_OTHERS in chosen else [])

        return CategoryChoice(
            things=spell(self.things),
            stuff=spell(self.stuff),
            ignored=spell(self.ignored),
            known=self.known,
        )

    def require_stuff(self, unlabelled: str | None) -> None:
        """Raises if the class of pixels without an object is given and no stuff.

        Raises:
            UserError: it names the class.
        """
        if unlabelled is not None and self.role(unlabelled) != "stuff":
            raise UserError(f"--unlabelled {unlabelled} names no stuff class: add it to --stuff.")

    def raise_for_unknown(self) -> None:
        """Raises if a label had no role.

        Raises:
            UserError: names them with their counts.
        """
        if self.unknown:
            listed = ", ".join(f"{label!r} ({n})" for label, n in self.unknown.most_common())
            raise UserError(
                f"These labels are neither things nor stuff nor ignored: {listed}. Name them in "
                '--things, --stuff or --ignore; "*" in one of these stands for all others.'
            )

    def records(self) -> list[Record]:
        """``id``, ``name``, ``isthing`` of each category: the known ones, then things, stuff.

        Complete only after all labels were seen: ``"*"`` adds them in alphabetical order.
        """
        roles = [(record, self.role(record["name"])) for record in self.known]
        records = [dict(r, isthing=int(role == "thing")) for r, role in roles if role != "ignored"]
        names = {r["name"] for r in records}
        next_id = max((r["id"] for r in self.known), default=0) + 1
        for isthing, labels in ((1, self.things), (0, self.stuff)):
            listed = [label for label in labels if label != ALL_OTHERS]
            if ALL_OTHERS in labels:
                listed += sorted(self._others)
            for label in listed:
                if label not in names:
                    records.append({"id": next_id, "name": label, "isthing": isthing})
                    next_id += 1
        return records
