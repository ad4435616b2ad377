"""Trains a causal language model to complete Python. Model and text come from make_checkpoints.py: a small fresh model, real source code."""
from datasets import load_dataset
from tenon import AutoModelForCausalLM, AutoTokenizer, DataCollatorForLanguageModeling, Trainer, TrainingArguments

model_name = "examples/out/code-model"
tokenizer = AutoTokenizer.from_pretrained(model_name)
model = AutoModelForCausalLM.from_pretrained(model_name)
dataset = load_dataset("json", data_files="examples/out/code.jsonl", split="train")


def tokenize_function(examples):
    return tokenizer(examples["content"], truncation=True, padding="max_length", max_length=512)


tokenized_dataset = dataset.map(tokenize_function, batched=True, remove_columns=dataset.column_names)

training_args = TrainingArguments(
    output_dir="examples/out/code-results",
    per_device_train_batch_size=8,
    num_train_epochs=3,
    learning_rate=3e-3,
    warmup_steps=10,
    logging_steps=10,
    save_strategy="no",
    fp16=True,
)
trainer = Trainer(
    model=model,
    args=training_args,
    train_dataset=tokenized_dataset,
    data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
)
trainer.train()

prompt = "def __init__(self"
inputs = tokenizer(prompt, return_tensors="pt")
outputs = model.generate(**inputs, max_new_tokens=32, do_sample=False)
print(tokenizer.decode(outputs[0], skip_special_tokens=True))
