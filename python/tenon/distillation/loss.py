"""What a student is graded by: the teacher's softened answers, the labels, and the teacher's hidden states."""
from __future__ import annotations

from typing import Any

from .. import nn
from .._core import Tensor


def soft_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 2.0) -> Tensor:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)), summed over the classes, mean over the rows ("batchmean").

    Shapes: logits (N, classes) -> a scalar. Source: Hinton et al. 2015, "Distilling the knowledge in a neural network".
    Errors: ValueError for shapes that differ and a temperature that is not positive.
    """
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(f"[distillation] expected a student and a teacher with the same logits, got {tuple(student_logits.shape)} and "
                         f"{tuple(teacher_logits.shape)}")
    if not temperature > 0:
        raise ValueError(f"[distillation] temperature: expected a positive number, got {temperature}")
    functional = nn.functional
    student = functional.log_softmax(student_logits / temperature, dim=-1)
    teacher = functional.softmax(teacher_logits.detach() / temperature, dim=-1)
    return functional.kl_div(student, teacher, reduction="batchmean") * temperature**2


def distillation_loss(student_logits: Tensor, teacher_logits: Tensor, labels: "Tensor | None" = None, temperature: float = 2.0,
                      alpha: float = 0.5) -> Tensor:
    """alpha * T^2 * KL(teacher || student at temperature T) + (1 - alpha) * cross entropy with the labels.

    Shapes: logits (N, classes), labels (N) with -100 for "do not count" -> a scalar. Without labels the first term alone counts, whole.
    Units: alpha in [0, 1].
    Errors: ValueError for shapes, alpha or temperature.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"[distillation] alpha: expected 0 to 1, got {alpha}")
    soft = soft_loss(student_logits, teacher_logits, temperature)
    if labels is None:
        return soft
    return alpha * soft + (1 - alpha) * nn.functional.cross_entropy(student_logits, labels)


def hidden_loss(student: Tensor, teacher: Tensor, attention_mask: Any = None) -> Tensor:
    """The mean of 1 - cosine(student, teacher) over the real positions: DistilBERT's third term.

    Shapes: (B, T, C) both, mask (B, T) or None -> a scalar. Errors: ValueError for hidden states of different widths.
    """
    if student.shape != teacher.shape:
        raise ValueError(f"[distillation] expected hidden states of one shape, got {tuple(student.shape)} and {tuple(teacher.shape)}")
    width = student.shape[-1]
    a, b = student.reshape(-1, width), teacher.detach().reshape(-1, width)
    if attention_mask is not None:
        real = attention_mask.reshape(-1) != 0
        a, b = a[real], b[real]
    return (1 - nn.functional.cosine_similarity(a, b, dim=-1)).mean()
