"""TrainingArguments: Transformers' fields and defaults, names of version 4 included."""
from __future__ import annotations

import dataclasses
import inspect
import json
import math
import os
from dataclasses import dataclass, field
from typing import Any

from ..conversion import device
from .names import HubStrategy, IntervalStrategy, Name, SamplingStrategy, SaveStrategy, SchedulerType
from .renamed import current_names, optimizer_name

_NEEDS_OTHERS = {  # what asks for machinery that is not here -> what to do instead
    "push_to_hub": "upload the output folder with huggingface_hub",
    "fsdp": "leave it out: this Trainer runs in one process",
    "deepspeed": "leave it out: this Trainer runs in one process",
    "parallelism_config": "leave it out: this Trainer runs in one process",
    "optim_target_modules": "leave it out: it belongs to optimisers (GaLore, APOLLO) that are not here",
}


class _TakesOldNames(type):
    """Lets every subclass, dataclass or not, take the argument names of Transformers 4."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        known = {f.name for f in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set[str]()
        kwargs, extra = current_names(cls.__name__, kwargs, known)
        made = super().__call__(*args, **kwargs)
        for name, value in extra.items():
            setattr(made, name, value)
        return made

    @property
    def __signature__(cls) -> inspect.Signature:
        signature = inspect.signature(cls.__init__)  # type: ignore[misc]
        return signature.replace(parameters=list(signature.parameters.values())[1:])


@dataclass(repr=False)
class TrainingArguments(metaclass=_TakesOldNames):
    """How a Trainer trains. Fields, defaults and meanings are those of Transformers 5.

    Names of Transformers 4 (evaluation_strategy, warmup_ratio, no_cuda, ...) are taken with one warning. Fields for machinery that one
    process on a CPU does without (ddp_*, hub_*, tf32, torch_compile, dataloader workers, ...) are taken and change nothing; batches are
    made in the calling thread, so that a resumed run sees the same random numbers. bf16=True computes in bfloat16 with float32
    weights; fp16=True means float16 with a scaled loss where the model lies on a GPU, on a CPU the same as bf16=True, and float32 where the
    processor does not multiply bfloat16. fp8=True, which is Tenon's own, trains linear layers in float8 as
    autocast(dtype=float8_e4m3fn, fp8_scaling=fp8_scaling) has it, with bf16=True evaluating in bfloat16.
    Errors: ValueError for values out of their range, for combinations that contradict each other and for what is not supported.
    """

    output_dir: "str | None" = None
    per_device_train_batch_size: int = 8
    num_train_epochs: float = 3.0
    max_steps: int = -1
    learning_rate: float = 5e-5
    lr_scheduler_type: Any = "linear"
    lr_scheduler_kwargs: "dict[str, Any] | str | None" = None
    warmup_steps: float = 0  # below 1: a share of all steps
    optim: Any = "adamw_torch_fused"
    optim_args: "str | None" = None
    weight_decay: float = 0.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    optim_target_modules: Any = None
    gradient_accumulation_steps: int = 1
    average_tokens_across_devices: bool = True
    max_grad_norm: float = 1.0
    label_smoothing_factor: float = 0.0
    bf16: bool = False
    fp16: bool = False
    bf16_full_eval: bool = False
    fp16_full_eval: bool = False
    tf32: "bool | None" = None
    activation_checkpointing: "bool | None" = None
    activation_checkpointing_kwargs: "dict[str, Any] | str | None" = None
    gradient_checkpointing: "bool | None" = None
    gradient_checkpointing_kwargs: "dict[str, Any] | str | None" = None
    torch_compile: bool = False
    torch_compile_backend: "str | None" = None
    torch_compile_mode: "str | None" = None
    use_liger_kernel: bool = False
    liger_kernel_config: "dict[str, bool] | None" = None
    use_cache: bool = False
    neftune_noise_alpha: "float | None" = None
    torch_empty_cache_steps: "int | None" = None
    auto_find_batch_size: bool = False
    logging_strategy: Any = "steps"
    logging_steps: float = 500
    logging_first_step: bool = False
    log_on_each_node: bool = True
    logging_nan_inf_filter: bool = True
    include_num_input_tokens_seen: "str | bool" = "no"
    log_level: str = "passive"
    log_level_replica: str = "warning"
    disable_tqdm: "bool | None" = None
    report_to: Any = "none"
    run_name: "str | None" = None
    project: str = "huggingface"
    trackio_space_id: "str | None" = None
    trackio_bucket_id: "str | None" = None
    trackio_static_space_id: "str | None" = None
    eval_strategy: Any = "no"
    eval_steps: "float | None" = None
    eval_delay: float = 0
    per_device_eval_batch_size: int = 8
    prediction_loss_only: bool = False
    eval_on_start: bool = False
    eval_do_concat_batches: bool = True
    eval_use_gather_object: bool = False
    eval_accumulation_steps: "int | None" = None
    include_for_metrics: "list[str]" = field(default_factory=list)
    batch_eval_metrics: bool = False
    save_only_model: bool = False
    save_strategy: Any = "steps"
    save_steps: float = 500
    save_on_each_node: bool = False
    save_total_limit: "int | None" = None
    enable_jit_checkpoint: bool = False
    push_to_hub: bool = False
    hub_token: "str | None" = None
    hub_private_repo: "bool | None" = None
    hub_model_id: "str | None" = None
    hub_strategy: Any = "every_save"
    hub_always_push: bool = False
    hub_revision: "str | None" = None
    load_best_model_at_end: bool = False
    metric_for_best_model: "str | None" = None
    greater_is_better: "bool | None" = None
    ignore_data_skip: bool = False
    restore_callback_states_from_checkpoint: bool = False
    full_determinism: bool = False
    seed: int = 42
    data_seed: "int | None" = None
    use_cpu: bool = False
    accelerator_config: "dict[str, Any] | str | None" = None
    parallelism_config: Any = None
    dataloader_drop_last: bool = False
    dataloader_num_workers: int = 0
    dataloader_pin_memory: bool = True
    dataloader_persistent_workers: bool = False
    dataloader_prefetch_factor: "int | None" = None
    dataloader_multiprocessing_context: Any = None
    dataloader_in_order: bool = True
    remove_unused_columns: bool = True
    label_names: "list[str] | None" = None
    train_sampling_strategy: Any = "random"
    length_column_name: str = "length"
    ddp_find_unused_parameters: "bool | None" = None
    ddp_bucket_cap_mb: "int | None" = None
    ddp_broadcast_buffers: "bool | None" = None
    ddp_static_graph: "bool | None" = None
    ddp_backend: "str | None" = None
    ddp_timeout: int = 1800
    fsdp: Any = None
    fsdp_config: Any = None
    deepspeed: Any = None
    debug: Any = ""
    skip_memory_metrics: bool = True
    do_train: bool = False
    do_eval: bool = False
    do_predict: bool = False
    resume_from_checkpoint: "str | None" = None
    local_rank: int = -1
    fp8: bool = False           # these two are not of Transformers
    fp8_scaling: str = "block"

    def __post_init__(self) -> None:
        self.output_dir = os.path.expanduser("trainer_output" if self.output_dir is None else os.fspath(self.output_dir))
        for name in ("lr_scheduler_kwargs", "activation_checkpointing_kwargs", "gradient_checkpointing_kwargs", "accelerator_config",
                     "optim_args"):
            value = getattr(self, name)
            if name != "optim_args" and isinstance(value, str) and value.lstrip().startswith("{"):
                setattr(self, name, json.loads(value))
        self._join_checkpointing()
        self.eval_strategy = IntervalStrategy(self.eval_strategy)
        self.logging_strategy = IntervalStrategy(self.logging_strategy)
        self.save_strategy = SaveStrategy(self.save_strategy)
        self.hub_strategy = HubStrategy(self.hub_strategy)
        self.lr_scheduler_type = SchedulerType(self.lr_scheduler_type)
        self.optim = optimizer_name(self.optim)
        self.train_sampling_strategy = SamplingStrategy(self.train_sampling_strategy)
        if isinstance(self.include_num_input_tokens_seen, bool):
            self.include_num_input_tokens_seen = "all" if self.include_num_input_tokens_seen else "no"
        if self.disable_tqdm is None:
            import logging

            self.disable_tqdm = logging.getLogger("tenon").getEffectiveLevel() > logging.WARNING
        self.debug = self.debug.split() if isinstance(self.debug, str) else list(self.debug or ())
        if self.eval_strategy != IntervalStrategy.NO:
            self.do_eval = True
            if self.eval_strategy == IntervalStrategy.STEPS and not self.eval_steps:
                self.eval_steps = self.logging_steps
        by_metric = self.load_best_model_at_end or self.lr_scheduler_type in (SchedulerType.REDUCE_ON_PLATEAU, SchedulerType.GREEDY)
        if by_metric and self.metric_for_best_model is None:
            self.metric_for_best_model = "loss"
        if self.greater_is_better is None and self.metric_for_best_model is not None:
            self.greater_is_better = not self.metric_for_best_model.endswith("loss")
        self._choose_reports()
        self._check()

    def _join_checkpointing(self) -> None:
        """gradient_checkpointing is the older name of activation_checkpointing; both read the same."""
        for old, new in (("gradient_checkpointing", "activation_checkpointing"),
                         ("gradient_checkpointing_kwargs", "activation_checkpointing_kwargs")):
            if getattr(self, new) is None:
                setattr(self, new, getattr(self, old))
            setattr(self, old, getattr(self, new))
        self.activation_checkpointing = self.gradient_checkpointing = bool(self.activation_checkpointing)

    def _choose_reports(self) -> None:
        from .reporting import available_reports

        names = [self.report_to] if isinstance(self.report_to, str) else list(self.report_to or ())
        if names == ["all"]:
            names = available_reports()
        self.report_to = [n for n in names if n != "none"]
        unknown = [n for n in self.report_to if n != "tensorboard"]
        if unknown:
            self._refuse("report_to", "\"none\", \"all\" or \"tensorboard\" (for others pass a callback to the Trainer)", unknown)

    def _refuse(self, name: str, expected: str, got: Any) -> None:
        raise ValueError(f"[TrainingArguments] {name}: expected {expected}, got {got!r}")

    def _check(self) -> None:
        for name, instead in _NEEDS_OTHERS.items():
            if getattr(self, name):
                raise ValueError(f"[TrainingArguments] {name} is not supported; {instead}")
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                self._refuse(name, "an integer of at least 1", value)
        if isinstance(self.learning_rate, str):  # command lines and YAML files write 5e-5 as text
            self.learning_rate = float(self.learning_rate)
        for name in ("learning_rate", "weight_decay", "adam_epsilon", "max_grad_norm", "warmup_steps", "num_train_epochs", "eval_delay"):
            value = getattr(self, name)
            if value is None and name == "max_grad_norm":
                self.max_grad_norm = value = 0.0
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                self._refuse(name, "a number of at least 0", value)
        for name in ("adam_beta1", "adam_beta2", "label_smoothing_factor"):
            if not 0 <= getattr(self, name) < 1:
                self._refuse(name, "a number in [0, 1)", getattr(self, name))
        self._check_steps()
        if self.fp16 and self.bf16:
            self._refuse("fp16 and bf16", "at most one of them", True)
        if self.fp16 and self.fp8:
            self._refuse("fp16 and fp8", "at most one of them", True)
        if self.fp8_scaling not in ("block", "tensor"):
            self._refuse("fp8_scaling", "\"block\" or \"tensor\"", self.fp8_scaling)
        if self.fp16_full_eval and self.bf16_full_eval:
            self._refuse("fp16_full_eval and bf16_full_eval", "at most one of them", True)
        if self.lr_scheduler_type in (SchedulerType.REDUCE_ON_PLATEAU, SchedulerType.GREEDY) and self.eval_strategy == IntervalStrategy.NO:
            self._refuse("eval_strategy", f"\"steps\" or \"epoch\" for the schedule {self.lr_scheduler_type.value}", self.eval_strategy.value)
        if self.include_num_input_tokens_seen not in ("no", "all", "non_padding"):
            self._refuse("include_num_input_tokens_seen", "\"no\", \"all\" or \"non_padding\"", self.include_num_input_tokens_seen)
        if self.save_total_limit is not None and self.save_total_limit < 0:
            self._refuse("save_total_limit", "None or a number of at least 0", self.save_total_limit)
        if self.log_level not in _LEVELS:
            self._refuse("log_level", ", ".join(_LEVELS), self.log_level)

    def _check_steps(self) -> None:
        strategies: dict[str, Name] = {"logging": self.logging_strategy, "eval": self.eval_strategy, "save": self.save_strategy}
        for kind, strategy in strategies.items():
            name = f"{kind}_steps"
            value = getattr(self, name)
            if strategy.value != "steps" or (kind == "save" and value == 0):  # 0: save at the end alone
                continue
            if not isinstance(value, (int, float)) or value <= 0 or (value > 1 and value != int(value)):
                self._refuse(name, "a whole number of steps or, below 1, a share of all steps", value)
            if value >= 1:
                setattr(self, name, int(value))
        if not self.load_best_model_at_end or self.save_strategy == SaveStrategy.BEST:
            return
        if self.save_strategy.value != self.eval_strategy.value:
            self._refuse("load_best_model_at_end", f"eval_strategy equal to save_strategy ({self.save_strategy.value})",
                         self.eval_strategy.value)
        if self.eval_strategy == IntervalStrategy.STEPS:
            assert self.eval_steps is not None
            ratio = self.save_steps / self.eval_steps or math.inf
            if math.isinf(ratio) or (self.save_steps < 1) != (self.eval_steps < 1) or abs(ratio - round(ratio)) > 1e-9 or ratio < 1:
                self._refuse("load_best_model_at_end", f"save_steps to be a multiple of eval_steps ({self.eval_steps})", self.save_steps)

    # What the Trainer asks
    @property
    def train_batch_size(self) -> int:
        """Examples in a batch of training."""
        return self.per_device_train_batch_size

    @property
    def eval_batch_size(self) -> int:
        """Examples in a batch of evaluation."""
        return self.per_device_eval_batch_size

    @property
    def device(self) -> device:
        return device("cpu")

    n_gpu = property(lambda self: 0)
    world_size = property(lambda self: 1)
    process_index = property(lambda self: 0)
    local_process_index = property(lambda self: 0)
    should_log = property(lambda self: True)
    should_save = property(lambda self: True)

    def get_process_log_level(self) -> int:
        """The level of Python's logging that log_level names; that of the logger "tenon" for "passive"."""
        import logging

        level = _LEVELS[self.log_level]
        return logging.getLogger("tenon").getEffectiveLevel() if level is None else level

    def get_warmup_steps(self, num_training_steps: int) -> int:
        """Steps of warm-up out of all steps. Units: warmup_steps below 1 is a share, rounded up."""
        return int(self.warmup_steps) if self.warmup_steps >= 1 else math.ceil(num_training_steps * self.warmup_steps)

    # Setting several at once, as Transformers has it
    def set_training(self, learning_rate: float = 5e-5, batch_size: int = 8, weight_decay: float = 0, num_epochs: float = 3,
                     max_steps: int = -1, gradient_accumulation_steps: int = 1, seed: int = 42,
                     gradient_checkpointing: bool = False) -> "TrainingArguments":
        """Sets what training needs. Errors: as the constructor's."""
        return self._with(do_train=True, learning_rate=learning_rate, per_device_train_batch_size=batch_size, weight_decay=weight_decay,
                          num_train_epochs=num_epochs, max_steps=max_steps, gradient_accumulation_steps=gradient_accumulation_steps, seed=seed,
                          activation_checkpointing=gradient_checkpointing)

    def set_evaluate(self, strategy: str = "no", steps: int = 500, batch_size: int = 8, accumulation_steps: "int | None" = None,
                     delay: float = 0, loss_only: bool = False) -> "TrainingArguments":
        """Sets what evaluation needs. Errors: as the constructor's."""
        return self._with(eval_strategy=strategy, eval_steps=steps, per_device_eval_batch_size=batch_size, eval_delay=delay,
                          eval_accumulation_steps=accumulation_steps, prediction_loss_only=loss_only)

    def set_save(self, strategy: str = "steps", steps: int = 500, total_limit: "int | None" = None) -> "TrainingArguments":
        """Sets how checkpoints are kept. Errors: as the constructor's."""
        return self._with(save_strategy=strategy, save_steps=steps, save_total_limit=total_limit)

    def set_logging(self, strategy: str = "steps", steps: int = 500, report_to: Any = "none", first_step: bool = False) -> "TrainingArguments":
        """Sets what is logged. Errors: as the constructor's."""
        return self._with(logging_strategy=strategy, logging_steps=steps, report_to=report_to, logging_first_step=first_step)

    def set_optimizer(self, name: str = "adamw_torch", learning_rate: float = 5e-5, weight_decay: float = 0, beta1: float = 0.9,
                      beta2: float = 0.999, epsilon: float = 1e-8, args: "str | None" = None) -> "TrainingArguments":
        """Sets the optimiser. Errors: as the constructor's."""
        return self._with(optim=name, learning_rate=learning_rate, weight_decay=weight_decay, adam_beta1=beta1, adam_beta2=beta2,
                          adam_epsilon=epsilon, optim_args=args)

    def set_lr_scheduler(self, name: str = "linear", num_epochs: float = 3.0, max_steps: int = -1,
                         warmup_steps: float = 0) -> "TrainingArguments":
        """Sets the schedule. Errors: as the constructor's."""
        return self._with(lr_scheduler_type=name, num_train_epochs=num_epochs, max_steps=max_steps, warmup_steps=warmup_steps)

    def _with(self, **values: Any) -> "TrainingArguments":
        for name, value in values.items():
            setattr(self, name, value)
        self.__post_init__()
        return self

    # As text
    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON has them; tokens are hidden."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {k: f"<{k.upper()}>" if k.endswith("_token") else _plain(v) for k, v in values.items()}

    def to_json_string(self) -> str:
        return json.dumps(self.to_dict(), indent=2)

    def to_sanitized_dict(self) -> dict[str, Any]:
        """The fields with everything but numbers and texts turned into texts, as TensorBoard takes them."""
        values = {**self.to_dict(), "train_batch_size": self.train_batch_size, "eval_batch_size": self.eval_batch_size}
        return {k: v if isinstance(v, (bool, int, float, str)) else str(v) for k, v in values.items()}

    def __repr__(self) -> str:
        lines = "".join(f"{k}={v!r},\n" for k, v in sorted(self.to_dict().items()))
        return f"{type(self).__name__}(\n{lines})"

    __str__ = __repr__


_LEVELS: dict[str, "int | None"] = {"detail": 10, "debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50, "passive": None}


def _plain(value: Any) -> Any:
    if isinstance(value, Name):
        return value.value
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if hasattr(value, "to_dict"):
        return value.to_dict()
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


@dataclass(repr=False)
class Seq2SeqTrainingArguments(TrainingArguments):
    """TrainingArguments with what Seq2SeqTrainer needs to generate during evaluation."""

    sortish_sampler: bool = False
    predict_with_generate: bool = False
    generation_max_length: "int | None" = None
    generation_num_beams: "int | None" = None
    generation_config: Any = None
