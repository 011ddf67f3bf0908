"""What is done with the results of an evaluation: printing, flattening, comparing."""

from __future__ import annotations

import logging
import pprint
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)


def print_csv_format(results: Mapping[str, Any]) -> None:
    """Logs the main metrics of every task as two comma-separated lines, easy to copy into a table.

    Args:
        results: ``{task: {metric: value}}``. Those of single classes (``AP-person``) are left out.
    """
    for task, metrics in results.items():
        if isinstance(metrics, Mapping):
            main = {name: value for name, value in metrics.items() if "-" not in name}
            logger.info("copypaste: Task: %s", task)
            logger.info("copypaste: %s", ",".join(main))
            logger.info("copypaste: %s", ",".join(f"{value:.4f}" for value in main.values()))
        else:
            logger.info("copypaste: %s=%s", task, metrics)


def flatten_results_dict(results: Mapping[str, Any]) -> dict[str, Any]:
    """Turns nested results into ``{"task/metric": value}``."""
    flat: dict[str, Any] = {}
    for key, value in results.items():
        if isinstance(value, Mapping):
            flat.update(
                {f"{key}/{rest}": leaf for rest, leaf in flatten_results_dict(value).items()}
            )
        else:
            flat[key] = value
    return flat


def verify_results(cfg: Any, results: Mapping[str, Mapping[str, float]]) -> bool:
    """Compares results with ``cfg.TEST.EXPECTED_RESULTS``; a mismatch exits with status 1.

    Each expectation is ``[task, metric, value, tolerance]``, met when the metric is a finite number
    that differs from the value by at most the tolerance. Without expectations all is well.
    """
    expectations = cfg.TEST.EXPECTED_RESULTS
    for task, metric, expected, tolerance in expectations:
        actual = results.get(task, {}).get(metric)
        if actual is None or not np.isfinite(actual) or abs(actual - expected) > tolerance:
            logger.error("%s/%s is %s, not %s +- %s", task, metric, actual, expected, tolerance)
            logger.error("Expected results: %s", pprint.pformat(expectations))
            logger.error("Results: %s", pprint.pformat(results))
            sys.exit(1)
    if expectations:
        logger.info("Results verification passed.")
    return True
