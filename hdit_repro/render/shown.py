"""Files of runs that pages show: those on this disk that this user may read."""

from __future__ import annotations

import warnings
from pathlib import Path

from hdit_repro.files import whose


def may_show(path: Path) -> bool:
    """Whether a file is there and can be read. One that the system refuses, as another user's, is warned of by name."""
    try:
        with open(path, "rb"):
            return True
    except PermissionError as error:
        warnings.warn(f"{path} cannot be read ({error.strerror}{whose(error)}), and is not shown", stacklevel=2)
    except OSError:
        pass
    return False
