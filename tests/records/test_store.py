"""Records on disk: whole, checked, named when they are not what they claim."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hdit_repro import jobs
from hdit_repro.errors import UserError
from hdit_repro.records import implied, schema, store
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.records.schema import Metric, Protocol, Provenance, Record, Reference
from hdit_repro.spec import numerics


def make(seed: int = 0, value: float = 12.5, row: str = "E", **changes: object) -> Record:
    job = jobs.find(f"table1/{row}", "smoke", seed)
    protocol = Protocol(
        weights_digest="ab" * 32,
        resize="bicubic 224",
        reference=Reference(digest="cd" * 32, **implied.reference(job.run.evaluation.reference, job.run.data)),
        **implied.protocol(job.run),
    )
    provenance = Provenance(
        commit="f" * 40,
        dirty=False,
        versions={"python": "3.12"},
        device="cpu",
        host="Linux x86_64",
        seconds={"train": 1.5},
        gpu_hours=0.0,
        time="2030-01-01T00:00:00+00:00",
    )
    arguments: dict[str, object] = {
        "names": (job.name,),
        "label": job.label,
        "scale": "smoke",
        "metrics": {"fd-efficientnet-lite0": Metric(value=value)},
        "protocol": protocol,
        "provenance": provenance,
        "context": {schema.FLOOR: 3.25},
    }
    return schema.make(job.run, **{**arguments, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "context", [{schema.FLOOR: float("nan")}, {schema.FLOOR: float("inf")}, {schema.FLOOR: -1.0}, {"luck": 1.0}]
)
def test_companions_are_known_and_finite(context: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="context"):
        make(context=context)


def place(folder: Path, record: Record) -> Path:
    return folder / record.training_id / f"{record.evaluation_id}.json"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    record = make()
    path = store.write(record, place(tmp_path, record))
    assert store.read(path) == record
    assert store.load(tmp_path) == ([record], [])
    assert record.spec == jobs.find("table1/E", "smoke").run


def test_a_record_reads_the_same_however_its_json_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a file with another order of keys than the store's is looked at twice."""
    record = make(value=1e-8, label="Fréchet, “quoted” \\ and\nbroken")
    path = store.write(record, place(tmp_path, record))
    plain = json.loads(path.read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(store, "_examined", lambda path: pytest.fail(f"{path} was looked at twice"))
        assert store.read(path) == record
        path.write_text(json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False), encoding="utf-8")
        assert store.read(path) == record
    for text in (json.dumps(plain), json.dumps(dict(reversed(plain.items())), indent=1)):
        path.write_text(text, encoding="utf-8")
        assert store._as_written(path) is None
        assert store.read(path) == record


def test_a_digest_in_another_place_does_not_pass_for_the_records_own(tmp_path: Path) -> None:
    """What is taken out of the text before it is digested is the record's own digest and no other's."""
    record = make()
    path = store.write(record, place(tmp_path, record))
    plain = json.loads(path.read_bytes())
    own = plain.pop("digest")
    plain["provenance"]["versions"] = {"digest": own, **plain["provenance"]["versions"]}
    for moved in (plain, {**plain, "digest": own}):
        path.write_text(json.dumps(moved, indent=2, sort_keys=True, ensure_ascii=False), encoding="utf-8")
        with pytest.raises(UserError, match="edited by hand"):
            store.read(path)


def resealed(record: Record, folder: Path, **protocol: object) -> Path:
    """The record with other fields of its protocol, under a digest that fits: as somebody may send one."""
    changed = msgspec.structs.replace(record.protocol, **protocol)
    return store.write(msgspec.structs.replace(record, protocol=changed), place(folder, record))


@pytest.mark.parametrize(
    ("field", "value", "had"),
    [
        ("extractor", "inception-2015", "efficientnet-lite0"),
        ("samples", 65, "64"),
        ("sampler", "heun", "dpmpp_3m_sde"),
        ("steps", 25, "50"),
        ("network_evaluations", 100, "50"),
        ("guidance", 2.0, "1.0"),
        ("weights", "raw", "ema"),
        ("labels", "balanced", "random"),
        ("precision", "bfloat16", "unset"),
    ],
)
def test_a_protocol_that_its_own_run_denies_is_no_record(tmp_path: Path, field: str, value: object, had: str) -> None:
    path = resealed(make(), tmp_path, **{field: value})
    with pytest.raises(UserError, match=f"(?m)protocol.{field} is {value}, and its run has {had}$") as caught:
        store.read(path)
    assert caught.value.problem == "a record contradicts its own run"
    records, (problem,) = store.load(tmp_path)
    assert (records, problem.path) == ([], path)
    assert f"protocol.{field} is {value}, and its run has {had}" in problem.reason


@pytest.mark.parametrize(
    ("field", "value", "had"),
    [
        ("kind", "adm", "dataset"),
        ("name", "imagenet", "emoji"),
        ("count", 3781, "1500"),
        ("split", "all", "train"),
        ("resolution", 256, "16"),
        ("transform", "none", "adm"),
    ],
)
def test_a_reference_of_another_run_is_no_record(tmp_path: Path, field: str, value: object, had: str) -> None:
    record = make()
    path = resealed(record, tmp_path, reference=msgspec.structs.replace(record.protocol.reference, **{field: value}))
    with pytest.raises(UserError, match=f"(?m)protocol.reference.{field} is {value}, and its run has {had}$"):
        store.read(path)


@pytest.mark.parametrize("name", ["fid", "recall-efficientnet-lite0", "fd-efficientnet-lite0@64"])
def test_a_number_that_its_run_does_not_ask_for_is_no_record(tmp_path: Path, name: str) -> None:
    record = make(metrics={name: Metric(value=1.0)})
    with pytest.raises(UserError, match=f"(?m)metrics has {name}, and its run has fd-efficientnet-lite0$"):
        store.read(store.write(record, place(tmp_path, record)))


def test_all_that_contradicts_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?m)steps is 25, and its run has 50; .*weights is raw, and its run has ema$"):
        store.read(resealed(make(), tmp_path, steps=25, weights="raw"))


def test_a_missing_folder_holds_nothing(tmp_path: Path) -> None:
    assert store.load(tmp_path / "none") == ([], [])


def test_a_record_does_not_go_to_anothers_place(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not belong"):
        store.write(make(seed=1), place(tmp_path, make()))
    assert not list(tmp_path.rglob("*"))


def edit(path: Path, change: object) -> None:
    plain = json.loads(path.read_text(encoding="utf-8"))
    change(plain)  # type: ignore[operator]
    path.write_text(json.dumps(plain), encoding="utf-8")


def reseal(plain: dict[str, object]) -> None:
    """What a careful forger would do: bring the digest up to date."""
    plain["digest"] = schema.digest_of(msgspec.to_builtins(msgspec.convert(plain, Record)))


def forge_run(plain: dict[str, object]) -> None:
    plain["run"]["training"]["steps"] = 10**6  # type: ignore[index]
    reseal(plain)


def forge_seed(plain: dict[str, object]) -> None:
    plain["seed"] = 5
    reseal(plain)


def no_seed(plain: dict[str, object]) -> None:
    plain["seed"] = plain["run"]["seed"] = -1  # type: ignore[index]
    reseal(plain)


def unknown_run(plain: dict[str, object]) -> None:
    plain["run"]["model"]["kind"] = "u-net"  # type: ignore[index]
    reseal(plain)


def old_numerics(plain: dict[str, object]) -> None:
    plain["numerics"] = {**numerics.NUMERICS, "train": 0}
    reseal(plain)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda plain: plain["metrics"]["fd-efficientnet-lite0"].update(value=1.0), "edited by hand"),
        (lambda plain: plain.update(label="mine"), "edited by hand"),
        (lambda plain: plain.pop("digest"), "digest missing"),
        (forge_run, "ids and run do not belong together"),
        (forge_seed, "ids and run do not belong together"),
        (no_seed, "not known here"),
        (unknown_run, "not known here"),
        (old_numerics, "out of date"),
        (lambda plain: plain.update(schema=99), "schema 99"),
        (lambda plain: plain.pop("schema"), "schema None"),
        (lambda plain: plain.update(schema=2, run=[]), "schema 2"),
        (lambda plain: plain.pop("protocol"), "damaged"),
        (lambda plain: plain.update(color="red"), "damaged"),
        (lambda plain: plain.update(metrics={"fib": {"value": 1.0}}), "damaged"),
        (lambda plain: plain["metrics"]["fd-efficientnet-lite0"].update(value=float("nan")), "damaged"),
    ],
)
def test_a_changed_record_is_named_and_the_rest_returned(tmp_path: Path, change: object, reason: str) -> None:
    good, bad = make(seed=1), make(seed=2)
    store.write(good, place(tmp_path, good))
    path = store.write(bad, place(tmp_path, bad))
    edit(path, change)
    records, problems = store.load(tmp_path)
    assert records == [good]
    assert [problem.path for problem in problems] == [path]
    assert reason in problems[0].reason
    with pytest.raises(UserError, match=r"delete the file|damaged"):
        store.read(path)


@pytest.mark.parametrize("damage", [b"", b'{"schema": 2', b"\xff\xfe", b"[]", b"null"])
def test_a_cut_file_is_named(tmp_path: Path, damage: bytes) -> None:
    path = place(tmp_path, make())
    path.parent.mkdir()
    path.write_bytes(damage)
    records, problems = store.load(tmp_path)
    assert records == []
    assert [problem.path for problem in problems] == [path]


@pytest.mark.parametrize("other", [b"\xff", rb"\ud83d"])
@pytest.mark.parametrize("text", [b'"efficientnet-lite0"', b'"metrics"', b'"train"', b'"kind"'])
def test_one_byte_that_is_no_text_keeps_no_other_record_from_being_read(
    tmp_path: Path, text: bytes, other: bytes
) -> None:
    """In a value, or in the name of a field, of a map or of the run: only that file is told of."""
    good, bad = make(seed=1), make(seed=2)
    store.write(good, place(tmp_path, good))
    path = store.write(bad, place(tmp_path, bad))
    data = path.read_bytes()
    assert text in data
    path.write_bytes(data.replace(text, text[:1] + other + text[2:]))
    records, problems = store.load(tmp_path)
    assert records == [good]
    assert [problem.path for problem in problems] == [path]
    assert not store.whole(path)


def test_a_record_in_anothers_folder_is_named(tmp_path: Path) -> None:
    record = make()
    path = store.write(record, place(tmp_path, record))
    moved = tmp_path / "000000000000" / path.name
    moved.parent.mkdir()
    path.rename(moved)
    records, problems = store.load(tmp_path)
    assert records == []
    assert "another's place" in problems[0].reason


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, hidden = make(), make(seed=1)
    for record in (here, hidden):
        store.write(record, place(tmp_path, record))
    refused, scandir = str(place(tmp_path, hidden).parent), os.scandir

    def look(folder: str) -> Any:
        if str(folder) == refused:
            raise PermissionError(errno.EACCES, "Permission denied", refused)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", look)
    records, problems = store.load(tmp_path)
    assert [record.seed for record in records] == [0]
    assert problems == [store.Problem(Path(refused), "a folder cannot be listed (Permission denied)")]
    other = tmp_path.stat().st_uid + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    ((_, why),) = store.load(tmp_path)[1]
    assert why == f"a folder cannot be listed (Permission denied; it belongs to {tmp_path.owner()})"


def test_a_copy_of_a_folder_within_itself_counts_once(tmp_path: Path) -> None:
    """Each record of such a copy passed for a second sampling of its network, between which there was no noise."""
    outer = store.write(make(), place(tmp_path / "results", make()))
    copy = tmp_path / "results" / "0-backup" / outer.relative_to(tmp_path / "results")
    copy.parent.mkdir(parents=True)
    copy.write_bytes(outer.read_bytes())
    records, (problem,) = store.load(tmp_path / "results")
    assert records == [make()]
    assert problem == (copy, f"a record lies here a second time, and counts once ({outer})")


def test_half_written_files_are_not_read(tmp_path: Path) -> None:
    record = make()
    path = store.write(record, place(tmp_path, record))
    (path.parent / f".{path.name}.x.partial").write_text("{", encoding="utf-8")
    assert store.load(tmp_path) == ([record], [])


def test_writers_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Eight threads, some of them on the same file: every record is whole, no temporary file is left."""
    records = [make(seed=seed % 4, value=5.0) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            list(pool.map(lambda record: store.write(record, place(tmp_path, record)), records))
    found, problems = store.load(tmp_path)
    assert problems == []
    assert sorted(record.seed for record in found) == [0, 1, 2, 3]
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 4


@pytest.mark.parametrize("module", ["hdit_repro.records.store", "hdit_repro.records.provenance"])
def test_nothing_heavy_is_imported(module: str) -> None:
    heavy = "{'torch', 'numpy', 'pandas', 'matplotlib', 'submitit'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_edited_record_is_not_done_and_is_set_aside_with_a_word(tmp_path: Path) -> None:
    record = make()
    folder = RunFolder(Roots(tmp_path / "runs", tmp_path / "results"), record.spec, "smoke")
    path = store.write(record, folder.record)
    assert folder.done("evaluate")
    edit(path, lambda plain: plain["metrics"]["fd-efficientnet-lite0"].update(value=1.0))
    forged = path.read_text(encoding="utf-8")
    assert folder.state("evaluate") == "missing"
    with pytest.warns(UserWarning, match=rf"it is {path.name}.aside now"):
        store.write(record, path)
    assert store.load(path.parent) == ([record], [])
    assert path.with_name(f"{path.name}.aside").read_text(encoding="utf-8") == forged
    path.write_text("{", encoding="utf-8")
    with pytest.warns(UserWarning, match=r"aside1 now"):
        store.write(record, path)


def test_files_come_by_path_whatever_the_disks_order_and_half_written_ones_never(tmp_path: Path) -> None:
    """What is averaged, listed and exported would else hang on the file system."""
    names = [f"{folder:02}/{file}.json" for folder in (3, 0, 2, 1) for file in "cab"]
    for name in (*names, "00/.half.json", "00/a.json.aside", "00/a.ann.signed"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert store.files(tmp_path, ".json") == [tmp_path / name for name in sorted(names)]
    assert store.files(tmp_path / "none", ".json") == []
