"""Trainer: steps, logs, evaluation, callbacks, losses, what it says about bad data."""
import json
import logging
import os

import numpy as np
import pytest

import tenon
from tenon import Trainer, TrainerCallback
from training_data import accuracy, arguments, classifier, examples, language_model, same, weights


def trainer(tokenizer, folder, rows=16, model=None, **kwargs):
    own = {k: kwargs.pop(k) for k in list(kwargs) if k in ("compute_metrics", "callbacks", "eval_dataset", "data_collator",
                                                           "compute_loss_func", "optimizers",
                                                           "preprocess_logits_for_metrics", "model_init", "train_dataset")}
    data = own.pop("train_dataset", None) or examples(tokenizer, rows)
    if "model_init" not in own:
        own["model"] = model or classifier(tokenizer)
    return Trainer(args=arguments(folder, **kwargs), train_dataset=data, processing_class=tokenizer, **own)


def test_learns_and_logs(tokenizer, tmp_path):
    made = trainer(tokenizer, tmp_path, 64, classifier(tokenizer, dropout=0.0), num_train_epochs=8, learning_rate=3e-3,
                   eval_dataset=examples(tokenizer, 32, 1),
                   compute_metrics=accuracy, logging_steps=16, eval_strategy="epoch")
    output = made.train()
    assert output.global_step == made.state.global_step == made.state.max_steps == 128 and output[0] == 128
    assert set(output.metrics) == {"train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "train_loss", "epoch"}
    logs = [h for h in made.state.log_history if "loss" in h]
    assert set(logs[0]) == {"loss", "grad_norm", "learning_rate", "epoch", "step"} and [h["step"] for h in logs] == list(range(16, 129, 16))
    assert logs[0]["epoch"] == 1.0 and logs[-1]["loss"] < 0.3 * logs[0]["loss"]
    assert output.training_loss == pytest.approx(np.mean([h["loss"] for h in logs]))
    judged = [h for h in made.state.log_history if "eval_loss" in h]
    assert len(judged) == 8 and set(judged[0]) == {"eval_loss", "eval_accuracy", "eval_runtime", "eval_samples_per_second",
                                                   "eval_steps_per_second", "epoch", "step"}
    assert judged[-1]["eval_accuracy"] > 0.7
    assert made.state.epoch == 8.0 and made.state.num_train_epochs == 8 and made.state.total_flos > 0
    reopened = tenon.AutoModelForSequenceClassification.from_pretrained(saved(made, tmp_path))
    assert reopened(**tokenizer("the cat", return_tensors="pt")).logits.shape == (1, 2)


def saved(made, folder):
    made.save_model(str(folder / "model"))
    made.save_state()
    made.save_metrics("train", {"train_loss": 1.0})
    assert {"config.json", "model.safetensors", "tokenizer.json", "training_args.json"} <= set(os.listdir(folder / "model"))
    assert json.loads((folder / "all_results.json").read_text()) == {"train_loss": 1.0}
    return str(folder / "model")


def test_steps_and_learning_rates(tokenizer, tmp_path):
    made = trainer(tokenizer, tmp_path, 18, gradient_accumulation_steps=2, num_train_epochs=2, warmup_steps=2, learning_rate=4e-3)
    made.train()
    # 18 rows are 5 batches, 3 steps an epoch; the rate of a step is lr * s / 2 in the warm-up, then lr * (6 - s) / 4
    rates = [h["learning_rate"] for h in made.state.log_history if "loss" in h]
    assert rates == pytest.approx([0, 2e-3, 4e-3, 3e-3, 2e-3, 1e-3])
    assert [h["epoch"] for h in made.state.log_history if "loss" in h] == pytest.approx([0.4, 0.8, 1.0, 1.4, 1.8, 2.0])
    short = trainer(tokenizer, tmp_path, 18, max_steps=4)
    assert short.train().global_step == 4 and short.state.num_train_epochs == 1 and short.state.epoch == pytest.approx(0.8)


def test_accumulation_is_a_larger_batch(tokenizer, tmp_path):
    options = dict(optim="sgd", learning_rate=0.1, lr_scheduler_type="constant", train_sampling_strategy="sequential")
    results = []
    for size, accumulation in ((8, 1), (2, 4)):
        made = trainer(tokenizer, tmp_path, 16, classifier(tokenizer, dropout=0.0), per_device_train_batch_size=size,
                       gradient_accumulation_steps=accumulation, **options)
        made.train()
        results.append((weights(made.model), [h["loss"] for h in made.state.log_history if "loss" in h]))
    same(results[0][0], results[1][0], 2e-5)
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-5)


def test_accumulation_counts_tokens(tokenizer, tmp_path):
    """Texts of different lengths: the loss is a mean over the tokens of the whole step."""
    rows = [{"input_ids": [2, *range(5, 5 + n), 3]} for n in (1, 9, 2, 8, 1, 1, 9, 3)]
    collator = tenon.DataCollatorForLanguageModeling(tokenizer, mlm=False)
    losses = []
    for size, accumulation in ((4, 1), (1, 4)):
        made = trainer(tokenizer, tmp_path, model=language_model(tokenizer), train_dataset=rows, data_collator=collator, optim="sgd",
                       per_device_train_batch_size=size, gradient_accumulation_steps=accumulation, train_sampling_strategy="sequential")
        made.train()
        losses.append([h["loss"] for h in made.state.log_history if "loss" in h])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and len(losses[0]) == 2


def test_evaluation(tokenizer, tmp_path):
    data = examples(tokenizer, 11, 3)
    seen = []
    made = trainer(tokenizer, tmp_path, eval_dataset={"a": data, "b": data[:3]}, compute_metrics=lambda p: seen.append(p) or accuracy(p),
                   per_device_eval_batch_size=4, include_for_metrics=["inputs", "loss"])
    metrics = made.evaluate()
    assert {"eval_a_loss", "eval_a_accuracy", "eval_b_loss", "eval_b_steps_per_second"} <= set(metrics)
    assert seen[0].predictions.shape == (11, 2) and seen[0].losses.shape == (11,) and seen[0].inputs.shape[0] == 11
    made.model.eval()
    batch = tenon.DataCollatorWithPadding(tokenizer)(data)
    assert metrics["eval_a_loss"] == pytest.approx(made.model(**batch).loss.item(), rel=1e-5)
    output = made.predict(data)
    assert output.predictions.shape == (11, 2) and output.label_ids.tolist() == [r["label"] for r in data] and "test_accuracy" in output.metrics
    blind = made.predict([{k: v for k, v in r.items() if k != "label"} for r in data])
    assert blind.label_ids is None and np.allclose(blind.predictions, output.predictions, atol=1e-5) and "test_loss" not in blind.metrics
    assert set(made.evaluate(data[:2])) >= {"eval_loss", "eval_accuracy", "epoch"}
    chosen = trainer(tokenizer, tmp_path, eval_dataset=data, preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(dim=-1),
                     compute_metrics=lambda p: {"right": (p.predictions == p.label_ids).mean()})
    assert 0 <= chosen.evaluate()["eval_right"] <= 1


def test_metrics_by_batch(tokenizer, tmp_path):
    calls = []

    def count(prediction, compute_result):
        calls.append((len(prediction.label_ids), compute_result))
        return {"rows": sum(n for n, _ in calls)} if compute_result else None

    made = trainer(tokenizer, tmp_path, eval_dataset=examples(tokenizer, 7), compute_metrics=count, batch_eval_metrics=True,
                   per_device_eval_batch_size=3)
    assert made.evaluate()["eval_rows"] == 7 and calls == [(3, False), (3, False), (1, True)]


def test_predictions_of_different_lengths_are_padded(tokenizer, tmp_path):
    rows = [{"input_ids": [2, *range(5, 5 + n), 3]} for n in (1, 2, 5)]
    made = trainer(tokenizer, tmp_path, model=language_model(tokenizer), train_dataset=rows, per_device_eval_batch_size=1,
                   data_collator=tenon.DataCollatorForLanguageModeling(tokenizer, mlm=False))
    output = made.predict(rows)
    assert output.predictions.shape[:2] == output.label_ids.shape == (3, 7) and output.label_ids[0].tolist()[3:] == [-100] * 4
    assert (output.predictions[0, 3:] == -100).all()


class Recorder(TrainerCallback):
    def __init__(self):
        self.events = []


for _event in ("init_end", "train_begin", "train_end", "epoch_begin", "epoch_end", "step_begin", "pre_optimizer_step", "optimizer_step",
               "substep_end",
               "step_end", "evaluate", "save", "log", "prediction_step", "predict"):
    setattr(Recorder, f"on_{_event}", lambda self, args, state, control, *rest, _event=_event, **kwargs: self.events.append(_event))


def test_order_of_callbacks(tokenizer, tmp_path):
    recorder = Recorder()
    made = trainer(tokenizer, tmp_path, 12, gradient_accumulation_steps=2, eval_dataset=examples(tokenizer, 4), eval_strategy="epoch",
                   save_strategy="epoch",
                   callbacks=[recorder])
    made.train()
    step = ["step_begin", "substep_end", "pre_optimizer_step", "optimizer_step", "step_end", "log"]
    last = ["step_begin", "pre_optimizer_step", "optimizer_step", "step_end", "log"]
    assert recorder.events == ["init_end", "train_begin", "epoch_begin", *step, *last, "epoch_end", "prediction_step", "log", "evaluate",
                               "save", "log", "train_end"]
    made.predict(examples(tokenizer, 4))
    assert recorder.events[-2:] == ["prediction_step", "predict"]
    assert made.pop_callback(Recorder) is recorder and made.pop_callback(Recorder) is None


def test_control(tokenizer, tmp_path):
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, optimizer=None, lr_scheduler=None, train_dataloader=None,
                        processing_class=None, loss=None, **kwargs):
            assert model is not None and optimizer.param_groups and len(train_dataloader) == 4 and processing_class is tokenizer and loss > 0
            control.should_training_stop = state.global_step == 2
            return control

    made = trainer(tokenizer, tmp_path, callbacks=[Stop()])
    assert made.train().global_step == 2
    with pytest.raises(TypeError, match="expected a TrainerCallback"):
        made.add_callback(object())


def test_group_by_length(tokenizer, tmp_path):
    rows = [{"input_ids": [5] * (1 + i % 8), "label": 0} for i in range(64)]
    made = trainer(tokenizer, tmp_path, train_dataset=rows, train_sampling_strategy="group_by_length", per_device_train_batch_size=8)
    lengths = [np.asarray(batch["attention_mask"]).sum(1) for batch in made.get_train_dataloader()]
    assert lengths[0].max() == 8 and np.mean([n.max() - n.min() for n in lengths]) < 4.5
    assert sum(n.sum() for n in lengths) == sum(range(1, 9)) * 8
    loader = made.get_train_dataloader()
    first, again = list(loader), list(loader)
    assert [b["input_ids"].tolist() for b in first] == [b["input_ids"].tolist() for b in again]
    loader.set_epoch(1)
    assert [b["input_ids"].shape for b in loader] != [b["input_ids"].shape for b in first]


def test_weight_decay_leaves_biases_and_norms(tokenizer, tmp_path):
    made = trainer(tokenizer, tmp_path, weight_decay=0.1)
    names = set(made.get_decay_parameter_names(made.model))
    assert "bert.encoder.layer.0.attention.self.query.weight" in names and "bert.embeddings.word_embeddings.weight" in names
    assert not any("bias" in n or "LayerNorm" in n for n in names)
    gpt2 = made.get_decay_parameter_names(language_model(tokenizer))
    assert any(n.endswith("c_attn.weight") for n in gpt2) and not any(".ln_" in f".{n}" for n in gpt2)
    groups = made.create_optimizer().param_groups
    assert [g["weight_decay"] for g in groups] == [0.1, 0.0] and len(groups[0]["params"]) == len(names)


def test_label_smoothing(tokenizer, tmp_path):
    made = trainer(tokenizer, tmp_path, label_smoothing_factor=0.2)
    batch = tenon.DataCollatorWithPadding(tokenizer)(examples(tokenizer, 4))
    made.model.eval()
    logits = np.asarray(made.model(**{k: v for k, v in batch.items() if k != "labels"}).logits.detach(), dtype=np.float64)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    nll = -log_p[np.arange(4), batch["labels"].numpy()].mean()
    assert made.compute_loss(made.model, batch).item() == pytest.approx(0.8 * nll + 0.2 * -log_p.mean(), rel=1e-5)
    assert made.train().global_step == 4
    causal = trainer(tokenizer, tmp_path, model=language_model(tokenizer), label_smoothing_factor=0.1,
                     train_dataset=[{"input_ids": [2, 5, 6, 3]}] * 4,
                     data_collator=tenon.DataCollatorForLanguageModeling(tokenizer, mlm=False))
    causal.train()


def test_losses_of_ones_own(tokenizer, tmp_path):
    counts = []

    def loss_func(outputs, labels, num_items_in_batch=None):
        counts.append(num_items_in_batch)
        return tenon.nn.functional.cross_entropy(outputs.logits, labels, reduction="sum") / num_items_in_batch

    made = trainer(tokenizer, tmp_path, compute_loss_func=loss_func, gradient_accumulation_steps=2)
    made.train()
    assert counts == [8] * 4

    class Own(Trainer):
        loss_is_scaled_for_ga = False

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            labels = inputs.pop("labels")
            outputs = model(**inputs)
            loss = tenon.nn.functional.cross_entropy(outputs.logits, labels)
            return (loss, outputs) if return_outputs else loss

    own = Own(classifier(tokenizer, dropout=0.0), arguments(tmp_path, gradient_accumulation_steps=2), train_dataset=examples(tokenizer, 16),
              processing_class=tokenizer,
              eval_dataset=examples(tokenizer, 4))
    own.train()
    plain = trainer(tokenizer, tmp_path, model=classifier(tokenizer, dropout=0.0), gradient_accumulation_steps=2)
    plain.train()
    same(weights(own.model), weights(plain.model), 1e-4)
    assert own.evaluate()["eval_loss"] > 0


def test_gradient_checkpointing_gives_the_same(tokenizer, tmp_path):
    models = []
    for checkpointing in (False, True):
        made = trainer(tokenizer, tmp_path, model=classifier(tokenizer), gradient_checkpointing=checkpointing)
        made.train()
        models.append(weights(made.model))
    same(*models, 1e-6)


def test_precisions(tokenizer, tmp_path, caplog):
    losses = {}
    kinds = {"bf16": dict(bf16=True), "fp16": dict(fp16=True), "fp8": dict(fp8=True), "fp8 whole": dict(fp8=True, fp8_scaling="tensor"), None: {}}
    for name, options in kinds.items():
        with caplog.at_level(logging.WARNING, logger="tenon"):
            made = trainer(tokenizer, tmp_path, model=classifier(tokenizer, dropout=0.0), **options)
            made.train()
        losses[name] = made.state.log_history[-1]["train_loss"]
        assert all(p.dtype == tenon.float32 for p in made.model.parameters())
    assert losses["bf16"] == pytest.approx(losses[None], rel=0.03) and losses["fp16"] == pytest.approx(losses[None], rel=0.03)
    assert len({losses["fp8"], losses["fp8 whole"], losses[None]}) == 3
    assert losses["fp8"] == pytest.approx(losses["bf16"], rel=0.05) and losses["fp8 whole"] == pytest.approx(losses["bf16"], rel=0.05)
    assert sum("fp16" in r.getMessage() for r in caplog.records) <= 1  # said once in a process


def test_neftune(tokenizer, tmp_path):
    noisy = trainer(tokenizer, tmp_path, model=classifier(tokenizer, dropout=0.0), neftune_noise_alpha=5.0, eval_dataset=examples(tokenizer, 4))
    plain = trainer(tokenizer, tmp_path, model=classifier(tokenizer, dropout=0.0), eval_dataset=examples(tokenizer, 4))
    assert noisy.evaluate()["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"])
    noisy.train(), plain.train()
    table = "bert.embeddings.word_embeddings.weight"
    assert np.abs(weights(noisy.model)[table] - weights(plain.model)[table]).max() > 1e-5
    assert np.abs(weights(noisy.model)[table] - weights(classifier(tokenizer, dropout=0.0))[table]).max() > 1e-4


def test_flattened_batches_do_not_mix(tokenizer, tmp_path):
    rows = [{"input_ids": [2, *range(5, 5 + n), 3]} for n in (1, 6, 3, 2)]
    losses = []
    for collator in (tenon.DataCollatorWithFlattening(), tenon.DataCollatorForLanguageModeling(tokenizer, mlm=False)):
        made = trainer(tokenizer, tmp_path, model=language_model(tokenizer), train_dataset=rows, data_collator=collator, optim="sgd")
        losses.append(made.train().training_loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_images(tmp_path):
    tenon.manual_seed(0)
    model = tenon.ViTForImageClassification(tenon.ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
                                                            image_size=16,
                                                            patch_size=8, num_labels=2, initializer_range=0.2, hidden_dropout_prob=0.0,
                                                            attention_probs_dropout_prob=0.0))
    draw = np.random.default_rng(0)
    rows = [{"pixel_values": draw.random((3, 16, 16), np.float32), "label": i % 2, "name": "x"} for i in range(32)]
    for i, row in enumerate(rows):
        row["pixel_values"][:, :, slice(0, 8) if i % 2 else slice(8, 16)] += 2  # one half is bright
    made = Trainer(model, arguments(tmp_path, num_train_epochs=30, per_device_train_batch_size=16, learning_rate=5e-3), train_dataset=rows,
                   eval_dataset=rows, compute_metrics=accuracy,
                   processing_class=tenon.ViTImageProcessor(size={"height": 16, "width": 16}))
    made.train()
    assert made.evaluate()["eval_accuracy"] > 0.9


def test_model_init_and_batch_size_search(tokenizer, tmp_path, caplog):
    made = trainer(tokenizer, tmp_path, model_init=lambda: classifier(tokenizer))
    made.train()
    first = weights(made.model)
    made.train()
    same(first, weights(made.model))
    pad = tenon.DataCollatorWithPadding(tokenizer)

    def small(rows):
        if len(rows) > 2:
            raise MemoryError
        return pad(rows)

    assert trainer(tokenizer, tmp_path, data_collator=small, auto_find_batch_size=True).train().global_step == 8
    with pytest.raises(MemoryError):
        trainer(tokenizer, tmp_path, data_collator=small).train()


def test_schedules_that_follow_a_metric(tokenizer, tmp_path):
    made = trainer(tokenizer, tmp_path, 16, num_train_epochs=4, lr_scheduler_type="reduce_lr_on_plateau",
                   lr_scheduler_kwargs={"patience": 0, "factor": 0.5, "mode": "max"},
                   eval_strategy="epoch", eval_dataset=examples(tokenizer, 4), compute_metrics=lambda p: {"same": 1.0},
                   metric_for_best_model="same")
    made.train()
    assert [h["learning_rate"] for h in made.state.log_history if "loss" in h][-1] == pytest.approx(1e-3 / 4)


def test_tokens_seen_and_tensorboard(tokenizer, tmp_path):
    written = []

    class Writer:
        def add_scalar(self, name, value, step):
            written.append((name, step))

        def flush(self):
            pass

    data = examples(tokenizer, 8)
    made = trainer(tokenizer, tmp_path, train_dataset=data, include_num_input_tokens_seen="non_padding",
                   callbacks=[tenon.TensorBoardCallback(Writer())],
                   eval_dataset=data, eval_strategy="epoch")
    made.train()
    assert made.state.num_input_tokens_seen == sum(len(r["input_ids"]) for r in data)
    assert ("train/loss", 1) in written and ("eval/loss", 2) in written and ("train/train_runtime", 2) in written


def test_streams(tokenizer, tmp_path):
    data = examples(tokenizer, 10)

    class Stream:
        def __iter__(self):
            return iter(data)

    made = trainer(tokenizer, tmp_path, train_dataset=Stream(), max_steps=5)
    assert made.train().global_step == 5  # the stream starts anew when it ends
    with pytest.raises(ValueError, match="expected max_steps"):
        trainer(tokenizer, tmp_path, train_dataset=Stream())


def test_columns_of_hugging_face_datasets(tokenizer, tmp_path):
    class Table:  # the part of datasets.Dataset that the Trainer uses
        def __init__(self, rows):
            self.rows, self.column_names, self.format = rows, list(rows[0]), {"type": None}

        def __len__(self):
            return len(self.rows)

        def __getitem__(self, key):
            return [r[key] for r in self.rows] if isinstance(key, str) else self.rows[key]

        def __getitems__(self, indices):
            return [self.rows[i] for i in indices]

        def remove_columns(self, names):
            return Table([{k: v for k, v in r.items() if k not in names} for r in self.rows])

        def with_format(self, kind):
            return self

    rows = [{**r, "text": "x", "id": 7} for r in examples(tokenizer, 8)]
    made = trainer(tokenizer, tmp_path, train_dataset=Table(rows))
    assert list(made.get_train_dataloader().dataset.column_names) == ["input_ids", "token_type_ids", "attention_mask", "label"]
    assert made.train().global_step == 2
    with pytest.raises(ValueError, match="expected the column input_ids, which BertForSequenceClassification needs, got text, id"):
        trainer(tokenizer, tmp_path, train_dataset=Table([{"text": "a", "id": 1}])).train()


@pytest.mark.parametrize("label, error, message", [
    (2, ValueError, "training set: column label, row 5: expected an integer from 0 to 1, .*the model has 2 labels.*, got 2"),
    (-1, ValueError, "row 5: expected an integer from 0 to 1"),
    ("cat", TypeError, "column label, row 5: expected an integer from 0 to 1.*got 'cat'"),
    (0.5, TypeError, "row 5: expected an integer from 0 to 1.*got 0.5"),
])
def test_bad_labels(tokenizer, tmp_path, label, error, message):
    rows = examples(tokenizer, 8)
    rows[5]["label"] = label
    with pytest.raises(error, match=message):
        trainer(tokenizer, tmp_path, train_dataset=rows).train()

    class Indexed:  # labels that are only seen when their batch is made
        def __len__(self):
            return 8

        def __getitem__(self, i):
            return rows[i]

    with pytest.raises(error, match=message):
        trainer(tokenizer, tmp_path, train_dataset=Indexed()).train()


def test_bad_tokens(tokenizer, tmp_path):
    rows = [{"input_ids": [2, 5, 3], "labels": [2, 5, 10**6]}] * 4
    with pytest.raises(ValueError, match="column labels, row [0-3]: expected integers from 0 to .*the vocabulary has"):
        trainer(tokenizer, tmp_path, model=language_model(tokenizer), train_dataset=rows).train()


def test_bad_data(tokenizer, tmp_path):
    with pytest.raises(ValueError, match="expected the column input_ids.*got text; tokenise"):
        trainer(tokenizer, tmp_path, train_dataset=[{"text": "a"}, {"text": "b"}]).train()
    with pytest.raises(ValueError, match="no loss, only logits.*Expected a column of labels: label"):
        trainer(tokenizer, tmp_path, train_dataset=[{"input_ids": [2, 3]}] * 4).train()
    made = Trainer(classifier(tokenizer), arguments(tmp_path), train_dataset=[], processing_class=tokenizer)
    with pytest.raises(ValueError, match="training set: expected a dataset with examples, got an empty one"):
        made.train()
    with pytest.raises(ValueError, match="expected a train_dataset"):
        Trainer(classifier(tokenizer), arguments(tmp_path)).train()
    with pytest.raises(ValueError, match="expected an eval_dataset"):
        made.evaluate()
    with pytest.raises(ValueError, match="expected an eval_dataset"):
        trainer(tokenizer, tmp_path, eval_strategy="epoch")
    with pytest.raises(KeyError, match="metric_for_best_model: expected one of eval_loss"):
        trainer(tokenizer, tmp_path, eval_strategy="epoch", eval_dataset=examples(tokenizer, 4), metric_for_best_model="f1").train()
    with pytest.raises(ValueError, match="expected a model with a loss, got BertModel"):
        Trainer(tenon.BertModel(classifier(tokenizer).config), arguments(tmp_path))
    with pytest.raises(ValueError, match="expected a model or model_init, got neither"):
        Trainer(args=arguments(tmp_path))
    with pytest.raises(TypeError, match="two values for processing_class"):
        Trainer(classifier(tokenizer), arguments(tmp_path), processing_class=tokenizer, tokenizer=tokenizer)


def test_not_a_number(tokenizer, tmp_path, caplog):
    name = "bert.encoder.layer.1.output.dense.weight"

    class Poison(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            if state.global_step == 2:
                with tenon.no_grad():
                    dict(model.named_parameters())[name].mul_(float("nan"))

    with pytest.raises(FloatingPointError, match=f"step 3: the loss is nan; the parameter {name} is the first"):
        trainer(tokenizer, tmp_path, callbacks=[Poison()]).train()

    overflowing = classifier(tokenizer)
    with tenon.no_grad():
        dict(overflowing.named_parameters())["bert.encoder.layer.1.attention.output.LayerNorm.weight"].mul_(1e38)
    with pytest.raises(FloatingPointError, match="step 1: the loss is nan; layer 1 .hidden_states., in .linear. its result holds"):
        trainer(tokenizer, tmp_path, model=overflowing).train()

    steep = classifier(tokenizer)
    dict(steep.named_parameters())["classifier.weight"].register_hook(lambda g: g * float("inf"))
    before = weights(steep)
    with pytest.raises(FloatingPointError, match="step 1: the gradient of classifier.weight.* is NaN or infinite; the weights are those"):
        trainer(tokenizer, tmp_path, model=steep).train()
    same(before, weights(steep))

    class Huge(Trainer):
        def compute_loss(self, model, inputs, **kwargs):
            loss = super().compute_loss(model, inputs, **kwargs)
            return loss * float("inf") if self.state.global_step == 1 else loss

    def huge(**kwargs):
        return Huge(classifier(tokenizer), arguments(tmp_path, **kwargs), train_dataset=examples(tokenizer, 16), processing_class=tokenizer)

    with pytest.raises(FloatingPointError, match="step 2: the loss is inf"):
        huge().train()
    with caplog.at_level(logging.WARNING, logger="tenon"):
        made = huge(fp16=True)
        output = made.train()
    assert output.global_step == 4 and np.isfinite(output.training_loss) and "step 2 gave NaN or Inf and is skipped" in caplog.text
    assert all(np.isfinite(w).all() for w in weights(made.model).values())


def test_progress_bar(tokenizer, tmp_path, capsys):
    pytest.importorskip("tqdm")
    trainer(tokenizer, tmp_path, disable_tqdm=False, eval_dataset=examples(tokenizer, 4), eval_strategy="epoch").train()
    shown = capsys.readouterr()
    assert "4/4" in shown.err and "loss=" in shown.err and "'learning_rate'" in shown.out + shown.err
