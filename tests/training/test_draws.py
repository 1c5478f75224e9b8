"""A draw's random choices depend on its number alone, and the loop takes the same steps after a restart."""

import weakref

import msgspec
import pytest
import torch

from hdit_repro import jobs
from hdit_repro.data.datasets import open_dataset
from hdit_repro.diffusion import GaussianDiffusion
from hdit_repro.spec.run import Run
from hdit_repro.spec.training import AdamW, UniformGroups
from hdit_repro.training.constant import Constant, best_constant_loss
from hdit_repro.training.distributed import World
from hdit_repro.training.draws import draw_keys, drop_labels
from hdit_repro.training.feed import feed
from hdit_repro.training.log import read_log
from hdit_repro.training.loop import LoopSettings, new_state, prepared, train
from hdit_repro.training.objective import make_draws, make_objective
from hdit_repro.training.optim import make_optimizer
from hdit_repro.training.step import Stepper

CPU = torch.device("cpu")


def small(row, **training):
    """A smoke run of a Table 1 row that is over in a few steps."""
    tree = msgspec.to_builtins(jobs.find(f"table1/{row}", "smoke").run)
    tree["training"] |= {"steps": 6, "batch": 4, **training}
    return msgspec.convert(tree, Run)


@pytest.fixture(scope="module")
def images():
    return open_dataset(small("E").data)


@pytest.mark.parametrize("row", ["E", "R1"])
def test_a_batch_split_in_any_way_has_the_same_draws(images, row):
    run = small(row)
    pixels, labels = images.batch(range(8)), images.labels(range(8))
    whole = make_draws(run, pixels, labels, range(40, 48), 40, 8, CPU)
    parts = [
        make_draws(run, pixels[a:b], labels[a:b], range(40 + a, 40 + b), 40, 8, CPU)
        for a, b in ((0, 1), (1, 5), (5, 8))
    ]
    for field in ("images", "noise", "uniform", "place", "labels"):
        assert torch.equal(torch.cat([getattr(part, field) for part in parts]), getattr(whole, field)), field


def test_noise_levels_are_stratified_over_the_global_batch(images):
    run = small("E")
    draws = make_draws(run, images.batch(range(16)), None, range(160, 176), 160, 16, CPU)
    sigma = make_objective(run).sigma(draws)
    assert torch.equal(sigma.argsort(descending=True), torch.arange(16))


def test_labels_are_dropped_at_their_rate():
    keys = draw_keys(0, range(20_000))
    labels = torch.zeros(20_000, dtype=torch.int64)
    assert (drop_labels(keys, labels, 9, 0.1) == 9).double().mean().item() == pytest.approx(0.1, abs=0.01)
    assert (drop_labels(keys, labels, 9, 0.0) == 0).all()
    assert drop_labels(keys, labels, 0, 0.1) is None
    assert drop_labels(keys, None, 9, 0.1) is None


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_a_draws_label_is_dropped_at_the_runs_rate(images, rate):
    run = small("E", class_dropout=rate, batch=400, steps=1)
    ((draws, batch),) = prepared(run, images, 0, 1, CPU)
    dropped = draws.labels == run.model.classes
    assert dropped.double().mean().item() == pytest.approx(rate, abs=0.1)  # 4 standard errors
    assert torch.equal(draws.labels[~dropped], batch.labels[~dropped])


def test_seeds_give_other_draws():
    assert not torch.equal(draw_keys(0, range(4)), draw_keys(1, range(4)))


@pytest.mark.parametrize("row", ["E", "R1"])
def test_a_run_that_is_stopped_and_resumed_ends_with_the_same_bits(tmp_path, images, row):
    """Stopped after its third step by an exception, with a checkpoint after each step."""
    run = small(row)
    every_step = LoopSettings(CPU, log_every=1, save_seconds=-1.0)
    straight = train(run, images, tmp_path / "a", tmp_path / "a.jsonl", every_step, lambda *_: None)

    class Stop(Exception):
        pass

    def stop(done, _total, _values):
        if done == 4:
            raise Stop

    with pytest.raises(Stop):
        train(run, images, tmp_path / "b", tmp_path / "b.jsonl", every_step, stop)
    resumed = train(run, images, tmp_path / "b", tmp_path / "b.jsonl", every_step, lambda *_: None)
    assert resumed.step == straight.step == 6
    for name, value in straight.tensors().items():
        assert torch.equal(value, resumed.tensors()[name]), name
    for a, b in zip(read_log(tmp_path / "a.jsonl"), read_log(tmp_path / "b.jsonl"), strict=True):
        assert (a["step"], a["loss"], a["grad_norm"]) == (b["step"], b["loss"], b["grad_norm"])


def test_a_batch_that_grows_follows_the_schedule(images):
    run = small("E", steps=2, growth=[{"steps": 2, "batch": 8}])
    sizes = [len(batch.draws) for _, batch in prepared(run, images, 0, 4, CPU)]
    assert sizes == [4, 4, 8, 8]
    draws = torch.cat([batch.draws for _, batch in prepared(run, images, 0, 4, CPU)])
    assert torch.equal(draws, torch.arange(24))


@pytest.mark.parametrize("row", ["A", "E", "R1"])
def test_no_constant_beats_the_best_one(images, row):
    run = small(row)
    kept = [draws for draws, _ in prepared(run, images, 0, 6, CPU)]
    best = best_constant_loss(run, kept)
    objective = make_objective(run)
    channels = 6 if row == "R1" else 3
    generator = torch.Generator().manual_seed(0)
    for scale in (0.0, 0.1, 1.0):
        image = scale * torch.randn(channels, run.data.resolution, run.data.resolution, generator=generator)
        with torch.no_grad():
            loss = torch.cat([objective(Constant(image), draws) for draws in kept]).double().mean().item()
        assert best <= loss + 1e-9


def test_the_best_constant_of_epsilon_leaves_its_whole_variance(images):
    run = small("R1")
    kept = [draws for draws, _ in prepared(run, images, 0, 6, CPU)]
    variance = torch.cat([draws.noise for draws in kept]).square().mean().item()
    assert best_constant_loss(run, kept) >= variance - 1e-6


def test_the_best_constant_variance_is_the_best_of_nine(images):
    run = small("R1")
    kept = [draws for draws, _ in prepared(run, images, 0, 6, CPU)]
    objective, side = make_objective(run), run.data.resolution
    losses = []
    for eighth in range(9):
        image = torch.cat([torch.zeros(3, side, side), torch.full((3, side, side), eighth / 4 - 1)])
        losses.append(torch.cat([objective(Constant(image), draws).double() for draws in kept]).mean().item())
    assert min(losses) < losses[4] - 1e-5, "another than 0 is better"
    assert best_constant_loss(run, kept) == pytest.approx(min(losses), rel=1e-9)


def test_the_best_constant_is_where_the_loss_has_no_slope(images):
    """It is a parabola in the constant, the same in each pixel: one step of Newton from zero ends at its foot."""
    run = small("A")
    kept = [draws for draws, _ in prepared(run, images, 0, 6, CPU)]
    objective = make_objective(run)

    def loss(image):
        return torch.cat([objective(Constant(image), draws) for draws in kept]).mean()

    def slope(image):
        image = image.clone().requires_grad_()
        return torch.autograd.grad(loss(image), image)[0]

    zero = torch.zeros(kept[0].images.shape[1:])
    bend = slope(zero + 1) - slope(zero)
    assert bend.max() < 1.001 * bend.min()
    foot = loss(zero - slope(zero) / bend).item()
    assert foot < 0.999 * loss(zero).item()
    assert best_constant_loss(run, kept) == pytest.approx(foot, rel=1e-5)


@pytest.mark.parametrize("row", ["E", "R1"])
def test_the_best_constant_keeps_no_draws(images, row):
    """But for those at hand: of a whole run's last steps they would fill a card."""
    run, alive = small(row), []

    class Draws:
        def __iter__(self):
            for draws, _ in prepared(run, images, 0, 6, CPU):
                alive.append(weakref.ref(draws.images))
                assert sum(each() is not None for each in alive) <= 2
                yield draws

    kept = [draws for draws, _ in prepared(run, images, 0, 6, CPU)]
    assert best_constant_loss(run, Draws()) == best_constant_loss(run, kept)


@pytest.mark.parametrize(("timesteps", "scale"), [(1000, 0.5), (300, 1.0)])
def test_a_draws_step_is_uniform_over_the_runs_chain_on_its_scale(images, timesteps, scale):
    tree = msgspec.to_builtins(small("R1"))
    tree["diffusion"] |= {"timesteps": timesteps, "data_scale": scale}
    run = msgspec.convert(tree, Run)
    (draws, _), *_ = prepared(run, images, 0, 6, CPU)
    least = 1 - 2**-32
    draws = draws._replace(uniform=torch.tensor([0.0, 0.29, 0.71, least], dtype=torch.float64))
    steps = torch.tensor([0, int(0.29 * timesteps), int(0.71 * timesteps), timesteps - 1])

    def network(x, t, class_cond):
        return torch.cat([torch.sin(x + t.view(-1, 1, 1, 1)), torch.cos(x)], dim=1)

    chain = GaussianDiffusion(timesteps, data_scale=scale)
    expected = chain.training_losses(network, draws.images, draws.noise, steps, class_cond=draws.labels).total
    assert torch.equal(make_objective(run)(network, draws), expected)


def test_the_average_takes_in_every_step_at_its_own_decay(tiny, tiny_images):
    """EMA's warm-up counts steps from 0, whose decay is 0."""
    run = tiny(steps=3)
    stepper = Stepper(run, new_state(run, CPU), World())
    state = stepper.state
    expected = {name: value.clone() for name, value in state.ema.weights.items()}
    for number, fed in enumerate(feed(run, tiny_images, 0, 3)):
        stepper(fed)
        decay = min(0.975, 1 - (1 + number) ** -0.75)
        for name, parameter in state.network.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * parameter.detach()
    for name, value in expected.items():
        torch.testing.assert_close(state.ema.weights[name], value)
    assert any(not torch.equal(value, state.network.get_parameter(name)) for name, value in expected.items())


def test_the_optimiser_is_the_specs():
    spec = AdamW(learning_rate=3e-4, betas=(0.8, 0.97), weight_decay=0.2, eps=1e-5, groups=UniformGroups())
    (group,) = make_optimizer(torch.nn.Linear(2, 2), spec).param_groups
    assert {name: group[name] for name in ("lr", "betas", "weight_decay", "eps", "amsgrad", "maximize")} == {
        "lr": 3e-4, "betas": (0.8, 0.97), "weight_decay": 0.2, "eps": 1e-5, "amsgrad": False, "maximize": False,
    }  # fmt: skip
