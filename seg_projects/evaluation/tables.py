"""Tables in the log."""

from __future__ import annotations

import logging
from collections.abc import Sequence


def log_table(
    logger: logging.Logger, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]
) -> None:
    """Logs ``rows`` under ``columns``; numbers with two decimals."""
    from tabulate import tabulate

    table = tabulate(rows, headers=columns, tablefmt="pipe", floatfmt=".2f", numalign="right")
    logger.info("%s:\n%s", title, table)
