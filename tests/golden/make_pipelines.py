#!/usr/bin/env python3
"""Writes what Transformers' pipelines answer on the golden cases, and the tokenizer and image processor files that those need.

    python make_pipelines.py      needs torch, transformers 5 and Pillow; run it beside make_golden.py's cases
"""
import json, pathlib, string

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent.parent / "examples" / "data"
WORDS = """the a of in is it to and on was for that with as cat dog sat mat stock stocks share shares price prices profit profits rise rose
fall falls market bank rate rates report company sales new growth first quarter year after before up down not good bad will would he she they we
you photo this are by at from more than out over paris france capital city""".split()
TEXTS = ["Shares rose after the report.", "The cat sat on the mat", "profit falls", "",
         "The company said that sales in the first quarter would not rise, and the price of the stock falls."]
MASKED = ["the [MASK] of france is paris.", "shares [MASK] after the [MASK]"]
LABELS = ["cat", "dog on the mat", "rocket"]


def vocabulary():
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.ascii_lowercase, *("##" + c for c in string.ascii_lowercase), *".,?!'"]
    tokens += list(dict.fromkeys(w for w in WORDS if w not in tokens))
    assert len(tokens) <= 158, len(tokens)
    return tokens + [f"[unused{i}]" for i in range(160 - len(tokens))]


def write_bert_tokenizer(folder):
    (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 64}) + "\n")


def write_clip_tokenizer(folder):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast
    tokens = vocabulary()
    tokens[158:] = ["<|startoftext|>", "<|endoftext|>"]
    t = Tokenizer(models.WordPiece({w: i for i, w in enumerate(tokens)}, unk_token="[UNK]"))
    t.normalizer, t.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    t.post_processor = processors.TemplateProcessing(single="<|startoftext|> $A <|endoftext|>", pair=None,
                                                     special_tokens=[("<|startoftext|>", 158), ("<|endoftext|>", 159)])
    PreTrainedTokenizerFast(tokenizer_object=t, bos_token="<|startoftext|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>", unk_token="[UNK]",
                            model_max_length=40, model_input_names=["input_ids", "attention_mask"]).save_pretrained(folder)


def write_image_processor(folder, kind, size):
    config = {"image_processor_type": kind, "size": {"height": size, "width": size}, "resample": 2, "do_resize": True}
    if kind == "CLIPImageProcessor":
        config.update(size={"shortest_edge": size}, crop_size={"height": size, "width": size}, do_center_crop=True, resample=3, do_convert_rgb=True)
    (folder / "preprocessor_config.json").write_text(json.dumps(config, indent=1) + "\n")


def main():
    import torch
    from PIL import Image
    from transformers import AutoModel, AutoTokenizer, pipeline
    for case in ("bert", "bert-mlm"):
        write_bert_tokenizer(HERE / case)
    for case, size in (("vit", 64), ("vit-pooler", 48)):
        write_image_processor(HERE / case, "ViTImageProcessor", size)
    write_clip_tokenizer(HERE / "clip")
    write_image_processor(HERE / "clip", "CLIPImageProcessor", 32)
    images = [Image.open(DATA / name).convert("RGB") for name in ("cat.png", "rocket.jpg")]
    pil = dict(use_fast=False)
    out = dict(texts=TEXTS, masked=MASKED, labels=LABELS)

    classify = pipeline("text-classification", str(HERE / "bert"))
    out["text-classification"] = [classify(t, top_k=None) for t in TEXTS]
    out["text-classification-sigmoid"] = classify(TEXTS[0], top_k=2, function_to_apply="sigmoid")
    out["text-classification-pair"] = classify({"text": TEXTS[0], "text_pair": TEXTS[1]}, top_k=None)
    out["feature-extraction"] = pipeline("feature-extraction", str(HERE / "bert"))(TEXTS[0])[0]
    fill = pipeline("fill-mask", str(HERE / "bert-mlm"))
    out["fill-mask"] = [fill(t) for t in MASKED]
    out["fill-mask-targets"] = fill(MASKED[0], targets=["capital", "city", "cat"], top_k=2)
    see = pipeline("image-classification", str(HERE / "vit"), **pil)
    out["image-classification"] = [see(i) for i in images]
    out["image-feature-extraction"] = pipeline("image-feature-extraction", str(HERE / "vit-pooler"), **pil)(images[0])[0]
    out["image-feature-extraction-pool"] = pipeline("image-feature-extraction", str(HERE / "vit-pooler"), **pil)(images[0], pool=True)[0]
    zero = pipeline("zero-shot-image-classification", str(HERE / "clip"), **pil)
    out["zero-shot-image-classification"] = [zero(i, candidate_labels=LABELS) for i in images]

    tokenizer, model = AutoTokenizer.from_pretrained(str(HERE / "bert")), AutoModel.from_pretrained(str(HERE / "bert")).eval()
    x = tokenizer(TEXTS, padding=True, truncation=True, max_length=16, return_tensors="pt")
    with torch.no_grad():
        h, m = model(**x).last_hidden_state, x["attention_mask"][:, :, None].float()
    position = torch.arange(1, h.shape[1] + 1)[None, :, None] * m
    out["sentence-embedding"] = {
        "mean": ((h * m).sum(1) / m.sum(1)).tolist(), "cls": h[:, 0].tolist(), "max": h.masked_fill(m == 0, -1e9).max(1).values.tolist(),
        "sqrt": ((h * m).sum(1) / m.sum(1).sqrt()).tolist(), "weighted": ((h * position).sum(1) / position.sum(1)).tolist(),
        "last": h[torch.arange(len(TEXTS)), x["attention_mask"].sum(1) - 1].tolist()}
    (HERE / "pipelines.json").write_text(json.dumps(out, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
