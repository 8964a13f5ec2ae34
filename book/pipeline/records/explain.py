"""A rule in words with its numbers, and how far it is from falling."""

import ast
from typing import Any

from book.pipeline.language.catalogues import ENGLISH, PRESS, language, said, say
from book.pipeline.records.claims import evaluate, parse_rule
from book.pipeline.records.names import readable
from book.pipeline.results import Results

WORDS: dict[type[ast.AST], str] = {
    ast.Lt: "is below",
    ast.LtE: "is at most",
    ast.Gt: "is above",
    ast.GtE: "is at least",
    ast.Eq: "equals",
    ast.NotEq: "differs from",
    ast.Add: "plus",
    ast.Sub: "minus",
    ast.Mult: "times",
    ast.Div: "divided by",
    ast.Pow: "to the power of",
}
CALLS = {
    "min": "the smallest of",
    "max": "the largest of",
    "abs": "the absolute value of",
}
ENDS = {"low": "lower end ", "high": "upper end ", "n": "sample size "}


def sentence(rule: str, results: Results) -> str:
    """The rule in words, each record with its value in the run.

    >>> run = Results({"ch1": {"ndcg_text": {"value": 0.2, "low": 0.1, "high": 0.3}}})
    >>> sentence("ch1.ndcg_text.low > 0.05", run)
    'nDCG, text (lower end 0.1) is above 0.05'
    """
    return _words(parse_rule(rule), results) if rule else ""


def distance(rule: str, results: Results) -> float | None:
    """How far the tightest comparison of a rule is from falling.

    Returns:
        The gap between its two sides as a fraction of the larger; negative if the rule
        is false; None without a rule, without a record that it names, or if it only
        asks whether numbers are equal.
    """
    return _distance(parse_rule(rule), results) if rule else None


def _distance(node: ast.expr, results: Results) -> float | None:
    match node:
        case ast.BoolOp(op=op, values=values):
            parts = [_distance(v, results) for v in values]
            known = [p for p in parts if p is not None]
            choose = max if isinstance(op, ast.Or) else min
            return choose(known) if known else None
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [left, *others]
            steps = zip(sides, ops, others, strict=False)
            gaps = [_gap(a, op, b, results) for a, op, b in steps]
            found = [gap for gap in gaps if gap is not None]
            return min(found) if found else None
    return None


def _gap(a: ast.expr, op: ast.cmpop, b: ast.expr, results: Results) -> float | None:
    if isinstance(op, (ast.Eq, ast.NotEq)):
        return None
    try:
        left, right = evaluate(a, results), evaluate(b, results)
    except ZeroDivisionError:
        return None
    if left is None or right is None:
        return None
    gap = right - left if isinstance(op, (ast.Lt, ast.LtE)) else left - right
    return float(gap / (max(abs(left), abs(right)) or 1))


def _words(node: ast.expr, results: Results) -> str:
    match node:
        case ast.BoolOp(op=op, values=values):
            joint = say("; or ") if isinstance(op, ast.Or) else say("; and ")
            return joint.join(_words(v, results) for v in values)
        case ast.Compare(left=left, ops=ops, comparators=others):
            steps = zip(ops, others, strict=True)
            parts = [f"{_word(o)} {_words(x, results)}" for o, x in steps]
            return f"{_words(left, results)} {say(' and ').join(parts)}"
        case ast.BinOp(left=left, op=op, right=right):
            sides = _inner(left, results), _inner(right, results)
            return f"{sides[0]} {_word(op)} {sides[1]}"
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return f"{say('minus')} {_inner(operand, results)}"
        case ast.UnaryOp(operand=operand):
            return say("not ({this})", this=_words(operand, results))
        case ast.Call(func=ast.Name(id=name), args=args):
            inside = say("; ").join(_words(a, results) for a in args)
            return say(
                "{which} ({these})", which=said(CALLS[name], PRESS), these=inside
            )
        case ast.Attribute():
            return _record(ast.unparse(node), results)
        case ast.Name(id="margin"):
            return say("the margin {n}", n=f"{evaluate(node, results):g}")
        case ast.Constant(value=value):
            return _number(value)
    return ast.unparse(node)


def _word(operator: ast.AST) -> str:
    return said(WORDS[type(operator)], PRESS)


def _inner(node: ast.expr, results: Results) -> str:
    said = _words(node, results)
    return f"({said})" if isinstance(node, ast.BinOp) else said


def _record(reference: str, results: Results) -> str:
    key, name, field = (*reference.split("."), "value")[:3]
    unit = results.records.get(key, {}).get(name, {}).get("unit", "")
    value = results.get(reference)
    # Its parts are English words; in another language the record's own name is shown.
    shown = readable(name, unit) if language() == ENGLISH else f"`{key}.{name}`"
    if value is None:
        return say("{name} (not recorded)", name=shown)
    end = said(ENDS[field], PRESS) if field in ENDS else ""
    number = f"{_number(value)} {'' if field == 'n' else unit}".strip()
    return say("{name} ({end}{value})", name=shown, end=end, value=number)


def _number(value: Any) -> str:
    """Four digits, or all of a large number in groups of three; others as they are."""
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
