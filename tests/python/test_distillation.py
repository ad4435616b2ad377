"""Distillation: the loss against its formula in float64, the student that starts as a part of its teacher, trimmed vocabularies, training."""
import numpy as np
import pytest

import tenon
from tenon import DistillationTrainer, TrainingArguments, distillation_loss, student_from_teacher, trim_vocabulary
from tenon.distillation.student import layers_to_keep

TEXTS = ["shares rise on strong earnings", "the bank cut its forecast", "profit falls as costs rise", "dividend raised again"]


def teacher_and_tokenizer(folder, labels=3):
    words = sorted({w for text in TEXTS for w in text.split()} | {"unused", "never"})
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + c for c in letters), *words]) + "\n")
    tokenizer = tenon.BertTokenizer(str(folder / "vocab.txt"))
    tenon.manual_seed(3)
    config = tenon.BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=48,
                              max_position_embeddings=40, initializer_range=0.2, id2label={i: f"L{i}" for i in range(labels)})
    return tenon.BertForSequenceClassification(config).eval(), tokenizer


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


@pytest.mark.parametrize("temperature,alpha", [(1.0, 0.5), (2.0, 0.3), (5.0, 1.0)])
def test_loss_and_gradient_equal_the_formula(temperature, alpha):
    rng = np.random.default_rng(1)
    student, teacher, labels = rng.normal(size=(5, 4)), rng.normal(size=(5, 4)), np.array([0, 3, 1, 2, 2])
    ps, pt = np.exp(log_softmax(student / temperature)), np.exp(log_softmax(teacher / temperature))
    soft = temperature**2 * (pt * (log_softmax(teacher / temperature) - log_softmax(student / temperature))).sum() / 5
    hard = -log_softmax(student)[np.arange(5), labels].mean()
    gradient = alpha * temperature * (ps - pt) / 5 + (1 - alpha) * (np.exp(log_softmax(student)) - np.eye(4)[labels]) / 5
    s = tenon.tensor(student.astype(np.float32)).requires_grad_()
    loss = distillation_loss(s, tenon.tensor(teacher.astype(np.float32)), tenon.tensor(labels), temperature, alpha)
    loss.backward()
    assert loss.item() == pytest.approx(alpha * soft + (1 - alpha) * hard, rel=1e-5)
    np.testing.assert_allclose(s.grad.numpy(), gradient, atol=1e-6)


def test_loss_errors():
    a, b = tenon.zeros(2, 3), tenon.zeros(2, 4)
    with pytest.raises(ValueError, match="same logits"):
        distillation_loss(a, b)
    with pytest.raises(ValueError, match="temperature"):
        distillation_loss(a, a, temperature=0)
    with pytest.raises(ValueError, match="alpha"):
        distillation_loss(a, a, alpha=1.5)


def test_layers_to_keep():
    assert layers_to_keep(12, 6) == [0, 2, 4, 7, 9, 11]  # DistilBERT's
    assert layers_to_keep(6, 3) == [0, 2, 4] and layers_to_keep(4, 4) == [0, 1, 2, 3] and layers_to_keep(5, 1) == [0]
    with pytest.raises(ValueError, match="1 to 4"):
        layers_to_keep(4, 5)


def test_a_student_of_all_layers_has_the_teachers_hidden_states(tmp_path):
    teacher, tokenizer = teacher_and_tokenizer(tmp_path)
    student = student_from_teacher(teacher, layers=4).eval()
    batch = tokenizer(TEXTS, padding=True, return_tensors="np")
    with tenon.no_grad():
        a = student(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True).hidden_states[-1].numpy()
        b = teacher(**batch, output_hidden_states=True).hidden_states[-1].numpy()
    np.testing.assert_allclose(a, b, atol=2e-5)
    assert student.config.id2label == teacher.config.id2label
    assert student_from_teacher(teacher).config.n_layers == 2
    with pytest.raises(ValueError, match=r"some of 0 to 3, got \[0, 7\]"):
        student_from_teacher(teacher, layers=[0, 7])
    with pytest.raises(TypeError, match="expected a teacher of the type bert"):
        student_from_teacher(student)


def test_a_trimmed_vocabulary_gives_the_same_pieces(tmp_path):
    teacher, tokenizer = teacher_and_tokenizer(tmp_path)
    small, kept = trim_vocabulary(tokenizer, TEXTS)
    assert len(small) == len(kept) == len(tokenizer) - 2  # "unused" and "never"
    for text in [*TEXTS, "zebra", "never"]:
        pieces = small.tokenize(text)
        assert "[UNK]" not in pieces and "".join(pieces).replace("##", "") == text.replace(" ", "")
    assert [kept[i] for i in small(TEXTS[0])["input_ids"]] == tokenizer(TEXTS[0])["input_ids"]
    assert small.cls_token_id == small("x")["input_ids"][0] and small.pad_token == "[PAD]"
    student = student_from_teacher(teacher, layers=4, kept_ids=kept).eval()
    a = student(**{k: v for k, v in small(TEXTS, padding=True, return_tensors="np").items() if k != "token_type_ids"}, output_hidden_states=True)
    b = teacher(**tokenizer(TEXTS, padding=True, return_tensors="np"), output_hidden_states=True)
    np.testing.assert_allclose(a.hidden_states[-1].numpy(), b.hidden_states[-1].numpy(), atol=2e-5)
    with pytest.raises(ValueError, match="max_pieces: expected at least"):
        trim_vocabulary(tokenizer, TEXTS, max_pieces=10)


def rows(tokenizer, prefix=""):
    batch = tokenizer(TEXTS * 4)
    return [{prefix + "input_ids": i, prefix + "attention_mask": m} for i, m in zip(batch["input_ids"], batch["attention_mask"])]


def arguments(folder, **more):
    return TrainingArguments(output_dir=str(folder / "out"), num_train_epochs=30, per_device_train_batch_size=8, learning_rate=3e-3, logging_steps=1,
                             save_strategy="no", report_to="none", disable_tqdm=True, **more)


@pytest.mark.parametrize("hidden_weight", [0.0, 1.0])
def test_a_student_learns_its_teachers_answers(tmp_path, hidden_weight):
    teacher, tokenizer = teacher_and_tokenizer(tmp_path)
    student = student_from_teacher(teacher, layers=2, dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0)
    batch = tokenizer(TEXTS, padding=True, return_tensors="np")

    def distance():
        with tenon.no_grad():
            mine = student(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            return distillation_loss(mine, teacher(**batch).logits, alpha=1.0).item()

    before = distance()
    trainer = DistillationTrainer(model=student, teacher=teacher, alpha=1.0, hidden_weight=hidden_weight, args=arguments(tmp_path),
                                  train_dataset=rows(tokenizer), processing_class=tokenizer)
    trainer.train()
    student.eval()
    assert distance() < 0.3 * before


def test_a_teacher_with_another_tokenizer_answers_once(tmp_path, monkeypatch):
    teacher, tokenizer = teacher_and_tokenizer(tmp_path)
    small, kept = trim_vocabulary(tokenizer, TEXTS)
    student = student_from_teacher(teacher, layers=2, kept_ids=kept)
    data = [{**a, **b, "labels": i % 3} for i, (a, b) in enumerate(zip(rows(small), rows(tokenizer, "teacher_")))]
    calls = []
    forward = type(teacher).forward
    monkeypatch.setattr(type(teacher), "forward", lambda self, *a, **k: calls.append(1) or forward(self, *a, **k))
    trainer = DistillationTrainer(model=student, teacher=teacher, args=arguments(tmp_path), train_dataset=data, processing_class=small)
    trainer.train()
    assert len(calls) == 2  # 16 rows, 8 at a time
    with tenon.no_grad():
        want = teacher(**tokenizer([TEXTS[0]], return_tensors="np")).logits.numpy()[0]
    np.testing.assert_allclose(trainer.train_dataset[0]["teacher_logits"], want, atol=1e-5)


def test_trainer_errors(tmp_path):
    teacher, tokenizer = teacher_and_tokenizer(tmp_path)
    student = student_from_teacher(teacher, layers=2)
    make = lambda **k: DistillationTrainer(model=student, args=arguments(tmp_path), train_dataset=rows(tokenizer), processing_class=tokenizer, **k)
    with pytest.raises(ValueError, match="expected a teacher"):
        make()
    with pytest.raises(ValueError, match="alpha"):
        make(teacher=teacher, alpha=2)
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match="student's 3 classes, got 5"):
        make(teacher=teacher_and_tokenizer(tmp_path / "b", 5)[0])
