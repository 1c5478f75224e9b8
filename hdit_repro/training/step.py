"""One step: gradients of the global batch's mean loss, however it is split, then one update or none."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hdit_repro.data.augmentation import augment
from hdit_repro.models.arithmetic import autocast, products
from hdit_repro.models.dropout import keyed
from hdit_repro.spec.run import Run
from hdit_repro.training.distributed import GradientSum, World
from hdit_repro.training.feed import Fed, Replaced, cut, whole
from hdit_repro.training.objective import Draws, make_draws, make_objective
from hdit_repro.training.state import TrainingState
from hdit_repro.training.watchdog import Verdict


class Outcome(NamedTuple):
    """What came of a step: the mean loss over the global batch, the gradient's norm before clipping, whether any
    process was asked to leave, and which images of the global batch could not be read."""

    loss: float
    grad_norm: float
    verdict: Verdict
    leave: bool
    replaced: tuple[Replaced, ...] = ()


class Stepper:
    """Takes steps on a state.

    Args:
        run: the run.
        state: is changed in place.
        world: this process among the others.
        microbatch: at most so many draws go through the network at once, in each process; 0 is all.
        network: what to call in place of the state's network, sharing its weights; None is itself.
    """

    def __init__(
        self, run: Run, state: TrainingState, world: World, microbatch: int = 0, network: nn.Module | None = None
    ) -> None:
        self.run, self.state, self.world, self.microbatch = run, state, world, microbatch
        self.network = state.network if network is None else network
        self.objective = make_objective(run)
        self.sums = GradientSum(state.network, world)

    def __call__(self, fed: Fed, leave: bool = False) -> Outcome:
        """Take the step of `fed`; a loss or gradient that is not finite changes no weight."""
        state = self.state
        state.optimizer.zero_grad(set_to_none=True)
        loss = self.gradients(fed)
        norm = clip(state.network, self.run.training.clip)
        value, leave, replaced = self._together(loss, leave, fed.replaced)
        length = float(norm)
        verdict = state.watchdog.judge(value, length)
        if verdict in ("fine", "spike"):
            state.optimizer.step()
            for average in (state.ema, *state.averages.values()):
                average.update(state.network, state.step)
        state.step += 1
        return Outcome(value, length, verdict, leave, replaced)

    def gradients(self, fed: Fed) -> Tensor:
        """Leave the gradient of the global batch's mean loss in the network; returns this process's share of the loss.

        A share is the sum of its samples' losses over the global batch's size, so that parts may be of any size.
        """
        pieces = cut(fed, self.microbatch)
        total: Tensor | None = None
        for place, piece in enumerate(pieces):
            if place == len(pieces) - 1:
                self.sums.begin()
            share = self._backward(self.draws(piece), whole(piece))
            total = share if total is None else total + share
        self.sums.finish()
        assert total is not None
        return total

    def _together(
        self, loss: Tensor, leave: bool, replaced: tuple[Replaced, ...]
    ) -> tuple[float, bool, tuple[Replaced, ...]]:
        """The sum of all processes' losses, whether any is to leave, and all their replaced images."""
        if self.world.size == 1:
            return float(loss), leave, replaced
        said = torch.tensor([leave, len(replaced)], dtype=torch.float64, device=loss.device)
        total, leaving, bad = self.world.sum(torch.cat([loss.double().reshape(1), said])).tolist()
        return total, leaving > 0, tuple(sorted(set(self.world.gather(replaced)))) if bad else ()

    def draws(self, fed: Fed) -> Draws:
        """Draws ready for the network."""
        return draws_of(self.run, fed, self.world.device)

    def _backward(self, draws: Draws, whole_batch: bool) -> Tensor:
        precision, device = self.run.training.precision, draws.images.device
        with keyed(self.state.network, draws.keys), products(precision, device):
            with autocast(precision, device):
                losses = self.objective(self.network, draws)
                loss = losses.mean() if whole_batch else losses.sum() / draws.batch
            loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()


def draws_of(run: Run, fed: Fed, device: torch.device) -> Draws:
    """The draws of a step's part, augmented where the run asks for it, with their noise and the like, on `device`."""
    numbers, labels = fed.batch.draws.tolist(), fed.batch.labels
    images, condition = fed.batch.images.to(device), None
    if run.training.augmentation:
        images, condition = augment(images, numbers, run.seed, run.training.augmentation)
    return make_draws(run, images, labels, numbers, fed.first, fed.size, device, condition)


def clip(network: nn.Module, limit: float) -> Tensor:
    """Scale gradients down to a norm of `limit` (0: leave them); returns the norm before."""
    return nn.utils.clip_grad_norm_(network.parameters(), limit if limit else float("inf"))
