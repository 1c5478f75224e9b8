"""Files of runs that pages show: those on this disk that this user may read."""

from __future__ import annotations

import warnings
from pathlib import Path

from hdit_repro.files import regular, whose


def may_show(path: Path) -> bool:
    """Whether a file is there and can be read. One that is not, as another user's or a pipe, is warned of by name."""
    try:
        with open(path, "rb", opener=regular):
            return True
    except FileNotFoundError:
        pass
    except OSError as error:
        warnings.warn(f"{path} cannot be read ({error.strerror}{whose(error)}), and is not shown", stacklevel=2)
    return False
