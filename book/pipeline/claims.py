"""The document's claims, each with a verdict that a rule over the records must bear."""

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from book.pipeline.chapters import BookError
from book.pipeline.results import Results

VERDICTS = ("holds", "holds if", "does not hold", "not checkable")
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
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {"abs": abs, "min": min, "max": max}


@dataclass(frozen=True)
class Claim:
    """A claim of the document, what we found, and the rule that carries the verdict.

    `rule` is true when the verdict stands: `ch4.throughput_2 > 1.5 * ch4.throughput_1`.
    It is empty only for a claim that cannot be checked or that a source settles.
    """

    id: str
    section: str
    claim: str
    verdict: str
    correct: str
    rule: str = ""
    figure: str = ""
    source: str = ""

    @property
    def key(self) -> str:
        """Key of the chapter whose records the claim stands on, such as `ch4`."""
        return f"ch{self.section.split('.')[0]}"


def load_claims(path: Path) -> list[Claim]:
    """Read the claims and check that each can be judged.

    Raises:
        BookError: For an unknown field or verdict, an id used twice, or a verdict that
            neither a rule nor a source carries.
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
        if not (claim.rule or claim.source or claim.verdict == "not checkable"):
            raise BookError(f"{path.name}: {claim.id!r} has neither rule nor source")
    return claims


def judge(claim: Claim, results: Results) -> bool | None:
    """Tell whether the records bear the verdict; None when there is nothing to test.

    Raises:
        BookError: If the rule names a record that is missing, or is no comparison.
    """
    if not claim.rule:
        return None
    try:
        verdict = _value(ast.parse(claim.rule, mode="eval").body, results)
    except (SyntaxError, TypeError) as error:
        raise BookError(f"claim {claim.id}: rule {claim.rule!r}: {error}") from error
    except BookError as error:
        raise BookError(f"claim {claim.id}: {error}") from error
    if verdict is None:
        return None
    if not isinstance(verdict, bool):
        raise BookError(f"claim {claim.id}: the rule must compare; got {verdict!r}")
    return verdict


def evidence(claim: Claim, results: Results) -> str:
    """Show the records of a rule with their values: `ch4.rt_ms = 5.1, ...`."""
    if not claim.rule:
        return ""
    found = list(ast.walk(ast.parse(claim.rule, mode="eval")))
    attributes = [node for node in found if isinstance(node, ast.Attribute)]
    inner = [node.value for node in attributes]
    names = sorted({ast.unparse(node) for node in attributes if node not in inner})
    return ", ".join(f"{name} = {results.text(f'{name}:.4g')}" for name in names)


def _value(node: ast.expr, results: Results) -> Any:
    """Evaluate the few forms that a rule may have; a record left out gives None."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Attribute():
            return results.get(ast.unparse(node))
        case ast.BoolOp(op=op, values=values):
            parts = [_value(v, results) for v in values]
            combine = all if isinstance(op, ast.And) else any
            return None if None in parts else combine(parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, results)
        case ast.UnaryOp(op=op, operand=operand):
            return _apply(_OPERATORS[type(op)], _value(operand, results))
        case ast.BinOp(left=left, op=op, right=right):
            parts = [_value(left, results), _value(right, results)]
            return _apply(_OPERATORS[type(op)], *parts)
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [_value(side, results) for side in (left, *others)]
            pairs = zip(ops, sides, sides[1:], strict=False)
            steps = [_apply(_OPERATORS[type(op)], a, b) for op, a, b in pairs]
            return None if None in steps else all(steps)
        case ast.Call(func=ast.Name(id=name), args=args) if name in _FUNCTIONS:
            return _apply(_FUNCTIONS[name], *(_value(a, results) for a in args))
    raise TypeError(f"a rule may not hold {ast.unparse(node)!r}")


def _apply(function: Callable[..., Any], *values: Any) -> Any:
    return None if None in values else function(*values)
