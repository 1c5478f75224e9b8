"""What samples are compared with: ADM's file, as ImageNet is at paper scale, or the run's own data set."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from hdit_repro import jobs
from hdit_repro.data.datasets import open_dataset
from hdit_repro.errors import UserError
from hdit_repro.files import sha256_file
from hdit_repro.metrics import adm
from hdit_repro.metrics.adm import add_adm, adm_reference
from hdit_repro.metrics.reference import chosen
from hdit_repro.metrics.statistics import statistics_of
from hdit_repro.records.schema import Reference
from hdit_repro.spec.evaluation import DatasetReference
from hdit_repro.stages import reference
from hdit_repro.stages.reference import check_adm, load_reference

NAME, WIDTH = "VIRTUAL_imagenet128_labeled", 6


class Bands:
    """A feature network: mean colours of the upper and the lower half; its spatial features are three of them."""

    name, width, protocol, device = "inception-2015", WIDTH, "halves", torch.device("cpu")

    def __init__(self, name: str = "inception-2015", digest: str = "0" * 64) -> None:
        self.name, self.digest, self.seen = name, digest, 0

    def features(self, images: Tensor) -> dict[str, Tensor]:
        self.seen += len(images)
        halves = torch.cat([half.float().mean((2, 3)) for half in images.chunk(2, dim=2)], dim=1)
        return {"features": halves, "spatial": halves[:, ::2]}


def quiet(_done: int, _of: int) -> None:
    pass


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HDIT_REPRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(adm, "WIDTH", WIDTH)


@pytest.fixture
def file(tmp_path):
    """ADM's file in small: other statistics than those of its images, as in the real one."""
    rng = np.random.default_rng(0)
    moments = {"mu": rng.normal(size=WIDTH), "sigma": np.eye(WIDTH), "mu_s": rng.normal(size=3), "sigma_s": np.eye(3)}
    path = tmp_path / f"{NAME}.npz"
    np.savez(path, arr_0=rng.integers(0, 256, (5, 128, 128, 3), dtype=np.uint8), **moments)
    add_adm(path)
    return path


def test_adms_file_is_the_reference_of_imagenet(file):
    """Statistics of all images, single ones of the few that lie in it; features are computed once a network."""
    network = Bands()
    found = load_reference(jobs.find("table1/E").run, network, quiet)
    assert found.described == Reference(
        kind="adm", name=NAME, digest=sha256_file(file), count=1_281_167, split="train", resolution=128, transform="adm"
    )
    with np.load(file) as arrays:
        np.testing.assert_array_equal(found.mean, arrays["mu"])
        np.testing.assert_array_equal(found.cov, arrays["sigma"])
        np.testing.assert_array_equal(found.spatial()[0], arrays["mu_s"])
        np.testing.assert_array_equal(found.spatial()[1], arrays["sigma_s"])
        images = torch.from_numpy(arrays["arr_0"]).permute(0, 3, 1, 2)
    assert found.floor is None
    assert network.seen == 0
    wanted = Bands().features(images)["features"]
    assert torch.equal(found.features(), wanted)
    assert torch.equal(load_reference(jobs.find("table1/E").run, network, quiet).features(), wanted)
    assert network.seen == 5
    other = Bands(digest="1" * 64)
    load_reference(jobs.find("table1/E").run, other, quiet).features()
    assert other.seen == 5


def test_a_file_of_statistics_alone_gives_those(tmp_path):
    path = tmp_path / f"{NAME}.npz"
    np.savez(path, mu=np.zeros(WIDTH), sigma=np.eye(WIDTH))
    add_adm(path)
    found = load_reference(jobs.find("table1/E").run, Bands(), quiet)
    assert (found.floor, found.spatial, found.features) == (None, None, None)


@pytest.mark.parametrize(
    ("name", "width", "size", "words"),
    [
        ("inception-clean", WIDTH, (128, 128), "another feature network"),
        ("inception-2015", WIDTH + 1, (128, 128), "another feature network"),
        ("inception-2015", WIDTH, (64, 128), "another resolution"),
        ("inception-2015", WIDTH, (128, 64), "another resolution"),
    ],
)
def test_what_does_not_go_with_adms_file_is_refused(file, name, width, size, words):
    check_adm(adm_reference(NAME), Bands(), (128, 128))
    network = Bands(name)
    network.width = width
    with pytest.raises(UserError, match=words):
        check_adm(adm_reference(NAME), network, size)


def test_a_data_set_is_its_own_reference(monkeypatch):
    """Evenly spaced images of it; spatial features are those of ADM's network alone."""
    run = jobs.find("table1/E", "smoke").run
    evaluation = msgspec.structs.replace(run.evaluation, reference=DatasetReference(count=12))
    run = msgspec.structs.replace(run, evaluation=evaluation)
    images = open_dataset(run.data)
    wanted = Bands().features(torch.as_tensor(images.batch(chosen(len(images), 12))))
    found = load_reference(run, Bands(), quiet)
    told = found.described
    assert (told.kind, told.name, told.count, told.split) == ("dataset", images.name, 12, "train")
    assert (told.resolution, told.transform) == (run.data.resolution, run.data.transform)
    whole, spatial = statistics_of(wanted["features"]), statistics_of(wanted["spatial"])
    np.testing.assert_allclose(found.mean, whole.mean)
    np.testing.assert_allclose(found.cov, whole.cov, atol=1e-9)
    np.testing.assert_allclose(found.spatial()[0], spatial.mean)
    np.testing.assert_allclose(found.spatial()[1], spatial.cov, atol=1e-9)
    torch.testing.assert_close(found.features(), wanted["features"])
    monkeypatch.setattr(reference, "REAL_IMAGES", 5)
    assert len(found.features()) == 5
    assert load_reference(run, Bands("inception-clean"), quiet).spatial is None
