"""What the command lines in ``tools/`` share: a user's mistake is one line and exit status 2."""

from __future__ import annotations

import sys
from collections.abc import Callable

from torch.multiprocessing import ProcessRaisedException

from seg_projects.errors import UserError

USER_ERROR_STATUS = 2


def run_tool(work: Callable[[], int]) -> int:
    """Calls ``work``; returns its exit status, or 2 after a :class:`UserError`, told on stderr."""
    try:
        return work()
    except UserError as error:
        message = str(error)
    except ProcessRaisedException as error:
        # Raised in a process of its own: only the text of its traceback has arrived.
        _, marker, message = str(error).rpartition(f"{UserError.__module__}.UserError: ")
        if not marker:
            raise
    sys.stderr.write(f"error: {message.strip()}\n")
    return USER_ERROR_STATUS
