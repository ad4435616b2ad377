"""Text while it is generated: TextStreamer prints it, TextIteratorStreamer hands it to another thread, AsyncTextIteratorStreamer to
a coroutine. Text leaves as soon as its characters are complete, never half a character."""
from __future__ import annotations

from typing import Any, Sequence

from . import _core


def _core_of(tokenizer: Any) -> _core.Tokenizer:
    core = getattr(getattr(tokenizer, "tokenizer", tokenizer), "_core", None)  # a processor holds its tokenizer
    if not isinstance(core, _core.Tokenizer):
        raise TypeError(f"[streamer] tokenizer: expected a tokenizer, got {type(tokenizer).__name__}")
    return core


class DecodeStream:
    """Ids in, text out, as tokenizers.decoders.DecodeStream: step() gives the text that an id completes, or None."""

    def __init__(self, ids: "Sequence[int] | None" = None, skip_special_tokens: bool = False) -> None:
        """`ids` were decoded before: they are context, their text is not given again."""
        self.skip_special_tokens = skip_special_tokens
        self._ids = list(ids or ())
        self._stream: "_core.DecodeStream | None" = None

    def step(self, tokenizer: Any, id: "int | Sequence[int]") -> "str | None":
        """Errors: ValueError for an id outside the vocabulary."""
        if self._stream is None:
            stream = _core.DecodeStream(_core_of(tokenizer), self.skip_special_tokens, False)
            stream.push(self._ids)
            self._stream = stream
        return self._stream.push([id] if isinstance(id, int) else id) or None

    def finish(self) -> str:
        """The text that was held back for characters that did not come; the stream is then new."""
        return "" if self._stream is None else self._stream.finish()


class BaseStreamer:
    """What generate(streamer=) talks to: put() with the prompt's ids, then with each new id, end() at last."""

    def put(self, value: Any) -> None:
        raise NotImplementedError

    def end(self) -> None:
        raise NotImplementedError


class TextStreamer(BaseStreamer):
    """Prints text as it is generated. `decode_kwargs` are those of tokenizer.decode()."""

    def __init__(self, tokenizer: Any, skip_prompt: bool = False, **decode_kwargs: Any) -> None:
        self.tokenizer = tokenizer
        self.skip_prompt = skip_prompt
        self.decode_kwargs = decode_kwargs
        self.next_tokens_are_prompt = True
        inner = getattr(tokenizer, "tokenizer", tokenizer)
        core = _core_of(tokenizer)
        self._stream = _core.DecodeStream(core, bool(decode_kwargs.get("skip_special_tokens", False)),
                                          inner._cleans_up(decode_kwargs.get("clean_up_tokenization_spaces")))

    def put(self, value: Any) -> None:
        """Takes ids, (T) or (1,T). Errors: ValueError for a batch of more than one text."""
        shape = tuple(getattr(value, "shape", ()))
        if len(shape) > 1 and shape[0] > 1:
            raise ValueError(f"[{type(self).__name__}] expected one text at a time, got a batch of {shape[0]}")
        ids = value.tolist() if hasattr(value, "tolist") else value
        ids = [ids] if isinstance(ids, int) else list(ids)
        if ids and isinstance(ids[0], (list, tuple)):
            ids = list(ids[0])
        was_prompt, self.next_tokens_are_prompt = self.next_tokens_are_prompt, False
        if self.skip_prompt and was_prompt:
            return
        self.on_finalized_text(self._stream.push(ids))

    def end(self) -> None:
        """Gives out what was held back, and ends the line."""
        self.next_tokens_are_prompt = True
        self.on_finalized_text(self._stream.finish(), stream_end=True)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Is called with each new text, which may be empty; subclasses put it elsewhere."""
        print(text, flush=True, end=None if stream_end else "")


class TextIteratorStreamer(TextStreamer):
    """Keeps text in a queue: iterate over it while another thread generates. After `timeout` seconds without text queue.Empty is raised."""

    def __init__(self, tokenizer: Any, skip_prompt: bool = False, timeout: "float | None" = None, **decode_kwargs: Any) -> None:
        import queue

        super().__init__(tokenizer, skip_prompt, **decode_kwargs)
        self.text_queue: Any = queue.Queue()
        self.stop_signal = None
        self.timeout = timeout

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self.text_queue.put(text, timeout=self.timeout)
        if stream_end:
            self.text_queue.put(self.stop_signal, timeout=self.timeout)

    def __iter__(self) -> "TextIteratorStreamer":
        return self

    def __next__(self) -> str:
        value = self.text_queue.get(timeout=self.timeout)
        if value is self.stop_signal:
            raise StopIteration
        return value


class AsyncTextIteratorStreamer(TextStreamer):
    """The same for `async for`; must be made in a coroutine. After `timeout` seconds without text TimeoutError is raised."""

    def __init__(self, tokenizer: Any, skip_prompt: bool = False, timeout: "float | None" = None, **decode_kwargs: Any) -> None:
        import asyncio

        super().__init__(tokenizer, skip_prompt, **decode_kwargs)
        self.text_queue: Any = asyncio.Queue()
        self.stop_signal = None
        self.timeout = timeout
        self.loop = asyncio.get_running_loop()

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self.loop.call_soon_threadsafe(self.text_queue.put_nowait, text)
        if stream_end:
            self.loop.call_soon_threadsafe(self.text_queue.put_nowait, self.stop_signal)

    def __aiter__(self) -> "AsyncTextIteratorStreamer":
        return self

    async def __anext__(self) -> str:
        import asyncio

        try:
            value = await asyncio.wait_for(self.text_queue.get(), self.timeout)
        except asyncio.TimeoutError:
            raise TimeoutError(f"[AsyncTextIteratorStreamer] no text within {self.timeout} seconds") from None
        if value is self.stop_signal:
            raise StopAsyncIteration
        return value
