"""What every evaluation of a small run would compute anew, computed once."""

import hashlib
from collections.abc import Iterator
from functools import lru_cache

import pytest

from hdit_repro.metrics import frechet
from hdit_repro.metrics.extractors import EXTRACTORS, efficientnet
from hdit_repro.metrics.statistics import Array

ROOTS: dict[tuple[tuple[int, ...], bytes], Array] = {}
BUILT = lru_cache(efficientnet.build)


@pytest.fixture(autouse=True, scope="module")
def one_root_a_covariance() -> Iterator[None]:
    """Roots of 1,280 x 1,280 are a fourth of the time of a run of four samples, and most have one reference here."""
    plain = frechet.root

    def root(cov: Array) -> Array:
        key = (cov.shape, hashlib.sha256(cov.tobytes()).digest())
        if key not in ROOTS:
            ROOTS[key] = plain(cov)
        return ROOTS[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frechet, "root", root)
        yield


@pytest.fixture(autouse=True, scope="module")
def one_feature_network() -> Iterator[None]:
    """Sampling and evaluating build it, each for itself; it has nothing that use changes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EXTRACTORS, "efficientnet-lite0", BUILT)
        yield
