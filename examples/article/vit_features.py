"""Extracts the features of a picture. The checkpoint is a seeded stand-in (make_checkpoints.py) of ViT-base with narrower layers."""
import tenon as torch
from PIL import Image
from tenon import ViTFeatureExtractor, ViTModel

feature_extractor = ViTFeatureExtractor.from_pretrained("examples/out/vit-tiny")
model = ViTModel.from_pretrained("examples/out/vit-tiny")

image = Image.open("examples/out/example.png")
inputs = feature_extractor(images=image, return_tensors="pt")
with torch.no_grad():
    outputs = model(**inputs)
print(outputs.last_hidden_state.shape)
