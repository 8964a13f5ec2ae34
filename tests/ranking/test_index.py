from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.ranking.faiss_store import _sign_bits, faiss, index_device
from recsys_lib.ranking.index import build_index, load_index
from recsys_lib.ranking.similarity import normalize
from recsys_lib.ranking.top_n import top_n

KINDS = ("flat", "int8", "binary", "hnsw")
EXACT = ("flat", "binary", "hnsw")
each_kind = pytest.mark.parametrize("kind", KINDS)


def unit_vectors(n, *, seed=0, dim=32):
    """Unit vectors of few latent dimensions, as embeddings are, and some noise."""
    latent = np.random.default_rng(1).normal(size=(8, dim))
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 8)) @ latent + 0.5 * rng.normal(size=(n, dim))
    return normalize(rows.astype(np.float32))


@pytest.fixture(scope="module")
def catalogue():
    """Vectors, queries that are not among them, and the exact ten of each."""
    table, queries = unit_vectors(3000), unit_vectors(50, seed=2)
    return table, queries, top_n(queries @ table.T, 10)


@each_kind
def test_by_hand(kind):
    index = build_index([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], kind=kind, ids=[7, 8, 9])
    found = index.search([[0.0, 2.0]], 2)
    assert found.items.tolist() == [[9, 8]]
    np.testing.assert_allclose(found.scores, [[2.0, 1.6]], atol=0.01)
    assert (found.items.dtype, found.scores.dtype) == (np.int64, np.float32)
    assert (len(index), index.dim, index.kind) == (3, 2, kind)


@pytest.mark.parametrize("kind", EXACT)
def test_at_full_effort_every_kind_equals_sorting_all(kind, catalogue):
    table, queries, exact = catalogue
    found = build_index(table, kind=kind).search(queries, 10, effort=1)
    assert np.array_equal(found.items, exact.items)
    np.testing.assert_allclose(found.scores, exact.scores, atol=1e-6)


@pytest.mark.parametrize("kind", ["binary", "hnsw"])
def test_recall_by_default_and_with_more_effort(kind, catalogue):
    table, queries, exact = catalogue
    index = build_index(table, kind=kind)

    def recall(effort):
        found = index.search(queries, 10, effort=effort)
        hits = (found.items[:, :, None] == exact.items[:, None]).any(axis=2)
        own = (queries[:, None] * table[found.items]).sum(axis=2)
        np.testing.assert_allclose(found.scores, own, atol=1e-6)
        assert (np.diff(found.scores) <= 0).all()
        return hits.mean()

    assert recall(0.004) < recall(None)
    assert recall(None) > 0.9


def test_binary_uses_the_signs_of_all_dimensions():
    table = unit_vectors(3000, dim=300)
    table[:, :256] = 1e-3  # nothing to learn from the signs of these
    table = normalize(table)
    index = build_index(table, kind="binary")
    gone = index.remove(np.arange(0, 3000, 3))
    assert (index.size_bytes, gone) == (2000 * (300 * 4 + 64 + 8), 1000)  # signs, ids
    found = index.search(table[1::3], 1, effort=0.25).items[:, 0]
    assert (found == np.arange(1, 3000, 3)).mean() > 0.95


@pytest.mark.parametrize(("dim", "n_bytes"), [(300, 64), (512, 64), (520, 65), (7, 8)])
def test_signs_are_of_each_number_first_then_of_directions(dim, n_bytes):
    rows = unit_vectors(50, dim=dim)
    bits = np.unpackbits(_sign_bits(rows), axis=1)
    assert bits.shape == (50, 8 * n_bytes)
    assert np.array_equal(bits[:, :dim], rows > 0)
    assert (bits[:, dim:].mean(axis=0) < 1).all()
    assert np.array_equal(_sign_bits(2 * rows), _sign_bits(rows))


def test_eight_bits_err_within_their_bound(catalogue):
    table, queries, _ = catalogue
    found = build_index(table, kind="int8").search(queries, 3000)
    exact = np.take_along_axis(queries @ table.T, found.items, axis=1)
    bound = (np.abs(queries) * np.ptp(table, axis=0)).sum(axis=1, keepdims=True) / 510
    assert (np.abs(found.scores - exact) <= bound + 1e-5).all()


def test_eight_bits_clip_what_leaves_the_first_range():
    index = build_index([[0.0], [1.0]], kind="int8")
    index.add([2], [[5.0]])
    assert index.search([[1.0]], 1).scores[0, 0] == pytest.approx(1.0, abs=0.01)


def test_bytes_by_kind(catalogue):
    table, ids_bytes = catalogue[0], 8 * 3000
    sizes = {kind: build_index(table, kind=kind).size_bytes for kind in KINDS}
    assert sizes["flat"] - ids_bytes == 3000 * 32 * 4
    assert sizes["int8"] - ids_bytes == 3000 * 32
    assert sizes["binary"] - sizes["flat"] == 3000 * 8  # 32 signs, 32 directions
    assert sizes["hnsw"] - sizes["flat"] > 3000 * (2 * 32 + 4 * 32)  # copies, links


changes = st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 9))), max_size=6)


@given(st.sampled_from(EXACT), changes)
def test_adding_and_removing_equals_a_dictionary(kind, steps):
    rng = np.random.default_rng(0)
    index, held = build_index(np.empty((0, 4)), kind=kind), {}
    for adds, ids in steps:
        if adds:
            new = {i: rng.normal(size=4).astype(np.float32) for i in ids - set(held)}
            index.add(list(new), np.array(list(new.values())).reshape(-1, 4))
            held |= new
        else:
            assert index.remove(list(ids)) == len(ids & set(held))
            held = {i: row for i, row in held.items() if i not in ids}
    query = rng.normal(size=4).astype(np.float32)
    best = sorted(held, key=lambda i: -float(held[i] @ query))
    assert index.search([query], 10).items[0].tolist() == best
    assert len(index) == len(held)


@pytest.mark.parametrize(("kind", "share"), [("binary", 0.5), ("hnsw", 0.1)])
def test_removed_items_are_not_answered(kind, share, catalogue):
    table, queries, _ = catalogue
    index = build_index(table, kind=kind, ids=np.arange(3000) + 10**12)
    gone = np.arange(0, 3000, int(1 / share))
    assert index.remove(gone + 10**12) == gone.size
    scores = queries @ table.T
    scores[:, gone] = -np.inf
    found, exact = index.search(queries, 10).items - 10**12, top_n(scores, 10).items
    assert (found[:, :, None] == exact[:, None]).any(axis=2).mean() > 0.95
    assert not np.isin(found, gone).any()
    index.add([10**12], table[:1])
    assert index.search(table[:1], 1).items.tolist() == [[10**12]]


def test_hnsw_is_built_anew_when_a_fifth_is_gone(catalogue):
    index = build_index(catalogue[0], kind="hnsw")
    full = index.size_bytes
    index.remove(np.arange(600))
    assert index.size_bytes == full
    index.remove([600])
    assert index.size_bytes < 0.81 * full
    assert len(index) == 2399
    assert index.remove(np.arange(3000)) == 2399
    assert index.search(catalogue[1], 1).items.size == 0


@each_kind
def test_too_few_items_are_all_found(kind):
    index = build_index([[1.0, 0.0]], kind=kind)
    assert index.search([[1.0, 0.0]], 3).items.tolist() == [[0]]
    assert index.remove([0, 5, 5]) == 1
    assert index.search([[1.0, 0.0], [0.0, 1.0]], 1).items.shape == (2, 0)
    assert index.search(np.empty((0, 2)), 3).items.shape == (0, 0)


@each_kind
def test_equal_and_zero_vectors(kind):
    same = np.tile(unit_vectors(1), (3000, 1))
    found = build_index(same, kind=kind).search(same[:1], 100, effort=0.5)
    assert len(set(found.items[0].tolist())) == 100
    assert found.items.min() >= 0
    np.testing.assert_allclose(found.scores, 1, atol=0.01)
    index = build_index([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], kind=kind)
    found = index.search([[1.0, 0.0], [0.0, 0.0]], 3)
    assert found.items[0].tolist() == [1, 0, 2]
    np.testing.assert_allclose(found.scores, [[1, 0, -1], [0, 0, 0]], atol=0.01)


@each_kind
def test_one_query_equals_many_in_threads(kind, catalogue):
    table, queries, _ = catalogue
    index = build_index(table, kind=kind)
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(2)
    together, alone = index.search(queries, 10), index.search(queries[:1], 10)
    assert faiss.omp_get_max_threads() == 2
    faiss.omp_set_num_threads(before)
    with ThreadPoolExecutor(4) as pool:
        apart = list(pool.map(lambda q: index.search([q], 10), queries))
    assert np.array_equal(np.vstack([x.items for x in apart]), together.items)
    assert np.array_equal(alone.items, together.items[:1])


@each_kind
def test_save_and_load_round_trip(kind, catalogue, tmp_path):
    table, queries, _ = catalogue
    index = build_index(table, kind=kind, ids=np.arange(3000)[::-1])
    index.remove([1, 2])
    index.save(tmp_path / "index")
    again = load_index(tmp_path / "index")
    before, after = (x.search(queries, 10) for x in (index, again))
    assert np.array_equal(before.items, after.items)
    assert np.array_equal(before.scores, after.scores)
    assert (again.kind, len(again), again.dim) == (kind, 2998, 32)
    assert (again.size_bytes, again.remove([0, 1])) == (index.size_bytes, 1)
    again.add([1], table[:1])
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "index"
    build_index([[1.0]], ids=[5]).save(path)

    def torn(file, **_):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", torn)
    with pytest.raises(OSError, match="disk full"):
        build_index([[2.0]]).save(path)
    assert load_index(path).search([[1.0]], 1).items.tolist() == [[5]]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_damaged_or_foreign_file_is_named(tmp_path):
    path = tmp_path / "some index"
    build_index(unit_vectors(100)).save(path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (b"", b"text", whole[:-100], bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"complete saved index; .*some in"):
            load_index(path)
    for foreign in ({"a": 1}, {"format": "another"}):
        with path.open("wb") as file:
            np.savez(file, **foreign)
        with pytest.raises(ValueError, match="some index"):
            load_index(path)
    with pytest.raises(FileNotFoundError, match="missing"):
        load_index(tmp_path / "missing")


def test_a_gpu_copy_follows_every_change(monkeypatch):
    copies = []

    def copy_to(resources, number, index):
        copies.append(number)
        return faiss.clone_index(index)

    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", copy_to, raising=False)
    index = build_index([[1.0], [2.0]], device="cuda:1")
    assert index.search([[1.0]], 1).items.tolist() == [[1]]
    index.add([2], [[3.0]])
    assert index.search([[1.0]], 1).items.tolist() == [[2]]
    index.remove([2])
    assert index.search([[1.0]], 3).items.tolist() == [[1, 0]]
    assert index.search([[1.0]], 3000).items.tolist() == [[1, 0]]
    assert set(copies) == {1}
    with pytest.raises(ValueError, match="one of faiss's 2 GPUs; got 'cuda:2'"):
        build_index([[1.0]], device="cuda:2")


def test_an_index_is_on_the_device_of_the_models_where_faiss_can_have_it(monkeypatch):
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    assert index_device("cuda") == "cuda"
    assert index_device("cpu") == "cpu"
    assert index_device("cuda", kind="hnsw") == "cpu"
    assert index_device("cuda:1") == "cpu"
    monkeypatch.delattr(faiss, "StandardGpuResources")
    assert index_device("cuda") == "cpu"
    with pytest.raises(ValueError, match="got 'tpu'"):
        index_device("tpu")


def one():
    return build_index([[1.0, 0.0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: build_index([1.0]), r"must be \(n, dim\); got shape \(1,\)"),
        (lambda: build_index(np.empty((3, 0))), r"got shape \(3, 0\)"),
        (lambda: build_index([[np.nan], [1.0]]), "finite; got NaN or inf in 1"),
        (lambda: build_index([[1e300]]), "finite; got NaN or inf in 1"),
        (lambda: build_index([[1.0]], kind="tree"), "kind must be one of .*got 'tree'"),
        (lambda: build_index([[1.0]], ids=[1, 2]), "got 2 different ids for 1 vectors"),
        (lambda: build_index([[1.0], [2.0]], ids=[1, 1]), "got 1 different ids for 2"),
        (lambda: build_index([[1.0]], ids=[-1]), r">= 0; got shape \(1,\), 1 below 0"),
        (lambda: build_index([[1.0]], ids=[[1]]), r"\(n,\) and >= 0; got shape \(1, 1"),
        (lambda: build_index([[1.0]], device="tpu"), "\"cuda.*got 'tpu'"),
        (
            lambda: build_index([[1.0]], kind="hnsw", device="cuda"),
            "device must be cpu for kind 'hnsw'",
        ),
        (lambda: one().add([0], [[1.0, 0.0]]), r"ids must be new; got \[0\] again"),
        (lambda: one().add([1], [[1.0]]), r"\(n, 2\); got shape \(1, 1\)"),
        (lambda: one().search([[1.0]], 1), r"\(n, 2\); got shape \(1, 1\)"),
        (lambda: one().search([[1.0, np.inf]], 1), "must be finite"),
        (lambda: one().search([[1.0, 0.0]], 0), "k must be at least 1; got 0"),
        (lambda: one().search([[1.0, 0.0]], 1, effort=0), r"in \(0, 1\]; got 0"),
        (lambda: one().search([[1.0, 0.0]], 1, effort=1.1), r"in \(0, 1\]; got 1.1"),
        (lambda: one().remove([-1]), "ids must be"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_refuses_ids_that_are_no_integers():
    with pytest.raises(TypeError, match="ids must be integers; got float64"):
        build_index([[1.0]], ids=[0.5])


@pytest.mark.skipif(hasattr(faiss, "StandardGpuResources"), reason="faiss has GPUs")
def test_refuses_a_gpu_where_faiss_has_none():
    with pytest.raises(ValueError, match="one of faiss's 0 GPUs; got 'cuda'"):
        build_index([[1.0]], device="cuda")
