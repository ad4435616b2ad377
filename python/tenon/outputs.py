"""What models return: a dict, an object with attributes and a tuple in one, as Transformers' ModelOutput."""
from __future__ import annotations

from typing import Any, ClassVar


class ModelOutput(dict):
    """Holds what the model computed. A field of the class that was not computed is None as an attribute and absent as a key."""

    fields: ClassVar[tuple[str, ...]] = ()

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return super().__getitem__(name)
        if name in self.fields:
            return None
        if name == "cache" and "past_key_values" in self.fields:  # the newer name
            return self.get("past_key_values")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __getitem__(self, key: Any) -> Any:
        """By name, or by position among the fields that are there."""
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def to_tuple(self) -> tuple[Any, ...]:
        """The fields that are there, in order."""
        return tuple(self.values())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.items())})"

    def __reduce__(self) -> Any:
        return type(self), (dict(self),)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.fields]


class BaseModelOutput(ModelOutput):
    fields = ("last_hidden_state", "hidden_states", "attentions")


class BaseModelOutputWithPast(ModelOutput):
    fields = ("last_hidden_state", "past_key_values", "hidden_states", "attentions")


class MoeModelOutputWithPast(ModelOutput):
    fields = ("last_hidden_state", "past_key_values", "hidden_states", "attentions", "router_logits")


class BaseModelOutputWithPooling(ModelOutput):
    fields = ("last_hidden_state", "pooler_output", "hidden_states", "attentions")


class SequenceClassifierOutput(ModelOutput):
    fields = ("loss", "logits", "hidden_states", "attentions")


class MaskedLMOutput(ModelOutput):
    fields = ("loss", "logits", "hidden_states", "attentions")


class CausalLMOutputWithPast(ModelOutput):
    fields = ("loss", "logits", "past_key_values", "hidden_states", "attentions")


class MoeCausalLMOutputWithPast(ModelOutput):
    fields = ("loss", "aux_loss", "logits", "past_key_values", "hidden_states", "attentions", "router_logits")


class Seq2SeqModelOutput(ModelOutput):
    fields = ("last_hidden_state", "past_key_values", "decoder_hidden_states", "decoder_attentions", "cross_attentions",
              "encoder_last_hidden_state", "encoder_hidden_states", "encoder_attentions")


class Seq2SeqLMOutput(ModelOutput):
    fields = ("loss", "logits", *Seq2SeqModelOutput.fields[1:])


class ImageClassifierOutput(ModelOutput):
    fields = ("loss", "logits", "hidden_states", "attentions")


class CLIPOutput(ModelOutput):
    fields = ("loss", "logits_per_image", "logits_per_text", "text_embeds", "image_embeds", "text_model_output", "vision_model_output")


class CLIPTextModelOutput(ModelOutput):
    fields = ("text_embeds", "last_hidden_state", "hidden_states", "attentions")


class CLIPVisionModelOutput(ModelOutput):
    fields = ("image_embeds", "last_hidden_state", "hidden_states", "attentions")


_BY_CLASS: dict[str, type[ModelOutput]] = {"CLIPModel": CLIPOutput, "CLIPTextModelWithProjection": CLIPTextModelOutput, "CLIPVisionModelWithProjection": CLIPVisionModelOutput,
             "DistilBertModel": BaseModelOutput, "MarianMTModel": Seq2SeqLMOutput,
             **dict.fromkeys(("MarianModel", "M2M100Model", "T5Model", "MT5Model"), Seq2SeqModelOutput),
             **dict.fromkeys(("T5EncoderModel", "MT5EncoderModel"), BaseModelOutput)}
_BY_HEAD: dict[str, type[ModelOutput]] = {"ForSequenceClassification": SequenceClassifierOutput, "ForMaskedLM": MaskedLMOutput, "ForImageClassification": ImageClassifierOutput,
                                            "ForConditionalGeneration": Seq2SeqLMOutput}


_MIXTURES = ("Mixtral", "Olmoe", "Qwen2Moe", "Qwen3Moe", "Deepseek")
_DECODERS = ("GPT2Model", "LlamaModel", "MistralModel", "Qwen2Model", "Qwen3Model")


def output_class(class_name: str) -> type[ModelOutput]:
    """The class of what a model class returns."""
    if class_name.endswith(("ForCausalLM", "LMHeadModel")):
        return MoeCausalLMOutputWithPast if class_name.startswith(_MIXTURES) else CausalLMOutputWithPast
    for head, output in _BY_HEAD.items():
        if class_name.endswith(head):
            return output
    if class_name in _DECODERS:
        return BaseModelOutputWithPast
    if class_name.startswith(_MIXTURES):
        return MoeModelOutputWithPast
    return _BY_CLASS.get(class_name, BaseModelOutputWithPooling)


def ordered(cls: type[ModelOutput], values: dict[str, Any]) -> ModelOutput:
    """An output whose fields stand in the order of its class."""
    return cls({**{name: values[name] for name in cls.fields if name in values}, **values})


def first_tensor(outputs: Any) -> Any:
    """last_hidden_state of an output, a dict or a tuple; a tensor as it is."""
    if isinstance(outputs, dict):
        return outputs["last_hidden_state"]
    return outputs[0] if isinstance(outputs, (tuple, list)) else outputs
