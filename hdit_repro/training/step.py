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
from hdit_repro.training.transfer import Reading, upload
from hdit_repro.training.watchdog import Verdict


class Wishes(NamedTuple):
    """What a process asks of all: to leave after the step, to save."""

    leave: bool = False
    save: bool = False


class Outcome(NamedTuple):
    """What came of a step: the mean loss over the global batch, the gradient's norm before clipping, whether any
    process was asked to leave, which images of the global batch could not be read, whether any process wants to save,
    and the step's draws, `size` from `first` on."""

    loss: float
    grad_norm: float
    verdict: Verdict
    leave: bool
    replaced: tuple[Replaced, ...] = ()
    save: bool = False
    first: int = 0
    size: int = 0


class Begun(NamedTuple):
    """A step whose gradients are being computed: `told` is loss, norm and, with several processes, how many want to
    leave, to save, and how many images they could not read; `bad` is 1 where the step is not to be taken, else 0."""

    fed: Fed
    wishes: Wishes
    told: Reading
    bad: Tensor


class Stepper:
    """Takes steps on a state.

    A step is three acts, so that nobody waits: `begin` asks for its gradients, `update` for its update, and `settle`
    tells what came of it. Whether loss and gradient are finite is decided on the device, and the host learns of it when
    the next step's gradients are asked for; the moving averages are brought up to date then. A call does all three.

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
        self._begun: Begun | None = None
        self._taken: Begun | None = None

    def __call__(self, fed: Fed, leave: bool = False) -> Outcome:
        """Take the step of `fed` and wait for what comes of it."""
        self.begin(fed, Wishes(leave))
        self.update()
        outcome = self.settle()
        assert outcome is not None
        return outcome

    def begin(self, fed: Fed, wishes: Wishes = Wishes()) -> None:  # noqa: B008
        """Ask for the gradients of a step."""
        assert self._begun is None, "the step before is not taken"
        self.state.optimizer.zero_grad(set_to_none=True)
        loss = self.gradients(fed)
        norm = clip(self.state.network, self.run.training.clip)
        told = self._together(loss, norm, wishes, len(fed.replaced))
        bad = told[:2].isfinite().all().logical_not().float()
        self._begun = Begun(fed, wishes, Reading(told), bad)

    def update(self) -> None:
        """Ask for the update of the step begun: none on the device where its loss or gradient is not finite."""
        assert self._begun is not None, "there is no step begun"
        assert self._taken is None, "the step before is not settled, and its weights belong into the averages"
        state = self.state
        state.optimizer.found_inf = self._begun.bad  # type: ignore[attr-defined]  # as GradScaler tells a fused one
        state.optimizer.step()
        state.step += 1
        self._begun, self._taken = None, self._begun

    def settle(self) -> Outcome | None:
        """What came of the step last taken, whose weights go into the averages; None where that was told already.

        All processes must call it at the same place among their steps.
        """
        if self._taken is None:
            return None
        (fed, wishes, told, _), self._taken = self._taken, None
        loss, norm, *others = told.numbers()
        verdict = self.state.watchdog.judge(loss, norm)
        if verdict in ("fine", "spike"):
            for average in (self.state.ema, *self.state.averages.values()):
                average.update(self.state.network, self.state.step - 1)
        replaced, (leave, save) = fed.replaced, wishes
        if others:
            leave, save = others[0] > 0, others[1] > 0
            replaced = tuple(sorted(set(self.world.gather(replaced)))) if others[2] else ()
        return Outcome(loss, norm, verdict, leave, replaced, save, fed.first, fed.size)

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

    def _together(self, loss: Tensor, norm: Tensor, wishes: Wishes, unread: int) -> Tensor:
        """What is told of the step (see `Begun`): float64; loss, wishes and counts are sums over all processes."""
        alone = [loss.double().reshape(1)]
        if self.world.size > 1:
            said = torch.tensor([*wishes, unread], dtype=torch.float64)
            total = self.world.sum(torch.cat([*alone, upload(said, loss.device)]))
            alone = [total[:1], total[1:]]
        return torch.cat([alone[0], norm.double().reshape(1), *alone[1:]])

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
    images, condition = upload(fed.batch.images, device), None
    if run.training.augmentation:
        images, condition = augment(images, numbers, run.seed, run.training.augmentation)
    return make_draws(run, images, labels, numbers, fed.first, fed.size, device, condition)


def clip(network: nn.Module, limit: float) -> Tensor:
    """Scale gradients down to a norm of `limit` (0: leave them); returns the norm before."""
    return nn.utils.clip_grad_norm_(network.parameters(), limit if limit else float("inf"))
