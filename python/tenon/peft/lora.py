"""LoraModel: a model with LoRA adapters, as PEFT wraps it."""
from __future__ import annotations

from typing import Any, Iterator

from ..conversion import Tensor, wrap
from ..grad_mode import no_grad
from ..nn.module import Module
from .attached import Attached
from .config import LoraConfig


class LoraModel(Module):
    """Wraps a model whose layers got low-rank factors. Attributes that it lacks are the model's."""

    prefix = "lora_"

    def __init__(self, model: Any, config: "LoraConfig | dict[str, LoraConfig]", adapter_name: str = "default", **kwargs: Any) -> None:
        super().__init__()
        self.model = model
        self.peft_config: dict[str, LoraConfig] = {}
        configs = config if isinstance(config, dict) else {adapter_name: config}
        for name, c in configs.items():
            self.add_adapter(name, c)
        for t in model._tensors().values():
            t.requires_grad = False
        self.set_adapter(adapter_name, inference_mode=configs[adapter_name].inference_mode)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "model":
                raise
            return getattr(self.model, name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.model(*args, **kwargs)

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        return self.model.generate(*args, **kwargs)

    @property
    def adapters(self) -> Attached:
        return Attached.of(self.model)

    @property
    def active_adapters(self) -> "list[str]":
        return list(self.adapters.chosen)

    @property
    def active_adapter(self) -> "list[str]":
        return self.active_adapters

    def add_adapter(self, adapter_name: str, config: LoraConfig, folder: "str | None" = None) -> "list[str]":
        """Adds an adapter, new or of a folder, that does not act yet; returns the tensors that the folder lacks."""
        missing: list[str] = []
        if folder is None:
            self.adapters.add(adapter_name, config.to_dict())
        else:
            missing = self.adapters.load(adapter_name, folder)
        stored = self.adapters.core.config(adapter_name)
        targets = sorted({e.module.rpartition(".")[2] for e in self.adapters.entries[adapter_name] if not e.saved})
        if config.target_modules is None or stored.get("target_modules") != config.to_dict()["target_modules"]:
            given = stored.get("target_modules")
            config.target_modules = given if isinstance(given, str) else set(given or targets)
        elif isinstance(config.target_modules, str) and config.target_modules.lower() == "all-linear":
            config.target_modules = set(targets)
        for name in ("rank_pattern", "alpha_pattern"):
            setattr(config, name, stored.get(name) or {})
        config.target_parameters = stored.get("target_parameters")
        if self.model.config.model_type == "gpt2":
            config.fan_in_fan_out = True
        self.peft_config[adapter_name] = config
        return missing

    def set_adapter(self, adapter_name: "str | list[str]", inference_mode: bool = False) -> None:
        """From now on these adapters act, and they alone want gradients (none with inference_mode). Errors: ValueError."""
        names = [adapter_name] if isinstance(adapter_name, str) else list(adapter_name)
        self.adapters.choose(names)
        for name in self.adapters.entries:
            self.adapters.set_requires_grad(name, name in names and not inference_mode)

    def set_requires_grad(self, adapter_names: "str | list[str]", requires_grad: bool = True) -> None:
        for name in [adapter_names] if isinstance(adapter_names, str) else adapter_names:
            self.adapters._known([name])
            self.adapters.set_requires_grad(name, requires_grad)

    def disable_adapter_layers(self) -> None:
        self.adapters.enable(False)

    def enable_adapter_layers(self) -> None:
        self.adapters.enable(True)

    def delete_adapter(self, adapter_name: str) -> None:
        """Errors: ValueError if there is none of that name."""
        self.adapters._known([adapter_name])
        was_active = adapter_name in self.active_adapters
        self.adapters.remove(adapter_name)
        del self.peft_config[adapter_name]
        if was_active and not self.adapters.chosen and self.peft_config:
            self.set_adapter(next(iter(self.peft_config)))

    # Merging
    def merge_adapter(self, adapter_names: "list[str] | None" = None, safe_merge: bool = False) -> None:
        """Adds adapters (the active ones) into the weights. With safe_merge, ValueError if a weight would not be finite."""
        names = self.active_adapters if adapter_names is None else list(adapter_names)
        before = list(self.adapters.core.merged)
        self.adapters.merge(names)
        if safe_merge and not self._finite():
            self.adapters.unmerge()
            self.adapters.merge(before)
            raise ValueError(f"[merge_adapter] NaN or infinite weights in the merged model; the adapters {', '.join(names)} seem to be broken")

    def unmerge_adapter(self) -> None:
        """Gives the former weights back, to the bit."""
        self.adapters.unmerge()

    def merge_and_unload(self, progressbar: bool = False, safe_merge: bool = False, adapter_names: "list[str] | None" = None) -> Any:
        """The model itself with the adapters added into its weights."""
        self.merge_adapter(adapter_names, safe_merge)
        return self.unload()

    def unload(self) -> Any:
        """The model itself without adapters; of modules_to_save it keeps the active adapter's."""
        self.adapters.leave()
        self.peft_config.clear()
        return self.model

    def _finite(self) -> bool:
        from .. import isfinite

        layers = {f"{e.module}.weight" for entries in self.adapters.entries.values() for e in entries if not e.saved}
        return all(bool(isfinite(t).all()) for name, t in self.model._tensors().items() if name in layers)

    def add_weighted_adapter(self, adapters: "list[str]", weights: "list[float]", adapter_name: str, combination_type: str = "svd",
                             svd_rank: "int | None" = None, **kwargs: Any) -> None:
        """A new adapter from several.

        combination_type: "linear" (sums of the factors, all of one rank), "cat" (the factors side by side: exactly the weighted sum of
        the effects), "svd" (the best approximation of that sum of rank svd_rank, the largest of theirs by default).
        Errors: ValueError for other combinations, ranks that differ, and names that are not known or taken.
        """
        from .combine import combined

        combined(self, adapters, weights, adapter_name, combination_type, svd_rank)

    def named_adapter_tensors(self, adapter_name: str) -> "Iterator[tuple[str, Tensor]]":
        yield from self.adapters.state(adapter_name).items()

    def _assign(self, adapter_name: str, values: "dict[str, Any]") -> None:
        with no_grad():
            self.adapters.assign(adapter_name, {k: wrap(v) for k, v in values.items()})
