"""The tokenizer object: calls, BatchEncoding, decoding, files. The engine itself is tested in C++."""
import gc
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
    arrays = tokenizer.pad([{"input_ids": np.array([5])}, {"input_ids": np.array([5, 6]), "label": 1}][:1])
    assert isinstance(arrays.input_ids, np.ndarray) and tokenizer.pad({"input_ids": []}) == {"input_ids": []}
    other = tokenizer.pad({"input_ids": [[5], [5, 6]], "labels": [[1], [2]], "token_type_ids": [[1], [1, 1]]}, padding_side="left")
    assert other == {"input_ids": [[0, 5], [5, 6]], "labels": [[1], [2]], "token_type_ids": [[0, 1], [1, 1]], "attention_mask": [[0, 1], [1, 1]]}
    for wrong in ({"x": [1]}, {"input_ids": [[1], [2]], "labels": [[1]]}, 3):
        with pytest.raises(ValueError, match="pad"):
            tokenizer.pad(wrong)


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
    assert tokenizer(text_target="a dog") == tokenizer("a dog")
    assert len(tokenizer("the cat sat", text_target="the cat sat", truncation=True, max_length=5, max_target_length=3)["labels"]) == 3


def test_ways_to_give_texts(tokenizer):
    one, pair = tokenizer("the cat").input_ids, tokenizer("the cat", "a dog").input_ids
    assert tokenizer(["the cat", ("the cat", "a dog")]).input_ids == [one, pair], "texts and pairs in one batch"
    assert tokenizer(("the cat", "the cat")).input_ids == [one, one], "a tuple of texts is a batch"
    assert tokenizer([["the cat", "a dog"]]).input_ids == [pair] == tokenizer([("the", "cat")], [("a", "dog")], is_split_into_words=True).input_ids
    assert tokenizer([(["the", "cat"], ["a", "dog"])], is_split_into_words=True).input_ids == [pair]
    assert tokenizer("the cat", "").input_ids == one and tokenizer(["the cat"], [""]).input_ids == [one + [tokenizer.sep_token_id]]
    assert tokenizer([], is_split_into_words=True).input_ids == [tokenizer.cls_token_id, tokenizer.sep_token_id]
    assert tokenizer("the cat", tokenizer_kwargs={"add_special_tokens": False}).input_ids == one[1:-1]
    assert tokenizer.encode(["the cat", "the cat"]) == [one, one] and tokenizer.encode_plus("the cat", "a dog").input_ids == pair
    assert tokenizer.batch_encode_plus([("the cat", "a dog")]).input_ids == [pair]
    assert tokenizer("[CLS] the", split_special_tokens=True).input_ids.count(tokenizer.cls_token_id) == 1
    assert tokenizer.tokenize("the cat", "a dog", add_special_tokens=True) == ["[CLS]", "the", "cat", "[SEP]", "a", "dog", "[SEP]"]


def test_places(tokenizer):
    e = tokenizer(["the catz sat", "a dog"], ["on mat", "rival"], padding=True)
    assert len(e.encodings) == 2 and e[1].tokens == e.tokens(1) and e[0:2] == e.encodings and e.n_sequences == 2 and e.is_fast
    assert e.char_to_token(0, 5) == 2 and e.char_to_token(0, 0, sequence_index=1) == 6 and e.char_to_token(0, 99) is None
    assert e.char_to_word(0, 5) == 1 and e.token_to_word(0, 3) == 1 and e.token_to_word(0, 0) is None and e.token_to_word(0, 99) is None
    assert e.token_to_chars(0, 3) == (7, 8) and e.token_to_chars(0, -3) == (0, 2) and e.token_to_chars(0, 0) is None
    assert e.token_to_sequence(0, 6) == 1 and e.token_to_sequence(0, 0) is None
    assert e.word_to_tokens(0, 1) == (2, 4) and e.word_to_tokens(0, 9) is None and e.word_to_chars(0, 1) == (4, 8) and e.word_to_chars(0, 0, sequence_index=1).end == 2
    with pytest.raises(TypeError, match="word"):
        e.word_to_chars(0, 9)
    assert e[0].word_ids == e.word_ids(0) == e.words(0) and e[0].n_sequences == 2 and "num_tokens=" in repr(e[0])
    again = pickle.loads(pickle.dumps(e))
    assert again == e and again.tokens(0) == e.tokens(0) and again.word_to_tokens(0, 1) == (2, 4) and again.n_sequences == 2
    bare = tenon.BatchEncoding({"a": [[1, 2]]})
    assert bare.encodings is None and bare[0:1] == {"a": [[1, 2]]} and not bare.is_fast
    for call, error in ((lambda: bare[0], KeyError), (lambda: bare.tokens(), ValueError), (lambda: bare.word_ids(), ValueError)):
        with pytest.raises(error):
            call()
    assert tenon.BatchEncoding({"a": [1, 2]}, tensor_type="np", prepend_batch_axis=True)["a"].shape == (1, 2)
    assert tokenizer("the", return_tensors="pt").convert_to_tensors("np")["input_ids"].shape == (1, 3)


def test_ids_instead_of_texts(tokenizer):
    a, b = tokenizer.encode("the cat sat", add_special_tokens=False), tokenizer.encode("a dog", add_special_tokens=False)
    assert tokenizer.build_inputs_with_special_tokens(a, b) == tokenizer("the cat sat", "a dog").input_ids
    assert tokenizer.create_token_type_ids_from_sequences(a, b) == tokenizer("the cat sat", "a dog").token_type_ids
    assert tokenizer.get_special_tokens_mask(a) == [1, 0, 0, 0, 1] == tokenizer.get_special_tokens_mask(tokenizer.encode("the cat sat"), already_has_special_tokens=True)
    e = tokenizer.prepare_for_model(a, b, max_length=6, truncation="only_first", padding="max_length", return_special_tokens_mask=True)
    assert e == {k: v for k, v in tokenizer("the cat sat", "a dog", max_length=6, truncation="only_first", padding="max_length", return_special_tokens_mask=True).items()}
    over = tokenizer.prepare_for_model(a, truncation=True, max_length=4, stride=1, return_overflowing_tokens=True)
    assert over["overflowing_tokens"] == a[1:] and over["num_truncated_tokens"] == 1 and over.input_ids == [2, *a[:2], 3]
    assert tokenizer.prepare_for_model(a, return_tensors="pt", prepend_batch_axis=True).input_ids.shape == (1, 5)
    assert tokenizer.truncate_sequences([1, 2, 3], [4, 5], 3) == ([1], [4], []) and tokenizer.truncate_sequences([1, 2, 3], num_tokens_to_remove=1, stride=1) == ([1, 2], None, [2, 3])
    assert tokenizer.truncate_sequences([1], [4, 5], 1, "only_second") == ([1], [4], [5]) and tokenizer.truncate_sequences([1], None, 0) == ([1], None, [])
    with pytest.raises(ValueError, match="only_first"):
        tokenizer.truncate_sequences([1], [2], 1, "only_first")


def test_roles(vocab_file):
    t = tenon.BertTokenizer(vocab_file)
    n = len(t)
    t.pad_token = "nowhere"
    assert t.pad_token == "nowhere" and t.pad_token_id == t.unk_token_id and len(t) == n, "a role does not add a token"
    assert t(["a", "the cat"], padding=True).input_ids[0][-1] == t.unk_token_id
    t.pad_token_id = t.mask_token_id
    assert t.pad_token == "[MASK]" and t(["a", "the cat"], padding=True).input_ids[0][-1] == t.mask_token_id
    t.pad_token = None
    assert t.pad_token is None and t.pad_token_id is None and "pad_token" not in t.special_tokens_map
    with pytest.raises(ValueError, match="pad_token"):
        t(["a", "the cat"], padding=True)
    with pytest.raises(ValueError, match="pad_token"):
        t.pad_token = 3
    assert t.add_special_tokens({"pad_token": "<p>", "additional_special_tokens": ["<e1>", tenon.AddedToken("<e2>", lstrip=True)]}) == 3 and len(t) == n + 3
    assert t.extra_special_tokens == ["<e1>", "<e2>"] == t.additional_special_tokens and t.extra_special_tokens_ids == [n + 1, n + 2]
    assert t.decode([n, n + 1, n + 2], skip_special_tokens=True) == "" and t.added_tokens_decoder[n + 2].lstrip
    t.add_special_tokens({"extra_special_tokens": ["<e3>"]}, replace_extra_special_tokens=False)
    assert t.extra_special_tokens == ["<e1>", "<e2>", "<e3>"] and t.all_special_tokens[-1] == "<e3>"
    for wrong in ({"foo": "x"}, {"pad_token": 3}, {"extra_special_tokens": "x"}):
        with pytest.raises(ValueError):
            t.add_special_tokens(wrong)
    with pytest.raises(TypeError, match="int"):
        t.add_tokens([3])
    with pytest.raises(AttributeError, match="image_token"):
        t.image_token
    assert "lstrip=True" in repr(tenon.AddedToken("x", lstrip=True)) and t.max_len_sentences_pair == t.model_max_length - 3


def test_overrides_of_files(tmp_path, vocab_file):
    tenon.BertTokenizer(vocab_file).save_pretrained(tmp_path)
    t = tenon.AutoTokenizer.from_pretrained(tmp_path, bos_token="the", eos_token="sat", add_bos_token=True, image_token="<image>", extra_special_tokens={"audio_token": "<audio>"})
    assert t.convert_ids_to_tokens(t("a cat").input_ids) == ["the", "a", "cat"] and t.add_bos_token and not t.add_eos_token
    t.add_eos_token = True
    assert t.tokenize("a", "dog", add_special_tokens=True) == ["the", "a", "sat", "the", "dog", "sat"]
    assert t.image_token == "<image>" and t.special_tokens_map["audio_token"] == "<audio>" and t.tokenize("a <image>") == ["a", "<image>"]
    assert t.image_token_id == t.convert_tokens_to_ids("<image>") and t.image_token_id in t.all_special_ids
    t.bos_token = None
    t.update_post_processor()
    assert t.tokenize("a", add_special_tokens=True) == ["a", "sat"]
    assert tenon.AutoTokenizer.from_pretrained(tmp_path, pad_token=tenon.AddedToken("<pad>", lstrip=True)).pad_token == "<pad>"


def test_clean_up_and_numbers(tokenizer):
    np_ids = np.array(tokenizer("the cat sat .").input_ids)
    assert tokenizer.decode(np_ids) == tokenizer.decode(np_ids.tolist()) == tokenizer.decode(tenon.tensor(np_ids)) == tokenizer.decode({"input_ids": np_ids})
    assert tokenizer.decode(np_ids[1]) == "the" and tokenizer.batch_decode(np_ids[None]) == [tokenizer.decode(np_ids)] == tokenizer.batch_decode(np_ids)
    assert tokenizer.decode([]) == "" and tokenizer.batch_decode([]) == [] and tokenizer.convert_ids_to_tokens(np_ids[:2]) == ["[CLS]", "the"]
    assert tokenizer.clean_up_tokenization("do n't , he 's .") == "don't, he's."
    assert tokenizer.convert_tokens_to_ids([]) == [] and tokenizer.convert_tokens_to_ids(None) is None


def test_wrong_arguments(tokenizer):
    for call, error in ((lambda: tokenizer(None), "text"), (lambda: tokenizer(3), "int"), (lambda: tokenizer(["a", 3]), "int"), (lambda: tokenizer("a", ["b"]), "list"),
                        (lambda: tokenizer("a", padding="wide"), "padding"), (lambda: tokenizer("a", truncation="all"), "truncation"),
                        (lambda: tokenizer("a", return_tensors="tf"), "return_tensors"), (lambda: tokenizer(["a", "b c"], return_tensors="pt"), "padding=True"),
                        (lambda: tokenizer("a b", truncation=True, max_length=1), "max_length"), (lambda: tokenizer("a", padding_side="up"), "padding_side"),
                        (lambda: tokenizer.decode([10**6]), "vocabulary"), (lambda: tokenizer.decode([-1]), "vocabulary"),
                        (lambda: tokenizer(["a"], ["b", "c"]), "second")):
        with pytest.raises(ValueError, match=error):
            call()
    for option, value in (("max_length", "8"), ("max_length", 8.0), ("stride", "1"), ("pad_to_multiple_of", 8.0)):
        with pytest.raises(TypeError, match=rf"{option}: expected an int, got {type(value).__name__}"):
            tokenizer("a", padding=True, truncation=True, **{option: value})
    for option, value in (("max_length", -1), ("max_length", -5), ("max_length", -2**70), ("stride", -1), ("stride", 2**70), ("pad_to_multiple_of", -8), ("pad_to_multiple_of", 2**70)):
        with pytest.raises(ValueError, match=f"{option}: expected"):
            tokenizer("a", padding=True, truncation=True, **{"max_length": 8, option: value})
    with pytest.raises(TypeError, match="convert_tokens_to_ids: expected a str"):
        tokenizer.convert_tokens_to_ids(3)
    for texts in (["a", 3], 3, [["a"], [3]]):
        with pytest.raises(TypeError):
            tokenizer(texts)
    with pytest.raises(TypeError, match="unknown arguments: colour"):
        tokenizer("a", colour=1)
    assert tokenizer("lone \ud800 surrogate").input_ids[0] == tokenizer.cls_token_id


@pytest.mark.parametrize("id", [-1, 10**6, 2**31, -2**31 - 1, 2**63, 2**70, -2**70])
def test_ids_of_any_size(tokenizer, id):
    stream = tenon.DecodeStream()
    for call in (lambda: tokenizer.decode(id), lambda: tokenizer.decode([5, id]), lambda: tokenizer.decode([[5], [id]]), lambda: tokenizer.batch_decode([[id]]),
                 lambda: stream.step(tokenizer, id), lambda: stream.step(tokenizer, [5, id]), lambda: tenon.DecodeStream([id]).step(tokenizer, 5),
                 lambda: tenon.TextIteratorStreamer(tokenizer).put([id])):
        with pytest.raises(ValueError, match="expected ids of the vocabulary"):
            call()
    assert tokenizer.convert_ids_to_tokens(id) is None and tokenizer.convert_ids_to_tokens([5, id])[1] is None
    assert tokenizer.get_special_tokens_mask([id], already_has_special_tokens=True) == [0]
    with pytest.raises(ValueError, match="pad_token_id: expected an id of the vocabulary"):
        tokenizer.pad_token_id = id
    assert tokenizer.pad_token == "[PAD]"
    encoding = tokenizer("a cat")
    assert encoding.token_to_word(id) is encoding.token_to_chars(id) is encoding.char_to_token(id) is encoding.word_to_tokens(id) is None
    if -2**31 <= id < 2**31:  # a model may take more than its tokenizer knows
        assert tokenizer.build_inputs_with_special_tokens([id])[1] == tokenizer.prepare_for_model([id]).input_ids[1] == id
        return
    for call in (lambda: tokenizer.build_inputs_with_special_tokens([id]), lambda: tokenizer.build_inputs_with_special_tokens([5], [id]),
                 lambda: tokenizer.prepare_for_model([id]), lambda: tokenizer.create_token_type_ids_from_sequences([id]), lambda: tokenizer.get_special_tokens_mask([id])):
        with pytest.raises(ValueError, match="ids: expected"):
            call()


def test_what_are_no_ids(tokenizer):
    for ids, name in (("abc", "str"), (b"abc", "bytes"), (None, "NoneType"), (1.0, "float"), ([1.0], "float"), (["a"], "str"), ([None], "NoneType"), ([[5], ["a"]], "str")):
        with pytest.raises(TypeError, match=rf"\[tokenizer\] decode: expected .*got {name}"):
            tokenizer.decode(ids)
    with pytest.raises(TypeError, match="ids: expected integers as ids, got str"):
        tokenizer.prepare_for_model(["a"])
    the = tokenizer.convert_tokens_to_ids("the")
    for ids in (the, [the], (the,), {the: 0}.keys(), iter([the]), [np.int64(the)], [np.array(the)], [tenon.tensor(the)]):
        assert tokenizer.decode(ids) == "the"
    assert tokenizer.decode([np.array([the]), np.array([the, the])]) == ["the", "the the"]
    with pytest.raises(ValueError, match="got a number of more than 4000 digits"):
        tokenizer.decode([10**5000])
    assert tokenizer("the", truncation=True, max_length=10**30).input_ids[1] == the  # what model_max_length is where no file says


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


@pytest.mark.parametrize("side", ["left", "right"])
def test_large_batches(tokenizer, side):
    """Of a large batch the encodings are made when they are asked for, whatever became of the tokenizer."""
    own = pickle.loads(pickle.dumps(tokenizer))
    texts = ["the cat sat on the mat", "a dog"] * 2000
    options = dict(padding=True, padding_side=side, truncation=True, max_length=6)
    small, large = own(texts[:2], **options), own(texts, **options)
    own.add_tokens(["cat sat"])
    assert large.n_sequences == 1 and list(large) == list(small)
    for name in small:
        assert large[name][:2] == small[name] and large[name][-2:] == small[name]
    assert large.tokens(2) == small.tokens(0) and large.word_ids(3) == small.word_ids(1) and large.attention_mask[:2] == small.attention_mask
    for kind in ("np", "pt"):
        arrays = tokenizer(texts, return_tensors=kind, **options)
        for name in small:
            assert arrays[name].tolist()[-2:] == small[name]
    assert pickle.loads(pickle.dumps(large)).tokens(1) == small.tokens(1)
    assert [len(o) for o in tokenizer(texts, return_offsets_mapping=True).offset_mapping[:2]] == [8, 4]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_large_batches_like_single_texts(tokenizer, threads):
    """Ids of large batches come another way, in parts from several threads: the same columns for all options."""
    words = "the a cat dog sat on mat bank rose sharply".split()
    texts = [" ".join(words[(i * k) % 10] for k in range(i % 17)) for i in range(3000)] + ["", "\U0001f600 x", "[SEP] the [MASK]"]
    own = pickle.loads(pickle.dumps(tokenizer))
    before = tenon.get_num_threads()
    tenon.set_num_threads(threads)
    try:
        for side in ("right", "left"):
            own.truncation_side = own.padding_side = side
            for options in ({}, {"add_special_tokens": False}, {"truncation": True, "max_length": 7}, {"truncation": "only_first", "max_length": 5, "add_special_tokens": False},
                            {"truncation": True, "max_length": 2}, {"return_attention_mask": False, "return_token_type_ids": False},
                            {"padding": "max_length", "max_length": 24}, {"padding": True, "pad_to_multiple_of": 8}, {"split_special_tokens": True}):
                large = own(texts, **options)
                few = {**options, "padding": "max_length", "max_length": len(large.input_ids[0])} if options.get("padding") else options
                for i in (*range(40), *range(2990, 3003)):
                    assert {k: v[i] for k, v in large.items()} == dict(own(texts[i], **few)), (options, i)
        tensors, lists = own(texts, padding=True, return_tensors="np"), own(texts, padding=True)
        assert {k: v.tolist() for k, v in tensors.items()} == dict(lists)
        with pytest.raises(ValueError, match="one length"):
            own(texts, return_tensors="np")
        for wrong in ({"truncation": True, "max_length": 1}, {"truncation": True, "max_length": 6, "stride": 4}, {"truncation": "only_second", "max_length": 4}):
            with pytest.raises(ValueError):
                own(texts, **wrong)
    finally:
        tenon.set_num_threads(before)


def test_lists_of_numbers_are_no_work_for_the_collector_of_cycles(tokenizer):
    for texts in (["the cat sat on the mat"] * 3000, ["the cat"]):  # ids alone, and whole encodings
        batch = tokenizer(texts, return_offsets_mapping=len(texts) == 1)
        for rows in batch.values():
            assert len(rows) == len(texts) and not any(map(gc.is_tracked, rows))
        batch["input_ids"][0].append([])
        assert batch["input_ids"][0].pop() == [] and batch["input_ids"][0][0] == tokenizer.cls_token_id
        gc.collect()


def test_max_length_without_truncation(tokenizer):
    """It cuts where neither padding nor truncation is said; padding="do_not_pad" says something."""
    text = "the cat sat on the mat"
    assert len(tokenizer(text, max_length=4).input_ids) == 4 and len(tokenizer(text, max_length=4, padding="do_not_pad").input_ids) == 8
    assert len(tokenizer(text, max_length=4, truncation=False).input_ids) == 8


def test_lone_surrogates(tokenizer):
    """Each counts as one U+FFFD, which BERT's normalizer takes out, and offsets stay those of the str."""
    e = tokenizer("the \ud800 cat\udfff", return_offsets_mapping=True)
    assert e.tokens() == ["[CLS]", "the", "cat", "[SEP]"] and e.offset_mapping == [(0, 0), (0, 3), (6, 9), (0, 0)]
    assert tokenizer(["the \ud800 cat\udfff"] * 4000).input_ids[3999] == e.input_ids == tokenizer("the \ufffd cat\ufffd").input_ids
