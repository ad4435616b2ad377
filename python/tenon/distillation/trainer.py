"""A Trainer whose model learns from a teacher."""
from __future__ import annotations

from typing import Any

from .._core import Tensor
from .._lazy import np
from ..grad_mode import no_grad
from ..trainer import Trainer
from .loss import hidden_loss, soft_loss

_TEACHERS = "teacher_"  # columns with this prefix are the teacher's own inputs


class _Taught:
    """A data set whose rows hold the teacher's logits in place of the teacher's inputs."""

    def __init__(self, rows: Any, logits: Any) -> None:
        self.rows = rows
        self.logits = logits

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {**{k: v for k, v in self.rows[i].items() if not k.startswith(_TEACHERS)}, "teacher_logits": self.logits[i]}


class DistillationTrainer(Trainer):
    """Trainer with a teacher: loss = alpha * T^2 * KL + (1 - alpha) * the student's own loss + hidden_weight * (1 - cosine of hidden states).

    teacher: a model with the student's classes (or vocabulary), used without gradients; temperature and alpha: as distillation_loss();
    hidden_weight: of the last hidden states' cosine, which needs the teacher at every step; cache_teacher: the teacher answers each row
    of the training set once, before the first step (classifiers with a fixed data set). Rows may hold `teacher_input_ids`,
    `teacher_attention_mask`, ... where the teacher has another tokenizer, or its `teacher_logits`; the former need the cache.
    Errors: ValueError for alpha, temperature, and a teacher with other classes.
    """

    loss_is_scaled_for_ga = False  # the loss is a mean over its batch

    def __init__(self, *args: Any, teacher: Any = None, temperature: float = 2.0, alpha: float = 0.5, hidden_weight: float = 0.0,
                 cache_teacher: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if teacher is None:
            raise ValueError("[DistillationTrainer] expected a teacher")
        if not 0 <= alpha <= 1:
            raise ValueError(f"[DistillationTrainer] alpha: expected 0 to 1, got {alpha}")
        if not temperature > 0:
            raise ValueError(f"[DistillationTrainer] temperature: expected a positive number, got {temperature}")
        known, own = teacher.config.num_labels, self.model.config.num_labels
        if known != own and getattr(teacher, "main_input_name", "") and "ForCausalLM" not in type(teacher).__name__:
            raise ValueError(f"[DistillationTrainer] expected a teacher with the student's {own} classes, got {known}")
        self.teacher = teacher.eval()
        self.temperature, self.alpha, self.hidden_weight, self.cache_teacher = temperature, alpha, hidden_weight, cache_teacher

    def train(self, *args: Any, **kwargs: Any) -> Any:
        if self.cache_teacher and not self.hidden_weight and self._can_cache(self.train_dataset):
            logits = self._ask_teacher(self.train_dataset)
            if logits is not None:
                self.train_dataset = _Taught(self.train_dataset, logits)
        return super().train(*args, **kwargs)

    @staticmethod
    def _can_cache(rows: Any) -> bool:
        return hasattr(rows, "__len__") and len(rows) > 0 and isinstance(rows[0], dict) and "teacher_logits" not in rows[0]

    def _ask_teacher(self, rows: Any) -> Any:
        """The teacher's logits for every row, in batches of rows of like length; None if it gives more than one vector per row."""
        names = self.teacher.config.family.inputs
        own = any(key.startswith(_TEACHERS) for key in rows[0])
        prefix = _TEACHERS if own else ""
        order = sorted(range(len(rows)), key=lambda i: len(rows[i].get(prefix + "input_ids", ())))
        logits: Any = None
        size = max(1, self.args.eval_batch_size)
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            items = [{k.removeprefix(prefix): v for k, v in rows[i].items() if k.startswith(prefix)} for i in chosen]
            batch = self._teacher_batch([{k: v for k, v in item.items() if k in names and k != "labels"} for item in items])
            with no_grad():
                answer = np.asarray(self.teacher(**batch).logits.cpu(), dtype=np.float32)
            if answer.ndim != 2:
                if own:
                    raise ValueError(f"[DistillationTrainer] {_TEACHERS}...: a teacher with its own inputs must give one vector of logits per row")
                return None
            if logits is None:
                logits = np.empty((len(rows), *answer.shape[1:]), np.float32)
            logits[chosen] = answer
        return logits

    @staticmethod
    def _teacher_batch(items: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows side by side, padded with zeros on the right; the mask hides the padding."""
        width = max(len(item["input_ids"]) for item in items) if "input_ids" in items[0] else 0
        batch: dict[str, Any] = {}
        for key in items[0]:
            values = [np.asarray(item[key]) for item in items]
            batch[key] = np.stack([np.pad(v, (0, width - len(v))) for v in values] if width and values[0].ndim == 1 else values)
        if width and "attention_mask" not in batch:
            batch["attention_mask"] = np.stack([np.arange(width) < len(item["input_ids"]) for item in items]).astype(np.int64)
        return batch

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns = [*self._signature_columns, "teacher_logits"]

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """The student's loss and what the teacher adds to it."""
        inputs = dict(inputs)
        taught = inputs.pop("teacher_logits", None)
        if not model.training:  # while evaluating, the student's own loss counts
            return super().compute_loss(model, inputs, return_outputs)
        outputs = model(**inputs, **({"output_hidden_states": True} if self.hidden_weight else {}))
        teacher = None
        if taught is None or self.hidden_weight:
            with no_grad():
                teacher = self.teacher(**{k: v for k, v in inputs.items() if k != "labels"}, output_hidden_states=bool(self.hidden_weight))
            taught = teacher.logits
        taught = taught.to(outputs.logits.device)  # rows of the data set come from the host
        student_logits, teacher_logits = self._counted(outputs.logits, taught, inputs.get("labels"))
        loss = soft_loss(student_logits, teacher_logits, self.temperature)
        if outputs.loss is not None:
            loss = self.alpha * loss + (1 - self.alpha) * outputs.loss
        if self.hidden_weight and teacher is not None:
            loss = loss + self.hidden_weight * hidden_loss(outputs.hidden_states[-1], teacher.hidden_states[-1], inputs.get("attention_mask"))
        return (loss, outputs) if return_outputs else loss

    @staticmethod
    def _counted(student: Tensor, teacher: Tensor, labels: "Tensor | None") -> tuple[Tensor, Tensor]:
        """Both logits as rows; of language models those of positions whose label counts."""
        if student.ndim == 2:
            return student, teacher
        width = student.shape[-1]
        student, teacher = student.reshape(-1, width), teacher.reshape(-1, width)
        if labels is None or labels.numel() != student.shape[0]:
            return student, teacher
        real = labels.reshape(-1) != -100
        return student[real], teacher[real]
