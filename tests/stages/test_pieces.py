"""A card that does not hold a batch of samples draws it in pieces, and they are the same samples."""

import pytest
import torch
from torch import nn

from hdit_repro.errors import RunError
from hdit_repro.stages.calling import Padded
from hdit_repro.stages.pieces import FewerAtOnce, InPieces


class Small:
    """A drawer on a card that holds `room` samples; sample i is an image of i, its label i too where there are any."""

    def __init__(self, room, labels=True, network=None):
        self.room, self.labels, self.asked = room, labels, []
        self.network = network or nn.Identity()

    def __call__(self, numbers):
        self.asked.append(len(numbers))
        if len(numbers) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        found = torch.tensor(list(numbers))
        return found.reshape(-1, 1, 1, 1).to(torch.uint8), found if self.labels else None


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize(("room", "tries"), [(10, [10]), (5, [10, 5, 5]), (3, [10, 5, 3, 3, 3, 1])])
def test_pieces_are_as_large_as_fits_and_in_order(room, tries, labels, recwarn):
    drawer = Small(room, labels)
    draw = InPieces(drawer)
    images, found = draw(range(7, 17))
    assert images.flatten().tolist() == list(range(7, 17))
    assert (found is None) is not labels
    assert found is None or found.tolist() == list(range(7, 17))
    assert drawer.asked == tries
    told = [str(each.message) for each in recwarn if each.category is FewerAtOnce]
    assert len(told) == sum(count > room for count in tries)
    drawer.asked.clear()
    draw(range(2, 12))
    assert all(count <= room for count in drawer.asked), "what did not fit once is not tried again"


def test_a_sample_that_does_not_fit_is_told():
    with pytest.raises(RunError, match="does not hold a sample") as told, pytest.warns(FewerAtOnce):
        InPieces(Small(0))(range(2))
    assert "Tried to allocate 2.00 GiB" in told.value.found


def test_a_network_of_one_size_is_called_as_it_is_instead():
    """Compiled or captured it is given as many rows as ever."""
    drawer = Small(5, network=Padded(nn.Identity(), 10))
    with pytest.raises(RunError, match="a batch of samples") as told:
        InPieces(drawer)(range(10))
    assert "--network eager" in told.value.fix
    assert drawer.asked == [10]


def test_other_errors_pass():
    def broken(numbers):
        raise RuntimeError("an illegal memory access")

    with pytest.raises(RuntimeError, match="illegal"):
        InPieces(broken)(range(4))
