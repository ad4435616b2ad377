"""Tiny checkpoints made from configurations, and where reference data lies. No torch and no transformers is needed."""
import os
import pathlib

import pytest

import tenon

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
SHARED = pathlib.Path(os.environ.get("TENON_SHARED") or ROOT.parent / "shared")
TINY = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, initializer_range=0.2)
WORDS = ("the a cat dog sat on mat bank agreed to buy its rival for two billion dollars in cash profit fell rose sharply . , ! ? "
         "hello world short text longer one with several words").split()


def shared(*parts):
    """A path below the shared reference data; skips the test where there is none."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


@pytest.fixture(scope="session")
def vocab_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + c for c in letters), *WORDS]
    path.write_text("\n".join(dict.fromkeys(tokens)) + "\n")
    return str(path)


@pytest.fixture(scope="session")
def tokenizer(vocab_file):
    return tenon.BertTokenizer(vocab_file, model_max_length=64)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory, tokenizer):
    """name -> folder of a seeded checkpoint with its tokenizer or image processor."""
    root = tmp_path_factory.mktemp("checkpoints")
    tenon.manual_seed(7)
    folders = {}

    def save(name, *parts):
        folders[name] = str(root / name)
        for part in parts:
            part.save_pretrained(folders[name])

    text = dict(TINY, vocab_size=len(tokenizer), max_position_embeddings=64)
    save("bert", tenon.BertModel(tenon.BertConfig(**text)), tokenizer)
    save("classifier", tenon.BertForSequenceClassification(tenon.BertConfig(**text, id2label={0: "down", 1: "flat", 2: "up"})), tokenizer)
    save("regression", tenon.BertForSequenceClassification(tenon.BertConfig(**text, num_labels=1)), tokenizer)
    save("mlm", tenon.BertForMaskedLM(tenon.BertConfig(**text)), tokenizer)
    image = tenon.ViTConfig(**TINY, image_size=32, patch_size=8, num_labels=7)
    processor = tenon.ViTImageProcessor(size={"height": 32, "width": 32})
    save("vit", tenon.ViTModel(image), processor)
    save("vit-classifier", tenon.ViTForImageClassification(image), processor)
    sizes = dict(TINY, projection_dim=16)
    clip = tenon.CLIPConfig(projection_dim=16, text_config=dict(sizes, vocab_size=len(tokenizer), eos_token_id=tokenizer.sep_token_id,
                                                                max_position_embeddings=64),
                            vision_config=dict(sizes, image_size=32, patch_size=8))
    save("clip", tenon.CLIPModel(clip), tokenizer, tenon.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}))
    return folders


@pytest.fixture(scope="session")
def picture(tmp_path_factory):
    """The path of a small PNG file."""
    image = pytest.importorskip("PIL.Image")
    path = tmp_path_factory.mktemp("pictures") / "picture.png"
    made = image.new("RGB", (50, 40))
    made.putdata([(5 * x, 6 * y, (x * y) % 256) for y in range(40) for x in range(50)])
    made.save(path)
    return str(path)
