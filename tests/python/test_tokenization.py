"""The tokenizer object: calls, BatchEncoding, decoding, files. The engine itself is tested in C++."""
import json
import pickle

import numpy as np
import pytest

import tenon
from conftest import shared


def test_one_text(tokenizer):
    e = tokenizer("the cat sat")
    assert list(e) == ["input_ids", "token_type_ids", "attention_mask"] and e.input_ids == e["input_ids"]
    assert tokenizer.convert_ids_to_tokens(e.input_ids) == ["[CLS]", "the", "cat", "sat", "[SEP]"] == e.tokens()
    assert e.attention_mask == [1] * 5 and e.word_ids() == [None, 0, 1, 2, None] and e.sequence_ids() == [None, 0, 0, 0, None]
    assert e.char_to_token(4) == 2 and e.token_to_chars(2) == (4, 7) and e.word_to_tokens(1) == (2, 3) and e.char_to_token(3) is None
    assert tokenizer("the cat", add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False).keys() == {"input_ids"}
    assert tokenizer.tokenize("the catz") == ["the", "cat", "##z"]


def test_pairs(tokenizer):
    e = tokenizer("the cat", "a dog")
    assert e.token_type_ids == [0, 0, 0, 0, 1, 1, 1]
    assert tokenizer([("the cat", "a dog")]).input_ids == [e.input_ids] == tokenizer(["the cat"], ["a dog"])["input_ids"]
    assert e.n_sequences == 2 and tokenizer.num_special_tokens_to_add(pair=True) == 3


def test_batches_and_tensors(tokenizer):
    texts = ["the cat sat on the mat", "a dog", ""]
    plain = tokenizer(texts)
    assert [len(ids) for ids in plain.input_ids] == [8, 4, 2]
    padded = tokenizer(texts, padding=True)
    assert {len(ids) for ids in padded.input_ids} == {8} and padded.attention_mask[2] == [1, 1] + [0] * 6
    for kind, type_ in (("pt", tenon.Tensor), ("np", np.ndarray)):
        e = tokenizer(texts, padding=True, return_tensors=kind)
        assert isinstance(e["input_ids"], type_) and e.input_ids.tolist() == padded.input_ids and e.to("cpu") is e
    assert str(tokenizer("a", return_tensors="pt").input_ids.dtype) == "tenon.int64" and tokenizer("a", return_tensors="np").input_ids.dtype == np.int64
    assert tokenizer(texts, padding="max_length", max_length=10, truncation=True, return_tensors="pt").input_ids.shape == (3, 10)
    assert tokenizer(texts, padding=True, pad_to_multiple_of=16, return_tensors="pt").input_ids.shape == (3, 16)
    assert tokenizer(texts, padding=True, padding_side="left").attention_mask[1] == [0] * 4 + [1] * 4
    assert tokenizer([]).input_ids == [] and tokenizer(texts)[0].ids == plain.input_ids[0]


def test_truncation_and_windows(tokenizer):
    text = "a dog sat on the mat"
    assert len(tokenizer(text, truncation=True, max_length=5).input_ids) == 5 == len(tokenizer(text, max_length=5).input_ids)
    e = tokenizer([text, "a"], truncation=True, max_length=5, stride=1, return_overflowing_tokens=True, return_offsets_mapping=True)
    assert e.overflow_to_sample_mapping == [0, 0, 0, 1] and len(e.input_ids) == 4 and e.offset_mapping[0][1] == (0, 1)
    assert len(tokenizer("word " * 200, truncation=True).input_ids) == tokenizer.model_max_length == 64


def test_extra_columns(tokenizer):
    e = tokenizer(["the cat"], return_offsets_mapping=True, return_special_tokens_mask=True, return_length=True, return_tensors="pt")
    assert e.special_tokens_mask.tolist() == [[1, 0, 0, 1]] and e.length.tolist() == [4]
    assert e.offset_mapping.tolist() == [[[0, 0], [0, 3], [4, 7], [0, 0]]]


def test_words(tokenizer):
    e = tokenizer(["the", "cat", "sat"], is_split_into_words=True)
    assert e.word_ids() == [None, 0, 1, 2, None]
    assert tokenizer([["the"], ["a", "dog"]], is_split_into_words=True, padding=True, return_tensors="pt").input_ids.shape == (2, 4)


def test_decoding(tokenizer):
    ids = tokenizer("the cat sat.").input_ids
    assert tokenizer.decode(ids) == "[CLS] the cat sat. [SEP]"
    assert tokenizer.decode(ids, skip_special_tokens=True).startswith("the cat sat")
    both = tokenizer(["the cat", "a dog"], padding=True, return_tensors="pt")["input_ids"]
    assert tokenizer.batch_decode(both, skip_special_tokens=True) == ["the cat", "a dog"] == tokenizer.decode(both, skip_special_tokens=True)
    assert tokenizer.decode(tokenizer.cls_token_id) == "[CLS]" and tokenizer.convert_tokens_to_string(["a", "##b"]) == "ab"


def test_vocabulary_and_special_tokens(vocab_file):
    t = tenon.BertTokenizer(vocab_file)
    n = len(t)
    assert t.vocab_size == n == len(t.get_vocab()) and t.get_vocab()["cat"] == t.convert_tokens_to_ids("cat")
    assert t.convert_tokens_to_ids(["[MASK]", "unseen"]) == [t.mask_token_id, t.unk_token_id] and t.convert_ids_to_tokens(10**6) is None
    assert t.special_tokens_map == {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]"}
    assert sorted(t.all_special_ids) == [0, 1, 2, 3, 4] and t.bos_token is None and t.bos_token_id is None
    assert t.add_tokens(["[NEW]", "cat"]) == 2 and t.add_tokens("cat") == 0 and len(t) == n + 1 and t.tokenize("a [NEW] cat") == ["a", "[new]", "cat"]  # as the normalizer leaves it
    assert t.add_special_tokens({"bos_token": "[BOS]"}) == 1 and t.bos_token_id == n + 1
    assert t.decode([t.bos_token_id], skip_special_tokens=True) == ""
    t.model_max_length, t.padding_side, t.truncation_side = 7, "left", "left"
    assert (t.model_max_length, t.padding_side, t.truncation_side) == (7, "left", "left")
    token = tenon.AddedToken("<x>", lstrip=True)
    assert str(token) == "<x>" and token == tenon.AddedToken("<x>", lstrip=True) != tenon.AddedToken("<x>") and token.normalized


def test_pad_method(tokenizer):
    rows = [tokenizer("the cat"), tokenizer("a")]
    padded = tokenizer.pad(rows, return_tensors="pt")
    assert padded.input_ids.shape == (2, 4) and padded.attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert tokenizer.pad({"input_ids": [[5], [5, 6]]}, max_length=3, padding="max_length").input_ids == [[5, 0, 0], [5, 6, 0]]
    assert tokenizer.pad({"input_ids": [5, 6]}, padding=False).input_ids == [5, 6]


def test_files_and_overrides(tokenizer, vocab_file, tmp_path):
    assert [p.rsplit("/", 1)[1] for p in tokenizer.save_pretrained(tmp_path)] == ["tokenizer_config.json", "tokenizer.json"]
    t = tenon.AutoTokenizer.from_pretrained(tmp_path)
    assert type(t) is tenon.BertTokenizer is tenon.BertTokenizerFast and t("The cat").input_ids == tokenizer("The cat").input_ids
    assert t.model_max_length == 64
    changed = tenon.AutoTokenizer.from_pretrained(tmp_path, padding_side="left", model_max_length=9, do_lower_case=False)
    assert changed.padding_side == "left" and changed.model_max_length == 9 and changed.tokenize("The")[0] == "[UNK]"
    again = pickle.loads(pickle.dumps(t))
    assert again("a dog").input_ids == t("a dog").input_ids and type(again) is type(t)
    assert tenon.BertTokenizer.from_pretrained(vocab_file).tokenize("The cat") == ["the", "cat"]
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"] == "BertTokenizer"
    assert not isinstance(t, tenon.RobertaTokenizer) and isinstance(t, tenon.PreTrainedTokenizerFast)


def test_labels_from_text_target(tokenizer):
    assert tokenizer("the cat", text_target="a dog")["labels"] == tokenizer("a dog")["input_ids"]


def test_wrong_arguments(tokenizer):
    for call, error in ((lambda: tokenizer(None), "text"), (lambda: tokenizer(3), "int"), (lambda: tokenizer(["a", 3]), "int"), (lambda: tokenizer("a", ["b"]), "list"),
                        (lambda: tokenizer("a", padding="wide"), "padding"), (lambda: tokenizer("a", truncation="all"), "truncation"),
                        (lambda: tokenizer("a", return_tensors="tf"), "return_tensors"), (lambda: tokenizer(["a", "b c"], return_tensors="pt"), "padding=True"),
                        (lambda: tokenizer("a b", truncation=True, max_length=1), "max_length"), (lambda: tokenizer("a", padding_side="up"), "padding_side"),
                        (lambda: tokenizer.decode([10**6]), "vocabulary"), (lambda: tokenizer.decode([-1]), "vocabulary"),
                        (lambda: tokenizer(["a"], ["b", "c"]), "second")):
        with pytest.raises(ValueError, match=error):
            call()
    with pytest.raises(TypeError, match="unknown arguments: colour"):
        tokenizer("a", colour=1)
    assert tokenizer("lone \ud800 surrogate").input_ids[0] == tokenizer.cls_token_id


@pytest.mark.parametrize("name", ["bert-base-uncased", "bert-base-cased", "bert-base-chinese", "all-MiniLM-L6-v2"])
def test_published_tokenizers(name):
    t = tenon.AutoTokenizer.from_pretrained(shared("tokenizers", name))
    cases = [json.loads(line) for line in shared("tokenizers", name, "cases.jsonl").read_text(encoding="utf-8").splitlines()]
    checked = 0
    for case in cases:
        if "ids_special" in case:
            ids = t(case["text"])["input_ids"]
            assert ids == case["ids_special"], case["text"]
            assert t.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) == case["decoded"]
            checked += 1
    assert checked > 100
