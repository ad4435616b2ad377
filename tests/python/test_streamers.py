"""Streaming: text leaves piece by piece, whole characters only, and together it is what decode() gives."""
import asyncio
import queue
import threading

import numpy as np
import pytest

import tenon
from conftest import shared

TEXT = "Stra\u00dfe, \u4f60\u597d \U0001f468\u200d\U0001f469\u200d\U0001f467 na\u00efve 100 \u20ac.\n\nEnd's here ."


class Collector(tenon.TextStreamer):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.texts, self.ends = [], 0

    def on_finalized_text(self, text, stream_end=False):
        self.texts.append(text)
        self.ends += stream_end


def feed(streamer, prompt, ids):
    streamer.put(np.array([prompt]))
    for i in ids:
        streamer.put(np.array([i]))
    streamer.end()


def test_pieces_make_the_text(tokenizer):
    ids = tokenizer("the cat sat on the mat . hello world !").input_ids
    for options in ({}, {"skip_special_tokens": True}, {"clean_up_tokenization_spaces": True, "skip_special_tokens": True}):
        s = Collector(tokenizer, **options)
        feed(s, ids[:3], ids[3:])
        assert "".join(s.texts) == tokenizer.decode(ids, **options) and s.ends == 1 and sum(map(bool, s.texts)) > 5
        s.texts.clear()
        feed(s, ids, [])
        assert "".join(s.texts) == tokenizer.decode(ids, **options), "a streamer serves again"
    quiet = Collector(tokenizer, skip_prompt=True)
    feed(quiet, ids[:3], ids[3:])
    assert "".join(quiet.texts) == tokenizer.decode(ids[3:])


@pytest.mark.parametrize("name", ["gpt2", "llama-2-7b", "qwen2", "deepseek-v3", "clip-vit-base-patch32", "t5-small", "bert-base-uncased", "roberta-base"])
def test_no_half_character(name):
    t = tenon.AutoTokenizer.from_pretrained(shared("tokenizers", name))
    ids = t(TEXT).input_ids
    s = Collector(t)
    feed(s, ids[:1], ids[1:])
    assert "".join(s.texts) == t.decode(ids)
    if "\ufffd" not in t.decode(ids):
        assert not any("\ufffd" in piece for piece in s.texts)


def test_printing(tokenizer, capsys):
    s = tenon.TextStreamer(tokenizer, skip_special_tokens=True)
    s.put(tenon.tensor([tokenizer("the cat").input_ids]))
    s.put(tokenizer.convert_tokens_to_ids(["sat"]))
    s.put(tokenizer.convert_tokens_to_ids("on"))
    s.end()
    assert capsys.readouterr().out == "the cat sat on\n"
    with pytest.raises(ValueError, match="one text"):
        s.put(np.zeros((2, 3), dtype=np.int64))
    with pytest.raises(ValueError, match="vocabulary"):
        s.put([10**6])
    with pytest.raises(TypeError, match="tokenizer"):
        tenon.TextStreamer("no tokenizer")
    with pytest.raises(NotImplementedError):
        tenon.BaseStreamer().put([1])


def test_iterator(tokenizer):
    s = tenon.TextIteratorStreamer(tokenizer, skip_prompt=True, timeout=10, skip_special_tokens=True)
    ids = tokenizer("the cat sat").input_ids
    thread = threading.Thread(target=feed, args=(s, ids[:1], ids[1:]))
    thread.start()
    assert "".join(s) == "the cat sat"
    thread.join()
    with pytest.raises(queue.Empty):
        next(tenon.TextIteratorStreamer(tokenizer, timeout=0.01))


def test_async_iterator(tokenizer):
    async def run():
        s = tenon.AsyncTextIteratorStreamer(tokenizer, timeout=10, skip_special_tokens=True)
        thread = threading.Thread(target=feed, args=(s, tokenizer("the cat").input_ids, tokenizer.convert_tokens_to_ids(["sat"])))
        thread.start()
        text = "".join([piece async for piece in s])
        thread.join()
        with pytest.raises(TimeoutError):
            await tenon.AsyncTextIteratorStreamer(tokenizer, timeout=0.01).__anext__()
        return text

    assert asyncio.run(run()) == "the cat sat"


def test_decode_stream(tokenizer):
    ids = tokenizer.convert_tokens_to_ids(["the", "cat", "##s", "sat"])
    stream = tenon.DecodeStream()
    assert [stream.step(tokenizer, i) for i in ids] == ["the", " cat", "s", " sat"] and stream.finish() == ""
    assert tenon.DecodeStream(ids=ids[:1]).step(tokenizer, ids[1:3]) == " cats"
    assert tenon.DecodeStream(skip_special_tokens=True).step(tokenizer, tokenizer.cls_token_id) is None
    with pytest.raises(ValueError, match="vocabulary"):
        stream.step(tokenizer, -1)
