"""Where the published data sets are looked for. No torch, and nothing that opens an image."""

from __future__ import annotations

import os
from pathlib import Path

from hdit_repro.errors import UserError
from hdit_repro.spec.data import Data

DATA_VARIABLE = "HDIT_REPRO_DATA"


def locate(name: str, data: Data, root: str | None = None) -> Path:
    """Where a data set lies under $HDIT_REPRO_DATA: `name-resolution.zip`, else `name.zip`, else the folder `name`.

    Args:
        name: of the data set.
        data: of a run, for its resolution.
        root: the folder in the place of the variable's; None is what that says here.

    Raises:
        UserError: nowhere; the message lists the places.
    """
    root, resolution = os.environ.get(DATA_VARIABLE) if root is None else root, data.resolution
    if not root:
        raise UserError(
            f"the data set {name!r} cannot be looked for",
            found=f"the environment variable {DATA_VARIABLE} is not set",
            expected="the folder with the data sets",
            fix=f"export {DATA_VARIABLE}=FOLDER, where {name}-{resolution}.zip lies",
        )
    places = [Path(root) / f"{name}-{resolution}.zip", Path(root) / f"{name}.zip", Path(root) / name]
    for place in places:
        if place.exists():
            return place
    raise UserError(
        f"the data set {name!r} is missing",
        found="none of " + ", ".join(map(str, places)),
        expected="a prepared archive, or the folder of its images",
        fix=f"hdit-repro data prepare SOURCE {places[0]} --resolution {resolution} --transform {data.transform} "
        f"--dataset {name}",
    )
