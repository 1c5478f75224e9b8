"""How verdicts look on a page: a coloured word, and the sentence behind it."""

from __future__ import annotations

from hdit_repro.audit.decide import Outcome
from hdit_repro.audit.verdicts import Verdict
from hdit_repro.render.report.blocks import Span, Tone

TONES: dict[Outcome, Tone] = {"reproduced": "good", "not reproduced": "bad", "inconclusive": "open"}


def badge(verdict: Verdict) -> Span:
    """The verdict as a coloured word."""
    return Span(verdict.outcome, tone=TONES[verdict.outcome])


def reason(verdict: Verdict) -> str:
    """The sentence without the verdict that it begins with."""
    return verdict.words.partition(": ")[2]
