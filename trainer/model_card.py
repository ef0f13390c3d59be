"""What a model says of itself when it leaves: a card with a header that the Hugging Face hub reads.

Values in, text out. Nothing here asks who reads it: what the card of a version may hold is decided where its values are
gathered (trainer.services.model_cards), and is the same for every reader of that version, because a card travels.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.formats import card
from trainer.contract import Artifact, Estimate
from trainer.evaluation.decision import GateDecision, GateRow
from trainer.evaluation.points import pp
from trainer.presets import PRESETS
from trainer.runspec import knobs

LONGEST_NAME = 200  # characters of a text that people wrote
MARKUP = frozenset("\\`*_{}[]#|!~$@^=")  # signs that begin markup in the middle of a line


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A version that this one came from. A nameless one belongs to a team whose names stay with it."""

    name: str
    digest: str
    made: str  # a sentence


@dataclass(frozen=True, slots=True)
class Source:
    """A frozen dataset version behind the model. A nameless dataset is another team's, or was given to the pool."""

    team: str
    digest: str
    tasks: int  # frozen in it
    licence: str  # SPDX id, "" : private
    dataset: str = ""
    version: int | None = None
    trained: Sequence[str] = ()  # names of the versions that it trained


@dataclass(frozen=True, slots=True)
class Credit:
    """How much of what trained the version a team gave."""

    version: str
    team: str
    tasks: int
    share: float


@dataclass(frozen=True, slots=True)
class Training:
    """The run that made the version."""

    run: int
    spec: Mapping[str, Any]  # trainer.runspec.RunSpec, resolved
    steps: int
    tokens: int
    rows: int  # tasks that it trained on
    seconds: float
    grader: str = ""  # type of the grader that replaced every row's
    mixture: str = ""  # digest
    recipe: str = ""
    domains: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """A gate's report on the version as candidate."""

    verdict: str
    sentence: str
    champion: str
    date: str  # ISO
    decision: GateDecision | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is said of a version. Nothing here names a person."""

    name: str  # line/vN
    line: str
    digest: str
    date: str  # ISO, of its registration
    parameters: int
    bytes: int
    shared: bool  # of the pool's line; else a team's expert
    lineage: Sequence[Ancestor] = ()  # oldest first, without the version itself
    made: str = ""
    hub_base: str = ""  # hub id of version 0, where it was fetched
    built_here: bool = False  # version 0 was built from demonstrations that are wrong on purpose
    training: Training | None = None
    sources: Sequence[Source] = ()
    sources_left_out: int = 0  # older ones, beyond what a card lists
    credits: Sequence[Credit] = ()
    kl: Estimate | None = None
    verdicts: Sequence[Verdict] = ()
    not_evaluated: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[Artifact] = ()


def write(facts: Facts) -> str:
    """README.md."""
    parts = [
        f"---\n{card.yaml(header(facts))}---\n",
        f"# {said(facts.name)}\n",
        _about(facts),
        "## How to load it\n\n" + _loading(facts),
        "## Where it comes from\n\n" + _lineage(facts),
        "## How it was trained\n\n" + _training(facts),
        "## What it was trained on\n\n" + _data(facts),
        "## How it was measured\n\n" + _measured(facts),
        "## What it is for, and its limits\n\n" + _limits(facts),
        "## Checksums\n\n" + _checksums(facts.files),
    ]
    return "\n".join(parts)


def header(facts: Facts) -> dict[str, Any]:
    """The YAML in front of the card, as a value. https://huggingface.co/docs/hub/model-cards"""
    tags = ["reinforcement-learning", "verifiable-rewards", *(["grpo"] if facts.training else [])]
    if facts.training and facts.training.spec.get("lora_rank"):
        tags.append("lora")
    named = sorted({clean(source.dataset) for source in facts.sources if source.dataset})
    base = facts.hub_base or (facts.lineage[0].name if facts.lineage else "")
    return {
        **licence(facts),
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        **({"base_model": clean(base)} if base else {}),
        "tags": tags,
        **({"datasets": named} if named else {}),
    }


def licence(facts: Facts) -> dict[str, str]:
    """One licence where everything that is in the weights has it; else the card's own words say which are."""
    known = {source.licence for source in facts.sources}
    all_told = facts.built_here and all(ancestor.name for ancestor in facts.lineage)
    if not all_told or len(known) != 1 or known == {""}:
        return {"license": "other", "license_name": "see-card"}
    return card.hub_licence(clean(known.pop()))


def clean(text: str) -> str:
    """One line of printable characters. What would turn the direction of the text is no part of a name."""
    flat = " ".join(text.split())
    kept = "".join(sign for sign in flat if unicodedata.category(sign)[0] != "C" or sign in "\u200c\u200d")
    return kept[:LONGEST_NAME]


def said(text: str) -> str:
    """A text that people wrote, without markup of its own: it stays inside its line, its cell and its paragraph."""
    escaped = "".join(f"\\{sign}" if sign in MARKUP else sign for sign in clean(text))
    escaped = escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("://", "\\://")  # an address is no link


def _about(facts: Facts) -> str:
    kind = "the shared model that all contributed data trains" if facts.shared else "an expert of one team"
    return (
        f"A causal language model of {facts.parameters:,} parameters: a version of {said(facts.line)}, {kind}. "
        f"It was registered on {facts.date} under the digest `{facts.digest}`.\n"
    )


def _loading(facts: Facts) -> str:
    """A test runs this block where the files lie."""
    tokens = facts.training.spec.get("max_completion_tokens", 48) if facts.training else 48
    return f"""In this directory, with `pip install torch transformers` and nothing else:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

directory = "."
tokenizer = AutoTokenizer.from_pretrained(directory)
model = AutoModelForCausalLM.from_pretrained(directory)

messages = [{{"role": "user", "content": "Compute 17 + 25."}}]
prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
answer = model.generate(**prompt, max_new_tokens={int(tokens)})
print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
```

The weights are safetensors and whole: a run with LoRA has merged its adapter into them. No code comes with them.
"""


def _lineage(facts: Facts) -> str:
    rows = [(said(each.name) or "a version of another team", f"`{each.digest}`", each.made) for each in facts.lineage]
    rows.append((f"**{said(facts.name)}**", f"`{facts.digest}`", facts.made))
    return (
        "Oldest first. A digest is the SHA-256 over the names, sizes and hashes of a version's files.\n\n"
        + _table(("version", "digest", "how it came about"), rows)
        + _made_with(facts.environment)
    )


def _made_with(environment: Mapping[str, str]) -> str:
    if not environment:
        return ""
    named = ", ".join(f"{said(name)} {said(value)}" for name, value in environment.items())
    return f"\nThe engine ran with: {named}. The same inputs give the same weights there.\n"


def _training(facts: Facts) -> str:
    run = facts.training
    if run is None:
        return "It was not trained here by reinforcement learning: it is where training starts.\n"
    preset = str(run.spec.get("preset", ""))
    ruled = f" Every row was graded by the grader `{said(run.grader)}` of the run." if run.grader else ""
    mixed = (
        f" They are the mixture `{run.mixture}` of the recipe {said(run.recipe)}, in its order." if run.mixture else ""
    )
    told = (
        f"Run {run.run}: {run.steps:,} steps on {run.rows:,} tasks, {run.tokens:,} tokens, {run.seconds / 60:.1f} "
        f"minutes, seed {run.spec.get('seed', 0)}. Preset {said(preset)}: {_reasons(preset)}{ruled}{mixed}\n\n"
    )
    method = "".join(f"- {what}: {why}\n" for what, why in method_of(run.spec))
    return (
        f"{told}{method}\nEvery knob, as it was resolved:\n\n{_table(('knob', 'value', 'meaning'), _knobs(run.spec))}"
    )


def _knobs(spec: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """In the order of RunSpec; knobs of that time that are none today come last, without a meaning."""
    known = {knob.name: f"{knob.says} ({knob.unit})" if knob.unit != "–" else knob.says for knob in knobs()}
    names = [*(name for name in known if name in spec), *(name for name in spec if name not in known)]
    return [(f"`{name}`" if name in known else said(name), _value(spec[name]), known.get(name, "")) for name in names]


def _value(value: Any) -> str:
    return said(f"{value:g}" if isinstance(value, float) else str(value))


def _reasons(preset: str) -> str:
    """The first line of what the preset says of itself."""
    known = PRESETS.get(preset)
    text = (known.__doc__ or "").strip().partition("\n")[0] if known else ""
    return said(text) or "none of those that are known today."


def method_of(spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the recipe does, and why, in a sentence each. Sources: DAPO, Dr. GRPO, TRL's documentation."""
    group, low, high = spec.get("group_size", 0), spec.get("epsilon_low", 0.0), spec.get("epsilon_high", 0.0)
    beta, rank = spec.get("beta", 0.0), spec.get("lora_rank", 0)
    penalty = (
        (f"a KL penalty of weight {beta:g}", "it holds a model that sees few prompts near what it could do before.")
        if beta
        else ("no KL penalty", "the distance to the start is measured exactly instead of being paid for.")
    )
    rounds = spec.get("refill_rounds", 0)
    refilled = (
        [
            (
                f"groups without spread are drawn again, up to {rounds} times",
                "answers that all earn the same teach nothing.",
            )
        ]
        if rounds
        else []
    )
    adapter = (
        (
            f"LoRA of rank {rank} on all linear layers",
            "the states of the optimiser fit where those of all weights do not.",
        )
        if rank
        else ("full fine-tuning", "the model is small enough for all of its weights to move.")
    )
    return [
        (f"GRPO with {group} answers a prompt", "an answer is worth what it earns above the mean of its group."),
        ("a loss by token over the whole batch", "a token of a long answer weighs as much as one of a short answer."),
        ("no division by a group's standard deviation", "it would weigh questions by how unevenly they are answered."),
        (f"clip at {low:g} below and {high:g} above", "the wider side keeps rare tokens possible."),
        *refilled,
        penalty,
        ("rewards as the graders score them", "what is not the task cannot be learned in its place."),
        ("answers that were cut off count", "leaving them out would make length free."),
        adapter,
    ]  # fmt: skip


def _data(facts: Facts) -> str:
    if not facts.sources and not facts.built_here:
        return "Nothing that is registered here.\n"
    demonstrations = (
        "The base was built from demonstrations of which a share is wrong on purpose: that leaves it room.\n\n"
        if facts.built_here
        else ""
    )
    rows = [
        (
            said(source.team),
            f"{said(source.dataset)} v{source.version}" if source.dataset else "not named",
            f"`{source.digest}`",
            f"{source.tasks:,}",
            said(source.licence) or "private",
            said(", ".join(source.trained)),
        )
        for source in facts.sources
    ]
    head = ("team", "dataset version", "content digest", "tasks frozen", "licence", "trained")
    older = f"\nAnd {facts.sources_left_out:,} older ones.\n" if facts.sources_left_out else ""
    return f"{demonstrations}{_table(head, rows) if rows else ''}{older}{_credits(facts.credits)}"


def _credits(credits: Sequence[Credit]) -> str:
    if not credits:
        return ""
    rows = [(said(each.version), said(each.team), f"{each.tasks:,}", f"{100 * each.share:.1f} %") for each in credits]
    return "\nWho gave how much, with thanks:\n\n" + _table(("version", "team", "tasks", "share"), rows)


def _measured(facts: Facts) -> str:
    told = [_distance(facts.kl)]
    if not facts.verdicts:
        told.append(f"Not evaluated: {said(facts.not_evaluated) or 'nobody has asked for it.'}\n")
    return "\n".join([*told, *(_verdict(each) for each in facts.verdicts)])


def _distance(kl: Estimate | None) -> str:
    if kl is None:
        return "Its distance to the model that it started from was not measured.\n"
    return (
        f"KL divergence to the model that it started from: {kl.mean:.3f} ± {kl.standard_error:.3f} nats a sequence "
        f"(mean and standard error), exact over the vocabulary, on {kl.n:,} prompts that it was not trained on where "
        "there were such.\n"
    )


def _verdict(report: Verdict) -> str:
    opening = (
        f"**{said(report.verdict)}** on {report.date}, against {said(report.champion)}, on sealed tasks that nobody "
        f"trains on: {said(report.sentence)}\n"
    )
    if report.decision is None or not report.decision.rows:
        return opening
    interval = f"{100 * (1 - 2 * report.decision.alpha):.3g} % interval"
    head = ("suite", "role", "items × answers", "before", "this version", "difference, pp", interval, "finding")
    return f"{opening}\n{_table(head, map(_cells, report.decision.rows))}"


def _cells(row: GateRow) -> tuple[str, ...]:
    return (
        said(row.suite),
        row.role,
        f"{row.n:,} × {row.answers_per_item}",
        f"{100 * row.champion.mean:.1f} %",
        f"{100 * row.candidate.mean:.1f} %",
        pp(row.difference),
        f"{pp(row.low)} to {pp(row.high)}",
        row.finding.value,
    )


def _limits(facts: Facts) -> str:
    domains = ", ".join(said(domain) for domain in facts.training.domains) if facts.training else ""
    told = [f"It is meant for questions of the kind that it was trained on{f': {domains}' if domains else ''}."]
    told.append(
        "What a right answer is was decided by graders; where they are blind, the model may have learned to be."
    )
    told.append("It was not examined for harmful, biased or false statements, nor for personal data in its answers.")
    if facts.built_here:
        told.append(
            "Its base is a small model made for demonstration: outside of its exercises it knows nothing at all."
        )
    if facts.training and not facts.verdicts:
        told.append(f"{facts.training.rows:,} tasks trained it, and no gate has measured its gain on others.")
    if not facts.shared:
        told.append(
            "It has learned from its team's private data and may repeat it: show it to whom you would show those."
        )
    return "".join(f"- {sentence}\n" for sentence in told)


def _checksums(files: Sequence[Artifact]) -> str:
    if not files:
        return "The files are not on the machine that wrote this card.\n"
    rows = [(said(file.path), f"{file.bytes:,}", f"`{file.sha256}`") for file in files]
    return (
        "SHA-256 of every file that came from training; `manifest.json` holds the same for programs. This card was "
        f"written at export and is none of them.\n\n{_table(('file', 'bytes', 'SHA-256'), rows)}"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"
