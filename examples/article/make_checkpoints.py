"""Makes the seeded tiny checkpoints that stand in for trained weights in these listings.

The weights are random: the listings run as they would with real ones, but their predictions mean nothing. Put the folder of a
fine-tuned BERT or ViT in place of the paths to get real answers. Usage: python make_checkpoints.py [folder, default examples/out]
"""
import ast
import json
import os
import sys
import sysconfig
import textwrap

import tenon
from PIL import Image

SEED = 20241124
FUNCTIONS = 240  # of the standard library, to learn completion from
EVENTS = ["acquisition", "bankruptcy", "dividend", "earnings", "lawsuit", "listing"]
HEADLINES = """The bank agreed to buy its smaller rival for two billion dollars in cash and shares.
The airline filed for protection from its creditors after talks with lenders failed.
The board raised the quarterly dividend by five percent and announced a share buyback.
Profit for the third quarter beat expectations as revenue from cloud services grew.
Shareholders sued the company over statements about its accounting for leases.
The chip maker priced its initial public offering at the top of the expected range.
The central bank left interest rates unchanged and said inflation was easing slowly.
Analysts cut their price targets after the retailer warned of weaker sales in spring.
公司宣布以现金收购竞争对手的全部股份
该集团第三季度净利润同比增长百分之十二
董事会批准每股派发现金红利
法院受理了公司的破产重整申请""".splitlines()


def write_vocabulary(path):
    """Words of the headlines, and all their characters as whole words and as continuations, so that any such text has tokens."""
    words = sorted({w.strip(".,").lower() for line in HEADLINES[:8] for w in line.split()})
    characters = sorted({c for line in HEADLINES for c in line.lower() if not c.isspace()} | set("abcdefghijklmnopqrstuvwxyz0123456789.,;:!?%$'-"))
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *("##" + c for c in characters if c.isalnum()), *words]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(dict.fromkeys(tokens)) + "\n")


def make_finance_events(folder):
    os.makedirs(folder, exist_ok=True)
    write_vocabulary(os.path.join(folder, "vocab.txt"))
    tokenizer = tenon.BertTokenizer(os.path.join(folder, "vocab.txt"), do_lower_case=True, model_max_length=128)
    config = tenon.BertConfig(vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
                              max_position_embeddings=128, id2label=dict(enumerate(EVENTS)))
    tenon.BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_finance_student(folder, teacher):
    """A DistilBERT with the vocabulary and the classes of the teacher."""
    tokenizer = tenon.AutoTokenizer.from_pretrained(teacher)
    config = tenon.DistilBertConfig(vocab_size=len(tokenizer), dim=64, n_layers=1, n_heads=4, hidden_dim=128, max_position_embeddings=128,
                                    id2label=dict(enumerate(EVENTS)))
    tenon.DistilBertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def python_functions(count):
    """The first functions of Python's own library, file by file: real code that every machine with Python has."""
    library = sysconfig.get_path("stdlib")
    found = []
    for name in sorted(n for n in os.listdir(library) if n.endswith(".py")):
        with open(os.path.join(library, name), encoding="utf-8", errors="replace") as file:
            source = file.read()
        lines = source.splitlines()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                text = textwrap.dedent("\n".join(lines[node.lineno - 1:node.end_lineno]))
                if 100 <= len(text) <= 2500:
                    found.append(text)
        if len(found) >= 20 * count:
            break
    return found[:: max(1, len(found) // count)][:count]


def make_code_model(folder, data, count):
    """A fresh Llama of 2 M weights and its tokenizer, learnt from the code that it will see."""
    functions = python_functions(count)
    with open(data, "w", encoding="utf-8") as file:
        file.writelines(json.dumps({"content": text}) + "\n" for text in functions)
    tokenizer = tenon.train_tokenizer(functions, kind="bpe", vocab_size=2048, special_tokens=["<|endoftext|>", "<|pad|>"], progress=False)
    tokenizer.eos_token, tokenizer.pad_token = "<|endoftext|>", "<|pad|>"
    config = tenon.LlamaConfig(vocab_size=len(tokenizer), hidden_size=192, intermediate_size=512, num_hidden_layers=3, num_attention_heads=6,
                               num_key_value_heads=6, max_position_embeddings=512, tie_word_embeddings=True,
                               eos_token_id=tokenizer.eos_token_id, bos_token_id=None, pad_token_id=tokenizer.pad_token_id)
    tenon.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_vit(folder):
    config = tenon.ViTConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128)
    tenon.ViTModel(config).save_pretrained(folder)
    tenon.ViTImageProcessor().save_pretrained(folder)


def make_picture(path):
    """A picture of 320 x 240 pixels: two gradients and a disc."""
    picture = Image.new("RGB", (320, 240))
    picture.putdata([(255, 200, 40) if (x - 160) ** 2 + (y - 120) ** 2 < 3600 else (x * 255 // 319, y * 255 // 239, 128)
                     for y in range(240) for x in range(320)])
    picture.save(path)


if __name__ == "__main__":
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join("examples", "out")
    tenon.manual_seed(SEED)
    make_finance_events(os.path.join(out, "finance-events"))
    make_finance_student(os.path.join(out, "finance-student"), os.path.join(out, "finance-events"))
    make_code_model(os.path.join(out, "code-model"), os.path.join(out, "code.jsonl"), int(os.environ.get("TENON_FUNCTIONS", FUNCTIONS)))
    make_vit(os.path.join(out, "vit-tiny"))
    make_picture(os.path.join(out, "example.png"))
    print("wrote finance-events, finance-student, code-model, code.jsonl, vit-tiny and example.png to", out)
