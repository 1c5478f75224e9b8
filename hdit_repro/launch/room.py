"""What a stage of training takes of a card's memory, and how its batch fits. No torch."""

from __future__ import annotations

from typing import NamedTuple

from hdit_repro.cost.cards import find_card
from hdit_repro.cost.memory import ROOM, fit, training_memory
from hdit_repro.spec.run import Run
from hdit_repro.stages.settings import HowToTrain


class Room(NamedTuple):
    """A training step in one process, by the estimate of `cost.memory`.

    memory: bytes; 0 where nothing is trained. card_memory: bytes of the card as sold; 0 where no card is known, and
    nothing is fitted then. draws: of the largest batch, in this process. microbatch: at most so many at once; 0 where
    not even one fits, or not those that were asked for. recompute: whether activations are computed again.
    """

    memory: int = 0
    card_memory: int = 0
    draws: int = 0
    microbatch: int = 0
    recompute: bool = False

    @property
    def words(self) -> str:
        """For a person: "21.4 of 80 GiB in pieces of 32, recomputed"."""
        if not self.memory:
            return ""
        size = self.memory / 2**30
        text = f"{size:.1f} GiB" if size >= 0.095 else f"{self.memory / 2**20:.0f} MiB"
        if not self.card_memory:
            return text
        whole = f"{text.removesuffix(' GiB')} of {self.card_memory / 2**30:.0f} GiB"
        if not self.microbatch:
            return f"{whole}: does not fit"
        pieces = f" in pieces of {self.microbatch}" if self.microbatch < self.draws else ""
        return whole + pieces + (", recomputed" if self.recompute else "")


NOWHERE = Room()
PLAIN = HowToTrain()


def room(run: Run, card: str, processes: int, how: HowToTrain = PLAIN, averages: int = 1) -> Room:
    """How the largest batch of a run's schedule, shared among processes, fits on a card.

    Args:
        run: the run.
        card: as the driver or a cluster's profile calls it; a name that is not known fits nothing in.
        processes: of the training, one a card.
        how: the profile's settings; a microbatch or recomputing that they ask for is taken as it is.
        averages: of the weights, the run's own included.
    """
    draws = -(-max(span.batch for span in run.training.spans) // processes)
    known = find_card(card)
    size = 0 if known is None else int(known.memory * 2**30)

    def memory(batch: int, recompute: bool) -> int:
        return training_memory(
            run.model, batch, run.training.precision, averages=averages, processes=processes, recompute=recompute
        ).total

    if known is None or how.microbatch or how.recompute:
        pieces = min(draws, how.microbatch or draws)
        taken = memory(pieces, how.recompute)
        return Room(taken, size, draws, 0 if known is not None and taken > size else pieces, how.recompute)
    fitting = fit(run.model, draws, size, run.training.precision, averages=averages, processes=processes)
    if fitting is None:
        return Room(memory(1, True), size, draws, 0, True)
    return Room(fitting.memory.total, size, draws, fitting.microbatch, fitting.recompute)


LEFT_FREE = round(100 * (1 - ROOM))
"""Per cent of a card that is kept free."""
