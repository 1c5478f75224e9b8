"""Names of protocols and metrics on the command line."""

from __future__ import annotations

import pytest

from hdit_repro.cli.protocols import kinds_of, protocols_of
from hdit_repro.errors import UserError


def test_names_of_numbers_lead_to_protocols_and_kinds_and_stand_for_none() -> None:
    assert protocols_of("inception-2015, inception-clean,inception-2015") == ["inception-2015", "inception-clean"]
    assert kinds_of("frechet,kernel") == ["frechet", "kernel"]
    for name, meant in {"fid": "inception-2015", "fid-clean": "inception-clean"}.items():
        with pytest.raises(UserError, match=rf"no protocol called '{name}'(.|\n)*did you mean '{meant}'"):
            protocols_of(name)
    for name, meant in {
        "fid": "frechet",
        "kid": "kernel",
        "sfid": "spatial-frechet",
        "recall": "precision-recall",
    }.items():
        with pytest.raises(UserError, match=rf"no metric called '{name}'(.|\n)*did you mean '{meant}'"):
            kinds_of(f"kernel,{name}")
