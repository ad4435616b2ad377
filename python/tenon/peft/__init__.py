"""Adapters with PEFT's names and files: LoRA, prompt tuning and prefix tuning. `import tenon.peft as peft` lets a PEFT script run."""
from __future__ import annotations

from typing import Any

from .._lazy import exports

_NAMES = {
    "config": "LoraConfig LoraRuntimeConfig PeftConfig PeftType PrefixTuningConfig PromptLearningConfig PromptTuningConfig PromptTuningInit TaskType "
              "PEFT_TYPE_TO_CONFIG_MAPPING get_peft_config",
    "lora": "LoraModel",
    "prompts": "PrefixEncoder PromptEmbedding",
    "model": "PeftModel PeftModelForCausalLM PeftModelForFeatureExtraction PeftModelForQuestionAnswering PeftModelForSeq2SeqLM "
             "PeftModelForSequenceClassification PeftModelForTokenClassification MODEL_TYPE_TO_PEFT_MODEL_MAPPING get_peft_model",
    "auto": "AutoPeftModel AutoPeftModelForCausalLM AutoPeftModelForFeatureExtraction AutoPeftModelForSeq2SeqLM "
            "AutoPeftModelForSequenceClassification",
    "state": "get_peft_model_state_dict load_peft_weights set_peft_model_state_dict",
    "helpers": "cast_mixed_precision_params inject_adapter_in_model prepare_model_for_kbit_training",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}
__version__ = "0.21.2"  # of PEFT, whose files these are
_get, __dir__, __all__ = exports(globals(), _HOME)


def __getattr__(name: str) -> Any:  # for type checkers a function
    return _get(name)
