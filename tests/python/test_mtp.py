"""Multi-token prediction: a checkpoint with the block that DeepSeek-V3 stores behind its layers."""
import asyncio
import json
import shutil

import pytest

import tenon
from conftest import GOLDEN, SHARED
from tenon.safetensors import load_file, save_file


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The golden case with a random block, stored as model.layers.N."""
    source = next((f for f in (GOLDEN / "deepseek-v3", SHARED / "golden" / "cases" / "deepseek-v3") if (f / "model.safetensors").exists()), None)
    if source is None:
        pytest.skip("there is no golden case deepseek-v3")
    folder = tmp_path_factory.mktemp("mtp") / "deepseek"
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    config.update(num_nextn_predict_layers=1, initializer_range=0.2)
    (folder / "config.json").write_text(json.dumps(config))
    tenon.manual_seed(5)
    block = tenon.modeling.model_class("DeepseekV3MtpModel")(tenon.AutoConfig.from_pretrained(folder))
    weights = {**load_file(folder / "model.safetensors"), **block.state_dict()}
    assert f"model.layers.{config['num_hidden_layers']}.eh_proj.weight" in weights
    save_file(weights, folder / "model.safetensors")
    return folder


def test_the_text_is_that_without_it(checkpoint):
    model = tenon.AutoModelForCausalLM.from_pretrained(checkpoint)
    ids = [[5, 17, 29, 80, 7]]
    plain = model.generate(ids, max_new_tokens=20).tolist()
    assert model.generate(ids, max_new_tokens=20, use_mtp=True).tolist() == plain
    tenon.manual_seed(1)
    sampled = model.generate(ids, max_new_tokens=20, do_sample=True).tolist()
    tenon.manual_seed(1)
    assert model.generate(ids, max_new_tokens=20, do_sample=True, use_mtp=True).tolist() == sampled


def test_an_engine_drafts_with_it(checkpoint):
    model = tenon.AutoModelForCausalLM.from_pretrained(checkpoint)
    prompts = [[5, 17, 29], [80, 7], [9, 8, 7, 6, 5, 4], [31]]
    expected = [model.generate([p], max_new_tokens=15).tolist()[0][len(p):] for p in prompts]
    with tenon.Engine(model, use_mtp=True) as engine:
        requests = [engine.submit(p, max_new_tokens=15) for p in prompts]
        assert [r.result().tokens for r in requests] == expected

        async def together():
            return await asyncio.gather(*(engine.generate(p, max_new_tokens=15, do_sample=True, seed=i) for i, p in enumerate(prompts)))

        sampled = [r.tokens for r in asyncio.run(together())]
        stats = engine.stats()
        assert stats["drafted_tokens"] >= stats["accepted_tokens"] >= 0 and stats["drafted_tokens"] > 0
    with tenon.Engine(model) as engine:
        assert [engine.submit(p, max_new_tokens=15, do_sample=True, seed=i).result().tokens for i, p in enumerate(prompts)] == sampled
        assert engine.stats()["drafted_tokens"] == 0


def test_who_has_none_says_so():
    if not (GOLDEN / "llama" / "model.safetensors").exists():
        pytest.skip("there is no golden case llama")
    model = tenon.AutoModelForCausalLM.from_pretrained(GOLDEN / "llama")
    with pytest.raises(ValueError, match="use_mtp"):
        model.generate([[5, 6]], use_mtp=True)
    with pytest.raises(ValueError, match="use_mtp"):
        tenon.Engine(model, use_mtp=True)
