"""Teachers for mixtures: the same weights routed densely, one teacher for each domain, and experts named for domains."""
from __future__ import annotations

from typing import Any, Mapping, Sequence

from .._core import Tensor
from .._lazy import np
from ..conversion import as_tensor
from ..distillation.loss import soft_loss
from ..grad_mode import no_grad
from ..nn import functional
from ..trainer import Trainer
from .mixin import has_experts


class ExpertDistillationTrainer(Trainer):
    """Trainer whose loss is the model's own + kl_weight * T^2 KL(teacher || model) + hidden_weight * mean squared error of hidden states.

    teacher: None: the model itself with the same weights, each token going to teacher_active_experts (None: to all), without gradients;
    a model with the same vocabulary; or a dict of them by domain, each of which teaches the rows of its domain alone.
    experts_of_domains: {domain: expert}, or {domain: (first, second, ...)}: the routers are taught, with weight router_weight, to send a domain's
    tokens to its experts, the first of them first: of two the first is the target of two tokens in three. Domains that own as many experts as
    are active load all experts alike.
    temperature: T. Rows have a column "domain", a whole number, where domains matter; a padded position teaches nothing.
    hidden_weight needs a teacher as wide and as deep as the model, or the model itself.
    Errors: ValueError for weights, a domain without a teacher and an expert that the model lacks; TypeError for a model without experts where
    they are named.
    """

    loss_is_scaled_for_ga = False

    def __init__(self, *args: Any, teacher: "Any | Mapping[int, Any] | None" = None, teacher_active_experts: "int | None" = None,
                 experts_of_domains: "Mapping[int, int | Sequence[int]] | None" = None, temperature: float = 2.0, kl_weight: float = 1.0, hidden_weight: float = 0.0,
                 router_weight: float = 0.1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, value in (("kl_weight", kl_weight), ("hidden_weight", hidden_weight), ("router_weight", router_weight)):
            if not 0 <= value < float("inf"):
                raise ValueError(f"[ExpertDistillationTrainer] {name}: expected 0 or more, got {value}")
        if not temperature > 0:
            raise ValueError(f"[ExpertDistillationTrainer] temperature: expected a positive number, got {temperature}")
        self.teachers = dict(teacher) if isinstance(teacher, Mapping) else teacher
        for each in self.teachers.values() if isinstance(self.teachers, dict) else [t for t in (self.teachers,) if t is not None]:
            if each.config.vocab_size != self.model.config.vocab_size:
                raise ValueError(f"[ExpertDistillationTrainer] expected a teacher with the model's vocabulary of {self.model.config.vocab_size}, "
                                 f"got {each.config.vocab_size}")
            if hidden_weight:
                shapes = [(c.hidden_size, c.num_hidden_layers) for c in (self.model.config, each.config)]
                if shapes[0] != shapes[1]:
                    raise ValueError("[ExpertDistillationTrainer] hidden_weight: expected a teacher as wide and as deep as the model, {} with {} layers, "
                                     "got {} with {}".format(*shapes[0], *shapes[1]))
            each.eval()
        if (teacher is None and (kl_weight or hidden_weight)) or experts_of_domains:
            if not has_experts(self.model):
                raise TypeError(f"[{type(self.model).__name__}] it has no experts to route to")
        self.teacher_active_experts = teacher_active_experts
        self.experts_of_domains = {int(d): [int(i) for i in ([e] if isinstance(e, int) else e)] for d, e in (experts_of_domains or {}).items()}
        if self.experts_of_domains:
            config = self.model.config
            experts = int(getattr(config, "num_experts", None) or config.n_routed_experts)
            wrong = [e for own in self.experts_of_domains.values() for e in own or [-1] if not 0 <= e < experts]
            if wrong:
                raise ValueError(f"[ExpertDistillationTrainer] experts_of_domains: expected 0 to {experts - 1}, got {wrong[0]}")
            self.model.set_routing(router_target=router_weight)
        self.temperature, self.kl_weight, self.hidden_weight = temperature, kl_weight, hidden_weight

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns = [*self._signature_columns, "domain"]

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """The model's loss and what its teachers add to it; while evaluating, the model's own loss."""
        inputs = dict(inputs)
        domain = inputs.pop("domain", None)
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs)
        extra: dict[str, Any] = {}
        if self.experts_of_domains:
            extra["router_targets"] = self._targets(inputs, domain)
        teaches = self.kl_weight > 0 or self.hidden_weight > 0
        if self.hidden_weight:
            extra["output_hidden_states"] = True
        outputs = model(**inputs, **extra)
        loss = outputs.loss
        if teaches:
            logits, hidden, rows = self._ask(model, {k: v for k, v in inputs.items() if k != "labels"}, domain)
            places = self._places(inputs, rows)
            width = outputs.logits.shape[-1]
            if self.kl_weight:
                student = outputs.logits.reshape(-1, width)[places]
                loss = loss + self.kl_weight * soft_loss(student, logits.reshape(-1, width)[places], self.temperature)
            if self.hidden_weight:
                for own, theirs in zip(outputs.hidden_states[1:], hidden[1:]):
                    size = own.shape[-1]
                    error = functional.mse_loss(own.reshape(-1, size)[places], theirs.reshape(-1, size)[places])
                    loss = loss + (self.hidden_weight / (len(hidden) - 1)) * error
        return (loss, outputs) if return_outputs else loss

    def _targets(self, inputs: dict[str, Any], domain: Any) -> Tensor:
        """(B,T) the expert of each row's domain, -100 where it has none."""
        if domain is None:
            raise ValueError('[ExpertDistillationTrainer] experts_of_domains: expected a column "domain" in the training set')
        shape = tuple(inputs["input_ids"].shape)
        table = np.full(shape, -100, np.int64)
        for row, d in zip(table, np.asarray(domain).reshape(-1)):
            own = self.experts_of_domains.get(int(d))
            if own is not None:  # of n experts the first is the target n times, the second n - 1 times, ... one position after another
                turns = [e for i, e in enumerate(own) for _ in range(len(own) - i)]
                row[:] = np.resize(turns, shape[1])
        return as_tensor(table)

    def _ask(self, model: Any, inputs: dict[str, Any], domain: Any) -> tuple[Any, Any, Any]:
        """The teachers' logits and hidden states, and which rows they answered (None: all)."""
        options = {"output_hidden_states": bool(self.hidden_weight), "use_cache": False}
        if not isinstance(self.teachers, dict):
            with no_grad():
                if self.teachers is not None:
                    answer = self.teachers(**inputs, **options)
                    return answer.logits, answer.hidden_states, None
                config = model.config
                count = self.teacher_active_experts or int(getattr(config, "num_experts", None) or config.n_routed_experts)
                model.eval()
                try:
                    with model.active_experts(count):
                        answer = model(**inputs, **options)
                finally:
                    model.train()
                return answer.logits, answer.hidden_states, None
        if domain is None:
            raise ValueError('[ExpertDistillationTrainer] teachers by domain: expected a column "domain" in the training set')
        kinds = np.asarray(domain).reshape(-1)
        unknown = sorted({int(d) for d in kinds} - set(self.teachers))
        if unknown:
            raise ValueError(f"[ExpertDistillationTrainer] there is no teacher for domain {unknown[0]}")
        logits: Any = None
        hidden: list[Any] = []
        for d in sorted({int(d) for d in kinds}):
            chosen = np.flatnonzero(kinds == d)
            part = {k: as_tensor(np.ascontiguousarray(np.asarray(v)[chosen])) for k, v in inputs.items()}
            with no_grad():
                answer = self.teachers[d](**part, **options)
            values = np.asarray(answer.logits)
            if logits is None:
                logits = np.zeros((len(kinds), *values.shape[1:]), np.float32)
                hidden = [np.zeros((len(kinds), *h.shape[1:]), np.float32) for h in answer.hidden_states or ()]
            logits[chosen] = values
            for to, h in zip(hidden, answer.hidden_states or ()):
                to[chosen] = np.asarray(h)
        return as_tensor(logits), [as_tensor(h) for h in hidden], None

    @staticmethod
    def _places(inputs: dict[str, Any], rows: Any) -> Tensor:
        """The flat positions that are text."""
        mask = inputs.get("attention_mask")
        shape = tuple(inputs["input_ids"].shape)
        real = np.ones(shape, bool) if mask is None else np.asarray(mask) != 0
        return as_tensor(np.flatnonzero(real.reshape(-1)).astype(np.int64))
