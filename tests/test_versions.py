"""The oldest versions that are allowed are those that were tried."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def pins(file: Path) -> dict[str, Version]:
    """Versions by name, of a constraints file."""
    lines = (line for line in file.read_text().splitlines() if line and not line.startswith("#"))
    return {name.lower(): Version(version) for name, version in (line.split("==") for line in lines)}


def test_every_lower_bound_is_the_version_that_was_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [Requirement(each) for each in (*project["dependencies"], *extras["tensorboard"], *extras["parquet"])]
    bounds = {
        each.name.lower(): Version(part.version) for each in asked for part in each.specifier if part.operator == ">="
    }
    exact = {each.name.lower() for each in asked if any(part.operator == "==" for part in each.specifier)}
    assert {each.name.lower() for each in asked} == exact | {*bounds}, "a package without a lower bound"
    oldest = pins(ROOT / "tests" / "oldest.txt")
    assert {name: oldest[name] for name in bounds} == bounds


def test_the_oldest_python_that_is_named_is_the_oldest_that_is_allowed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [Version(each.rpartition(" ")[2]) for each in project["classifiers"] if ":: Python :: 3." in each]
    assert project["requires-python"] == f">={min(named)}"


def test_the_licence_is_said_once() -> None:
    """Beside a licence expression, classifiers of licences are forbidden."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert not [each for each in project["classifiers"] if each.startswith("License")]


def test_what_is_pinned_is_allowed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = pins(ROOT / "constraints.txt")
    for each in map(Requirement, project["dependencies"]):
        if each.name.lower() in pinned:
            assert each.specifier.contains(pinned[each.name.lower()]), each
