"""Tokenizers of translation models from their own files: Marian, M2M100, NLLB, MBart. The ids were recorded from Transformers 5.24."""
import json
import pickle
import struct

import pytest

import tenon

WORDS = "▁the ▁cat ▁sat ▁on ▁a ▁mat s ▁die ▁Katze ▁sa ß ▁ t e a c h er in . , ▁h m".split()


def model_file(path, words, kind, normal=True):
    """A SentencePiece model of these pieces; kind: 1 Unigram, 2 BPE."""
    def field(number, payload):
        return bytes([number << 3 | 2]) + (bytes([len(payload)]) if len(payload) < 128 else bytes([len(payload) & 127 | 128, len(payload) >> 7])) + payload

    def piece(text, score, type_):
        return field(1, field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + bytes([3 << 3, type_]))

    pieces = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), *((w, -1.0 - i / 8, 1) for i, w in enumerate(words))]
    path.write_bytes(b"".join(piece(*p) for p in pieces) + field(2, bytes([3 << 3, kind])) + field(3, b""))


def vocab_file(path, tokens):
    path.write_text(json.dumps({t: i for i, t in enumerate(tokens)}, ensure_ascii=False), encoding="utf-8")


def marian(folder, **config):
    model_file(folder / "source.spm", WORDS[:7] + WORDS[11:], 1)
    model_file(folder / "target.spm", WORDS[6:], 1)
    vocab_file(folder / "vocab.json", ["</s>", "<unk>", *WORDS[:20], ">>deu<<", "世", "<pad>"])
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "de", **config}))


def m2m100(folder):
    model_file(folder / "sentencepiece.bpe.model", WORDS, 2)
    vocab_file(folder / "vocab.json", ["<s>", "<pad>", "</s>", "<unk>", *WORDS[::-1]])
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "M2M100Tokenizer", "src_lang": "en", "tgt_lang": "de"}))


def fairseq(folder, name, kind):
    model_file(folder / "sentencepiece.bpe.model", WORDS, kind)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))


TEXTS = ["the cat sat on a mat.", "  the  cats  ", ">>deu<< the cat", ">>xyz<<the cat 世界", "cat</s>the <pad>", "", "die Katze saß , 世"]


def test_marian(tmp_path):
    marian(tmp_path)
    t = tenon.AutoTokenizer.from_pretrained(tmp_path)
    assert type(t).__name__ == "MarianTokenizer" and t.vocab_size == 25 and t.supported_language_codes == [">>deu<<"]
    assert t(TEXTS).input_ids == [[2, 3, 4, 5, 6, 7, 21, 0], [2, 3, 8, 0], [22, 2, 3, 0], [1, 2, 3, 13, 1, 0], [3, 0, 2, 24, 0], [0],
                                  [13, 1, 15, 13, 1, 16, 14, 1, 15, 13, 8, 16, 12, 13, 1, 13, 23, 0]]
    target = [[13, 14, 18, 15, 13, 17, 16, 14, 11, 14, 13, 1, 13, 16, 13, 1, 16, 14, 21, 0], [13, 14, 18, 15, 13, 17, 16, 14, 8, 0],
              [22, 13, 14, 18, 15, 13, 17, 16, 14, 0], [1, 13, 14, 18, 15, 13, 17, 16, 14, 13, 1, 0], [13, 17, 16, 14, 0, 13, 14, 18, 15, 24, 0], [0],
              [9, 10, 11, 12, 13, 1, 13, 23, 0]]
    assert t(text_target=TEXTS).input_ids == target and t(TEXTS, text_target=TEXTS)["labels"] == target
    with t.as_target_tokenizer():
        assert t(TEXTS).input_ids == target
    assert t("the cat", "on a mat").input_ids == [2, 3, 5, 6, 7, 0]
    assert t.decode(t(TEXTS).input_ids) == ["the cat sat on a mat.</s>", "the cats</s>", ">>deu<< the cat</s>", "<unk> the cat <unk> </s>",
                                            "cat</s> the<pad> </s>", "</s>", "<unk> e <unk> at<unk> e saß <unk> 世</s>"]
    assert t.decode(t(TEXTS[0]).input_ids, skip_special_tokens=True) == "the cat sat on a mat."
    assert t(TEXTS[0], return_offsets_mapping=True).offset_mapping[:3] == [(0, 3), (3, 7), (7, 11)]
    assert t(TEXTS[2], return_offsets_mapping=True).offset_mapping[:2] == [(0, 7), (8, 11)]


def test_marian_with_two_vocabularies(tmp_path):
    marian(tmp_path, separate_vocabs=True)
    vocab_file(tmp_path / "target_vocab.json", ["<pad>", "</s>", "<unk>", *WORDS[6:]])
    t = tenon.MarianTokenizer.from_pretrained(tmp_path)
    assert t("the cat").input_ids == [2, 3, 0]
    labels = t(text_target="die Katze").input_ids
    assert labels == [4, 5, 1] and t.decode(labels, skip_special_tokens=True) == "die Katze"


def test_files(tmp_path):
    folder, saved = tmp_path / "a", tmp_path / "b"
    folder.mkdir()
    marian(folder)
    t = tenon.MarianTokenizer(str(folder / "source.spm"), str(folder / "target.spm"), str(folder / "vocab.json"), model_max_length=512)
    assert t(TEXTS[0]).input_ids == [2, 3, 4, 5, 6, 7, 21, 0] and t.model_max_length == 512
    t.save_pretrained(saved)
    assert {"source.spm", "target.spm", "vocab.json", "tokenizer_config.json"} == {p.name for p in saved.iterdir()}
    assert (saved / "source.spm").read_bytes() == (folder / "source.spm").read_bytes()
    for again in (tenon.AutoTokenizer.from_pretrained(saved), tenon.AutoTokenizer.from_pretrained(saved, model_max_length=9), pickle.loads(pickle.dumps(t))):
        assert again(TEXTS).input_ids == t(TEXTS).input_ids and again(text_target=TEXTS).input_ids == t(text_target=TEXTS).input_ids
    with pytest.raises(ValueError, match="to_json"):
        t.backend_tokenizer.to_json()
    (folder / "target.spm").unlink()
    with pytest.raises(FileNotFoundError, match="target.spm"):
        tenon.AutoTokenizer.from_pretrained(folder)
    vocab_file(folder / "vocab.json", ["</s>", "<pad>"])
    with pytest.raises(ValueError, match="<unk>"):
        tenon.AutoTokenizer.from_pretrained(folder)


def test_m2m100(tmp_path):
    m2m100(tmp_path)
    t = tenon.AutoTokenizer.from_pretrained(tmp_path)
    assert type(t).__name__ == "M2M100Tokenizer" and (t.get_lang_id("fr"), t.get_lang_token("fr")) == (51, "__fr__")
    ids = [[15, 14, 10, 13, 15, 11, 12, 14, 15, 20, 12, 14, 15, 3, 22, 15, 4, 12, 14, 7, 2], [15, 14, 10, 13, 15, 11, 12, 14, 20, 2],
           [15, 3, 13, 3, 15, 14, 10, 13, 15, 11, 12, 14, 2], [15, 3, 14, 10, 13, 15, 11, 12, 14, 15, 3, 2], [15, 11, 12, 14, 2, 15, 14, 10, 13, 1, 2], [2],
           [15, 3, 13, 15, 3, 12, 14, 3, 13, 15, 20, 12, 16, 15, 6, 15, 3, 2]]
    assert t(TEXTS).input_ids == [[45, *row] for row in ids]
    assert t(text_target=TEXTS).input_ids == [[43, *row] for row in ids]
    assert t("the cat", "on a mat").input_ids == [45, 15, 14, 10, 13, 15, 11, 12, 14, 15, 3, 22, 15, 4, 12, 14, 2]
    assert t.decode(t(TEXTS[1]).input_ids, skip_special_tokens=True) == "the cats" and t.decode([45, *ids[0]])[:6] == "__en__"
    t.src_lang = "fr"
    assert t("the cat").input_ids[0] == 51 and t.src_lang == "fr" and pickle.loads(pickle.dumps(t))("the").input_ids[0] == 51
    assert tenon.AutoTokenizer.from_pretrained(tmp_path, src_lang="zu")("the").input_ids[0] == 126
    t.tgt_lang = "en"
    assert t(text_target="the").input_ids[0] == 45 and t._build_translation_inputs("the", src_lang="de", tgt_lang="fr")["forced_bos_token_id"] == 51
    with pytest.raises(ValueError, match="klingon"):
        t.src_lang = "klingon"
    with pytest.raises(KeyError):
        t.get_lang_id("klingon")


def test_nllb_and_mbart(tmp_path):
    fairseq(tmp_path, "NllbTokenizer", 2)
    t = tenon.AutoTokenizer.from_pretrained(tmp_path, tgt_lang="fra_Latn")
    eng, fra = t.convert_tokens_to_ids(["eng_Latn", "fra_Latn"])
    assert (t.convert_tokens_to_ids("ace_Arab"), t.convert_tokens_to_ids("zul_Latn"), t.mask_token_id) == (27, 228, 229)
    assert t(TEXTS[:2]).input_ids == [[eng, 15, 16, 20, 17, 15, 19, 18, 16, 15, 10, 18, 16, 15, 3, 8, 15, 26, 18, 16, 23, 2],
                                      [eng, 15, 15, 16, 20, 17, 15, 15, 19, 18, 16, 10, 15, 15, 2]]
    assert t(text_target="s").input_ids == [fra, 15, 10, 2] and t.get_lang_id("fra_Latn") == fra
    assert tenon.AutoTokenizer.from_pretrained(tmp_path, legacy_behaviour=True)("s").input_ids == [15, 10, 2, eng]
    t.save_pretrained(tmp_path / "saved")
    assert tenon.AutoTokenizer.from_pretrained(tmp_path / "saved")(TEXTS).input_ids == t(TEXTS).input_ids

    fairseq(tmp_path, "MBartTokenizer", 1)
    t = tenon.AutoTokenizer.from_pretrained(tmp_path, tgt_lang="fr_XX")
    assert t(TEXTS).input_ids == [[4, 5, 6, 7, 8, 9, 23, 2, 30], [4, 5, 10, 2, 30], [15, 3, 17, 3, 4, 5, 2, 30], [15, 3, 16, 20, 17, 5, 15, 3, 2, 30],
                                  [5, 2, 4, 1, 2, 30], [2, 30], [11, 12, 13, 14, 15, 24, 15, 3, 2, 30]]
    assert t(text_target=TEXTS[0]).input_ids[-2:] == [2, 34] and t.mask_token_id == 52
    assert t.decode(t(TEXTS[0]).input_ids) == "the cat sat on a mat.</s>en_XX"

    fairseq(tmp_path, "MBart50Tokenizer", 1)
    t = tenon.AutoTokenizer.from_pretrained(tmp_path, tgt_lang="fr_XX")
    assert t(TEXTS).input_ids == [[30, 4, 5, 6, 7, 8, 9, 23, 2], [30, 4, 5, 10, 15, 2], [30, 15, 3, 17, 3, 4, 5, 2], [30, 15, 3, 16, 20, 17, 5, 15, 3, 2],
                                  [30, 5, 2, 4, 15, 1, 2], [30, 2], [30, 11, 12, 13, 14, 15, 24, 15, 3, 2]]
    assert t(text_target=TEXTS[0]).input_ids[:2] == [34, 4] and t.mask_token_id == 79
