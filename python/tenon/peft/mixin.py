"""What Transformers gives its models for adapters without PEFT's wrapper: load_adapter, set_adapter, ..."""
from __future__ import annotations

import os
from typing import Any


class AdapterMixin:
    """Gives models LoRA adapters that act in the model itself; see also get_peft_model."""

    _adapters: Any

    def load_adapter(self, peft_model_id: "str | os.PathLike[str]", adapter_name: "str | None" = None, is_trainable: bool = False,
                     **kwargs: Any) -> None:
        """Opens a LoRA adapter's folder; it acts from now on, alone.

        Errors: FileNotFoundError; ValueError for damaged files, for a name that is taken, and for an adapter of another architecture, naming
        the first module that does not fit.
        """
        import warnings

        from .. import hub
        from .attached import Attached

        folder = hub.resolve(peft_model_id, **hub.split_arguments(kwargs))
        name = adapter_name or "default"
        missing = Attached.of(self).load(name, folder)
        if missing:
            warnings.warn(f"Found missing adapter keys while loading the checkpoint: {missing}.")
        self.set_adapter(name)
        self._adapters.set_requires_grad(name, is_trainable)

    def add_adapter(self, adapter_config: Any, adapter_name: "str | None" = None) -> None:
        """A new LoRA adapter, which acts and is trained from now on; the model's own weights are frozen. Errors: as load_adapter()."""
        from .attached import Attached
        from .config import LoraConfig

        if not isinstance(adapter_config, LoraConfig):
            raise TypeError(f"[add_adapter] expected a LoraConfig, got {type(adapter_config).__name__}")
        name = adapter_name or "default"
        Attached.of(self).add(name, {**adapter_config.to_dict(), "base_model_name_or_path": adapter_config.base_model_name_or_path
                                     or self.name_or_path or None})  # type: ignore[attr-defined]
        for t in self._tensors().values():  # type: ignore[attr-defined]
            t.requires_grad = False
        self.set_adapter(name)
        self._adapters.set_requires_grad(name, True)

    def set_adapter(self, adapter_name: "str | list[str]") -> None:
        """Which adapters act from now on. Errors: ValueError."""
        self._some_adapters().choose([adapter_name] if isinstance(adapter_name, str) else list(adapter_name))

    def disable_adapters(self) -> None:
        self._some_adapters().enable(False)

    def enable_adapters(self) -> None:
        self._some_adapters().enable(True)

    def active_adapters(self) -> "list[str]":
        return list(self._some_adapters().chosen)

    def delete_adapter(self, adapter_names: "str | list[str]") -> None:
        """Errors: ValueError."""
        names = [adapter_names] if isinstance(adapter_names, str) else list(adapter_names)
        self._some_adapters()._known(names)
        for name in names:
            self._adapters.remove(name)

    def get_adapter_state_dict(self, adapter_name: "str | None" = None, state_dict: Any = None) -> "dict[str, Any]":
        """The tensors of an adapter by the names that its file has."""
        adapters = self._some_adapters()
        return {name: t.detach() for name, t in adapters.state(adapter_name or adapters.chosen[0]).items()}

    def _some_adapters(self) -> Any:
        if self._adapters is None:
            raise ValueError(f"[{type(self).__name__}] no adapter is loaded")
        return self._adapters

    def _save_adapters(self, folder: str) -> None:
        """Writes the adapters instead of the model, "default" into the folder, others into folders of their names."""
        for name in self._adapters.entries:
            values = {**self._adapters.core.config(name), "inference_mode": True}
            self._adapters.core.set_config(name, values)
            self._adapters.core.save(name, folder if name == "default" else os.path.join(folder, name))


def load_with_adapter(class_name: str, path: Any, folder: str, kwargs: "dict[str, Any]") -> Any:
    """from_pretrained for an adapter's folder: the model that it names, with the adapter."""
    from ..modeling import load_model
    from .auto import base_of
    from .config import PeftConfig

    config = PeftConfig.from_pretrained(folder)
    if config.is_prompt_learning:
        raise ValueError(f"[from_pretrained] {path}: virtual tokens need PeftModel; tenon.AutoPeftModelForCausalLM.from_pretrained opens them")
    model = load_model(class_name, base_of(folder, config), kwargs)
    (model[0] if isinstance(model, tuple) else model).load_adapter(folder)
    return model
