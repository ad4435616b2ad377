"""compare.py's tokenizers: what each runner does with a megabyte of lines. The models are folders of tokenizers as published."""
import json
import os
import pathlib

FOLDERS = {"wordpiece": "all-MiniLM-L6-v2", "bpe": "roberta-base", "deepseek": "deepseek-v3", "unigram": "t5-small"}
CASES = {"tokenize": [f"{m}:{text}:{n}" for m in FOLDERS for text in ("en", "zh") for n in (1, 2)]}
SHARED = pathlib.Path(os.environ.get("TENON_SHARED", pathlib.Path(__file__).resolve().parents[2] / "shared"))
TEXTS = {"en": "text/tinyshakespeare.txt", "zh": "text/chnsenticorp/dev.tsv"}
GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
MEGABYTE = 1_000_000


def read_lines(text):
    """A megabyte of lines that are not empty; a shorter text is taken several times."""
    own = os.environ.get("TENON_BENCH_TEXT") if text == "en" else None
    path = pathlib.Path(own or SHARED / TEXTS[text])
    lines = [line for line in path.read_text(encoding="utf8").split("\n") if line]
    out, size = [], 0
    while size < MEGABYTE:
        for line in lines:
            out.append(line)
            size += len(line.encode())
            if size >= MEGABYTE:
                break
    return out


def prepare(runner, case, models, unable):
    """A function that turns a megabyte of text into lists of ids."""
    model, text, threads = case.split(":")
    threads = int(threads)
    lines = read_lines(text)
    folder = (models if models.is_dir() else SHARED / "tokenizers") / FOLDERS[model]
    return globals()[f"run_{runner}"](model, folder, lines, threads, unable)


def run_hf(model, folder, lines, threads, unable):
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda: [e.ids for e in tokenizer.encode_batch_fast(lines, add_special_tokens=False)]


def run_sentencepiece(model, folder, lines, threads, unable):
    if model != "unigram":
        raise unable
    import sentencepiece
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    return lambda: processor.encode(lines, num_threads=threads)


def run_tiktoken(model, folder, lines, threads, unable):
    if model != "bpe":
        raise unable
    import tiktoken
    merges = json.loads((folder / "tokenizer.json").read_text(encoding="utf8"))["model"]["merges"]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    byte_of = {chr(b): b for b in printable}
    byte_of.update({chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in printable)})
    ranks = {bytes([b]): i for i, b in enumerate(byte_of.values())}
    for merge in merges:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        ranks[bytes(byte_of[c] for c in "".join(pair))] = len(ranks)
    encoding = tiktoken.Encoding("bench", pat_str=GPT2, mergeable_ranks=ranks, special_tokens={})
    return lambda: encoding.encode_ordinary_batch(lines, num_threads=threads)


def run_tenon(model, folder, lines, threads, unable):
    import tenon
    tenon.set_num_threads(threads)
    tokenizer = tenon.AutoTokenizer.from_pretrained(str(folder))
    return lambda: tokenizer(lines, add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False)["input_ids"]
