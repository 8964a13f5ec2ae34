import numpy as np
import pandas as pd
import pytest
from contracts import HistoryModelContract
from scipy.sparse import csr_matrix

from recsys_lib.models.ease import fit_ease, fit_side_ease, fit_temporal_ease
from recsys_lib.models.hybrid import Blend, ContentModel
from recsys_lib.models.ials import fit_ials
from recsys_lib.models.incremental_ease import IncrementalEase
from recsys_lib.models.neighbours import fit_item_knn, fit_popularity, fit_sar
from recsys_lib.models.sasrec import SasRecOptions, fit_sasrec
from recsys_lib.models.training import TrainingOptions
from recsys_lib.models.two_tower import fit_two_tower

FEATURES = np.eye(5, 3) + 0.1


def incremental(interactions):
    model = IncrementalEase(csr_matrix(interactions.shape), l2=2.0)
    model.add(*interactions.nonzero())
    return model


def temporal(interactions):
    users, items = interactions.nonzero()
    log = pd.DataFrame({"user": users, "item": items, "timestamp": 60 * items})
    return fit_temporal_ease(log, interactions.shape)


MODELS = {
    "popularity": fit_popularity,
    "item_knn": fit_item_knn,
    "sar": fit_sar,
    "ease": fit_ease,
    "temporal_ease": temporal,
    "side_ease": lambda x: fit_side_ease(x, FEATURES),
    "incremental_ease": incremental,
    "ials": lambda x: fit_ials(x, dim=2),
    "two_tower": lambda x: fit_two_tower(x, FEATURES, TrainingOptions(epochs=1)),
    "two_tower_ids": lambda x: fit_two_tower(x, None, TrainingOptions(epochs=1)),
    "sasrec": lambda x: fit_sasrec(
        x, TrainingOptions(epochs=1), options=SasRecOptions(dim=4, length=3)
    ),
    "content": lambda x: ContentModel(FEATURES),
    "blend": lambda x: Blend([fit_popularity(x), fit_ease(x)], [1, 2]),
}


@pytest.fixture(params=MODELS)
def fit(request):
    return MODELS[request.param]


class TestHistoryModels(HistoryModelContract):
    pass
