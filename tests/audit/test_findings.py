"""What the audit says of the paper: coverage, the known findings with their numbers, prices, measurements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec
import pytest

from hdit_repro.audit import Finding, audit
from hdit_repro.paper import Ledger
from hdit_repro.records.schema import Record

ERRATA = {
    "table1/R1/gflop-256",
    "table4/ldm-4/is",
    "table4/adm/steps",
    "table4/hdit/steps",
    "table6/depth/ffhq",
    "table6/mapping-width/ffhq",
    "table6/mapping-width/imagenet256",
    "equation-5/equality",
    "equation-5/sentence",
    "section-4.1/wider-costed",
    "section-4.2/dit-position",
    "appendix-a/shared",
    "appendix-b/much-smaller",
    "appendix-c/tau",
    "figure-8/gamma",
    "edition2-table1/C/relative-512",
    "edition2-table1/D/relative-512",
    "edition2-table1/E/relative-512",
}

COSTS = {
    **{f"table1/R{row}": (106.4, 657.5, 6340.6) for row in (2, 3, 4)},
    "table1/A": (32.17, 114.0, 1059.9),
    "table1/B1": (29.15, 60.27, 184.7),
    "table1/B2": (29.10, 60.04, 183.8),
    **{f"table1/{row}": (31.37, 64.72, 198.1) for row in "CDE"},
}
"""10^9 MACs at 128², 256², 512², worked out by hand and with the released code."""

HOLDS, ERRATUM, RUN = "holds", "erratum", "needs-run"

KNOWN: dict[str, dict[str, tuple[str, float | str | None]]] = {
    "GFLOP are 10^9 multiply-accumulates": {
        **{
            f"{row}/gflop-{side}": (HOLDS, cost)
            for row, costs in COSTS.items()
            for side, cost in zip((128, 256, 512), costs, strict=True)
        },
        "table1/R1/gflop-128": (HOLDS, 106.4),
        "table1/R1/gflop-256": (ERRATUM, 657.6),
        "table1/R1/gflop-512": (HOLDS, 6340.9),
        "table6/gflop/ffhq": (HOLDS, 206.1),
        "table6/gflop/imagenet256": (HOLDS, 197.6),
    },
    "a doubling adds a level": {
        "section-5.2/level-256-E": (HOLDS, "2 + 1"),
        "section-5.2/level-256-A": (HOLDS, "0 + 3"),
        "section-5.2/hidden-before": (HOLDS, 4),
        "section-5.2/hidden-after": (HOLDS, 3),
        "section-4.1/wider": (HOLDS, 4 / 3),
        "section-4.1/wider-costed": (ERRATUM, 1),
    },
    "one mapping width does not fit all columns": {
        "table6/mapping-width/ablation": (HOLDS, 768),
        "table6/mapping-width/ffhq": (ERRATUM, 256),
        "table6/mapping-width/imagenet256": (ERRATUM, 256),
        "table6/parameters/ablation": (HOLDS, 117.0e6),
        "table6/parameters/ffhq": (HOLDS, 85.1e6),
        "table6/parameters/imagenet256": (HOLDS, 557.4e6),
    },
    "FFHQ's depths": {"table6/depth/ffhq": (ERRATUM, "[2, 2, 2, 2, 2]"), "edition2-table7/depth/ffhq": (HOLDS, None)},
    "Equation 5 contradicts itself": {
        "equation-5/equality": (ERRATUM, None),
        "equation-5/sentence": (ERRATUM, None),
        "equation-5/last": (HOLDS, 0),
        "equation-9/released": (HOLDS, None),
    },
    "Equation 6 and the code's factor": {"equation-6/lerp": (HOLDS, None)},
    "samples seen on ImageNet-256²": {"table4/hdit/images": (HOLDS, 742.4e6), "table6/footnote-6/sum": (HOLDS, 2.2e6)},
    "LDM-4's FID and IS": {"table4/ldm-4/is": (ERRATUM, 103.49), "table4/ldm-4/fid": (RUN, None)},
    "50·2 steps": {"table4/hdit/steps": (ERRATUM, 50)},
    "R2's optimizer": {"footnote-3/learning-rate": (HOLDS, 1e-4), "footnote-3/weight-decay": (HOLDS, 0)},
    "what only the released code says": {"appendix-c/initial": (HOLDS, 10), "section-3.1/low-32": (HOLDS, 32)},
    "what the released code cannot express": {
        "section-4.2/feed-forward": (HOLDS, "geglu"),
        "edition2/H-feed-forward": (HOLDS, "gelu"),
        "table5/min-snr-5/gamma": (HOLDS, 5),
        "table2/concat/fid": (RUN, None),
    },
    "how FID is measured": {"section-5.1/extractor": (HOLDS, "inception-2015"), "table3/hdit/fid": (RUN, None)},
    "differences that one run a side cannot resolve": {"section-5.2/R3-matches-R1": (HOLDS, 42.49 / 42.03)},
    "what the runs took": {
        "table6/time/ablation": (RUN, None),
        "table6/time/ffhq": (RUN, None),
        "edition2-table7/time/imagenet256": (RUN, None),
    },
    "ratios, parameters and words": {
        **{f"edition2-table1/{row}/relative-512": (ERRATUM, -96.9) for row in "CDE"},
        "section-5.2/dit-parameters-R1": (HOLDS, 130.4e6),
        "section-5.2/dit-parameters-R2": (HOLDS, 130.4e6),
        "section-5.2/hdit-parameters-R3": (HOLDS, 104.65e6),
        "section-5.2/hdit-parameters-R4": (HOLDS, 104.65e6),
        "appendix-a/shared": (ERRATUM, 22.41e6),
        "appendix-b/much-smaller": (ERRATUM, 0.5),
        "figure-8/gamma": (ERRATUM, 4),
        "appendix-c/tau": (ERRATUM, 0.1),
    },
    "what the paper leaves open": {"section-4.2/similarity": (HOLDS, "cosine"), "table1/B1/gflop-512": (HOLDS, 184.7)},
    "complexity from counts": {
        **{f"table1/{row}/complexity": (HOLDS, "O(n)") for row in ("B1", "B2", "C", "D", "E")},
        **{f"table1/{row}/complexity": (HOLDS, "O(n^2)") for row in ("R1", "R2", "R3", "R4", "A")},
    },
}
"""Where print and arithmetic meet or do not -> the claims that show it -> their status and computed value."""


@pytest.mark.parametrize("matter", KNOWN)
def test_what_is_known_comes_out(findings: dict[str, Finding], matter: str) -> None:
    assert KNOWN[matter]
    for name, (status, value) in KNOWN[matter].items():
        found = findings[name]
        assert found.status == status, name
        if isinstance(value, str) or value is None:
            assert value is None or found.computed == value, name
        else:
            assert found.computed == pytest.approx(value, rel=1e-3), name


def test_nothing_surprises(findings: dict[str, Finding]) -> None:
    assert [name for name, found in findings.items() if found.surprise] == []
    assert {name for name, found in findings.items() if found.status == "erratum"} == ERRATA


def test_every_table_is_covered_and_most_is_computed(findings: dict[str, Finding]) -> None:
    assert len(findings) >= 600
    computed = Counter(name.partition("/")[0] for name, found in findings.items() if found.computed is not None)
    claims = Counter(name.partition("/")[0] for name in findings)
    assert computed.total() >= 450
    for table in range(1, 7):
        assert claims[f"table{table}"] >= 3
        assert computed[f"table{table}"] >= 1
    assert sum(found.claim.edition == 1 for found in findings.values()) >= 400


def test_every_finding_shows_its_computation(findings: dict[str, Finding]) -> None:
    for name, found in findings.items():
        assert found.steps, name
        assert all(found.steps), name
        assert (found.computed is None) == (found.claim.check is None), name
        assert found.status != "needs-run" or found.note, name
        assert found.status != "erratum" or found.note, name


def test_the_record_others_rely_on(findings: dict[str, Finding]) -> None:
    assert findings["table1/R1/gflop-256"].as_row() == {
        "claim": "table1/R1/gflop-256",
        "place": "Table 1, R1, GFLOP@256²",
        "printed": 657,
        "text": "657",
        "unit": "GFLOP",
        "computed": 657.627414528,
        "status": "erratum",
        "note": findings["table1/R1/gflop-256"].claim.reason,
        "edition": 1,
        "verdict": None,
        "expected": True,
    }
    for found in findings.values():
        row = found.as_row()
        assert isinstance(row["printed"], int | float | str | None)
        assert isinstance(row["computed"], int | float | str | None)
        assert not isinstance(row["computed"], bool)


def test_a_list_is_shown_as_its_member_where_one_number_is_printed(findings: dict[str, Finding]) -> None:
    assert findings["table6/head-dim/ffhq"].computed == 64
    assert findings["table6/widths/ffhq"].computed == "[128, 256, 384, 768, 1024]"


def test_orders_are_of_prints(findings: dict[str, Finding]) -> None:
    found = findings["section-5.2/lerp-better"]
    assert (found.status, found.computed, found.note) == ("holds", "27.74 < 28.37", "by the printed numbers")


def test_what_the_paper_leaves_open_is_said(findings: dict[str, Finding]) -> None:
    assert "the job's value is the fork's: k_diffusion/" in findings["section-4.2/similarity"].note


def test_prices(findings: dict[str, Finding]) -> None:
    """Row E is 60 A100-hours to train, FFHQ 7,680, ImageNet-256² 1,459 H100-hours."""
    note = findings["table1/E/fid"].note
    assert note.startswith(
        "job table1/E would settle it: 61 A100-hours or 32 H100-hours, 60 of the former for training"
    )
    assert "row E of Table 1" in note
    assert "7,680" in findings["table3/hdit/fid"].note
    assert " 1,459 H100-hours" in findings["table4/hdit/fid"].note
    assert findings["table1/E/fid"].steps[-1] == "hdit-repro submit table1/E --cluster a100"


def test_other_papers_numbers_rest_on_their_source(findings: dict[str, Finding]) -> None:
    found = findings["table4/rin/fid"]
    assert (found.status, found.computed) == ("needs-run", None)
    assert found.note == "rests on the cited source: Jabri et al., 2023"


def test_what_a_record_cannot_settle_is_said(findings: dict[str, Finding]) -> None:
    assert "records know no FD-DINOv2" in findings["edition2-table3/hdit/fd-dinov2"].note
    assert "nothing is printed" in findings["table6/time/imagenet256"].note
    assert "not a metric of its record" in findings["appendix-c/converged-low"].note


Make = Callable[..., Record]
Found = Callable[..., Finding]


@pytest.fixture
def found_with(ledger: Ledger, only: Callable[..., Ledger]) -> Found:
    """The finding of one claim, given these records."""
    return lambda name, *records: audit(only(ledger, name), records)[0]


def test_a_record_is_set_beside_the_print(found_with: Found, record: Make) -> None:
    found = found_with("table1/E/fid", record("table1/E", fid=28.04, inception_score=60.0))
    assert (found.status, found.computed, found.surprise) == ("measured", 28.04, False)
    assert found.note == (
        "reproduced: ours is +1.1 % from print, 90 % interval −1.9 % to +4.2 %, margin ±5 %, n = 1, noise 1.3 % "
        "(published); ours 28.04, printed 27.74, difference +0.3; fid on inception-2015, 50,000 samples against "
        "1,281,167 images of VIRTUAL_imagenet128_labeled, dpmpp_3m_sde with 50 steps, guidance 1, ema weights, "
        "random labels"
    )


def test_rows_that_share_a_run_share_its_record(found_with: Found, record: Make) -> None:
    assert found_with("table2/lerp/fid", record("table1/E", fid=28.04)).status == "measured"
    assert found_with("table2/add/fid", record("table1/E", fid=28.04)).status == "needs-run"


def test_seeds_are_averaged(found_with: Found, record: Make) -> None:
    found = found_with("table1/E/fid", *(record("table1/E", seed=seed, fid=28.0 + seed) for seed in range(3)))
    assert found.computed == 29.0
    assert "ours 29 (mean of 3 training seeds, standard deviation 1), printed 27.74, difference +1.26" in found.note


def test_each_unit_has_its_metric(found_with: Found, record: Make) -> None:
    both = record("imagenet256", fid=6.9, inception_score=135.0)
    assert found_with("table4/hdit/is", both).computed == 135.0
    assert found_with("table4/hdit/fid", both).computed == 6.9
    assert found_with("table6/gflop/imagenet256", both).status == "holds"
    assert found_with("edition2-table7/time/imagenet256", both).status == "needs-run"


def test_a_count_of_samples_goes_into_the_name(found_with: Found, record: Make) -> None:
    few = record("ffhq1024-5k", **{"fid_at_5000": 8.5})
    assert found_with("table3/hdit-5k/fid", few).computed == 8.5
    assert found_with("table3/hdit/fid", few).status == "needs-run"


def test_other_scales_and_other_protocols_do_not_count(found_with: Found, record: Make) -> None:
    smoke = record("table1/E", scale="smoke", fd_efficientnet_lite0=40.0)
    mini = msgspec.structs.replace(record("table1/E", fid=20.0), scale="mini")
    other = record("table1/D", fid=41.0)
    assert found_with("table1/E/fid", smoke, mini, other).status == "needs-run"
