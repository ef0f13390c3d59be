"""What columns are usually called, by what they hold: the first name of a list that a file has is the one."""

from collections.abc import Mapping

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "prompt": ("prompt", "question", "query", "instruction", "problem", "input", "problem_statement", "text", "task"),
    "reference": (
        *("reference", "ground_truth", "expected_answer", "final_answer", "answer", "target", "solution", "label"),
        *(
            "expected",
            "expected_output",
            "correct_answer",
            "answer_key",
            "answerkey",
            "output",
            "response",
            "completion",
            "reference_answer",
        ),
    ),
    "domain": ("domain", "category", "subject", "topic", "ability", "field", "task"),
    "gold": ("gold", "rationale", "explanation", "reasoning", "worked_solution", "solution"),
    "system": ("system", "system_prompt"),
    "messages": ("messages", "conversation"),
    "grader": ("grader",),
    "choices": ("choices", "options"),
}
KNOWN = frozenset(name for names in SYNONYMS.values() for name in names)
