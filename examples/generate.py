#!/usr/bin/env python3
"""Tells a story: continues a text with a decoder and shows it as it is written.

    python generate.py FOLDER ["Once upon a time"] [--seed 3] [--tokens 200]

FOLDER is what Hugging Face publishes. Without a prompt the model begins on its own. Without --seed it always takes the likeliest token;
with it the story is another for each seed. The code is a Transformers script whose import line is changed.
"""
import argparse

import tenon
from tenon import AutoModelForCausalLM, AutoTokenizer, TextStreamer


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("prompt", nargs="?", default="")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--tokens", type=int, default=200)
    arguments = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(arguments.folder)
    model = AutoModelForCausalLM.from_pretrained(arguments.folder)
    inputs = tokenizer(arguments.prompt, return_tensors="pt") if arguments.prompt else {}
    sampling = {}
    if arguments.seed is not None:
        tenon.manual_seed(arguments.seed)
        sampling = dict(do_sample=True, temperature=0.9, top_p=0.95)
    streamer = TextStreamer(tokenizer, skip_special_tokens=True)
    model.generate(**inputs, max_new_tokens=arguments.tokens, streamer=streamer, **sampling)


if __name__ == "__main__":
    main()
