"""What a cluster's profile is refused for: the key that is wrong, in tables with keys of one's own too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hdit_repro.errors import UserError
from hdit_repro.files import shipped
from hdit_repro.launch.clusters import read_cluster


@pytest.fixture
def refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], UserError]:
    """What is said of the project's profile a100 with lines of one's own in place of its [environment]."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs" / "clusters").mkdir(parents=True)
    whole = (shipped("jobs") / "clusters" / "a100.toml").read_text(encoding="utf-8").replace("\nsbatch = {}\n", "\n")
    before, rest = whole.split("[environment]\n")
    after = rest[rest.index("\n[") :]

    def refused(lines: str) -> UserError:
        (tmp_path / "jobs" / "clusters" / "mine.toml").write_text(f"{before}{lines}\n{after}", encoding="utf-8")
        with pytest.raises(UserError) as caught:
            read_cluster("mine")
        assert f"mine.toml:{before.count(chr(10)) + 1 + lines.count(chr(10))}: " in str(caught.value)
        return caught.value

    return refused


def test_a_number_in_the_environment_is_named_by_its_key_and_put_in_quotes(refusal: Callable[[str], UserError]) -> None:
    """The whole table was shown, with no word of what it holds."""
    error = refusal('[environment]\nNCCL_DEBUG = "INFO"\nHF_HUB_OFFLINE = 1')
    assert str(error.found).endswith(": environment.HF_HUB_OFFLINE = 1")
    assert (error.expected, error.fix) == ("a text", 'HF_HUB_OFFLINE = "1"')


@pytest.mark.parametrize("value", ["true", "[1]", "{ a = 1 }"])
def test_what_is_neither_text_nor_number_in_the_environment_is_named_by_its_key(
    refusal: Callable[[str], UserError], value: str
) -> None:
    error = refusal(f"[environment]\nHF_HUB_OFFLINE = {value}")
    assert "environment.HF_HUB_OFFLINE = " in str(error.found)
    assert error.expected == "a text"


def test_a_table_of_several_types_names_the_key_that_is_of_none(refusal: Callable[[str], UserError]) -> None:
    error = refusal('[sbatch]\nexclusive = true\nnice = 3\ncomment = "x"\nmail-type = 1.5')
    assert str(error.found).endswith(": sbatch.mail-type = 1.5")
    assert error.expected == "a text, or a whole number, or true or false"
