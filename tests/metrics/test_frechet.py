"""The Frechet distance against closed forms, the usual formula with scipy's sqrtm, and an exact low-rank twin."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hdit_repro.metrics import frechet_distance
from hdit_repro.metrics.frechet import frechet_of_samples, root


def covariance(rng: np.random.Generator, width: int, samples: int | None = None) -> np.ndarray:
    return np.cov(
        rng.standard_normal((samples or 3 * width, width)) @ rng.standard_normal((width, width)).T, rowvar=False
    )


def by_sqrtm(mean_a, cov_a, mean_b, cov_b):
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root.real))


def of_samples(x: np.ndarray, y: np.ndarray) -> float:
    """From the samples: tr (A B)^(1/2) is the nuclear norm of X Y^T, centred and scaled. No rank is too low."""
    x_centred, y_centred = ((z - z.mean(0)) / np.sqrt(len(z) - 1) for z in (x, y))
    step = x.mean(0) - y.mean(0)
    cross = np.linalg.svd(x_centred @ y_centred.T, compute_uv=False).sum()
    return float(step @ step + (x_centred**2).sum() + (y_centred**2).sum() - 2 * cross)


@pytest.mark.parametrize("width", [1, 2, 16, 64])
def test_against_sqrtm(width):
    rng = np.random.default_rng(width)
    a, b = covariance(rng, width).reshape(width, width), covariance(rng, width).reshape(width, width)
    mean_a, mean_b = rng.standard_normal((2, width))
    assert frechet_distance(mean_a, a, mean_b, b) == pytest.approx(by_sqrtm(mean_a, a, mean_b, b), rel=1e-9)


@settings(max_examples=50)
@given(st.floats(-5, 5), st.floats(0, 9), st.floats(-5, 5), st.floats(0, 9))
def test_closed_form_in_one_dimension(mean_a, std_a, mean_b, std_b):
    wanted = (mean_a - mean_b) ** 2 + (std_a - std_b) ** 2
    found = frechet_distance([mean_a], [[std_a**2]], [mean_b], [[std_b**2]])
    assert found == pytest.approx(wanted, abs=1e-9)


def test_closed_form_of_commuting_covariances():
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.standard_normal((32, 32)))[0]
    s, t = rng.random((2, 32)) * 3
    s[:10] = 0  # and rank-deficient
    a, b = (basis * s**2) @ basis.T, (basis * t**2) @ basis.T
    assert frechet_distance(np.zeros(32), a, np.ones(32), b) == pytest.approx(32 + ((s - t) ** 2).sum(), rel=1e-10)


@pytest.mark.parametrize("samples", [3, 20, 100, 400])
def test_rank_deficient(samples):
    rng = np.random.default_rng(samples)
    scale = 10 ** np.linspace(1, -3, 128)
    x, y = rng.standard_normal((samples, 128)) * scale + 0.1, rng.standard_normal((samples + 5, 128)) * scale * 1.1
    found = frechet_distance(x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False))
    assert found == pytest.approx(of_samples(x, y), rel=1e-10)


def test_zero_symmetric_and_never_negative():
    rng = np.random.default_rng(2)
    a, b, mean = covariance(rng, 24, 10), covariance(rng, 24), rng.standard_normal(24)
    assert frechet_distance(mean, a, mean, a) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(mean, a, mean, a) >= 0
    one, other = frechet_distance(mean, a, mean * 0, b), frechet_distance(mean * 0, b, mean, a)
    assert one == pytest.approx(other, rel=1e-12)
    assert frechet_distance(mean, a * 0, mean, b * 0) == 0


def test_what_float32_leaves_below_zero_is_rounding():
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((40, 64))
    cov, mean = np.cov(rows, rowvar=False), np.zeros(64)
    stored = cov.astype(np.float32).astype(np.float64)
    assert np.linalg.eigvalsh(stored).min() < -1e-9
    assert frechet_distance(mean, stored, mean, cov) == pytest.approx(0, abs=1e-5 * np.trace(cov))


def test_tensors_of_any_kind():
    rng = np.random.default_rng(3)
    a, b, mean = covariance(rng, 8), covariance(rng, 8), rng.standard_normal(8)
    wanted = frechet_distance(mean, a, 2 * mean, b)
    tensors = [torch.tensor(v, requires_grad=True) for v in (mean, a, 2 * mean, b)]
    assert frechet_distance(*tensors) == wanted
    assert frechet_distance(*(v.float() for v in tensors)) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean_b": np.zeros(3)}, "one length"),
        ({"cov_a": np.zeros((4, 3))}, "4 x 4"),
        ({"cov_b": np.diag([1, 1, 1, np.nan])}, "NaN"),
        ({"mean_a": np.full(4, np.inf)}, "NaN or infinity"),
        ({"cov_a": np.triu(np.ones((4, 4)))}, "symmetric"),
        ({"cov_a": -np.eye(4)}, "negative eigenvalue"),
        ({"cov_b": np.array([[1, 2, 0, 0], [2, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])}, "negative eigenvalue"),
        ({"mean_a": np.zeros(0), "mean_b": np.zeros(0)}, "one length"),
    ],
)
def test_bad_input(change, message):
    given_ = {"mean_a": np.zeros(4), "cov_a": np.eye(4), "mean_b": np.zeros(4), "cov_b": np.eye(4)}
    with pytest.raises(ValueError, match=message):
        frechet_distance(**{**given_, **change})


def test_what_float32_leaves_of_symmetry_is_taken_and_no_more():
    skew = np.triu(np.ones((4, 4)), 1)
    assert frechet_distance(np.zeros(4), np.eye(4) + 1e-7 * skew, np.zeros(4), np.eye(4)) < 1e-6
    with pytest.raises(ValueError, match="symmetric"):
        frechet_distance(np.zeros(4), np.eye(4) + 1e-5 * skew, np.zeros(4), np.eye(4))


def test_clean_fid_and_pytorch_fid_agree():
    """Their arithmetic is one; clean-fid's copy is installed."""
    from hdit_repro.metrics.torchvision_shim import import_torchvision

    import_torchvision()
    import warnings

    from cleanfid.fid import frechet_distance as theirs

    rng = np.random.default_rng(5)
    a, b = covariance(rng, 48), covariance(rng, 48)
    mean_a, mean_b = rng.standard_normal((2, 48))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of sqrtm(disp=)
        wanted = theirs(mean_a, a, mean_b, b)
    assert frechet_distance(mean_a, a, mean_b, b) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("samples", [2, 30, 63, 64, 65, 200])
def test_samples_against_a_root(samples):
    rng = np.random.default_rng(samples)
    rows, cov, mean = rng.standard_normal((samples, 64)) * 1.2, covariance(rng, 64), rng.standard_normal(64)
    wanted = frechet_distance(rows.mean(0), np.cov(rows, rowvar=False), mean, cov)
    assert frechet_of_samples(rows, mean, cov, root(cov)) == pytest.approx(wanted, rel=1e-10)
    with pytest.raises(ValueError, match="two or more"):
        frechet_of_samples(rows[:1], mean, cov, root(cov))


def test_both_ways_agree(monkeypatch):
    """The fast way is taken where its error is bounded, and gives what the careful one gives."""
    from hdit_repro.metrics import frechet as module

    rng = np.random.default_rng(6)
    a, b, mean = covariance(rng, 60), covariance(rng, 60), rng.standard_normal(60)
    with monkeypatch.context() as patch:
        patch.setattr(module, "root", None)  # the careful way would fail
        fast = frechet_distance(mean, a, 0 * mean, b)
    monkeypatch.setattr(module, "_fast_cross", lambda *_: None)
    assert fast == pytest.approx(frechet_distance(mean, a, 0 * mean, b), rel=1e-10)


@pytest.mark.parametrize("close", [1e-4, 1e-7])
def test_near_distances_take_the_careful_way(close):
    """Where almost everything cancels, the bound of the fast way is too wide."""
    rng = np.random.default_rng(7)
    a = covariance(rng, 40)
    wanted = float((np.sqrt(np.linalg.eigvalsh(a)) ** 2).sum() * (np.sqrt(1 + close) - 1) ** 2)
    mean = np.zeros(40)
    assert frechet_distance(mean, a, mean, a * (1 + close)) == pytest.approx(wanted, abs=1e-12 * np.trace(a))


@pytest.mark.parametrize("spread", [1, 3, 6])
def test_the_estimate_of_the_fast_way_holds(spread):
    """At condition numbers up to 1e12, as features have them: the careful way is never further off than estimated."""
    from hdit_repro.metrics import frechet as module

    rng = np.random.default_rng(spread)
    scale = 10 ** np.linspace(0, -spread, 96)
    a, b = (np.cov(rng.standard_normal((600, 96)) * scale * size, rowvar=False) for size in (1, 1.1))
    cross, error = module._fast_cross(a, b)
    careful = np.linalg.svd(root(a).T @ root(b), compute_uv=False).sum()
    assert abs(cross - careful) <= 3 * error
    assert error < 1e-7 * careful


def test_how_far_below_zero_an_eigenvalue_may_lie():
    """Statistics in float32 come to about 1e-7 of the largest; a thousandth is no rounding."""
    mean, near, beyond = np.zeros(3), np.diag([1.0, 1.0, -1e-5]), np.diag([1.0, 1.0, -1e-3])
    assert frechet_distance(mean, near, mean, np.eye(3)) == pytest.approx(1.0, rel=1e-4)
    with pytest.raises(ValueError, match="negative eigenvalue"):
        frechet_distance(mean, beyond, mean, np.eye(3))
