"""A file of another user in a folder that several share."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from hdit_repro.cli.app import _of_the_system


def test_a_file_of_another_user_is_told_with_its_owner_and_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.lock"
    path.touch()
    refused = PermissionError(errno.EACCES, "Permission denied", str(path))
    assert "belongs to" not in str(_of_the_system(refused).found), "it is one's own"
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    told = _of_the_system(refused)
    assert f"{path}: Permission denied; it belongs to {path.owner()}" in str(told.found)
    assert "umask 002" in told.fix
