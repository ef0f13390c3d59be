r"""math: whether written answers equal written references, by math-verify. Anybody's text, our code.

The text never becomes code: LaTeX goes through math-verify's own grammar, and sympy's string reader, which evaluates
Python, is closed to all but single numbers and names. What hangs or grows is ended from outside.

One frame in for each batch {"items": [[references, answers, decimals, relations, proved], ...]}, and for each item out
    {"sound": true}     when `proved` is false and the reference was found usable: what follows is the answer's doing
    {"verdict": ...}    equal | different | unreadable | unusable (the reference) | too_large
`references` and `answers` are readings of one text each (50\% as 50 and as 50/100): any equal pair is equal.
"""

import logging
import math
import re
from functools import cache, lru_cache
from typing import Any

PROBE = "791912639"  # equals no reference that anybody means; comparing with it shows whether a comparison ends
_SINGLE = re.compile(
    r"\s*(?:[A-Za-z_]\w{0,40}|(?:Integer|Float|Rational|Symbol)\s*\(\s*'?[\w.]{1,4000}(?:[eE][+-]\d{1,4})?'?\s*\))\s*"
)
# What the grammar and sympy learn from, before the workers fork: each kind of formula is slow the first time.
_WARM = (
    (r"\sin^2 x+\frac{1}{2}", r"1.5-\cos^2 x"),
    (r"\{1,2\}", "2,1"),
    ("(1,2]", r"1<x\le 2"),
    (r"(-\infty,1)\cup[2,\infty)", "x<1"),
    ("(1,-2,3)", r"(1,-2,\frac{3}{4})"),
    (r"\begin{pmatrix}1&-2\\3&4x\end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}"),
    ("x=4, y=-5", "(4,-5)"),
    ("y=2x+1", "2x+1"),
    ("(x+1)^2(x-3)", "x^3-x^2-5x-3"),
    (r"\frac{x^2+2\sqrt{3}}{4\pi}", r"2^{x-1}e^{-x}"),
    (r"\frac{-b\pm\sqrt{b^2-4ac}}{2a}", r"\sqrt[3]{2}"),
    (r"\log_2 3+\ln x", r"\tan\left(\frac{\pi}{3}\right)"),
    (r"5!+\binom{5}{2}", "130"),
    (r"3+4i", r"-2e^{i\pi/3}"),
    (r"\pm 3", "-3"),
    (r"2.5\times 10^{-3}", "0.0025"),
    (r"90^\circ", "-1.5"),
    (r"f(x)=|x|", r"\lfloor x\rfloor"),
    (r"x_1", r"\text{abc}"),
    (r"\sum_{k=1}^{3} k", "6"),
    (r"\frac{{50}}{100}", "0.5"),
)


def run(job: dict[str, Any], channel: Any) -> None:
    prepare()
    while (batch := channel.receive()) is not None:
        for references, answers, decimals, relations, proved in batch["items"]:
            try:
                if not proved:
                    if not _usable(references, decimals, relations):
                        channel.send({"verdict": "unusable"})
                        continue
                    channel.send({"sound": True})
                channel.send({"verdict": _verdict(references, answers, decimals, relations)})
            except MemoryError:
                channel.send({"verdict": "too_large"})


@cache
def prepare() -> None:
    """Load math-verify and what it loads late, then close sympy's string reader. A worker does it before it forks."""
    from sympy.parsing import sympy_parser

    logging.disable(logging.CRITICAL)  # it would print what it could not parse
    for reference, answer in _WARM:
        _verdict([reference], [answer], 6, True)
    evaluate = sympy_parser.eval_expr

    def evaluate_single(code: str, *names: Any) -> Any:
        if not _SINGLE.fullmatch(code):
            raise ValueError("not a number")
        return evaluate(code, *names)

    sympy_parser.eval_expr = evaluate_single


def _usable(references: list[str], decimals: int, relations: bool) -> bool:
    """Whether the first reading is a formula that equals itself and can be told from another number."""
    parsed = _parsed(references[0])
    return (
        parsed is not None
        and _equal([parsed], [parsed], decimals, relations)
        and (not _equal([parsed], [_parsed(PROBE)], decimals, relations))
    )


def _verdict(references: list[str], answers: list[str], decimals: int, relations: bool) -> str:
    said = [parsed for answer in answers if (parsed := _parsed(answer)) is not None]
    if not said:
        return "unreadable"
    wanted = [parsed for reference in references if (parsed := _parsed(reference)) is not None]
    return "equal" if _equal(wanted, said, decimals, relations) else "different"


def _equal(wanted: list[Any], said: list[Any], decimals: int, relations: bool) -> bool:
    return any(_same(reference, answer, decimals, relations) for reference in wanted for answer in said)


def _same(reference: Any, answer: Any, decimals: int, relations: bool) -> bool:
    from math_verify.grader import verify

    if (decided := _decided(reference, answer)) is not None:
        return decided
    same: bool = verify(
        reference,
        answer,
        float_rounding=_decimals(reference, decimals),
        allow_set_relation_comp=relations,
        timeout_seconds=None,  # it works by SIGALRM, which a long operation inside of an integer never sees
    )
    return same


def _decided(reference: Any, answer: Any) -> bool | None:
    """What saves simplifying a difference, which takes ten times as long as all else: its value at one point, which is
    0 wherever simplifying would find 0, and multiplying it out. None: math-verify decides, as it does on all that is
    rounded (decimals, percentages) and on what is no plain expression."""
    import sympy

    for side in (reference, answer):
        if not isinstance(side, sympy.Expr) or side.is_Matrix or side.is_Symbol:
            return None
        if side.has(sympy.Float, sympy.UnevaluatedExpr, sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit):
            return None
    try:
        letters = sorted(reference.free_symbols | answer.free_symbols, key=str)
        point = {letter: sympy.Rational(137 + 29 * place, 53) for place, letter in enumerate(letters)}
        size = abs(reference.subs(point).evalf())
        difference = abs((reference - answer).subs(point).evalf())
        if difference.is_Float and difference.is_finite and size.is_finite and difference > 1e-6 * (1 + size):
            return False
        return True if (reference - answer).expand() == 0 else None
    except MemoryError:
        raise
    except Exception:
        return None


def _decimals(reference: Any, decimals: int) -> int:
    """As many places behind the first digit that is not 0: else 0.0000001 and 0.0000002 would be equal."""
    if getattr(reference, "is_Float", False) or getattr(reference, "is_Rational", False):
        size = abs(float(reference))
        if 0 < size < 1:
            return decimals + math.floor(-math.log10(size))
    return decimals


@lru_cache(maxsize=2048)
def _parsed(latex: str) -> Any:
    """math-verify's reading of one formula; None where it is none."""
    from latex2sympy2_extended import NormalizationConfig, latex2sympy, normalize_latex
    from math_verify.grader import should_treat_as_complex
    from math_verify.parser import get_last_eq

    # Units are taken off before: its own list takes the t of 3t for tonnes.
    config = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none")
    text = normalize_latex(latex, config)
    for candidate in dict.fromkeys((text, get_last_eq(text))):
        complex_numbers = should_treat_as_complex(candidate)
        try:
            parsed = latex2sympy(
                candidate, is_real=not complex_numbers, convert_degrees=False, normalization_config=None
            )
        except MemoryError:
            raise
        except Exception:  # noqa: S112 — a grammar's errors, a RecursionError, whatever sympy raises on nonsense
            continue
        return _with_imaginary_unit(parsed) if complex_numbers else parsed
    return None


def _with_imaginary_unit(parsed: Any) -> Any:
    """math-verify reads i as a letter like any other."""
    import sympy

    try:
        letters = {letter: sympy.I for letter in parsed.free_symbols if letter.name == "i"}
        return parsed.xreplace(letters) if letters else parsed
    except Exception:
        return parsed
