"""Every command that a page, a message or a job file names is one that there is, with the options that it has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from hdit_repro.cli.app import COMMANDS, app, main

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "results/README.md",
    "tables/README.md",
    "benchmarks/README.md",
)
NAMED = re.compile(r"hdit-repro ([a-z][\w-]*)((?: +[^\s`'\"<>,;:()]+)*)")

PROSE = {"itself", "again", "there"}
"""Words that follow the program's name in a sentence."""


def texts() -> Iterator[tuple[str, str]]:
    """Where, and what: pages, profiles and jobs whole, and each string of the package."""
    for page in PAGES:
        yield page, (ROOT / page).read_text(encoding="utf-8")
    for path in sorted((ROOT / "jobs").rglob("*.toml")):
        yield path.name, path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "hdit_repro").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value


def wrong(line: re.Match[str]) -> str:
    """What is wrong with a named command; empty where nothing is."""
    name, words = line.group(1), line.group(2).split()
    if name not in COMMANDS:
        return f"no command {name}"
    command = typer.main.get_group(app).get_command(None, name)  # type: ignore[arg-type]
    inner = getattr(command, "commands", None)
    if inner and words and re.fullmatch(r"[a-z-]+", words[0]):
        if words[0] not in inner:
            return f"no command {name} {words[0]}"
        command = inner[words[0]]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    return ", ".join(word for word in words if word.startswith("--") and word.partition("=")[0] not in known)


def test_every_named_command_is_there() -> None:
    lines = [(where, line) for where, text in texts() for line in NAMED.finditer(text) if line.group(1) not in PROSE]
    found = [(where, line.group(), wrong(line)) for where, line in lines]
    assert len(found) > 150
    assert [(where, line, why) for where, line, why in found if why] == []


def test_the_page_names_the_price_that_plan_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "table1", "--cluster", "h100"]) == 0
    hours, dollars = re.findall(r"to go: ([\d,.]+) H100-hours .* about (\$[\d,]+);", capsys.readouterr().err)[0]
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"{float(hours.replace(',', '')):,.0f} H100-hours, about {dollars} at the price" in text


@pytest.mark.parametrize(
    "line",
    ["hdit-repro trian --run x", "hdit-repro train --runs x", "hdit-repro data prepair x", "hdit-repro data info --x"],
)
def test_a_wrong_one_would_be_found(line: str) -> None:
    match = NAMED.search(line)
    assert match is not None
    assert wrong(match)
