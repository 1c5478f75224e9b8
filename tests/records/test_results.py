"""The results store: migration, signatures, lint, export, many writers at once."""

from __future__ import annotations

import csv
import errno
import json
import multiprocessing
import os
import sys
from pathlib import Path

import msgspec
import pytest

from hdit_repro import jobs
from hdit_repro.cli import main
from hdit_repro.errors import RunError, UserError
from hdit_repro.records import export, implied, migrate, schema, signoff, store
from hdit_repro.records.layout import Roots
from hdit_repro.records.lint import difference, lint
from hdit_repro.records.rows import split
from hdit_repro.records.schema import Metric, Protocol, Provenance, Record, Reference
from hdit_repro.spec.external import External

PROCESSES, EACH = 16, 12


def make(row: str = "E", seed: int = 0, value: float = 12.5, scale: str = "smoke", reference: str = "cd") -> Record:
    job = jobs.find(f"table1/{row}", scale, seed)
    return schema.make(
        job.run,
        names=(job.name,),
        label=job.label,
        scale=scale,  # type: ignore[arg-type]
        metrics={"fd-efficientnet-lite0": Metric(value=value, low=value - 1, high=value + 1, interval="made up")},
        protocol=Protocol(
            weights_digest="ab" * 32,
            resize="bicubic 224",
            reference=Reference(digest=reference * 32, **implied.reference(job.run.evaluation.reference, job.run.data)),
            **implied.protocol(job.run),
        ),
        provenance=Provenance(
            commit="f" * 40, dirty=False, versions={}, device="cpu", host="Linux", seconds={}, gpu_hours=0.0,
            time="2030-01-01T00:00:00+00:00",
        ),
    )  # fmt: skip


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Roots:
    monkeypatch.chdir(tmp_path)
    return Roots(tmp_path / "runs", tmp_path / "results")


def put(roots: Roots, record: Record) -> Path:
    return store.write(record, store.place(roots.records(record.scale), record))


def external(**drawing: object) -> Record:
    """A record of somebody's images; `drawing` replaces what its protocol says of how they were drawn."""
    record = make()
    run = record.spec
    theirs = msgspec.structs.replace(
        run, external=External(name="theirs", digest="0" * 64, images=run.sampling.count)
    )  # fmt: skip
    return schema.make(
        theirs,
        names=("theirs",),
        label="theirs",
        scale=record.scale,
        metrics=record.metrics,
        protocol=msgspec.structs.replace(record.protocol, **{**dict.fromkeys(schema.DRAWING), **drawing}),
        provenance=record.provenance,
    )


def older(path: Path, version: int = 1) -> None:
    """The file as an older schema had it, sealed."""
    plain = json.loads(path.read_text(encoding="utf-8"))
    if version == 1:
        del plain["sampling_seed"]
    if plain["run"].get("external"):
        said = {"sampler": "external", "steps": 0, "network_evaluations": 0, "guidance": 1.0, "weights": "ema"}
        plain["protocol"] |= {**said, "labels": "random"}
    del plain["provenance"]["gpu_hours_by_stage"]
    plain["schema"] = version
    plain["digest"] = schema.digest_of(plain)
    path.write_text(json.dumps(plain), encoding="utf-8")


@pytest.mark.parametrize("version", list(migrate.MIGRATIONS))
def test_an_older_record_is_read_as_a_present_one(roots: Roots, version: int) -> None:
    record = make(seed=2)
    path = put(roots, record)
    older(path, version)
    assert store.read(path) == record
    assert store.upgrade(path)
    assert not store.upgrade(path)
    assert json.loads(path.read_text(encoding="utf-8"))["schema"] == schema.SCHEMA
    assert store.read(path) == record


@pytest.mark.parametrize("version", [1, 2])
def test_older_records_of_others_images_lose_what_was_never_known(roots: Roots, version: int) -> None:
    record = external()
    path = put(roots, record)
    older(path, version)
    assert store.read(path) == record
    assert not record.protocol.drawn
    assert store.upgrade(path)
    found = json.loads(path.read_text(encoding="utf-8"))
    assert [found["protocol"][name] for name in schema.DRAWING] == [None] * len(schema.DRAWING)
    assert lint(roots) == (1, [])
    (line,) = export.lines([record], {})
    assert (line["guidance"], line["labels"], line["samples"]) == (None, None, record.protocol.samples)


def test_a_protocol_says_all_of_how_samples_were_drawn_or_nothing() -> None:
    ours, theirs = make(), external()
    drawn = {name: getattr(ours.protocol, name) for name in schema.DRAWING}
    with pytest.raises(ValueError, match=r"guidance alone is left out"):
        msgspec.structs.replace(ours.protocol, guidance=None)
    with pytest.raises(ValueError, match=r"somebody's images"):
        external(**drawn)
    with pytest.raises(ValueError, match=r"somebody's images"):
        msgspec.structs.replace(ours, protocol=theirs.protocol)


@pytest.mark.parametrize("version", list(migrate.MIGRATIONS))
def test_migration_does_not_launder_an_edit(roots: Roots, version: int) -> None:
    path = put(roots, make())
    older(path, version)
    plain = json.loads(path.read_text(encoding="utf-8"))
    plain["metrics"]["fd-efficientnet-lite0"]["value"] = 1.0
    path.write_text(json.dumps(plain), encoding="utf-8")
    with pytest.raises(UserError, match="edited by hand"):
        store.read(path)


def test_every_older_schema_has_a_migration() -> None:
    assert list(migrate.MIGRATIONS) == list(range(1, schema.SCHEMA))


def test_a_signature_is_under_the_contents(roots: Roots) -> None:
    path = put(roots, make())
    signoff.sign(path, "Ada Lovelace", "seen")
    signoff.sign(path, "Bob")
    fitting, stale = signoff.vouched(path)
    assert ([one.by for one in fitting], stale) == (["Ada Lovelace", "Bob"], [])
    assert lint(roots).problems == []
    put(roots, make(value=99.0))
    fitting, stale = signoff.vouched(path)
    assert (fitting, [one.by for one in stale]) == ([], ["Ada Lovelace", "Bob"])
    assert [problem.reason for problem in lint(roots).problems] == [
        f"the record was changed after {name} signed it" for name in ("Ada Lovelace", "Bob")
    ]


def test_a_signed_record_is_not_rewritten(roots: Roots) -> None:
    path = put(roots, make())
    older(path)
    signoff.sign(path, "Ada")
    assert not store.upgrade(path)
    assert signoff.vouched(path)[1] == []


@pytest.mark.parametrize("by", ["", " ", "///"])
def test_a_signature_needs_a_name(roots: Roots, by: str) -> None:
    with pytest.raises(UserError, match="needs a name"):
        signoff.sign(put(roots, make()), by)


def test_a_damaged_record_cannot_be_signed(roots: Roots) -> None:
    path = put(roots, make())
    path.write_text(path.read_text(encoding="utf-8")[:99], encoding="utf-8")
    with pytest.raises(UserError, match="damaged"):
        signoff.sign(path, "Ada")


def test_lint_names_scale_protocol_and_orphans(roots: Roots) -> None:
    put(roots, make())
    put(roots, make(seed=1))
    odd = put(roots, make(seed=2, reference="ef"))
    stray = store.write(make("D"), store.place(roots.results, make("D")))
    lost = roots.results / "0" / "1.ada.signed"
    lost.parent.mkdir()
    lost.write_text("{}", encoding="utf-8")
    closed = odd.with_suffix(".ada.signed")
    closed.symlink_to(closed)
    found = lint(roots)
    said = {problem.path: problem.reason for problem in found.problems}
    assert found.records == 4
    assert "measured otherwise than 2 of the same row" in said[odd]
    assert "(reference)" in said[odd]
    assert "smoke scale belongs under runs/results/smoke/" in said[stray]
    assert said[lost] == "a signature stands under no record"
    assert "a file cannot be read" in said[closed]
    assert len(said) == 4


def later(record: Record, minute: int) -> Record:
    made = msgspec.structs.replace(record.provenance, time=f"2030-01-01T00:{minute:02d}:00+00:00")
    return msgspec.structs.replace(record, provenance=made)


def test_of_two_protocols_the_one_with_more_trainings_is_kept_and_of_equal_ones_the_later() -> None:
    """Repeated samplings of one training are no more trainings; what counts as later is a protocol's last record."""
    again = msgspec.structs.replace(make(), sampling_seed=1)
    one_training = [later(make(), 9), later(again, 9)]
    two_trainings = [make(seed=seed, reference="ef") for seed in (0, 1)]
    assert split([*one_training, *two_trainings]).kept == two_trainings
    first = [later(make(seed=0), 0), later(make(seed=1), 3)]
    other = [later(make(seed=0, reference="ef"), 1), later(make(seed=1, reference="ef"), 2)]
    for records in ([*first, *other], [*other, *first]):
        kept, aside = split(records)
        assert kept == first
        assert aside == other


def test_a_count_in_a_metrics_name_is_the_protocols() -> None:
    record = make()
    count = record.protocol.samples
    for name, stands in ((f"fd-efficientnet-lite0@{count}", True), (f"fd-efficientnet-lite0@{count + 1}", False)):
        plain = {**msgspec.to_builtins(record), "metrics": {name: {"value": 1.0}}}
        if stands:
            assert msgspec.convert(plain, Record).metrics[name].value == 1
        else:
            with pytest.raises(msgspec.ValidationError, match="another number of samples"):
                msgspec.convert(plain, Record)


@pytest.mark.parametrize(
    ("field", "value"),
    [("extractor", "inception-clean"), ("weights_digest", "cd" * 32), ("resize", "clean"), ("quantised", False)],
)
def test_what_is_measured_otherwise_is_not_averaged(field: str, value: object) -> None:
    one, two, three = (make(seed=seed) for seed in range(3))
    other = msgspec.structs.replace(two, protocol=msgspec.structs.replace(two.protocol, **{field: value}))
    assert split([one, other, three]) == ([one, three], [other])
    assert difference(other, one) == field.replace("_", " ")


def test_protocols_are_split() -> None:
    records = [make(seed=seed, reference=ref) for seed, ref in ((0, "cd"), (1, "ef"), (2, "cd"))]
    kept, aside = split(records)
    assert [record.seed for record in kept] == [0, 2]
    assert [record.seed for record in aside] == [1]
    assert split([]) == ([], [])
    assert len({record.spec.row_id for record in records}) == 1


def test_csv_has_a_line_a_metric(roots: Roots, tmp_path: Path) -> None:
    records = [make(seed=seed, value=10.0 + seed) for seed in range(3)]
    assert export.export(records, tmp_path / "all.csv", {}) == 3
    with (tmp_path / "all.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["seed"], line["metric"], float(line["value"])) for line in lines] == [
        (str(seed), "fd-efficientnet-lite0", 10.0 + seed) for seed in range(3)
    ]
    assert lines[0]["digest"] == records[0].digest
    assert lines[0]["reference"] == "emoji"
    export.export([msgspec.structs.replace(records[0], label="=1+1")], tmp_path / "all.csv", {})
    with (tmp_path / "all.csv").open(newline="") as file:
        assert [line["label"] for line in csv.DictReader(file)] == ["'=1+1"]
    (tmp_path / "mine.csv").write_text("a,value\n")
    with pytest.raises(UserError, match="would replace another file"):
        export.export(records, tmp_path / "mine.csv", {})
    assert (tmp_path / "mine.csv").read_text() == "a,value\n"
    with pytest.raises(UserError, match="ending of an export"):
        export.export(records, tmp_path / "all.cvs", {})
    with pytest.raises(UserError, match="nothing to export"):
        export.export([], tmp_path / "none.csv", {})


def test_parquet(tmp_path: Path) -> None:
    import pandas

    path = tmp_path / "all.parquet"
    assert export.export([make(), make(seed=1)], path, {}) == 2
    assert list(pandas.read_parquet(path)["seed"]) == [0, 1]
    assert export.export([make()], path, {}) == 1, "an earlier export may be replaced"
    for other in (pandas.DataFrame({"value": [1]}).to_parquet(), b"something else"):
        path.write_bytes(other)
        with pytest.raises(UserError, match="would replace another file"):
            export.export([make()], path, {})
        assert path.read_bytes() == other


def test_parquet_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "all.parquet"
    monkeypatch.setattr(export, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="needs pyarrow"):
        export.export([make()], path, {})
    assert not path.exists()


def test_the_commands(roots: Roots, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(roots, make())
    record = store.read(path)
    assert main(["results", "lint"]) == 0
    assert main(["results", "sign-off", record.evaluation_id[:8], "--by", "Ada"]) == 0
    assert signoff.vouched(path)[0][0].by == "Ada"
    assert main(["results", "export", "out.csv", "--scale", "smoke"]) == 0
    assert Path("out.csv").read_text(encoding="utf-8").count("\n") == 2
    older_path = put(roots, make(seed=5))
    older(older_path)
    assert main(["results", "migrate"]) == 0
    assert json.loads(older_path.read_text(encoding="utf-8"))["schema"] == schema.SCHEMA
    capsys.readouterr()
    path.write_text(path.read_text(encoding="utf-8").replace("12.5", "2.5"), encoding="utf-8")
    assert main(["results", "lint"]) == 1
    whole = capsys.readouterr().out
    assert "edited by hand" in whole
    monkeypatch.setattr("hdit_repro.cli.results.width", lambda stream: 40)
    assert main(["results", "lint"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines).split() == whole.split()
    assert len(lines) > len(whole.splitlines())
    assert main(["results", "sign-off", "ffffffffffff", "--by", "Ada"]) == 2
    assert main(["results", "sign-off", "", "--by", "Ada"]) == 2, "a variable of the shell that is not set"


def _writer(arguments: tuple[str, int]) -> None:
    folder, number = arguments
    for turn in range(EACH):
        record = make("E" if turn % 2 else "D", seed=number * EACH + turn)
        store.write(record, store.place(Path(folder), record))
        shared = make("A", seed=turn)  # all processes write this one
        store.write(shared, store.place(Path(folder), shared))


def test_sixteen_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        pool.map(_writer, [(os.fspath(folder), number) for number in range(PROCESSES)], chunksize=1)
    records, problems = store.load(folder)
    assert problems == []
    assert len(records) == PROCESSES * EACH + EACH
    assert len([path for path in folder.rglob("*") if path.is_file()]) == len(records)
    assert all(record.digest == schema.digest_of(msgspec.to_builtins(record)) for record in records)


@pytest.mark.skipif(sys.getfilesystemencoding() == "ascii", reason="files have no such names here")
def test_names_of_any_script_sign_side_by_side(roots: Roots) -> None:
    path = put(roots, make())
    names = ["\u00c4nne", "\u00d6nne", "\u674e", "Anne"]
    files = [signoff.sign(path, name) for name in names]
    assert len(set(files)) == 4
    assert sorted(one.by for one in signoff.vouched(path)[0]) == sorted(names)
    assert lint(roots).problems == []
    with pytest.raises(UserError, match="another name"):
        signoff.sign(path, "A/nne".replace("/", "") + "!")
    assert signoff.sign(path, "Anne", "again") == files[3]


def test_upgrading_goes_past_what_is_refused_and_ends_at_a_full_disk(
    roots: Roots, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (put(roots, make(seed=seed)) for seed in (1, 2))
    for path in (first, second):
        older(path)
    refused, _ = sorted((first, second))
    write = store.write_json

    def refuse(path: Path, value: object) -> None:
        if path == refused:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        write(path, value)

    monkeypatch.setattr(store, "write_json", refuse)
    assert main(["results", "migrate"]) == 1
    said = capsys.readouterr().err
    assert "1 record rewritten" in said
    assert f"{refused.name}: Permission denied" in said

    def full(path: Path, value: object) -> None:
        raise RunError("no space left", found=str(path))

    monkeypatch.setattr(store, "write_json", full)
    assert main(["results", "migrate"]) == 1
    assert "no space left" in capsys.readouterr().err
