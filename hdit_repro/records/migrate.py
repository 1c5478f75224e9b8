"""Records of older schemas, brought to the present one step at a time. No torch.

A file is checked under its own schema first: a migration never makes an edited record pass for a whole one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

import msgspec

from hdit_repro.records.schema import DRAWING, SCHEMA, digest_of

Plain = dict[str, Any]


def _sampling_seed(plain: Plain) -> Plain:
    """1 -> 2: the sampling's seed stands beside the training's, so that csv and tables can tell them apart."""
    return {**plain, "sampling_seed": plain["run"]["sampling"]["seed"]}


def _made_elsewhere(plain: Plain) -> Plain:
    """2 -> 3: how somebody's images were drawn is not known; shape 2 had the defaults of the row that they are like."""
    if not plain["run"].get("external"):
        return plain
    return {**plain, "protocol": {**plain["protocol"], **dict.fromkeys(DRAWING)}}


def _sum_alone(plain: Plain) -> Plain:
    """3 -> 4: GPU-hours stand by stage and device too; shape 3 had their sum alone, and an empty split says so."""
    return {**plain, "provenance": {**plain["provenance"], "gpu_hours_by_stage": {}}}


SHORT_EXPONENT = re.compile(rb"e-([1-9])(?<=[0-9]e-[1-9])(?=[,}\]])")
"""Of a number with one digit in its exponent. It begins with plain letters, since such a search is quick."""

MIGRATIONS: dict[int, Callable[[Plain], Plain]] = {1: _sampling_seed, 2: _made_elsewhere, 3: _sum_alone}
"""From a schema to the next."""


def untouched(plain: Plain) -> bool:
    """Whether the contents are those that `digest` was made from.

    The quick way writes 1e-8 where canonical JSON has 1e-08, which is mended, and may part from it in rarer numbers:
    its answer is taken only where it fits. Halves of a letter ("\\ud83d" alone) are no text, and no record holds them.
    """
    digest = plain.get("digest")
    content = {key: value for key, value in plain.items() if key != "digest"}
    try:
        quick = SHORT_EXPONENT.sub(rb"e-0\1", msgspec.json.encode(content, order="sorted"))
    except UnicodeEncodeError:
        return False
    return hashlib.sha256(quick).hexdigest() == digest or digest_of(plain) == digest


def migrate(plain: Plain) -> Plain:
    """The record in the present schema, resealed if it was of an older one and whole.

    A record whose digest did not fit before does not fit afterwards. Unknown schemas come back as they are.

    Raises:
        AttributeError, KeyError, TypeError: a field that a step needs is missing, or holds something else.
    """
    schema = plain.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema not in MIGRATIONS:
        return plain
    whole = untouched(plain)
    while schema < SCHEMA:
        plain = {**MIGRATIONS[schema](plain), "schema": schema + 1}
        schema += 1
    return {**plain, "digest": digest_of(plain) if whole else "edited before it was migrated"}
