from dataclasses import replace

import pytest
from cachetools import LRUCache
from contracts import EncoderContract

from recsys_lib.embeddings.encoder import load_encoder
from recsys_lib.embeddings.recipe import Prompts
from recsys_lib.embeddings.static import static_encoder
from recsys_lib.serving.caching import CachedEncoder

PROMPTS = Prompts("query: ", "document: ", "text: ")

ENCODERS = {
    "torch": lambda folder: load_encoder(folder, engine="torch", max_length=16),
    "openvino": lambda folder: load_encoder(folder, engine="openvino", max_length=16),
    "onnxruntime": lambda folder: load_encoder(
        folder, engine="onnxruntime", max_length=16
    ),
    "cls": lambda folder: load_encoder(
        folder, engine="torch", pooling="cls", max_length=16
    ),
    "static": lambda folder: static_encoder(
        load_encoder(folder, engine="torch", max_length=16)
    ),
    "lasttoken": lambda folder: load_encoder(
        folder, engine="openvino", pooling="lasttoken", max_length=16
    ),
    "prompts": lambda folder: replace(
        load_encoder(folder, engine="torch", max_length=16), prompts=PROMPTS
    ),
    "static with prompts": lambda folder: replace(
        ENCODERS["static"](folder), prompts=PROMPTS
    ),
    "cached with prompts": lambda folder: CachedEncoder(
        ENCODERS["prompts"](folder), LRUCache(4)
    ),
    "cached": lambda folder: CachedEncoder(
        load_encoder(folder, engine="torch", max_length=16), LRUCache(3)
    ),
}


@pytest.fixture(scope="module", params=ENCODERS)
def encoder_like(request, tiny_folder):
    return ENCODERS[request.param](tiny_folder)


class TestEncoders(EncoderContract):
    pass
