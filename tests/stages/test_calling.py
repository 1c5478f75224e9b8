"""Ways of calling the network while samples are drawn: they differ in speed alone, and are written down."""

import contextlib
import json

import msgspec
import pytest
import torch
from torch import nn

from hdit_repro import jobs
from hdit_repro.models.build import build
from hdit_repro.models.one_graph import CutApart
from hdit_repro.records.layout import Roots, RunFolder
from hdit_repro.records.store import read
from hdit_repro.spec.run import Run
from hdit_repro.stages import calling, evaluate, sample, train
from hdit_repro.stages.calling import EagerInstead, Padded, Replayed, called, way_gone, way_here
from hdit_repro.stages.denoiser import Drawer
from hdit_repro.stages.settings import HowToSample, Settings

CPU = torch.device("cpu")


def row(**sampling):
    """Row E in miniature: a layer a level, one step of training, three samples of two steps, 48 images as reference."""
    job = jobs.find("table1/E", "smoke")
    tree = msgspec.to_builtins(job.run)
    tree["model"] |= {"depths": [1, 1]}
    tree["training"] |= {"steps": 1, "batch": 2}
    tree["sampling"] |= {"count": 3, **sampling}
    tree["sampling"]["sampler"] |= {"steps": 2}
    tree["evaluation"]["reference"]["count"] = 48
    return msgspec.structs.replace(job, run=msgspec.convert(tree, Run))


def settings(network="eager"):
    return Settings(device="cpu", threads=1, batch=2, sampling=HowToSample(network=network))


class Rows(nn.Module):
    """Counts the rows of its calls; row by row it says x + level + label."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, x, level, class_cond=None):
        self.calls.append(len(x))
        label = 0 if class_cond is None else class_cond.reshape(-1, 1, 1, 1)
        return x + level.reshape(-1, 1, 1, 1) + label


def inputs(rows):
    return torch.randn(rows, 3, 4, 4), torch.rand(rows), torch.arange(rows)


def test_fewer_rows_are_filled_up_and_cut_off():
    network = Rows()
    x, level, label = inputs(2)
    torch.testing.assert_close(Padded(network, 5)(x, level, class_cond=label), Rows()(x, level, label))
    torch.testing.assert_close(Padded(network, 5)(x, level), Rows()(x, level))
    assert network.calls == [5, 5]


def test_a_compiled_network_is_compiled_once_for_all_batches_and_draws_the_same(monkeypatch):
    run, graphs = row(guidance=1.5).run, []
    network = build(run.model, seed=0).eval()
    for parameter in network.parameters():
        parameter.data += 0.02
    plain = torch.compile

    def backend(module, example):
        graphs.append(len(example))
        return module

    monkeypatch.setattr(torch, "compile", lambda module, dynamic: plain(module, dynamic=dynamic, backend=backend))
    torch._dynamo.reset()
    call = called(network, "compile", 4)
    for numbers in ([0, 1], [2]):
        found, _ = Drawer(run, call, CPU, lambda: None)(numbers)
        expected, _ = Drawer(run, network, CPU, lambda: None)(numbers)
        assert int((found.int() - expected.int()).abs().max()) <= 1
    assert len(graphs) == 1


def test_a_compiled_network_that_is_cut_apart_is_spoken_of(monkeypatch):
    plain = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module, dynamic: plain(module, dynamic=dynamic, backend="eager"))
    torch._dynamo.reset()

    class Cut(Rows):
        def forward(self, x, level, class_cond=None):
            torch._dynamo.graph_break()
            return super().forward(x, level, class_cond)

    x, level, label = inputs(2)
    with pytest.warns(CutApart):
        torch.testing.assert_close(called(Cut(), "compile", 4)(x, level, label), Rows()(x, level, label))


class FakeGraph:
    """What a CUDA graph does: it writes the captured call's result anew, from what its inputs hold now."""

    def __init__(self):
        self.replays, self.owner = 0, None

    def replay(self):
        self.replays += 1
        self.owner._out.copy_(self.owner._call(self.owner._held))


class FakeStream:
    def wait_stream(self, other):
        pass


class Card:
    """Whose device and stream is current, as torch's contexts change them."""

    def __init__(self):
        self.device, self.stream, self.captured = None, FakeStream(), []

    @contextlib.contextmanager
    def on(self, what, value):
        before = getattr(self, what)
        setattr(self, what, value)
        try:
            yield
        finally:
            setattr(self, what, before)

    @contextlib.contextmanager
    def capture(self, graph):
        self.captured.append(self.device)
        before, self.stream = self.stream, FakeStream()
        yield
        self.stream = before  # after a failure torch leaves it


@pytest.fixture
def card(monkeypatch):
    """torch's CUDA graphs, as far as they are asked for."""
    plain, here = Replayed._capture, Card()

    def capture(self, given):
        plain(self, given)
        self._graph.owner = self

    monkeypatch.setattr(Replayed, "_capture", capture)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: here.stream)
    monkeypatch.setattr(torch.cuda, "device", lambda device: here.on("device", device))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: here.on("stream", stream))
    monkeypatch.setattr(torch.cuda, "graph", here.capture)
    return here


def test_a_captured_network_is_replayed_with_the_inputs_of_each_call(card):
    network = Rows()
    replayed = Replayed(network)
    results = []
    for seed in range(3):
        torch.manual_seed(seed)
        x, level, label = inputs(4)
        results.append(replayed(x, level, class_cond=label))
        torch.testing.assert_close(results[-1], Rows()(x, level, label))
    assert replayed._graph.replays == 3
    assert network.calls[: calling.WARM + 1] == [4] * (calling.WARM + 1)
    assert not torch.equal(results[0], results[1])  # a result stands though the graph writes there again
    x, level, label = inputs(2)
    torch.testing.assert_close(replayed(x, level, class_cond=label), Rows()(x, level, label))
    assert replayed._graph.replays == 3  # another shape goes as it is


def test_a_graph_is_captured_on_the_device_of_its_inputs(card):
    Replayed(Rows())(*inputs(2))
    assert card.captured == [CPU]  # which stands for a card that is not the current one


def test_a_capture_that_fails_leaves_the_stream_as_it_was(card):
    class Waits(Rows):
        def forward(self, x, level, class_cond=None):
            out = super().forward(x, level, class_cond)
            if len(self.calls) == calling.WARM + 1:
                raise RuntimeError("operation not permitted when stream is capturing")
            return out

    before = card.stream
    with pytest.warns(EagerInstead):
        Replayed(Waits())(*inputs(2))
    assert card.stream is before


def test_where_nothing_can_be_captured_it_says_so_and_goes_on(card, monkeypatch):
    def refuse(graph):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(torch.cuda, "graph", refuse)
    network = called(Rows(), "graph", 2)
    x, level, label = inputs(2)
    with pytest.warns(EagerInstead, match="not permitted when stream is capturing$"):
        out = network(x, level, class_cond=label)
    torch.testing.assert_close(out, Rows()(x, level, label))
    torch.testing.assert_close(network(x, level, class_cond=label), out)  # and warns no more
    assert way_gone(network, "graph") == "eager"


def test_a_captured_call_keeps_no_weights_of_autocast(monkeypatch):
    seen = []

    class Look(nn.Module):
        def forward(self, x, level, class_cond=None):
            seen.append((torch.is_autocast_cache_enabled(), torch.is_autocast_enabled("cpu")))
            return x

    replayed = Replayed(Look())
    replayed.failed = True
    with torch.autocast("cpu", torch.bfloat16):
        replayed(*inputs(1)[:2])
    replayed(*inputs(1)[:2])
    assert seen == [(False, True), (False, False)]


def test_a_cpu_has_no_graphs():
    with pytest.warns(EagerInstead, match="no CUDA graphs on cpu"):
        assert way_here("graph", CPU) == "eager"
    assert way_here("compile", CPU) == "compile"


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    return Roots(folder / "runs", folder / "results")


def measured(job, roots, how):
    folder = RunFolder(roots, job.run, job.scale)
    for stage in (train, sample, evaluate):
        stage.run(job, folder, how, lambda _: None)
    return read(folder.record)


def test_the_way_is_in_the_record_and_not_in_its_identity(roots, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda module, dynamic: module)
    plain = measured(row(), roots, settings())
    other = measured(row(), Roots(tmp_path / "runs", tmp_path / "results"), settings("compile"))
    assert plain.provenance.versions["network while sampling"] == "eager"
    assert other.provenance.versions["network while sampling"] == "compile"
    trained = {name: plain.provenance.versions[f"{name} while training"] for name in ("processes", "device")}
    assert trained == {"processes": "1", "device": plain.provenance.device}
    assert min(plain.provenance.seconds[stage] for stage in ("train", "sample", "evaluate")) > 0
    assert plain.provenance.gpu_hours == 0, "on a CPU"
    assert plain.evaluation_id == other.evaluation_id
    assert other.metrics["fd-efficientnet-lite0"].value == pytest.approx(plain.metrics["fd-efficientnet-lite0"].value)


def test_bfloat16_samples_are_other_samples_of_the_same_training(roots):
    plain, rough = row(), row(precision="bfloat16")
    assert plain.run.training_id == rough.run.training_id
    assert plain.run.sampling_id != rough.run.sampling_id
    assert "precision" not in json.loads(msgspec.json.encode(plain.run.sampling))
    record = measured(rough, roots, settings())
    assert record.protocol.precision == "bfloat16"
    assert measured(plain, roots, settings()).protocol.precision is msgspec.UNSET


@pytest.mark.parametrize(("precision", "seen"), [(None, "float32"), ("bfloat16", "bfloat16")])
def test_the_network_computes_in_the_precision_that_is_asked_for(precision, seen):
    run = row(**({} if precision is None else {"precision": precision})).run
    network, dtypes = build(run.model, seed=0).eval(), set()
    linear = next(module for module in network.modules() if isinstance(module, nn.Linear))
    linear.register_forward_hook(lambda module, args, out: dtypes.add(str(out.dtype).removeprefix("torch.")))
    images, _ = Drawer(run, network, CPU, lambda: None)([0])
    assert dtypes == {seen}
    assert images.dtype == torch.uint8
