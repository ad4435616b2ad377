"""Multi-token prediction: a checkpoint with the block that DeepSeek-V3 stores behind its layers."""
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


def test_who_has_none_says_so():
    if not (GOLDEN / "llama" / "model.safetensors").exists():
        pytest.skip("there is no golden case llama")
    model = tenon.AutoModelForCausalLM.from_pretrained(GOLDEN / "llama")
    with pytest.raises(ValueError, match="use_mtp"):
        model.generate([[5, 6]], use_mtp=True)
