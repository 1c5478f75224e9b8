"""How trainings run and samples are drawn on a machine: what its profile says reaches the stages, whoever starts
them."""

from __future__ import annotations

import io
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from hdit_repro.errors import UserError
from hdit_repro.launch.clusters import Local, read_cluster
from hdit_repro.launch.follow import Plain
from hdit_repro.launch.plan import wanted
from hdit_repro.launch.slurm.draft import draft
from hdit_repro.launch.slurm.profile import Slurm
from hdit_repro.launch.slurm.submit import _function
from hdit_repro.launch.submit import submit
from hdit_repro.records.layout import Roots
from hdit_repro.stages.settings import HowToSample, HowToTrain

ASKED = """
[training]
microbatch = 16
deterministic = true
compile = true
unreadable = "skip"
ema_decays = [0.999]
save_seconds = 60.0
[sampling]
network = "graph"
"""
HOW = HowToTrain(
    microbatch=16, deterministic=True, compile=True, unreadable="skip", ema_decays=(0.999,), save_seconds=60.0
)


def site(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Slurm:
    """A profile `site` in `jobs/clusters/` of the current folder: a100's, with another `[training]`."""
    monkeypatch.chdir(folder)
    shipped = (Path(__file__).parents[2] / "jobs" / "clusters" / "a100.toml").read_text()
    path = folder / "jobs" / "clusters" / "site.toml"
    path.parent.mkdir(parents=True)
    path.write_text(shipped.partition("[training]")[0] + text)
    found = read_cluster("site")
    assert isinstance(found, Slurm)
    return found


def test_a_cluster_job_is_told(tmp_path: Path, roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = site(tmp_path, monkeypatch, ASKED)
    assert profile.training == HOW
    planned = draft(wanted("table1", "paper", ["E"]), roots, profile, {}, allow_dirty=True)
    element = next(element for element in planned.elements if element.kind == "train")
    settings = _function(planned, element, None).settings
    assert (settings.training, settings.threads, settings.batch) == (HOW, 8, 64)
    assert settings.sampling == HowToSample(network="graph")


def test_the_shipped_profiles_say_what_is_said_anyway() -> None:
    for name in ("local", "a100", "h100"):
        assert read_cluster(name).training == HowToTrain(), name
        assert read_cluster(name).sampling == HowToSample(), name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[training]\nmicrobach = 1\n", "microbach"),
        ("[training]\nmicrobatch = -1\n", "microbatch is 0"),
        ('[training]\nunreadable = "ignore"\n', "unreadable"),
        ("[training]\nema_decays = [1.5]\n", "ema_decays lie in"),
        ("[training]\nlog_every = 0\n", "log_every starts at 1"),
        (f"[training]\nmicrobatch = {2**63}\n", "microbatch must fit int64"),
        ('[sampling]\nnetwork = "fast"\n', "network"),
    ],
)
def test_what_is_not_understood_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        site(tmp_path, monkeypatch, text)


def test_gpus_that_do_not_divide_the_batch_are_refused_before_anything_is_queued(
    tmp_path: Path, roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = msgspec.structs.replace(site(tmp_path, monkeypatch, ""), train_gpus=3)
    with pytest.raises(UserError, match="do not divide its batch") as caught:
        draft(wanted("table1", "paper", ["E"]), roots, profile, {}, allow_dirty=True)
    assert caught.value.fix == "set train_gpus in jobs/clusters/site.toml to 2 or 4"


def test_a_process_of_this_machine_is_told(roots: Roots, made_up: ModuleType, two_at_once: Local) -> None:
    cluster = msgspec.structs.replace(two_at_once, training=HOW, sampling=HowToSample(network="compile"))
    submit(
        wanted("table1", "smoke", ["E"]),
        roots,
        cluster,
        display=Plain(io.StringIO()),
        stages={**made_up.STAGES, "train": made_up.noting_settings},
    )
    told = msgspec.json.decode((roots.runs / "settings.json").read_bytes(), type=tuple[HowToTrain, HowToSample])
    assert told == (HOW, HowToSample(network="compile"))
