import random

import pytest

from tasks import proof
from tasks.errors import Invalid
from tasks.graders import registry, text_similarity
from tasks.types import Outcome

METRICS = ["fuzzy_match", "bleu", "gleu", "meteor", "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l"]
CAT = "the cat sat on the mat"


def config(metric, **fields):
    shape = {"type": "text_similarity", "input": "{{ sample.output_text }}", "reference": "{{ item.reference }}"}
    return {**shape, "evaluation_metric": metric, **fields}


def grade(metric, completion, reference=CAT, **fields):
    return registry.grade(config(metric, **fields), completion, {"reference": reference})


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("text", [CAT, "The cat sat on the mat, and stayed; 42 times!", "a b c d e " * 50])
def test_the_reference_itself_scores_one(metric, text):
    found = grade(metric, text, text)

    assert (found.score, found.correct) == (1, True)


@pytest.mark.parametrize("metric", METRICS)
def test_a_text_that_shares_nothing_scores_zero(metric):
    found = grade(metric, "QXZVWY")

    assert (found.score, found.outcome) == (0, Outcome.INCORRECT)


# Worked by hand for "the cat is on the mat": 5 of 6 words, 3 of 5 pairs, 1 of 4 triples are those of the reference.
@pytest.mark.parametrize(
    ("metric", "score"),
    [
        ("fuzzy_match", 1 - 3 / 43),  # "sat" -> "is": two letters go, one comes
        ("bleu", (5 / 6 * 3 / 5 * 1 / 4 * 1 / 6) ** 0.25),  # the missing 4-gram counts 1 / (2 · 3)
        ("gleu", (5 + 3 + 1) / (6 + 5 + 4 + 3)),
        ("meteor", 5 / 6 * (1 - 0.5 * (2 / 5) ** 3)),  # two chunks of five matches
        ("rouge_1", 5 / 6),
        ("rouge_2", 3 / 5),
        ("rouge_3", 1 / 4),
        ("rouge_4", 0),
        ("rouge_5", 0),
        ("rouge_l", 5 / 6),
    ],
)
def test_each_metric_gives_the_number_worked_by_hand(metric, score):
    assert grade(metric, "the cat is on the mat").score == pytest.approx(score)


MILITARY = "It is a guide to action that ensures that the military will forever heed Party commands"


# Published with the metrics: rapidfuzz's and rouge-score's readmes, nltk's documentation of GLEU and METEOR.
@pytest.mark.parametrize(
    ("metric", "text", "reference", "score"),
    [
        ("fuzzy_match", "this is a test!", "this is a test", 0.9655),
        (
            "gleu",
            "It is a guide to action which ensures that the military always obeys the commands of the party",
            MILITARY,
            0.4393,
        ),
        (
            "gleu",
            "It is to insure the troops forever hearing the activity guidebook that party direct",
            MILITARY,
            0.1206,
        ),
        ("gleu", "the the the the the the the", "the cat is on the mat", 0.0909),
        (
            "meteor",
            "It is a guide to action which ensures that the military always obeys the commands of the party",
            MILITARY,
            0.6944,
        ),
        (
            "rouge_1",
            "The quick brown dog jumps on the log.",
            "The quick brown fox jumps over the lazy dog",
            0.7059,
        ),
        (
            "rouge_l",
            "The quick brown dog jumps on the log.",
            "The quick brown fox jumps over the lazy dog",
            0.5882,
        ),
    ],
)
def test_each_metric_gives_the_published_number(metric, text, reference, score):
    assert grade(metric, text, reference).score == pytest.approx(score, abs=1e-4)


def test_rouge_l_is_the_number_of_the_rouge_score_library():
    from rouge_score.rouge_scorer import RougeScorer

    library, draw = RougeScorer(["rougeL"]), random.Random(7)
    texts = [" ".join(draw.choices("abcdef", k=draw.randint(1, 30))) for _ in range(60)]

    ours = [text_similarity.metric("rouge_l")(one, other) for one, other in zip(texts, reversed(texts), strict=True)]

    theirs = [library.score(other, one)["rougeL"].fmeasure for one, other in zip(texts, reversed(texts), strict=True)]
    assert ours == pytest.approx(theirs)


def test_meteor_matches_stems():
    assert grade("meteor", "cats sitting", "cat sits").score == pytest.approx(1 - 0.5 * (1 / 2) ** 3)


def test_meteor_knows_no_synonyms_on_any_machine():
    assert grade("meteor", "automobile", "car").score == 0


def test_the_threshold_decides_what_is_correct():
    assert grade("rouge_1", "the cat is on the mat", pass_threshold=0.8).correct
    assert not grade("rouge_1", "the cat is on the mat", pass_threshold=0.9).correct


def test_cosine_is_refused_in_a_sentence():
    with pytest.raises(Invalid, match="cosine needs an embedding model, which is not offered"):
        registry.parse(config("cosine"))


def test_another_metric_is_refused():
    with pytest.raises(Invalid) as refused:
        registry.parse(config("levenshtein"))

    assert refused.value.param == "grader.evaluation_metric"


@pytest.mark.parametrize("field", ["input", "reference", "evaluation_metric"])
def test_the_contracts_fields_are_required(field):
    fields = config("bleu")
    del fields[field]

    assert registry.grade(fields, "x", {"reference": "x"}).errors == ("bad_grader",)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("completion", ["", " \n", "<think>" + CAT + "</think>", "<think>" + CAT, CAT + "</think>"])
def test_an_answer_only_in_the_reasoning_scores_zero(metric, completion):
    found = grade(metric, completion)

    assert (found.score, found.reason) == (0, "The reply is empty.")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("item", [{"reference": ""}, {"reference": " \n"}, {"reference": "x" * 100_001}, {}])
def test_a_reference_that_cannot_be_compared_with_is_the_authors_fault(metric, item):
    found = registry.grade(config(metric), "x", item)

    assert found.outcome is Outcome.UNGRADABLE
    assert registry.reference_problem(config(metric), item) == found.reason


@pytest.mark.parametrize(("metric", "reference"), [("rouge_l", "日本語"), ("rouge_1", "…"), ("rouge_3", "two words")])
def test_a_reference_without_the_words_that_rouge_reads_is_the_authors_fault(metric, reference):
    assert grade(metric, reference, reference).errors == ("bad_reference",)


def test_the_gold_is_the_reference():
    assert registry.gold(config("bleu"), {"reference": CAT}) == CAT


def test_no_gold_follows_where_only_a_part_of_the_reply_is_compared():
    assert registry.gold(config("bleu", input="{{ sample.output_json.text }}"), {"reference": CAT}) is None


@pytest.mark.parametrize("metric", METRICS)
def test_a_row_is_proved_by_its_reference_and_refuses_the_decoys(metric):
    others = ["a dog lay under the old table"]

    found = proof.prove(config(metric, pass_threshold=0.8), {"reference": CAT}, None, "Where did the cat sit?", others)

    assert found.outcome is proof.ProofOutcome.PROVED


def test_a_threshold_that_anything_reaches_is_refused_by_proof():
    lax = config("fuzzy_match", pass_threshold=0.2)

    found = proof.prove(lax, {"reference": CAT}, None, "Where did the cat sit?", ["the dog lay there"])

    assert found.code == "decoy_passed"


def test_a_reply_beyond_the_limit_is_incorrect_with_its_flag():
    found = grade("rouge_l", "a" * 100_001)

    assert (found.outcome, found.errors) == (Outcome.INCORRECT, ("too_long",))


def test_gleu_reads_less_than_the_others():
    long = "a " * 10_001

    assert grade("gleu", long).errors == ("too_long",)
    assert grade("gleu", "a", long).errors == ("bad_reference",)
    assert grade("bleu", long).errors == ()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("text", ["ab " * 33_000, "é1" * 50_000, "." * 100_000, "\ud800\0" * 9])
@pytest.mark.timeout(60)
def test_the_longest_texts_are_graded_in_seconds(metric, text):
    reference = "ba " * 33_000

    assert 0 <= grade(metric, text, reference).score < 1
