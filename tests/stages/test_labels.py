"""Class labels of samples: drawn at random by number, or dealt in turn, and told apart by id."""

from collections import Counter

import msgspec
import pytest
import torch

from hdit_repro import jobs
from hdit_repro.records import implied
from hdit_repro.records.schema import Protocol
from hdit_repro.stages.denoiser import Drawer, sample_keys

UNLABELLED_RUN = jobs.find("ffhq1024").run
MEASURED = {
    "extractor": "made-up",
    "weights_digest": "",
    "resize": "none",
    "reference": {
        "kind": "dataset", "name": "", "digest": "", "count": 2, "split": "", "resolution": 16, "transform": "none",
    },
    "samples": 2,
}  # fmt: skip

CPU = torch.device("cpu")


def run_with(labels):
    run = jobs.find("table1/E", "smoke").run
    return msgspec.structs.replace(run, sampling=msgspec.structs.replace(run.sampling, labels=labels))


def labels_of(run, numbers):
    drawer = Drawer(run, torch.nn.Identity(), CPU, lambda: None)
    return drawer.labels(sample_keys(run, numbers), numbers).tolist()


def test_balanced_labels_are_dealt_evenly():
    run = run_with("balanced")
    classes = run.model.classes
    counts = Counter(labels_of(run, range(3 * classes)))
    assert counts == dict.fromkeys(range(classes), 3)


def test_random_labels_are_not_and_lie_in_the_classes():
    run = run_with("random")
    found = labels_of(run, range(40 * run.model.classes))
    assert set(found) == set(range(run.model.classes))
    assert len(set(Counter(found).values())) > 1


@pytest.mark.parametrize("labels", ["random", "balanced"])
def test_a_label_is_its_numbers_whatever_the_shard(labels):
    run = run_with(labels)
    whole = labels_of(run, range(64))
    assert [label for cut in (range(5), range(5, 37), range(37, 64)) for label in labels_of(run, cut)] == whole
    assert labels_of(run, [63, 0, 17]) == [whole[number] for number in (63, 0, 17)]


def test_how_labels_were_chosen_is_recorded_and_part_of_the_samples_id():
    random, balanced = run_with("random"), run_with("balanced")
    assert (implied.drawing(random)["labels"], implied.drawing(balanced)["labels"]) == ("random", "balanced")
    protocols = [
        msgspec.convert({**MEASURED, **implied.drawing(run)}, Protocol) for run in (random, balanced, UNLABELLED_RUN)
    ]
    assert [protocol.label_words() for protocol in protocols] == ["random labels", "balanced labels", "no labels"]
    assert all(protocol.label_words() in protocol.sampling_words() for protocol in protocols)
    assert random.training_id == balanced.training_id
    assert random.sampling_id != balanced.sampling_id


def test_each_training_and_each_sampling_has_noise_and_labels_of_its_own_and_rows_share_them():
    run = run_with("random")
    keys = [sample_keys(run.repeated(*seeds), range(8)).tolist() for seeds in ((0, 0), (1, 0), (0, 1), (1, 1))]
    assert len({key for some in keys for key in some}) == 32
    other = jobs.find("table1/A", "smoke").run
    assert sample_keys(other.repeated(1, 0), range(8)).tolist() == keys[1]
