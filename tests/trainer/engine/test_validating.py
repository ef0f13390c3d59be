import msgspec

from tasks.types import Grade, Outcome
from trainer.contract import ChatMessage, PromptItem, ValidationAnswer, validation_file
from trainer.engine import validating
from trainer.engine.sampling import Answer

ITEM = PromptItem("7", [ChatMessage("user", "1 + 1 = ?")], {"reference": 2}, {"type": "number"}, "sums")


def lines_of(directory, step: int) -> list[ValidationAnswer]:
    raw = validation_file(directory, step).read_bytes().splitlines()
    return [msgspec.json.decode(line, type=ValidationAnswer) for line in raw]


def test_every_answer_is_written_with_its_grade(tmp_path):
    answers = [Answer("2", (1, 2), (0.0, 0.0), False), Answer("3 and", (3,), (0.0,), True)]
    grades = [
        Grade(Outcome.CORRECT, 1.0, "2", "Matches."),
        Grade(Outcome.INCORRECT, 0.0, "3", "Read 3.", {"form": 0.5}, ("odd",)),
    ]

    validating.write(tmp_path, 4, [ITEM, ITEM], answers, grades)

    first, second = lines_of(tmp_path, 4)
    assert (first.key, first.sample, first.completion, first.outcome, first.tokens) == ("7", 0, "2", "correct", 2)
    assert (second.sample, second.truncated, second.sub_scores, second.errors) == (1, True, {"form": 0.5}, ["odd"])


def test_a_step_that_is_measured_again_replaces_its_file(tmp_path):
    answer, grade = Answer("2", (1,), (0.0,), False), Grade(Outcome.CORRECT, 1.0, "2", "Matches.")
    validating.write(tmp_path, 4, [ITEM, ITEM], [answer, answer], [grade, grade])

    validating.write(tmp_path, 4, [ITEM], [answer], [grade])

    assert len(lines_of(tmp_path, 4)) == 1
