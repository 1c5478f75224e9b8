"""How much of a stage is still to be done, by what lies on disk. No torch."""

from __future__ import annotations

from hdit_repro.launch.graph import Task
from hdit_repro.launch.part import drawn
from hdit_repro.records.layout import RunFolder, numbered


def share_left(task: Task) -> float:
    """The share of a stage's work that is not kept yet, 1 to 0: images of a training after its newest checkpoint,
    samples that no shard holds. A measurement is whole or nothing."""
    folder, run = task.folder, task.job.run
    if folder.done(task.stage):
        return 0.0
    if task.stage == "train":
        step = min(_saved_step(folder), run.training.total_steps - 1)
        return 1 - run.training.batch_at(step)[0] / run.training.samples_seen
    if task.stage == "sample":
        wanted = range(run.sampling.count)
        return 1 - sum(number in wanted for number in drawn(folder)) / len(wanted)
    return 1.0


def there(left: float) -> str:
    """What is kept of a stage of which the share `left` is to be done, in words: "37 % there"; empty for nothing."""
    kept = int(100 * (1 - left))
    return f"{kept} % there" if kept else ""


def _saved_step(folder: RunFolder) -> int:
    """The step of the newest checkpoint whose file is there; it is not read. 0 where there is none."""
    found = numbered(folder.checkpoints, "step", "json")
    return max((step for step, path in found.items() if path.with_suffix(".safetensors").is_file()), default=0)
