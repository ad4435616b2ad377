"""An engine for many users: requests from asyncio tasks and threads that are generated together, one forward pass per step."""
from __future__ import annotations

import asyncio
import builtins
import queue
import threading
import weakref
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence

from . import _core
from .generation import GenerationConfig, _allowed, _criterion, _decoder, _next_seed, _plain, _processor
from .modeling import PreTrainedModel, _bytes


@dataclass(frozen=True)
class EngineOutput:
    """What became of a request."""

    tokens: list[int]  # without the prompt
    finish_reason: str  # "stop", "length" or "cancelled"
    prompt_tokens: int
    shared_tokens: int  # of the prompt, not computed again since another text begins alike
    preemptions: int
    text: "str | None" = None  # with a tokenizer


class Request:
    """One request: its tokens as they are written, and its end. Iterate over it in the thread that submitted it."""

    def __init__(self, loop: "_Loop", deliver: "Callable[[Request, Any], None]") -> None:
        self.id = 0
        self._loop = loop
        self._deliver = deliver

    def cancel(self) -> bool:
        """Ends the request with the current step. False if it has ended before."""
        return self._loop.core.cancel(self.id)


class _ThreadRequest(Request):
    """Read by a thread, which blocks."""

    def __init__(self, loop: "_Loop") -> None:
        super().__init__(loop, lambda self, event: self._queue.put(event))
        self._queue: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        self._result: "EngineOutput | Exception | None" = None

    def __iter__(self) -> Iterator[int]:
        while self._result is None:
            event = self._queue.get()
            if isinstance(event, int):
                yield event
            else:
                self._result = event
        if isinstance(self._result, Exception):
            raise self._result

    def result(self) -> EngineOutput:
        """Waits for the end. Errors: what ended the request."""
        for _ in self:
            pass
        assert isinstance(self._result, EngineOutput)
        return self._result


class _TaskRequest(Request):
    """Read by a coroutine."""

    def __init__(self, loop: "_Loop") -> None:
        super().__init__(loop, lambda self, event: self._queue.put_nowait(event))
        self._queue: "asyncio.Queue[Any]" = asyncio.Queue()
        self.event_loop = asyncio.get_running_loop()

    async def next(self) -> Any:
        return await self._queue.get()


class _Loop:
    """The thread that steps, apart from Engine, so that an engine that nobody holds any more can end it."""

    def __init__(self, core: Any, decode: "Callable[[list[int]], str] | None") -> None:
        self.core = core
        self.decode = decode
        self.requests: dict[int, Request] = {}
        self.lock = threading.Lock()
        self.work = threading.Event()
        self.stopping = False
        self.thread: "threading.Thread | None" = None

    def submit(self, request: Request, prompt: list[int], options: dict[str, Any], hooks: dict[str, Any]) -> None:
        with self.lock:
            if self.stopping:
                raise RuntimeError("[engine] it is closed")
            request.id = self.core.submit(prompt, options, hooks)
            self.requests[request.id] = request
            if self.thread is None:
                self.thread = threading.Thread(target=self.run, name="tenon-engine", daemon=True)
                self.thread.start()
        self.work.set()

    def run(self) -> None:
        while True:
            self.work.wait()
            if self.stopping:
                return
            more, tokens, results = self.core.step()
            if not more:
                self.work.clear()
                if self.stopping or self.core.has_work():
                    self.work.set()
            self.dispatch(tokens, results)

    def dispatch(self, tokens: list[tuple[int, int]], results: list[dict[str, Any]]) -> None:
        events: list[tuple[int, Any]] = [*tokens, *((r["id"], self.result(r)) for r in results)]
        by_loop: dict[Any, list[tuple[Request, Any]]] = {}
        with self.lock:
            for id, event in events:
                request = self.requests[id]
                by_loop.setdefault(getattr(request, "event_loop", None), []).append((request, event))
            for r in results:
                del self.requests[r["id"]]
        for event_loop, batch in by_loop.items():
            if event_loop is None:
                _deliver(batch)
                continue
            try:
                event_loop.call_soon_threadsafe(_deliver, batch)
            except RuntimeError:  # the event loop has ended, and with it who waits
                for request, _ in batch:
                    request.cancel()

    def result(self, r: dict[str, Any]) -> "EngineOutput | Exception":
        if "error" in r:
            kind, message = r["error"]
            return getattr(builtins, kind)(message)
        text = self.decode(r["tokens"]) if self.decode else None
        return EngineOutput(r["tokens"], r["finish_reason"], r["prompt_tokens"], r["shared_tokens"], r["preemptions"], text)

    def close(self) -> None:
        with self.lock:
            self.stopping = True
            thread, self.thread = self.thread, None
        self.work.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        with self.lock:
            left = list(self.requests.values())
        for request in left:
            request.cancel()
        while left and self.core.has_work():
            _, tokens, results = self.core.step()
            self.dispatch(tokens, results)


def _deliver(batch: list[tuple[Request, Any]]) -> None:
    for request, event in batch:
        request._deliver(request, event)


class Engine:
    """Generates for many users at once with one decoder. Nothing is started before the first request.

        engine = tenon.Engine(model, tokenizer, max_cache_bytes="2GiB")
        async for token in engine.stream(prompt, max_new_tokens=100): ...
        answer = await engine.generate(prompt, do_sample=True, seed=1)
        answer = engine.submit(prompt).result()        # from a thread

    A prompt is a list of ids or, with a tokenizer, a text. Options are those of model.generate() but for beams and several answers.
    Greedy answers are those of single runs; sampled ones follow `seed` alone (drawn as tenon.manual_seed says if not given). Cancelling
    a task cancels its request. Requests wait when the cache is full; those that could never fit are refused.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: Any = None, *, max_cache_bytes: "int | str" = "1GiB", max_batch: int = 64,
                 max_waiting: int = 4096, prefill_chunk: int = 512, share_prefixes: bool = True, threads: int = 0,
                 kv_cache_dtype: "str | None" = None, generation_config: "GenerationConfig | None" = None, use_mtp: bool = False) -> None:
        """kv_cache_dtype: "int8" or "fp8" (e4m3) keeps keys and values in about half the memory of bfloat16; use_mtp: the block that the checkpoint
        stores for it (DeepSeek-V3) drafts a token a step for each request, whose answer is that without it; beginnings are then not shared.

        Errors: TypeError for a model that is not a decoder with a language model's head; ValueError for options out of range, and for use_mtp
        where the checkpoint has no block."""
        if not isinstance(model, PreTrainedModel):
            raise TypeError(f"[engine] expected a model, got {type(model).__name__}")
        if kv_cache_dtype not in (None, "auto", "int8", "fp8"):
            raise ValueError(f"[engine] kv_cache_dtype: expected auto, int8 or fp8, got {kv_cache_dtype!r}")
        self.model = model
        self.tokenizer = tokenizer
        self._config = generation_config
        decode = None if tokenizer is None else lambda ids: tokenizer.decode(ids, skip_special_tokens=True)
        core = _core.Engine(model._core, _bytes(max_cache_bytes), max_batch, max_waiting, prefill_chunk, share_prefixes, threads,
                            kv_cache_dtype or "auto", model._mtp() if use_mtp else None)
        self._loop = _Loop(core, decode)
        self._finalizer = weakref.finalize(self, self._loop.close)

    async def stream(self, prompt: "str | Sequence[int]", generation_config: "GenerationConfig | None" = None, **options: Any) -> AsyncIterator[int]:
        """Token ids as they are written. Errors: as submit(); what ended the request."""
        async with aclosing(self.events(prompt, generation_config, **options)) as events:
            async for event in events:
                if isinstance(event, int):
                    yield event

    async def stream_text(self, prompt: "str | Sequence[int]", generation_config: "GenerationConfig | None" = None,
                          **options: Any) -> AsyncIterator[str]:
        """The text as it is written, never half a character. Needs a tokenizer."""
        from .streamers import DecodeStream

        if self.tokenizer is None:
            raise TypeError("[engine] stream_text() needs a tokenizer")
        pieces = DecodeStream(skip_special_tokens=True)
        async with aclosing(self.events(prompt, generation_config, **options)) as events:
            async for event in events:
                piece = pieces.step(self.tokenizer, event) if isinstance(event, int) else pieces.finish()
                if piece:
                    yield piece

    async def generate(self, prompt: "str | Sequence[int]", generation_config: "GenerationConfig | None" = None, **options: Any) -> EngineOutput:
        """The whole answer. Errors: as submit(); what ended the request."""
        async with aclosing(self.events(prompt, generation_config, **options)) as events:
            async for event in events:
                if isinstance(event, EngineOutput):
                    return event
        raise AssertionError("a request ends with a result")

    async def events(self, prompt: "str | Sequence[int]", generation_config: "GenerationConfig | None" = None,
                     **options: Any) -> "AsyncGenerator[int | EngineOutput, None]":
        """Token ids as they are written, and at last the EngineOutput. Errors: as submit(); what ended the request."""
        request = _TaskRequest(self._loop)
        self._submit(request, prompt, generation_config, options)
        done = False
        try:
            while not done:
                event = await request.next()
                done = not isinstance(event, int)
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            if not done:
                request.cancel()

    def submit(self, prompt: "str | Sequence[int]", generation_config: "GenerationConfig | None" = None, **options: Any) -> _ThreadRequest:
        """A request for threads: iterate over it for its tokens, or wait for its result().

        options: those of model.generate(); seed; logits_processor, stopping_criteria, prefix_allowed_tokens_fn, which run on the
        engine's thread.
        Errors: ValueError for an empty or too long prompt, for options out of range and for a full queue; MemoryError for a request
        that would not fit into the cache if it were alone; RuntimeError once the engine is closed.
        """
        request = _ThreadRequest(self._loop)
        self._submit(request, prompt, generation_config, options)
        return request

    def _submit(self, request: Request, prompt: Any, config: "GenerationConfig | None", options: dict[str, Any]) -> None:
        options = dict(options)
        processors: Iterable[Any] = options.pop("logits_processor", None) or ()
        criteria: Iterable[Any] = options.pop("stopping_criteria", None) or ()
        allowed = options.pop("prefix_allowed_tokens_fn", None)
        seed = options.pop("seed", None)
        plain = self.model._generation_options(config or self._config, options)
        for name in ("return_dict_in_generate", "output_attentions", "output_hidden_states", "use_mtp"):
            plain.pop(name, None)
        if seed is None:
            seed = _next_seed() if plain.get("do_sample") else 0
        hooks = {"logits_processors": [_processor(p) for p in processors], "stopping_criteria": [_criterion(c) for c in criteria],
                 "prefix_allowed_tokens_fn": _allowed(allowed), "decode": _decoder(self.tokenizer), "seed": seed % 2**64}
        self._loop.submit(request, self._ids(prompt), _plain(plain), hooks)

    def _ids(self, prompt: Any) -> list[int]:
        if isinstance(prompt, str):
            if self.tokenizer is None:
                raise TypeError("[engine] a text as prompt needs a tokenizer; expected a list of ids")
            prompt = self.tokenizer(prompt)["input_ids"]
        ids = prompt.tolist() if hasattr(prompt, "tolist") else list(prompt)
        if len(ids) == 1 and isinstance(ids[0], (list, tuple)):
            ids = list(ids[0])
        if not all(isinstance(i, int) for i in ids):
            raise TypeError("[engine] prompt: expected a text or the ids of one text")
        return ids

    def stats(self) -> dict[str, Any]:
        """running, waiting, finished, cancelled, failed, preempted, steps, prompt_tokens, generated_tokens, prefix_hit_tokens,
        drafted_tokens and accepted_tokens (of use_mtp), tokens_per_second, cache_bytes, max_cache_bytes, kept_bytes."""
        return self._loop.core.stats()

    def close(self) -> None:
        """Ends the thread; what has not finished is cancelled. Idempotent."""
        self._finalizer()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    async def __aenter__(self) -> "Engine":
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.close)
