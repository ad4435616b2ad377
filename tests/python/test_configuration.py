"""Configurations: Transformers' defaults, attributes, files."""
import json

import pytest

import tenon
from conftest import shared


def test_defaults_and_attributes():
    c = tenon.BertConfig()
    assert (c.vocab_size, c.hidden_size, c.num_hidden_layers, c.layer_norm_eps, c.hidden_act) == (30522, 768, 12, 1e-12, "gelu")
    assert c.num_labels == 2 and c.id2label == {0: "LABEL_0", 1: "LABEL_1"} and c.label2id == {"LABEL_0": 0, "LABEL_1": 1}
    assert c.model_type == "bert" and c.use_return_dict and c.problem_type is None and "hidden_size" in c and "nothing" not in c
    assert tenon.RobertaConfig().pad_token_id == 1 and tenon.ViTConfig().image_size == 224 and tenon.CLIPTextConfig().num_attention_heads == 8
    with pytest.raises(AttributeError, match="nothing"):
        c.nothing
    c.anything_else = 3
    assert c.to_dict()["anything_else"] == 3


def test_families_that_spell_sizes_differently():
    c = tenon.DistilBertConfig(dim=64, n_layers=2)
    assert c.hidden_size == 64 and c.num_hidden_layers == 2 and c.num_attention_heads == 12
    c.hidden_size = 32
    assert c.dim == 32 and "hidden_size" not in c.to_dict()


def test_labels():
    c = tenon.BertConfig(num_labels=3)
    assert c.num_labels == 3 and c.id2label[2] == "LABEL_2"
    c = tenon.BertConfig(id2label={"0": "no", "1": "yes", "2": "maybe"})
    assert c.num_labels == 3 and c.id2label == {0: "no", 1: "yes", 2: "maybe"} and c.label2id["maybe"] == 2
    c.num_labels = 5
    assert c.id2label[4] == "LABEL_4"
    with pytest.raises(ValueError, match="num_labels"):
        tenon.BertConfig(num_labels=3, id2label={0: "a"})


def test_sub_configurations():
    c = tenon.CLIPConfig(text_config={"hidden_size": 32}, projection_dim=8)
    assert c.text_config.hidden_size == 32 and c.vision_config.hidden_size == 768 and isinstance(c.vision_config, tenon.CLIPVisionConfig)
    assert c.to_dict()["text_config"]["hidden_size"] == 32


def test_files(tmp_path):
    c = tenon.BertConfig(num_labels=3, hidden_size=32, torch_dtype="torch.bfloat16")
    c.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["model_type"] == "bert" and written["id2label"]["2"] == "LABEL_2" and written["dtype"] == "bfloat16"
    for opened in (tenon.AutoConfig.from_pretrained(tmp_path), tenon.BertConfig.from_pretrained(str(tmp_path)),
                   tenon.PretrainedConfig.from_pretrained(tmp_path / "config.json")):
        assert type(opened) is tenon.BertConfig and opened.hidden_size == 32 and opened.num_labels == 3 and opened.to_diff_dict() == c.to_diff_dict()
    assert tenon.AutoConfig.from_pretrained(tmp_path, num_labels=4, hidden_dropout_prob=0.5).hidden_dropout_prob == 0.5
    config, unused = tenon.AutoConfig.from_pretrained(tmp_path, return_unused_kwargs=True, other=1)
    assert unused == {"other": 1} and config.num_labels == 3
    with pytest.raises(TypeError, match="other"):
        tenon.AutoConfig.from_pretrained(tmp_path, other=1)


def test_auto_config_names_what_is_known(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "perceiver", "architectures": ["PerceiverModel"]}')
    with pytest.raises(ValueError, match="perceiver.*PerceiverModel.*known are: bert"):
        tenon.AutoConfig.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="known"):
        tenon.AutoConfig.for_model("perceiver")
    assert tenon.AutoConfig.for_model("vit", num_labels=4).num_labels == 4


@pytest.mark.parametrize("name, expected", [("bert-base-uncased", "BertConfig"), ("vit-base-patch16-224", "ViTConfig"),
                                            ("clip-vit-base-patch32", "CLIPConfig"), ("distilbert-base-uncased", "DistilBertConfig")])
def test_published_configurations(name, expected):
    config = tenon.AutoConfig.from_pretrained(shared("configs", name))
    assert type(config).__name__ == expected
    if name.startswith("vit"):
        assert config.num_labels == 1000 and config.id2label[281] == "tabby, tabby cat"
