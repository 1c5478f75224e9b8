"""Errors: four lines each, everywhere."""

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

import hdit_repro
from hdit_repro.errors import RunError, UserError, counted, nearest, pick

PARTS = {"found", "expected", "fix"}


def raised() -> Iterator[tuple[str, set[str]]]:
    """Every place of the package that makes an error, with the parts that it gives."""
    root = Path(hdit_repro.__file__).parent
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("UserError", "RunError", "Preempted", "Lost"):
                yield f"{path.relative_to(root)}:{node.lineno}", {str(word.arg) for word in node.keywords}


def test_every_error_says_what_was_found_what_was_expected_and_what_mends_it() -> None:
    places = dict(raised())
    assert len(places) > 200
    assert {place: PARTS - given for place, given in places.items() if PARTS - given} == {}


def test_an_error_reads_as_four_lines_and_crosses_processes() -> None:
    for kind, code in ((UserError, 2), (RunError, 1)):
        error = kind("it is wrong", found=3, expected="4", fix="add one")
        assert str(error) == "it is wrong\n  found     3\n  expected  4\n  fix       add one"
        assert str(kind("it is wrong", found="one\n two")) == "it is wrong\n  found     one\n            two"
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.exit_code) == (kind, str(error), code)


def test_things_are_counted_in_words() -> None:
    assert [counted(number, "file") for number in (0, 1, 2000)] == ["0 files", "1 file", "2,000 files"]
    assert [counted(number, "class", "classes") for number in (0, 1, 2)] == ["0 classes", "1 class", "2 classes"]


def test_a_look_up_offers_the_nearest_name() -> None:
    table = {"smoke": 1, "paper": 2}
    assert pick(table, "smoke", kind="scale") == 1
    with pytest.raises(UserError, match="did you mean 'smoke'") as caught:
        pick(table, "smok", kind="scale", where="--scale")
    assert caught.value.found == "'smok' in --scale"
    assert caught.value.expected == "paper, smoke"
    assert nearest("zzz", table) is None


def test_a_line_break_in_a_name_breaks_no_error_apart():
    shown = str(UserError("there is no row called 'a\nb'", found="a\nb", expected="a row", fix="name one"))
    assert shown.splitlines()[:4] == [
        "there is no row called 'a b'",
        "  found     a",
        "            b",
        "  expected  a row",
    ]
