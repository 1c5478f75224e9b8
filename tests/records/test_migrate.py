"""The digest of a record: the quick check says what the canonical one says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdit_repro.records.migrate import migrate, untouched
from hdit_repro.records.schema import SCHEMA, digest_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.text(max_size=8).filter(lambda key: key != "digest"), VALUES, max_size=6))
def test_any_contents_fit_their_own_digest(contents: dict[str, object]) -> None:
    assert untouched({**contents, "digest": digest_of(contents)})


@pytest.mark.parametrize("value", [1e-8, 1e-05, 1e16, 1.0, 0.1, 123456789.123, -0.0, "1e-8,", "é", [1e-7]])
def test_numbers_that_are_written_in_several_ways(value: object) -> None:
    plain = {"value": value, "digest": digest_of({"value": value})}
    assert untouched(plain)
    assert not untouched({**plain, "value": [value, value]})
    assert not untouched({"value": value})


@pytest.mark.parametrize("schema", [0, -1, SCHEMA, SCHEMA + 1, True, 1.0, "1", [1], None])
def test_what_has_no_step_comes_back_as_it_is(schema: object) -> None:
    plain = {"schema": schema, "value": 1.0, "digest": "0" * 64}
    assert migrate(plain) is plain
