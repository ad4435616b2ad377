"""tenon.optim: trajectories recorded from PyTorch (Adafactor: from Transformers), groups, states saved and loaded, errors."""
import numpy as np
import pytest

import tenon
from tenon import optim


def wave(*shape, k):
    return tenon.tensor(np.sin(np.arange(np.prod(shape), dtype=np.float32) * np.float32(k)).reshape(shape))


class Problem:
    """Two matrices and two vectors in a small network with a fixed aim."""

    def __init__(self):
        self.params = [wave(4, 3, k=1.3), wave(3, k=0.7), wave(3, 5, k=2.1), wave(5, k=0.4)]
        for p in self.params:
            p.requires_grad_()
        self.x, self.y = wave(6, 4, k=0.9).numpy(), wave(6, 5, k=1.7).numpy()

    def backward(self):
        """Sets the gradients of mean((h v + c - y)^2) with h = u + u^2 / 2, u = x w + b; returns that loss."""
        w, b, v, c = (p.detach().numpy() for p in self.params)
        u = self.x @ w + b
        h = u * u * 0.5 + u
        r = h @ v + c - self.y
        dr = r * np.float32(2 / r.size)
        du = dr @ v.T * (u + 1)
        for p, g in zip(self.params, (self.x.T @ du, du.sum(0), h.T @ dr, dr.sum(0))):
            p.grad = tenon.tensor(g)
        return float((r * r).mean())

    def groups(self, **settings):
        w, b, v, c = self.params
        return [{"params": [w, v]}, {"params": [b, c], **settings}]

    def run(self, optimizer, steps):
        losses = []
        for _ in range(steps):
            optimizer.zero_grad()
            losses.append(self.backward())
            optimizer.step()
        return losses

    def values(self):
        return [p.detach().numpy().copy() for p in self.params]


# The loss before the 20th step, and the first and last element of each parameter after it.
CASES = {
    "AdamW": (lambda p: optim.AdamW(p.groups(weight_decay=0.0, lr=0.02), lr=0.01, weight_decay=0.1),
              0.3846544, [[-0.1494619, 0.8511317], [0.3291774, 0.7584968], [0.02505772, -0.8810753], [-0.0899458, 0.80815]]),
    "AdamW amsgrad": (lambda p: optim.AdamW(p.params, lr=0.05, betas=(0.8, 0.9), eps=1e-6, amsgrad=True),
                      0.2220598, [[-0.152336, 0.8955224], [0.2375731, 0.7825995], [0.2131468, -0.5376639], [-0.1082451, 0.6531866]]),
    "Adam": (lambda p: optim.Adam(p.groups(betas=(0.5, 0.99)), lr=0.01, weight_decay=0.1),
             0.499801, [[-0.1734448, 0.8479207], [0.1600133, 0.8630139], [0.0217699, -0.7256455], [-0.07565013, 0.7469102]]),
    "SGD": (lambda p: optim.SGD(p.params, lr=0.02, weight_decay=0.05),
            0.5623229, [[-0.07451504, 0.8586645], [0.1821799, 0.7281817], [-0.002282101, -0.8861275], [-0.01995772, 0.9467533]]),
    "SGD momentum": (lambda p: optim.SGD(p.groups(lr=0.005), lr=0.01, momentum=0.9, dampening=0.1, weight_decay=0.05),
                     0.3908435, [[-0.1300578, 0.750711], [0.2190516, 0.6361648], [0.008990258, -0.8129542], [-0.01953621, 0.9260148]]),
    "SGD nesterov": (lambda p: optim.SGD(p.params, lr=0.01, momentum=0.8, nesterov=True),
                     0.3547264, [[-0.1024056, 0.8569074], [0.2626673, 0.7161538], [0.006663836, -0.9166071], [-0.0109355, 0.8966305]]),
    "Adafactor": (lambda p: optim.Adafactor(p.params),
                  0.6630433, [[-0.1567692, 0.9006798], [0.1257178, 0.8903485], [-0.005818458, -0.8309074], [-0.06690482, 0.9466615]]),
    "Adafactor warmup": (lambda p: optim.Adafactor(p.params, warmup_init=True, weight_decay=0.01),
                         1.660623, [[-1.742585e-4, 0.9866146], [1.427317e-4, 0.9853057], [-2.914247e-4, -0.9024529], [-1.494348e-4, 0.9997216]]),
    "Adafactor lr": (lambda p: optim.Adafactor(p.groups(lr=0.02), lr=0.01, relative_step=False, scale_parameter=False, beta1=0.9,
                                               clip_threshold=0.5),
                     0.9024976, [[-0.07444496, 0.9266051], [0.1366257, 0.8649966], [-0.1158666, -0.873987], [-0.1040687, 1.038106]]),
    "Lion": (lambda p: optim.Lion(p.params, lr=0.01, weight_decay=0.1),
             0.4750751, [[-0.1981114, 0.7691121], [0.1981114, 0.7678159], [0.06033435, -0.686562], [-0.1182512, 0.8602716]]),
}


@pytest.mark.parametrize("name", CASES)
def test_trajectory(name):
    make, loss, ends = CASES[name]
    problem = Problem()
    losses = problem.run(make(problem), 20)
    assert losses[-1] == pytest.approx(loss, rel=2e-5)
    for p, (first, last) in zip(problem.values(), ends):
        assert p.flat[0] == pytest.approx(first, abs=1e-5)
        assert p.flat[-1] == pytest.approx(last, abs=1e-5)


@pytest.mark.parametrize("name", [*CASES, "AdamW8bit"])
def test_saved_state_goes_on_with_the_same_bits(name):
    make = CASES[name][0] if name in CASES else lambda p: optim.AdamW8bit(p.params, lr=0.01, min_8bit_size=0)
    whole = Problem()
    whole.run(make(whole), 6)
    first = Problem()
    optimizer = make(first)
    first.run(optimizer, 3)
    second = Problem()
    for to, source in zip(second.params, first.params):
        with tenon.no_grad():
            to.copy_(source)
    resumed = make(second)
    resumed.load_state_dict(optimizer.state_dict())
    first.run(optimizer, 1)  # the states are copies: this must not show
    second.run(resumed, 3)
    for a, b in zip(whole.values(), second.values()):
        assert np.array_equal(a, b)


def test_same_bits_on_any_number_of_threads():
    before = tenon.get_num_threads()
    results = []
    for threads in (1, 3):
        tenon.set_num_threads(threads)
        rng = np.random.default_rng(0)
        params = [tenon.tensor(rng.standard_normal(s, dtype=np.float32)) for s in [(300, 257), (70001,), (7,)]]
        gradients = [rng.standard_normal(tuple(p.shape), dtype=np.float32) for p in params]
        for make in (optim.AdamW, optim.SGD, optim.Lion, optim.AdamW8bit, optim.Adafactor):
            optimizer = make(params)
            for _ in range(2):
                for p, g in zip(params, gradients):
                    p.grad = tenon.tensor(g)
                optimizer.step()
        results.append([p.numpy().copy() for p in params] + [tenon._core.grad_norm([p.grad for p in params])])
    tenon.set_num_threads(before)
    for a, b in zip(*results):
        assert np.array_equal(a, b)


def test_8bit_follows_float32_and_is_small():
    aim = np.random.default_rng(1).standard_normal((64, 128)).astype(np.float32)
    finals = []
    for make in (optim.AdamW, optim.AdamW8bit):
        rng = np.random.default_rng(2)
        p = tenon.zeros(64, 128).requires_grad_()
        small = tenon.zeros(8).requires_grad_()
        optimizer = make([p, small], lr=0.02)
        for _ in range(60):
            noise = rng.standard_normal(aim.shape).astype(np.float32) * 0.1
            p.grad = tenon.tensor(p.detach().numpy() - aim + noise)
            small.grad = tenon.ones(8)
            optimizer.step()
        finals.append(p.detach().numpy().copy())
    difference = np.abs(finals[1] - finals[0])
    assert difference.mean() < 0.02 and difference.max() < 0.2
    state = optimizer.state[p]
    assert state["state1"].dtype == state["state2"].dtype == tenon.uint8
    assert sum(t.nbytes for t in state.values() if isinstance(t, tenon.Tensor)) == 2 * p.numel() + 2 * 4 * p.numel() // 256
    assert optimizer.state[small]["state1"].dtype == tenon.float32


def test_8bit_second_moments_do_not_vanish_before_the_first():
    # One element far below its block's largest: after its gradient ends the step must not be m / eps.
    p = tenon.zeros(256)
    optimizer = optim.AdamW8bit([p], lr=0.01, weight_decay=0, min_8bit_size=0)
    g = np.ones(256, dtype=np.float32)
    g[1:] = 1e-4
    p.grad = tenon.tensor(g)
    optimizer.step()
    g[1:] = 0
    for _ in range(20):
        p.grad = tenon.tensor(g)
        optimizer.step()
    assert np.abs(p.numpy()).max() < 0.5


def test_state_dict_has_pytorchs_form():
    problem = Problem()
    optimizer = optim.AdamW(problem.groups(lr=0.1))
    problem.run(optimizer, 1)
    d = optimizer.state_dict()
    assert [g["params"] for g in d["param_groups"]] == [[0, 1], [2, 3]] and d["param_groups"][1]["lr"] == 0.1
    assert sorted(d["state"]) == [0, 1, 2, 3] and sorted(d["state"][2]) == ["exp_avg", "exp_avg_sq", "step"] and d["state"][2]["step"] == 1
    assert tuple(d["state"][2]["exp_avg"].shape) == (3,)


def test_a_scaled_step_clips_as_it_goes():
    norm = tenon._core.clip_grad_norm([g := tenon.tensor([3.0, 4.0])], 1.0)
    assert norm == 5 and g.tolist() == pytest.approx([0.6, 0.8], rel=1e-5)
    assert tenon._core.clip_grad_norm([g], 2.0) == pytest.approx(1) and g.tolist() == pytest.approx([0.6, 0.8], rel=1e-5)
    tenon._core.clip_grad_value([g], 0.7)
    assert g.tolist() == pytest.approx([0.6, 0.7], rel=1e-5)


def test_parameters_without_gradient_stay_and_zero_grad():
    a, b = tenon.ones(3).requires_grad_(), tenon.ones(3).requires_grad_()
    optimizer = optim.AdamW([a, b], lr=0.5)
    a.grad = tenon.ones(3)
    optimizer.step()
    assert a.tolist() != [1, 1, 1] and b.tolist() == [1, 1, 1] and b not in optimizer.state
    optimizer.zero_grad(set_to_none=False)
    assert a.grad.tolist() == [0, 0, 0] and b.grad is None
    optimizer.zero_grad()
    assert a.grad is None


def test_closure_hooks_and_named_parameters():
    problem, seen = Problem(), []
    optimizer = optim.SGD([(n, p) for n, p in zip("wbvc", problem.params)], lr=0.01)
    assert optimizer.param_groups[0]["param_names"] == list("wbvc")
    handle = optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append(o))

    def closure():
        assert tenon.is_grad_enabled()
        return problem.backward()

    with tenon.no_grad():
        assert optimizer.step(closure) > optimizer.step(closure)
    handle.remove()
    optimizer.step()
    assert seen == [optimizer, optimizer]


def test_errors():
    p = tenon.ones(3).requires_grad_()
    with pytest.raises(ValueError, match="at least one parameter"):
        optim.AdamW([])
    with pytest.raises(TypeError, match="one tensor"):
        optim.AdamW(p)
    with pytest.raises(ValueError, match="twice"):
        optim.AdamW([p, p])
    with pytest.raises(ValueError, match="leaves"):
        optim.AdamW([p * 2])
    with pytest.raises(TypeError, match="float32, got tenon.float64"):
        optim.SGD([tenon.ones(3, dtype=tenon.float64)])
    for make, settings, part in [(optim.AdamW, {"lr": -1}, "lr"), (optim.AdamW, {"betas": (0.9, 1.0)}, "beta2"),
                                 (optim.Lion, {"lr": np.nan}, "lr"), (optim.AdamW, {"eps": -1}, "eps"), (optim.SGD, {"nesterov": True}, "nesterov"),
                                 (optim.Adafactor, {"lr": 0.1}, "relative_step"), (optim.Adafactor, {"relative_step": False}, "lr"),
                                 (optim.AdamW8bit, {"amsgrad": True}, "amsgrad")]:
        with pytest.raises(ValueError, match=part):
            make([p], **settings)
    optimizer = optim.AdamW([p])
    p.__dict__["_grad"] = tenon.ones(4)
    with pytest.raises(ValueError, match=r"gradient: expected \(3,\), got \(4,\)"):
        optimizer.step()
    with pytest.raises(ValueError, match="groups"):
        optimizer.load_state_dict(optim.AdamW([tenon.ones(1), tenon.ones(1)]).state_dict())
    with pytest.raises(NotImplementedError):
        optim.Optimizer([p], {}).step()
