"""Sides of a benchmark in processes of their own."""

import os

import pytest


@pytest.fixture
def turns(script):
    return script("turns")


def test_a_side_lives_in_a_process_of_its_own_and_keeps_its_state(turns):
    side = turns.OwnProcess(list, [3, 1, 2])
    try:
        assert side.later("pop").result() == 2
        assert side.ask("__len__") == 2
        (pid,) = side._process._processes
        assert pid != os.getpid()
    finally:
        side.end()


def test_what_goes_wrong_there_is_raised_here(turns):
    side, unmade = turns.OwnProcess(list), turns.OwnProcess(int, "two")
    try:
        with pytest.raises(IndexError, match="pop from empty list"):
            side.ask("pop")
        assert side.ask("__len__") == 0
        with pytest.raises(ValueError, match="invalid literal"):
            unmade.ask("bit_length")
    finally:
        side.end()
        unmade.end()


def test_all_take_their_turn_and_medians_count(turns):
    asked = []

    def seconds(side):
        asked.append(side)
        return [float(len(asked)), 100.0] if side == "slow" else [1.0]

    assert turns.in_turns({"a": "fast", "b": "slow"}, 3, seconds) == {"a": 1.0, "b": 53.0}
    assert asked == ["fast", "slow"] * 3
