"""past_key_values by hand, as scripts write their own loops; encoders alone; attentions of decoders and encoder-decoders."""
import copy

import numpy as np
import pytest

import tenon
from conftest import GOLDEN


def near(a, b, bound=2e-5):
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and np.abs(a - b).max() <= bound * max(1e-30, np.abs(b).max())


def opened(cls, name):
    if not (GOLDEN / name / "model.safetensors").exists():
        pytest.skip(f"there is no golden case {name}")
    return cls.from_pretrained(GOLDEN / name)


@pytest.fixture(scope="module", params=["gpt2", "llama", "deepseek-v3"])
def decoder(request):
    return opened(tenon.AutoModelForCausalLM, request.param)


IDS = np.array([[5, 17, 29, 80, 7, 9, 31, 8]])


def test_a_loop_by_hand_writes_what_generate_writes(decoder):
    expected = decoder.generate(IDS, max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0).tolist()[0]
    for first in ({"use_cache": True}, {}, {"use_cache": True, "past_key_values": tenon.DynamicCache()}):
        with tenon.no_grad():
            out, written = decoder(input_ids=IDS, **first), IDS[0].tolist()
            for _ in range(8):
                written.append(out.logits[0, -1].argmax().item())
                assert out.past_key_values.get_seq_length() == len(written) - 1
                out = decoder(input_ids=[[written[-1]]], past_key_values=out.past_key_values, use_cache=True)
        assert written == expected


def test_left_padding_and_positions(decoder):
    ids = np.concatenate([IDS, np.roll(IDS, 3)])
    mask = np.ones_like(ids)
    mask[1, :3] = 0
    whole = decoder(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    half = decoder(input_ids=ids[:, :5], attention_mask=mask[:, :5], use_cache=True)
    rest = decoder(input_ids=ids[:, 5:], attention_mask=mask, past_key_values=half.past_key_values, output_hidden_states=True)
    assert near(rest.logits, whole.logits.numpy()[:, 5:]) and near(rest.hidden_states[1], whole.hidden_states[1].numpy()[:, 5:])
    wrong = mask.copy()
    wrong[0, 0] = 0
    past = decoder(input_ids=ids[:, :5], attention_mask=mask[:, :5], use_cache=True).past_key_values
    with pytest.raises(ValueError, match="attention_mask"):
        decoder(input_ids=ids[:, 5:], attention_mask=wrong, past_key_values=past)
    with pytest.raises(TypeError, match="past_key_values"):
        decoder(input_ids=ids, past_key_values=((1, 2),))


def test_a_cache_is_copied_cropped_and_reordered(decoder):
    past = decoder(input_ids=IDS, use_cache=True).past_key_values
    saved = copy.deepcopy(past)
    one = decoder(input_ids=[[4]], past_key_values=past).logits.numpy()
    assert (past.get_seq_length(), saved.get_seq_length()) == (9, 8)
    assert near(decoder(input_ids=[[4]], past_key_values=saved).logits, one)
    past.crop(-1)
    past.batch_repeat_interleave(3)
    three = decoder(input_ids=[[4], [5], [4]], past_key_values=past).logits.numpy()
    assert near(three[:1], one) and near(three[2:], one) and not near(three[1:2], one, 1e-3)
    past.reorder_cache([1, 1])
    assert decoder(input_ids=[[4], [5]], past_key_values=past).logits.shape[0] == 2


def test_attentions_are_probabilities(decoder):
    out = decoder(input_ids=IDS, output_attentions=True)
    assert len(out.attentions) == decoder.config.num_hidden_layers
    p = out.attentions[0].numpy()
    assert p.shape == (1, decoder.config.num_attention_heads, 8, 8) and np.allclose(p.sum(-1), 1, atol=1e-5)
    assert np.triu(p[0, 0], 1).max() == 0
    past = decoder(input_ids=IDS[:, :6], use_cache=True).past_key_values
    later = decoder(input_ids=IDS[:, 6:], past_key_values=past, output_attentions=True).attentions[0].numpy()
    assert near(later, p[:, :, 6:])


@pytest.mark.parametrize("name", ["marian", "m2m100", "t5"])
def test_encoder_decoders(name):
    model = opened(tenon.AutoModelForSeq2SeqLM, name)
    answer = np.array([[model.config.decoder_start_token_id, 9, 12, 30]])
    whole = model(input_ids=IDS, decoder_input_ids=answer, output_attentions=True, output_hidden_states=True)
    assert len(whole.cross_attentions) == len(whole.decoder_attentions) and len(whole.encoder_attentions) > 0
    assert whole.cross_attentions[0].shape[-2:] == (4, 8) and np.allclose(whole.cross_attentions[0].numpy().sum(-1), 1, atol=1e-5)
    encoded = model.get_encoder()(input_ids=IDS, attention_mask=np.ones_like(IDS))
    assert near(encoded.last_hidden_state, whole.encoder_last_hidden_state)
    out = model(encoder_outputs=encoded, decoder_input_ids=answer[:, :2], use_cache=True)
    assert near(out.logits, whole.logits.numpy()[:, :2])
    for t in (2, 3):
        out = model(encoder_outputs=encoded, decoder_input_ids=answer[:, t:t + 1], past_key_values=out.past_key_values, output_attentions=True)
        assert near(out.logits, whole.logits.numpy()[:, t:t + 1])
        assert near(out.cross_attentions[-1], whole.cross_attentions[-1].numpy()[:, :, t:t + 1])
    assert model.generate(encoder_outputs=encoded, max_new_tokens=6).tolist() == model.generate(IDS, max_new_tokens=6).tolist()


def test_outputs_keep_transformers_order(decoder):
    out = decoder(input_ids=IDS, use_cache=True, output_hidden_states=True)
    assert list(out)[:3] == ["logits", "past_key_values", "hidden_states"]
    assert "past_key_values" not in decoder(input_ids=IDS, use_cache=False)
    assert len(decoder(input_ids=IDS, use_cache=False, return_dict=False)) == 1


def test_a_loss_over_a_cached_call_is_an_error(decoder):
    out = decoder(input_ids=IDS, use_cache=True)
    with pytest.raises(RuntimeError, match="with a cache.*gradient"):
        out.logits.sum().backward()
    with tenon.no_grad():
        assert not decoder(input_ids=IDS, use_cache=True).logits.requires_grad
