"""Serves a text classifier: uvicorn service:app. The checkpoint is a seeded stand-in (make_checkpoints.py)."""
from fastapi import FastAPI
from pydantic import BaseModel
from tenon import pipeline

app = FastAPI()
classifier = pipeline("text-classification", model="examples/out/finance-events")


class TextRequest(BaseModel):
    text: str


@app.post("/predict")
def predict(request: TextRequest):
    result = classifier(request.text)
    return {"label": result[0]["label"], "score": result[0]["score"]}
