#!/usr/bin/env python3
"""Writes qwen2-tokenizer: the first merges of Qwen2's byte-level BPE (Apache-2.0) as vocab.json and merges.txt, and what Transformers makes of
texts with it.

    python make_tokenizer.py path/to/qwen2      needs transformers 5
"""
import json, pathlib, sys

HERE = pathlib.Path(__file__).resolve().parent
MERGES = 1500
TEXTS = [
    "", " ", "  two  spaces ", "\n", "a\nb\r\nc\n\n\nd", "\t\ttabs and\tmore", "Hello, World!", "I'm sure they'll say it isn't what we'd've wanted; IT'S NOT.",
    "It\u2019s a curly one, and 'quoted' \"text\".", "numbers: 0 7 42 1234 3.14159 1,000,000 2026-11-29 \u0663\u0664 \u00bd \u2167", "x=1;y=[2,3];z={'k':None}",
    "def f(a, b=2):\n    return a ** b  # power\n\n\nprint(f(3))", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<|endoftext|>", "<|im_start|", "a<|im_end|>b",
    "caf\u00e9 cafe\u0301 na\u00efve \u00c5ngstr\u00f6m A\u030angstro\u0308m", "\u1e9b\u0323 \u212b \ufb01 \uff21\uff22 \u2460", "Gr\u00f6\u00dfe, Stra\u00dfe, \u00dcbung",
    "El ni\u00f1o comi\u00f3 pi\u00f1a. \u00bfVerdad? \u00a1S\u00ed!", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u041a\u0430\u043a \u0434\u0435\u043b\u0430?",
    "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 \u039a\u03cc\u03c3\u03bc\u03b5", "\u4eca\u5929\u5929\u6c14\u5f88\u597d\uff0c\u6211\u4eec\u53bb\u516c\u56ed\u5427\u3002",
    "\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059\u3002\u30ab\u30bf\u30ab\u30ca\u3082\u3002", "\ud55c\uad6d\uc5b4\ub85c \uc548\ub155\ud558\uc138\uc694",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645 \u0661\u0662\u0663", "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01", "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7 \u2764\ufe0f", "\U0001d518\U0001d52b\U0001d526\U00010348 \U00020000",
    "\u00a0no-break\u2003em\u3000ideographic\u200bzero", "\ufeffbom", "nul\0inside", "\x07bell \x1b[0m", "AAAAaaaa" * 9, "hyphen-ated under_score camelCase HTTPServer v2.0.1-rc",
    "https://example.org/a/b?c=d&e=%20#f", "e-mail: a.b+c@d-e.org", "$5.00 \u20ac7,50 \u00a33 \u00a5100", "...!!!???;;;---===", "(((a)))[[b]]{{c}}", "'s 't 're 've 'm 'll 'd 'S 'LL",
    "\u01c5 \u01f0 \u0130stanbul \u0131", "one.Two,Three;Four:Five", "end with space ", "\n leading newline", "a \n b", "trailing\n\n", " \u00a0 mixed \u2028 lines \u2029",
]


def main():
    source = pathlib.Path(sys.argv[1])
    folder = HERE / "qwen2-tokenizer"
    folder.mkdir(exist_ok=True)
    vocab = json.loads((source / "vocab.json").read_text(encoding="utf-8"))
    merges = [line for line in (source / "merges.txt").read_text(encoding="utf-8").split("\n") if line and not line.startswith("#version")][:MERGES]
    # single bytes, and what these merges lead to, in the order that Qwen2 has them
    made = {line.replace(" ", "") for line in merges}
    tokens = sorted((t for t in vocab if len(t) == 1 or t in made), key=vocab.get)
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{m}\n" for m in merges), encoding="utf-8")
    config = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "model_max_length": 32768,
              "added_tokens_decoder": {str(len(tokens) + i): {"content": t, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
                                       for i, t in enumerate(("<|endoftext|>", "<|im_start|>", "<|im_end|>"))}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")

    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with open(folder / "cases.jsonl", "w", encoding="utf-8") as out:
        for text in TEXTS:
            e = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            special = tokenizer(text)["input_ids"]
            case = dict(text=text, ids=e["input_ids"], offsets=e["offset_mapping"], ids_special=special, decoded=tokenizer.decode(special, skip_special_tokens=True))
            out.write(json.dumps(case) + "\n")


main()
