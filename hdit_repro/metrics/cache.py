"""What is computed once for all: held while one computes it, kept where it can be kept.

A cache may be one that others prepared and that cannot be written here, as a shared one on a cluster. It is read as any
other; what it lacks is computed, and computed again the next time.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

from hdit_repro.files import lock, write_bytes


class NotCached(UserWarning):
    """What was computed is not kept."""


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold `path` while one process looks for it and makes it; where nothing can be written, nobody is held."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            held.enter_context(lock(path.with_suffix(".lock")))
        yield


def keep(path: Path, data: bytes) -> None:
    """Write `data` whole under `path`; warn where it cannot be written.

    Raises:
        RunError: the disk is full.
    """
    try:
        write_bytes(path, data)
    except OSError as error:
        warnings.warn(
            NotCached(
                f"{path} cannot be written ({error.strerror}): what it was to keep will be computed again each time. "
                "To keep it: export HDIT_REPRO_CACHE=FOLDER"
            ),
            stacklevel=2,
        )
