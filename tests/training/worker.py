"""One process of a training, started by conftest.py, which hands over CONFIG. Leaves result-RANK.json."""

import json
import sys
import time
from pathlib import Path

import msgspec
import torch
from safetensors.torch import save

from hdit_repro.data.datasets import open_dataset
from hdit_repro.errors import UserError
from hdit_repro.spec.run import Run
from hdit_repro.training import checkpoint, step
from hdit_repro.training.distributed import join
from hdit_repro.training.feed import open_source
from hdit_repro.training.loop import LoopSettings, train
from hdit_repro.training.rendezvous import Place
from hdit_repro.training.signals import Stop


def note_draws(seen):
    """Keep the numbers of all draws this process takes."""
    plain = step.make_draws

    def noting(run, images, labels, draws, *rest):
        seen.extend(draws)
        return plain(run, images, labels, draws, *rest)

    step.make_draws = noting


def slow_writing(folder):
    """Write half of a checkpoint, say so by the file `writing`, wait, and write the rest."""

    def write(tensors, path, metadata):
        data = save(tensors, metadata)
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            (folder / "writing").touch()
            time.sleep(0.15)
            file.write(data[len(data) // 2 :])
            (folder / "writing").unlink()

    checkpoint.save_file = write


def spoil(bad):
    """Make the loss of some steps (numbers of steps, from 0) not a number."""
    plain = step.Stepper.gradients

    def gradients(self, fed):
        loss = plain(self, fed)
        return loss * float("nan") if self.state.step in bad else loss

    step.Stepper.gradients = gradients


class Holes:
    """A data set of which some images cannot be read."""

    def __init__(self, images, bad):
        self.images, self.bad = images, set(bad)

    def __len__(self):
        return len(self.images)

    def batch(self, indices):
        for index in indices:
            if int(index) in self.bad:
                raise UserError("an image is damaged", found=f"img{int(index)}.png")
        return self.images.batch(indices)

    def labels(self, indices):
        return self.images.labels(indices)


def main(config):
    torch.set_num_threads(1)
    folder, rank = Path(config["folder"]), config["rank"]
    run = msgspec.convert(config.get("per_rank", {}).get(str(rank), config["run"]), Run)
    seen, losses = [], []
    note_draws(seen)
    spoil(config.get("bad_steps", ()))
    if config.get("slow_writing"):
        slow_writing(folder)

    def report(done, total, values):
        losses.append(values["loss"])
        time.sleep(config.get("pause", 0.0))

    code, message = 0, ""
    try:
        with (
            join(Place(rank, config["size"], rank, "127.0.0.1", config["port"]), torch.device("cpu")) as world,
            Stop(folder / "stop" if rank == 0 else None) as stop,
        ):
            settings = LoopSettings(
                torch.device("cpu"),
                log_every=1,
                save_seconds=config.get("save_seconds", 1e9),
                world=world,
                microbatch=config.get("microbatch", 0),
                stop=stop,
                averages=tuple(config.get("averages", ())),
            )
            images = open_source(Holes(open_dataset(run.data), config["holes"]), "skip") if "holes" in config else None
            images = images or open_dataset(run.data)
            train(run, images, folder / "checkpoints", folder / "metrics.jsonl", settings, report)
            world.wait()
    except UserError as error:
        code, message = error.exit_code, str(error)
    result = {"draws": seen, "losses": losses, "message": message}
    (folder / f"result-{rank}.json").write_text(json.dumps(result))
    sys.exit(code)


main(CONFIG)  # noqa: F821
