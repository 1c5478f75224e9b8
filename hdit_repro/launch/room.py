"""What a stage of training takes of a card's memory, and how its batch fits. No torch."""

from __future__ import annotations

from typing import NamedTuple

from hdit_repro.cost.cards import find_card
from hdit_repro.cost.memory import ROOM, fit, training_memory
from hdit_repro.spec.run import Run


class Room(NamedTuple):
    """A training step in one process, by the estimate of `cost.memory`.

    memory: bytes; 0 where nothing is trained. card_memory: bytes of the card as sold; 0 where no card is known, and
    nothing is fitted then. draws: of the largest batch, in this process. microbatch: at most so many at once; 0 where
    not even one fits. recompute: whether activations are computed again.
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


def room(run: Run, card: str, processes: int) -> Room:
    """How the largest batch of a run's schedule, shared among processes, fits on a card.

    Args:
        run: the run.
        card: as the driver or a cluster's profile calls it; a name that is not known fits nothing in.
        processes: of the training, one a card.
    """
    draws = -(-max(span.batch for span in run.training.spans) // processes)
    precision, known = run.training.precision, find_card(card)
    whole = training_memory(run.model, draws, precision, processes=processes).total
    if known is None:
        return Room(whole, 0, draws, draws)
    size = int(known.memory * 2**30)
    fitting = fit(run.model, draws, size, precision, processes=processes)
    if fitting is None:
        least = training_memory(run.model, 1, precision, processes=processes, recompute=True).total
        return Room(least, size, draws, 0, True)
    return Room(fitting.memory.total, size, draws, fitting.microbatch, fitting.recompute)


LEFT_FREE = round(100 * (1 - ROOM))
"""Per cent of a card that is kept free."""
