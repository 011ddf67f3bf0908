"""The numbers of one evaluation: printed, written as JSON or CSV, compared with thresholds."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seg_projects.errors import UserError
from seg_projects.files import write_atomically, write_json

COLUMNS = 9
"""Of a printed table: PQ, SQ and RQ of all, things and stuff are side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Metrics by name, in percent unless the name says otherwise; NaN where undefined."""

    summary: dict[str, float]
    per_category: dict[str, dict[str, float]]  # category name -> metrics
    notes: list[str] = field(default_factory=list)  # what a reader of the numbers should know
    # metric -> images, the worst first, as WorstImages.as_json gives them
    worst_images: dict[str, list[dict[str, float | int | str]]] = field(default_factory=dict)


def format_scores(scores: Scores) -> str:
    """Two tables, all categories together and one by one, then the notes."""
    from tabulate import tabulate

    parts = _tables(tabulate, [("all", scores.summary)])
    if scores.per_category:
        parts += _tables(tabulate, list(scores.per_category.items()))
    parts += [f"note: {note}" for note in scores.notes]
    return "\n\n".join(parts)


def _tables(tabulate: object, rows: Sequence[tuple[str, Mapping[str, float]]]) -> list[str]:
    """As many tables as keep each narrower than a screen."""
    assert callable(tabulate)
    columns, tables = list(rows[0][1]), []
    for first in range(0, len(columns), COLUMNS):
        shown = columns[first : first + COLUMNS]
        cells = [(name, *(values[column] for column in shown)) for name, values in rows]
        table = tabulate(cells, headers=("", *shown), tablefmt="pipe", floatfmt=".3f")
        tables.append(str(table))
    return tables


def check_output(option: str, path: Path | None) -> None:
    """Raises a UserError where ``path``, given by ``option``, cannot be a file to write."""
    if path is not None and path.is_dir():
        raise UserError(f"{option} {path} is a folder; name a file in it.")
    if path is not None and not path.parent.is_dir():
        raise UserError(f"{option} {path}: the folder {path.parent} does not exist; make it first.")


def write_scores_json(path: Path, scores: Scores) -> None:
    """``{"summary": {...}, "per_category": {...}, "notes": [...]}``; null where undefined.

    With ``"worst_images"``, where there are any.
    """
    content: dict[str, object] = {
        "summary": _floats(scores.summary),
        "per_category": {name: _floats(values) for name, values in scores.per_category.items()},
        "notes": scores.notes,
    }
    if scores.worst_images:
        content["worst_images"] = scores.worst_images
    write_json(path, content)


def write_scores_csv(path: Path, scores: Scores) -> None:
    """Lines of category, metric, value; the category of the summary is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("category", "metric", "value"))
    for name, metrics in {"": scores.summary, **scores.per_category}.items():
        writer.writerows((name, metric, repr(float(v))) for metric, v in metrics.items())
    write_atomically(path, text.getvalue().encode())


def _floats(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


def parse_threshold(text: str) -> tuple[str, float]:
    """``"PQ=40"`` as ("PQ", 40.0).

    Raises:
        UserError: it has another form.
    """
    metric, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise UserError(f"--fail-under {text!r} is not of the form METRIC=NUMBER: PQ=40.")
    return metric.strip(), number


def unmet_thresholds(scores: Scores, thresholds: Sequence[tuple[str, float]]) -> list[str]:
    """A sentence for every metric that is below its minimum, or undefined.

    A metric of one category is named CATEGORY/METRIC: ``car/AP50``.

    Raises:
        UserError: a metric is not among the scores.
    """
    values = dict(scores.summary)
    for category, metrics in scores.per_category.items():
        values |= {f"{category}/{metric}": value for metric, value in metrics.items()}
    sentences = []
    for metric, minimum in thresholds:
        if metric not in values:
            of_one = next((name for name in values if name not in scores.summary), None)
            raise UserError(
                f"--fail-under names the metric {metric!r}; there are {', '.join(scores.summary)}"
                + (f", and of one category such as {of_one}." if of_one else ".")
            )
        value = values[metric]
        if not value >= minimum:  # so that NaN fails
            sentences.append(f"{metric} is {value:.3f}, below the required {minimum:g}.")
    return sentences


class Problems:
    """Wrong inputs, collected so that all of them are named at once."""

    LISTED = 20

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def add(self, name: str, sentence: str) -> None:
        """Notes what is wrong with the file or image ``name``."""
        self.sentences.append(f"{name}: {sentence}")

    def raise_if_any(self, what: str) -> None:
        """Raises a UserError that lists the first of them."""
        if not self.sentences:
            return
        shown = self.sentences[: self.LISTED]
        if rest := len(self.sentences) - len(shown):
            shown = [*shown, f"... and {rest} more"]
        lines = "\n  ".join(shown)
        raise UserError(f"{what}: {len(self.sentences)} problem(s), nothing is scored.\n  {lines}")
