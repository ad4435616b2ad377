"""Learning-rate schedules: the numbers of Transformers 5.24 for a learning rate of 0.4, 3 steps of warm-up out of 10."""
import pytest

import tenon

STEPS = dict(num_warmup_steps=3, num_training_steps=10)
WARM = [0.0, 0.1333333, 0.2666667]
# the formula of each, with p = (step - 3) / 7 after the warm-up of step / 3
WANT = {
    "get_constant_schedule": ({}, [0.4] * 12),
    "get_constant_schedule_with_warmup": (dict(num_warmup_steps=3), [*WARM, *[0.4] * 9]),
    # 1 - p
    "get_linear_schedule_with_warmup": (STEPS, [*WARM, 0.4, 0.3428571, 0.2857143, 0.2285714, 0.1714286, 0.1142857, 0.05714286, 0.0, 0.0]),
    # (1 + cos(pi p)) / 2
    "get_cosine_schedule_with_warmup": (STEPS, [*WARM, 0.4, 0.3801938, 0.324698, 0.2445042, 0.1554958, 0.07530204, 0.01980623, 0.0,
                                                0.01980623]),
    # (1 + cos(pi (2 p mod 1))) / 2
    "get_cosine_with_hard_restarts_schedule_with_warmup": (dict(STEPS, num_cycles=2),
                                                           [*WARM, 0.4, 0.324698, 0.1554958, 0.01980623, 0.3801938, 0.2445042,
                                                                                        0.07530204, 0.0, 0.0]),
    # (0.3 (1 - p)^2 + 0.1) / 0.4
    "get_polynomial_decay_schedule_with_warmup": (dict(STEPS, lr_end=0.1, power=2.0),
                                                  [*WARM, 0.4, 0.3204082, 0.2530612, 0.1979592, 0.155102, 0.1244898,
                                                                                        0.1061224, 0.1, 0.1]),
    # sqrt(3 / step)
    "get_inverse_sqrt_schedule": (dict(num_warmup_steps=3),
                                  [*WARM, 0.4, 0.3464102, 0.3098387, 0.2828427, 0.2618615, 0.244949, 0.2309401, 0.219089, 0.2088932]),
    # 0.9 (1 + cos(pi p)) / 2 + 0.1
    "get_cosine_with_min_lr_schedule_with_warmup": (dict(STEPS, min_lr=0.04),
                                                    [*WARM, 0.4, 0.3821744, 0.3322282, 0.2600538, 0.1799462, 0.1077718, 0.0578256,
                                                                                0.04, 0.0578256]),
    # the same one step earlier, warm-up (0.2 + 0.8 step / 2)
    "get_cosine_with_min_lr_schedule_with_warmup_lr_rate": (dict(STEPS, min_lr_rate=0.1, warmup_lr_rate=0.2), [
        0.08, 0.24, 0.4, 0.3821744, 0.3322282, 0.2600538, 0.1799462, 0.1077718, 0.0578256, 0.04, 0.0578256, 0.1077718]),
    # 3 up from 0.1, 3 stable, 4 down as a cosine to 0.1
    "get_wsd_schedule": (dict(STEPS, num_decay_steps=4, min_lr_ratio=0.1),
                         [0.04, 0.16, 0.28, 0.4, 0.4, 0.4, 0.4, 0.3472792, 0.22, 0.09272078, 0.04, 0.04]),
}


def optimizer(rate=0.4):
    return tenon.optim.SGD([tenon.zeros(1).requires_grad_()], lr=rate)


def rates(schedule, own, count=12):
    found = []
    for _ in range(count):
        found.append(schedule.get_last_lr()[0])
        own.step()
        schedule.step()
    return found


@pytest.mark.parametrize("name", WANT)
def test_numbers(name):
    kwargs, want = WANT[name]
    own = optimizer()
    assert rates(getattr(tenon, name)(own, **kwargs), own) == pytest.approx(want, rel=1e-6, abs=1e-8)


def test_other_forms():
    own = optimizer()
    found = rates(tenon.get_wsd_schedule(own, 3, 4, num_stable_steps=2, warmup_type="cosine", decay_type="1-sqrt"), own)
    assert found == pytest.approx([0.0, 0.1, 0.3, 0.4, 0.4, 0.4, 0.2, 0.1171573, 0.05358984, 0.0, 0.0, 0.0], rel=1e-6, abs=1e-8)
    own = optimizer()
    found = rates(tenon.get_cosine_with_min_lr_schedule_with_warmup_lr_rate(own, **STEPS, min_lr_rate=0.1), own, 4)
    assert found == pytest.approx([0.1333333, 0.2666667, 0.4, 0.3821744], rel=1e-6)


def test_greedy():
    own = optimizer()
    schedule = tenon.get_greedy_schedule(own, factor=0.5, patience=1, min_lr=0.05, max_lr=1.0, cooldown=1, reset_start=2)
    found = []
    for metric in (1, .9, .8, .7, .75, .76, .77, .78, .79, .8, .81, .82, .83, .84, .85, .86, .87, .88, .89, .9):
        schedule.step(metric)
        found.append(own.param_groups[0]["lr"])
    assert found == pytest.approx([0.4, 0.8, 0.8, 1.0, 1.0, *[0.5] * 3, *[0.25] * 3, *[0.125] * 3, *[0.0625] * 3, *[0.05] * 3])
    again = tenon.GreedyLR(optimizer(), factor=0.5)
    again.load_state_dict(schedule.state_dict())
    assert again.get_last_lr() == [0.05] and again.best == schedule.best


def test_by_name():
    for name in tenon.SchedulerType:
        kwargs = {"cosine_with_min_lr": {"min_lr": 0.01}, "cosine_warmup_with_min_lr": {"min_lr": 0.01},
                  "warmup_stable_decay": {"num_decay_steps": 2}}.get(name.value)
        assert tenon.get_scheduler(name.value, optimizer(), 3, 10, kwargs) is not None
    own = optimizer()
    assert rates(tenon.get_scheduler("linear", own, 3, 10), own, 5) == pytest.approx([*WARM, 0.4, 0.3428571], rel=1e-6)
    for name, kwargs, message in (("linear", dict(num_training_steps=10), "num_warmup_steps"),
                                  ("cosine", dict(num_warmup_steps=3), "num_training_steps"),
                                  ("wave", {}, "expected one of linear"), ("cosine_with_min_lr", dict(STEPS), "min_lr")):
        with pytest.raises(ValueError, match=message):
            tenon.get_scheduler(name, optimizer(), **kwargs)
    with pytest.raises(ValueError, match="lr_end"):
        tenon.get_polynomial_decay_schedule_with_warmup(optimizer(1e-8), 1, 2)
