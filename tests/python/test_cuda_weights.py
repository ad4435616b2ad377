"""FP8 weights on a GPU: products that are exact, and rows rounded to e4m3 where exact=False is given; see test_cuda.py for what these tests run on."""
import copy

import numpy as np
import pytest

import tenon
from on_device import elsewhere, on_a_device, run_on_the_emulated_library
from test_cuda import folder_of

IDS = np.array([[5, 17, 31, 8, 77, 23, 11, 64]])


@elsewhere
def test_on_the_emulated_library():
    run_on_the_emulated_library(__file__)


def logits(model):
    return model(input_ids=IDS).logits.cpu().numpy()


def distance(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


@on_a_device
@pytest.mark.parametrize("name", ["llama-fp8", "llama"])
def test_rows_are_rounded_where_exact_is_false(name):
    def opened(**options):
        if name == "llama":
            options["quantization_config"] = tenon.Fp8Config(**{k: options.pop(k) for k in ("exact",) if k in options})
        return tenon.AutoModelForCausalLM.from_pretrained(folder_of(name), **options)

    exact, here = logits(opened(device="cuda")), logits(opened(exact=False))
    model = opened(exact=False, device="cuda")
    rounded = logits(model)
    near = distance(here, exact)  # the CPU's products stay exact
    assert near < 0.03 and distance(logits(opened(exact=True, device="cuda")), exact) == 0
    assert 2 * near + 1e-3 < distance(rounded, exact) < 0.5
    assert np.array_equal(logits(copy.deepcopy(model)), rounded)
    assert distance(logits(model.to("cpu")), here) == 0 and np.array_equal(logits(model.to("cuda")), rounded)


@on_a_device
def test_what_is_said_plainly_counts():
    folder = folder_of("llama-fp8")
    opened = [tenon.AutoModelForCausalLM.from_pretrained(folder, device="cuda", **options) for options in
              (dict(exact=False), dict(quantization_config=tenon.Fp8Config(exact=False)), dict(quantization_config=tenon.Fp8Config(exact=True), exact=False),
               dict(), dict(quantization_config=tenon.Fp8Config(exact=False), exact=True), dict(quantization_config=tenon.Fp8Config()))]
    assert [m._core.fp8_rows for m in opened] == [True, True, True, False, False, False]
    assert all(np.array_equal(logits(m), logits(opened[0 if i < 3 else 3])) for i, m in enumerate(opened))
    plain = tenon.AutoModelForCausalLM.from_pretrained(folder_of("llama"), exact=False, device="cuda")
    assert distance(logits(plain), logits(tenon.AutoModelForCausalLM.from_pretrained(folder_of("llama")))) < 1e-4
