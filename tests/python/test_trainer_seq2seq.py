"""Seq2SeqTrainer: losses of encoder-decoders, generation during evaluation."""
import numpy as np
import pytest

import tenon
from training_data import examples


def model(tokenizer):
    tenon.manual_seed(0)
    return tenon.T5ForConditionalGeneration(tenon.T5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4,
                                                           dropout_rate=0.0,
                                                           pad_token_id=0, eos_token_id=3, decoder_start_token_id=0))


def trainer(tokenizer, folder, **kwargs):
    rows = [{"input_ids": r["input_ids"], "attention_mask": r["attention_mask"], "labels": r["input_ids"][1:]} for r in examples(tokenizer, 12)]
    seen = []
    args = tenon.Seq2SeqTrainingArguments(str(folder), per_device_train_batch_size=4, learning_rate=1e-2, logging_steps=1, save_strategy="no",
                                          disable_tqdm=True, **kwargs)
    own = model(tokenizer)
    made = tenon.Seq2SeqTrainer(own, args, tenon.DataCollatorForSeq2Seq(tokenizer, model=own), train_dataset=rows, eval_dataset=rows[:5],
                                processing_class=tokenizer,
                                compute_metrics=lambda p: seen.append(p) or {"length": float((p.predictions != 0).sum(1).mean())}
                                if args.predict_with_generate else {})
    return made, seen


def test_generates_during_evaluation(tokenizer, tmp_path):
    made, seen = trainer(tokenizer, tmp_path, predict_with_generate=True, generation_max_length=6, eval_strategy="epoch", num_train_epochs=2)
    made.train()
    losses = [h["loss"] for h in made.state.log_history if "loss" in h]
    assert losses[-1] < losses[0] and {"eval_loss", "eval_length"} <= set(made.state.log_history[3])
    assert seen[0].predictions.dtype == np.int64 and seen[0].predictions.shape[1] == 6 and seen[0].label_ids.shape[0] == 5
    output = made.predict(made.eval_dataset, max_new_tokens=3, num_beams=2)
    assert output.predictions.shape == (5, 4)
    text = tokenizer.batch_decode(np.where(output.label_ids >= 0, output.label_ids, 0), skip_special_tokens=True)
    assert len(text) == 5 and all(text)


def test_losses(tokenizer, tmp_path):
    plain = trainer(tokenizer, tmp_path)[0]
    smooth = trainer(tokenizer, tmp_path, label_smoothing_factor=0.5)[0]
    assert smooth.evaluate()["eval_loss"] != pytest.approx(plain.evaluate()["eval_loss"], rel=1e-5)
    logits = plain.predict(plain.eval_dataset).predictions[0]
    assert logits.shape[0] == 5 and logits.shape[2] == len(tokenizer)
