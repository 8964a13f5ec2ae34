"""Ranking metrics: area under the ROC curve, and top-k metrics for each user.

The top-k metrics take ``recommended`` (n_users, k): item codes, best first, -1 in an
empty slot; and ``relevant`` (n_users, n_items): sparse, non-zero for relevant items.
They return one value per user, from which a mean and its interval can be computed.
Recall is undefined for a user without relevant items: such a row is an error, and
`users_with` selects the other users.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.stats import rankdata

from recsys_lib.arrays import BoolArray, Float64Array, IntArray
from recsys_lib.metrics.intervals import LEVEL, Interval


@dataclass(frozen=True)
class RocCurve:
    """False- and true-positive rates (n,) for scores at or above each threshold (n,).

    Thresholds are the distinct scores in descending order, after infinity at (0, 0).
    """

    fpr: Float64Array
    tpr: Float64Array
    thresholds: Float64Array


def auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Area under the ROC curve: how often a positive scores above a negative.

    Args:
        labels: (n,) zeros and ones, both present.
        scores: (n,) numbers, higher for more likely positive.

    Returns:
        Fraction of the pairs in [0, 1]; a tie counts one half.

    Raises:
        ValueError: If a class is missing, a label is not 0 or 1, or a score is NaN.

    Source: Hanley & McNeil, Radiology 143(1), 1982,
    doi 10.1148/radiology.143.1.7063747.

    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8])
    0.875
    """
    positive, ranked = _checked_labels(labels, scores)
    return float(_placements(positive, ranked)[0].mean())


def auc_interval(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    *,
    baseline: npt.ArrayLike | None = None,
    units: npt.ArrayLike | None = None,
) -> Interval:
    """95 % interval of the AUC, or of its gain over a baseline, by DeLong's method.

    The normal approximation is too narrow near an AUC of 1, where it has width 0.

    Args:
        labels: (n,) zeros and ones, both at least twice.
        scores: (n,) numbers.
        baseline: (n,) scores of another model for the same cases, optional.
        units: (n,) the unit that each case belongs to, such as the user of a rating;
            cases of one unit may depend on each other. None if each case is a unit.

    Raises:
        ValueError: If a class has cases in fewer than two units, or as `auc` does.

    Source: DeLong et al., Biometrics 44(3), 1988, doi 10.2307/2531595; with units
    Obuchowski, "Nonparametric analysis of clustered ROC curve data", Biometrics, 1997,
    which is equal where each case is a unit.

    >>> auc_interval([0, 0, 1, 1], [1, 2, 3, 4])
    Interval(value=1.0, low=1.0, high=1.0, n=4)
    """
    positive, ranked = _checked_labels(labels, scores)
    named = np.arange(len(positive)) if units is None else np.asarray(units)
    if named.shape != positive.shape:
        raise ValueError(
            f"units must name one for each case; got shapes {named.shape} and "
            f"{positive.shape}"
        )
    _, places = np.unique(named, return_inverse=True)
    sides = places[positive], places[~positive]
    if min(len(np.unique(side)) for side in sides) < 2:
        raise ValueError("each class must have cases in two units; got one")
    of_positives, of_negatives = _placements(positive, ranked)
    if baseline is not None:
        others = _placements(*_checked_labels(labels, baseline))
        of_positives, of_negatives = of_positives - others[0], of_negatives - others[1]
    value, n_units = float(of_positives.mean()), int(places.max()) + 1
    sums = [  # (n_units,) of the deviations of each class, over the number of cases
        np.bincount(side, x - value, minlength=n_units) / len(x)
        for side, x in zip(sides, (of_positives, of_negatives), strict=True)
    ]
    seen = [len(np.unique(side)) for side in sides]
    alone = sum(n / (n - 1) * (x @ x) for n, x in zip(seen, sums, strict=True))
    variance = alone + 2 * n_units / (n_units - 1) * (sums[0] @ sums[1])
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * float(
        np.sqrt(max(float(variance), 0.0))
    )
    return Interval(value, value - half, value + half, n_units)


def roc_curve(labels: npt.ArrayLike, scores: npt.ArrayLike) -> RocCurve:
    """True-positive against false-positive rate over all thresholds.

    Args:
        labels: (n,) zeros and ones, both present.
        scores: (n,) numbers.

    Raises:
        ValueError: As `auc` does.

    >>> roc_curve([0, 1], [0.2, 0.7]).tpr.tolist()
    [0.0, 1.0, 1.0]
    """
    positive, ranked = _checked_labels(labels, scores)
    thresholds, group = np.unique(-ranked, return_inverse=True)
    rates = [
        np.r_[0.0, np.bincount(group, weights=side).cumsum() / side.sum()]
        for side in (~positive, positive)
    ]
    return RocCurve(rates[0], rates[1], np.r_[np.inf, -thresholds])


def user_aucs(scores: npt.ArrayLike, relevant: npt.ArrayLike) -> Float64Array:
    """AUC of each user's ranking of the same items; a tie counts one half.

    Args:
        scores: (n_users, n_items), higher for better.
        relevant: (n_users, n_items) bool.

    Returns:
        (n_users,) in [0, 1]; NaN where all of a user's items are relevant, or none.

    Raises:
        ValueError: If the shapes differ, are not two-dimensional, or a score is NaN.

    Source: Mann & Whitney, Ann. Math. Statist. 18(1), 1947,
    doi 10.1214/aoms/1177730491.

    >>> user_aucs([[0.1, 0.9, 0.5], [0.3, 0.2, 0.1]], [[0, 1, 1], [0, 0, 0]]).tolist()
    [1.0, nan]
    """
    values, right = np.asarray(scores), np.asarray(relevant, dtype=bool)
    if values.ndim != 2 or values.shape != right.shape:
        got = f"got {values.shape} and {right.shape}"
        raise ValueError(f"scores and relevant must be (n_users, n_items); {got}")
    if np.isnan(values).any():
        raise ValueError(f"scores must not be NaN; got {int(np.isnan(values).sum())}")
    n_items, n_right = values.shape[1], right.sum(axis=1)
    both = (n_right > 0) & (n_right < n_items)
    ranks, n = rankdata(values[both], axis=1), n_right[both]
    below = (ranks * right[both]).sum(axis=1) - n * (n + 1) / 2
    aucs = np.full(len(values), np.nan)
    aucs[both] = below / (n * (n_items - n))
    return aucs


def mean_auc(scores: npt.ArrayLike, relevant: npt.ArrayLike) -> float:
    """Mean of `user_aucs` over the users who have one, in [0, 1].

    Raises:
        ValueError: If no user has one, or as `user_aucs` does.

    >>> mean_auc([[0.1, 0.9, 0.5], [0.3, 0.2, 0.1]], [[0, 1, 1], [0, 0, 0]])
    1.0
    """
    aucs = user_aucs(scores, relevant)
    defined = aucs[~np.isnan(aucs)]
    if not len(defined):
        raise ValueError(
            f"a user must have relevant items and others; got none of {len(aucs)} users"
        )
    return float(defined.mean())


def users_with(relevant: csr_matrix) -> IntArray:
    """Users with at least one relevant item: (n,) row numbers, ascending.

    >>> users_with(csr_matrix([[0, 1], [0, 0], [1, 1]])).tolist()
    [0, 2]
    """
    return np.flatnonzero(_relevant_keys(relevant)[1])


def precision_at_k(recommended: IntArray, relevant: csr_matrix) -> Float64Array:
    """Fraction of the k slots that hold a relevant item; an empty slot is a miss.

    Args:
        recommended: (n_users, k) distinct item codes, -1 for an empty slot.
        relevant: (n_users, n_items) sparse.

    Returns:
        (n_users,) fractions in [0, 1].

    Raises:
        ValueError: If a user has no relevant item, the numbers of users differ, or a
            list repeats an item or holds a code outside the catalogue.

    >>> precision_at_k(np.array([[2, 0]]), csr_matrix([[1, 1, 0]])).tolist()
    [0.5]
    """
    return np.asarray(_hits(recommended, relevant)[0].mean(axis=1))


def recall_at_k(recommended: IntArray, relevant: csr_matrix) -> Float64Array:
    """Fraction of a user's relevant items that are among the k recommended.

    Arguments, result and errors as in `precision_at_k`.

    >>> recall_at_k(np.array([[2, 0, 1]]), csr_matrix([[1, 1, 0, 1]])).round(3).tolist()
    [0.667]
    """
    hits, n_relevant = _hits(recommended, relevant)
    return np.asarray(hits.sum(axis=1) / n_relevant)


def ndcg_at_k(recommended: IntArray, relevant: csr_matrix) -> Float64Array:
    """Discounted gain of the hits, over that of the best list.

    A hit adds 1 / log2(1 + rank). Relevance is binary; the best list starts with
    ``min(k, n_relevant)`` hits. Arguments, result and errors as in `precision_at_k`.

    Source: Järvelin & Kekäläinen, TOIS 20(4), 2002, doi 10.1145/582415.582418.

    >>> ndcg_at_k(np.array([[2, 0]]), csr_matrix([[1, 0, 0]])).round(3).tolist()
    [0.631]
    """
    hits, n_relevant = _hits(recommended, relevant)
    discounts = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = discounts.cumsum()[np.minimum(n_relevant, hits.shape[1]) - 1]
    return np.asarray(hits @ discounts / ideal)


def average_precision_at_k(recommended: IntArray, relevant: csr_matrix) -> Float64Array:
    """Sum of the precision at each hit, divided by the number of relevant items.

    The divisor counts all relevant items, even if there are more than k, as in the
    recommenders benchmark. Arguments, result and errors as in `precision_at_k`. MAP is
    the mean over users.

    >>> average_precision_at_k(np.array([[0, 2, 1]]), csr_matrix([[1, 1, 0]])).tolist()
    [0.8333333333333333]
    """
    hits, n_relevant = _hits(recommended, relevant)
    precisions = hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)
    return np.asarray((precisions * hits).sum(axis=1) / n_relevant)


def coverage(recommended: IntArray, n_items: int) -> float:
    """Fraction of the catalogue that appears in at least one list.

    Args:
        recommended: (n_users, k) distinct item codes, -1 for an empty slot.
        n_items: Size of the catalogue.

    Raises:
        ValueError: If a code lies outside the catalogue or a list repeats an item.

    >>> coverage(np.array([[0, 1], [1, -1]]), n_items=4)
    0.5
    """
    shown = np.unique(_checked_lists(recommended, n_items))
    return float((shown >= 0).sum() / n_items)


def intra_list_diversity(recommended: IntArray, vectors: npt.ArrayLike) -> Float64Array:
    """Mean of 1 - cosine over the pairs of items in each list.

    Args:
        recommended: (n_users, k) item codes, at least two in each row.
        vectors: (n_items, dim); a zero vector has cosine 0 with every other.

    Returns:
        (n_users,) in [0, 2].

    Raises:
        ValueError: If a list has fewer than two items or a vector is not finite.

    Source: Ziegler et al., WWW 2005, doi 10.1145/1060745.1060754.

    >>> intra_list_diversity(np.array([[0, 1]]), [[1.0, 0.0], [0.0, 2.0]]).tolist()
    [1.0]
    """
    units = np.asarray(vectors, dtype=np.float64)
    if units.ndim != 2 or not np.isfinite(units).all():
        raise ValueError(f"vectors must be (n_items, dim), finite; got {units.shape}")
    norms = np.linalg.norm(units, axis=1, keepdims=True)
    units = units / np.where(norms == 0, 1, norms)
    lists = _checked_lists(recommended, len(units))
    size = (lists >= 0).sum(axis=1)
    if (size < 2).any():
        raise ValueError(f"a list must have two items; got {(size < 2).sum()} shorter")
    starts = np.r_[0, size.cumsum()]
    members = csr_matrix(
        (np.ones(starts[-1]), lists[lists >= 0], starts), (len(lists), len(units))
    )
    own, total = members @ (units**2).sum(axis=1), members @ units
    cosines = ((total**2).sum(axis=1) - own) / (size * (size - 1))
    return np.asarray(np.clip(1 - cosines, 0, 2))


def overlap(lists: npt.ArrayLike, others: npt.ArrayLike) -> Float64Array:
    """Share of the entries of each list that its partner contains, too.

    With exact results as `lists` and approximate ones as `others`: recall of a search.

    Args:
        lists: (n, k) item codes, k >= 1.
        others: (n, m) item codes.

    Returns:
        (n,) in [0, 1].

    Raises:
        ValueError: If there are not as many of one as of the other.

    >>> overlap([[1, 2], [3, 4]], [[2, 9], [4, 3]]).tolist()
    [0.5, 1.0]
    """
    pairs = zip(np.asarray(lists), np.asarray(others), strict=True)
    return np.array([np.isin(ours, theirs).mean() for ours, theirs in pairs])


def _checked_labels(
    labels: npt.ArrayLike, scores: npt.ArrayLike
) -> tuple[BoolArray, Float64Array]:
    truth, ranked = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != ranked.shape:
        got = f"got {truth.shape} and {ranked.shape}"
        raise ValueError(f"labels and scores must both be (n,); {got}")
    if np.isnan(ranked).any():
        raise ValueError(f"scores must not be NaN; got {np.isnan(ranked).sum()} NaN")
    classes = np.unique(truth)
    if not np.array_equal(classes, [0, 1]):
        raise ValueError(f"labels must hold both 0 and 1; got {classes[:5].tolist()}")
    return truth.astype(bool), ranked


def _placements(
    positive: BoolArray, scores: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Fraction of negatives below each positive, of positives above each negative."""
    wins, losses = scores[positive], scores[~positive]
    return _fraction_below(wins, losses), 1 - _fraction_below(losses, wins)


def _fraction_below(scores: Float64Array, others: Float64Array) -> Float64Array:
    """Fraction of the others below each score; a tie counts one half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, scores, side="left")
    return (below + np.searchsorted(ordered, scores, side="right")) / (2 * len(ordered))


def _relevant_keys(relevant: csr_matrix) -> tuple[IntArray, IntArray]:
    """Sorted ``user * n_items + item`` of relevant pairs, and their number by user."""
    n_users, n_items = relevant.shape
    rows, columns = relevant.nonzero()
    keys = np.unique(rows.astype(np.int64) * n_items + columns)
    return keys, np.bincount(keys // n_items, minlength=n_users)


def _hits(recommended: IntArray, relevant: csr_matrix) -> tuple[BoolArray, IntArray]:
    """Which slots hold a relevant item (n_users, k), and how many each user has."""
    lists = _checked_lists(recommended, relevant.shape[1])
    keys, n_relevant = _relevant_keys(relevant)
    if len(lists) != len(n_relevant):
        got = f"got {len(lists)} and {len(n_relevant)} rows"
        raise ValueError(f"recommended and relevant must have the same users; {got}")
    if not n_relevant.all():
        got = f"got {(n_relevant == 0).sum()} without (users_with selects the others)"
        raise ValueError(f"every user must have a relevant item; {got}")
    users = np.arange(len(lists))[:, None]
    return np.isin(users * relevant.shape[1] + lists, keys) & (lists >= 0), n_relevant


def _checked_lists(recommended: IntArray, n_items: int) -> IntArray:
    lists = np.asarray(recommended)
    if lists.ndim != 2 or lists.size == 0 or lists.dtype.kind not in "iu":
        got = f"got {lists.dtype} of shape {lists.shape}"
        raise ValueError(f"recommended must be (n_users, k) integers, not empty; {got}")
    low, high = lists.min(), lists.max()
    if low < -1 or high >= n_items:
        raise ValueError(f"codes must lie in [-1, {n_items}); got {low}..{high}")
    ordered = np.sort(lists, axis=1)
    repeated = ((np.diff(ordered) == 0) & (ordered[:, 1:] >= 0)).any(axis=1)
    if repeated.any():
        raise ValueError(f"a list must not repeat items; got {repeated.sum()} that do")
    return lists.astype(np.int64)
