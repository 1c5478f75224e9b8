"""What reaches a step: the draws in order, augmented where asked, unreadable images by the chosen policy."""

import msgspec
import numpy as np
import pytest
import torch

from hdit_repro.data.augmentation import augment
from hdit_repro.data.order import index_of
from hdit_repro.errors import RunError, UserError
from hdit_repro.spec.run import Run
from hdit_repro.training.feed import Readable, cut, feed, open_source
from hdit_repro.training.objective import make_objective
from hdit_repro.training.step import draws_of

CPU = torch.device("cpu")


class Damaged:
    """A data set of 12 images whose pixels say their number; some cannot be read."""

    def __init__(self, *bad):
        self.bad = set(bad)

    def __len__(self):
        return 12

    def batch(self, indices):
        for index in indices:
            if int(index) in self.bad:
                raise UserError("an image is damaged", found=f"img{int(index)}.png")
        return (
            torch.tensor([int(i) for i in indices], dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 16, 16).clone()
        )

    def labels(self, indices):
        return torch.tensor([int(i) % 9 for i in indices])


def test_augmentation_reaches_the_network_with_its_condition(tiny, tiny_images):
    run = tiny(augmentation=1.0)
    fed = next(feed(run, tiny_images, 0, 1))
    numbers = index_of(fed.batch.draws, len(tiny_images), run.seed)
    assert torch.equal(fed.batch.images, tiny_images.batch(numbers))  # bytes: warped where the network is
    expected = augment(tiny_images.batch(numbers), range(8), run.seed, 1.0)
    draws = draws_of(run, fed, CPU)
    assert torch.equal(draws.images, expected.images / 127.5 - 1)
    told = []

    def network(x, sigma, **cond):
        told.append(cond)
        return x

    make_objective(run)(network, draws)
    assert torch.equal(told[0]["aug_cond"], expected.condition)
    assert expected.condition.abs().sum() > 0


def test_without_augmentation_images_stay_bytes_and_the_network_is_told_nothing(tiny, tiny_images):
    run = tiny(augmentation=0.0)
    fed = next(feed(run, tiny_images, 0, 1))
    assert fed.batch.images.dtype == torch.uint8
    told = []
    make_objective(run)(lambda x, sigma, **cond: told.append(cond) or x, draws_of(run, fed, CPU))
    assert set(told[0]) == {"class_cond"}


def test_pieces_of_a_step_are_of_nearly_one_size_and_in_order(tiny, tiny_images):
    fed = next(feed(tiny(batch=11), tiny_images, 0, 1))
    for most, sizes in ((0, [11]), (11, [11]), (4, [3, 4, 4]), (1, [1] * 11), (100, [11])):
        pieces = cut(fed, most)
        assert [len(piece.batch.draws) for piece in pieces] == sizes
        for name in ("draws", "images", "labels"):
            assert torch.equal(torch.cat([getattr(p.batch, name) for p in pieces]), getattr(fed.batch, name))


def test_an_unreadable_image_is_fatal_and_named(tiny):
    run = tiny(batch=12, augmentation=0.0)
    with pytest.raises(UserError, match="img5") as caught:
        next(feed(run, open_source(Damaged(5), "fatal"), 0, 1))
    assert caught.value.exit_code == 2


def test_an_unreadable_image_is_replaced_by_the_next_and_noted(tiny):
    run = tiny(batch=12, augmentation=0.0)
    source = open_source(Damaged(5, 6, 11), "skip")
    fed = next(feed(run, source, 0, 1))
    wanted = index_of(range(12), 12, run.seed)
    by = {5: 7, 6: 7, 11: 0}
    expected = [by.get(int(number), int(number)) for number in wanted]
    assert fed.batch.images[:, 0, 0, 0].tolist() == expected
    assert fed.batch.labels.tolist() == [number % 9 for number in expected]
    assert fed.replaced == ((5, 7, "img5.png"), (6, 7, "img6.png"), (11, 0, "img11.png"))
    again = next(feed(run, Readable(Damaged(5, 6, 11)), 0, 1, lambda first, count: (first + 3, 4)))
    assert again.batch.images[:, 0, 0, 0].tolist() == expected[3:7]
    assert {one.number for one in again.replaced} == {5, 6, 11} & set(wanted[3:7].tolist())


def test_a_file_that_the_system_refuses_is_replaced_by_none(tiny):
    """It may be there for another process, or after a restart: they would train on other images."""

    class Away(Damaged):
        def batch(self, indices):
            if 5 in {int(index) for index in indices}:
                raise RunError("an image cannot be read", found="img5.png: Input/output error")
            return super().batch(indices)

    for source in (Away(), Away(4)):
        with pytest.raises(RunError, match="cannot be read"):
            next(feed(tiny(batch=12, augmentation=0.0), Readable(source), 0, 1))


def test_a_data_set_of_which_nothing_can_be_read_is_refused(tiny):
    with pytest.raises(UserError, match="damaged"):
        next(feed(tiny(batch=4, augmentation=0.0), Readable(Damaged(*range(12))), 0, 1))


def test_mirrored_and_augmented_draws_do_not_depend_on_the_process(tiny, tiny_images):
    tree = msgspec.to_builtins(tiny(batch=9))
    tree["data"]["flip"] = True
    run = msgspec.convert(tree, Run)
    whole = next(feed(run, tiny_images, 2, 3))
    parts = [next(feed(run, tiny_images, 2, 3, lambda f, n, r=r: (f + 3 * r, 3))) for r in range(3)]
    assert np.concatenate([part.batch.draws for part in parts]).tolist() == list(range(18, 27))
    assert torch.equal(torch.cat([part.batch.images for part in parts]), whole.batch.images)
    together, apart = draws_of(run, whole, CPU), [draws_of(run, part, CPU) for part in parts]
    assert run.training.augmentation > 0
    for name in ("images", "noise", "augmentation"):
        assert torch.equal(torch.cat([getattr(draws, name) for draws in apart]), getattr(together, name))
