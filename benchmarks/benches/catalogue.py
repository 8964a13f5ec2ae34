"""A catalogue: texts encoded a second, of the clothing reviews, in batches."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import numpy as np

from benchmarks.benches.request import (
    DEFAULT,
    class_of,
    fastest_equal,
    qualities,
    start_peers,
)
from benchmarks.bounds import BYTES, Bounds, Transformer, nearness
from benchmarks.peers import (
    Child,
    Milliseconds,
    interleave,
    start_own,
)
from benchmarks.report import Row, exact, not_run
from recsys_lib.data.reviews import load_clothing_reviews
from recsys_lib.latency.timing import ratio
from recsys_lib.metrics.intervals import bootstrap_interval

BATCH_SIZES = (8, 16, 32, 64, 128)  # the peers' default is 32
MUCH_SLOWER = 4  # such a peer is not measured further
FASTER_THAN_DEFAULT, FASTER_THAN_BEST = 3.5, 1.1


def run(bounds: Bounds, *, quick: bool) -> list[Row]:
    """Measure our encoder and the peers; each round draws some of 22,641 reviews."""
    n_texts, rounds = (64, 3) if quick else (256, 10)
    reviews = load_clothing_reviews().reviews["text"].to_numpy()
    rng = np.random.default_rng(0)
    samples = [
        rng.choice(reviews, n_texts, replace=False).tolist() for _ in range(rounds)
    ]
    with ExitStack() as stack:
        own = stack.enter_context(start_own(sample="reviews"))
        peers, rows = start_peers(stack, "catalogue")
        rows += drop_slow(own, peers, samples[0][:16])
        trial = samples[0][: 24 if quick else 128]
        ms = interleave(settings(own, peers, samples, trial), rounds=rounds, warmup=1)
        cosines = qualities({"own": own, **peers}, samples[0])
        precision = own.ask("engine")[1]
        rows += comparison(ms, cosines, n_texts, note=" ".join(own.ask("engine")))
        least = least_ms(own, samples[0], bounds, precision)
        rows += bound_rows(least, ms, precision)
    return rows


def drop_slow(own: Child, peers: dict[str, Child], texts: list[str]) -> list[Row]:
    """Remove peers that are many times slower than ours; return a row for each."""
    own.ask("encode", texts=texts)
    most_ms, rows = MUCH_SLOWER * own.time_ms("encode", texts=texts), []
    for name in [name for name in peers if name != DEFAULT]:
        peers[name].ask("encode", texts=texts[:4])
        taken_ms = peers[name].time_ms("encode", texts=texts)
        if taken_ms > most_ms:
            per_s = len(texts) / taken_ms * 1e3
            reason = f"{per_s:.1f} texts/s, over {MUCH_SLOWER} times slower than ours"
            rows.append(not_run("catalogue", name, reason))
            del peers[name]
    return rows


def settings(
    own: Child, peers: dict[str, Child], samples: list[list[str]], trial: list[str]
) -> dict[str, Callable[[int], float]]:
    """Calls to time: ours, the default peer, each peer at its best batch size."""
    calls: dict[str, Callable[[int], float]] = {"own": partial(encode, own, samples)}
    if DEFAULT in peers:
        calls[f"{DEFAULT}, default"] = partial(encode, peers[DEFAULT], samples)
    for name, peer in peers.items():
        size = best_batch_size(name, peer, trial)
        label = f"{name}, batches of {size}"
        calls[label] = partial(encode, peer, samples, batch_size=size)
    return calls


def encode(
    child: Child, samples: list[list[str]], i: int, *, batch_size: int | None = None
) -> float:
    """Time of encoding the sample of round i; without a size, at the child's own."""
    return child.time_ms("encode", texts=samples[i], batch_size=batch_size)


def best_batch_size(name: str, child: Child, texts: list[str]) -> int:
    """Batch size at which a peer is fastest; each is tried once after a warm-up."""
    child.ask("encode", texts=texts[:32])
    calls = {
        f"{name}, batches of {size}": partial(encode, child, [texts], batch_size=size)
        for size in BATCH_SIZES
    }
    ms = interleave(calls, rounds=1, warmup=0)  # a resumed bench uses the same size
    return BATCH_SIZES[int(np.argmin([taken[0] for taken in ms.values()]))]


def comparison(
    ms: dict[str, Milliseconds],
    cosines: dict[str, float],
    n_texts: int,
    *,
    note: str = "",
) -> list[Row]:
    """Rows of texts a second: ours, and the factor over each setting of a peer."""
    own_per_s = bootstrap_interval(n_texts / ms["own"] * 1e3, statistic="median")
    rows = [Row("catalogue", "own", own_per_s, "texts/s", note=note)]
    if "own" in cosines:
        cosine = exact(cosines["own"], n_texts)
        label = "own, mean cosine to f32"
        least = class_of(cosine.value)
        rows.append(Row("catalogue", label, cosine, "", target=least))
    others = [name for name in ms if name != "own"]
    for name in others:
        target = FASTER_THAN_DEFAULT if name == f"{DEFAULT}, default" else None
        cosine_note = f"mean cosine {cosines.get(name.split(',')[0], np.nan):.5f}"
        note = f"{np.median(n_texts / ms[name] * 1e3):.0f} texts/s; {cosine_note}"
        over = ratio(ms[name], ms["own"])
        rows.append(Row("catalogue", f"own / {name}", over, target=target, note=note))
    if best := fastest_equal(ms, cosines):
        label = f"own / best of equal quality ({best})"
        rows.append(
            Row("catalogue", label, ratio(ms[best], ms["own"]), target=FASTER_THAN_BEST)
        )
    return rows


def least_ms(
    own: Child, texts: list[str], bounds: Bounds, precision: str
) -> tuple[float, str]:
    """Least time of encoding the texts without padding, and the bound that sets it."""
    model = Transformer()
    lengths = [own.ask("tokenize", text=text) for text in texts]
    flops = sum(model.flops(n) for n in lengths)
    return bounds.least_ms(flops, BYTES[precision] * model.weights, precision)


def bound_rows(
    least: tuple[float, str], ms: dict[str, Milliseconds], precision: str
) -> list[Row]:
    """Rows of our share of the bound, and of the most that it leaves to gain."""
    rows = [nearness("catalogue", "own", float(np.median(ms["own"])), least)]
    if (default := ms.get(f"{DEFAULT}, default")) is not None:
        most = exact(float(np.median(default)) / least[0])
        label = f"most that {precision} could gain over the default peer"
        rows.append(Row("catalogue", label, most, note=f"bound: {least[1]}"))
    return rows
