"""The measurement of a card, tiny, on a CPU: parts run and are kept, and the table comes from the JSON."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from hdit_repro.launch.throughput import measured

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    return import_module("benchmarks.gpu")


def run(gpu: ModuleType, path: Path, *only: str, minutes: float = 0) -> tuple[int, dict[str, Any]]:
    words = ["--device", "cpu", "--tiny", "--out", str(path), "--minutes", str(minutes)]
    for prefix in only:
        words += ["--only", prefix]
    code = gpu.main(words)
    return code, json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def test_dense_attention_by_one_of_torchs_own_is_dense_attention(gpu: ModuleType) -> None:
    attention = import_module("benchmarks.card.attention")
    q, k, v = torch.randn(3, 2, 8, 8, 2, 16, dtype=torch.float64)
    found = attention.by_torchs_own(torch.nn.attention.SDPBackend.MATH, q, k, v)
    torch.testing.assert_close(found, attention.Global()(q, k, v))


QUICK = ("matrix", "copy", "noise", "attention/table1/E", "train/table1/E/eager", "train/peer", "train/authors")


def test_parts_say_what_they_measured(gpu: ModuleType, tmp_path: Path) -> None:
    code, tree = run(gpu, tmp_path / "cpu.json", *QUICK)
    assert code == 0
    parts = tree["parts"]
    assert not [name for name, part in parts.items() if "error" in part]
    assert parts["train/authors' table1/E/eager"]["skipped"] == "no --authors PATH"
    step = parts["train/table1/E/eager"]
    assert step["images_per_s"] == pytest.approx(step["batch"] / step["step_s"])
    assert step["flops_per_s"] == pytest.approx(6 * step["macs"] * step["images_per_s"])
    assert step["mfu_measured"] == pytest.approx(step["flops_per_s"] / parts["matrix/bfloat16"]["flops_per_s"])
    assert step["precision"] == "bfloat16", "plans bring it to a run's own"
    level = parts["attention/table1/E/0"]
    assert set(level["backends"]) == {"dense", "natten", "torch-flex", "natten-flex", "tiled"}
    assert all(level["backends"][name]["both_s"] > 0 for name in ("dense", "tiled"))
    assert all("error" in times or times["both_s"] > 0 for times in level["backends"].values())
    copy = parts["copy"]["bytes_per_s"]
    assert level["floor"]["forward_s"] == pytest.approx(4 * 2 * math.prod(level["shape"]) / copy)
    assert {"card", "driver", "torch", "commit", "command"} <= tree["machine"].keys()


class Mix(nn.Module):
    """A network of one layer, which the compiler takes as one graph, or cuts."""

    def __init__(self, *, cut: bool) -> None:
        super().__init__()
        self.layer, self.cut = nn.Conv2d(3, 3, 1), cut

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, class_cond: torch.Tensor) -> torch.Tensor:
        x = self.layer(x)
        if self.cut:
            torch._dynamo.graph_break()
        return self.layer(x)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated.*:DeprecationWarning")  # torch's own, while it traces
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # likewise
def test_a_network_that_the_compiler_gave_up_on_is_seen(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does so without a word, and what is measured then is no compiled network."""
    from benchmarks.card import networks, session, table, training

    def accelerated(network: nn.Module, **how: bool) -> Any:
        return torch.compile(network, backend="eager", dynamic=False) if how["compiled"] else network

    monkeypatch.setattr(training, "accelerated", accelerated)
    bench, run = session.Bench(torch.device("cpu"), True, 0.02), networks.named(networks.RUNS[0], "smoke")
    whole, broken, eager = (
        training.measured(run, "table1/E", bench, compiled=compiled, network=Mix(cut=cut))
        for cut, compiled in ((False, True), (True, True), (True, False))
    )
    assert (whole["graphs"], broken["graphs"], eager["graphs"]) == (1, 2, 0)
    assert "| compiled, 1 graph |" in "".join(table._training({"train/table1/E/compiled": whole}))


def test_the_peer_has_the_parameters_of_row_e_at_paper_scale(gpu: ModuleType) -> None:
    from benchmarks.card import networks
    from hdit_repro.cost import count

    ours, dit, plain = (networks.named(name, "paper").model for name in ("table1/E", networks.DIT, networks.GLOBAL))
    parameters = count(ours, 128).parameters
    assert count(dit, 128).parameters == pytest.approx(parameters, rel=0.05)
    assert count(plain, 128).parameters == pytest.approx(parameters, rel=0.001)
    assert count(plain, 128).macs > count(ours, 128).macs


def test_it_leaves_when_the_time_is_up_and_goes_on(gpu: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "cpu.json"
    assert run(gpu, path, "matrix/bfloat16")[0] == 0
    first = json.loads(path.read_text(encoding="utf-8"))["parts"]["matrix/bfloat16"]
    code, tree = run(gpu, path, "matrix", "copy", minutes=1e-9)
    assert code == 75
    assert set(tree["parts"]) == {"matrix/bfloat16"}
    code, tree = run(gpu, path, "matrix", "copy")
    assert code == 0
    assert set(tree["parts"]) == {"matrix/bfloat16", "matrix/float32", "copy"}
    assert tree["parts"]["matrix/bfloat16"] == first
    text = path.with_suffix(".md").read_text(encoding="utf-8")
    assert "mean nothing" in text
    assert "| not measured |" in text


def test_a_part_that_fails_says_why_and_is_tried_again(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.card.session import Part

    def broken(bench: object) -> dict[str, Any]:
        raise RuntimeError("no luck\nmore words")

    good = next(part for part in gpu.PARTS if part.name == "copy")
    path = tmp_path / "cpu.json"
    monkeypatch.setattr(gpu, "PARTS", (Part("first", broken), good))
    code, tree = run(gpu, path)
    assert code == 0
    assert tree["parts"]["first"]["error"] == "RuntimeError: no luck"
    assert "bytes_per_s" in tree["parts"]["copy"]
    assert "- first: RuntimeError: no luck" in path.with_suffix(".md").read_text(encoding="utf-8")
    monkeypatch.setattr(gpu, "PARTS", (Part("first", lambda bench: {"fine": 1}), good))
    assert run(gpu, path)[1]["parts"]["first"]["fine"] == 1


def test_another_commit_or_size_begins_anew(gpu: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "cpu.json"
    _, tree = run(gpu, path, "copy")
    tree["machine"]["commit"] = "another"
    tree["parts"]["copy"]["bytes_per_s"] = 1.0
    path.write_text(json.dumps(tree), encoding="utf-8")
    assert run(gpu, path, "copy")[1]["parts"]["copy"]["bytes_per_s"] > 1.0


def test_a_cpu_never_stands_for_a_card(gpu: ModuleType, tmp_path: Path) -> None:
    run(gpu, tmp_path / "cpu.json", "copy")
    assert measured("A100", tmp_path) is None
    with pytest.raises(SystemExit) as refusal:
        gpu.main(["--device", "cpu", "--out", str(tmp_path / "x.json")])
    assert refusal.value.code == 2


def test_what_failed_comes_last_the_next_time(gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed in a part leaves that part marked, and the part holds nothing back."""
    from benchmarks.card.session import Part

    order, path = [], tmp_path / "cpu.json"

    def killed(bench: object) -> dict[str, Any]:
        assert json.loads(path.read_text(encoding="utf-8"))["parts"]["first"] == {"error": "it was cut off"}
        raise KeyboardInterrupt

    def noted(name: str) -> Part:
        return Part(name, lambda bench: {"order": order.append(name)})

    monkeypatch.setattr(gpu, "PARTS", (Part("first", killed), noted("second")))
    with pytest.raises(KeyboardInterrupt):
        run(gpu, path)
    monkeypatch.setattr(gpu, "PARTS", (noted("first"), noted("second")))
    code, tree = run(gpu, path)
    assert (code, order) == (0, ["second", "first"])
    assert not [part for part in tree["parts"].values() if "error" in part]


def test_the_first_minutes_bring_the_compiled_steps_and_then_one_of_everything(gpu: ModuleType) -> None:
    names = [part.name for part in gpu.PARTS]
    assert len(set(names)) == len(names)
    assert names[:4] == ["matrix/bfloat16", "matrix/float32", "copy", "noise"]
    compiled, until = names.index("train/imagenet256/compiled"), names.index("train/ffhq1024/compiled")
    assert compiled < min(names.index(name) for name in names if name.startswith(("attention", "sample", "inception")))
    assert sum(part.seconds for part in gpu.PARTS[:compiled]) < 6 * 60
    assert set(names[4:until]) == {
        *(f"train/{run}/eager" for run in ("table1/E", "imagenet256", "ffhq1024")), "inception/float32",
        "train/table1/E/compiled", "train/imagenet256/compiled",
        *(f"sample/table1/E/{how}" for how in ("eager", "graph")),
        *(f"attention/{run}/0" for run in ("table1/E", "imagenet256", "ffhq1024")),
    }  # fmt: skip


def test_a_batch_that_does_not_fit_is_halved_until_one_does(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.card import networks, session, training

    tried, fits = [], 1

    def step(run: Any, *_: object, **how: object) -> dict[str, Any]:
        tried.append(run.training.batch)
        if run.training.batch > fits:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return {"batch": run.training.batch}

    monkeypatch.setattr(training, "step_numbers", step)
    bench, run = session.Bench(torch.device("cpu"), True, 0.02), networks.named("table1/E", "smoke")
    assert training.measured(run, "table1/E", bench, compiled=False) == {"batch": 1}
    assert tried == [4, 2, 1]
    fits = 0
    with pytest.raises(torch.cuda.OutOfMemoryError):
        training.measured(run, "table1/E", bench, compiled=False)


class Clock:
    """Seconds that pass when a part says so; `parts` are their names, expectations and what they take."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, gpu: ModuleType, *parts: tuple[str, float, float]) -> None:
        from benchmarks.card import session

        self.now, self.taken = 0.0, []
        monkeypatch.setattr(session.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(gpu, "PARTS", tuple(session.Part(n, self.work(n, takes), s) for n, s, takes in parts))
        original = session.Bench
        monkeypatch.setattr(gpu, "Bench", lambda device, tiny, *rest: original(device, False, *rest))

    def work(self, name: str, takes: float) -> Callable[[object], dict[str, Any]]:
        def work(bench: object) -> dict[str, Any]:
            self.now += takes
            self.taken.append(name)
            return {"fine": 1}

        return work


def test_no_part_is_begun_that_may_not_end_in_time(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, gpu, ("a", 30, 30), ("b", 90, 90), ("c", 20, 20), ("longer", 300, 200))
    assert run(gpu, tmp_path / "cpu.json", minutes=1)[0] == 75
    assert clock.taken == ["a", "c"]
    assert run(gpu, tmp_path / "cpu.json", minutes=1)[0] == 75
    assert clock.taken == ["a", "c", "b"]
    assert run(gpu, tmp_path / "cpu.json", minutes=1)[0] == 0
    assert clock.taken == ["a", "c", "b", "longer"]


def test_a_card_that_no_longer_answers_leaves_the_rest_to_another_process(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.card import session

    def dead(bench: session.Bench) -> dict[str, Any]:
        bench.device = torch.device("cuda")
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def refused(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "synchronize", refused)
    path, fine = tmp_path / "cpu.json", session.Part("second", lambda bench: {"fine": 1})
    monkeypatch.setattr(gpu, "PARTS", (session.Part("first", dead), fine))
    code, tree = run(gpu, path)
    assert (code, list(tree["parts"])) == (75, ["first"])
    assert "illegal memory access" in tree["parts"]["first"]["error"]
    monkeypatch.setattr(gpu, "PARTS", (session.Part("first", lambda bench: {"fine": 1}), fine))
    assert run(gpu, path)[0] == 0


def test_a_backend_that_raises_is_tried_again_alone(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.card import attention

    def raises(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no luck\n" + "words " * 2000)

    path, part = tmp_path / "cpu.json", "attention/table1/E/0"
    plain = lambda q, k, v: q + k + v  # noqa: E731
    monkeypatch.setattr(attention, "backends", lambda level, q: {"good": plain, "bad": raises, "none": "not here"})
    found = run(gpu, path, part)[1]["parts"][part]
    assert found["error"] == "bad: RuntimeError: no luck"
    assert len(found["backends"]["bad"]["trace"]) == 4000
    assert found["backends"]["bad"]["trace"] in capsys.readouterr().err
    again = lambda level, q: {"good": raises, "bad": plain, "none": "not here"}  # noqa: E731
    monkeypatch.setattr(attention, "backends", again)
    second = run(gpu, path, part)[1]["parts"][part]
    assert "error" not in second
    assert second["backends"]["good"] == found["backends"]["good"]
    assert second["backends"]["bad"]["both_s"] > 0


def test_time_that_is_up_keeps_what_is_known_of_failures(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.card.session import Part

    def broken(bench: object) -> dict[str, Any]:
        raise RuntimeError("no luck")

    monkeypatch.setattr(gpu, "PARTS", (Part("first", broken),))
    found = run(gpu, tmp_path / "cpu.json")[1]["parts"]["first"]
    assert found["trace"].rstrip().endswith("RuntimeError: no luck")
    assert "in broken" in found["trace"]
    code, tree = run(gpu, tmp_path / "cpu.json", minutes=1e-9)
    assert (code, tree["parts"]["first"]) == (75, found)


@pytest.mark.long
def test_everything_runs_though_it_is_killed_in_the_middle(tmp_path: Path) -> None:
    """As on a card, by the command itself: killed while a part runs, begun again, and what was found stays."""
    path = tmp_path / "cpu.json"
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--tiny", "--out", str(path)]

    def parts() -> dict[str, dict[str, Any]]:
        return json.loads(path.read_text(encoding="utf-8"))["parts"] if path.exists() else {}

    first = subprocess.Popen(command, cwd=ROOT)
    until = time.monotonic() + 300
    while len(parts()) < 12 and first.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    first.kill()
    assert first.wait() == -9
    kept = {name: part for name, part in parts().items() if "error" not in part}
    assert 11 <= len(kept) < 20
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    done = parts()
    names = subprocess.run([*command, "--list"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    assert set(done) == {name for name in names if name}
    assert not [part["error"] for part in done.values() if "error" in part]
    assert {name: done[name] for name in kept} == kept
    assert "# cpu" in path.with_suffix(".md").read_text(encoding="utf-8")


def test_no_other_package_of_the_name_hides_these(tmp_path: Path) -> None:
    """A folder without __init__.py gives way to any package of its name on the path, wherever that lies."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").touch()
    found = PathFinder.find_spec("benchmarks", [str(ROOT), str(tmp_path)])
    assert found is not None
    assert found.origin == str(ROOT / "benchmarks" / "__init__.py")


def test_a_float32_product_is_measured_as_one(gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NVIDIA's containers turn TF32 on for products."""
    asked: list[tuple[str, str]] = []

    def products(precision: str, device: torch.device) -> AbstractContextManager[None]:
        asked.append((precision, device.type))
        return nullcontext()

    monkeypatch.setattr(gpu.machine, "products", products)
    assert run(gpu, tmp_path / "m.json", "matrix/float32")[0] == 0
    assert asked == [("float32", "cpu")]
