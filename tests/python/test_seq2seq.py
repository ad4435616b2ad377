"""Encoder-decoders from Python: outputs, recorded answers, labels, classes."""
import json

import numpy as np
import pytest

import tenon
from test_golden import folder_of
from tenon.safetensors import load_file

CASES = ["marian", "m2m100", "t5"]


@pytest.fixture(params=CASES)
def case(request):
    folder = folder_of(request.param)
    return folder, tenon.AutoModelForSeq2SeqLM.from_pretrained(folder), load_file(folder / "inputs.safetensors")


def test_outputs(case):
    folder, model, inputs = case
    want = load_file(folder / "outputs.safetensors")["logits"].numpy()
    output = model(**inputs, output_hidden_states=True)
    assert type(model).__name__ == json.loads((folder / "meta.json").read_text())["model_class"]
    assert type(output).__name__ == "Seq2SeqLMOutput"
    assert np.abs(output.logits.numpy() - want).max() <= 1e-4 * np.abs(want).max()
    assert len(output.encoder_hidden_states) == len(output.decoder_hidden_states) == 3
    assert np.array_equal(output.encoder_hidden_states[-1].numpy(), output.encoder_last_hidden_state.numpy())
    assert output.past_key_values.is_initialized


def test_recorded_answers(case):
    folder, model, inputs = case
    for call in json.loads((folder / "meta.json").read_text())["generate"]:
        got = model.generate(inputs["input_ids"], attention_mask=inputs["attention_mask"], **call["arguments"])
        assert got.tolist() == call["sequences"], call["arguments"]


def test_what_the_encoder_gave_can_be_given_back(case):
    _, model, inputs = case
    source = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    answer = inputs["decoder_input_ids"]
    whole = model(**source, decoder_input_ids=answer)
    for given in (whole.encoder_last_hidden_state, (whole.encoder_last_hidden_state,), tenon.modeling.ModelOutput(last_hidden_state=whole.encoder_last_hidden_state)):
        again = model(attention_mask=inputs["attention_mask"], decoder_input_ids=answer, encoder_outputs=given)
        assert np.abs(again.logits.numpy() - whole.logits.numpy()).max() < 1e-5
    with pytest.raises(TypeError, match="decoder_input_ids"):
        model(**source)


def test_labels(case):
    _, model, inputs = case
    labels = np.array([[7, 8, 9], [10, -100, -100]])
    output = model(inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=labels)
    logits = output.logits.numpy()
    log_p = logits - logits.max(-1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(-1, keepdims=True))
    real = labels >= 0
    want = -log_p[real, labels[real]].mean()
    assert output.loss.item() == pytest.approx(want, rel=1e-5)
    assert list(output)[:2] == ["loss", "logits"]


def test_base_models_and_the_encoder_alone():
    folder = folder_of("t5")
    inputs = load_file(folder / "inputs.safetensors")
    base = tenon.AutoModel.from_pretrained(folder)
    output = base(**inputs)
    assert type(base).__name__ == "T5Model" and type(output).__name__ == "Seq2SeqModelOutput"
    encoder = tenon.T5EncoderModel.from_pretrained(folder)
    alone = encoder(inputs["input_ids"], attention_mask=inputs["attention_mask"])
    assert np.array_equal(alone.last_hidden_state.numpy(), output.encoder_last_hidden_state.numpy())
    with pytest.raises(TypeError, match="decoder_input_ids"):
        encoder(**inputs)
    with pytest.raises(TypeError, match="generate"):
        base.generate(inputs["input_ids"])


def test_configurations():
    assert tenon.T5Config(d_model=64).hidden_size == 64
    assert tenon.M2M100Config(num_attention_heads=4).encoder_attention_heads == 4
    config = tenon.MarianConfig(vocab_size=60, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
                                encoder_ffn_dim=32, decoder_ffn_dim=32, pad_token_id=59, decoder_start_token_id=59)
    model = tenon.MarianMTModel(config)
    assert model([[5, 6, 7]], decoder_input_ids=[[59, 8]]).logits.shape == (1, 2, 60)
    assert model.get_input_embeddings().num_embeddings == 60
