"""Tokenizers trained from nothing, and from a tokenizer that is there; where `tokenizers` is installed, it opens what was saved."""
import json
import pathlib

import pytest

import tenon

TEXTS = ["the cat sat on the mat, the cat sat", "a mat is on the floor: the floor is flat", "cats and mats and hats", "你好 世界 你好"] * 3


def trained(kind="bpe", vocab_size=320, **kwargs):
    return tenon.train_tokenizer(TEXTS, kind, vocab_size, progress=False, **kwargs)


def test_bpe(tmp_path):
    t = trained()
    assert t.decode(t("the cat 你好 \U0001f600").input_ids) == "the cat 你好 \U0001f600"
    assert len(t(" the").input_ids) == 1
    assert (t.bos_token, t.eos_token, t.eos_token_id, t.pad_token) == ("<|endoftext|>", "<|endoftext|>", 0, None)
    t.save_pretrained(tmp_path)
    again = tenon.AutoTokenizer.from_pretrained(tmp_path)
    assert again(TEXTS).input_ids == t(TEXTS).input_ids and again.eos_token_id == 0
    characters = trained(byte_level=False, vocab_size=80)
    assert characters.unk_token_id == 0 and characters("\U0001f600").input_ids[-1] == 0
    assert characters.decode(characters("the cat").input_ids) == "the cat"


def test_wordpiece():
    t = trained("wordpiece", 120, lowercase=True)
    assert t.convert_ids_to_tokens(t("The cat", "mats").input_ids) == ["[CLS]", "the", "cat", "[SEP]", "mats", "[SEP]"]
    assert t("The", "cat").token_type_ids == [0, 0, 0, 1, 1]
    assert (t.pad_token_id, t.unk_token_id, t.cls_token_id, t.mask_token) == (0, 1, 2, "[MASK]")
    assert t(["the", "the cat sat"], padding=True).attention_mask[0] == [1, 1, 1, 0, 0]


def test_unigram():
    t = trained("unigram", 60)
    assert (t.unk_token_id, t.bos_token, t.eos_token, t.pad_token_id) == (0, "<s>", "</s>", 3)
    assert t.decode(t("the cat is flat").input_ids) == "the cat is flat"
    assert len(t("the cat").input_ids) <= 3


def test_special_tokens():
    t = trained(special_tokens={"pad_token": "<p>", "eos_token": tenon.AddedToken("<e>", special=True)})
    assert (t.pad_token_id, t.eos_token_id, t.bos_token) == (0, 1, None)
    with pytest.raises(ValueError, match="end_token"):
        trained(special_tokens={"end_token": "x"})


def test_sources(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    wanted = tenon.train_tokenizer([t + "\n" for t in TEXTS], vocab_size=320, progress=False).get_vocab()
    for source in (path, str(path), [path], [str(path)], ([t + "\n"] for t in TEXTS)):
        assert tenon.train_tokenizer(source, vocab_size=320, progress=False).get_vocab() == wanted
    with pytest.raises(FileNotFoundError):
        tenon.train_tokenizer(str(tmp_path / "none.txt"), progress=False)


def test_progress(capsys):
    trained()
    assert "merging" not in capsys.readouterr().err
    tenon.train_tokenizer(TEXTS, vocab_size=320, length=len(TEXTS))
    assert "merging pairs" in capsys.readouterr().err


def test_errors():
    with pytest.raises(ValueError, match="vocab_size.*257"):
        trained(vocab_size=100)
    with pytest.raises(ValueError, match="got none"):
        tenon.train_tokenizer(iter(()), progress=False)
    with pytest.raises(ValueError, match="wordpiece"):
        trained("words")
    with pytest.raises(ValueError, match="positive"):
        trained(vocab_size=0)
    with pytest.raises(TypeError, match="alphabet_limit"):
        trained(alphabet_limit=3)
    with pytest.raises(TypeError, match="int"):
        tenon.train_tokenizer([[1, 2]], progress=False)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_train_new_from_iterator(kind):
    old = trained(kind, 320 if kind == "bpe" else 100)
    more = ["some other words, with other words"] * 4
    new = old.train_new_from_iterator([more], 300 if kind == "bpe" else 60, length=4, new_special_tokens=["<new>"], show_progress=False)
    assert type(new) is type(old) and set(new.all_special_tokens) == {*old.all_special_tokens, "<new>"}
    assert new.convert_tokens_to_ids("<new>") == len(old.added_tokens_decoder)
    assert new("words<new>").input_ids.count(new.convert_tokens_to_ids("<new>")) == 1
    assert new.convert_tokens_to_ids(new.tokenize(" words")) != [new.unk_token_id] and len(new.tokenize(" words")) <= 2
    assert new.backend_tokenizer.stages["pre_tokenizer"] == old.backend_tokenizer.stages["pre_tokenizer"]


def test_train_new_with_other_names():
    old = trained("wordpiece", 120)
    new = old.train_new_from_iterator(TEXTS, 110, special_tokens_map={"[CLS]": "<cls>", "[UNK]": "<unk>"}, show_progress=False)
    assert (new.cls_token, new.unk_token) == ("<cls>", "<unk>")
    assert new.convert_ids_to_tokens(new("the \U0001f600").input_ids) == ["<cls>", "the", "<unk>", "[SEP]"]


def test_hugging_face_opens_it(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    for kind, size in (("bpe", 320), ("wordpiece", 120), ("unigram", 60)):
        t = trained(kind, size)
        t.save_pretrained(tmp_path)
        theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
        for text in (*TEXTS, "other words \U0001f600", " two  spaces "):
            assert theirs.encode(text).ids == t(text).input_ids
            assert theirs.decode(t(text).input_ids) == t.decode(t(text).input_ids, skip_special_tokens=True)


def test_equal_to_hugging_face():
    tokenizers = pytest.importorskip("tokenizers")
    path = pathlib.Path(__file__).parents[2] / "README.md"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.train_from_iterator(lines, tokenizers.trainers.BpeTrainer(
        vocab_size=900, min_frequency=2, special_tokens=["<|endoftext|>"], initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    ours = tenon.train_tokenizer(lines, vocab_size=900, progress=False)
    model = json.loads(theirs.to_str())["model"]
    mine = json.loads(ours.backend_tokenizer.to_json())["model"]
    assert [list(m) for m in mine["merges"]] == [list(m) if isinstance(m, list) else m.split(" ") for m in model["merges"]]
    assert mine["vocab"] == model["vocab"]


def test_save_vocabulary(tmp_path):
    for kind, size, names in (("bpe", 320, ["vocab.json", "merges.txt"]), ("wordpiece", 120, ["vocab.txt"]), ("unigram", 60, ["unigram.json"])):
        t = trained(kind, size)
        paths = t.save_vocabulary(tmp_path, "x" if kind == "unigram" else None)
        assert [pathlib.Path(p).name.removeprefix("x-") for p in paths] == names
        if kind == "bpe":
            assert tenon.GPT2Tokenizer(*paths)(TEXTS).input_ids == t(TEXTS).input_ids
        if kind == "wordpiece":
            assert tenon.BertTokenizer(*paths, do_lower_case=False)(TEXTS).input_ids == t(TEXTS).input_ids
