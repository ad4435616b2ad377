"""Pipelines that write text: continuation and chat, translation, summaries."""
from __future__ import annotations

import re
from typing import Any, ClassVar

from ..conversion import as_tensor
from ..generation import option_names
from .base import Pipeline

_LACKED = ("generation_config", "logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn", "assistant_model", "streamer")
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff")
_TOKENIZER_OPTIONS = ("add_special_tokens", "truncation", "tokenizer_encode_kwargs")


class _GeneratingPipeline(Pipeline):
    """What pipelines with generate() share. Calls take its options too."""

    own_options: ClassVar[tuple[str, ...]] = ()
    generation_defaults: ClassVar[dict[str, Any]] = {}  # for what neither the caller nor the checkpoint says
    padding_left: ClassVar[bool] = True

    def _checked(self, options: dict[str, Any]) -> dict[str, Any]:
        known = (*self.own_options, *_TOKENIZER_OPTIONS, *_LACKED, *option_names())
        unknown = [name for name in options if name not in known]
        if unknown:
            raise TypeError(f"[{self.task}] unknown arguments: {', '.join(sorted(unknown))}; known are {', '.join(self.own_options)} and those of generate()")
        return options

    def _run(self, inputs: Any, size: int, options: dict[str, Any]) -> Any:
        alone = options.get("streamer") is not None or options.get("prompt_lookup_num_tokens") or options.get("assistant_model") is not None
        return super()._run(inputs, 1 if alone else size, options)

    def _generate_options(self, options: dict[str, Any]) -> dict[str, Any]:
        names = (*_LACKED, *option_names())
        given = {name: value for name, value in options.items() if name in names and name != "return_dict_in_generate"}
        config = given.get("generation_config")
        said = {**self.model.generation_config.to_diff_dict(), **(config.to_diff_dict() if config is not None else {}), **given}
        added = {name: value for name, value in self.generation_defaults.items()
                 if name not in said and not (name == "max_new_tokens" and "max_length" in said)}
        if "pad_token_id" not in said and self.tokenizer.pad_token_id is not None:
            added["pad_token_id"] = self.tokenizer.pad_token_id
        if not {**said, **added}.get("do_sample"):
            added = {name: value for name, value in added.items() if name not in _SAMPLING}
        return {**added, **given, "tokenizer": self.tokenizer}

    def _encode(self, text: str, options: dict[str, Any]) -> list[int]:
        arguments = {name: options[name] for name in ("add_special_tokens", "truncation") if options.get(name) is not None}
        if arguments.get("truncation") and options.get("max_length") is not None:
            arguments["max_length"] = options["max_length"]
        return list(self.tokenizer(text, **{**arguments, **(options.get("tokenizer_encode_kwargs") or {})})["input_ids"])

    def _generate(self, prompts: list[list[int]], options: dict[str, Any]) -> tuple[list[list[list[int]]], int]:
        """Answers of each prompt with the prompt's part, and the length of that part. The mask tells where padding is: no padding token
        is needed, which many decoders lack."""
        arguments = self._generate_options(options)
        pad = arguments.get("pad_token_id") or 0
        length = max(map(len, prompts))
        if length == 0 and len(prompts) == 1:
            ids = self.model.generate(**arguments)
        else:
            fill = [[pad] * (length - len(p)) for p in prompts]
            masks = [[0] * len(f) for f in fill]
            if self.padding_left:
                rows, mask = [f + p for f, p in zip(fill, prompts)], [m + [1] * len(p) for m, p in zip(masks, prompts)]
            else:
                rows, mask = [p + f for f, p in zip(fill, prompts)], [[1] * len(p) + m for m, p in zip(masks, prompts)]
            ids = self.model.generate(as_tensor(rows), attention_mask=as_tensor(mask), **arguments)
        answers = ids.tolist()
        each = len(answers) // len(prompts)
        return [answers[i * each : (i + 1) * each] for i in range(len(prompts))], length

    def _decode(self, ids: list[int], options: dict[str, Any]) -> str:
        skip = options.get("skip_special_tokens")
        return str(self.tokenizer.decode(ids, skip_special_tokens=True if skip is None else skip,
                                         clean_up_tokenization_spaces=options.get("clean_up_tokenization_spaces")))


class TextGenerationPipeline(_GeneratingPipeline):
    """[{"generated_text": ...}] per prompt, one for each answer: the prompt and its continuation, or with return_full_text=False what is
    new. A chat, [{"role", "content"}, ...], gives the chat with the answer; its last message is continued if the assistant wrote it.

    Unless the caller or the checkpoint says otherwise, texts are sampled with temperature 0.7, at most 256 tokens.
    """

    task = "text-generation"
    own_options = ("return_full_text", "return_tensors", "return_text", "clean_up_tokenization_spaces", "skip_special_tokens", "prefix",
                   "handle_long_generation", "stop_sequence", "continue_final_message", "tools", "documents", "padding")
    generation_defaults = {"max_new_tokens": 256, "do_sample": True, "temperature": 0.7}

    def _is_single(self, inputs: Any) -> bool:
        return super()._is_single(inputs) or _is_chat(inputs)

    def _checked(self, options: dict[str, Any]) -> dict[str, Any]:
        options = dict(super()._checked(options))
        if options.get("return_full_text") is not None and (options.get("return_tensors") or options.get("return_text") is not None):
            raise ValueError(f"[{self.task}] return_full_text contradicts return_tensors and return_text")
        stop = options.pop("stop_sequence", None)
        if stop is not None:
            options["stop_strings"] = [stop] if isinstance(stop, str) else list(stop)
        return options

    def process(self, items: list[Any], options: dict[str, Any]) -> list[Any]:
        prompts = [self._prompt(item, options) for item in items]
        if options.get("handle_long_generation") is not None:
            prompts = [self._shortened(p, options) for p in prompts]
        if len(prompts) > 1 and not all(prompts):  # an empty prompt starts from the bos token, alone
            return [result for item in items for result in self.process([item], options)]
        answers, length = self._generate(prompts, options)
        return [[self._record(item, ids, length, options) for ids in rows] for item, rows in zip(items, answers)]

    def _prompt(self, item: Any, options: dict[str, Any]) -> list[int]:
        if isinstance(item, str):
            return self._encode((options.get("prefix") or "") + item, options)
        if not _is_chat(item):
            raise ValueError(f"[{self.task}] expected a text or a chat (a list of {{\"role\", \"content\"}}), got {type(item).__name__}")
        goes_on = self._continues(item, options)
        ids = self.tokenizer.apply_chat_template(item, tools=options.get("tools"), documents=options.get("documents"), tokenize=True,
                                                 add_generation_prompt=not goes_on, continue_final_message=goes_on, return_dict=False)
        return list(ids)

    def _continues(self, chat: list[dict[str, Any]], options: dict[str, Any]) -> bool:
        told = options.get("continue_final_message")
        return chat[-1]["role"] == "assistant" if told is None else bool(told)

    def _shortened(self, ids: list[int], options: dict[str, Any]) -> list[int]:
        if options["handle_long_generation"] != "hole":
            raise ValueError(f"[{self.task}] handle_long_generation: expected \"hole\", got {options['handle_long_generation']!r}")
        arguments = self._generate_options(options)
        new = arguments.get("max_new_tokens") or max(0, (arguments.get("max_length") or 20) - len(ids))
        room = self.tokenizer.model_max_length - new
        if room <= 0:
            raise ValueError(f"[{self.task}] {new} new tokens leave no room for a prompt in {self.tokenizer.model_max_length}")
        return ids[-room:]

    def _record(self, item: Any, ids: list[int], length: int, options: dict[str, Any]) -> dict[str, Any]:
        if options.get("return_tensors"):
            return {"generated_token_ids": ids}
        # Decoded together with the prompt: many decoders drop the space before a first word.
        before, everything = self._decode(ids[:length], options), self._decode(ids, options)
        new = everything[len(before):] if everything.startswith(before) else self._decode(ids[length:], options)
        if options.get("return_full_text") is False:
            return {"generated_text": new}
        if isinstance(item, str):
            return {"generated_text": item + new}
        if self._continues(item, options):
            return {"generated_text": [*item[:-1], {**item[-1], "content": item[-1]["content"] + new}]}
        return {"generated_text": [*item, {"role": "assistant", "content": new}]}


def _is_chat(item: Any) -> bool:
    return isinstance(item, (list, tuple)) and bool(item) and all(isinstance(m, dict) and "role" in m and "content" in m for m in item)


class Text2TextGenerationPipeline(_GeneratingPipeline):
    """[{"generated_text": ...}] per text: what an encoder-decoder answers."""

    task = "text2text-generation"
    own_options = ("return_tensors", "return_text", "clean_up_tokenization_spaces", "skip_special_tokens", "prefix", "src_lang", "tgt_lang")
    padding_left = False
    name: ClassVar[str] = "generated"

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        results = super().__call__(inputs, **kwargs)
        flat = isinstance(inputs, list) and all(isinstance(t, str) for t in inputs) and all(len(r) == 1 for r in results)
        return [r[0] for r in results] if flat else results

    def process(self, items: list[Any], options: dict[str, Any]) -> list[Any]:
        options = {**self._task_options(), **options}
        prefix = options.pop("prefix", None) or ""
        for item in items:
            if not isinstance(item, str):
                raise ValueError(f"[{self.task}] expected texts, got {type(item).__name__}")
        prompts = [self._encode(prefix + item, options) for item in items]
        source, target = options.pop("src_lang", None), options.pop("tgt_lang", None)
        if source is not None:
            token = self._language(source, "src_lang")
            prompts = [self._from_language(p, token) for p in prompts]
        if target is not None and options.get("forced_bos_token_id") is None:
            options["forced_bos_token_id"] = self._language(target, "tgt_lang")
        answers, _ = self._generate(prompts, options)
        if options.get("return_tensors"):
            return [[{f"{self.name}_token_ids": ids} for ids in rows] for rows in answers]
        return [[{f"{self.name}_text": self._decode(ids, options)} for ids in rows] for rows in answers]

    def _task_options(self) -> dict[str, Any]:
        return {}

    def _language(self, code: str, argument: str) -> int:
        """The token of a language: "fra_Latn" (NLLB), "__fr__" (M2M100)."""
        for token in (code, f"__{code}__"):
            found = self.tokenizer._core.token_to_id(token)
            if found >= 0:
                return int(found)
        raise ValueError(f"[{self.task}] {argument}: the tokenizer has no token for the language {code!r}")

    def _from_language(self, ids: list[int], token: int) -> list[int]:
        """The text begins with its language; the tokenizer may have put another one there."""
        first = self.tokenizer.convert_ids_to_tokens(ids[0]) if ids else ""
        return [token, *(ids[1:] if re.fullmatch(r"__\w+__|[a-z]{3}_[A-Z][a-z]{3}", str(first)) else ids)]


class SummarizationPipeline(Text2TextGenerationPipeline):
    """[{"summary_text": ...}] per text."""

    task = "summarization"
    name = "summary"

    def _task_options(self) -> dict[str, Any]:
        return _task_specific(self.model, self.task)


class TranslationPipeline(Text2TextGenerationPipeline):
    """[{"translation_text": ...}] per text. src_lang and tgt_lang name languages for models that know several (NLLB, M2M100); T5 takes
    its prefix from the task's name, translation_en_to_de."""

    task = "translation"
    name = "translation"

    def __init__(self, *args: Any, task: "str | None" = None, **kwargs: Any) -> None:
        self.full_task = task or self.task
        super().__init__(*args, **kwargs)

    def _task_options(self) -> dict[str, Any]:
        return _task_specific(self.model, self.full_task)


def _task_specific(model: Any, task: str) -> dict[str, Any]:
    """What config.json says for a task: T5's prefixes and beams."""
    every = getattr(model.config, "task_specific_params", None) or {}
    known = ("prefix", *option_names())
    return {name: value for name, value in (every.get(task) or {}).items() if name in known}
