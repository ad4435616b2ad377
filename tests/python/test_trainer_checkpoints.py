"""Checkpoints: whole or not at all, rotated, resumed to the same bits, kept through interruptions and a full disk."""
import json
import os
import resource
import signal
import threading

import numpy as np
import pytest

import tenon
from tenon import EarlyStoppingCallback, Trainer, TrainerCallback
from training_data import accuracy, arguments, classifier, examples, language_model, same, weights


def trainer(tokenizer, folder, rows=26, model=None, callbacks=None, **kwargs):
    own = {k: kwargs.pop(k) for k in list(kwargs) if k in ("eval_dataset", "compute_metrics", "train_dataset", "data_collator")}
    own.setdefault("train_dataset", examples(tokenizer, rows))
    return Trainer(model or classifier(tokenizer), arguments(folder, **{"save_strategy": "steps", **kwargs}), processing_class=tokenizer,
                   callbacks=callbacks, **own)


def logged(made):
    return [(h["step"], h["loss"], h["grad_norm"], h["learning_rate"]) for h in made.state.log_history if "loss" in h]


@pytest.mark.parametrize("options", [
    dict(gradient_accumulation_steps=2, warmup_steps=2, logging_steps=3),
    dict(optim="adamw_8bit", train_sampling_strategy="group_by_length", lr_scheduler_type="cosine"),
    dict(optim="adafactor", neftune_noise_alpha=2.0, bf16=True),
    dict(optim="sgd", optim_args="momentum=0.9", max_grad_norm=0.5, gradient_checkpointing=True),
])
def test_resumed_to_the_same_bits(tokenizer, tmp_path, options):
    """26 rows are 7 batches an epoch; the run is cut in the middle of the second."""
    options = dict(options, num_train_epochs=3)
    whole = trainer(tokenizer, tmp_path / "whole", save_strategy="no", **options)
    output = whole.train()
    cut = output.global_step // 2
    trainer(tokenizer, tmp_path / "parts", save_steps=cut, **options).train()
    again = trainer(tokenizer, tmp_path / "parts", model=classifier(tokenizer, seed=9), save_steps=cut, **options)
    np.random.seed(1234)
    resumed = again.train(resume_from_checkpoint=str(tmp_path / "parts" / f"checkpoint-{cut}"))
    same(weights(whole.model), weights(again.model))
    assert logged(whole) == logged(again) and resumed.global_step == output.global_step and again.state.total_flos == whole.state.total_flos


def test_masking_resumes_too(tokenizer, tmp_path):
    tenon.manual_seed(0)
    config = tenon.BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=len(tokenizer),
                              max_position_embeddings=64)
    rows = [{"input_ids": r["input_ids"]} for r in examples(tokenizer, 16)]

    def made(folder, **kwargs):
        tenon.manual_seed(0)
        return trainer(tokenizer, folder, model=tenon.BertForMaskedLM(config), train_dataset=rows,
                       data_collator=tenon.DataCollatorForLanguageModeling(tokenizer),
                       num_train_epochs=2, **kwargs)

    whole = made(tmp_path / "whole", save_strategy="no")
    whole.train()
    made(tmp_path / "parts", save_steps=3).train()
    again = made(tmp_path / "parts", save_steps=3)
    again.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-3"))
    same(weights(whole.model), weights(again.model))


def test_files_of_a_checkpoint(tokenizer, tmp_path):
    made = trainer(tokenizer, tmp_path, 8, eval_dataset=examples(tokenizer, 4), eval_strategy="epoch", save_strategy="epoch",
                   load_best_model_at_end=True)
    made.train()
    folder = tmp_path / "checkpoint-2"
    names = set(os.listdir(folder))
    assert names >= {"config.json", "model.safetensors", "optimizer.json", "optimizer.safetensors", "scheduler.json", "rng_state.json",
                     "trainer_state.json",
                     "training_args.json", "tokenizer.json", "tokenizer_config.json"}
    assert not any(n.endswith((".pt", ".pth", ".bin", ".pkl")) for n in names)
    state = json.loads((folder / "trainer_state.json").read_text())
    assert list(state) == ["best_global_step", "best_metric", "best_model_checkpoint", "epoch", "eval_steps", "global_step",
                           "is_hyper_param_search",
                           "is_local_process_zero", "is_world_process_zero", "log_history", "logging_steps", "max_steps",
                           "num_input_tokens_seen",
                           "num_train_epochs", "save_steps", "stateful_callbacks", "total_flos", "train_batch_size", "trial_name",
                           "trial_params"]
    assert state["global_step"] == 2 and state["best_model_checkpoint"] == str(folder) and state["best_global_step"] == 2
    assert state["stateful_callbacks"]["TrainerControl"]["args"]["should_save"] is True
    same(weights(made.model), weights(tenon.AutoModelForSequenceClassification.from_pretrained(folder)))
    trainer(tokenizer, tmp_path / "lean", 8, save_only_model=True).train()
    assert "optimizer.json" not in os.listdir(tmp_path / "lean" / "checkpoint-2")


def test_rotation_keeps_the_best(tokenizer, tmp_path):
    scores = iter([0.2, 0.9, 0.3, 0.4, 0.5, 0.6])

    def run(limit, folder, **kwargs):
        values = iter([0.2, 0.9, 0.3, 0.4])
        made = trainer(tokenizer, folder, 4, num_train_epochs=4, save_strategy="epoch", eval_strategy="epoch",
                       eval_dataset=examples(tokenizer, 4),
                       compute_metrics=lambda p: {"score": next(values)}, metric_for_best_model="score", save_total_limit=limit, **kwargs)
        made.train()
        return made, sorted(n for n in os.listdir(folder) if n.startswith("checkpoint"))

    made, left = run(2, tmp_path / "a", load_best_model_at_end=True)
    assert left == ["checkpoint-2", "checkpoint-4"] and made.state.best_metric == 0.9
    same(weights(made.model), weights(tenon.AutoModelForSequenceClassification.from_pretrained(tmp_path / "a" / "checkpoint-2")))
    assert run(1, tmp_path / "b", load_best_model_at_end=True)[1] == ["checkpoint-2"]
    assert tenon.get_last_checkpoint(str(tmp_path / "a")).endswith("checkpoint-4")
    made = trainer(tokenizer, tmp_path / "c", 4, num_train_epochs=6, save_strategy="best", eval_strategy="epoch",
                   eval_dataset=examples(tokenizer, 4),
                   compute_metrics=lambda p: {"score": next(scores)}, metric_for_best_model="score")
    made.train()
    assert sorted(n for n in os.listdir(tmp_path / "c") if n.startswith("checkpoint")) == ["checkpoint-1", "checkpoint-2"]


def test_early_stopping(tokenizer, tmp_path):
    values = iter([0.5, 0.6, 0.6, 0.55, 0.9])
    made = trainer(tokenizer, tmp_path, 4, num_train_epochs=5, save_strategy="epoch", eval_strategy="epoch",
                   eval_dataset=examples(tokenizer, 4),
                   compute_metrics=lambda p: {"accuracy": next(values)}, metric_for_best_model="accuracy", load_best_model_at_end=True,
                   callbacks=[EarlyStoppingCallback(early_stopping_patience=2)])
    assert made.train().global_step == 4 and made.state.best_metric == 0.6
    with pytest.raises(ValueError, match="EarlyStoppingCallback"):
        trainer(tokenizer, tmp_path, 4, callbacks=[EarlyStoppingCallback()]).train()


@pytest.fixture
def interruptible():
    """Ctrl-C as in a terminal; a job in the background of a shell starts with it ignored, and training respects that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Send(TrainerCallback):
    """Sends this process a signal after a step."""

    def __init__(self, number, step):
        self.number, self.step = number, step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            os.kill(os.getpid(), self.number)


def test_ctrl_c_saves_and_resumes(tokenizer, tmp_path, interruptible):
    before = signal.getsignal(signal.SIGINT)
    whole = trainer(tokenizer, tmp_path / "whole", save_strategy="no")
    whole.train()
    with pytest.raises(KeyboardInterrupt):
        trainer(tokenizer, tmp_path / "parts", callbacks=[Send(signal.SIGINT, 3)]).train()
    assert signal.getsignal(signal.SIGINT) is before and os.listdir(tmp_path / "parts") == ["checkpoint-3"]
    again = trainer(tokenizer, tmp_path / "parts", model=classifier(tokenizer, seed=5))
    again.train(resume_from_checkpoint=True)
    same(weights(whole.model), weights(again.model))
    with pytest.raises(KeyboardInterrupt):
        trainer(tokenizer, tmp_path / "none", save_strategy="no", callbacks=[Send(signal.SIGINT, 2)]).train()
    assert os.listdir(tmp_path / "none") == []


def test_ctrl_c_during_evaluation(tokenizer, tmp_path, interruptible):
    class SendLater(TrainerCallback):
        def on_prediction_step(self, args, state, control, **kwargs):
            os.kill(os.getpid(), signal.SIGINT)

    made = trainer(tokenizer, tmp_path, eval_dataset=examples(tokenizer, 8), eval_strategy="steps", eval_steps=2, callbacks=[SendLater()])
    with pytest.raises(KeyboardInterrupt):
        made.train()
    assert os.listdir(tmp_path) == ["checkpoint-2"] and not made.is_in_train
    with pytest.raises(KeyboardInterrupt):  # outside of training it acts at once
        made.evaluate()


def test_other_threads_train_without_handlers(tokenizer, tmp_path):
    steps = []
    thread = threading.Thread(target=lambda: steps.append(trainer(tokenizer, tmp_path, 8).train().global_step))
    thread.start()
    thread.join()
    assert steps == [2]


def test_sigterm_saves_and_goes_to_its_handler(tokenizer, tmp_path):
    got = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
    try:
        output = trainer(tokenizer, tmp_path, callbacks=[Send(signal.SIGTERM, 2)]).train()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert output.global_step == 2 and got == [signal.SIGTERM] and os.path.isdir(tmp_path / "checkpoint-2")


def test_full_disk_leaves_the_former_checkpoint(tokenizer, tmp_path):
    class Full(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 2:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.getsignal(signal.SIGXFSZ)
    try:
        with pytest.raises(OSError, match="checkpoint-4 could not be written.*the last whole checkpoint is .*checkpoint-2"):
            trainer(tokenizer, tmp_path, save_steps=2, callbacks=[Full()]).train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert os.listdir(tmp_path) == ["checkpoint-2"]
    assert trainer(tokenizer, tmp_path).train(resume_from_checkpoint=True).global_step == 7


def test_leftovers_of_a_killed_run(tokenizer, tmp_path):
    for name in (".checkpoint-3.draft", ".checkpoint-2.old", ".checkpoint-5.old", "checkpoint-5", "notes"):
        (tmp_path / name).mkdir()
    trainer(tokenizer, tmp_path, 4, save_strategy="no").train()
    assert sorted(os.listdir(tmp_path)) == ["checkpoint-2", "checkpoint-5", "notes"]


def test_checkpoints_that_do_not_fit(tokenizer, tmp_path):
    trainer(tokenizer, tmp_path, 8).train()
    folder = tmp_path / "checkpoint-2"
    with pytest.raises(ValueError, match="expected a checkpoint of GPT2LMHeadModel .*holds BertForSequenceClassification"):
        trainer(tokenizer, tmp_path, model=language_model(tokenizer),
                data_collator=tenon.DataCollatorForLanguageModeling(tokenizer, mlm=False)).train(str(folder))
    with pytest.raises(ValueError, match="does not fit the model"):
        trainer(tokenizer, tmp_path, 8, model=classifier(tokenizer, intermediate_size=48)).train(str(folder))
    with pytest.raises(ValueError, match="expected the state of SGD"):
        trainer(tokenizer, tmp_path, 8, optim="sgd").train(str(folder))
    with pytest.raises(ValueError, match="no such folder"):
        trainer(tokenizer, tmp_path, 8).train("nowhere")
    with pytest.raises(ValueError, match="found none"):
        trainer(tokenizer, tmp_path / "empty", 8).train(resume_from_checkpoint=True)
    classifier(tokenizer).save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="it is a model, not a checkpoint"):
        trainer(tokenizer, tmp_path, 8).train(str(tmp_path / "model"))
    (folder / "rng_state.json").write_text("{")
    with pytest.raises(ValueError, match="expected JSON"):
        trainer(tokenizer, tmp_path, 8, num_train_epochs=2).train(str(folder))
    (folder / "optimizer.json").unlink()
    with pytest.raises(FileNotFoundError, match="save_only_model"):
        trainer(tokenizer, tmp_path, 8).train(str(folder))


def test_evaluation_changes_nothing(tokenizer, tmp_path):
    plain = trainer(tokenizer, tmp_path, save_strategy="no")
    plain.train()
    watched = trainer(tokenizer, tmp_path, save_strategy="no", eval_dataset=examples(tokenizer, 8, 1), eval_strategy="steps", eval_steps=2,
                      compute_metrics=accuracy)
    watched.train()
    same(weights(plain.model), weights(watched.model))


@pytest.mark.parametrize("config", [dict(kind="LoraConfig", r=4, lora_dropout=0.1, target_modules=["c_attn"]),
                                    dict(kind="PromptTuningConfig", num_virtual_tokens=3),
                                    dict(kind="PrefixTuningConfig", num_virtual_tokens=3, prefix_projection=True, encoder_hidden_size=8)])
def test_adapters_resume_to_the_same_bits(tokenizer, tmp_path, config):
    from tenon import peft

    def made(folder, seed=0, **kwargs):
        model = language_model(tokenizer, dropout=0.1)
        tenon.manual_seed(seed)
        model = peft.get_peft_model(model, getattr(peft, config["kind"])(task_type="CAUSAL_LM",
                                                                         **{k: v for k, v in config.items() if k != "kind"}))
        return trainer(tokenizer, folder, model=model, learning_rate=1e-2,
                       data_collator=tenon.DataCollatorForLanguageModeling(tokenizer, mlm=False), **kwargs,
                       train_dataset=[{"input_ids": r["input_ids"]} for r in examples(tokenizer, 16)])

    whole = made(tmp_path / "whole", save_strategy="no")
    whole.train()
    made(tmp_path / "parts", save_steps=2).train()
    assert {"adapter_config.json", "adapter_model.safetensors"} <= set(os.listdir(tmp_path / "parts" / "checkpoint-2"))
    again = made(tmp_path / "parts", seed=7, save_steps=2)
    again.train(str(tmp_path / "parts" / "checkpoint-2"))
    trained = {n: w for n, w in weights(whole.model).items() if dict(whole.model.named_parameters())[n].requires_grad}
    same(trained, {n: weights(again.model)[n] for n in trained})
    assert whole.get_num_trainable_parameters() == sum(w.size for w in trained.values())


@pytest.mark.parametrize("name, change, message", [
    ("trainer_state.json", lambda v: v.update(global_step="two"), "expected the state of a training run"),
    ("trainer_state.json", lambda v: v.update(log_history=3), "log_history: expected list, got 3"),
    ("optimizer.json", lambda v: v.pop("param_groups"), "optimizer.json is damaged: KeyError"),
    ("optimizer.json", lambda v: next(iter(v["state"].values())).clear(), "expected the same numbers for each parameter"),
    ("scheduler.json", lambda v: v.update(last_epoch=None), "scheduler.json is damaged: TypeError last_epoch"),
    ("rng_state.json", lambda v: v["numpy"].pop(), "expected the state of random numbers"),
    ("rng_state.json", lambda v: v["python"][1].pop(), "expected the state of random numbers"),
    ("progress.json", lambda v: v.clear(), "progress.json is damaged: KeyError"),
    ("config.json", lambda v: v.update(model_type=[]), "expected a checkpoint of BertForSequenceClassification"),
])
def test_damaged_checkpoints(tokenizer, tmp_path, name, change, message):
    trainer(tokenizer, tmp_path, 12, save_steps=2).train()
    path = tmp_path / "checkpoint-2" / name
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=message):
        trainer(tokenizer, tmp_path, 12).train(str(tmp_path / "checkpoint-2"))


class Net(tenon.nn.Module):
    """A module of the user's, without configuration and save_pretrained."""

    def __init__(self):
        super().__init__()
        self.layers = tenon.nn.Sequential(tenon.nn.Linear(4, 8), tenon.nn.LayerNorm(8), tenon.nn.ReLU(), tenon.nn.Dropout(0.2),
                                          tenon.nn.Linear(8, 2))

    def forward(self, x, labels=None):
        logits = self.layers(x)
        return {"loss": tenon.nn.functional.cross_entropy(logits, labels), "logits": logits} if labels is not None else {"logits": logits}


def test_modules_of_ones_own(tmp_path):
    draw = np.random.default_rng(0)
    rows = [{"x": draw.standard_normal(4).astype(np.float32), "label": i % 2, "other": "text"} for i in range(22)]

    def made(folder, seed=0, **kwargs):
        tenon.manual_seed(seed)
        return Trainer(Net(), arguments(folder, num_train_epochs=2, gradient_accumulation_steps=2, weight_decay=0.1, **kwargs),
                       train_dataset=rows,
                       eval_dataset=rows[:6], compute_metrics=accuracy)

    whole = made(tmp_path / "whole")
    assert whole.get_decay_parameter_names(whole.model) == ["layers.0.weight", "layers.4.weight"]
    whole.train()
    assert set(whole.evaluate()) >= {"eval_loss", "eval_accuracy"}
    made(tmp_path / "parts", save_strategy="steps", save_steps=2).train()
    again = made(tmp_path / "parts", seed=4)
    again.train(str(tmp_path / "parts" / "checkpoint-2"))
    same(weights(whole.model), weights(again.model))
