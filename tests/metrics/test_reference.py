"""References: computed once, cached under what they depend on, redone when damaged; ADM's files."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from hdit_repro.data.datasets import open_dataset
from hdit_repro.errors import UserError
from hdit_repro.metrics import adm, frechet_distance
from hdit_repro.metrics.adm import add_adm, adm_reference
from hdit_repro.metrics.cache import NotCached
from hdit_repro.metrics.reference import (
    chosen,
    dataset_features,
    dataset_reference,
    floor,
    read_reference,
    reference_facts,
    reference_path,
)
from hdit_repro.spec.data import Data, Emoji

pytestmark = pytest.mark.usefixtures("cache")


class Colours:
    """A small feature network: mean colours of the four quarters."""

    name, width, digest, protocol, device = "colours", 12, "0" * 64, "mean of quarters", torch.device("cpu")

    def __init__(self) -> None:
        self.seen = 0

    def features(self, images):
        self.seen += len(images)
        return {"features": torch.nn.functional.adaptive_avg_pool2d(images.float(), 2).flatten(1)}


@pytest.fixture(scope="module")
def images():
    return open_dataset(Data(dataset=Emoji(), resolution=16))


def test_whole_halves_and_floor(images):
    extractor = Colours()
    reference = dataset_reference(images, extractor)
    rows = Colours().features(images.batch(range(len(images))))["features"].double().numpy()
    np.testing.assert_allclose(reference.whole.mean, rows.mean(0), rtol=1e-10)
    np.testing.assert_allclose(reference.whole.cov, np.cov(rows, rowvar=False), rtol=1e-9, atol=1e-9)
    for half, start in ((reference.even, 0), (reference.odd, 1)):
        np.testing.assert_allclose(half.mean, rows[start::2].mean(0), rtol=1e-10)
    assert reference.even.count + reference.odd.count == reference.whole.count == 3781
    halves = [f(rows[start::2]) for start in (0, 1) for f in (lambda r: r.mean(0), lambda r: np.cov(r, rowvar=False))]
    assert reference.between_halves() == pytest.approx(frechet_distance(*halves), rel=1e-8)
    assert reference.between_halves() > 0


def test_the_floor_is_the_distance_of_real_images_outside_the_reference(images, cache):
    extractor = Colours()
    target = dataset_reference(images, extractor, count=1000).whole
    outside = np.setdiff1d(np.arange(3781), np.arange(1000) * 3781 // 1000)
    rows = Colours().features(images.batch(outside[np.arange(64) * 2781 // 64]))["features"].double().numpy()
    wanted = frechet_distance(rows.mean(0), np.cov(rows, rowvar=False), target.mean, target.cov)
    assert floor(images, extractor, 1000, 64) == pytest.approx(wanted, rel=1e-6)
    seen = extractor.seen
    assert floor(images, extractor, 1000, 64) == pytest.approx(wanted, rel=1e-6)
    assert extractor.seen == seen, "it is kept"
    rows = Colours().features(images.batch(outside))["features"].double().numpy()
    wider = frechet_distance(rows.mean(0), np.cov(rows, rowvar=False), target.mean, target.cov)
    assert floor(images, extractor, 1000, 2781) == pytest.approx(wider, rel=1e-6), "all that are outside, and no other"
    assert wider < wanted, "more images come nearer"
    assert floor(images, extractor, None, 5000) == pytest.approx(0, abs=1e-6), "all there are, against themselves"


@pytest.mark.parametrize("samples", [-1, 0, 1])
def test_no_floor_of_fewer_than_two_images(images, samples):
    with pytest.raises(ValueError, match="two samples or more"):
        floor(images, Colours(), 1000, samples)


def test_computed_once(images, cache):
    extractor, steps = Colours(), []
    first = dataset_reference(images, extractor, count=200, progress=lambda *step: steps.append(step))
    assert extractor.seen == 200
    assert steps == [(64, 200), (128, 200), (192, 200), (200, 200)]
    again = dataset_reference(images, extractor, count=200)
    assert extractor.seen == 200
    np.testing.assert_array_equal(first.whole.cov, again.whole.cov)
    assert again.facts["count"] == 200
    dataset_reference(images, extractor, count=100)
    assert extractor.seen == 300
    assert len(list((cache / "references").glob("*.safetensors"))) == 2


def test_a_cache_that_cannot_be_written_is_read_and_costs_no_number(images, cache):
    extractor = Colours()
    kept = dataset_reference(images, extractor, count=64)
    lock = reference_path(kept.facts).with_suffix(".lock")
    lock.unlink()
    lock.mkdir()  # so that nobody can open it to write
    again = dataset_reference(images, extractor, count=64)
    assert extractor.seen == 64, "what others put there serves"
    np.testing.assert_array_equal(again.whole.cov, kept.whole.cov)


def test_what_cannot_be_kept_is_said_and_computed_again(images, cache):
    cache.write_text("a file in the folder's place")
    extractor = Colours()
    for seen in (64, 128):
        with pytest.warns(NotCached, match=r"cannot be written \(Not a directory\).*export HDIT_REPRO_CACHE=FOLDER"):
            found = dataset_reference(images, extractor, count=64)
        assert (extractor.seen, found.whole.count) == (seen, 64)
    with pytest.warns(NotCached):
        assert dataset_features(images, extractor, 64).shape == (64, 12)


def test_a_damaged_or_foreign_file_is_redone(images):
    extractor = Colours()
    reference = dataset_reference(images, extractor, count=64)
    path = reference_path(reference.facts)
    whole = path.read_bytes()
    other = dataset_reference(images, extractor, count=65)
    network = Colours()
    network.digest = "another"
    foreign = dataset_reference(images, network, count=64)
    seen = extractor.seen
    for damaged in (whole[:-9], b"", *(reference_path(it.facts).read_bytes() for it in (other, foreign))):
        path.write_bytes(damaged)
        again = dataset_reference(images, extractor, count=64)
        np.testing.assert_array_equal(again.whole.mean, reference.whole.mean)
        assert path.read_bytes() == whole
    assert extractor.seen == seen + 4 * 64


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", 65),
        ("count", "64"),
        ("count", None),
        ("resolution", "16"),
        ("resolution", -16),
        ("resolution", None),
        ("extractor_digest", 3),
        ("dataset", []),
    ],
)
def test_statistics_that_say_other_than_they_are_of_are_refused(images, tmp_path, field, value):
    """Their count stands behind the metric's name."""
    found = dataset_reference(images, Colours(), count=64)
    path = tmp_path / "copy.safetensors"
    path.write_bytes(reference_path(found.facts).read_bytes())
    assert read_reference(path).facts == found.facts
    arrays = {**found.even.to_arrays("even."), **found.odd.to_arrays("odd.")}
    for facts in ({**found.facts, field: value}, {name: it for name, it in found.facts.items() if name != field}):
        path.write_bytes(save(arrays, metadata={"facts": json.dumps(facts)}))
        with pytest.raises(UserError, match=r"no statistics of a data set(.|\n)*copy\.safetensors"):
            read_reference(path)


def test_the_key_holds_all_that_matters(images):
    facts = reference_facts(images, Colours(), 10)
    paths = {reference_path(facts)}
    for name in facts:
        paths.add(reference_path({**facts, name: "another"}))
    assert len(paths) == 1 + len(facts)


def test_chosen_images_are_spread():
    assert chosen(10, None).tolist() == list(range(10))
    assert chosen(10, 5).tolist() == [0, 2, 4, 6, 8]
    assert len(np.unique(chosen(1_281_167, 50_000))) == 50_000
    for count in (3, 11, 0, -1):
        with pytest.raises(UserError, match="cannot be made"):
            chosen(10, count)


def test_adm(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(adm, "WIDTH", 6)
    rng = np.random.default_rng(0)
    mu, sigma = rng.standard_normal(6).astype(np.float32), np.eye(6, dtype=np.float32)
    path = tmp_path / "VIRTUAL_test.npz"
    np.savez(path, mu=mu, sigma=sigma, mu_s=mu, arr_0=np.zeros((2, 4, 4, 3), np.uint8))
    with pytest.raises(UserError, match="missing") as caught:
        adm_reference("VIRTUAL_test")
    assert "hdit-repro reference add PATH" in str(caught.value)
    assert not cache.exists()
    target = add_adm(path)
    assert add_adm(path) == target
    found = adm_reference("VIRTUAL_test")
    np.testing.assert_array_equal(found.mean, mu)
    np.testing.assert_array_equal(found.cov, sigma)
    assert found.mean.dtype == found.cov.dtype == np.float64
    assert len(found.digest) == 64
    np.savez(path, mu=mu + 1, sigma=sigma)
    with pytest.raises(UserError, match="another reference has this name"):
        add_adm(path)
    assert adm_reference("VIRTUAL_test").digest == found.digest
    target.write_bytes(target.read_bytes()[:99])  # a damaged one is no other
    assert add_adm(path) == target
    np.testing.assert_array_equal(adm_reference("VIRTUAL_test").mean, mu + 1)


def test_adm_files_that_are_refused(tmp_path, cache):
    good, file = {"mu": np.zeros(3), "sigma": np.eye(3)}, tmp_path / "a.npz"
    bad = [{"mu": good["mu"]}, {**good, "sigma": np.eye(4)}, {**good, "mu": np.full(3, np.nan)}]
    bad.append({**good, "mu": np.array([{}], dtype=object)})
    bad.append(good)  # of another network than Inception's pool_3
    bad.append({**good, "mu": np.zeros(3, np.complex128)})
    for arrays in bad:
        np.savez(file, **arrays)
        with pytest.raises(UserError, match="reference"):
            add_adm(file)
    misnamed, images = tmp_path / "VIRTUAL_imagenet128_labeled.npz", np.zeros((1, 64, 64, 3), np.uint8)
    np.savez(misnamed, mu=np.zeros(adm.WIDTH), sigma=np.eye(adm.WIDTH), arr_0=images)
    with pytest.raises(UserError, match="another reference than its name says"):
        add_adm(misnamed)
    for data in (b"", b"PK no zip"):
        file.write_bytes(data)
        with pytest.raises(UserError, match="cannot be read"):
            add_adm(file)
    for path in (tmp_path / "absent.npz", tmp_path / "a.txt"):
        with pytest.raises(UserError, match="reference"):
            add_adm(path)
    for name in ("../a", "a/b", "", ".hidden"):
        with pytest.raises(UserError, match="plain name"):
            adm_reference(name)
    assert not cache.exists()


@pytest.mark.parametrize(
    ("of", "part"),
    [
        *(("images", part) for part in ("name", "digest", "resolution", "transform")),
        *(("extractor", part) for part in ("name", "digest", "protocol")),
    ],
)
def test_what_a_reference_depends_on_tells_its_file(of, part):
    """Statistics at one resolution, by one transform or under one protocol never pass for those of another."""

    def place(**other):
        images = SimpleNamespace(name="set", digest="a", resolution=8, transform="adm")
        extractor = SimpleNamespace(name="net", digest="b", protocol="c")
        vars(images if of == "images" else extractor).update(other)
        return reference_path(reference_facts(images, extractor, 4))

    assert place(**{part: 16 if part == "resolution" else "other"}) != place()


def test_features_of_another_network_under_the_key_are_redone(images):
    ours, theirs = Colours(), Colours()
    theirs.digest = "another"
    wanted = dataset_features(images, ours, 64)
    dataset_features(images, theirs, 64)
    paths = [reference_path({**reference_facts(images, it, 64), "kind": "features"}) for it in (ours, theirs)]
    paths[0].write_bytes(paths[1].read_bytes())
    assert torch.equal(dataset_features(images, ours, 64), wanted)
    assert ours.seen == 2 * 64
