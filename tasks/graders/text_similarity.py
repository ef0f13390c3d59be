"""text_similarity: how close a text is to a reference, by a metric of OpenAI's grader of the same name, from 0 to 1.

fuzzy_match  1 − insertions and deletions / both lengths, on characters (rapidfuzz's ratio)
bleu         sentence BLEU up to 4-grams (sacrebleu: 13a tokens, exponential smoothing, effective order)
gleu         Google-BLEU: the smaller of n-gram precision and recall, 1- to 4-grams (Wu et al. 2016)
meteor       exact words, then Porter stems (Lavie and Agarwal 2007); never synonyms, whose data is not on every machine
rouge_1 … 5  F1 of n-grams; rouge_l: F1 of the longest common subsequence of words (Lin 2004), without stemming
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal

import msgspec

from tasks.graders import templates
from tasks.graders.outcome import AuthorFault, Check, ModelFault, scored, wrong
from tasks.types import Grade

EXAMPLE: Mapping[str, Any] = {
    "grader": {
        "type": "text_similarity",
        "input": "{{ sample.output_text }}",
        "reference": "{{ item.reference }}",
        "evaluation_metric": "rouge_l",
        "pass_threshold": 0.8,
    },
    "item": {"reference": "The cat sat on the mat."},
    "completion": "the cat sat on the mat",
}

MAX_CHARACTERS = 100_000  # of either text: the worst of the other metrics needs about a second for two of that length
MAX_GLEU_CHARACTERS = 20_000  # it counts every n-gram of both texts anew
Metric = Callable[[str, str], float]  # (text, reference) -> 0 to 1


class Config(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="text_similarity", tag_field="type"
):
    input: str
    reference: str
    evaluation_metric: Literal[
        "fuzzy_match",
        "bleu",
        "gleu",
        "meteor",
        "rouge_1",
        "rouge_2",
        "rouge_3",
        "rouge_4",
        "rouge_5",
        "rouge_l",
        "cosine",
    ]
    name: str = ""
    pass_threshold: float = 1.0

    def __post_init__(self) -> None:
        if self.evaluation_metric == "cosine":
            raise ValueError("`evaluation_metric` cosine needs an embedding model, which is not offered here")


def compile(config: Config) -> Check:
    text_of, reference_of = templates.parse(config.input), templates.parse(config.reference)

    def check(completion: str, item: Mapping[str, Any]) -> Grade:
        reference = _usable(reference_of.text(completion, item), config)
        text = text_of.text(completion, item)
        if not text.strip():
            return wrong(None, "The reply is empty.")
        if len(text) > (most := _most(config)):
            raise ModelFault("too_long", f"The reply is longer than {most:,} characters.")
        score = min(1.0, max(0.0, metric(config.evaluation_metric)(text, reference)))
        return scored(score, config.pass_threshold, text, f"{config.evaluation_metric} {score:.4f}.")

    return check


def _most(config: Config) -> int:
    return MAX_GLEU_CHARACTERS if config.evaluation_metric == "gleu" else MAX_CHARACTERS


def _usable(reference: str, config: Config) -> str:
    if not reference.strip():
        raise AuthorFault("bad_reference", "The reference is empty.")
    if len(reference) > (most := _most(config)):
        raise AuthorFault("bad_reference", f"The reference is longer than {most:,} characters.")
    if config.evaluation_metric.startswith("rouge"):
        least = 1 if config.evaluation_metric == "rouge_l" else int(config.evaluation_metric[-1])
        if len(_rouge_tokens(reference)) < least:
            raise AuthorFault(
                "bad_reference",
                f"{config.evaluation_metric} reads words of a-z and 0-9, and the reference has fewer than {least}.",
            )
    return reference


@cache
def metric(name: str) -> Metric:
    """Loads the library with the first use."""
    if name == "fuzzy_match":
        return _fuzzy_match()
    if name == "bleu":
        return _bleu()
    if name in ("gleu", "meteor"):
        return _gleu() if name == "gleu" else _meteor()
    return _rouge_l() if name == "rouge_l" else _rouge_n(int(name[-1]))


def _fuzzy_match() -> Metric:
    from rapidfuzz import fuzz

    return lambda text, reference: fuzz.ratio(text, reference) / 100


def _bleu() -> Metric:
    from sacrebleu.metrics import BLEU

    bleu = BLEU(effective_order=True)
    return lambda text, reference: float(bleu.sentence_score(text, [reference]).score) / 100


def _gleu() -> Metric:
    from nltk.tokenize import wordpunct_tokenize
    from nltk.translate.gleu_score import sentence_gleu

    return lambda text, reference: float(sentence_gleu([wordpunct_tokenize(reference)], wordpunct_tokenize(text)))


def _meteor() -> Metric:
    from nltk.tokenize import wordpunct_tokenize
    from nltk.translate.meteor_score import single_meteor_score

    class NoSynonyms:
        """In the place of WordNet: with its data on one machine and not on the next, the scores would differ."""

        def synsets(self, word: str) -> list[Any]:
            return []

    def meteor(text: str, reference: str) -> float:
        said, wanted = wordpunct_tokenize(text.lower()), wordpunct_tokenize(reference.lower())
        if said == wanted:  # the penalty for one chunk is left out: 1 − 0.5 / words³ would keep a right answer from 1
            return 1.0
        return float(single_meteor_score(wanted, said, wordnet=NoSynonyms()))

    return meteor


def _rouge_tokens(text: str) -> list[str]:
    from rouge_score.tokenize import tokenize

    tokens: list[str] = tokenize(text, None)
    return tokens


def _rouge_n(n: int) -> Metric:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer([f"rouge{n}"])
    return lambda text, reference: float(scorer.score(reference, text)[f"rouge{n}"].fmeasure)


def _rouge_l() -> Metric:
    """The same number as rouge-score's, whose table of n × m cells would take hours for the longest texts."""
    from rapidfuzz.distance import LCSseq

    def rouge_l(text: str, reference: str) -> float:
        number: dict[str, int] = {}
        said, wanted = (
            [number.setdefault(token, len(number)) for token in _rouge_tokens(whole)] for whole in (text, reference)
        )
        return 2 * LCSseq.similarity(said, wanted) / (len(said) + len(wanted)) if said else 0.0

    return rouge_l


def gold(config: Config, item: Mapping[str, Any]) -> str | None:
    """Known only where the reply itself is compared: it is the reference."""
    if config.input.replace(" ", "") != "{{sample.output_text}}":
        return None
    try:
        return _usable(templates.parse(config.reference).text("", item), config)
    except (AuthorFault, ModelFault):
        return None


def reference_problem(config: Config, item: Mapping[str, Any]) -> str | None:
    """Why the reference of this item cannot be used, as a sentence."""
    _usable(templates.parse(config.reference).text("", item), config)
    return None
