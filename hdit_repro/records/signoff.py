"""Signatures under records: a person vouches for a record as it is, by its digest. No torch.

`results/<training id>/<evaluation id>.<name>.signed` holds JSON with `digest`, `by`, `note` and `time`. The digest is
that of the record's file as it lies, so a record that is changed and resealed afterwards no longer fits.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from hdit_repro.errors import UserError
from hdit_repro.files import read_json, write_json
from hdit_repro.records import store
from hdit_repro.records.schema import digest_of
from hdit_repro.spec.base import Spec

SUFFIX = ".signed"


class Signature(Spec, frozen=True, kw_only=True):
    """Who vouches for which contents, when (UTC in ISO 8601), and in which words."""

    digest: str
    by: str
    time: str
    note: str = ""


def sign(path: Path, by: str, note: str = "") -> Path:
    """Sign the record under `path`; the same person signs again by the same call. Returns the signature's file.

    Raises:
        UserError: the record is none that can be read, `by` has no letter or digit, or the signature's file is another
            person's or damaged.
    """
    name = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", by).lower()).strip("-")
    if not name:
        raise UserError("a signature needs a name", found=repr(by), expected="letters or digits", fix="--by NAME")
    store.read(path)
    signature = Signature(digest=contents(path), by=by, note=note, time=datetime.now(UTC).isoformat(timespec="seconds"))
    target = path.with_name(f"{path.stem}.{name}{SUFFIX}")
    if target.exists() and (other := read(target).by) != by:
        raise UserError(
            "somebody of another name signed this record under the same file name",
            found=f"{target}: {other}",
            expected=by,
            fix="sign by a name with other letters or digits: --by NAME",
        )
    write_json(target, msgspec.to_builtins(signature))
    return target


def read(file: Path) -> Signature:
    """One signature.

    Raises:
        UserError: its file is damaged.
    """
    try:
        return msgspec.convert(read_json(file), Signature)
    except msgspec.ValidationError as error:
        raise UserError(
            "a signature is damaged",
            found=f"{file}: {error}",
            expected="digest, by, time, note",
            fix="git checkout it, or delete it and sign again: hdit-repro results sign-off RECORD --by NAME",
        ) from error


def contents(path: Path) -> str:
    """Digest of a record's file as it lies.

    Raises:
        UserError: it is no JSON object.
    """
    plain = read_json(path)
    if not isinstance(plain, dict):
        raise UserError(
            "a record is damaged",
            found=str(path),
            expected="a JSON object",
            fix="git checkout it, or measure again: hdit-repro eval --run RUN",
        )
    return digest_of(plain)


def vouched(path: Path) -> tuple[list[Signature], list[Signature]]:
    """The signatures that fit the record under `path` as it lies, and those that were given to other contents.

    Raises:
        UserError: a file of them, or the record's, is damaged.
    """
    found = [read(file) for file in sorted(path.parent.glob(f"{path.stem}.*{SUFFIX}"))]
    if not found:
        return [], []
    digest = contents(path)
    return [one for one in found if one.digest == digest], [one for one in found if one.digest != digest]
