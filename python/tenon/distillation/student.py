"""A DistilBERT that starts as a part of its BERT teacher."""
from __future__ import annotations

from typing import Any, Sequence

from .._core import Tensor
from ..configuration import config_class

# Below a layer: DistilBERT's name and BERT's.
_LAYER = {"attention.q_lin": "attention.self.query", "attention.k_lin": "attention.self.key", "attention.v_lin": "attention.self.value",
          "attention.out_lin": "attention.output.dense", "sa_layer_norm": "attention.output.LayerNorm", "ffn.lin1": "intermediate.dense",
          "ffn.lin2": "output.dense", "output_layer_norm": "output.LayerNorm"}


def layers_to_keep(teacher_layers: int, count: int) -> list[int]:
    """Which layers of the teacher a student of `count` layers starts from, spread evenly, the first among them.

    DistilBERT's own choice of 6 of 12 is 0, 2, 4, 7, 9, 11. Errors: ValueError unless 1 <= count <= teacher_layers.
    """
    if not 1 <= count <= teacher_layers:
        raise ValueError(f"[student] layers: expected 1 to {teacher_layers}, got {count}")
    if (teacher_layers, count) == (12, 6):
        return [0, 2, 4, 7, 9, 11]
    return [i * teacher_layers // count for i in range(count)]


def student_from_teacher(teacher: Any, layers: "int | Sequence[int] | None" = None, kept_ids: "Sequence[int] | None" = None, **settings: Any) -> Any:
    """A DistilBertForSequenceClassification with some of a BertForSequenceClassification's layers, ready to be taught by it.

    layers: how many (default: half), or which of the teacher's; kept_ids: the rows of the table of word vectors that the student keeps,
    as trim_vocabulary() returns them; settings: of DistilBertConfig (dropout=0.1, seq_classif_dropout=0.1). The word vectors, positions
    and layers are the teacher's; its vector of the first token type is added to the positions; the head is new.
    Errors: TypeError for a teacher that is no BERT; ValueError for layers that it lacks.
    """
    config = teacher.config
    if config.model_type != "bert":
        raise TypeError(f"[student] expected a teacher of the type bert, got {config.model_type!r}")
    from .. import modeling  # late: it makes the classes that this module names

    count = config.num_hidden_layers
    chosen = layers_to_keep(count, max(1, count // 2) if layers is None else layers) if layers is None or isinstance(layers, int) else list(layers)
    wrong = [i for i in chosen if not 0 <= i < count]
    if wrong or not chosen:
        raise ValueError(f"[student] layers: expected some of 0 to {count - 1}, got {chosen}")
    weights = {name.removeprefix("bert."): t for name, t in teacher.state_dict().items()}
    words = weights["embeddings.word_embeddings.weight"]
    if kept_ids is not None:
        words = words[as_ids(kept_ids, words.shape[0])]
    student_config = config_class("distilbert")(
        vocab_size=words.shape[0], dim=config.hidden_size, n_layers=len(chosen), n_heads=config.num_attention_heads,
        hidden_dim=config.intermediate_size, max_position_embeddings=config.max_position_embeddings, activation=config.hidden_act,
        **{"pad_token_id": 0 if kept_ids is not None else config.pad_token_id, "id2label": dict(config.id2label),
           "label2id": dict(config.label2id), "problem_type": config.problem_type, **settings})
    student = modeling.DistilBertForSequenceClassification(student_config)
    state = student.state_dict()
    table = "distilbert.embeddings."
    state[table + "word_embeddings.weight"] = words
    state[table + "position_embeddings.weight"] = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    for part in ("weight", "bias"):
        state[f"{table}LayerNorm.{part}"] = weights[f"embeddings.LayerNorm.{part}"]
        for to, source in enumerate(chosen):
            for name, bert in _LAYER.items():
                state[f"distilbert.transformer.layer.{to}.{name}.{part}"] = weights[f"encoder.layer.{source}.{bert}.{part}"]
    student.load_state_dict(state)
    return student


def as_ids(ids: Sequence[int], rows: int) -> Tensor:
    """Errors: ValueError for an id that the table lacks."""
    from ..conversion import as_tensor

    wrong = [i for i in ids if not 0 <= i < rows]
    if wrong:
        raise ValueError(f"[student] kept_ids: expected 0 to {rows - 1}, got {wrong[:3]}")
    return as_tensor([int(i) for i in ids])
