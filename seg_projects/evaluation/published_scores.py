"""What an evaluator does with its scores: a file, notes and a table in the log, the results."""

from __future__ import annotations

import logging
from pathlib import Path

from seg_projects.evaluation.scores import Scores, write_scores_json
from seg_projects.evaluation.tables import log_table


def publish_scores(
    logger: logging.Logger, scores: Scores, *, title: str, folder: Path | None, file_name: str
) -> dict[str, float]:
    """Logs notes and summary, writes all to the JSON ``file_name`` where there is a ``folder``.

    Returns:
        The summary, and ``METRIC-CATEGORY`` of all categories.
    """
    for note in scores.notes:
        logger.warning("%s", note)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_scores_json(folder / file_name, scores)
    log_table(logger, title, list(scores.summary), [list(scores.summary.values())])
    of_categories = {
        f"{key}-{name}": value
        for name, values in scores.per_category.items()
        for key, value in values.items()
    }
    return scores.summary | of_categories
