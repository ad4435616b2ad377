"""TrainingArguments: fields and defaults of Transformers 5, names of version 4, what is refused."""
import dataclasses
import inspect
import json
import logging

import pytest

import tenon
from tenon import TrainingArguments


def test_fields_and_defaults():
    fields = {f.name: f.default for f in dataclasses.fields(TrainingArguments)}
    assert len(fields) == 116  # 114 of Transformers, fp8 and fp8_scaling
    args = TrainingArguments("out")
    assert args.output_dir == "out" and TrainingArguments().output_dir == "trainer_output"
    want = dict(per_device_train_batch_size=8, per_device_eval_batch_size=8, num_train_epochs=3.0, max_steps=-1, learning_rate=5e-5,
                lr_scheduler_type="linear",
                warmup_steps=0, optim="adamw_torch_fused", weight_decay=0.0, adam_beta1=0.9, adam_beta2=0.999, adam_epsilon=1e-8,
                max_grad_norm=1.0,
                gradient_accumulation_steps=1, label_smoothing_factor=0.0, bf16=False, fp16=False, logging_strategy="steps", logging_steps=500,
                logging_first_step=False, logging_nan_inf_filter=True, report_to=[], eval_strategy="no", eval_steps=None, eval_delay=0,
                save_strategy="steps",
                save_steps=500, save_total_limit=None, load_best_model_at_end=False, metric_for_best_model=None, greater_is_better=None,
                seed=42,
                data_seed=None, dataloader_drop_last=False, dataloader_num_workers=0, remove_unused_columns=True,
                train_sampling_strategy="random",
                length_column_name="length", disable_tqdm=False, do_eval=False, include_num_input_tokens_seen="no",
                gradient_checkpointing=False,
                activation_checkpointing=False, debug=[], include_for_metrics=[], neftune_noise_alpha=None, label_names=None, ddp_timeout=1800)
    assert {name: getattr(args, name) for name in want} == want
    assert args.train_batch_size == args.eval_batch_size == 8 and args.n_gpu == 0 and args.world_size == 1 and str(args.device) == "cpu"
    assert list(inspect.signature(TrainingArguments).parameters)[:2] == ["output_dir", "per_device_train_batch_size"]
    assert json.loads(args.to_json_string())["eval_strategy"] == "no" and "learning_rate=5e-05" in repr(args)
    assert TrainingArguments("o", hub_token="secret").to_dict()["hub_token"] == "<HUB_TOKEN>"


def test_derived_values():
    args = TrainingArguments("o", eval_strategy="steps", logging_steps=10, load_best_model_at_end=True, save_steps=20)
    assert args.eval_steps == 10 and args.do_eval and args.metric_for_best_model == "loss" and args.greater_is_better is False
    assert TrainingArguments("o", metric_for_best_model="accuracy").greater_is_better is True
    assert TrainingArguments("o", gradient_checkpointing=True).activation_checkpointing is True
    args = TrainingArguments("o", warmup_steps=0.1)
    assert args.get_warmup_steps(25) == 3 and TrainingArguments("o", warmup_steps=7).get_warmup_steps(25) == 7
    assert TrainingArguments("o", lr_scheduler_kwargs='{"num_cycles": 2}').lr_scheduler_kwargs == {"num_cycles": 2}
    assert TrainingArguments("o", max_grad_norm=None).max_grad_norm == 0
    assert TrainingArguments("o").set_training(learning_rate=1e-3, batch_size=4).per_device_train_batch_size == 4
    assert TrainingArguments("o").set_evaluate("epoch").eval_strategy == "epoch"


def test_names_of_version_4(caplog):
    with caplog.at_level(logging.WARNING, logger="tenon"):
        args = TrainingArguments("o", evaluation_strategy="epoch", warmup_ratio=0.2, no_cuda=True, group_by_length=True,
                                 overwrite_output_dir=True,
                                 logging_dir="logs", include_inputs_for_metrics=True, per_gpu_train_batch_size=3, save_safetensors=True)
        assert len(caplog.records) == 1 and "evaluation_strategy is now called eval_strategy" in caplog.text
        TrainingArguments("o", evaluation_strategy="epoch", warmup_ratio=0.2, no_cuda=True, group_by_length=True, overwrite_output_dir=True,
                          logging_dir="logs", include_inputs_for_metrics=True, per_gpu_train_batch_size=3, save_safetensors=True)
        assert len(caplog.records) == 1
    assert (args.eval_strategy, args.warmup_steps, args.use_cpu, args.train_sampling_strategy) == ("epoch", 0.2, True, "group_by_length")
    assert args.logging_dir == "logs" and args.include_for_metrics == ["inputs"] and args.per_device_train_batch_size == 3
    assert TrainingArguments("o", optim="adamw_hf").optim == "adamw_torch" and TrainingArguments("o", adafactor=True).optim == "adafactor"
    with pytest.raises(TypeError, match="two values for eval_strategy"):
        TrainingArguments("o", evaluation_strategy="epoch", eval_strategy="steps")
    with pytest.raises(TypeError, match="unknown argument: learning_rat"):
        TrainingArguments("o", learning_rat=1)

    @dataclasses.dataclass
    class Mine(TrainingArguments):
        own: int = 3

    assert Mine("o", evaluation_strategy="steps").eval_strategy == "steps" and Mine("o").own == 3
    assert tenon.Seq2SeqTrainingArguments("o", predict_with_generate=True).predict_with_generate


@pytest.mark.parametrize("kwargs, message", [
    (dict(push_to_hub=True), "push_to_hub is not supported"),
    (dict(deepspeed="ds.json"), "deepspeed is not supported"),
    (dict(fsdp="full_shard"), "fsdp is not supported"),
    (dict(report_to="wandb"), "report_to: expected"),
    (dict(optim="galore_adamw"), "optim: expected one of"),
    (dict(eval_strategy="sometimes"), "expected one of no, steps, epoch"),
    (dict(lr_scheduler_type="sine"), "expected one of linear"),
    (dict(per_device_train_batch_size=0), "per_device_train_batch_size: expected an integer of at least 1"),
    (dict(learning_rate=float("nan")), "learning_rate: expected a number of at least 0"),
    (dict(adam_beta1=1.0), "adam_beta1"),
    (dict(fp16=True, bf16=True), "at most one of them"),
    (dict(fp16=True, fp8=True), "at most one of them"),
    (dict(fp8=True, fp8_scaling="row"), '"block" or "tensor"'),
    (dict(logging_steps=0), "logging_steps"),
    (dict(logging_steps=2.5), "logging_steps: expected a whole number"),
    (dict(load_best_model_at_end=True), "eval_strategy equal to save_strategy"),
    (dict(load_best_model_at_end=True, eval_strategy="steps", eval_steps=40, save_steps=60), "multiple of eval_steps"),
    (dict(lr_scheduler_type="reduce_lr_on_plateau"), "eval_strategy"),
])
def test_bad_values(kwargs, message):
    with pytest.raises(ValueError, match=message):
        TrainingArguments("o", **kwargs)


def test_what_one_process_does_without_is_taken():
    TrainingArguments("o", tf32=True, torch_compile=True, ddp_backend="gloo", hub_model_id="a/b", dataloader_num_workers=4,
                      dataloader_pin_memory=False,
                      dataloader_prefetch_factor=2, use_liger_kernel=True, skip_memory_metrics=False, enable_jit_checkpoint=True,
                      full_determinism=True)


@dataclasses.dataclass
class _Own:
    name: str = dataclasses.field(metadata={"help": "which one"})
    sizes: "list[int]" = dataclasses.field(default_factory=lambda: [1])
    keep: bool = True
    share: "float | None" = None


def test_command_line(tmp_path):
    parser = tenon.HfArgumentParser((_Own, TrainingArguments))
    own, args = parser.parse_args_into_dataclasses(["--name", "x", "--sizes", "2", "3", "--no_keep", "--output_dir", "o", "--learning_rate",
                                                    "1e-3", "--bf16",
                                                    "--eval-strategy", "epoch", "--warmup_steps", "0.1", "--lr_scheduler_kwargs",
                                                    '{"num_cycles": 2}'])
    assert own == _Own("x", [2, 3], False) and args.learning_rate == 1e-3 and args.bf16
    assert args.eval_strategy == "epoch" and args.warmup_steps == 0.1
    assert args.lr_scheduler_kwargs == {"num_cycles": 2} and args.max_steps == -1 and args.gradient_checkpointing is False
    assert parser.parse_args_into_dataclasses(["--name", "x", "--odd"], return_remaining_strings=True)[-1] == ["--odd"]
    with pytest.raises(ValueError, match="unknown options: --odd"):
        parser.parse_args_into_dataclasses(["--name", "x", "--odd"])
    (tmp_path / "a.json").write_text('{"name": "y", "output_dir": "p", "seed": 3}')
    own, args = parser.parse_json_file(tmp_path / "a.json")
    assert own.name == "y" and args.seed == 3
    with pytest.raises(ValueError, match="unknown keys: odd"):
        parser.parse_dict({"name": "y", "odd": 1})
