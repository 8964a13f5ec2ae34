import pytest
from contracts import IndexContract

from recsys_lib.ranking.index import build_index, load_index

KINDS = ["flat", "int8", "binary", "hnsw"]


@pytest.fixture(params=KINDS)
def make_index(request):
    return lambda vectors, ids: build_index(vectors, ids=ids, kind=request.param)


@pytest.fixture
def load():
    return load_index


class TestIndexes(IndexContract):
    pass
