#!/usr/bin/env python3
"""Writes the models that compare.py measures: real architectures at real sizes with random weights.

    python bench/make_models.py --out DIR        (2.5 GB; needs torch, transformers, onnx, onnxscript, onnxruntime)

DIR/bert-base, DIR/vit-base      Hugging Face folders, for torch and Tenon
DIR/NAME.onnx, NAME_opt.onnx, NAME_i8.onnx   the same exported, fused and quantised, for ONNX Runtime and OpenVINO
"""
import argparse
import pathlib

import torch
import transformers
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer


class Bert(torch.nn.Module):
    def __init__(self, folder):
        super().__init__()
        self.model = transformers.BertForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


class Vit(torch.nn.Module):
    def __init__(self, folder):
        super().__init__()
        self.model = transformers.ViTModel.from_pretrained(folder, attn_implementation="eager", add_pooling_layer=False).eval()

    def forward(self, pixel_values):
        return self.model(pixel_values=pixel_values).last_hidden_state


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    transformers.BertForSequenceClassification(transformers.BertConfig(num_labels=2)).save_pretrained(out / "bert-base")
    transformers.ViTModel(transformers.ViTConfig(), add_pooling_layer=False).save_pretrained(out / "vit-base")
    ids = torch.ones(2, 128, dtype=torch.long)
    axes = {0: "batch", 1: "length"}
    torch.onnx.export(Bert(out / "bert-base"), (ids, ids), str(out / "bert.onnx"), input_names=["input_ids", "attention_mask"],
                      output_names=["logits"], dynamic_axes={"input_ids": axes, "attention_mask": axes}, opset_version=17, dynamo=False)
    torch.onnx.export(Vit(out / "vit-base"), (torch.zeros(2, 3, 224, 224),), str(out / "vit.onnx"), input_names=["pixel_values"],
                      output_names=["last_hidden_state"], dynamic_axes={"pixel_values": {0: "batch"}}, opset_version=17, dynamo=False)
    for name in ("bert", "vit"):
        fused = optimizer.optimize_model(str(out / f"{name}.onnx"), model_type=name, num_heads=12, hidden_size=768, opt_level=1)
        fused.save_model_to_file(str(out / f"{name}_opt.onnx"))
        quantize_dynamic(str(out / f"{name}.onnx"), str(out / f"{name}_i8.onnx"), weight_type=QuantType.QInt8, per_channel=True)
    print("wrote", out)


if __name__ == "__main__":
    main()
