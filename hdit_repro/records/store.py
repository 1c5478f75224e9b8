"""Records on disk: one JSON file each, written whole, checked on reading, never silently used. No torch.

One file a record makes writing safe for any number of processes: nobody appends to anything.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import itertools
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from hdit_repro.errors import UserError
from hdit_repro.files import read_bytes, read_json, whose, write_json
from hdit_repro.records.implied import contradictions
from hdit_repro.records.migrate import migrate, untouched
from hdit_repro.records.schema import SCHEMA, Record, digest_of, seal
from hdit_repro.spec.numerics import NUMERICS


class Problem(NamedTuple):
    """A file that is no record to be shown, and why."""

    path: Path
    reason: str


def write(record: Record, path: Path) -> Path:
    """Write `record` whole under `path`, or leave what was there. A file there that is no whole record is set aside.

    Raises:
        ValueError: `path` is not `<training id>/<evaluation id>.json`.
    """
    if (path.parent.name, path.name) != (record.training_id, f"{record.evaluation_id}.json"):
        raise ValueError(f"a record of {record.training_id}/{record.evaluation_id}.json does not belong to {path}")
    _set_aside(path)
    write_json(path, msgspec.to_builtins(seal(record)))
    return path


def whole(path: Path) -> bool:
    """Whether the contents of a file of JSON are those that its digest was made from; False of a missing one."""
    with contextlib.suppress(UserError):
        plain = read_json(path)
        return isinstance(plain, dict) and untouched(plain)
    return False


def _set_aside(path: Path) -> None:
    """Give an edited or damaged file another name, and warn of it: what somebody changed is not lost unsaid."""
    if not path.exists() or whole(path):
        return
    names = (path.with_name(f"{path.name}.aside{number or ''}") for number in itertools.count())
    other = next(name for name in names if not name.exists())
    path.rename(other)
    warnings.warn(f"{path} was damaged or edited by hand; it is {other.name} now, beside the new record", stacklevel=2)


def read(path: Path) -> Record:
    """The record under `path`, checked.

    Raises:
        UserError: the file is damaged, of another schema, edited by hand, out of date, in another's place, or says
            other than its own run.
    """
    record = _as_written(path) or _examined(path)
    for check in (_current, _own_ids, _own_protocol, _own_place):
        check(path, record)
    return record


def load(folder: Path) -> tuple[list[Record], list[Problem]]:
    """All records under `folder`, by path, and the files that are none. A missing folder holds nothing.

    Of a measurement that lies there twice, as in a copy of the folder within itself, the outermost file counts.
    """
    records: list[Record] = []
    problems: list[Problem] = []
    first: dict[str, Path] = {}

    def refused(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            problems.append(
                Problem(Path(error.filename), f"a folder cannot be listed ({error.strerror}{whose(error)})")
            )

    with _no_collection():
        for path in sorted(files(folder, ".json", refused), key=lambda path: len(path.parts)):
            try:
                record = read(path)
                if (other := first.setdefault(record.evaluation_id, path)) is not path:
                    problems.append(Problem(path, f"a record lies here a second time, and counts once ({other})"))
                    continue
                records.append(record)
            except UserError as error:
                detail = f" ({error.found.removeprefix(f'{path}: ')})" if error.found else ""
                problems.append(Problem(path, f"{error.problem}{detail}"))
            except OSError as error:
                problems.append(Problem(path, f"a file cannot be read ({error.strerror}{whose(error)})"))
    return records, problems


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Without the search for cyclic garbage: records make none, and with thousands of them it takes half the time.

    What was read is left out of later searches too, which would go through all of it again and again.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if before:
            gc.enable()


def files(folder: Path, ending: str, refused: Callable[[OSError], object] | None = None) -> list[Path]:
    """The files under a folder whose names end so, by path; half-written ones, whose names begin with a dot, are none.
    `refused` is told of each folder that cannot be listed, a missing one too.

    `os.walk` takes a tenth of the time that `Path.rglob` takes for ten thousand folders.
    """
    found = [
        os.path.join(inside, name)  # noqa: PTH118
        for inside, _, names in os.walk(folder, onerror=refused)
        for name in names
        if name.endswith(ending) and not name.startswith(".")
    ]
    return [Path(name) for name in sorted(found)]


def place(folder: Path, record: Record) -> Path:
    """Where a record lies in a folder of records."""
    return folder / record.training_id / f"{record.evaluation_id}.json"


def _as_written(path: Path) -> Record | None:
    """The record of a file that stands as `write` left it; None where only a closer look can tell.

    Such a file is canonical JSON but for its blanks and its own digest. Without them it has that digest, or it is
    looked at closer. This takes a third of the time.
    """
    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        data = read_bytes(path)
        record = msgspec.json.decode(data, type=Record)
        own = f'"digest":"{record.digest}",'.encode()
        canonical = msgspec.json.format(data, indent=-1).replace(own, b"", 1)
        if record.schema == SCHEMA and hashlib.sha256(canonical).hexdigest() == record.digest:
            return record
    return None


def _examined(path: Path) -> Record:
    """The record of a file whatever its schema and the form of its JSON, with the words for what is wrong with it."""
    plain = read_json(path)
    record = _decode(path, plain)
    _untouched(path, plain if plain["schema"] == SCHEMA else msgspec.to_builtins(record))
    return record


def _decode(path: Path, plain: Any) -> Record:
    """The record, migrated; its `digest` is what its file says, or tells that an older one was edited."""
    schema = plain.get("schema") if isinstance(plain, dict) else None
    with contextlib.suppress(AttributeError, KeyError, TypeError):
        plain = migrate(plain) if isinstance(plain, dict) else plain
        schema = plain["schema"]
    if schema != SCHEMA:
        raise _refusal(path, "a record has a schema that is not known here", f"schema {schema!r}", f"schema {SCHEMA}")
    try:
        return msgspec.convert(plain, Record)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise _refusal(path, "a record is damaged", str(error), "every field of results/README.md") from error


def _untouched(path: Path, plain: dict[str, Any]) -> None:
    if not untouched(plain):
        found = f"digest {plain.get('digest', '')[:12] or 'missing'}, contents {digest_of(plain)[:12]}"
        raise _refusal(path, "a record was edited by hand", found, "contents as they were written")


def _current(path: Path, record: Record) -> None:
    if record.numerics != NUMERICS:
        raise _refusal(
            path, "a record is out of date: a stage computes other numbers now", str(record.numerics), str(NUMERICS)
        )


def _own_ids(path: Path, record: Record) -> None:
    try:
        run = record.spec
    except (ValueError, msgspec.ValidationError) as error:
        raise _refusal(path, "a record holds a run that is not known here", str(error), "a run spec") from error
    found = (record.training_id, record.sampling_id, record.evaluation_id, record.seed, record.sampling_seed)
    expected = (run.training_id, run.sampling_id, run.evaluation_id, run.seed, run.sampling.seed)
    if found != expected:
        raise _refusal(path, "a record was edited by hand: ids and run do not belong together", found, expected)


def _own_protocol(path: Path, record: Record) -> None:
    if wrong := list(contradictions(record)):
        raise _refusal(path, "a record contradicts its own run", "; ".join(wrong), "what its run says")


def upgrade(path: Path) -> bool:
    """Rewrite a record of an older schema in the present one; returns whether there was anything to do.

    A signed record is left as it is, since the signature is under its file's contents: it is read all the same.

    Raises:
        UserError: the record is none that can be read.
    """
    record = read(path)
    if read_json(path)["schema"] == SCHEMA or any(path.parent.glob(f"{path.stem}.*.signed")):
        return False
    write(record, path)
    return True


def _own_place(path: Path, record: Record) -> None:
    place = f"{record.training_id}/{record.evaluation_id}.json"
    if f"{path.parent.name}/{path.name}" != place:
        raise _refusal(path, "a record lies in another's place", f"{path.parent.name}/{path.name}", place)


def _refusal(path: Path, problem: str, found: object, expected: object) -> UserError:
    return UserError(
        problem, found=f"{path}: {found}", expected=expected, fix="delete the file and run `hdit-repro eval` again"
    )
