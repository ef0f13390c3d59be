"""Every code that an Issue of an upload can carry, with its sentence and its remedy. The documentation lists them."""

from collections.abc import Mapping
from typing import NamedTuple

from tasks.text import excerpt
from tasks.types import Issue


class Code(NamedTuple):
    sentence: str  # {detail} is filled in where the finding has one
    remedy: str


CODES: Mapping[str, Code] = {
    # The file as a whole, or where it stops
    "empty_file": Code(
        "The file holds no rows.", "Upload one with rows: in a table they stand below the names of its columns."
    ),
    "unknown_format": Code(
        "This file cannot be read: {detail}.",
        "Upload JSON Lines, JSON, CSV, TSV, Parquet or XLSX, as it is or gzipped.",
    ),
    "damaged_file": Code("The file is damaged: {detail}.", "Upload it again from the complete original."),
    "unpacks_too_large": Code("The file unpacks to more than {detail}.", "Upload it in several parts."),
    "file_too_costly": Code(
        "Reading on takes more memory or time than a file may: {detail}.",
        "Upload the rows as JSON Lines, or the file in several parts.",
    ),
    "list_left_out": Code(
        "The file goes on with another list, {detail}, which is not read.", "Upload each list as a file of its own."
    ),
    "not_jsonl": Code("This is not JSON Lines: {detail}.", "Upload one JSON object a line, as UTF-8 text."),
    "truncated_file": Code(
        "The file ends in the middle of a row: {detail}.",
        "The rows before it were kept; upload the file again from the complete original.",
    ),
    # A line
    "line_too_long": Code("The line is longer than {detail}.", "Split the row, or move large data out of it."),
    "not_json": Code("The line is not JSON: {detail}.", "Write one complete JSON object on the line."),
    "not_utf8": Code("The line is not UTF-8 text.", "Save the file with the encoding UTF-8."),
    "nested_too_deep": Code("The row nests deeper than {detail} levels.", "Flatten the row."),
    "row_not_object": Code(
        "The row is {detail}, not a JSON object.", 'Write the row as {"prompt": …, "reference": …}.'
    ),
    "key_twice": Code("The key '{detail}' stands twice in one object.", "Keep the one that is meant."),
    "ragged_row": Code("The row has {detail}.", "Give every row one cell for each column."),
    "cell_unreadable": Code("The cell cannot be read: {detail}.", "Write it as a text or a number, or leave it out."),
    "unmappable": Code("The row does not fit the mapping: {detail}.", "Correct the row or the mapping."),
    "nul": Code("The row holds a NUL character.", "Remove it: neither prompts nor answers need one."),
    "lone_surrogate": Code("The row holds half of a surrogate pair.", "Write the character whole, or remove it."),
    # The prompt
    "prompt_missing": Code("The row has no prompt.", "Give `prompt` a text, or `messages` a user message with a text."),
    "prompt_twice": Code("The row has both `prompt` and `messages`.", "Keep one of the two."),
    "messages_bad": Code("The messages are not right: {detail}.", 'Give a list of {"role": …, "content": …}.'),
    "several_turns": Code(
        "The conversation ends with a reply, so that nothing is left to be answered.",
        "Let the user's message come last, and give the answer as `reference` or `gold`.",
    ),
    "tools_unsupported": Code("The row uses tools, which cannot be used yet.", "Leave out tools and tool messages."),
    "image_unsupported": Code(
        "The row holds {detail}, which cannot be used yet.", "Keep text only: describe in words what is needed."
    ),
    "too_long": Code("The text is longer than {detail} characters.", "Shorten it."),
    # The other fields
    "item_not_object": Code("`item` is {detail}, not an object.", 'Give `item` as {"name": value, …}.'),
    "item_conflict": Code(
        "'{detail}' is given twice with different values.", "Give it once: inside `item` or beside it."
    ),
    "metadata_not_object": Code(
        "`metadata` is {detail}, not an object.", "Give `metadata` as an object, or leave it out."
    ),
    "domain_bad": Code("`domain` is not a short text.", "Give a name of at most 64 characters on one line."),
    # The grader
    "unknown_grader": Code("{detail}", "Use one of the known types."),
    "bad_grader": Code("{detail}", "Correct the grader's configuration."),
    "grader_unavailable": Code(
        "{detail}", "Name a judge that is known here, or have this one made known and upload the rows in a new file."
    ),
    "reference_missing": Code(
        "The row has no `reference`, which its grader reads.", "Give the right answer as `reference`."
    ),
    "variable_missing": Code("The row has no '{detail}', which its grader reads.", "Give the field in `item`."),
    "reference_bad": Code("{detail}", "Correct the reference so that the grader can read it."),
    # The space
    "contaminated": Code(
        "The prompt belongs to a held-out suite, on which models are measured.",
        "Leave the row out: training on it would make the measurement worthless.",
    ),
    "not_held_out": Code(
        "The prompt is in this space already and is not sealed: models may have been trained on it.",
        "Nothing is to be done: the suite is made of the other rows.",
    ),
    # The screening policy of the space
    "secret_found": Code(
        "The row holds {detail}.", "Remove it, and make it void where it was given out: it has been sent."
    ),
    "personal_data": Code("The row holds {detail}.", "Remove it, or put an invented one in its place."),
    "language_not_wanted": Code(
        "The prompt is written in {detail}, which is not wanted here.", "Leave the row out, or translate it."
    ),
    "prompt_too_short": Code(
        "The prompt has fewer than {detail} characters, the fewest wanted here.", "Ask in full, or leave the row out."
    ),
    "prompt_too_long": Code(
        "The prompt has more than {detail} characters, the most wanted here.", "Shorten it, or leave the row out."
    ),
    "licence_not_allowed": Code(
        "The row is under the licence {detail}, which is not accepted here.", "Leave the row out."
    ),
    # Proof
    "gold_failed": Code("{detail}", "Correct the gold answer, the reference or the grader."),
    "gold_ungradable": Code("{detail}", "Correct the reference or the grader."),
    "decoy_passed": Code("{detail}", "Make the grader stricter, or let a reviewer decide."),
    "decoy_ungradable": Code("{detail}", "Let the grader answer for every text, also for an empty one."),
    "no_gold": Code("{detail}", "Give a `gold` answer that must earn full score."),
    "judge_not_sampled": Code("{detail}", "Let a reviewer decide."),
}


def issue(code: str, *, line: int = 0, field: str = "", detail: str = "", value: str = "") -> Issue:
    sentence, remedy = CODES[code]
    return Issue(line, field, code, sentence.replace("{detail}", detail), remedy, excerpt(value))
