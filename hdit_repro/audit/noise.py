"""How large luck is: the noise between trainings and between samplings, from records or from what is published.

A value is mu (1 + training noise) (1 + sampling noise), so in logarithms the noises are standard deviations, equal for
all rows of a table unless a row has repetitions enough to speak for itself. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import variance
from typing import NamedTuple

from hdit_repro.audit.computed import in_percent
from hdit_repro.audit.replicates import Replicates, pooled
from hdit_repro.errors import counted

OWN = 8
"""Trainings from which a row's noise is its own and no longer pooled with the other rows'."""

ENOUGH = 4
"""Degrees of freedom that records need before their noise replaces the published one."""


class Spread(NamedTuple):
    """A standard deviation of logarithms; `dof` of infinity is one that is taken as known. `basis` says whence, and
    `of` of what it was estimated: of which rows together, or of which one alone."""

    sd: float
    dof: float
    basis: str
    of: str = ""

    @property
    def estimate(self) -> tuple[float, str, str]:
        """Which estimate it rests on: the spreads of means over other numbers of samplings rest on the same one."""
        return self.dof, self.basis, self.of

    @property
    def known(self) -> bool:
        return math.isinf(self.dof)

    @property
    def unknown(self) -> bool:
        """Nothing can be told from luck."""
        return math.isinf(self.sd)

    def after(self, trainings: int, dof: float, row: str = "") -> Spread:
        """What it rests on once a row has so many trainings and the records so many degrees of freedom, if it stays as
        large: noise that is known until then is estimated from ENOUGH on, and a row's own from OWN on."""
        if trainings >= OWN:
            return self._replace(dof=trainings - 1, of=row)
        if dof < ENOUGH:
            return self
        return self._replace(dof=dof if self.known else max(dof, self.dof))

    def words(self) -> str:
        """1.3 % (published: ...)."""
        return f"unknown ({self.basis})" if self.unknown else f"{in_percent(self.sd)} ({self.basis})"

    def brief(self) -> str:
        """1.3 % (published)."""
        return self._replace(basis=self.basis.partition(":")[0]).words()


def said(spreads: Sequence[Spread]) -> str:
    """The noise of what is set against each other: each estimate that it rests on, or the one that is not known."""
    for spread in spreads:
        if spread.unknown:
            return spread.words()
    return " and ".join({spread.estimate: spread.brief() for spread in spreads}.values())


PRIOR = Spread(
    0.013,
    math.inf,
    "published: retraining moves FID by 1 to 2 % (arXiv 2606.20536, measured on a latent SiT and assumed to hold here)",
)
"""One training and one sampling together."""

SAMPLING_PRIOR = Spread(
    PRIOR.sd / 3.2, math.inf, "published: retraining moves FID 3.2 times as far as sampling again (arXiv 2606.20536)"
)
"""One sampling. It is a part of PRIOR."""

PUBLISHED = "fid"
"""The metric that PRIOR is of: a FID of the paper's number of samples."""


def unpublished(what: str) -> Spread:
    """The noise of a metric or scale that nobody has published anything for, before trainings are repeated."""
    needed = f"{ENOUGH} degrees of freedom of repeated trainings are needed, say four rows with `--seeds 2`"
    return Spread(math.inf, math.inf, f"nothing is published for {what}: {needed}")


UNKNOWN = unpublished("this scale")
"""Below paper scale, before trainings are repeated."""


UNKNOWN_SAMPLING = Spread(
    math.inf,
    math.inf,
    f"nothing is published: {ENOUGH} degrees of freedom of repeated samplings are needed",
)
"""Where PRIOR does not hold, before samplings are repeated."""


class Noise(NamedTuple):
    """The noise of a table.

    Attributes:
        pooled: between means of trainings, over the rows that have no estimate of their own.
        sampling: between samplings of one network.
        own: by row, where that has OWN trainings or more, with the samplings a training behind it.
        samplings: samplings a training behind `pooled`.
    """

    pooled: Spread
    sampling: Spread
    own: Mapping[str, tuple[Spread, float]]
    samplings: float = 1.0

    def of(self, row: str, samplings: float = 1.0) -> Spread:
        """The spread of a mean over so many samplings of one training of a row; the paper's numbers rest on one."""
        found, behind = self.own.get(row, (self.pooled, self.samplings))
        if samplings == behind or found.unknown:
            return found
        if self.sampling.unknown:  # what more samplings take away is not known, and counts as nothing
            return found if samplings > behind else self.sampling
        least = found.sd**2 * min(1.0, behind / samplings)  # as if all of it came from sampling
        changed = found.sd**2 + self.sampling.sd**2 * (1 / samplings - 1 / behind)
        return found._replace(sd=math.sqrt(max(changed, least)))

    def words(self) -> str:
        """Both noises and where they come from."""
        return f"noise between trainings {self.pooled.words()}; between samplings {self.sampling.words()}"


def estimate(rows: Mapping[str, Replicates], prior: Spread = PRIOR, of: str = "") -> Noise:
    """The noise of a table from its rows' repetitions; `prior` where these have fewer than ENOUGH degrees of freedom.

    Rows that share a network (guidance weights of one training, references of one set of samples) repeat its luck and
    are one row's worth of it: the one with the most trainings counts.

    Args:
        rows: of one metric, scale and table, by any name.
        prior: of one training with one sampling. It stays where no two trainings of a row differ: shares of images move
            in steps, and luck below a step is not known.
        of: what the rows have in common, by a name that no other rows have.
    """
    apart = independent(rows)
    sampling = _sampling(apart, UNKNOWN_SAMPLING if prior.unknown else SAMPLING_PRIOR)
    enough = {name: (_own(name, row), row.samplings) for name, row in rows.items() if row.seeds >= OWN}
    own = {name: found for name, found in enough.items() if found[0].sd}
    repeated = [row for name, row in apart.items() if name not in own and row.seeds > 1]
    sd, dof = pooled(row.means.values() for row in repeated)
    if dof >= ENOUGH and sd:
        trainings = sum(row.seeds for row in repeated)
        basis = f"pooled over {trainings} trainings of {counted(len(repeated), 'row')}, {dof} degrees of freedom"
        samplings = dof / sum((row.seeds - 1) / row.samplings for row in repeated)  # as the squares are weighted
        return Noise(Spread(sd, dof, basis, of), sampling, own, samplings)
    spread = prior if sampling.known else _with_sampling(prior, sampling)
    if dof:
        needed = f"the records have {dof} of the {ENOUGH} degrees of freedom needed"
        if dof >= ENOUGH:
            trainings = sum(row.seeds for row in repeated)
            needed = f"of {trainings} trainings of {counted(len(repeated), 'row')}, no two of one row differ"
        spread = spread._replace(basis=f"{spread.basis}; {needed}")
    return Noise(spread, sampling, own, 1.0)


def independent(rows: Mapping[str, Replicates]) -> dict[str, Replicates]:
    """Rows no two of which share a network: of those that do, the one with most trainings, then most samplings."""
    found: dict[str, Replicates] = {}
    taken: set[str] = set()
    for name in sorted(rows, key=lambda name: (-rows[name].seeds, -rows[name].samplings, name)):
        if taken.isdisjoint(rows[name].trainings):
            found[name] = rows[name]
            taken |= rows[name].trainings
    return found


def _own(name: str, row: Replicates) -> Spread:
    """The spread of a row's means over the samplings of a training."""
    return Spread(math.sqrt(variance(row.means.values())), row.seeds - 1, f"{row.seeds} trainings of this row", name)


def _with_sampling(prior: Spread, sampling: Spread) -> Spread:
    """The published noise with the records' noise between samplings in the place of its own share of it."""
    if prior.unknown:
        return prior
    total = prior.sd**2 - SAMPLING_PRIOR.sd**2 + sampling.sd**2
    basis = prior.basis.replace("published", "published, but for samplings", 1)
    dof = total**2 * sampling.dof / sampling.sd**4  # Satterthwaite's
    return Spread(math.sqrt(total), dof, f"{basis}; samplings {sampling.basis}")


def _sampling(rows: Mapping[str, Replicates], prior: Spread) -> Spread:
    """Between samplings of one network, pooled over networks; `prior` where there are too few."""
    repeated = [logs for row in rows.values() for logs in row.logs.values() if len(logs) > 1]
    sd, dof = pooled(repeated)
    if dof < ENOUGH or not sd:
        return prior
    return Spread(sd, dof, f"from {dof + len(repeated)} samplings of {counted(len(repeated), 'network')}")
