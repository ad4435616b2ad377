"""tenon.optim.lr_scheduler: learning rates recorded from PyTorch, saving and loading, errors."""
import math

import pytest

import tenon
from tenon import optim
from tenon.optim import lr_scheduler


def optimizer():
    return optim.AdamW([{"params": [tenon.ones(1)]}, {"params": [tenon.ones(1)], "lr": 0.4}], lr=0.1)


# The learning rates of the second group at the first 11 steps.
CASES = {
    "LambdaLR": (lambda o, s: s.LambdaLR(o, [lambda step: 0.95**step, lambda step: 1 / (1 + step)]),
        [0.4, 0.2, 0.133333, 0.1, 0.08, 0.0666667, 0.0571429, 0.05, 0.0444444, 0.04, 0.0363636]),
    "MultiplicativeLR": (lambda o, s: s.MultiplicativeLR(o, lambda step: 1 - step / 20),
        [0.4, 0.38, 0.342, 0.2907, 0.23256, 0.17442, 0.122094, 0.0793611, 0.0476167, 0.0261892, 0.0130946]),
    "StepLR": (lambda o, s: s.StepLR(o, 3, gamma=0.5),
        [0.4, 0.4, 0.4, 0.2, 0.2, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05]),
    "MultiStepLR": (lambda o, s: s.MultiStepLR(o, [2, 5, 5, 7], gamma=0.5),
        [0.4, 0.4, 0.2, 0.2, 0.2, 0.05, 0.05, 0.025, 0.025, 0.025, 0.025]),
    "ConstantLR": (lambda o, s: s.ConstantLR(o, factor=0.25, total_iters=4),
        [0.1, 0.1, 0.1, 0.1, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]),
    "LinearLR": (lambda o, s: s.LinearLR(o, start_factor=0.2, end_factor=0.8, total_iters=6),
        [0.08, 0.12, 0.16, 0.2, 0.24, 0.28, 0.32, 0.32, 0.32, 0.32, 0.32]),
    "ExponentialLR": (lambda o, s: s.ExponentialLR(o, 0.9),
        [0.4, 0.36, 0.324, 0.2916, 0.26244, 0.236196, 0.212576, 0.191319, 0.172187, 0.154968, 0.139471]),
    "PolynomialLR": (lambda o, s: s.PolynomialLR(o, total_iters=8, power=2.0),
        [0.4, 0.30625, 0.225, 0.15625, 0.1, 0.05625, 0.025, 0.00625, 0.0, 0.0, 0.0]),
    "CosineAnnealingLR": (lambda o, s: s.CosineAnnealingLR(o, 4, eta_min=0.01),
        [0.4, 0.342886, 0.205, 0.0671142, 0.01, 0.0671142, 0.205, 0.342886, 0.4, 0.342886, 0.205]),
    "CosineAnnealingWarmRestarts": (lambda o, s: s.CosineAnnealingWarmRestarts(o, 2, T_mult=2, eta_min=0.01),
        [0.4, 0.205, 0.4, 0.342886, 0.205, 0.0671142, 0.4, 0.385157, 0.342886, 0.279623, 0.205]),
    "OneCycleLR": (lambda o, s: s.OneCycleLR(o, [0.1, 0.4], total_steps=11),
        [0.016, 0.168936, 0.384105, 0.391899, 0.35379, 0.290435, 0.212233, 0.132023, 0.062973, 0.0164182, 1.6e-06]),
    "OneCycleLR three": (lambda o, s: s.OneCycleLR(o, 0.2, epochs=2, steps_per_epoch=6, three_phase=True, anneal_strategy="linear"),
        [0.008, 0.0818462, 0.155692, 0.170462, 0.0966154, 0.0227692, 0.00689666, 0.00551749, 0.00413832, 0.00275914, 0.00137997]),
    "SequentialLR": (lambda o, s: s.SequentialLR(o, [s.LinearLR(o, 0.1, total_iters=3), s.CosineAnnealingLR(o, 8)], [3]),
        [0.04, 0.16, 0.28, 0.4, 0.384776, 0.341421, 0.276537, 0.2, 0.123463, 0.0585786, 0.0152241]),
    "ChainedScheduler": (lambda o, s: s.ChainedScheduler([s.ConstantLR(o, 0.5, total_iters=4), s.ExponentialLR(o, 0.9)]),
        [0.2, 0.18, 0.162, 0.1458, 0.26244, 0.236196, 0.212576, 0.191319, 0.172187, 0.154968, 0.139471]),
}


def rates(o, scheduler, steps):
    found = []
    for _ in range(steps):
        assert scheduler.get_last_lr() == [g["lr"] for g in o.param_groups]
        found.append(o.param_groups[1]["lr"])
        o.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("name", CASES)
def test_rates(name):
    make, expected = CASES[name]
    o = optimizer()
    assert rates(o, make(o, lr_scheduler), 11) == pytest.approx(expected, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_saved_schedulers_go_on(name):
    make, expected = CASES[name]
    first = optimizer()
    scheduler = make(first, lr_scheduler)
    rates(first, scheduler, 5)
    second = optimizer()
    resumed = make(second, lr_scheduler)
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    assert rates(second, resumed, 6) == pytest.approx(expected[5:], rel=1e-5, abs=1e-9)


def test_one_cycle_moves_the_momentum():
    o = optimizer()
    scheduler = lr_scheduler.OneCycleLR(o, 0.1, total_steps=11)
    found = []
    for _ in range(11):
        found.append(o.param_groups[0]["betas"][0])
        scheduler.step()
    assert found == pytest.approx(
        [0.95, 0.910173, 0.854139, 0.852025, 0.861552, 0.877391, 0.896942, 0.916994, 0.934257, 0.945896, 0.95], rel=1e-5)
    assert o.param_groups[0]["betas"][1] == 0.999
    with pytest.raises(ValueError, match="at most 11, got 12"):
        scheduler.step()


METRICS = [1, 0.9, 0.95, 0.9, 0.9, 0.9, 0.9, 0.85, 0.9, 0.9, 0.9, 0.9]
PLATEAUS = [
    (dict(mode="min", patience=1, factor=0.5, cooldown=1), [0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025, 0.0125, 0.0125, 0.0125]),
    (dict(mode="max", patience=0, factor=0.5, threshold=0.1, threshold_mode="abs", min_lr=0.02), [0.1, 0.05, 0.025] + [0.02] * 9),
]


@pytest.mark.parametrize("settings, expected", PLATEAUS)
def test_reduce_on_plateau(settings, expected):
    o = optimizer()
    scheduler, found = lr_scheduler.ReduceLROnPlateau(o, **settings), []
    for m in METRICS[:6]:
        scheduler.step(m)
        found.append(o.param_groups[0]["lr"])
    resumed = lr_scheduler.ReduceLROnPlateau(o)
    resumed.load_state_dict(scheduler.state_dict())
    for m in METRICS[6:]:
        resumed.step(tenon.tensor(m))
        found.append(o.param_groups[0]["lr"])
    assert found == pytest.approx(expected)


def test_going_to_a_step():
    o = optimizer()
    scheduler = lr_scheduler.StepLR(o, 3, gamma=0.5)
    scheduler.step(7)
    assert o.param_groups[1]["lr"] == pytest.approx(0.1)
    warm = lr_scheduler.CosineAnnealingWarmRestarts(optimizer(), 2, T_mult=2, eta_min=0.01)
    warm.step(4.5)
    assert warm.get_last_lr()[1] == pytest.approx(0.01 + 0.39 * (1 + math.cos(math.pi * 2.5 / 4)) / 2)


def test_errors():
    o = optimizer()
    with pytest.raises(TypeError, match="expected an optimizer"):
        lr_scheduler.StepLR([], 3)
    with pytest.raises(KeyError, match="initial_lr"):
        lr_scheduler.StepLR(o, 3, last_epoch=4)
    for make in (lambda: lr_scheduler.LambdaLR(o, [lambda s: 1.0]), lambda: lr_scheduler.LinearLR(o, start_factor=0),
                 lambda: lr_scheduler.ConstantLR(o, factor=2), lambda: lr_scheduler.OneCycleLR(o, 0.1),
                 lambda: lr_scheduler.OneCycleLR(o, 0.1, total_steps=0), lambda: lr_scheduler.CosineAnnealingWarmRestarts(o, 0),
                 lambda: lr_scheduler.SequentialLR(o, [lr_scheduler.StepLR(o, 1)], [1]),
                 lambda: lr_scheduler.SequentialLR(o, [lr_scheduler.ReduceLROnPlateau(o)], []),
                 lambda: lr_scheduler.ChainedScheduler([lr_scheduler.StepLR(optimizer(), 1)], o),
                 lambda: lr_scheduler.ReduceLROnPlateau(o, factor=1.0), lambda: lr_scheduler.ReduceLROnPlateau(o, mode="up")):
        with pytest.raises(ValueError):
            make()
