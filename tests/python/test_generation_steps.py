"""What generate() tells of its steps, and how it goes on from past_key_values: against transformers' recorded answers."""
import copy
import json

import numpy as np
import pytest
from conftest import GOLDEN

import tenon

FIELDS = ("attentions", "hidden_states", "decoder_attentions", "cross_attentions", "decoder_hidden_states")
RECORDED = json.loads((GOLDEN / "generation_steps.json").read_text()) if (GOLDEN / "generation_steps.json").exists() else {"steps": [], "past": []}
IDS = [[5, 17, 29, 80, 7, 9]]
PLAIN = dict(do_sample=False, eos_token_id=None, pad_token_id=0, return_dict_in_generate=True)


def opened(name):
    if not (GOLDEN / name / "model.safetensors").exists():
        pytest.skip(f"there is no golden case {name}")
    kind = tenon.AutoModelForSeq2SeqLM if name in ("marian", "t5", "m2m100") else tenon.AutoModelForCausalLM
    model = kind.from_pretrained(GOLDEN / name)
    model.generation_config.forced_eos_token_id = None
    return model


@pytest.fixture(scope="module")
def llama():
    return opened("llama")


def squares(t):
    """As make_generation_steps.py has them."""
    return (np.asarray(t)[..., -1, :].astype(np.float64) ** 2).sum(-1)


@pytest.mark.parametrize("case", RECORDED["steps"], ids=lambda c: f"{c['model']}-{c['options'].get('num_beams', 1)}")
def test_steps_are_those_of_transformers(case):
    out = opened(case["model"]).generate(tenon.tensor(case["input_ids"]), **case["inputs"], **case["options"])
    assert out.sequences.tolist() == case["sequences"]
    for field in FIELDS:
        if field not in case:
            assert getattr(out, field, None) is None
            continue
        steps = getattr(out, field)
        assert [list(step[0].shape) for step in steps] == case[field]["shapes"], field
        assert len(steps[0]) == len(case[field]["squares"][0])
        for step, recorded in zip(steps, case[field]["squares"]):
            for layer, expected in zip(step, recorded):
                assert np.abs(squares(layer) - expected).max() <= 2e-4 * np.abs(expected).max() + 1e-4, field
    for field in ("encoder_attentions", "encoder_hidden_states"):
        if field in case:
            assert [list(layer.shape) for layer in getattr(out, field)] == case[field]["shapes"]


@pytest.mark.parametrize("case", RECORDED["past"], ids=lambda c: c["model"])
def test_a_second_turn_goes_on_as_in_transformers(case):
    model = opened(case["model"])
    mask = np.array(case["inputs"].get("attention_mask", [[1] * 6] * 2))
    first = model.generate(tenon.tensor(case["input_ids"]), attention_mask=mask, max_new_tokens=4, **PLAIN)
    assert first.sequences.tolist() == case["first"] and first.past_key_values.get_seq_length() == case["first_length"]
    ids = np.concatenate([np.array(case["first"]), np.array(case["added"])], -1)
    mask = np.concatenate([mask, np.ones((2, ids.shape[1] - mask.shape[1]), dtype=mask.dtype)], -1)
    second = model.generate(ids, attention_mask=mask, past_key_values=first.past_key_values, max_new_tokens=5, **PLAIN)
    assert second.sequences.tolist() == case["second"] and second.past_key_values is first.past_key_values
    assert second.past_key_values.get_seq_length() == case["second_length"]


def test_a_past_gives_the_text_of_the_whole_prompt(llama):
    whole = llama.generate(tenon.tensor(IDS), max_new_tokens=6, **PLAIN).sequences.tolist()
    past = llama(input_ids=[IDS[0][:4]], use_cache=True).past_key_values
    kept = copy.deepcopy(past)
    assert llama.generate(tenon.tensor(IDS), past_key_values=past, max_new_tokens=6, **{**PLAIN, "return_dict_in_generate": False}).tolist() == whole
    assert past.get_seq_length() == 11 and kept.get_seq_length() == 4
    # New tokens alone, with a mask for all of them.
    fresh = llama.generate(tenon.tensor([IDS[0][4:]]), attention_mask=[[1] * 6], cache=copy.deepcopy(kept), max_new_tokens=6, **PLAIN)
    assert fresh.sequences.tolist() == [whole[0][4:]] and fresh.past_key_values.get_seq_length() == 11
    # What was generated is in it: the next call needs the last token alone.
    more = llama(input_ids=[whole[0][-1:]], past_key_values=past).logits.numpy()[0, -1]
    assert np.abs(more - llama(input_ids=whole).logits.numpy()[0, -1]).max() < 1e-4 * np.abs(more).max()
    for options in ({"num_beams": 3}, {"do_sample": True, "num_return_sequences": 3}, {"prompt_lookup_num_tokens": 3}, {"max_new_tokens": 9}):
        options = {"max_new_tokens": 6, **PLAIN, **options}
        tenon.manual_seed(3)
        expected = llama.generate(tenon.tensor(IDS), **options).sequences.tolist()
        tenon.manual_seed(3)
        out = llama.generate(tenon.tensor(IDS), past_key_values=copy.deepcopy(kept), **options)
        assert out.sequences.tolist() == expected
        assert out.past_key_values.get_seq_length() == len(expected[0]) - 1


def test_an_empty_cache_is_filled(llama):
    for cache in (tenon.DynamicCache(), None):
        out = llama.generate(tenon.tensor(IDS), past_key_values=cache, max_new_tokens=3, output_attentions=True, **PLAIN)
        assert out.past_key_values.get_seq_length() == 8 and (cache is None or out.past_key_values is cache)
        assert [step[0].shape[-2:] for step in out.attentions] == [(6, 6), (1, 7), (1, 8)]
    translator = opened("marian")
    out = translator.generate(tenon.tensor(IDS), max_new_tokens=3, **PLAIN)
    assert out.past_key_values.get_seq_length() == out.sequences.shape[1] - 1


def test_attentions_with_a_past_cover_it(llama):
    past = llama(input_ids=[IDS[0][:4]], use_cache=True).past_key_values
    out = llama.generate(tenon.tensor(IDS), past_key_values=past, max_new_tokens=2, output_attentions=True, output_hidden_states=True, **PLAIN)
    assert [step[0].shape[-2:] for step in out.attentions] == [(2, 6), (1, 7)]
    whole = llama(input_ids=out.sequences.tolist(), output_attentions=True).attentions
    for ours, theirs in zip(out.attentions[1], whole):
        assert np.abs(ours.numpy()[0, :, 0] - theirs.numpy()[0, :, 6, :7]).max() < 1e-5
    assert out.hidden_states[0][1].shape[:2] == (1, 2) and out.hidden_states[1][1].shape[:2] == (1, 1)


def test_without_a_dict_nothing_is_told(llama):
    assert llama.generate(tenon.tensor(IDS), max_new_tokens=2, do_sample=False, output_attentions=True).shape == (1, 8)


def test_what_does_not_fit_is_named(llama):
    past = llama(input_ids=IDS, use_cache=True).past_key_values
    other = opened("gpt2")(input_ids=IDS, use_cache=True).past_key_values
    for ids, options, error, part in ((IDS, {}, ValueError, "6 columns"), (IDS * 2, {}, ValueError, "2 sequences"),
                                      ([IDS[0] + [3]], {"attention_mask": [[0] + [1] * 6]}, ValueError, "attention_mask"),
                                      ([IDS[0] + [3]], {"past_key_values": other}, TypeError, "of this model"),
                                      ([IDS[0] + [3]], {"guidance_scale": 2.0}, TypeError, "guidance_scale"),
                                      ([IDS[0] + [3]], {"assistant_model": llama}, TypeError, "assistant"),
                                      ([IDS[0] + [3]], {"past_key_values": [1]}, TypeError, "past_key_values")):
        with pytest.raises(error, match=part):
            llama.generate(tenon.tensor(ids), **{"past_key_values": past, "max_new_tokens": 2, **options})
        assert past.get_seq_length() == 6
    with pytest.raises(TypeError, match="past_key_values"):
        marian = opened("marian")
        marian.generate(tenon.tensor(IDS), past_key_values=marian.generate(tenon.tensor(IDS), max_new_tokens=2, **PLAIN).past_key_values)
