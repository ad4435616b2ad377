"""generate(): options as GenerationConfig, processors and criteria of the caller, and what generation returns."""
from __future__ import annotations

import os
from typing import Any, Callable, Iterable

from . import _core, cache_utils, hub
from ._core import Tensor, dtype
from .conversion import as_tensor
from .generation_steps import Recorder, Steps
from .outputs import ModelOutput, first_tensor, ordered

# Options of Transformers without an effect on the answer, and those that this library lacks; the former are accepted.
_ACCEPTED = ("use_cache", "cache_config", "max_cache_len", "prefill_chunk_size", "compile_config", "disable_compile",
             "output_attentions", "output_hidden_states", "return_dict_in_generate", "num_assistant_tokens_schedule")
_LACKING = ("num_beam_groups", "diversity_penalty", "penalty_alpha", "dola_layers", "constraints", "force_words_ids", "token_healing",
            "watermarking_config", "low_memory", "assistant_early_exit", "assistant_ensemble_weight")
_METADATA = ("transformers_version", "_from_model_config")
_SAMPLING = {"temperature": 1.0, "top_k": 50, "top_p": 1.0, "min_p": None, "top_h": None, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0}


class GenerationConfig:
    """The options of generate() as attributes, under Transformers' names. None: not set, the model's or the usual value holds."""

    def __init__(self, **kwargs: Any) -> None:
        for name in option_names():
            self.__dict__[name] = None
        self.__dict__.update({name: value for name, value in kwargs.items() if name not in _METADATA})
        self.validate()

    def __getattr__(self, name: str) -> Any:  # only reached when there is no such attribute
        if name in _LACKING:
            return None
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def validate(self) -> None:
        """Errors: ValueError or TypeError naming the option that is out of range or contradicts another."""
        _core.check_generation(_plain(self.options()))

    def options(self) -> dict[str, Any]:
        """What is set and known."""
        known = frozenset((*option_names(), *_LACKING))
        return {name: value for name, value in self.__dict__.items() if value is not None and name in known}

    def update(self, **kwargs: Any) -> dict[str, Any]:
        """Takes over the options among kwargs and returns the rest."""
        known = frozenset((*self.__dict__, *_LACKING))
        self.__dict__.update({name: value for name, value in kwargs.items() if name in known})
        self.validate()
        return {name: value for name, value in kwargs.items() if name not in known}

    def to_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def to_diff_dict(self) -> dict[str, Any]:
        """What is set."""
        return {name: value for name, value in self.__dict__.items() if value is not None}

    def to_json_string(self) -> str:
        return _core.dump_json(_plain(self.to_diff_dict())) + "\n"

    @classmethod
    def from_dict(cls, values: dict[str, Any], **kwargs: Any) -> "GenerationConfig":
        return cls(**{**values, **kwargs})

    @classmethod
    def from_model_config(cls, model_config: Any) -> "GenerationConfig":
        """The options in a configuration of the model, as checkpoints without generation_config.json have them."""
        values = model_config if isinstance(model_config, dict) else model_config.to_dict()
        text = values.get("text_config")
        values = text if isinstance(text, dict) else values
        skipped = ("output_attentions", "output_hidden_states", "use_cache")
        known = [name for name in option_names() if name not in skipped]
        return cls(**{name: values[name] for name in known if values.get(name) is not None})

    @classmethod
    def from_pretrained(cls, pretrained_model_name: "str | os.PathLike[str]", config_file_name: str = "generation_config.json",
                        **kwargs: Any) -> "GenerationConfig":
        """Reads generation_config.json of a checkpoint. Errors: FileNotFoundError if it has none; ValueError; TypeError."""
        folder = hub.resolve(pretrained_model_name, **hub.split_arguments(kwargs))
        return cls.from_dict(_core.read_json(os.path.join(folder, config_file_name)), **kwargs)

    @classmethod
    def of_checkpoint(cls, folder: str, model_config: Any) -> "GenerationConfig":
        """What a checkpoint says: its generation_config.json, with tokens that have a role from the model's configuration where the
        file lacks them; without the file, what the model's configuration has."""
        base = cls.from_model_config(model_config)
        if not os.path.isfile(os.path.join(folder, "generation_config.json")):
            return base
        config = cls.from_pretrained(folder)
        for role in ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"):
            if getattr(config, role) is None:
                setattr(config, role, getattr(base, role))
        return config

    def save_pretrained(self, save_directory: "str | os.PathLike[str]", config_file_name: str = "generation_config.json", **kwargs: Any) -> None:
        """Writes generation_config.json into a folder, which is made if needed."""
        folder = os.fspath(save_directory)
        _core.make_folders(folder)
        _core.write_json(_plain(self.to_diff_dict()), os.path.join(folder, config_file_name))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GenerationConfig) and self.to_diff_dict() == other.to_diff_dict()

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"


def option_names() -> tuple[str, ...]:
    """The options of generate() that this library has."""
    return (*_core.generation_options(), *_ACCEPTED)


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Options as JSON has them: sequence_bias with tuples as keys becomes pairs, tensors become lists."""
    plain = {}
    for name, value in options.items():
        if name == "sequence_bias" and isinstance(value, dict):
            value = [[list(tokens), float(bias)] for tokens, bias in value.items()]
        plain[name] = value.tolist() if hasattr(value, "tolist") else value
    return plain


class LogitsProcessor:
    """What generate(logits_processor=) calls with ids (rows, tokens) and scores (rows, vocabulary); returns the new scores."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        raise NotImplementedError(f"[{type(self).__name__}] __call__ is for subclasses")


class LogitsProcessorList(list[Any]):
    """Processors that apply one after another."""

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        for processor in self:
            scores = processor(input_ids, scores, **kwargs)
        return scores


class StoppingCriteria:
    """What generate(stopping_criteria=) calls with ids (rows, tokens) and the scores so far (or None); returns whether each row, or all
    of them, are finished."""

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"[{type(self).__name__}] __call__ is for subclasses")


class StoppingCriteriaList(list[Any]):
    """Criteria of which any one ends a row."""

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        answers = [_answers(criterion(input_ids, scores, **kwargs), len(input_ids)) for criterion in self]
        return as_tensor([any(row) for row in zip(*answers)] if answers else [False] * len(input_ids))


def _answers(answer: Any, rows: int) -> list[bool]:
    values = answer.tolist() if hasattr(answer, "tolist") else answer
    return [bool(v) for v in values] if isinstance(values, (list, tuple)) else [bool(values)] * rows


def _processor(f: Callable[[Tensor, Tensor], Any]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda ids, scores: as_tensor(f(ids, scores))._to(dtype.float32)


def _criterion(f: Callable[..., Any]) -> Callable[[Tensor, list[Tensor]], list[bool]]:
    return lambda ids, scores: _answers(f(ids, tuple(scores) or None), len(ids))


class GenerateDecoderOnlyOutput(ModelOutput):
    fields = ("sequences", "scores", "logits", "attentions", "hidden_states", "past_key_values")


class GenerateEncoderDecoderOutput(ModelOutput):
    fields = ("sequences", "scores", "logits", "encoder_attentions", "encoder_hidden_states", "decoder_attentions", "cross_attentions",
              "decoder_hidden_states", "past_key_values")


class GenerateBeamDecoderOnlyOutput(ModelOutput):
    fields = ("sequences", "sequences_scores", "scores", "logits", "beam_indices", "attentions", "hidden_states", "past_key_values")


class GenerateBeamEncoderDecoderOutput(ModelOutput):
    fields = ("sequences", "sequences_scores", "scores", "logits", "beam_indices", "encoder_attentions", "encoder_hidden_states",
              "decoder_attentions", "cross_attentions", "decoder_hidden_states", "past_key_values")


# Arguments of generate() that are no options: what it does with them is in GenerationMixin.generate().
_INPUTS = ("input_ids", "attention_mask", "inputs_embeds", "encoder_outputs", "decoder_input_ids", "prefix_key_values", "prompt_embeds", "tokenizer")
_IGNORED = frozenset({"token_type_ids", "synced_gpus", "trust_remote_code", "return_dict", "assistant_tokenizer"})
_GENERATORS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "MTModel")


class GenerationMixin:
    """Gives models generate()."""

    _core: Any
    config: Any
    _generation_config: "GenerationConfig | None"

    @property
    def generation_config(self) -> GenerationConfig:
        """The options that hold where generate() is told nothing else: the checkpoint's."""
        if self._generation_config is None:
            self._generation_config = GenerationConfig.from_model_config(self.config)
        return self._generation_config

    @generation_config.setter
    def generation_config(self, config: GenerationConfig) -> None:
        self._generation_config = config

    def can_generate(self) -> bool:
        return type(self).__name__.endswith(_GENERATORS)

    def generate(self, inputs: Any = None, generation_config: "GenerationConfig | None" = None, logits_processor: "Iterable[Any] | None" = None,
                 stopping_criteria: "Iterable[Any] | None" = None, prefix_allowed_tokens_fn: "Callable[[int, Tensor], list[int]] | None" = None,
                 synced_gpus: "bool | None" = None, assistant_model: Any = None, streamer: Any = None, negative_prompt_ids: Any = None,
                 negative_prompt_attention_mask: Any = None, custom_generate: Any = None, **kwargs: Any) -> Any:
        """Continues prompts (B,T), or translates texts. kwargs: attention_mask, encoder_outputs, decoder_input_ids, tokenizer (for stop_strings),
        past_key_values, and the options of GenerationConfig, which go before generation_config and the model's own.

        past_key_values (decoders) hold the beginning of the prompt, which is not computed again; afterwards they hold all but the last token. The
        prompt may be given without what they hold, if attention_mask covers both.

        Returns ids (B * num_return_sequences, T), prompts included where the model is a decoder; with return_dict_in_generate=True an
        output with .sequences, .scores, .past_key_values, ..., and a tuple of .attentions and .hidden_states for each step if output_attentions
        and output_hidden_states ask for them: that takes as long again. Sampling follows tenon.manual_seed. Ctrl-C ends it.
        Errors: ValueError for options out of range or contradictory, an empty or too long prompt, NaN among the logits; TypeError for
        unknown arguments and for models that do not generate.
        """
        if custom_generate is not None:
            raise TypeError("[generate] custom_generate is not supported")
        past = cache_utils.take_past(self, kwargs)  # type: ignore[arg-type]
        arguments = {name: kwargs.pop(name, None) for name in _INPUTS}
        options = self._generation_options(generation_config, kwargs)
        if inputs is not None:
            if arguments["input_ids"] is not None:
                raise ValueError("[generate] the prompt is given twice: inputs and input_ids")
            arguments["input_ids"] = inputs
        if arguments["encoder_outputs"] is not None:
            arguments["encoder_outputs"] = first_tensor(arguments["encoder_outputs"])
        tensors = {name: as_tensor(value) for name, value in arguments.items() if value is not None and name != "tokenizer"}
        hooks: dict[str, Any] = {
            "logits_processors": [_processor(p) for p in logits_processor or ()],
            "stopping_criteria": [_criterion(c) for c in stopping_criteria or ()],
            "prefix_allowed_tokens_fn": _allowed(prefix_allowed_tokens_fn),
            "decode": _decoder(arguments["tokenizer"]),
            "seed": _next_seed() if options.get("do_sample") else 0,
            "decoder_input_ids": tensors.pop("decoder_input_ids", None),
            "negative_prompt_ids": None if negative_prompt_ids is None else as_tensor(negative_prompt_ids),
            "negative_prompt_attention_mask": None if negative_prompt_attention_mask is None else as_tensor(negative_prompt_attention_mask),
        }
        if assistant_model is not None:
            hooks["assistant"] = assistant_model._core
        if options.get("use_mtp"):
            hooks["mtp"] = self._mtp()
        as_dict = bool(options.pop("return_dict_in_generate", False))
        flags = tuple(bool(options.pop(name, False)) and as_dict for name in ("output_attentions", "output_hidden_states"))
        if not as_dict:
            options.update(output_scores=False, output_logits=False)
        prefixed = "prefix_key_values" in tensors or "prompt_embeds" in tensors
        if any(flags) and prefixed:
            raise ValueError("[generate] output_attentions and output_hidden_states: not with trained prompts")
        steps = Steps(self, dict(tensors), options, past)  # type: ignore[arg-type]
        beams, recorder = options.get("num_beams") or 1, Recorder()
        if any(flags) and beams > 1:
            hooks["logits_processors"].insert(0, recorder)
        given: dict[str, Any] = dict(tensors)
        if past is not None and past._past() is not None:
            given["past_key_values"] = past._past()
        if streamer is None:
            result = _core.generate(self._core, given, _plain(options), hooks)
        else:
            result = self._stream(streamer, given, options, hooks)
        sequences, prompt, core = result["sequences"], result.pop("prompt_length"), None
        if any(flags):
            ids = sequences.numpy()
            told = steps.replay(recorder.steps if beams > 1 else [ids[:, :n] for n in range(prompt, ids.shape[1])], beams, *flags)
            core = told.pop("past_key_values")
            result.update(told)
        if past is not None or (as_dict and not prefixed):
            result["past_key_values"] = steps.cache(sequences, prompt, None if beams > 1 else core)
        return self._output(result, options) if as_dict else sequences

    def _mtp(self) -> Any:
        """The block of the model's checkpoint that guesses the token after the next one. Errors: ValueError if it has none."""
        if self.__dict__.get("_mtp_core") is None:
            name = next((row[1] for row in _core.registry() if row[0] == self.config.model_type and row[1].endswith("MtpModel")), None)
            if name is None or not (self.config.name_or_path or ""):
                raise ValueError(f"[generate] use_mtp: expected a model opened from a checkpoint with a block for it, got {type(self).__name__}")
            options = _core.LoadOptions()
            options.class_name, options.precision = name, self._core.precision
            options.exact_products, options.fp8_rows = self.__dict__.get("_exact_products", False), self._core.fp8_rows
            self.__dict__["_mtp_core"] = _core.load(hub.resolve(self.config.name_or_path), options)[0]
        return self.__dict__["_mtp_core"]

    def _generation_options(self, given: "GenerationConfig | None", kwargs: dict[str, Any]) -> dict[str, Any]:
        known = frozenset((*option_names(), *_LACKING))
        unknown = [name for name, value in kwargs.items() if name not in known and name not in _IGNORED and value is not None]
        if unknown:
            raise TypeError(f"[generate] unknown arguments: {', '.join(sorted(unknown))}")
        own = {name: value for name, value in kwargs.items() if name in known}
        options = {**self.generation_config.options(), **(given.options() if given is not None else {}), **own}
        if not options.get("do_sample"):
            unused = [name for name, default in _SAMPLING.items() if name in own and own[name] not in (None, default)]
            if unused:
                hub.warn(f"generate: only used with do_sample=True: {', '.join(unused)}")
        return options

    def _stream(self, streamer: Any, tensors: dict[str, Any], options: dict[str, Any], hooks: dict[str, Any]) -> dict[str, Any]:
        if (options.get("num_beams") or 1) > 1:
            raise ValueError("[generate] a streamer cannot be used with num_beams > 1: beams change after the fact")
        prompt = hooks["decoder_input_ids"] if getattr(self.config, "is_encoder_decoder", False) else tensors.get("input_ids")
        if prompt is None:
            start = options.get("decoder_start_token_id", options.get("bos_token_id"))
            prompt = as_tensor([[start]]) if isinstance(start, int) else None
        hooks["on_tokens"] = lambda tokens: streamer.put(as_tensor(tokens))
        try:
            if prompt is not None:
                streamer.put(prompt)
            return _core.generate(self._core, tensors, _plain(options), hooks)
        finally:
            streamer.end()  # also after an error: another thread may be waiting for text

    def _output(self, result: dict[str, Any], options: dict[str, Any]) -> ModelOutput:
        encoder_decoder = bool(getattr(self.config, "is_encoder_decoder", False))
        if (options.get("num_beams") or 1) == 1:
            return ordered(GenerateEncoderDecoderOutput if encoder_decoder else GenerateDecoderOnlyOutput, result)
        if not options.get("output_scores"):
            result.pop("sequences_scores", None)
        return ordered(GenerateBeamEncoderDecoderOutput if encoder_decoder else GenerateBeamDecoderOnlyOutput, result)

    def compute_transition_scores(self, sequences: Any, scores: Any, beam_indices: Any = None, normalize_logits: bool = False) -> Tensor:
        """The score of each generated token, from the outputs of generate() with output_scores=True; 0 behind the end of a beam."""
        from ._lazy import np

        ids = np.asarray(as_tensor(sequences))
        steps = [np.asarray(as_tensor(s)) for s in scores]
        if normalize_logits:
            steps = [s - s.max(-1, keepdims=True) - np.log(np.exp(s - s.max(-1, keepdims=True)).sum(-1, keepdims=True)) for s in steps]
        rows = np.arange(ids.shape[0])[:, None].repeat(len(steps), 1) if beam_indices is None else np.asarray(as_tensor(beam_indices))
        length = int((rows >= 0).sum(-1).max())
        result = np.zeros((ids.shape[0], length), dtype=np.float32)
        for i in range(ids.shape[0]):
            for t in range(length):
                if rows[i, t] >= 0:
                    result[i, t] = steps[t][rows[i, t], ids[i, ids.shape[1] - length + t]]
        return as_tensor(result)


def _allowed(f: "Callable[[int, Tensor], Any] | None") -> "Callable[[int, Tensor], list[int]] | None":
    if f is None:
        return None

    def allowed(text: int, ids: Tensor) -> list[int]:
        tokens = f(text, ids)
        return tokens.tolist() if hasattr(tokens, "tolist") else list(tokens)

    return allowed


def _decoder(tokenizer: Any) -> "Callable[[list[int]], str] | None":
    return None if tokenizer is None else lambda ids: tokenizer.decode(ids, clean_up_tokenization_spaces=False)


def _next_seed() -> int:
    from .functions import randint

    return int(randint(0, 2**62, (1,)).item())
