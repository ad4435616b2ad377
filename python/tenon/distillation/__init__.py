"""Knowledge distillation: a small student learns from a large teacher's answers."""
from .loss import distillation_loss, hidden_loss
from .student import student_from_teacher
from .trainer import DistillationTrainer
from .vocabulary import trim_vocabulary

__all__ = ["DistillationTrainer", "distillation_loss", "hidden_loss", "student_from_teacher", "trim_vocabulary"]
