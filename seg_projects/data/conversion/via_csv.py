"""The CSV exports of VGG Image Annotator as what its JSON files of the same version hold."""

from __future__ import annotations

import csv
import io
import json
import mimetypes
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from seg_projects.data.conversion.annotated import MALFORMED, ConversionLog, Record
from seg_projects.data.conversion.via_3 import AUDIO, IMAGE, VIDEO
from seg_projects.errors import UserError

_COLUMNS_2 = ("filename", "file_size", "region_shape_attributes", "region_attributes")
_COLUMNS_3 = ("file_list", "temporal_coordinates", "spatial_coordinates", "metadata")
_MEDIA = {VIDEO: "video", AUDIO: "audio"}
_LONGEST_CELL = 2**31 - 1  # characters: a polygon may be longer than Python's limit


def read_via_csv(file: Path, log: ConversionLog) -> Record:
    """The content of a CSV export; rows that cannot be read are noted in ``log``.

    Raises:
        UserError: it is no CSV export of VIA, or one without regions.
    """
    try:
        lines = list(io.StringIO(file.read_bytes().decode("utf-8-sig"), newline=""))
    except FileNotFoundError:
        raise UserError(f"{file} does not exist.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as UTF-8: {error}.") from error
    if lines and lines[0].startswith("# Exported using VGG Image Annotator"):
        return _content_3(file, lines, log)
    # Version 1 begins its header with "#"; spreadsheets of some countries save semicolons.
    header = lines[0].strip().lstrip("#").replace('"', "") if lines else ""
    delimiter = ";" if "filename;" in header else ","
    columns = header.split(delimiter)
    if not set(_COLUMNS_2) <= set(columns):
        raise UserError(
            f"{file} is no CSV export of VIA: its first line lacks {', '.join(_COLUMNS_2)}."
        )
    content: Record = {}
    _each_row(partial(_add_2, content), file, lines[1:], columns, log, delimiter)
    return content


def _content_3(file: Path, lines: Sequence[str], log: ConversionLog) -> Record:
    """Of version 3, whose header is a comment, as are the definitions of the attributes."""
    comments = [line[1:].strip().partition(" = ") for line in lines if line.startswith("#")]
    stated = {name: text for name, _, text in comments}
    columns = stated.get("CSV_HEADER", "").split(",")
    if not set(_COLUMNS_3) <= set(columns):
        raise UserError(
            f"{file} is an export of VIA 3 without regions: export the annotations as "
            "'VIA3 CSV', or save the project as JSON."
        )
    content: Record = {"file": {}, "view": {}, "metadata": {}}
    try:
        content["attribute"] = json.loads(stated.get("ATTRIBUTE", "{}"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: its line '# ATTRIBUTE = ' is no JSON: {error}.") from error
    rows = [line for line in lines if not line.startswith("#")]
    _each_row(partial(_add_3, content), file, rows, columns, log)
    return content


def _each_row(
    add: Callable[[dict[str, str]], None],
    file: Path,
    lines: Sequence[str],
    columns: Sequence[str],
    log: ConversionLog,
    delimiter: str = ",",
) -> None:
    """Calls ``add`` with each row by column; rows that it cannot use are noted."""
    previous = csv.field_size_limit(_LONGEST_CELL)
    try:
        for number, cells in enumerate(csv.reader(lines, delimiter=delimiter), start=1):
            try:
                if len(cells) not in (0, len(columns)):
                    raise ValueError(f"{len(cells)} cells instead of {len(columns)}")
                if cells:
                    add(dict(zip(columns, cells, strict=True)))
            except MALFORMED as error:
                log.note("unreadable annotation", f"{file}: row {number}: {error}; left out")
    except csv.Error as error:
        raise UserError(f"{file} cannot be read as CSV: {error}.") from error
    finally:
        csv.field_size_limit(previous)


def _add_2(content: Record, row: dict[str, str]) -> None:
    shape, attributes = (json.loads(row[name]) for name in _COLUMNS_2[2:])
    name = row["filename"]
    entry = content.setdefault(f"{name}{row['file_size']}", {"filename": name, "regions": []})
    if shape:  # the row of an image without regions has none
        entry["regions"].append({"shape_attributes": shape, "region_attributes": attributes})


def _add_3(content: Record, row: dict[str, str]) -> None:
    files, times, xy, values = (json.loads(row[name]) for name in _COLUMNS_3)
    ids = [str(file) for file in files]
    for name in ids:
        kind = "video" if times else str(mimetypes.guess_type(name)[0])
        number = next((n for n in (VIDEO, AUDIO) if kind.startswith(_MEDIA[n])), IMAGE)
        content["file"].setdefault(name, {"fname": name, "type": number})
    view = json.dumps(ids)
    content["view"][view] = {"fid_list": ids}
    content["metadata"][len(content["metadata"])] = {"vid": view, "xy": xy, "av": values}
