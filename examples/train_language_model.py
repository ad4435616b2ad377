#!/usr/bin/env python3
"""Trains a small language model from nothing on text of your own, by default the sources of Python's standard library.

    python examples/train_language_model.py                    a Llama of 11 M weights
    python examples/train_language_model.py --experts 8        a Mixtral of 18 M, of which 7 M work on each token

Makes a BPE tokenizer, trains, and leaves in --out the checkpoint, calibration.txt and held_out.txt, texts that it never saw: what `tenon
quantize` wants.
"""
import argparse
import math
import pathlib
import sys
import sysconfig
import time

import numpy as np

import tenon
from tenon import DataCollatorForLanguageModeling, LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM, Trainer, TrainingArguments

HERE = pathlib.Path(__file__).resolve().parent


def read(files):
    """Texts for training, and every 20th one to be held out, in turn to calibrate on and to measure with: a model is other on text that it
    knows by heart than on what it will read."""
    texts = [text for text in (path.read_text(encoding="utf-8", errors="replace") for path in files) if len(text) > 500]
    unseen = texts[::20]
    return [t for i, t in enumerate(texts) if i % 20], unseen[1::2], unseen[::2]


def windows(tokenizer, texts, length):
    """The texts one after another, cut into rows of `length` ids."""
    ids = [i for row in tokenizer(texts, add_special_tokens=False)["input_ids"] for i in (*row, tokenizer.eos_token_id)]
    return [{"input_ids": ids[i:i + length]} for i in range(0, len(ids) - length + 1, length)]


def perplexity(model, rows, batch_size=8):
    model.eval()
    losses = []
    for i in range(0, len(rows) - batch_size + 1, batch_size):
        ids = np.array([row["input_ids"] for row in rows[i:i + batch_size]])
        with tenon.no_grad():
            losses.append(model(input_ids=ids, labels=ids).loss.item())
    return math.exp(sum(losses) / len(losses))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=pathlib.Path, nargs="*", help="text files, in place of Python's standard library")
    parser.add_argument("--experts", type=int, default=0, help="0: a dense model; else a mixture of so many, two of them per token")
    parser.add_argument("--layers", type=int, default=0, help="default 6, or 4 with experts")
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--length", type=int, default=256, help="tokens of a row")
    parser.add_argument("--batch", type=int, default=16, help="rows of a step")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--resume", action="store_true", help="goes on from the last checkpoint in --out (Ctrl-C leaves one)")
    parser.add_argument("--float32", action="store_true", help="no bf16, also where the processor multiplies it")
    parser.add_argument("--threads", type=int, default=0, help="0: all that this process may use")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "out" / "language-model")
    args = parser.parse_args()

    tenon.set_num_threads(args.threads)
    tenon.set_seed(0)
    library = pathlib.Path(sysconfig.get_path("stdlib"))
    files = args.text or sorted(p for p in library.rglob("*.py") if not {"site-packages", "dist-packages", "test", "tests", "idlelib"} & set(p.parts))
    train, calibration, held_out = read(files)
    if not train:
        sys.exit("There is no text to train on: expected files of more than 500 characters.")
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "calibration.txt").write_text("\n".join(calibration or train), encoding="utf-8")
    (args.out / "held_out.txt").write_text("\n".join(held_out), encoding="utf-8")
    tokenizer = tenon.train_tokenizer(train, kind="bpe", vocab_size=args.vocab, special_tokens=["<|endoftext|>"])
    tokenizer.pad_token = "<|endoftext|>"
    rows, unseen = windows(tokenizer, train, args.length), windows(tokenizer, held_out, args.length)

    heads = args.width // 64
    sizes = dict(vocab_size=len(tokenizer), hidden_size=args.width, num_attention_heads=heads, num_key_value_heads=heads // 2 if heads % 2 == 0 else heads,
                 max_position_embeddings=1024, tie_word_embeddings=True, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
    if args.experts:
        model = MixtralForCausalLM(MixtralConfig(num_hidden_layers=args.layers or 4, intermediate_size=args.width, num_local_experts=args.experts,
                                                 num_experts_per_tok=2, output_router_logits=True, router_aux_loss_coef=0.01, **sizes))
    else:
        model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=args.layers or 6, intermediate_size=args.width * 8 // 3 // 128 * 128, **sizes))
    print(f"{model.num_parameters():,} weights, {len(rows) * args.length:,} tokens to train on, {args.steps * args.batch * args.length:,} will be seen", flush=True)
    start = time.perf_counter()
    trainer = Trainer(
        model=model, train_dataset=rows, data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False), processing_class=tokenizer,
        args=TrainingArguments(output_dir=str(args.out / "checkpoints"), max_steps=args.steps, per_device_train_batch_size=args.batch, learning_rate=args.lr,
                               lr_scheduler_type="cosine", warmup_steps=max(1, args.steps // 20), weight_decay=0.1, adam_beta2=0.95, fp16=not args.float32, logging_steps=20,
                               save_steps=100, save_total_limit=1, report_to="none", disable_tqdm=not sys.stderr.isatty()))
    trainer.train(resume_from_checkpoint=args.resume or None)
    model.config.output_router_logits = False
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    print(f"Trained in {time.perf_counter() - start:.0f} s; perplexity on unseen text {perplexity(model, unseen[:64]):.2f}; saved in {args.out}")


if __name__ == "__main__":
    main()
