"""Data collators: shapes, padding, labels, masking."""
import numpy as np
import pytest

import tenon
from tenon import (DataCollatorForLanguageModeling, DataCollatorForSeq2Seq, DataCollatorForTokenClassification, DataCollatorWithFlattening,
                   DataCollatorWithPadding, default_data_collator)


def test_default():
    batch = default_data_collator([{"label": 1, "x": [1, 2], "text": "a", "none": None}, {"label": 0, "x": [3, 4], "text": "b", "none": None}])
    assert list(batch) == ["x", "labels"] and batch["labels"].tolist() == [1, 0] and batch["x"].tolist() == [[1, 2], [3, 4]]
    assert batch["labels"].dtype == tenon.int64 and isinstance(batch["x"], tenon.Tensor)
    assert default_data_collator([{"label": 0.5}, {"label": 1}])["labels"].dtype == tenon.float32
    assert default_data_collator([{"label_ids": [1, 2]}])["labels"].tolist() == [[1, 2]]
    assert isinstance(default_data_collator([{"x": np.ones(2)}], return_tensors="np")["x"], np.ndarray)
    assert default_data_collator([{"x": tenon.ones(2, 3)}] * 2)["x"].shape == (2, 2, 3)
    assert tenon.DefaultDataCollator()([{"x": [1]}])["x"].tolist() == [[1]]
    with pytest.raises(ValueError, match="x: expected examples of one shape"):
        default_data_collator([{"x": [1]}, {"x": [1, 2]}])
    with pytest.raises(ValueError, match="x: example 1 of the batch has none"):
        default_data_collator([{"x": [1]}, {"y": [1]}])
    with pytest.raises(TypeError, match="names"):
        default_data_collator([1, 2])


def test_padding(tokenizer):
    rows = [{**tokenizer("the cat sat"), "label": 2}, {**tokenizer("a dog sat on the mat"), "label": 0}]
    batch = DataCollatorWithPadding(tokenizer)(rows)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, 8) and batch["labels"].tolist() == [2, 0] and "label" not in batch
    assert batch["attention_mask"].tolist()[0] == [1] * 5 + [0] * 3
    assert DataCollatorWithPadding(tokenizer, pad_to_multiple_of=16)(rows)["input_ids"].shape == (2, 16)
    assert DataCollatorWithPadding(tokenizer, padding="max_length", max_length=12)(rows)["input_ids"].shape == (2, 12)


def test_token_classification(tokenizer):
    rows = [{"input_ids": [2, 5, 3], "labels": [-100, 1, -100]}, {"input_ids": [2, 5, 6, 7, 3], "labels": [-100, 0, 1, 2, -100]}]
    batch = DataCollatorForTokenClassification(tokenizer)(rows)
    assert batch["labels"].tolist() == [[-100, 1, -100, -100, -100], [-100, 0, 1, 2, -100]] and batch["input_ids"].shape == (2, 5)


def test_sequence_to_sequence(tokenizer):
    rows = [{"input_ids": [2, 5, 3], "labels": [7]}, {"input_ids": [2, 3], "labels": [7, 8, 9]}]
    batch = DataCollatorForSeq2Seq(tokenizer)(rows)
    assert batch["labels"].tolist() == [[7, -100, -100], [7, 8, 9]] and batch["input_ids"].tolist() == [[2, 5, 3], [2, 3, 0]]
    assert DataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=4)(rows)["labels"].shape == (2, 4)
    assert "labels" not in DataCollatorForSeq2Seq(tokenizer)([{"input_ids": [2, 3]}])


def test_causal_language_modeling(tokenizer):
    batch = DataCollatorForLanguageModeling(tokenizer, mlm=False)([{"input_ids": [2, 5, 3]}, {"input_ids": [2, 3], "labels": [9, 9]}])
    assert batch["labels"].tolist() == [[2, 5, 3], [2, 3, -100]] and batch["attention_mask"].tolist()[1] == [1, 1, 0]
    assert DataCollatorForLanguageModeling(tokenizer, mlm=False)([[2, 5, 3], [2, 3]])["input_ids"].tolist() == [[2, 5, 3], [2, 3, 0]]


def test_masking_shares(tokenizer):
    collator = DataCollatorForLanguageModeling(tokenizer, seed=3)
    ids = np.full((64, 62), tokenizer.convert_tokens_to_ids("cat"))
    rows = [{"input_ids": [tokenizer.cls_token_id, *row, tokenizer.sep_token_id]} for row in ids.tolist()]
    batch = collator(rows)
    inputs, labels = batch["input_ids"].numpy(), batch["labels"].numpy()
    chosen = labels != -100
    assert not chosen[:, 0].any() and not chosen[:, -1].any() and 0.13 < chosen.mean() < 0.17
    masked = inputs[chosen] == tokenizer.mask_token_id
    same = inputs[chosen] == ids[0, 0]
    assert 0.75 < masked.mean() < 0.85 and 0.07 < same.mean() < 0.14 and 0.06 < (~masked & ~same).mean() < 0.14
    assert (labels[chosen] == ids[0, 0]).all() and (inputs[~chosen] == np.array([r["input_ids"] for r in rows])[~chosen]).all()
    again = DataCollatorForLanguageModeling(tokenizer, seed=3)(rows)
    assert again["input_ids"].tolist() == inputs.tolist() and collator(rows)["input_ids"].tolist() != inputs.tolist()
    collator.set_batch(1, 0, 5)
    first = collator(rows)["input_ids"].tolist()
    collator.set_batch(1, 0, 5)
    assert collator(rows)["input_ids"].tolist() == first
    everything = DataCollatorForLanguageModeling(tokenizer, mlm_probability=1.0, mask_replace_prob=1.0, random_replace_prob=0.0)(rows[:1])
    assert (everything["input_ids"].numpy()[0, 1:-1] == tokenizer.mask_token_id).all()


def test_whole_words(tokenizer):
    rows = [dict(tokenizer("zebra hello xylophone", return_offsets_mapping=True))] * 16
    batch = DataCollatorForLanguageModeling(tokenizer, whole_word_mask=True, mlm_probability=0.5, seed=1)(rows)
    words = tokenizer("zebra hello xylophone").word_ids()
    chosen = batch["labels"].numpy() != -100
    for row in chosen:
        for word in range(3):
            assert len({bool(c) for c, w in zip(row, words) if w == word}) == 1
    assert (batch["input_ids"].numpy()[chosen] == tokenizer.mask_token_id).all() and 0 < chosen.mean() < 1
    with pytest.raises(ValueError, match="offset_mapping"):
        tenon.DataCollatorForWholeWordMask(tokenizer)([{"input_ids": [2, 5, 3]}])


def test_bad_masking(tokenizer):
    with pytest.raises(ValueError, match="mlm_probability"):
        DataCollatorForLanguageModeling(tokenizer, mlm_probability=1.5)
    with pytest.raises(ValueError, match="mask_replace_prob \\+ random_replace_prob"):
        DataCollatorForLanguageModeling(tokenizer, mask_replace_prob=0.9, random_replace_prob=0.2)
    with pytest.raises(ValueError, match="expected examples with input_ids"):
        DataCollatorForLanguageModeling(tokenizer)([{"text": "a"}])


def test_flattening():
    batch = DataCollatorWithFlattening(return_seq_idx=True, return_flash_attn_kwargs=True)([{"input_ids": [5, 6, 7]}, {"input_ids": []},
                                                                                            {"input_ids": [8, 9], "labels": [1, 2]}])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9]] and batch["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert batch["labels"].tolist() == [[-100, 6, 7, -100, 9]] and batch["seq_idx"].tolist() == [[0, 0, 0, 1, 1]]
    assert batch["cu_seq_lens_q"].tolist() == [0, 3, 5] and batch["max_length_q"] == 3
    from tenon.trainer.loading import separated

    apart = separated({k: v for k, v in batch.items() if k in ("input_ids", "labels", "position_ids")})
    assert apart["input_ids"].tolist() == [[5, 6, 7], [8, 9, 0]] and apart["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert apart["labels"].tolist() == [[-100, 6, 7], [-100, 9, -100]] and apart["position_ids"].tolist() == [[0, 1, 2], [0, 1, 0]]


def test_columns_of_texts_are_named(tokenizer):
    with pytest.raises(TypeError, match="text, tags: expected numbers, got texts"):
        DataCollatorWithPadding(tokenizer)([{"input_ids": [2, 3], "text": "a", "tags": ["x"]}])
