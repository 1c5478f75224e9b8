"""Verdicts on the ledger's claims from records, as `verify` says them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from statistics import fmean, stdev
from typing import Any

import msgspec
import pytest
from scipy import stats

from hdit_repro import jobs
from hdit_repro.audit import audit
from hdit_repro.audit.bills import Bills
from hdit_repro.audit.measured import Measurements
from hdit_repro.audit.orders import on_orders
from hdit_repro.audit.ranks import Place, by_lot, of_sample, on_tables, rank, tau
from hdit_repro.audit.replicates import change
from hdit_repro.paper import Ledger
from hdit_repro.records import schema
from hdit_repro.records.schema import Record

Make = Callable[..., Record]


def finding(ledger: Ledger, records: list[Record], claim: str) -> Any:
    return next(found for found in audit(ledger, records) if found.claim.id == claim)


@pytest.mark.parametrize(
    ("fid", "outcome"),
    [
        (27.74, "reproduced"),
        (28.0, "reproduced"),
        (28.7, "inconclusive"),
        (29.5, "not reproduced"),
        (20.0, "not reproduced"),
    ],
)
def test_one_training_of_a_row(ledger: Ledger, record: Make, fid: float, outcome: str) -> None:
    found = finding(ledger, [record("table1/E", fid=fid)], "table1/E/fid")
    assert found.status == "measured"
    assert not found.surprise
    assert found.verdict.outcome == outcome
    assert found.as_row()["verdict"] == outcome
    assert found.note.startswith(f"{outcome}: ours is ")
    assert "margin ±5 %" in found.note
    assert any("two one-sided tests" in step for step in found.steps)


def test_an_open_verdict_says_what_would_settle_it(ledger: Ledger, record: Make) -> None:
    """Student's t of n - 1 times 1.3 % x sqrt(1 + 1/n) falls below ln(28.5 / 27.74) at n = 30; 1.96 would at n = 8."""
    found = finding(ledger, [record("table1/E", fid=28.5)], "table1/E/fid")
    hours = float(found.note.partition("; 29 more seeds: ")[2].split()[0].replace(",", ""))
    assert hours == pytest.approx(29 * 60.6, rel=0.05)


def test_seeds_are_averaged_and_their_noise_used(ledger: Ledger, record: Make) -> None:
    values = (27.0, 28.5, 27.6, 28.1, 27.3)
    found = finding(ledger, [record("table1/E", seed=n, fid=v) for n, v in enumerate(values)], "table1/E/fid")
    assert ", n = 5, noise " in found.note
    assert "pooled over 5 trainings of 1 row, 4 degrees of freedom" in found.note
    middle, sd = fmean(map(math.log, values)) - math.log(27.74), stdev(map(math.log, values))
    reach = stats.t(4).ppf(0.95) * sd * math.sqrt(1 / 5 + 1)
    assert f", 90 % interval {change(middle - reach)} to {change(middle + reach)}, " in found.note


def test_a_claim_of_order_keeps_its_status_and_gets_a_verdict(ledger: Ledger, record: Make) -> None:
    records = [record("table1/B2", fid=51.0), record("table1/B1", fid=58.0), record("table1/A", fid=50.9)]
    found = {f.claim.id: f for f in audit(ledger, records)}
    better = found["section-5.2/B2-less"]
    assert better.status == "holds"
    assert better.verdict.outcome == "reproduced"
    assert "after Holm over 3" in better.note
    assert found["section-4.3/neighborhood"].verdict.outcome == "reproduced"
    close = found["section-5.2/B2-worse"]
    assert close.verdict.outcome == "inconclusive"
    assert "more seeds a side" in close.note
    assert found["section-5.2/E-better"].verdict is None


def test_the_other_order_is_not_reproduced(ledger: Ledger, record: Make) -> None:
    records = [record("table1/B2", fid=60.0), record("table1/B1", fid=50.0)]
    assert finding(ledger, records, "section-5.2/B2-less").verdict.outcome == "not reproduced"


def test_one_pair_of_rows_has_a_test_for_each_metric(ledger: Ledger, record: Make) -> None:
    """Figure 9's two claims are of the same two rows: what the FIDs say is nothing about the Inception Scores."""
    records = [
        record("imagenet256", fid=6.9, inception_score=135.0),
        record("guidance/w1.3", fid=3.2, inception_score=100.0),
    ]
    found = {name: verdict.outcome for name, verdict in on_orders(ledger, Measurements(records), Bills()).items()}
    assert found == {"appendix-d/better-fid": "reproduced", "appendix-d/better-is": "inconclusive"}


def test_rows_of_one_training_are_said_to_share_its_luck_and_its_price(ledger: Ledger, record: Make) -> None:
    records = [record("imagenet256", fid=6.9), record("guidance/w1.3", fid=6.8)]
    found = on_orders(ledger, Measurements(records), Bills())["appendix-d/better-fid"]
    assert "(published); both are drawn from the same networks, whose luck the interval counts as" in found.words
    apart = on_orders(ledger, Measurements([record("table1/B2", fid=51.0), record("table1/B1", fid=58.0)]), Bills())
    assert "same networks" not in apart["section-5.2/B2-less"].words

    def hours(*names: str) -> float:
        return float(Bills().many_of([jobs.find(name) for name in names], 1).split()[0].replace(",", ""))

    drawn = hours("guidance/w1.3") - sum(bill.hours["train"] for bill in Bills().of(jobs.find("guidance/w1.3"))[:1])
    assert hours("imagenet256", "guidance/w1.3") == pytest.approx(hours("imagenet256") + drawn, abs=1)


def test_no_chance_is_said_that_no_model_of_noise_can_tell(ledger: Ledger, record: Make) -> None:
    found = on_orders(ledger, Measurements([record("table1/B2", fid=1.0), record("table1/B1", fid=58.0)]), Bills())
    assert "n = 1 and 1, p < 0.0001 after Holm" in found["section-5.2/B2-less"].words


def test_numbers_of_other_scales_get_no_verdict_on_print(ledger: Ledger, record: Make) -> None:
    found = audit(ledger, [record("table1/E", scale="mini", fid=27.0), record("table1/D", scale="mini", fid=40.0)])
    assert all(one.verdict is None for one in found)


def test_below_paper_scale_order_needs_noise_of_that_scale(ledger: Ledger, record: Make) -> None:
    def smoke(row: str, value: float, seed: int = 0) -> Record:
        return record(f"table1/{row}", scale="smoke", seed=seed, fd_efficientnet_lite0=value)

    once = Measurements([smoke("E", 100.0), smoke("D", 200.0)], "smoke")
    verdict = on_orders(ledger, once, Bills())["section-5.2/E-better"]
    assert verdict.outcome == "inconclusive"
    assert "nothing is published for this scale" in verdict.words
    again = [
        smoke(row, value * (1 + seed / 100), seed) for row, value in (("E", 100.0), ("D", 200.0)) for seed in range(3)
    ]
    assert on_orders(ledger, Measurements(again, "smoke"), Bills())["section-5.2/E-better"].outcome == "reproduced"


def test_numbers_of_two_protocols_are_not_averaged(ledger: Ledger, record: Make) -> None:
    """Two seeds against one reference, one against another: the two count."""
    odd = record("table1/E", seed=2, fid=90.0)
    other = msgspec.structs.replace(odd.protocol.reference, digest="1" * 64)
    odd = schema.seal(msgspec.structs.replace(odd, protocol=msgspec.structs.replace(odd.protocol, reference=other)))
    found = finding(ledger, [record("table1/E", fid=27.0), record("table1/E", seed=1, fid=28.0), odd], "table1/E/fid")
    assert found.computed == 27.5


def test_rows_that_were_measured_differently_are_not_tested_against_each_other(ledger: Ledger, record: Make) -> None:
    """Each has its verdict against print; which of them is lower hangs on the references as much as on the rows."""
    rows = {"E": 27.7, "D": 41.4, "C": 44.4}
    records = [record(f"table1/{row}", fid=value) for row, value in rows.items()]
    other = msgspec.structs.replace(records[0].protocol.reference, digest="1" * 64)
    protocol = msgspec.structs.replace(records[0].protocol, reference=other)
    records[0] = schema.seal(msgspec.structs.replace(records[0], protocol=protocol))
    found = {f.claim.id: f for f in audit(ledger, records)}
    assert found["table1/E/fid"].verdict.outcome == "reproduced"
    apart = found["section-5.2/E-better"].verdict
    assert apart.words == "inconclusive: table1/E and table1/D were measured differently (reference)"
    assert apart.outcome == "inconclusive"
    assert "after Holm over 1" in found["section-5.2/D-better"].note
    assert {rank.rows for rank in on_tables(ledger, Measurements(records))} == {("C", "D")}


def test_pairs_that_luck_could_turn_round_leave_tau_open() -> None:
    """1.96 x sqrt(2) x 1 % = 2.8 %: b and c are closer than that on one side, and then on the other."""
    for ours, printed in (((0, 0.05, 0.07), (0, 0.1, 0.2)), ((0, 0.1, 0.2), (0, 0.05, 0.07))):
        found = rank("t", [Place(*row) for row in zip("abc", ours, [0.01] * 3, printed, [0.01] * 3, strict=True)], "")
        assert (found.tau, found.low, found.high) == (1, pytest.approx(1 / 3), 1)
    turned = rank("t", [Place(*row) for row in zip("ab", (0, 1), (0.01,) * 2, (1, 0), (0.01,) * 2, strict=True)], "")
    assert (turned.tau, turned.low, turned.high) == (-1, -1, -1)


def test_the_interval_of_tau_holds_the_true_one() -> None:
    """Ten rows in one true order, not much farther apart than the noise is large; values drawn again never held 1."""
    dice, held, trials = random.Random(0), 0, 200
    for _ in range(trials):
        true = [dice.gauss(0, 0.03) for _ in range(10)]
        ours, printed = ([dice.gauss(value, 0.013) for value in true] for _ in range(2))
        places = [Place(str(n), a, 0.013, b, 0.013) for n, (a, b) in enumerate(zip(ours, printed, strict=True))]
        held += rank("t", places, "").high == 1
    assert held > 0.95 * trials


def test_tau_by_hand() -> None:
    assert tau([1, 2, 3], [1, 2, 3]) == 1
    assert tau([1, 2, 3], [3, 2, 1]) == -1
    assert tau([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
    assert tau([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / (2 * 3) ** 0.5)
    assert tau([1, 1], [1, 2]) == 0


def test_orders_by_lot() -> None:
    """Of six orders of three rows: one is right, three have one inversion at most, all have three at most."""
    assert by_lot(3, 1) == pytest.approx(1 / 6)
    assert by_lot(3, 1 / 3) == pytest.approx(3 / 6)
    assert by_lot(3, -1) == 1
    assert by_lot(2, 1) == 0.5


def test_the_interval_over_rows() -> None:
    assert of_sample(1.0, 4) == (-1, 1)
    low, high = of_sample(0.5, 10)
    assert -1 < low < 0.5 < high < 1
    assert of_sample(1.0, 10)[0] < 1
    half = 1.959964 * math.sqrt(0.437 / 6)
    assert (low, high) == pytest.approx(
        (math.tanh(math.atanh(0.5) - half), math.tanh(math.atanh(0.5) + half)), abs=1e-6
    )
    wide, narrow = of_sample(0.5, 6), of_sample(0.5, 60)
    assert wide[1] - wide[0] > high - low > narrow[1] - narrow[0]


def test_our_order_against_the_papers(ledger: Ledger, record: Make) -> None:
    printed = {"R4": 30.71, "A": 50.76, "B1": 55.93, "C": 44.36, "E": 27.74}
    ours = Measurements([record(f"table1/{row}", fid=value) for row, value in printed.items()])
    (rank,) = on_tables(ledger, ours)
    assert rank.table == "table1"
    assert rank.tau == 1
    assert rank.high == 1
    assert rank.low > 0.7
    assert rank.chance == pytest.approx(1 / 120)
    turned = Measurements([record(f"table1/{row}", fid=100 - value) for row, value in printed.items()])
    assert on_tables(ledger, turned)[0].tau == -1
    assert on_tables(ledger, Measurements([record("table1/E", fid=1.0)])) == []


def test_two_rows_at_smoke_scale_have_a_rank(ledger: Ledger, record: Make) -> None:
    pair = [
        record(f"table1/{row}", scale="smoke", fd_efficientnet_lite0=value) for row, value in (("E", 1.0), ("D", 2.0))
    ]
    (rank, *_) = on_tables(ledger, Measurements(pair, "smoke"))
    assert (rank.tau, rank.low, rank.high, rank.chance) == (1, -1, 1, 0.5)


def test_a_rank_under_noise_that_each_row_knows_of_itself_says_so(ledger: Ledger, record: Make) -> None:
    """Where each row has trainings enough for a noise of its own, none is pooled."""
    many = [
        record(f"table1/{row}", scale="smoke", seed=seed, fd_efficientnet_lite0=value * (1 + seed / 1000))
        for row, value in (("E", 100.0), ("D", 200.0))
        for seed in range(8)
    ]
    (rank, *_) = on_tables(ledger, Measurements(many, "smoke"))
    assert (rank.low, rank.high) == (1, 1)
    assert "under noise of 0.24 % (8 trainings of this row)" in rank.words()


def test_rows_of_different_metrics_are_not_ranked_together(ledger: Ledger, record: Make) -> None:
    """Of 5,000 samples a FID is higher than of 50,000, whatever the network."""
    ours = [record("ffhq1024-5k", fid_at_5000=8.5), record("ffhq1024", fid=5.2)]
    assert on_tables(ledger, Measurements(ours)) == []
    both = [*ours, record("table1/E", fid=27.0), record("table1/D", fid=41.0)]
    assert {rank.rows for rank in on_tables(ledger, Measurements(both))} == {("D", "E"), ("snr", "soft-min-snr")}


def test_a_reversed_order_is_said_with_a_minus(ledger: Ledger, record: Make) -> None:
    ours = Measurements([record("table1/E", fid=41.0), record("table1/D", fid=27.0)])
    assert "2 rows (D, E): −1.00, 95 % interval −1.00 to −1.00 under noise" in on_tables(ledger, ours)[0].words()


def test_the_published_noise_is_of_the_papers_fid_and_of_nothing_else(ledger: Ledger, record: Make) -> None:
    """An Inception Score, and a FID of 5,000 samples, are told from print once trainings of theirs are repeated."""
    close = record("imagenet256", fid=6.92, inception_score=135.2)
    assert finding(ledger, [close], "table4/hdit/fid").verdict.outcome == "reproduced"
    score = finding(ledger, [close], "table4/hdit/is").verdict
    assert score.outcome == "inconclusive"
    assert "would settle it if" not in score.words
    assert score.words.startswith(
        "inconclusive: ours is 0 % from print, n = 1; noise unknown (nothing is published for inception-score: 4"
    )
    few = finding(ledger, [record("ffhq1024-5k", fid_at_5000=8.48)], "table3/hdit-5k/fid").verdict
    assert "nothing is published for fid@5000" in few.words
    values = (134.0, 136.0, 135.0, 135.5, 134.9)
    repeated = [record("imagenet256", seed=n, fid=6.92, inception_score=value) for n, value in enumerate(values)]
    assert finding(ledger, repeated, "table4/hdit/is").verdict.outcome == "reproduced"
