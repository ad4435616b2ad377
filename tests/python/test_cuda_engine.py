"""tenon.Engine and encoder-decoders that generate on a GPU; see test_cuda.py for what these tests run on."""
import asyncio

import pytest

import tenon
from on_device import elsewhere, on_a_device, run_on_the_emulated_library


@elsewhere
def test_on_the_emulated_library():
    run_on_the_emulated_library(__file__)


def llama():
    tenon.manual_seed(11)
    config = tenon.LlamaConfig(vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                               max_position_embeddings=256, initializer_range=0.4, bos_token_id=2, eos_token_id=3, pad_token_id=0)
    return tenon.LlamaForCausalLM(config)


def prompt(n, variant=0):
    return [4 + (variant * 31 + i * (7 + variant % 5)) % 60 for i in range(n)]


SETTINGS = [dict(), dict(do_sample=True, temperature=1.5, top_k=20, seed=5), dict(do_sample=True, top_p=0.8, top_k=0, seed=6),
            dict(repetition_penalty=1.3), dict(do_sample=True, min_p=0.02, seed=7), dict(min_new_tokens=6)]


@on_a_device
@pytest.mark.parametrize("graphs", ["1", "0"])
def test_answers_are_those_of_the_cpu(graphs, monkeypatch):
    monkeypatch.setenv("TENON_CUDA_GRAPHS", graphs)

    def answers(model):
        async def all_users():
            async def user(i):
                await asyncio.sleep(0.002 * i)
                ids = prompt(3 + 9 * (i % 4), i % 3)
                options = dict(SETTINGS[i % len(SETTINGS)], max_new_tokens=8 + 2 * i)
                tokens = [t async for t in engine.stream(ids, **options)]
                answer = await engine.generate(ids, **options)
                assert answer.tokens == tokens
                return tokens

            return await asyncio.gather(*(user(i) for i in range(9)))

        with tenon.Engine(model, max_cache_bytes="1MiB", max_batch=4, prefill_chunk=32) as engine:
            found = asyncio.run(asyncio.wait_for(all_users(), 120))
            assert engine.stats()["finished"] == 18
        return found

    assert answers(llama().to("cuda")) == answers(llama())


@on_a_device
def test_leaving_an_answer_cancels_its_request():
    with tenon.Engine(llama().to("cuda"), max_batch=2) as engine:
        request = engine.submit(prompt(5), max_new_tokens=200, eos_token_id=None)
        for count, _ in enumerate(request):
            if count == 5:
                assert request.cancel()
        assert request.result().finish_reason == "cancelled"
        ids = prompt(7, 1)
        assert engine.submit(ids, max_new_tokens=12).result().tokens == llama().generate([ids], max_new_tokens=12)[0].tolist()[7:]


@on_a_device
@pytest.mark.parametrize("family", ["Marian", "M2M100", "T5"])
@pytest.mark.parametrize("options", [dict(num_beams=1), dict(do_sample=True, top_k=30, num_beams=1, num_return_sequences=2), dict(num_beams=3)])
def test_encoder_decoders(family, options):
    def model():
        tenon.manual_seed(3)
        if family == "T5":
            return tenon.T5ForConditionalGeneration(tenon.T5Config(vocab_size=96, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, initializer_factor=4.0,
                                                                   decoder_start_token_id=0))
        sizes = dict(vocab_size=96, d_model=32, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=48, decoder_ffn_dim=48, encoder_attention_heads=4,
                     decoder_attention_heads=4, max_position_embeddings=128, init_std=0.4)
        if family == "Marian":
            config = tenon.MarianConfig(**sizes, decoder_vocab_size=96, pad_token_id=95, decoder_start_token_id=95, eos_token_id=0, forced_eos_token_id=0)
            return tenon.MarianMTModel(config)
        return tenon.M2M100ForConditionalGeneration(tenon.M2M100Config(**sizes, pad_token_id=1, decoder_start_token_id=2, eos_token_id=2))

    ids = [prompt(6), prompt(6, 1)]
    found = []
    for m in (model().to("cuda"), model()):
        tenon.manual_seed(7)
        found.append(m.generate(ids, max_new_tokens=25, **options).tolist())
    assert found[0] == found[1]
