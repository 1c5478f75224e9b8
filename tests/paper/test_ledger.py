"""The ledger itself: that it covers the paper, and numbers picked by hand."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import msgspec
import pytest

from hdit_repro import jobs
from hdit_repro.paper import Claim, Ledger, checks, formula, printed, read


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    return read()


def test_every_cell_of_every_table_is_a_claim(ledger: Ledger) -> None:
    cells = Counter(claim.table for claim in ledger if claim.table)
    for table in ledger.tables.values():
        assert cells[table.id] == len(table.rows) * len(table.columns)
    assert {name: cells[name] for name in sorted(cells) if not name.startswith("edition2")} == {
        "table1": 10 * 5,
        "table2": 3,
        "table3": 7,
        "table4": 11 * 5,
        "table5": 4,
        "table6": 30 * 3,
    }
    assert {
        name: cells[f"edition2-{name}"] for name in ("table1", "table3", "table5", "table6", "table7", "table8")
    } == {
        "table1": 12,
        "table3": 36,
        "table5": 16,
        "table6": 27,
        "table7": 9,
        "table8": 117,
    }


def test_sizes(ledger: Ledger) -> None:
    assert len(ledger.claims) >= 600
    assert sum(claim.check is not None for claim in ledger) >= 450
    assert {claim.edition for claim in ledger} == {1, 2}


@pytest.mark.parametrize(
    ("name", "value", "unit"),
    [
        ("table1/R1/gflop-256", 657, "GFLOP"),
        ("table1/R3/fid", 42.49, "FID"),
        ("table1/A/gflop-512", 1060, "GFLOP"),
        ("table1/B1/gflop-512", 185, "GFLOP"),
        ("table1/B2/complexity", "O(n)", "class"),
        ("table2/concat/fid", 33.75, "FID"),
        ("table3/ncsnpp-5k/fid", 53.52, "FID"),
        ("table3/stylegan-xl/fid", 2.02, "FID"),
        ("table4/ldm-4/is", 209.5, "IS"),
        ("table4/dit-xl-2/images", 1_800_000_000, "images"),
        ("table4/maskdit-2/steps", "40·2", "calls"),
        ("table4/vdm-pp/images", None, "images"),
        ("table4/hdit/images", 742_000_000, "images"),
        ("table5/min-snr-4/fid", 35.62, "FID"),
        ("table6/depth/ffhq", "[2, 2, 2, 2]", "layers"),
        ("table6/batch/imagenet256", "256+", "images"),
        ("table6/time/ablation", 15, "hours"),
        ("table6/time/ffhq", 5, "days"),
        ("table6/time/imagenet256", None, "days"),
        ("table6/eps/ffhq", 1e-8, "constant"),
        ("table6/footnote-6/third-phase-steps", 100_000, "steps"),
        ("section-5.2/A-share", 30, "percent"),
        ("figure-2/share", 1, "percent"),
        ("appendix-d/fid", 3.21, "FID"),
        ("edition2-table1/C/relative-512", -96, "percent"),
        ("edition2-table3/stylegan3-r/kd-dinov2", 0.651, "KD-DINOv2"),
        ("edition2-table5/H/fid", 30.66, "FID"),
        ("edition2-table6/p8-l/params", 547_000_000, "parameters"),
        ("edition2-table8/time/p16-s", 1.1, "days"),
    ],
)
def test_numbers_as_printed(ledger: Ledger, name: str, value: object, unit: str) -> None:
    claim = ledger.claim(name)
    assert claim.printed == value
    assert type(claim.printed) is type(value)
    assert claim.unit.value == unit


def test_places_are_said_once_in_a_table(ledger: Ledger) -> None:
    places = Counter(claim.place for claim in ledger if claim.table)
    assert [place for place, count in places.items() if count > 1] == []
    assert ledger.claim("table1/E/gflop-256").place == "Table 1, E, GFLOP@256²"
    assert ledger.claim("table4/ldm-4/is").place == "Table 4, LDM-4, IS"


def test_numbers_stand_in_their_text(ledger: Ledger) -> None:
    for claim in ledger:
        number = printed.parse(claim.text)
        if number is not None and claim.unit.numeric:
            assert claim.printed == number.value, claim.id


def runs_of(check: checks.Check) -> Iterator[str]:
    """Names of the jobs that a check looks at."""
    if isinstance(check, checks.Same):
        yield from check.runs
    elif run := getattr(check, "run", ""):
        yield run
    for expression in checks.expressions(check):
        yield from formula.arguments(expression, formula.OF_RUNS)


def test_every_check_is_of_a_known_kind_and_of_a_job_that_exists(ledger: Ledger) -> None:
    kinds = {member.__struct_config__.tag for member in checks.Check.__args__}
    used = {claim.check.__struct_config__.tag for claim in ledger if claim.check}
    assert used == kinds, "a kind that no claim uses, or a check of no kind"
    known = {f"{name}/{row}" for name in jobs.experiments() for row in jobs.read(name).rows}
    named = {claim.run for claim in ledger if claim.run}
    named |= {run for claim in ledger if claim.check for run in runs_of(claim.check)}
    assert named <= known


def test_what_needs_a_run_says_which(ledger: Ledger) -> None:
    for claim in ledger:
        assert (claim.check is None) != (claim.needs is None), claim.id
        assert claim.needs != "run" or claim.run, claim.id
        assert claim.needs != "citation" or claim.cites or claim.method, claim.id


def test_expected_errata_have_their_reasons(ledger: Ledger) -> None:
    errata = [claim for claim in ledger if claim.expect == "erratum"]
    assert errata
    assert all(claim.check and claim.reason for claim in errata)
    assert all(claim.citation for claim in errata if isinstance(claim.check, checks.Cited))


def test_claims_become_json_and_back(ledger: Ledger) -> None:
    claim = ledger.claim("table6/mapping-width/ffhq")
    assert msgspec.json.decode(msgspec.json.encode(claim), type=Claim) == claim


def test_reading_reaches_no_torch() -> None:
    code = (
        "import sys; from hdit_repro import paper; paper.read(); print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]
