"""Teaches a DistilBERT student what a teacher knows, in an ordinary loop. The checkpoints are seeded stand-ins (make_checkpoints.py)."""
import tenon as torch
import tenon.nn as nn
import tenon.nn.functional as F
from tenon import AutoModelForSequenceClassification, AutoTokenizer, DistilBertForSequenceClassification


def distillation_loss(student_logits, teacher_logits, labels, temperature=2.0, alpha=0.5):
    soft_loss = nn.KLDivLoss(reduction="batchmean")(
        F.log_softmax(student_logits / temperature, dim=-1),
        F.softmax(teacher_logits / temperature, dim=-1),
    ) * (temperature ** 2)
    hard_loss = F.cross_entropy(student_logits, labels)
    return alpha * soft_loss + (1 - alpha) * hard_loss


torch.manual_seed(0)
tokenizer = AutoTokenizer.from_pretrained("examples/out/finance-events")
teacher = AutoModelForSequenceClassification.from_pretrained("examples/out/finance-events")
student = DistilBertForSequenceClassification.from_pretrained("examples/out/finance-student")
optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)

texts = ["The bank agreed to buy its smaller rival.", "The airline filed for protection from its creditors.",
         "The board raised the quarterly dividend by five percent.", "Shareholders sued the company over its accounting."]
labels = torch.tensor([0, 1, 2, 4])

teacher.eval()
student.train()
for epoch in range(20):
    inputs = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=128)
    with torch.no_grad():
        teacher_logits = teacher(**inputs).logits
    student_logits = student(**inputs).logits
    loss = distillation_loss(student_logits, teacher_logits, labels)

    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
    optimizer.step()
    scheduler.step()
    if epoch % 5 == 4:
        print(f"epoch {epoch + 1}: loss {loss.item():.4f}")

student.save_pretrained("examples/out/finance-student-trained")
