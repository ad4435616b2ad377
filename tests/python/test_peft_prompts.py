"""Prompt tuning and prefix tuning: the golden case, generation, training, starts, files, and what is refused."""
import json

import numpy as np
import pytest

import tenon
import tenon.peft as peft
from conftest import GOLDEN, TINY
from tenon.safetensors import load_file, save_file
from test_peft import IDS, call, llama, shake, tiny


def prompt(model, n=5, task="CAUSAL_LM", **kwargs):
    return peft.get_peft_model(model, peft.PromptTuningConfig(task_type=task, num_virtual_tokens=n, **kwargs))


def prefix(model, n=4, task="CAUSAL_LM", **kwargs):
    return peft.get_peft_model(model, peft.PrefixTuningConfig(task_type=task, num_virtual_tokens=n, **kwargs))


def test_golden_prompt():
    model = peft.PeftModel.from_pretrained(llama(), GOLDEN / "llama-prompt")
    want = load_file(GOLDEN / "llama-prompt" / "outputs.safetensors")["logits"].numpy()
    got = call(model, attention_mask=np.ones((2, 6), np.int64))
    assert got.shape == want.shape and np.abs(got - want).max() <= 1e-4 * np.abs(want).max()
    weight = model.prompt_encoder["default"].embedding.weight
    weight.requires_grad = True
    loss = model(input_ids=IDS, attention_mask=np.ones((2, 6), np.int64), labels=IDS).loss
    loss.backward()
    expected = json.loads((GOLDEN / "llama-prompt" / "meta.json").read_text())["loss"]
    assert abs(loss.item() - expected) < 1e-5 * expected
    grad = load_file(GOLDEN / "llama-prompt" / "grads.safetensors")["prompt_encoder.default.embedding.weight"].numpy()
    assert np.abs(weight.grad.numpy() - grad).max() <= 1e-3 * np.abs(grad).max()


@pytest.mark.parametrize("make", [prompt, prefix])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_generation_is_what_the_forward_pass_says(make, kind, tmp_path):
    model = shake(make(tiny(kind)), 0.5)
    ids = [list(row) for row in IDS]
    for _ in range(4):
        logits = call_ids(model, ids)
        ids = [row + [int(step.argmax())] for row, step in zip(ids, logits[:, -1])]
    assert model.generate(input_ids=IDS, max_new_tokens=4, do_sample=False).tolist() == ids
    with model.disable_adapter():
        assert model.generate(input_ids=IDS, max_new_tokens=4, do_sample=False).tolist() == tiny(kind).generate(
            IDS, max_new_tokens=4, do_sample=False).tolist()
    beams = model.generate(input_ids=IDS, max_new_tokens=4, do_sample=False, num_beams=3)
    assert tuple(beams.shape) == (2, 10)
    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(tiny(kind), tmp_path)
    assert np.allclose(call_ids(again, IDS), call_ids(model, IDS), atol=1e-5)
    alone = model.generate(input_ids=IDS[1:], max_new_tokens=4, do_sample=False).tolist()  # left padding changes nothing
    padded = model.generate(input_ids=[IDS[0], [0, 0, *IDS[1][2:]]], attention_mask=[[1] * 6, [0, 0, 1, 1, 1, 1]], max_new_tokens=4, do_sample=False)
    assert padded.tolist()[1][6:] == model.generate(input_ids=[IDS[1][2:]], max_new_tokens=4, do_sample=False).tolist()[0][4:] and alone[0] == ids[1]


def call_ids(model, ids):
    with tenon.no_grad():
        return model(input_ids=ids).logits.numpy()


@pytest.mark.parametrize("make", [prompt, prefix, lambda m: prefix(m, prefix_projection=True, encoder_hidden_size=16)])
def test_training_moves_virtual_tokens_alone(make, tmp_path):
    tenon.manual_seed(3)
    base = llama()
    weights = {n: p.numpy().copy() for n, p in base.named_parameters()}
    model = make(base)
    optimizer = tenon.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    model.train()
    losses = []
    for _ in range(12):
        loss = model(input_ids=IDS, attention_mask=[[1] * 6, [1] * 5 + [0]], labels=IDS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]
    assert all(np.array_equal(p.numpy(), weights[n]) for n, p in base.named_parameters())
    model.eval()
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert list(stored) == ["prompt_embeddings"]
    again = peft.PeftModel.from_pretrained(llama(), tmp_path)
    assert np.allclose(call_ids(again, IDS), call_ids(model, IDS), atol=1e-4)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["inference_mode"] is True


def test_classifiers_train_their_head_too(tmp_path):
    base = tiny("bert")
    model = shake(prompt(base, task="SEQ_CLS"))
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    assert names == ["base_model.classifier.weight", "base_model.classifier.bias", "prompt_encoder.default.embedding.weight"]
    want = call(model, token_type_ids=[[0, 0, 0, 1, 1, 1]] * 2)
    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(tiny("bert"), tmp_path)
    assert np.allclose(call(again, token_type_ids=[[0, 0, 0, 1, 1, 1]] * 2), want, atol=1e-5)
    loss = model(input_ids=IDS, attention_mask=np.ones((2, 6), np.int64), labels=[0, 2]).loss
    loss.backward()
    assert model.prompt_encoder["default"].embedding.weight.grad is not None


def test_encoder_decoders_get_a_prompt_before_the_source():
    model = shake(prompt(tiny("t5"), task="SEQ_2_SEQ_LM"))
    model(input_ids=IDS, labels=[[4, 6, 1], [9, 2, 1]]).loss.backward()
    assert model.prompt_encoder["default"].embedding.weight.grad.shape == (10, 32)
    answer = [[0], [0]]
    for _ in range(3):
        with tenon.no_grad():
            step = model(input_ids=IDS, decoder_input_ids=answer).logits.numpy()[:, -1]
        answer = [row + [int(s.argmax())] for row, s in zip(answer, step)]
    assert model.generate(input_ids=IDS, max_new_tokens=3, do_sample=False).tolist() == answer


def test_starts(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    base = tenon.BertForSequenceClassification(tenon.BertConfig(**TINY, vocab_size=len(tokenizer), max_position_embeddings=64))
    words = base.get_input_embeddings().weight.numpy()
    text = prompt(base, 7, "SEQ_CLS", prompt_tuning_init="TEXT", prompt_tuning_init_text="hello world", tokenizer_name_or_path=str(tmp_path))
    ids = (tokenizer("hello world")["input_ids"] * 7)[:7]
    assert np.array_equal(text.prompt_encoder["default"].embedding.weight.numpy(), words[ids])
    sampled = prompt(base, 6, "SEQ_CLS", prompt_tuning_init="SAMPLE_VOCAB").prompt_encoder["default"].embedding.weight.numpy()
    assert all((words == row).all(axis=1).any() for row in sampled)
    zero = prefix(tiny("llama"), init_weights="zero").prompt_encoder["default"].embedding.weight.numpy()
    assert zero.shape == (4, 2 * 2 * 2 * 8) and not zero.any()


def test_what_is_refused(tmp_path):
    for n in (0, -1, 2.5, None, True):
        with pytest.raises(ValueError, match="num_virtual_tokens"):
            prompt(llama(), n)
    with pytest.raises(ValueError, match="decoders"):
        prefix(tiny("bert"), task="SEQ_CLS")
    with pytest.raises(ValueError, match="TEXT"):
        peft.PromptTuningConfig(prompt_tuning_init="TEXT", num_virtual_tokens=2)
    with pytest.raises(ValueError, match="OTHER"):
        peft.PromptTuningConfig(prompt_tuning_init="OTHER")
    with pytest.raises(ValueError, match="token_dim"):
        prompt(llama(), 3, token_dim=8)
    model = prompt(llama())
    with pytest.raises(ValueError, match="input_ids"):
        model.generate(max_new_tokens=2)
    with pytest.raises(ValueError, match="input_ids"):
        call_ids(model, [[5, 1 << 40]])
    with pytest.raises(ValueError, match="position"):
        call_ids(prompt(llama(), 1000), IDS)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is_trainable"):
        peft.PeftModel.from_pretrained(llama(), tmp_path, is_trainable=True)
    save_file({"prompt_embeddings": np.zeros((5, 31), np.float32)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="another model"):
        peft.PeftModel.from_pretrained(llama(), tmp_path)
    for wrong in ({"other": np.zeros((5, 32), np.float32)}, {"prompt_embeddings": np.zeros((5, 32), np.int32)},
                  {"prompt_embeddings": np.zeros((7, 32), np.float32)}, {"prompt_embeddings": np.zeros(160, np.float32)}):
        save_file(wrong, tmp_path / "adapter_model.safetensors")
        with pytest.raises(ValueError, match="prompt_embeddings"):
            peft.PeftModel.from_pretrained(llama(), tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    save_file({"prompt_embeddings": np.zeros((5, 32), np.float32)}, tmp_path / "adapter_model.safetensors")
    for change in ({"num_virtual_tokens": 1 << 40}, {"num_virtual_tokens": "5"}, {"token_dim": 1 << 40}, {"num_transformer_submodules": 1 << 30}):
        (tmp_path / "adapter_config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(ValueError):
            peft.PeftModel.from_pretrained(llama(), tmp_path)
