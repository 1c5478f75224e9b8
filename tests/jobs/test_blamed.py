"""Which file a refused row is blamed on: its own, or the user's file of scales; and what is said to mend it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hdit_repro import jobs
from hdit_repro.errors import UserError

Refused = Callable[[str, str], UserError]

OWN = 'dataset = { kind = "folder", name = "own", digest = "' + "0" * 64 + '", images = 5_000, classes = 1000 }'
ROW = 'scales.toml:4, [smoke.row."mine/x"]: '


@pytest.fixture
def refused(folder: Callable[[str, str], Path], tmp_path: Path) -> Refused:
    """What is said at smoke scale of a row with these lines and of this file of scales."""

    def asked(row: str, scales: str) -> UserError:
        folder("mine", f'[row.x]\nextends = "table1/E"\n{row}\n')
        (tmp_path / "jobs" / "scales.toml").write_text(scales, encoding="utf-8")
        with pytest.raises(UserError) as caught:
            jobs.find("mine/x", "smoke")
        return caught.value

    return asked


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("training = { steps = 0 }", "training: steps and batch start at 1"),
        ("training = { batch = 0 }", "training: steps and batch start at 1"),
        ("sampling = { count = 1 }", "sampling: "),
        ('evaluation = { metrics = ["inception-score"] }', "evaluation: inception-score is not defined on eff"),
        ("evaluation = { reference = { count = 5_000 } }", "evaluation.reference.count 5000 is more than the 3781"),
        ("data = { resolution = 100 }", "data: images of emoji have 64"),
    ],
)
def test_a_bad_value_in_the_users_scales_is_found_there(refused: Refused, line: str, why: str) -> None:
    """The row's file was blamed, and the user sent to the file where it stands."""
    error = refused("", f'[smoke.all]\nsampling = {{ seed = 3 }}\n[smoke.row."mine/x"]\n{line}\n')
    assert f"{ROW}{why}" in str(error.found)
    assert error.fix.startswith("change the key named above")


def test_the_upper_of_two_bad_values_is_named(refused: Refused) -> None:
    scales = '[smoke.all]\nevaluation = {{ reference = {{ count = {} }} }}\n[smoke.row."mine/x"]\n{}\n'
    count = "evaluation = { reference = { count = 5_000 } }"
    assert ROW in str(refused("", scales.format(6_000, count)).found)
    assert ROW in str(refused("", scales.format(2_000, count)).found)
    error = refused("", scales.format(6_000, "training = { batch = 8 }"))
    assert "scales.toml:2, [smoke.all]: evaluation.reference.count 6000" in str(error.found)


@pytest.mark.parametrize("scales", ["", '[smoke.row."mine/x"]\ntraining = { batch = 8 }\n'])
def test_a_bad_value_in_the_row_is_found_there_whatever_its_scales_say(refused: Refused, scales: str) -> None:
    error = refused("training = { class_dropout = 2.0 }", scales)
    assert "mine.toml:4, row x, at smoke scale: training: class_dropout is a probability" in str(error.found)


def test_a_row_without_an_outline_at_a_scale_is_told_to_say_one_whatever_else_its_scales_say(refused: Refused) -> None:
    row = "model = { widths = [384], depths = [2], heads = [6], dropout = [], attention = [{ kind = 'global' }] }"
    window = row.replace("'global'", "'shifted-window', window = 32")
    for scales in ("", "[smoke.all]\ntraining = { batch = 8 }\n"):
        error = refused(window, scales)
        assert "mine.toml:4, row x, at smoke scale: " in str(error.found)
        assert '[smoke.row."mine/x"], or [smoke.shape.hourglass-1]' in error.fix


def test_a_row_as_a_whole_is_refused_at_the_line_of_what_it_says(folder: Callable[[str, str], Path]) -> None:
    folder("mine", '[row.x]\nextends = "table1/E"\nnote = "n"\nsampling = { at_step = 400_001 }\n')
    with pytest.raises(UserError, match=r"mine\.toml:5, row x: sampling\.at_step 400001 lies beyond"):
        jobs.find("mine/x")


def test_images_of_ones_own_are_not_compared_with_imagenet(folder: Callable[[str, str], Path]) -> None:
    row = f'[row.x]\nextends = "table1/E"\ndata = {{ {OWN} }}\n'
    folder("mine", row)
    with pytest.raises(UserError, match=r"mine\.toml:4, row x: .*VIRTUAL_imagenet128_labeled is of Imag") as caught:
        jobs.find("mine/x")
    assert 'evaluation = { reference = { kind = "dataset" } }' in caught.value.fix
    of_e, of_x = (jobs.find(name, "smoke").run for name in ("table1/E", "mine/x"))
    assert of_x.evaluation_id == of_e.evaluation_id, "the scale replaces both"
    folder("mine", row + 'evaluation = { reference = { kind = "dataset" } }\n')
    assert jobs.find("mine/x").run.data.dataset.images == 5_000


def test_a_scale_that_replaces_the_images_or_the_reference_alone_is_refused_as_a_row_is(
    refused: Refused, folder: Callable[[str, str], Path], tmp_path: Path
) -> None:
    adm = 'extractor = { kind = "inception-2015" }, reference = { kind = "adm", name = "VIRTUAL_imagenet_small" }'
    section = '\n\n[smoke.row."mine/x"]\n'
    error = refused("", f"{section}evaluation = {{ {adm} }}\n")
    assert f"{ROW}evaluation.reference VIRTUAL_imagenet_small is of ImageNet" in str(error.found)
    assert 'reference = { kind = "dataset" }' in error.fix
    both = f'{section}evaluation = {{ {adm} }}\ndata = {{ dataset = {{ kind = "imagenet" }} }}\n'
    (tmp_path / "jobs" / "scales.toml").write_text(both, encoding="utf-8")
    assert jobs.find("mine/x", "smoke").run.model.classes == 1000
    folder("mine", f'[row.x]\nextends = "table1/E"\ndata = {{ {OWN} }}\n')
    (tmp_path / "jobs" / "scales.toml").write_text(f"{section}data = {{ {OWN} }}\n", encoding="utf-8")
    assert jobs.find("mine/x", "smoke").run.data.dataset.name == "own", "compared with the data set at this scale"
