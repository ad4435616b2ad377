"""tenon.Engine: asyncio and threads, equality with generate(), cancellation, refusals, text; and the server of examples/."""
import asyncio
import gc
import importlib.util
import json
import sys
import threading

import pytest

import tenon
from conftest import ROOT


@pytest.fixture(scope="module")
def model(tokenizer):
    tenon.manual_seed(11)
    config = tenon.LlamaConfig(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                               num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.4, bos_token_id=2, eos_token_id=3,
                               pad_token_id=0)
    return tenon.LlamaForCausalLM(config)


@pytest.fixture
def engine(model):
    with tenon.Engine(model, max_cache_bytes="1MiB", max_batch=4, prefill_chunk=32) as e:
        yield e


def prompt(n, variant=0):
    return [4 + (variant * 31 + i * (7 + variant % 5)) % 60 for i in range(n)]


def alone(model, ids, **options):
    return model.generate([ids], **options)[0].tolist()[len(ids):]


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def test_no_thread_before_the_first_request(model):
    before = threading.active_count()
    engine = tenon.Engine(model)
    assert threading.active_count() == before and engine.stats()["running"] == 0
    assert engine.submit([5], max_new_tokens=1).result().finish_reason in ("length", "stop")
    assert threading.active_count() == before + 1
    engine.close()
    engine.close()
    assert threading.active_count() == before
    with pytest.raises(RuntimeError, match="closed"):
        engine.submit([5])


def test_many_tasks_get_their_own_answers(model, engine):
    async def user(i):
        await asyncio.sleep(0.001 * i)
        ids = prompt(3 + 11 * i, i)
        tokens = [t async for t in engine.stream(ids, max_new_tokens=20 + i)]
        answer = await engine.generate(ids, max_new_tokens=20 + i)
        assert answer.tokens == tokens == alone(model, ids, max_new_tokens=20 + i)
        assert answer.prompt_tokens == len(ids) and answer.text is None
        assert answer.finish_reason == ("stop" if tokens[-1] == 3 else "length")

    async def all_users():
        await asyncio.gather(*(user(i) for i in range(12)))

    run(all_users())
    stats = engine.stats()
    assert stats["finished"] == 24 and stats["running"] == stats["waiting"] == 0
    assert stats["prefix_hit_tokens"] > 0 and stats["tokens_per_second"] > 0 and stats["cache_bytes"] <= stats["max_cache_bytes"]


def test_sampling_follows_the_seed(model, engine):
    options = dict(max_new_tokens=12, do_sample=True, temperature=1.5, top_k=20)

    async def ask(seed):
        return (await engine.generate(prompt(9), seed=seed, **options)).tokens

    async def three():
        return await asyncio.gather(ask(1), ask(2), ask(1))

    a, b, c = run(three())
    assert a == c != b
    tenon.manual_seed(4)
    first = run(engine.generate(prompt(9), **options)).tokens
    tenon.manual_seed(4)
    assert run(engine.generate(prompt(9), **options)).tokens == first


def test_cancelling_a_task_or_leaving_a_stream_cancels_the_request(model, engine):
    async def main():
        task = asyncio.create_task(engine.generate(prompt(5), max_new_tokens=200, min_new_tokens=200))
        stream = engine.stream(prompt(6), max_new_tokens=200, min_new_tokens=200)
        assert isinstance(await anext(stream), int)
        await stream.aclose()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        ids = prompt(7)
        assert (await engine.generate(ids, max_new_tokens=30)).tokens == alone(model, ids, max_new_tokens=30)

    run(main())
    assert engine.stats()["cancelled"] == 2 and engine.stats()["finished"] == 1


def test_threads(model, engine):
    results = {}

    def user(i):
        request = engine.submit(prompt(10 + i, i), max_new_tokens=15)
        results[i] = (list(request), request.result().tokens)

    users = [threading.Thread(target=user, args=(i,)) for i in range(6)]
    for t in users:
        t.start()
    for t in users:
        t.join()
    for i in range(6):
        assert results[i][0] == results[i][1] == alone(model, prompt(10 + i, i), max_new_tokens=15)
    request = engine.submit(prompt(4), max_new_tokens=200, min_new_tokens=200)
    next(iter(request))
    assert request.cancel() and request.result().finish_reason == "cancelled"
    assert not request.cancel()


def test_refusals_and_errors(model, engine):
    for options, kind, match in [
        (dict(prompt=[]), ValueError, "empty"),
        (dict(prompt=[10**6]), ValueError, "outside the vocabulary"),
        (dict(prompt=[5, 2**70]), ValueError, "prompt: expected ids of the vocabulary, got 1180591620717411303424"),
        (dict(prompt=prompt(300)), ValueError, "context holds 256"),
        (dict(prompt=[5], num_beams=2), ValueError, "num_beams"),
        (dict(prompt=[5], max_new_tokens=0), ValueError, "max_new_tokens"),
        (dict(prompt=[5], nonsense=1), TypeError, "nonsense"),
        (dict(prompt="text"), TypeError, "tokenizer"),
        (dict(prompt=["a"]), TypeError, "ids of one text"),
    ]:
        with pytest.raises(kind, match=match):
            engine.submit(**options)
        with pytest.raises(kind, match=match):
            run(engine.generate(**options))
    with tenon.Engine(model, max_cache_bytes=20_000) as small:
        with pytest.raises(MemoryError, match="max_cache_bytes"):
            small.submit(prompt(100), max_new_tokens=100)

    def broken(ids, scores):
        raise RuntimeError("the caller's mistake")

    with pytest.raises(ValueError, match="the caller's mistake"):
        run(engine.generate([5], max_new_tokens=5, logits_processor=[broken]))
    assert run(engine.generate([5], max_new_tokens=5)).tokens == alone(model, [5], max_new_tokens=5)
    with pytest.raises(TypeError, match="expected a model"):
        tenon.Engine("model")


def test_processors_of_the_caller(model, engine):
    def only_seven(ids, scores):
        scores = scores.clone()
        scores[:, 7] = 1000.0
        return scores

    assert run(engine.generate([5], max_new_tokens=5, logits_processor=[only_seven])).tokens == [7] * 5


def test_text_in_and_out(model, tokenizer):
    async def main():
        async with tenon.Engine(model, tokenizer, max_cache_bytes="1MiB") as engine:
            answer = await engine.generate("the cat sat", max_new_tokens=12)
            pieces = [piece async for piece in engine.stream_text("the cat sat", max_new_tokens=12)]
            assert answer.text == tokenizer.decode(answer.tokens, skip_special_tokens=True)
            assert "".join(pieces).strip() == answer.text.strip()
            full = await engine.generate("the cat sat", max_new_tokens=40)
            stop = full.text.split()[4]
            cut = await engine.generate("the cat sat", max_new_tokens=40, stop_strings=[stop])
            assert len(cut.tokens) <= len(full.tokens) and cut.finish_reason == "stop" and stop in cut.text

    run(main())


def test_an_engine_that_nobody_holds_ends_its_thread(model):
    before = threading.active_count()
    engine = tenon.Engine(model)
    engine.submit([5], max_new_tokens=2).result()
    del engine
    gc.collect()
    assert threading.active_count() == before


def test_closing_cancels_what_is_left(model):
    engine = tenon.Engine(model)
    request = engine.submit(prompt(4), max_new_tokens=200, min_new_tokens=200)
    next(iter(request))
    engine.close()
    assert request.result().finish_reason in ("cancelled", "length")


@pytest.fixture
def client(model, vocab_file, tmp_path):
    pytest.importorskip("fastapi")
    testclient = pytest.importorskip("fastapi.testclient")
    model.save_pretrained(tmp_path)
    tokenizer = tenon.BertTokenizer(vocab_file, model_max_length=64)  # of its own: others share the fixture's
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}"
    tokenizer.save_pretrained(tmp_path)
    spec = importlib.util.spec_from_file_location("serve_engine", ROOT / "examples" / "serve_engine.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["serve_engine"] = module  # pydantic looks names up there
    spec.loader.exec_module(module)
    with testclient.TestClient(module.make_app(str(tmp_path), max_cache_bytes="1MiB")) as c:
        yield c


def events(response):
    return [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]


def test_server(client):
    assert client.get("/v1/models").json()["data"][0]["object"] == "model"
    ask = {"prompt": "the cat sat", "max_tokens": 8, "temperature": 0}
    plain = client.post("/v1/completions", json=ask).json()
    assert plain["choices"][0]["finish_reason"] in ("length", "stop") and plain["usage"]["completion_tokens"] <= 8
    streamed = client.post("/v1/completions", json={**ask, "stream": True})
    assert streamed.text.rstrip().endswith("data: [DONE]")
    assert "".join(e["choices"][0]["text"] for e in events(streamed)).strip() == plain["choices"][0]["text"].strip()
    assert client.post("/v1/completions", json={**ask, "max_tokens": 0}).status_code == 400
    assert client.post("/v1/completions", json={**ask, "temperature": 1, "top_p": 7}).status_code == 400
    assert client.get("/stats").json()["finished"] == 2


def test_server_chats(client):
    pytest.importorskip("jinja2")
    chat = {"messages": [{"role": "user", "content": "hello world"}], "max_tokens": 6, "seed": 3}
    answer = client.post("/v1/chat/completions", json=chat).json()
    assert answer["choices"][0]["message"]["role"] == "assistant"
    deltas = events(client.post("/v1/chat/completions", json={**chat, "stream": True}))
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in deltas).strip() == answer["choices"][0]["message"]["content"].strip()
    assert deltas[-1]["choices"][0]["finish_reason"] in ("length", "stop")
