"""Drawn through a network, 64 samples in one job and in seven jobs of uneven sizes: the same samples and metric."""

from itertools import pairwise

import msgspec
import pytest
import torch

from hdit_repro import jobs
from hdit_repro.metrics.extractors import build_extractor, efficientnet
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.spec.base import kind_of
from hdit_repro.spec.run import Run
from hdit_repro.stages import sample, train
from hdit_repro.stages.evaluate import sample_features
from hdit_repro.stages.measure import Sides, measure
from hdit_repro.stages.reference import load_reference
from hdit_repro.stages.settings import Progress, Settings
from hdit_repro.stages.shards import read_tensors, whole_shards, write_shard

COUNT = 64
BATCH = 4
NARROW = 192


def jobs_of(*cuts):
    return [range(start, stop) for start, stop in pairwise(cuts)]


ODD = jobs_of(0, 5, 16, 19, 32, 33, 54, COUNT)
"""Seven jobs, cut anywhere."""
UNEVEN = jobs_of(0, 4, 16, 20, 36, 44, 56, COUNT)
"""Seven jobs of other sizes, cut where batches of four end."""


def quiet(_progress: Progress) -> None:
    pass


@pytest.fixture(scope="module")
def job():
    """Row E at smoke scale with patches of 2 x 2, four steps of training, three of the sampler, and 48 real images."""
    found = jobs.find("table1/E", "smoke")
    tree = msgspec.to_builtins(found.run)
    tree["training"] |= {"steps": 4, "batch": 4}
    tree["sampling"]["count"] = COUNT
    tree["sampling"]["sampler"]["steps"] = 3
    tree["model"]["patch"] = 2
    tree["evaluation"]["reference"]["count"] = 48
    return msgspec.structs.replace(found, run=msgspec.convert(tree, Run))


@pytest.fixture(scope="module")
def extractor(job):
    """The row's feature network, which sees the images at 64² in place of 224²: a twelfth of the work, and the same
    layers, groups and padding of groups."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(efficientnet, "SIDE", 64)
        yield build_extractor(job.run.evaluation.extractor, torch.device("cpu"))


@pytest.fixture(scope="module")
def place(job, extractor, tmp_path_factory):
    """From a name to a folder of its own with the one trained network; the feature network is loaded once."""
    root = tmp_path_factory.mktemp("odd")

    def folder(name):
        return RunFolder(Roots(root / name / "runs", root / name / "results"), job.run, job.scale)

    trained = folder("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HDIT_REPRO_CACHE", str(root / "cache"))
        patch.setattr(sample, "build_extractor", lambda _spec, _device: extractor)
        train.run(job, trained, Settings(device="cpu", threads=1, batch=4), quiet)

        def new(name):
            found = folder(name)
            found.path.mkdir(parents=True)
            (found.path / "checkpoints").symlink_to(trained.checkpoints)
            return found

        yield new


def drawn(job, folder, batch, ranges):
    """Draw the ranges, each a job of its own, the last first."""
    for numbers in reversed(ranges):
        sample.run(job, folder, Settings(device="cpu", threads=1, batch=batch), quiet, numbers)
    assert folder.done("sample")
    return tensors_of(folder)


def tensors_of(folder):
    parts = [tensors for _, tensors in read_tensors(folder, whole_shards(folder)[0], "")]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


@pytest.fixture(scope="module")
def measured(job, extractor, place):
    """From a folder to the Fréchet distance of its samples with its interval, as evaluation computes it.

    On the first NARROW features, all of which every image has a part in: 20 decompositions of 1,280 take seconds.
    """
    whole = load_reference(job.run, extractor, lambda _done, _of: None)
    reference = whole._replace(mean=whole.mean[:NARROW], cov=whole.cov[:NARROW, :NARROW])

    def value(folder):
        found = sample_features(job, folder, extractor)
        features = {name: value[:, :NARROW] for name, value in found.items()}
        kinds, name = job.run.evaluation.metrics, kind_of(job.run.evaluation.extractor)
        (metric,) = measure(kinds, name, Sides(features, reference), COUNT, job.name).values()
        return metric

    return value


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def one_job(job, place):
    """Folder and tensors of one job that calls the network with four samples at a time."""
    folder = place("one job")
    return folder, drawn(job, folder, BATCH, [range(COUNT)])


def test_seven_uneven_jobs_draw_the_same_bits_at_equal_batch(job, place, one_job, measured):
    folder, whole = one_job
    seven = place("seven jobs")
    assert equal(drawn(job, seven, BATCH, UNEVEN), whole)
    assert len(torch.unique(whole["image"], dim=0)) == COUNT
    assert measured(seven) == measured(folder)


def test_the_same_samples_in_one_shard_and_in_seven_measure_the_same(job, place, one_job, measured):
    _, whole = one_job
    values = []
    for name, ranges in (("one shard", [range(COUNT)]), ("seven shards", ODD)):
        folder = place(name)
        for numbers in reversed(ranges):
            write_shard(folder, numbers, {key: value[numbers.start : numbers.stop] for key, value in whole.items()})
        assert len(whole_shards(folder)[0]) == len(ranges)
        assert equal(tensors_of(folder), whole)
        values.append(measured(folder))
    assert values[0] == values[1]


def test_shards_that_are_batches_of_other_sizes_agree_up_to_rounding(job, place, measured):
    one, seven = place("batch of 64"), place("odd batches")
    whole, odd = drawn(job, one, COUNT, [range(COUNT)]), drawn(job, seven, COUNT, ODD)
    assert (len(whole_shards(one)[0]), len(whole_shards(seven)[0])) == (1, len(ODD))
    assert torch.equal(whole["number"], odd["number"])
    assert torch.equal(whole["label"], odd["label"])
    apart = (whole["image"].int() - odd["image"].int()).abs()
    assert apart.max() <= 1  # rounding of float sums may tip a pixel
    assert (apart > 0).double().mean() < 0.001
    assert measured(seven).value == pytest.approx(measured(one).value, rel=1e-3)
