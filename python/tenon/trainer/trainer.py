"""Trainer: Transformers' training loop over this library's models and optimisers."""
from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from typing import Any, Callable

from .. import hub
from ..amp.grad_scaler import GradScaler
from .arguments import TrainingArguments
from .callbacks import CallbackHandler, DefaultFlowCallback, PrinterCallback, ProgressCallback
from .collators import DataCollatorWithPadding, default_data_collator
from .columns import is_library_model, label_names_of, main_input, restore_router_log, router_logs, takes_any_keyword, unwrap
from .evaluating import Evaluating
from .interrupts import Interrupts
from .loading import Loading
from .losses import broken_gradient, broken_operation, count_labels, first_not_finite, shifts_labels, smoothed_loss, token_operations
from .names import SaveStrategy
from .optimizing import decayed_names, embedding_noise, optimizer_class
from .reporting import report_callbacks
from .results import TrainOutput, has_length, set_seed, speed_metrics
from .sampling import is_iterable_only
from .saving import Saving
from .schedules import BY_METRIC, get_scheduler
from .state import TrainerControl, TrainerState


class Trainer(Loading, Evaluating, Saving):
    """Trains and evaluates a model. Arguments, methods to override, logs and files are those of Transformers' Trainer.

    Batches that need padding are computed without it. Ctrl-C and SIGTERM end a run after its step with a checkpoint (unless
    save_strategy is "no"), from which resume_from_checkpoint=True goes on with the same numbers. A loss or gradient that is NaN or infinite
    stops the run, naming the step and the place; with fp16=True such a step is skipped instead.
    Errors: ValueError and TypeError for arguments, datasets and labels that do not fit, before anything is trained where that can be seen.
    """

    loss_is_scaled_for_ga: "bool | None" = None  # None: yes if the model or compute_loss_func divides by num_items_in_batch

    def __init__(self, model: Any = None, args: "TrainingArguments | None" = None, data_collator: "Callable[[list[Any]], Any] | None" = None,
                 train_dataset: Any = None, eval_dataset: Any = None, processing_class: Any = None,
                 model_init: "Callable[..., Any] | None" = None, compute_loss_func: "Callable[..., Any] | None" = None,
                 compute_metrics: "Callable[..., Any] | None" = None,
                 callbacks: "list[Any] | None" = None, optimizers: "tuple[Any, Any]" = (None, None),
                 optimizer_cls_and_kwargs: "tuple[Any, dict[str, Any]] | None" = None,
                 preprocess_logits_for_metrics: "Callable[[Any, Any], Any] | None" = None, tokenizer: Any = None) -> None:
        if tokenizer is not None:
            if processing_class is not None:
                raise TypeError("[Trainer] got two values for processing_class: tokenizer is its older name")
            hub.warn("Trainer: tokenizer is now called processing_class", once=True)
            processing_class = tokenizer
        self.args = TrainingArguments("tmp_trainer") if args is None else args
        set_seed(self.args.seed)
        if (model is None) == (model_init is None):
            raise ValueError(f"[Trainer] expected a model or model_init, got {'neither' if model is None else 'both'}")
        self.model_init = model_init
        self.model = self.call_model_init() if model is None else model
        self._check_model()
        self.model_accepts_loss_kwargs = takes_any_keyword(self.model)
        self.label_names = label_names_of(self.model) if self.args.label_names is None else list(self.args.label_names)
        self._loss_shifts_labels = shifts_labels(self.model)
        if data_collator is None:
            is_tokenizer = hasattr(processing_class, "pad") and hasattr(processing_class, "pad_token_id")
            data_collator = DataCollatorWithPadding(processing_class) if is_tokenizer else default_data_collator
        if not callable(data_collator):
            raise TypeError(f"[Trainer] data_collator: expected a function or an object with __call__, got {type(data_collator).__name__}")
        self.data_collator = data_collator
        self.train_dataset, self.eval_dataset, self.processing_class = train_dataset, eval_dataset, processing_class
        self.compute_loss_func, self.compute_metrics = compute_loss_func, compute_metrics
        self.preprocess_logits_for_metrics = preprocess_logits_for_metrics
        self.optimizer, self.lr_scheduler = optimizers
        self.optimizer_cls_and_kwargs = optimizer_cls_and_kwargs
        self._check_arguments()
        bar = PrinterCallback if self.args.disable_tqdm else ProgressCallback
        every = [DefaultFlowCallback(), *report_callbacks(self.args.report_to), *(callbacks or ()), bar()]
        self.callback_handler = CallbackHandler(every, self.model, self.processing_class, self.optimizer, self.lr_scheduler)
        os.makedirs(self.args.output_dir, exist_ok=True)
        self.control = TrainerControl()
        self.state = TrainerState(stateful_callbacks=self._stateful())
        self.is_in_train = False
        self.current_flos = 0.0
        self._train_batch_size = self.args.train_batch_size
        self._made_schedule = False
        self._interrupts: "Interrupts | None" = None
        self._progress: dict[str, Any] = {"loss": 0.0, "last_logged": 0}
        self.scaler = GradScaler(enabled=False)
        self.control = self.callback_handler.on_init_end(self.args, self.state, self.control)

    @property
    def tokenizer(self) -> Any:
        """processing_class under its older name."""
        return self.processing_class

    @property
    def model_wrapped(self) -> Any:
        return self.model

    def _check_model(self) -> None:
        base = unwrap(self.model)
        name = type(base).__name__
        if is_library_model(self.model) and "labels" not in base._input_names() and "return_loss" not in base._input_names():
            raise ValueError(f"[Trainer] expected a model with a loss, got {name}, which computes hidden states; take one with a head, such as "
                             f"{name.removesuffix('Model')}ForSequenceClassification or AutoModelForCausalLM")
        if not callable(self.model):
            raise TypeError(f"[Trainer] model: expected a model, got {name}")

    def _check_arguments(self) -> None:
        if self.optimizer_cls_and_kwargs is not None and self.optimizer is not None:
            raise ValueError("[Trainer] expected optimizers or optimizer_cls_and_kwargs, got both")
        if self.model_init is not None and (self.optimizer is not None or self.lr_scheduler is not None):
            raise ValueError("[Trainer] model_init: expected no optimizers, which would hold the parameters of another model; override "
                             "create_optimizer")
        if self.args.eval_strategy.value != "no" and self.eval_dataset is None:
            raise ValueError(f"[Trainer] eval_strategy {self.args.eval_strategy.value!r}: expected an eval_dataset")
        data = self.train_dataset
        if data is not None and is_iterable_only(data) and not has_length(data) and self.args.max_steps <= 0:
            raise ValueError("[Trainer] train_dataset has no length: expected max_steps, from which the schedule follows")

    def call_model_init(self, trial: Any = None) -> Any:
        """The model of model_init, which takes no argument or one. Errors: RuntimeError if it returns None."""
        import inspect

        assert self.model_init is not None
        model = self.model_init(trial) if inspect.signature(self.model_init).parameters else self.model_init()
        if model is None:
            raise RuntimeError("[Trainer] model_init: expected a model, got None")
        return model

    # Callbacks
    def add_callback(self, callback: Any) -> None:
        """Adds a callback, an object or a class."""
        self.callback_handler.add_callback(callback)

    def pop_callback(self, callback: Any) -> Any:
        """Takes a callback off and returns it."""
        return self.callback_handler.pop_callback(callback)

    def remove_callback(self, callback: Any) -> None:
        """Takes a callback off."""
        self.callback_handler.remove_callback(callback)

    def is_local_process_zero(self) -> bool:
        return True

    def is_world_process_zero(self) -> bool:
        return True

    # Optimiser
    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """The parameters with weight decay: all but biases and norms."""
        return decayed_names(model)

    @staticmethod
    def get_optimizer_cls_and_kwargs(args: TrainingArguments, model: Any = None) -> tuple[Any, dict[str, Any]]:
        """The class that args.optim names and its arguments."""
        return optimizer_class(args)

    def create_optimizer(self, model: Any = None) -> Any:
        """Makes self.optimizer unless there is one. Errors: ValueError for a model without trainable parameters."""
        if self.optimizer is None:
            model = self.model if model is None else model
            decayed = set(self.get_decay_parameter_names(model))
            trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
            if not trained:
                raise ValueError("[Trainer] expected parameters with requires_grad, the model has none")
            groups = [{"params": [p for n, p in trained if (n in decayed) == wants], "weight_decay": self.args.weight_decay if wants else 0.0}
                      for wants in (True, False)]
            cls, options = self.optimizer_cls_and_kwargs or self.get_optimizer_cls_and_kwargs(self.args, model)
            self.optimizer = cls([g for g in groups if g["params"]], **options)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Makes self.lr_scheduler unless there is one."""
        if self.lr_scheduler is None:
            options = self.args.lr_scheduler_kwargs
            if isinstance(options, str):
                raise ValueError(f"[TrainingArguments] lr_scheduler_kwargs: expected a dict, got {options!r}")
            self.lr_scheduler = get_scheduler(self.args.lr_scheduler_type, self.optimizer if optimizer is None else optimizer,
                                              self.args.get_warmup_steps(num_training_steps), num_training_steps, options)
            self._made_schedule = True
        return self.lr_scheduler

    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
        """Both; override it for others."""
        self.create_optimizer()
        self.create_scheduler(num_training_steps)

    def get_learning_rates(self) -> list[float]:
        """The learning rate of each parameter group."""
        return [g["lr"] for g in self.optimizer.param_groups]

    def get_num_trainable_parameters(self) -> int:
        """Numbers that training changes."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def _learning_rate(self) -> float:
        if self.args.lr_scheduler_type in BY_METRIC:
            return float(self.optimizer.param_groups[0]["lr"])
        return float(self.lr_scheduler.get_last_lr()[0])

    # Training
    def train(self, resume_from_checkpoint: Any = None, trial: Any = None, ignore_keys_for_eval: "list[str] | None" = None,
              **kwargs: Any) -> TrainOutput:
        """Trains. resume_from_checkpoint: True for the last checkpoint in output_dir, or the folder of one.

        Errors: ValueError for datasets, labels and checkpoints that do not fit; FloatingPointError for NaN and Inf; OSError for a full disk;
        KeyboardInterrupt after a checkpoint for Ctrl-C.
        """
        if "model_path" in kwargs:
            resume_from_checkpoint = kwargs.pop("model_path")
        if kwargs:
            raise TypeError(f"[Trainer] train: unknown arguments: {', '.join(kwargs)}")
        path = self._checkpoint_of(resume_from_checkpoint)
        if self.model_init is not None:
            set_seed(self.args.seed)
            self.model = self.callback_handler.model = self.call_model_init(trial)
            self.optimizer = self.lr_scheduler = None
        if self.args.activation_checkpointing and hasattr(self.model, "gradient_checkpointing_enable"):
            self.model.gradient_checkpointing_enable()
        state = None
        if path is not None:
            state = self._load_state(path)
            self._load_from_checkpoint(path)
            if state.train_batch_size and self.args.auto_find_batch_size:
                self._train_batch_size = state.train_batch_size
        self.is_in_train = True
        try:
            with Interrupts() as self._interrupts:
                while True:
                    try:
                        return self._train(path, state, ignore_keys_for_eval)
                    except MemoryError:
                        if not self.args.auto_find_batch_size or self._train_batch_size == 1:
                            raise
                        self._train_batch_size //= 2
                        hub.warn(f"Trainer: out of memory; starting again with batches of {self._train_batch_size}")
        finally:
            self.is_in_train = False
            self._interrupts = None
            for callback in self.callback_handler.callbacks:
                if isinstance(callback, ProgressCallback) and callback.training_bar is not None:  # an error or an interruption
                    callback.training_bar.close()
                    callback.training_bar = None

    def set_initial_training_values(self, args: TrainingArguments, dataloader: Any) -> dict[str, Any]:
        """Epochs, steps and examples of a run. Errors: ValueError without max_steps for a loader without length."""
        size = self._train_batch_size * args.gradient_accumulation_steps
        if not has_length(dataloader):
            if args.max_steps <= 0:
                raise ValueError("[Trainer] the training set has no length: expected max_steps, from which the schedule follows")
            return {"epochs": sys.maxsize, "updates": args.max_steps, "batches": args.max_steps * args.gradient_accumulation_steps,
                    "max_steps": args.max_steps, "samples": args.max_steps * size}
        batches = len(dataloader)
        if batches == 0:
            raise ValueError("[Trainer] training set: expected at least one whole batch (dataloader_drop_last is set)")
        updates = max(1, math.ceil(batches / args.gradient_accumulation_steps))
        if args.max_steps > 0:
            return {"epochs": math.ceil(args.max_steps / updates), "updates": updates, "batches": batches, "max_steps": args.max_steps,
                    "samples": args.max_steps * size}
        return {"epochs": math.ceil(args.num_train_epochs), "updates": updates, "batches": batches,
                "max_steps": math.ceil(args.num_train_epochs * updates), "samples": self.num_examples(dataloader) * args.num_train_epochs}

    def _train(self, path: "str | None", saved: "TrainerState | None", ignore_keys: "list[str] | None") -> TrainOutput:
        args = self.args
        loader = self.get_train_dataloader()
        plan = self.set_initial_training_values(args, loader)
        self.state = TrainerState(stateful_callbacks=self._stateful())
        self.state.compute_steps(args, plan["max_steps"])
        self._progress = {"loss": 0.0, "last_logged": 0}
        restore_router_log(self.model, None)
        first_epoch = skipped = 0
        if self._made_schedule:
            self.lr_scheduler, self._made_schedule = None, False
        self.create_optimizer_and_scheduler(plan["max_steps"])
        self.scaler = GradScaler(enabled=args.fp16 and self._on_gpu())
        if path is not None and saved is not None:
            saved.compute_steps(args, plan["max_steps"])
            self.state = saved
            self._load_callback_state()
            self._load_optimizer_and_scheduler(path)
            first_epoch = self.state.global_step // plan["updates"]
            if not args.ignore_data_skip:
                skipped = self.state.global_step % plan["updates"] * args.gradient_accumulation_steps
        self.state.train_batch_size = self._train_batch_size
        self.state.max_steps, self.state.num_train_epochs = plan["max_steps"], plan["epochs"]
        for name in ("model", "optimizer", "lr_scheduler"):
            setattr(self.callback_handler, name, getattr(self, name))
        self.callback_handler.train_dataloader = loader
        start, first_step, self._session_loss = time.time(), self.state.global_step, 0.0
        self._initial_num_input_tokens_seen = self.state.num_input_tokens_seen
        self._start, self._ignore_keys = start, ignore_keys
        self.model.zero_grad()
        self.control = self.callback_handler.on_train_begin(args, self.state, self.control)
        if args.eval_on_start:
            self._evaluate(skip_scheduler=True)
        for epoch in range(first_epoch, plan["epochs"]):
            self.control = self.callback_handler.on_epoch_begin(args, self.state, self.control)
            self._run_epoch(epoch, loader, plan, skipped if epoch == first_epoch else 0, path if epoch == first_epoch else None)
            if self.control.should_training_stop:
                break
        return self._finish(plan, start, first_step)

    def _run_epoch(self, epoch: int, loader: Any, plan: dict[str, Any], skipped: int, path: "str | None") -> None:
        args, accumulation = self.args, self.args.gradient_accumulation_steps
        if callable(getattr(loader, "set_epoch", None)):
            loader.set_epoch(epoch)
        if hasattr(loader, "skip"):
            loader.skip = skipped
            batches = iter(loader)
        else:  # a loader of the user's
            batches = iter(loader)
            for _ in range(skipped):
                next(batches, None)
        done = skipped
        norm: "float | None" = None
        rate: "float | None" = None
        if path is not None:
            self._load_rng_state(path)  # after set_epoch and skipping, which may have drawn
        for update in range(skipped // accumulation, plan["updates"]):
            count = min(accumulation, plan["batches"] - update * accumulation)
            samples, items = self.get_batch_samples(batches, count)
            if not samples:
                break
            self.current_gradient_accumulation_steps = len(samples)
            self.control = self.callback_handler.on_step_begin(args, self.state, self.control)
            step_loss = 0.0
            for i, inputs in enumerate(samples):
                loss = self.training_step(self.model, inputs, items)
                step_loss += self._finite_loss(float(loss.item() if hasattr(loss, "item") else loss), inputs)
                self.current_flos += self.floating_point_ops(inputs)
                self._track_num_input_tokens(inputs)
                done += 1
                if i + 1 < len(samples):
                    self.control = self.callback_handler.on_substep_end(args, self.state, self.control)
            norm, rate = self._update(step_loss, samples[-1])
            self.state.epoch = epoch + done / plan["batches"]
            self.control = self.callback_handler.call_event("on_step_end", args, self.state, self.control, loss=step_loss)
            self._maybe_log_save_evaluate(norm, rate)
            self._answer_interrupt()
            if self.control.should_epoch_stop or self.control.should_training_stop:
                break
        if done == 0:
            hub.warn(f"Trainer: the training set gave no example in epoch {epoch}; training stops at step {self.state.global_step}")
            self.control.should_training_stop = True
        self.control = self.callback_handler.on_epoch_end(args, self.state, self.control)
        self._maybe_log_save_evaluate(norm, rate)

    def _update(self, step_loss: float, inputs: Any) -> tuple[float, float]:
        """Clips, steps and counts. Returns the norm of the gradients before clipping and the learning rate of the step."""
        from ..nn.utils import clip_grad_norm_

        args = self.args
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.scaler.unscale_(self.optimizer)
        norm = float(clip_grad_norm_(parameters, args.max_grad_norm if args.max_grad_norm > 0 else math.inf).item())
        is_finite = math.isfinite(norm) and math.isfinite(step_loss)
        if not is_finite and not args.fp16:
            place = broken_gradient(self.model) + broken_operation(self.model, self._prepare_inputs(inputs))
            raise FloatingPointError(f"[Trainer] step {self.state.global_step + 1}: {place} is NaN or infinite; the "
                                     "weights are those of the step before. A smaller learning rate or max_grad_norm may help; fp16=True "
                                     "skips such steps")
        self.control = self.callback_handler.on_pre_optimizer_step(args, self.state, self.control)
        if is_finite:
            self.optimizer.step()
        elif not self.scaler.is_enabled():  # where the loss is scaled, a scale is found by going down until gradients are finite
            hub.warn(f"Trainer: step {self.state.global_step + 1} gave NaN or Inf and is skipped")
        self.scaler.update()
        self.control = self.callback_handler.on_optimizer_step(args, self.state, self.control)
        rate = self._learning_rate()
        if is_finite and args.lr_scheduler_type not in BY_METRIC:
            self.lr_scheduler.step()
        self.model.zero_grad()
        self.state.global_step += 1
        if math.isfinite(step_loss) or not args.logging_nan_inf_filter:
            self._progress["loss"] += step_loss
            self._session_loss += step_loss
        else:
            self._progress["loss"] += self._progress["loss"] / max(1, self.state.global_step - self._progress["last_logged"])
        return norm, rate

    def _on_gpu(self) -> bool:
        return next((p.is_cuda for p in self.model.parameters()), False)

    def _finite_loss(self, loss: float, inputs: Any) -> float:
        if not math.isfinite(loss) and not self.args.fp16:
            place = first_not_finite(self.model, self._prepare_inputs(inputs))
            raise FloatingPointError(f"[Trainer] step {self.state.global_step + 1}: the loss is {loss}; {place} is the first that is NaN or "
                                     "infinite. fp16=True skips such steps")
        return loss

    def _answer_interrupt(self) -> None:
        """Saves and stops if a signal came."""
        if self._interrupts is None or not self._interrupts.requested:
            return
        if self.args.save_strategy != SaveStrategy.NO and self.state.global_step:
            path = os.path.join(self.args.output_dir, f"checkpoint-{self.state.global_step}")
            if not os.path.isdir(path):
                self._save_checkpoint()
            hub.warn(f"Trainer: interrupted at step {self.state.global_step}; train(resume_from_checkpoint=True) goes on from {path}")
        self.control.should_training_stop = True
        self._interrupts.act()

    # A step
    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: "int | None" = None) -> Any:
        """Forward and backward of one batch; returns its share of the step's loss."""
        model.train()
        inputs = self._prepare_inputs(inputs)
        if num_items_in_batch is not None and self.compute_loss_func is None and not count_labels(inputs, self._loss_shifts_labels):
            return 0.0  # no label to learn from: the mean over none is no number
        with self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
            scaled = self.loss_is_scaled_for_ga
            if scaled is None:
                scaled = (self.model_accepts_loss_kwargs and num_items_in_batch is not None) or self.compute_loss_func is not None
            if not scaled and self.current_gradient_accumulation_steps > 1:
                loss = loss / self.current_gradient_accumulation_steps
        self.scaler.scale(loss).backward()
        return loss.detach()

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """The loss of a batch, divided by num_items_in_batch where that is given; override it for a loss of your own.

        Such a loss sets loss_is_scaled_for_ga: False if it is a mean over its batch, True if it is divided by num_items_in_batch.
        Errors: ValueError if the model returns no loss.
        """
        labels = inputs.get("labels")
        needs_labels = getattr(getattr(unwrap(model), "config", None), "is_encoder_decoder", False) and inputs.get("decoder_input_ids") is None
        if (self.compute_loss_func is not None or self.args.label_smoothing_factor > 0) and labels is not None and not needs_labels:
            inputs = {k: v for k, v in inputs.items() if k != "labels"}
        counted = count_labels({"labels": labels}, self._loss_shifts_labels) if labels is not None else None
        if self.args.neftune_noise_alpha and getattr(model, "training", False):
            inputs = embedding_noise(model, inputs, self.args.neftune_noise_alpha)
        own = is_library_model(model)
        if num_items_in_batch is not None and self.model_accepts_loss_kwargs and not own:
            inputs = {**inputs, "num_items_in_batch": num_items_in_batch}
        outputs = model(**inputs)
        if self.compute_loss_func is not None:
            loss = self.compute_loss_func(outputs, labels, num_items_in_batch=num_items_in_batch)
        elif self.args.label_smoothing_factor > 0 and labels is not None:
            loss = smoothed_loss(outputs, labels, self.args.label_smoothing_factor, self._loss_shifts_labels, num_items_in_batch)
        else:
            loss = outputs.get("loss") if isinstance(outputs, dict) else outputs[0]
            if loss is None:
                raise ValueError(f"[Trainer] the model returned no loss, only {', '.join(outputs)}; it got {', '.join(inputs)}. "
                                 f"Expected a column of labels: {' or '.join(dict.fromkeys(['label', *self.label_names]))}")
            if own and num_items_in_batch and counted and counted != num_items_in_batch:
                loss = loss * (counted / num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def compute_loss_context_manager(self) -> Any:
        """autocast to float8 for fp8=True, to bfloat16 for bf16=True, and for fp16=True to float16 on a GPU, else to bfloat16 where the
        processor multiplies it."""
        from ..autocast_mode import autocast

        args = self.args
        if args.fp8 and self.is_in_train:
            return autocast("cpu", dtype="float8_e4m3fn", fp8_scaling=args.fp8_scaling)
        if args.fp16 or (args.fp16_full_eval and not self.is_in_train):
            if self._on_gpu():
                return autocast("cuda", dtype="float16")
            if not has_bfloat16():
                self._say("Trainer: fp16: this processor does not multiply bfloat16; computing in float32")
                return contextlib.nullcontext()
            self._say("Trainer: fp16: computing in bfloat16, which needs no scaling of the loss")
        elif not (args.bf16 or (args.bf16_full_eval and not self.is_in_train)):
            return contextlib.nullcontext()
        return autocast("cpu")

    autocast_smart_context_manager = compute_loss_context_manager

    def floating_point_ops(self, inputs: Any) -> float:
        """Operations of a training step on a batch, as Transformers estimates them."""
        return token_operations(self.model, inputs, main_input(self.model))

    def _track_num_input_tokens(self, inputs: Any) -> None:
        main = main_input(self.model)
        if self.args.include_num_input_tokens_seen == "no" or main not in inputs:
            return
        mask = inputs.get("attention_mask") if self.args.include_num_input_tokens_seen == "non_padding" else None
        self.state.num_input_tokens_seen += int(mask.sum()) if mask is not None else inputs[main].numel()

    # Between steps
    def _maybe_log_save_evaluate(self, norm: "float | None", rate: "float | None") -> None:
        steps = self.state.global_step - self._progress["last_logged"]
        if self.control.should_log and steps > 0:
            logs: dict[str, float] = {"loss": self._progress["loss"] / steps}
            if norm is not None:
                logs["grad_norm"] = norm
            logs["learning_rate"] = self._learning_rate() if rate is None else rate
            logs.update(router_logs(self.model))
            self._progress.update(loss=0.0, last_logged=self.state.global_step)
            self.store_flos()
            self.log(logs, self._start)
        if self.control.should_evaluate:
            is_best = self._determine_best_metric(self._evaluate())
            if self.args.save_strategy == SaveStrategy.BEST:
                self.control.should_save = is_best
        if self.control.should_save:
            self.store_flos()
            self._save_checkpoint()
            self.control = self.callback_handler.on_save(self.args, self.state, self.control)

    def _evaluate(self, skip_scheduler: bool = False) -> dict[str, float]:
        metrics = self.evaluate(ignore_keys=self._ignore_keys)
        if self.args.lr_scheduler_type in BY_METRIC and not skip_scheduler:
            self.lr_scheduler.step(self._metric_for_best(metrics))
        return metrics

    def _metric_for_best(self, metrics: dict[str, float]) -> float:
        name = self.args.metric_for_best_model
        name = name if name.startswith("eval_") else f"eval_{name}"
        if name not in metrics:
            raise KeyError(f"[Trainer] metric_for_best_model: expected one of {', '.join(metrics)}, got {name}")
        return metrics[name]

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any = None) -> bool:
        if self.args.metric_for_best_model is None:
            return False
        value, best = self._metric_for_best(metrics), self.state.best_metric
        if best is not None and not (value > best if self.args.greater_is_better else value < best):
            return False
        self.state.best_metric = value
        if self.args.save_strategy != SaveStrategy.NO:
            self.state.best_global_step = self.state.global_step
        return True

    def log(self, logs: dict[str, float], start_time: "float | None" = None) -> None:
        """Adds the epoch to logs, keeps them in state.log_history and gives them to callbacks."""
        if self.state.epoch is not None:
            logs["epoch"] = self.state.epoch
        if self.args.include_num_input_tokens_seen != "no":
            logs["num_input_tokens_seen"] = self.state.num_input_tokens_seen
            if start_time is not None:
                logs.update(speed_metrics("train", start_time,
                                          num_tokens=self.state.num_input_tokens_seen - self._initial_num_input_tokens_seen))
        self.state.log_history.append({**logs, "step": self.state.global_step})
        self.control = self.callback_handler.on_log(self.args, self.state, self.control, logs)

    def store_flos(self) -> None:
        """Adds the operations counted since to state.total_flos."""
        self.state.total_flos += self.current_flos
        self.current_flos = 0.0

    def _finish(self, plan: dict[str, Any], start: float, first_step: int) -> TrainOutput:
        steps = self.state.global_step - first_step
        loss = self._session_loss / max(steps, 0.001)
        metrics = speed_metrics("train", start, num_samples=plan["samples"] * steps / max(plan["max_steps"], 1), num_steps=steps)
        self.store_flos()
        metrics.update(total_flos=self.state.total_flos, train_loss=loss)
        self.is_in_train = False
        self.log(metrics)
        if self.args.load_best_model_at_end and self.state.best_model_checkpoint is not None:
            self._load_best_model()
        self._prune_at_end()
        self.control = self.callback_handler.on_train_end(self.args, self.state, self.control)
        return TrainOutput(self.state.global_step, loss, metrics)


def has_bfloat16() -> bool:
    """True if this processor multiplies bfloat16 matrices."""
    from .. import _core

    return _core.has_bfloat16()

