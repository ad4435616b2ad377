"""Classifies a finance headline. The checkpoint is a seeded stand-in (make_checkpoints.py): its answer means nothing."""
from tenon import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("examples/out/finance-events")
model = AutoModelForSequenceClassification.from_pretrained("examples/out/finance-events")

text = "The bank agreed to buy its smaller rival for two billion dollars."
inputs = tokenizer(text, return_tensors="pt", padding=True, truncation=True, max_length=128)
outputs = model(**inputs)
predicted_class = outputs.logits.argmax().item()
print(f"Predicted event: {model.config.id2label[predicted_class]} ({predicted_class})")
