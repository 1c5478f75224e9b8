"""The estimate of memory against what autograd keeps, counted; the cards' table."""

import itertools

import msgspec
import pytest
import torch

from hdit_repro import jobs
from hdit_repro.cost import count
from hdit_repro.cost.cards import CARDS, find_card, mfu, peak, training_flops
from hdit_repro.cost.memory import activation_bytes, largest_batch, training_memory
from hdit_repro.models import attention, neighborhood
from hdit_repro.models.backends import Backend
from hdit_repro.models.build import build
from hdit_repro.spec import model as spec
from hdit_repro.training.acceleration import recompute_layers
from hdit_repro.training.fitting import GATHERED

SHAPE = {
    "widths": [48, 96],
    "depths": [1, 2],
    "heads": [2, 4],
    "attention": [{"kind": "global"}] * 2,
    "dropout": [0.0, 0.0],
    "mapping": {"depth": 1, "width": 16, "d_ff": 48, "dropout": 0.0},
}


def kept_bytes(model, bfloat16, batch, recompute=False):
    """Bytes of all storages that autograd keeps, weights aside."""
    network = build(model).train()
    if recompute:
        recompute_layers(network)
    own = {t.untyped_storage().data_ptr() for t in itertools.chain(network.parameters(), network.buffers())}
    seen = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage
        return tensor

    x = torch.randn(batch, 3, model.resolution, model.resolution)
    labels = torch.zeros(batch, dtype=torch.int64)
    level = torch.ones(batch, dtype=torch.int64 if isinstance(model, spec.DiT) else torch.float32)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=bfloat16),
    ):
        network(x, level, class_cond=labels).float().square().mean()
    return sum(storage.nbytes() for storage in seen.values())


def shaped(row, **fields):
    tree = msgspec.to_builtins(jobs.find(f"table1/{row}", "smoke").run.model)
    changes = {} if row == "R1" else SHAPE
    return msgspec.convert({**tree, **changes, **fields}, type(jobs.find(f"table1/{row}", "smoke").run.model))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("row", "fields"),
    [
        ("E", {}),
        ("E", {"similarity": {"kind": "dot"}}),
        ("E", {"gate": {"kind": "mapping"}}),
        ("E", {"norm": {"kind": "dit-layer-norm"}, "gate": {"kind": "dit"}}),
        ("E", {"norm": {"kind": "ada-layer-norm"}, "attention": [{"kind": "none"}, {"kind": "global"}]}),
        ("E", {"attention": [{"kind": "none"}, {"kind": "global"}]}),
        ("A", {"depths": [2, 1]}),
        ("R1", {}),
    ],
)
def test_activations_are_what_autograd_keeps_within_a_tenth(row, fields, precision):
    model = shaped(row, **fields)
    bfloat16 = precision == "bfloat16"
    counted = kept_bytes(model, bfloat16, 3) - kept_bytes(model, bfloat16, 2)
    assert activation_bytes(model, precision) == pytest.approx(counted, rel=0.1)


def test_tiles_on_a_card_keep_no_more_than_is_allowed_for(monkeypatch):
    """Plain torch's way on a card, taken on a CPU."""
    monkeypatch.setattr(neighborhood, "device_of", lambda _: torch.device("cuda"))
    monkeypatch.setattr(attention, "choose", lambda: Backend("tiled", "a test"))
    model = jobs.find("ffhq1024", "mini").run.model
    model = msgspec.structs.replace(model, classes=3)
    counted = kept_bytes(model, True, 3) - kept_bytes(model, True, 2)
    assert 1.2 < counted / activation_bytes(model, "bfloat16") < GATHERED


@pytest.mark.parametrize("row", ["E", "R1"])
def test_recomputing_keeps_inputs_and_one_layer(row):
    model = shaped(row)
    counted = kept_bytes(model, False, 3, recompute=True) - kept_bytes(model, False, 2, recompute=True)
    estimate = activation_bytes(model, "float32", recompute=True)
    assert counted < estimate < activation_bytes(model, "float32")


def test_the_parts_of_memory():
    model = jobs.find("ffhq1024", "paper").run.model
    parameters = count(model, 1024).parameters
    found = training_memory(model, 4, "bfloat16", averages=2, processes=64)
    assert found[:6] == (4 * parameters, 4 * parameters, 8 * parameters, 8 * parameters, 2 * parameters, 4 * parameters)
    assert found.total == sum(found)
    assert training_memory(model, 8, "bfloat16").activations == 2 * found.activations
    assert training_memory(model, 4, "bfloat16", recompute=True).activations < found.activations / 2


def test_the_paper_runs_fit_their_cards():
    """Four draws of FFHQ-1024^2 a process on an A100 of 80 GB; a batch that is one too large does not."""
    model = jobs.find("ffhq1024", "paper").run.model
    batch = largest_batch(model, 80 * 2**30, "bfloat16")
    assert batch >= 4
    assert training_memory(model, batch, "bfloat16").total <= 80 * 2**30
    assert training_memory(model, batch + 1, "bfloat16").total > 80 * 2**30
    assert largest_batch(model, 2**20) == 0


@pytest.mark.parametrize(
    ("driver", "bfloat16"),
    [
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("NVIDIA H100 80GB HBM3", 989.4e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835.5e12),
        ("NVIDIA H200", 989.4e12),
        ("NVIDIA H200 NVL", 835.5e12),
        ("NVIDIA A10", 125e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA GeForce RTX 4090", 165.2e12),
        ("Some A1000 Laptop", None),
    ],
)
def test_cards_are_found_by_the_names_drivers_give(driver, bfloat16):
    assert peak(driver, "bfloat16") == (None if bfloat16 is None else pytest.approx(bfloat16))


def test_peaks_fall_with_precision():
    for name, card in CARDS.items():
        assert card.bfloat16 > card.tf32 >= card.float32 > 0, name
        assert find_card(f"NVIDIA {name}") == card


@pytest.mark.parametrize(
    ("name", "gib"),
    [
        ("A100-40GB", 40),
        ("a100_40gb", 40),
        ("A100 40 GB", 40),
        ("NVIDIA A100-SXM-64GB", 64),
        ("NVIDIA A100-SXM4-80GB", 80),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 5),
        ("NVIDIA GH200 480GB", 96),
        ("NVIDIA H100 80GB HBM3", 80),
    ],
)
def test_a_card_has_no_more_memory_than_its_name_says(name, gib):
    assert find_card(name).memory == gib


def test_utilisation_is_macs_times_six_against_the_peak():
    assert training_flops(10) == 60
    assert mfu(10**9, 100.0, 1.2e12) == pytest.approx(0.5)
