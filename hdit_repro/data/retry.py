"""Patience with a file system that is away for a moment."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PASSING = frozenset({errno.EIO, errno.ESTALE, errno.ENOENT, errno.ETIMEDOUT, errno.ENOTCONN, errno.EAGAIN})
"""What network file systems say while they are away. A file that was listed may be missing for a moment too."""

WAITS = (0.1, 0.5, 2.0, 5.0, 10.0)
"""Seconds before each further attempt; then the error stands."""


def patiently(action: Callable[[], T]) -> T:
    """What `action` returns, tried again where the file system was away.

    Raises:
        OSError: of another kind at once, of these kinds after the last attempt.
    """
    for wait in WAITS:
        try:
            return action()
        except OSError as error:
            if error.errno not in PASSING:
                raise
        time.sleep(wait)
    return action()
