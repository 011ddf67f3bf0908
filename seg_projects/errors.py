"""The one exception that a command line turns into a message instead of a stack trace."""

from __future__ import annotations


class UserError(ValueError):
    """Something that the user can put right: its text names the value and the remedy."""
