"""Small seeded models and datasets that the trainer's tests share."""
import random

import numpy as np

import tenon
from conftest import TINY, WORDS


def texts(count, seed=0):
    """Texts of 2 to 9 words and whether they name a cat."""
    draw = random.Random(seed)
    words = [w for w in WORDS if w.isalpha() and w != "cat"]
    made = []
    for i in range(count):
        line = draw.choices(words, k=draw.randint(2, 8))
        if i % 2:
            line.insert(draw.randrange(len(line)), "cat")
        made.append((" ".join(line), i % 2))
    return made


def examples(tokenizer, count, seed=0):
    return [{**tokenizer(text), "label": label} for text, label in texts(count, seed)]


def classifier(tokenizer, seed=0, dropout=0.1, **kwargs):
    tenon.manual_seed(seed)
    config = tenon.BertConfig(**{**TINY, **kwargs}, vocab_size=len(tokenizer), max_position_embeddings=64, hidden_dropout_prob=dropout,
                              attention_probs_dropout_prob=dropout, num_labels=2)
    return tenon.BertForSequenceClassification(config)


def language_model(tokenizer, seed=0, dropout=0.0):
    tenon.manual_seed(seed)
    return tenon.GPT2LMHeadModel(tenon.GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=64,
                                                  resid_pdrop=dropout,
                                                  embd_pdrop=dropout, attn_pdrop=dropout, bos_token_id=2, eos_token_id=3))


def arguments(folder, **kwargs):
    options = dict(per_device_train_batch_size=4, num_train_epochs=1, learning_rate=1e-3, logging_steps=1, save_strategy="no",
                   disable_tqdm=True)
    return tenon.TrainingArguments(str(folder), **{**options, **kwargs})


def weights(model):
    return {name: np.array(p.detach().numpy()) for name, p in model.named_parameters()}


def same(a, b, tolerance=0.0):
    """Whether two dicts of weights agree: bit for bit, or within a share of each one's largest magnitude."""
    assert a.keys() == b.keys()
    for name in a:
        error = np.abs(a[name] - b[name]).max()
        assert error <= tolerance * max(np.abs(a[name]).max(), 1e-2), (name, error)


def accuracy(prediction):
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}
