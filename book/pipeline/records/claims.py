"""The document's claims: a verdict each, and the rule over records that supports it."""

import ast
import operator
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from book.pipeline.chapters import BookError
from book.pipeline.language.catalogues import say
from book.pipeline.results import Results
from recsys_lib.metrics.intervals import MARGIN

VERDICTS = (
    "holds",
    "holds mostly",  # in the common case; the exceptions are named
    "holds rarely",  # only under a special condition
    "does not hold",
    "not checkable",
)
SHORT_WORDS = 12
_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {"abs": abs, "min": min, "max": max}


class State(StrEnum):
    """Where a verdict stands in one run."""

    STANDS = "stands"
    FALLS = "falls"
    NOT_JUDGED = "not judged"  # its condition does not hold in the run
    NOT_RECORDED = "not recorded"  # the run lacks a record that the rule names
    NO_RULE = "no rule"


@dataclass(frozen=True)
class Claim:
    """A claim of the document, what we found, and the rule that supports the verdict.

    `rule` is true when the verdict stands: `ch4.throughput_2 > 1.5 * ch4.throughput_1`.
    It is empty only for a claim that cannot be checked or that a source settles.
    `when` says where the rule is judged, such as `run.device == "cpu"`, and `condition`
    says it in words, such as "on a CPU". `zh` is the claim in Chinese, and `short` says
    in at most twelve words where it holds.
    """

    id: str
    section: str
    claim: str
    verdict: str
    correct: str
    rule: str = ""
    when: str = ""
    condition: str = ""
    figure: str = ""
    source: str = ""
    zh: str = ""
    short: str = ""

    @property
    def key(self) -> str:
        """Key of the chapter whose records the claim stands on, such as `ch4`."""
        return f"ch{self.section.split('.')[0]}"


@dataclass(frozen=True)
class Judgement:
    """A claim judged on one run.

    Attributes:
        claim: What was judged.
        state: Whether its verdict stands in that run.
        timed_in: Numbers of the chapters whose timed records the rule names, such as
            "04"; without any it is exact.
        evidence: The records of the rule with their values.
        broken: The comparisons of the rule that are false, with their values; empty
            unless the verdict falls.
    """

    claim: Claim
    state: State
    timed_in: frozenset[str]
    evidence: str
    broken: str = ""

    @property
    def timed(self) -> bool:
        """Whether its rule names a timed record."""
        return bool(self.timed_in)

    @property
    def kind(self) -> str:
        """Kind of the rule, "timed" or "exact"."""
        return "timed" if self.timed else "exact"

    def __str__(self) -> str:
        return (
            f"{self.claim.section} {self.claim.id} ({self.kind}): the verdict "
            f"{self.claim.verdict!r} {self.state}; its rule requires {self.broken}"
        )


def load_claims(path: Path) -> list[Claim]:
    """Read the claims and check that each can be judged.

    Raises:
        BookError: For an unknown field or verdict, an id used twice, a `short` that is
            too long, or a verdict that neither a rule nor a source supports.
    """
    try:
        claims = [Claim(**entry) for entry in yaml.safe_load(path.read_text())]
    except TypeError as error:
        raise BookError(f"{path.name}: {error}") from error
    ids = [claim.id for claim in claims]
    for claim in claims:
        if ids.count(claim.id) > 1:
            raise BookError(f"{path.name}: the id {claim.id!r} is used twice")
        if claim.verdict not in VERDICTS:
            raise BookError(
                f"{path.name}: the verdict of {claim.id!r} must be one of "
                f"{', '.join(VERDICTS)}; got {claim.verdict!r}"
            )
        if len(claim.short.split()) > SHORT_WORDS:
            raise BookError(
                f"{path.name}: `short` of {claim.id!r} must have at most {SHORT_WORDS} "
                f"words; got {len(claim.short.split())}"
            )
        if not (claim.rule or claim.source or claim.verdict == "not checkable"):
            raise BookError(f"{path.name}: {claim.id!r} has neither rule nor source")
        if bool(claim.when) != bool(claim.condition):
            raise BookError(
                f"{path.name}: {claim.id!r} must have both `when` and `condition` (the "
                f"same in words), or neither"
            )
        for rule in filter(None, (claim.rule, claim.when)):
            try:
                parse_rule(rule)
            except SyntaxError as error:
                raise BookError(
                    f"{path.name}: {claim.id!r}: rule {rule!r}: {error.msg}"
                ) from error
    return claims


def judge(claim: Claim, results: Results) -> State:
    """Decide whether the records of a run support the verdict.

    Raises:
        BookError: If the rule names a record that a complete run lacks, or is no
            comparison.
    """
    if not claim.rule:
        return State.NO_RULE
    of = f"claim {claim.id}"
    applies = holds(claim.when, results, of=of) if claim.when else True
    verdict = holds(claim.rule, results, of=of) if applies else None
    if applies is False:
        return State.NOT_JUDGED
    if applies is None or verdict is None:
        return State.NOT_RECORDED
    return State.STANDS if verdict else State.FALLS


def judge_all(claims: Iterable[Claim], results: Results) -> list[Judgement]:
    """Judge every claim on one run, in the order given."""
    return [_judgement(claim, results) for claim in claims]


def _judgement(claim: Claim, results: Results) -> Judgement:
    state = judge(claim, results)
    asked = comparisons(claim.rule) if state is State.FALLS else []
    of = f"claim {claim.id}"
    broken = [part for part in asked if holds(part, results, of=of) is False]
    timed = filter(results.is_timed, cited(claim.rule))
    return Judgement(
        claim,
        state,
        timed_in=frozenset(f"{int(name.split('.')[0][2:]):02}" for name in timed),
        evidence=_values(claim.rule, results),
        broken=" and ".join(f"`{x}` ({_values(x, results)})" for x in broken),
    )


def fallen(judgements: Iterable[Judgement]) -> list[Judgement]:
    """The judgements whose verdict falls."""
    return [j for j in judgements if j.state is State.FALLS]


def timed_in(judgements: Iterable[Judgement]) -> frozenset[str]:
    """Numbers of the chapters whose timed records any of the rules names."""
    return frozenset[str]().union(*(j.timed_in for j in judgements))


def again_command(judgements: Iterable[Judgement]) -> str:
    """The command that measures those chapters again; empty if no rule is timed."""
    numbers = " ".join(sorted(timed_in(judgements)))
    return f'make book AGAIN="{numbers}"' if numbers else ""


def tally(judgements: Sequence[Judgement]) -> str:
    """Count the states: `52 stand, 3 fall, 1 not judged`."""
    n = Counter(j.state for j in judgements)
    names = [
        say("{n} stand", n=n[State.STANDS]) * bool(n[State.STANDS]),
        say("{n} fall", n=n[State.FALLS]) * bool(n[State.FALLS]),
        say("{n} not judged", n=n[State.NOT_JUDGED]) * bool(n[State.NOT_JUDGED]),
        say("{n} not recorded", n=n[State.NOT_RECORDED]) * bool(n[State.NOT_RECORDED]),
    ]
    return say(", ").join(filter(None, names)) or say("none judged")


def cited(rule: str) -> list[str]:
    """Names of the records of a rule, with their fields: `ch4.rt_ms`, `ch4.rt_ms.low`.

    >>> cited("ch4.a.low < ch4.b and ch4.b > 1")
    ['ch4.a.low', 'ch4.b']
    """
    if not rule:
        return []
    found = list(ast.walk(parse_rule(rule)))
    attributes = [node for node in found if isinstance(node, ast.Attribute)]
    inner = [node.value for node in attributes]
    return sorted({ast.unparse(node) for node in attributes if node not in inner})


def comparisons(rule: str) -> list[str]:
    """The parts of a rule that "and" joins; one that is false makes the rule false."""
    match parse_rule(rule):
        case ast.BoolOp(op=ast.And(), values=values):
            return [ast.unparse(x) for x in values]
        case other:
            return [ast.unparse(other)]


def _values(rule: str, results: Results) -> str:
    """The records of a rule with their values: `ch4.rt_ms = 5.1, ...`."""
    names = cited(rule)
    return ", ".join(f"{name} = {results.text(f'{name}:.4g')}" for name in names)


def holds(rule: str, results: Results, *, of: str) -> bool | None:
    """Whether a rule is true of a run; None if the run lacks a record that it needs.

    Args:
        rule: A comparison over records.
        results: Of the run.
        of: Whose rule it is, for a message.

    Raises:
        BookError: If it names a record that a complete run lacks, or is no comparison.
    """
    try:
        verdict = evaluate(parse_rule(rule), results)
    except ZeroDivisionError:
        return False  # a ratio to zero; the evidence shows which
    except (SyntaxError, TypeError) as error:
        raise BookError(f"{of}: rule {rule!r}: {error}") from error
    except BookError as error:
        raise BookError(f"{of}: {error}") from error
    if verdict is not None and not isinstance(verdict, bool):
        raise BookError(f"{of}: the rule must compare; got {verdict!r}")
    return verdict


def parse_rule(rule: str) -> ast.expr:
    """The expression that a rule is; raises SyntaxError as Python does."""
    return ast.parse(rule.strip(), mode="eval").body


def evaluate(node: ast.expr, results: Results) -> Any:
    """Evaluate the few forms that a rule may have; a missing record gives None."""
    match node:
        case ast.Constant(value=int() | float() | str() as constant):
            return constant
        case ast.Attribute():
            return results.get(ast.unparse(node))
        case ast.Name(id="margin"):
            return MARGIN
        case ast.BoolOp(op=op, values=values):
            parts = [evaluate(v, results) for v in values]
            decides = isinstance(op, ast.Or)  # whatever the others are
            if decides in parts:
                return decides
            return None if None in parts else not decides
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _apply(operator.not_, evaluate(operand, results))
        case ast.UnaryOp(op=op, operand=operand):
            return _apply(_OPERATORS[type(op)], evaluate(operand, results))
        case ast.BinOp(left=left, op=op, right=right):
            parts = [evaluate(left, results), evaluate(right, results)]
            return _apply(_OPERATORS[type(op)], *parts)
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [evaluate(side, results) for side in (left, *others)]
            pairs = zip(ops, sides, sides[1:], strict=False)
            steps = [_apply(_OPERATORS[type(op)], a, b) for op, a, b in pairs]
            return None if None in steps else all(steps)
        case ast.Call(func=ast.Name(id=name), args=args) if name in _FUNCTIONS:
            return _apply(_FUNCTIONS[name], *(evaluate(a, results) for a in args))
    raise TypeError(f"a rule may not hold {ast.unparse(node)!r}")


def _apply(function: Callable[..., Any], *values: Any) -> Any:
    return None if None in values else function(*values)
