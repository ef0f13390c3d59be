r"""regex: a pattern on the reply, in RE2's syntax: linear time whatever the pattern and the text.

mode search finds the pattern anywhere, full wants it to cover the reply (blanks around it do not count). With a
`reference`, the last match decides: its group must equal the reference after the shared normalisation.
RE2 has no back-references and no look-around: a pattern that needs them is refused. The `re` module never sees one.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any, Literal

import msgspec

from tasks.graders import templates
from tasks.graders.outcome import AuthorFault, Check, ModelFault, scored, wrong
from tasks.text import excerpt, normalise
from tasks.types import Grade

EXAMPLE: Mapping[str, Any] = {
    "grader": {"type": "regex", "pattern": r"\b(\d{4}-\d{2}-\d{2})\b", "reference": "{{ item.reference }}"},
    "item": {"reference": "1969-07-20"},
    "completion": "Not 1969-07-16, the launch: they landed on 1969-07-20.",
}

MAX_CHARACTERS = 100_000  # of the text that is searched, fewer for a large pattern:
MAX_WORK = 300_000_000  # steps of the pattern × characters, RE2's worst case: about three seconds
MAX_STEPS = 10_000  # of the compiled pattern; \pL+ alone has 1,200
MAX_MATCHES = 1_000  # of which the last one decides
_MEMORY_BYTES = 2 << 20  # RE2's budget for one pattern, of which its cache keeps 128


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="regex", tag_field="type"):
    pattern: str  # one variable: the item's pattern; a variable inside of a pattern stands for its text, literally
    mode: Literal["search", "full"] = "search"
    input: str = "{{ sample.output_text }}"
    reference: str | int | float | None = None  # what the group of the last match must equal
    group: int | str | None = None  # number or name; None: the first group, or the whole match where there is none
    case_sensitive: bool = True  # of the pattern; the comparison with a reference never is
    example: str = ""  # a reply that must match, or a template of one: the gold of rows that bring none
    name: str = ""
    pass_threshold: float = 1.0

    def __post_init__(self) -> None:
        if not self.pattern:
            raise ValueError("`pattern` is empty")
        if any(variable.root == "sample" for variable in templates.parse(self.pattern).variables()):
            raise ValueError("`pattern` must not come from the reply: use {{ item.… }}")


def compile(config: Config) -> Check:
    text_of, pattern_of = templates.parse(config.input), templates.parse(config.pattern)
    fixed = None if any(pattern_of.variables()) else _compiled(config.pattern, config)

    def check(completion: str, item: Mapping[str, Any]) -> Grade:
        pattern = fixed or _compiled(_pattern(config, item), config)
        wanted = _wanted(config, completion, item)
        text = text_of.text(completion, item)
        if not text.strip():
            return wrong(None, "The reply is empty.")
        if len(text) > (limit := min(MAX_CHARACTERS, MAX_WORK // pattern.programsize)):
            raise ModelFault("too_long", f"The reply is longer than {limit:,} characters.")
        found = _last_match(pattern, text, config, only_one=wanted is None)
        if found is None:
            return wrong(text, f"The reply does not {_MUST[config.mode]} the pattern.")
        if wanted is None:
            return scored(1.0, config.pass_threshold, found[0], "Matches the pattern.")
        read = found[_group(pattern, config)] or ""
        if normalise(read) == normalise(wanted):
            return scored(1.0, config.pass_threshold, read, "Matches the reference.")
        return scored(0.0, config.pass_threshold, read, f"Expected '{excerpt(wanted)}', read '{excerpt(read)}'.")

    return check


_MUST = {"search": "contain", "full": "match"}


def _pattern(config: Config, item: Mapping[str, Any]) -> str:
    """The pattern of one row."""
    import re2

    template = templates.parse(config.pattern)
    if len(template.parts) == 1:
        pattern = template.value("", item)
        if not isinstance(pattern, str) or not pattern:
            raise AuthorFault("bad_reference", "The item's pattern is not a text.")
        return pattern
    return "".join(
        part
        if isinstance(part, str)
        else str(re2.escape(_encodable(templates.as_text(templates.look_up(part, "", item)))))
        for part in template.parts
    )


def _compile(pattern: str, case_sensitive: bool) -> Any:
    import re2

    options = re2.Options()
    options.max_mem = _MEMORY_BYTES
    options.log_errors = False
    options.case_sensitive = case_sensitive
    return re2.compile(pattern, options)  # which remembers the last 128


def _compiled(pattern: str, config: Config) -> Any:
    """Raises AuthorFault where RE2 refuses the pattern, or it would cost too much, or the group is not in it."""
    import re2

    try:
        compiled = _compile(_encodable(pattern), config.case_sensitive)
    except re2.error as fault:
        said = fault.args[0].decode(errors="replace") if isinstance(fault.args[0], bytes) else str(fault)
        raise AuthorFault(
            "bad_pattern",
            f"The pattern cannot be used ({excerpt(said)}): RE2's syntax has no look-around, no back-references and no "
            "repetition above 1,000.",
        ) from None
    if compiled.programsize > MAX_STEPS:
        raise AuthorFault("bad_pattern", f"The pattern compiles to more than {MAX_STEPS:,} steps: shorten it.")
    if config.group is not None and config.reference is None:
        raise AuthorFault("bad_pattern", "`group` needs a `reference` to compare it with.")
    group = _group(compiled, config)
    if (isinstance(group, int) and not 0 <= group <= compiled.groups) or (
        isinstance(group, str) and group not in compiled.groupindex
    ):
        raise AuthorFault("bad_pattern", f"The pattern has no group {group}.")
    return compiled


def _group(pattern: Any, config: Config) -> int | str:
    return min(1, pattern.groups) if config.group is None else config.group


def _last_match(pattern: Any, text: str, config: Config, only_one: bool) -> Any:
    text = _encodable(text)
    if config.mode == "full":
        return pattern.fullmatch(text.strip())
    if only_one:
        return pattern.search(text)
    found = None
    for count, match in enumerate(islice(pattern.finditer(text), MAX_MATCHES + 1)):
        if count == MAX_MATCHES:
            raise ModelFault("too_long", f"The pattern matches more than {MAX_MATCHES:,} times in the reply.")
        if found is None or match.end() > match.start():  # \d* also matches the nothing behind the answer
            found = match
    return found


def _encodable(text: str) -> str:
    """RE2 reads UTF-8, which half of a surrogate pair is not."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _wanted(config: Config, completion: str, item: Mapping[str, Any]) -> str | None:
    if config.reference is None:
        return None
    value = templates.fill(config.reference, completion, item)
    if value is None or isinstance(value, list | Mapping) or not normalise(templates.as_text(value)):
        raise AuthorFault("bad_reference", "The reference is not a text or a number.")
    return templates.as_text(value)


def template_sources(config: Config) -> list[str]:
    return [text for text in (config.pattern, config.input, config.reference, config.example) if isinstance(text, str)]


def gold(config: Config, item: Mapping[str, Any]) -> str | None:
    """The example; a pattern alone tells no reply. A reference that matches as it stands is one as well."""
    try:
        if config.example:
            return templates.parse(config.example).text("", item)
        wanted = _wanted(config, "", item)
        return wanted if wanted is not None and compile(config)(wanted, item).correct else None
    except (AuthorFault, ModelFault):
        return None


def coincides(config: Config, item: Mapping[str, Any], completion: str) -> bool | None:
    """With a reference, what reads as the reference states it. A pattern alone gives no such excuse."""
    if config.reference is None:
        return None
    try:
        return compile(config)(completion, item).correct
    except (AuthorFault, ModelFault):
        return False


def reference_problem(config: Config, item: Mapping[str, Any]) -> str | None:
    """Why the pattern or the reference of this item cannot be used, as a sentence."""
    _compiled(_pattern(config, item), config)
    _wanted(config, "", item)
    return None
