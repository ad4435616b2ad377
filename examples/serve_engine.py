"""Serves a decoder to many users over HTTP, in the manner of OpenAI's API: completions and chat, whole or as server-sent events.

    python examples/serve_engine.py FOLDER [--host 127.0.0.1] [--port 8000] [--max-cache-bytes 2GiB] [--dtype bfloat16]
    curl -N localhost:8000/v1/chat/completions -H 'content-type: application/json' \
      -d '{"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 50, "stream": true}'
"""
import argparse
import contextlib
import json
import sys
import time
import uuid
from typing import Any, AsyncGenerator, AsyncIterator, Optional, Union

try:
    import uvicorn
    from fastapi import FastAPI, HTTPException
    from fastapi.responses import StreamingResponse
    from pydantic import BaseModel
except ImportError as error:
    print(f"This example needs fastapi and uvicorn, which are not installed ({error}); pip install tenon-ml[serve]")
    sys.exit(0)

import tenon


class Options(BaseModel):
    model: Optional[str] = None
    max_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 1.0
    seed: Optional[int] = None
    stop: Union[str, list[str], None] = None
    stream: bool = False

    def for_engine(self) -> dict[str, Any]:
        options: dict[str, Any] = {"max_new_tokens": self.max_tokens, "do_sample": self.temperature > 0, "seed": self.seed}
        if self.temperature > 0:
            options.update(temperature=self.temperature, top_p=self.top_p)
        if self.stop:
            options["stop_strings"] = [self.stop] if isinstance(self.stop, str) else self.stop
        return options


class Completion(Options):
    prompt: str


class Message(BaseModel):
    role: str
    content: str


class Chat(Options):
    messages: list[Message]


class Answers:
    """Answers of one kind: how their text lies in the JSON."""

    def __init__(self, engine: tenon.Engine, model_name: str, is_chat: bool):
        self.engine, self.model_name, self.is_chat = engine, model_name, is_chat

    def chunk(self, head: dict[str, Any], text: str, finish_reason: Optional[str] = None) -> str:
        body: dict[str, Any] = {"delta": {"content": text} if text else {}} if self.is_chat else {"text": text}
        return f"data: {json.dumps({**head, 'choices': [{'index': 0, **body, 'finish_reason': finish_reason}]})}\n\n"

    async def stream(self, head: dict[str, Any], event: Any, events: AsyncGenerator[Any, None]) -> AsyncIterator[str]:
        pieces = tenon.DecodeStream(skip_special_tokens=True)
        async with contextlib.aclosing(events):  # a client that goes away ends its request
            while isinstance(event, int):
                if text := pieces.step(self.engine.tokenizer, event):
                    yield self.chunk(head, text)
                event = await anext(events)
        yield self.chunk(head, pieces.finish(), event.finish_reason)
        yield "data: [DONE]\n\n"

    async def __call__(self, prompt: Any, request: Options) -> Any:
        kind = "chat.completion" if self.is_chat else "text_completion"
        head = {"id": uuid.uuid4().hex, "object": kind, "created": int(time.time()), "model": self.model_name}
        try:
            if request.stream:
                head["object"] += ".chunk" if self.is_chat else ""
                events = self.engine.events(prompt, **request.for_engine())
                first = await anext(events)  # what is refused is refused before the answer begins
                return StreamingResponse(self.stream(head, first, events), media_type="text/event-stream")
            output = await self.engine.generate(prompt, **request.for_engine())
        except (ValueError, TypeError, MemoryError) as error:
            raise HTTPException(400, str(error)) from None
        body = {"message": {"role": "assistant", "content": output.text}} if self.is_chat else {"text": output.text}
        written = len(output.tokens)
        usage = {"prompt_tokens": output.prompt_tokens, "completion_tokens": written, "total_tokens": output.prompt_tokens + written}
        return {**head, "choices": [{"index": 0, **body, "finish_reason": output.finish_reason}], "usage": usage}


def make_app(folder: str, max_cache_bytes: str = "1GiB", dtype: str = "auto") -> FastAPI:
    tokenizer = tenon.AutoTokenizer.from_pretrained(folder)
    engine = tenon.Engine(tenon.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype), tokenizer, max_cache_bytes=max_cache_bytes)
    name = folder.rstrip("/").rpartition("/")[2]
    complete, chat = Answers(engine, name, is_chat=False), Answers(engine, name, is_chat=True)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with engine:
            yield

    app = FastAPI(title=name, lifespan=lifespan)

    @app.post("/v1/completions")
    async def completions(request: Completion) -> Any:
        return await complete(tokenizer(request.prompt)["input_ids"], request)

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Chat) -> Any:
        messages = [m.model_dump() for m in request.messages]
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return await chat(tokenizer(text, add_special_tokens=False)["input_ids"], request)

    @app.get("/v1/models")
    async def models() -> Any:
        return {"object": "list", "data": [{"id": name, "object": "model"}]}

    @app.get("/stats")
    async def stats() -> Any:
        return engine.stats()

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="a checkpoint of a decoder with its tokenizer")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--max-cache-bytes", default="1GiB", help="memory for keys and values")
    parser.add_argument("--dtype", default="auto")
    given = parser.parse_args()
    uvicorn.run(make_app(given.folder, given.max_cache_bytes, given.dtype), host=given.host, port=given.port)
