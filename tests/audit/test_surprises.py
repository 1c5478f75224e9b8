"""No erratum is written down: change the job, the counter or the print, and what rests on it turns over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from hdit_repro import paper
from hdit_repro.audit import audit, bench, evaluate
from hdit_repro.cost import hourglass
from hdit_repro.cost.tally import Tally
from hdit_repro.paper import Claim, Ledger, checks
from hdit_repro.spec.model import DiT
from hdit_repro.spec.sampling import Sampling

Verify = Callable[..., Any]
Alter = Callable[..., None]
Only = Callable[..., Ledger]

ERRATA = sorted(claim.id for claim in paper.read() if claim.expect == "erratum")


@pytest.mark.parametrize(
    ("experiment", "pairs", "flipped"),
    [
        pytest.param(
            "table1",
            [("depths = [2, 11]", "depths = [2, 12]")],
            {"table1/E/gflop-128", "table1/A/gflop-512", "table6/depth/ablation", "table6/parameters/ablation"},
            id="a core layer more",
        ),
        pytest.param(
            "table1",
            [("kernel = 7", "kernel = 9")],
            {"table1/B2/gflop-512", "table1/E/gflop-512", "table6/kernel/ablation"},
            id="a wider kernel",
        ),
        pytest.param(
            "table1",
            [('{ kind = "neighborhood", kernel = 7 }', '{ kind = "global" }')],
            {"table1/E/complexity", "abstract/linear", "table6/levels/ablation", "table6/kernel/ablation"},
            id="global attention everywhere",
        ),
        pytest.param(
            "table1",
            [('soft_min_snr", gamma = 4.0', 'soft_min_snr", gamma = 5.0')],
            {"figure-8/gamma", "appendix-b/gamma-4", "appendix-b/gamma-4-R4", "table5/soft-min-snr/gamma"},
            id="the figure's gamma in the models",
        ),
        pytest.param(
            "table1",
            [("initial_scale = 10.0", "initial_scale = 0.1")],
            {"appendix-c/tau", "appendix-c/initial"},
            id="a learned tau",
        ),
        pytest.param(
            "ffhq1024",
            [("width = 256, d_ff = 768", "width = 768, d_ff = 2304")],
            {"table6/parameters/ffhq", "figure-6/parameters", "table3/hdit/parameters"},
            id="the printed mapping width",
        ),
        pytest.param(
            "imagenet256",
            [("{ steps = 50_000, batch = 2048 }", "{ steps = 50_000, batch = 1024 }")],
            {"table4/hdit/images", "table6/footnote-6/fourth-phase-batch"},
            id="another batch schedule",
        ),
        pytest.param(
            "imagenet256",
            [("data = { resolution = 256 }", "data = { resolution = 256 }\nsampling = { guidance = 1.3 }")],
            {"table4/hdit/steps", "table4/caption/guidance", "section-5.4/guidance"},
            id="two calls a step",
        ),
        pytest.param(
            "imagenet256",
            [("widths = [384, 768, 1536]", "widths = [768, 768, 1536]")],
            {"section-4.1/wider", "table6/widths/imagenet256"},
            id="two levels of one width",
        ),
        pytest.param(
            "table1",
            [("widths = [384, 768]", "widths = [768, 768]")],
            {"section-4.1/wider", "table1/E/gflop-256"},
            id="two levels of one width in Table 1",
        ),
    ],
)
def test_a_changed_job_flips_what_rests_on_it(
    alter: Alter, verify: Verify, experiment: str, pairs: list[tuple[str, str]], flipped: set[str]
) -> None:
    assert verify().code == 0
    alter(experiment, *pairs)
    said = verify("--json")
    assert said.code == 1
    assert flipped <= said.surprises
    rows = {row["claim"]: row for row in said.json}
    assert {name for name, row in rows.items() if not row["expected"]} == said.surprises
    for name in flipped:
        assert rows[name]["status"] == ("holds" if name in ERRATA else "erratum")


def _attention_once(self: Tally, tokens: int, seen: int, width: int, *, times: int = 1) -> None:
    self._macs["attention"] += tokens * seen * width * times


def _no_mapping(tally: Tally, spec: object) -> None:
    """A counter that leaves the mapping network out."""


def _same_model(model: Any, resolution: int) -> Any:
    return msgspec.structs.replace(model, resolution=resolution)


@pytest.mark.parametrize(
    ("target", "name", "value", "flipped"),
    [
        pytest.param(
            Tally,
            "attention",
            _attention_once,
            {"table1/A/gflop-512", "table1/E/gflop-256", "table6/gflop/ffhq", "table1/R2/gflop-128"},
            id="one of attention's two products",
        ),
        pytest.param(DiT, "out_channels", property(lambda model: 3), {"table1/R1/gflop-256"}, id="R1 without sigma"),
        pytest.param(
            hourglass,
            "_mapping",
            _no_mapping,
            {"table6/mapping-width/ablation", "table6/parameters/ablation", "table6/parameters/ffhq"},
            id="no mapping network",
        ),
        pytest.param(
            bench,
            "at_resolution",
            _same_model,
            {
                "appendix-a/shared",
                "section-4.1/wider-costed",
                "table1/E/gflop-256",
                "table1/E/complexity",
                "section-5.2/level-256-B1",
            },
            id="no level for a doubling",
        ),
        pytest.param(
            Sampling,
            "network_calls",
            property(lambda sampling: 2 * sampling.sampler.steps),
            {"table4/hdit/steps"},
            id="two calls a step",
        ),
    ],
)
def test_a_changed_counter_flips_what_rests_on_it(
    monkeypatch: pytest.MonkeyPatch, verify: Verify, target: Any, name: str, value: Any, flipped: set[str]
) -> None:
    monkeypatch.setattr(target, name, value)
    said = verify()
    assert said.code == 1
    assert flipped <= said.surprises


def test_only_what_rests_on_it_flips(monkeypatch: pytest.MonkeyPatch, verify: Verify) -> None:
    monkeypatch.setattr(Sampling, "network_calls", property(lambda sampling: 100))
    said = verify("--table", "4", "--status", "holds")
    assert said.surprises == {"table4/hdit/steps"}
    assert "table4/hdit/steps" in said.out
    assert "an expected erratum is not found" in said.err


def test_a_gap_in_the_registry_is_no_silence(monkeypatch: pytest.MonkeyPatch, verify: Verify) -> None:
    monkeypatch.delitem(evaluate.EVALUATORS, "cited")
    assert verify().code == 1


CURES = {
    "equation-5/equality": {
        "left": "min(1 / sigma ** 2, gamma) * (sigma * sigma_data) ** 2 / (sigma ** 2 + sigma_data ** 2)"
    },
    "equation-5/sentence": {"right": "weight * c_out ** 2 * error ** 2"},
    "section-4.1/wider-costed": {"expression": 'widening("table1/E", 128)'},
}
"""What Equation 5 and its sentence would have to say, and of which network § 4.1 would have to be read."""


def cured(claim: Claim, computed: object) -> Claim:
    """The claim as it would stand had the paper printed what is computed."""
    if claim.id in CURES:
        assert claim.check is not None
        return msgspec.structs.replace(claim, check=msgspec.structs.replace(claim.check, **CURES[claim.id]))
    if claim.id == "appendix-c/tau":
        return msgspec.structs.replace(claim, check=checks.Formula(expression="10"))
    return msgspec.structs.replace(claim, printed=computed, means=None)  # type: ignore[arg-type]


def changed(part: Ledger, claim: Claim) -> Ledger:
    """The ledger with a claim in the place of the one of its id."""
    return Ledger(tuple(claim if other.id == claim.id else other for other in part), part.tables)


@pytest.mark.parametrize("name", sorted(ERRATA))
def test_each_erratum_is_found_by_computing(ledger: Ledger, only: Only, name: str) -> None:
    """Unexpected it is a surprise; once its cause is gone, so is the erratum, and its absence is the surprise."""
    claim = ledger.claim(name)
    found = audit(only(ledger, name))[0]
    assert (found.status, found.surprise) == ("erratum", False)

    unexpected = audit(changed(only(ledger, name), msgspec.structs.replace(claim, expect="holds", reason="")))[0]
    assert (unexpected.status, unexpected.surprise) == ("erratum", True)
    assert unexpected.note.startswith("not expected: ")

    gone = audit(changed(only(ledger, name), cured(claim, found.computed)))[0]
    assert (gone.status, gone.surprise) == ("holds", True)
    assert gone.note.startswith("an erratum was expected and is not found")


def test_what_a_job_makes_impossible_contradicts_the_print(alter: Alter, verify: Verify) -> None:
    """A dot product has no initial scale: neither the claim nor the expected erratum about it can be computed."""
    alter("table1", ('{ kind = "cosine", initial_scale = 10.0 }', '{ kind = "dot" }'))
    said = verify("--json")
    rows = {row["claim"]: row for row in said.json}
    assert said.code == 1
    for name in ("appendix-c/initial", "appendix-c/tau"):
        assert (rows[name]["computed"], rows[name]["status"], rows[name]["expected"]) == (None, "erratum", False)
        assert "the job leaves it without a value: run.model.similarity has no field" in rows[name]["note"]
    assert {"appendix-c/initial", "appendix-c/tau", "section-4.2/similarity"} <= said.surprises


def test_an_erratum_expected_of_what_is_not_computed_is_a_surprise(ledger: Ledger, only: Only) -> None:
    claim = msgspec.structs.replace(ledger.claim("table4/rin/fid"), expect="erratum", reason="somebody says so")
    found = audit(changed(only(ledger, claim.id), claim))[0]
    assert (found.status, found.surprise) == ("needs-run", True)


@pytest.mark.parametrize("name", ["table1/A/gflop-128", "table6/widths/ffhq", "section-5.2/R3-matches-R1"])
def test_another_print_is_an_erratum(ledger: Ledger, only: Only, name: str) -> None:
    claim = msgspec.structs.replace(ledger.claim(name), printed=31 if "R3" not in name else 1.2)
    found = audit(changed(only(ledger, claim.id), claim))[0]
    assert (found.status, found.surprise) == ("erratum", True)
