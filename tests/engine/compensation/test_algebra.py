"""Linear algebra of compensation against loops written from the definitions."""

import itertools

import numpy as np
import torch
from prune.engine.algebra.elimination import eliminate, reader
from prune.engine.algebra.knapsack import least_loss
from prune.engine.algebra.least_squares import Moments, ridge_towards
from torch import Tensor

DRAW = torch.Generator().manual_seed(0)


def noise(*extents: int) -> Tensor:
    return torch.randn(*extents, generator=DRAW, dtype=torch.float64)


def moments_of(a_PD: Tensor, t_PO: Tensor, intercept: bool) -> Moments:
    """By loops over positions."""
    count = len(a_PD)
    mean_a, mean_t = sum(a_PD) / count, sum(t_PO) / count
    if intercept:
        a_PD, t_PO = a_PD - mean_a, t_PO - mean_t
    gram = sum(torch.outer(a, a) for a in a_PD) / count
    cross = sum(torch.outer(a, t) for a, t in zip(a_PD, t_PO, strict=True)) / count
    power = sum(t * t for t in t_PO) / count
    return Moments(gram[None], cross[None], power[None], mean_a[None], mean_t[None], count, intercept)


def test_ridge_is_least_squares_on_rows_that_pull_to_the_start():
    a_PD, t_PO, start_DO = noise(40, 6), noise(40, 3), noise(6, 3)
    found = ridge_towards(moments_of(a_PD, t_PO, False), start_DO[None], torch.tensor([0.3]).double())
    pull = (0.3 * 40) ** 0.5
    stacked = torch.cat([a_PD, pull * torch.eye(6).double()]), torch.cat([t_PO, pull * start_DO])
    torch.testing.assert_close(found[0], torch.linalg.lstsq(*stacked).solution)


def test_errors_are_those_of_the_positions():
    a_PD, t_PO, weight_DO, shift_O = noise(40, 6) + 1, noise(40, 3), noise(6, 3), noise(3)
    found = moments_of(a_PD, t_PO, True).errors(weight_DO[None], shift_O[None])
    torch.testing.assert_close(found[0], (t_PO - a_PD @ weight_DO - shift_O).square().mean(0))
    found = moments_of(a_PD, t_PO, False).errors(weight_DO[None])
    torch.testing.assert_close(found[0], (t_PO - a_PD @ weight_DO).square().mean(0))


def test_the_fit_is_never_worse_than_the_start():
    for _ in range(50):
        moments = moments_of(noise(12, 8), noise(12, 2), True)
        start_GDO = noise(1, 8, 2)
        fitted = ridge_towards(moments, start_GDO, moments.ridge())
        assert (moments.errors(fitted) <= moments.errors(start_GDO) + 1e-12).all()


def test_what_is_met_already_stays_and_inputs_of_nothing_do_too():
    start_DO = noise(6, 3)
    a_PD = noise(40, 6)
    exact = moments_of(a_PD, a_PD @ start_DO, False)
    torch.testing.assert_close(ridge_towards(exact, start_DO[None], exact.ridge())[0], start_DO)
    empty = moments_of(0 * a_PD, noise(40, 3), False)
    assert torch.equal(ridge_towards(empty, start_DO[None], empty.ridge())[0], start_DO)


def refitted(gram: Tensor, weight: Tensor, kept: list[int], share: float) -> tuple[Tensor, Tensor]:
    """The weights of the inputs kept, and the ridge objective per output, solved from scratch.

    Minimises (V - W)^T H (V - W) + ridge |V - W|^2 over V that are zero elsewhere.
    """
    regular = gram + share * gram.diagonal().mean() * torch.eye(len(gram)).double()
    solved = torch.zeros_like(weight)
    solved[kept] = torch.linalg.solve(regular[kept][:, kept], regular[kept] @ weight)
    off = solved - weight
    return solved, (off * (regular @ off)).sum(0)


def test_elimination_is_a_greedy_search_that_solves_every_candidate_anew():
    rows, weight, importance = noise(60, 10) @ noise(10, 10), noise(10, 4), noise(4).square()
    gram = rows.T @ rows / 60
    blocks = torch.arange(10).reshape(5, 2)
    free = [True, True, False, True, True]
    one = reader(gram[None], weight[None], importance[None], blocks, torch.arange(5))
    course = eliminate([one], free, keep=[1, 2, 3, 4])

    gone: list[int] = []
    for step in range(4):
        objective = {}
        for channel in (c for c in range(5) if free[c] and c not in gone):
            kept = [d for d in range(10) if d // 2 not in [*gone, channel]]
            objective[channel] = float((refitted(gram, weight, kept, 0.01)[1] * importance).sum())
        gone.append(min(objective, key=objective.__getitem__))
        kept = [d for d in range(10) if d // 2 not in gone]
        np.testing.assert_allclose(course.errors[step], min(objective.values()), rtol=1e-9)
        torch.testing.assert_close(course.weights[step + 1][0][0], refitted(gram, weight, kept, 0.01)[0])
    assert course.order == tuple(gone)


def test_readers_of_some_channels_and_of_several_groups_add_up():
    gram = torch.stack([r.T @ r for r in noise(2, 30, 3)])
    weight, importance = noise(2, 3, 2), torch.ones(2, 2).double()
    both = reader(gram, weight, importance, torch.arange(3)[:, None], torch.arange(3))
    apart = [
        reader(gram[g : g + 1], weight[g : g + 1], importance[:1], torch.arange(3)[:, None], torch.arange(3))
        for g in range(2)
    ]
    together, alone = eliminate([both], [True] * 3), eliminate(apart, [True] * 3)
    assert together.order == alone.order
    np.testing.assert_allclose(together.errors, alone.errors)
    unread = reader(gram[:1], weight[:1], importance[:1], torch.arange(3)[:, None], torch.tensor([0, 1, 3]))
    assert eliminate([unread], [True] * 4).order[0] == 2  # nobody reads it: it costs nothing


def test_the_knapsack_finds_what_trying_everything_finds():
    draw = np.random.default_rng(0)
    for _ in range(30):
        costs = [draw.integers(0, 30, size=draw.integers(1, 5)) for _ in range(4)]
        losses = [draw.random(len(cost)) for cost in costs]
        budget = int(draw.integers(0, 80))
        fitting = [
            (sum(loss[i] for loss, i in zip(losses, items, strict=True)), items)
            for items in itertools.product(*(range(len(cost)) for cost in costs))
            if sum(cost[i] for cost, i in zip(costs, items, strict=True)) <= budget
        ]
        found = least_loss(costs, losses, budget)
        assert (found is None) == (not fitting)
        if found is not None:
            assert sum(cost[i] for cost, i in zip(costs, found, strict=True)) <= budget
            best = sum(loss[i] for loss, i in zip(losses, found, strict=True))
            np.testing.assert_allclose(best, min(fitting)[0])
