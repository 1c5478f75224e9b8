"""What a message says to run is right as it stands: with the scale, the images and the row that were asked for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hdit_repro.data.decode import decode
from hdit_repro.errors import UserError
from hdit_repro.spec.data import DATASETS
from hdit_repro.stages import compare

Command = Callable[..., Any]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A few images of one's own, under a name that a shell would cut."""
    folder = tmp_path / "my images" / "a"
    folder.mkdir(parents=True)
    for number in range(5):
        Image.new("RGB", (128, 128), (number, 0, 0)).save(folder / f"{number}.png")
    return folder.parent


def fix_of(said: Any) -> list[str]:
    """The words of the command that a refusal advises."""
    return shlex.split(re.findall(r"^  fix +(.*)$", said.err, re.MULTILINE)[0])


@pytest.mark.parametrize(
    ("line", "advised"),
    [
        ("results show table1/E --scale smoke --data", "submit table1 --rows E --scale smoke --wait --data"),
        ("export --run table1/E --scale smoke x.npz --data", "sample --run table1/E --scale smoke --data"),
        ("render-tables --scale smoke --data", "render-tables table1 --scale smoke --data"),
    ],
)
def test_a_path_with_a_space_stays_one_word(command: Command, images: Path, line: str, advised: str) -> None:
    assert fix_of(command(line, images)) == ["hdit-repro", *advised.split(), str(images)]


def test_images_that_are_refused_are_listed_and_left_out_by_the_commands_that_are_advised(
    command: Command, images: Path, tmp_path: Path
) -> None:
    """It said to convert or to mend the one image, whose like came next."""
    folder, archive = images / "a", tmp_path / "without them.zip"
    Image.new("I;16", (128, 128)).save(folder / "deep.png")
    (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:60])
    named = {"PATH": images, "NAME.zip": archive, "N": "8"}
    for name in ("deep.png", "cut.png"):
        with pytest.raises(UserError) as caught:
            decode((folder / name).read_bytes(), name)
        verify, prepare = re.findall(r"`hdit-repro ([^`]+)`", caught.value.fix)
        said = command("", *(named.get(word, word) for word in verify.split()))
        assert said.code == 1
        assert "cut.png" in said.out
        assert "deep.png" in said.out
        assert command("", *(named.get(word, word) for word in prepare.split())).code == 0
        assert "looked at 5 images" in command("data verify", archive).err
        archive.unlink()


def test_metrics_are_advised_at_the_scale_and_on_the_images_that_were_asked_for(command: Command, images: Path) -> None:
    said = command("eval --run table1/E --scale smoke --metrics kernel --data", images)
    wanted = f"hdit-repro eval --run table1/E --scale smoke --data {shlex.quote(str(images))}"
    assert fix_of(said) == [*shlex.split(wanted), "--protocol", "all", "--metrics", "kernel"]


@pytest.mark.parametrize("name", ["table3", "figure2"])
def test_a_table_that_is_asked_for_as_an_experiment_is_advised_as_a_table(command: Command, name: str) -> None:
    """Of Table 3 it said "did you mean 'table1'?"."""
    wanted = f"hdit-repro render-tables --tables {name} --scale paper"
    assert fix_of(command(f"render-tables {name}")) == wanted.split()


def test_what_is_too_much_for_this_machine_is_advised_on_the_same_images(command: Command, images: Path) -> None:
    said = command("submit table1 --data", images)
    assert "`hdit-repro submit table1 --data PATH --scale smoke --wait`" in said.err
    assert "`hdit-repro plan table1 --data PATH --cluster a100`" in said.err


@pytest.mark.parametrize(("asked", "advised"), [("", "smoke"), (" --scale mini", "mini")])
def test_a_run_without_logs_is_advised_at_the_scale_that_was_asked_for(
    command: Command, asked: str, advised: str
) -> None:
    wanted = f"hdit-repro submit table2/add --scale {advised} --wait"
    assert fix_of(command(f"logs table2/add{asked}")) == wanted.split()


def test_images_of_others_are_advised_at_their_own_scale(command: Command, images: Path) -> None:
    assert command("import --from images --name them", images).code == 0
    assert fix_of(command("logs them")) == ["hdit-repro", "eval", "--run", "them", "--scale", "paper"]


def test_images_too_many_to_hold_are_advised_a_command_that_takes_them(
    command: Command, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It named `reference build` of the folder, which takes data sets by name alone."""
    monkeypatch.setattr(compare, "KEPT", 3)
    said = command("fid --protocol efficientnet-lite0", images, images)
    assert said.code == 2
    (named,) = re.findall(r"hdit-repro reference build (\S+) --resolution 128", said.err)
    assert named in DATASETS
