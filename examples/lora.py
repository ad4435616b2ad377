#!/usr/bin/env python3
"""Teaches a small language model to tell its stories about dragons, with an adapter beside its frozen weights.

    python lora.py [FOLDER]

FOLDER is a decoder with its tokenizer (default: ../shared/weights/stories260K if it is there). The code is a PEFT script whose import lines
are changed.
"""
import pathlib
import sys
import tempfile

import tenon
from tenon import AutoModelForCausalLM, AutoTokenizer
from tenon.peft import LoraConfig, PeftModel, get_peft_model

STORIES = ["Once upon a time there was a little dragon. The dragon liked to eat honey.",
           "One day a big red dragon went to the park. The dragon saw a girl and smiled.",
           "The dragon was sad. A boy gave the dragon a cake, and the dragon was happy.",
           "A green dragon lived in a house near the sea. Every day the dragon went to swim."]
FOLDER = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2] / "shared" / "weights" / "stories260K")


def story(model, tokenizer):
    ids = model.generate(**tokenizer("One day", return_tensors="pt"), max_new_tokens=30, do_sample=False)
    return tokenizer.decode(ids[0], skip_special_tokens=True)


def main():
    if not FOLDER.is_dir():
        sys.exit(f"{FOLDER} is not there; name a folder with a decoder and its tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(FOLDER),
                           LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=32, target_modules="all-linear"))
    model.print_trainable_parameters()
    print("before:", story(model, tokenizer))
    optimizer = tenon.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    batches = [tokenizer(text, return_tensors="pt") for text in STORIES]
    model.train()
    for epoch in range(10):
        total = 0.0
        for batch in batches:
            loss = model(**batch, labels=batch["input_ids"]).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            total += loss.item()
        print(f"epoch {epoch + 1}: loss {total / len(batches):.3f}")
    model.eval()
    print("after: ", story(model, tokenizer))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        size = sum(path.stat().st_size for path in pathlib.Path(folder).iterdir())
        again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(FOLDER), folder)
        print(f"saved in {size / 1000:.0f} kB; opened again it tells the same: {story(again, tokenizer) == story(model, tokenizer)}")
    with model.disable_adapter():
        print("without it:", story(model, tokenizer))


if __name__ == "__main__":
    main()
