"""Running a version's lineage again, from its base on, and comparing what comes out, file by file.

Inputs are written anew from the database by the functions that wrote them, and the engine runs on them in a fresh
directory. Nothing is registered, and no row changes. Every version is judged by itself: its run starts from the parent
as it is in the store, which the step before has just compared, so that one difference is not told of all that follow.
"""

import filecmp
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings

from tasks.errors import FlywheelError, Invalid
from tasks.graders import registry
from tasks.states import TaskState
from trainer import contract, weights
from trainer.contract import Manifest, ModelRef, Result
from trainer.launchers.local import PASSED_ON, REPOSITORY
from trainer.launchers.protocol import write_whole
from trainer.models import BaseBuild, ModelVersion, TrainingRun
from trainer.services import artifacts, training_data
from trainer.services.bases import BaseBuildKind
from trainer.services.launching import path_of
from trainer.services.model_cards import lineage
from trainer.services.training import TrainingKind

POLL_SECONDS = 0.5
GRACE_SECONDS = 10.0  # for an engine that is told to leave
MOST_NAMED = 10  # rows in a sentence
BUDGETS = ("max_steps", "max_minutes", "max_tokens")  # of RunSpec
INPUTS = ("demonstrations.jsonl", "train.jsonl", "validation.jsonl", "probe.jsonl")

Say = Callable[[str], None]


class Outcome(StrEnum):
    SAME = "same"
    DIFFERS = "differs"
    CANNOT = "cannot be run"
    TRUSTED = "trusted"


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one version. `then` is as registered, `now` as it came out; digests are hex, "" : none."""

    name: str
    outcome: Outcome
    sentence: str
    then: str
    now: str = ""
    seconds: float = 0.0
    first_differing: str = ""  # file
    apart: float | None = None  # largest |difference| of a weight; None where that cannot be said
    notes: tuple[str, ...] = ()
    environment_then: Mapping[str, str] = field(default_factory=dict)
    environment_now: Mapping[str, str] = field(default_factory=dict)

    @property
    def moved(self) -> list[str]:
        """Names of what is not as it was in the environment, where it was recorded."""
        then, now = self.environment_then, self.environment_now
        return [name for name in {**then, **now} if then and now and then.get(name) != now.get(name)]


class CannotRun(Exception):
    """The sentence is told of the version."""


def reproduce(version: ModelVersion, work: Path, say: Say, *, begin: ModelVersion | None = None) -> Iterator[Report]:
    """A report for each version of the lineage, oldest first. `work`: an empty directory for what the engines write.

    Versions before `begin` are trusted: they are neither run nor compared.
    """
    family = lineage(version)
    if begin is not None and begin.pk not in {each.pk for each in family}:
        raise Invalid("not_in_lineage", f"{version.name} does not come from {begin.name}: begin with one of its own.")
    trusting = begin is not None
    made: dict[str, ModelRef] = {}  # digest as registered → what came out here
    for each in family:
        trusting = trusting and begin is not None and each.pk != begin.pk
        yield _trusted(each) if trusting else _reported(each, work / each.name.replace("/", "-"), made, say)


def _trusted(version: ModelVersion) -> Report:
    return Report(version.name, Outcome.TRUSTED, "Not run: it comes before what was asked for.", version.digest)


def _reported(version: ModelVersion, directory: Path, made: dict[str, ModelRef], say: Say) -> Report:
    began = time.monotonic()
    try:
        report = _again(version, directory, made, say)
    except (CannotRun, FlywheelError) as refused:
        recorded = dict(version.environment)
        report = Report(version.name, Outcome.CANNOT, str(refused), version.digest, environment_then=recorded)
    return replace(report, seconds=time.monotonic() - began)


def _again(version: ModelVersion, directory: Path, made: dict[str, ModelRef], say: Say) -> Report:
    if version.run is not None:
        notes = _write_run(version.run, directory, made)
        return _rebuilt(version, directory, notes, made, say)
    if version.parent is not None:
        return _unchanged(version, version.parent)
    build = getattr(version.line, "base_build", None)
    if version.number != 0 or build is None:
        raise CannotRun("No build and no run of it is recorded: how it was made is not known here.")
    if build.source == BaseBuild.Source.LOCAL:
        return _rebuilt(version, directory, _write_build(build, directory), made, say)
    return _verified(version)


def _unchanged(version: ModelVersion, parent: ModelVersion) -> Report:
    """An expert's version 0 is the version that it starts from."""
    same = version.digest == parent.digest
    sentence = f"It is {parent.name}, {'unchanged' if same else 'but its digest is another'}."
    return Report(version.name, Outcome.SAME if same else Outcome.DIFFERS, sentence, version.digest, parent.digest)


def _verified(version: ModelVersion) -> Report:
    """A base that somebody else made cannot be made here: its files are compared with their hashes."""
    try:
        artifacts.require_whole(version.digest, artifacts.manifest_of(version.digest, version.name))
    except Invalid as damaged:
        return Report(version.name, Outcome.DIFFERS, damaged.sentence, version.digest)
    sentence = "It was taken in, not made here: every file has its hash."
    return Report(version.name, Outcome.SAME, sentence, version.digest, version.digest)


# Inputs


def _write_build(build: BaseBuild, directory: Path) -> tuple[str, ...]:
    directory.mkdir(parents=True)
    BaseBuildKind().prepare(build, directory)
    return tuple(_changed_inputs(path_of(build.directory), directory) if build.directory else ())


def _write_run(run: TrainingRun, directory: Path, made: Mapping[str, ModelRef]) -> tuple[str, ...]:
    """What of the inputs is not as it was; raises CannotRun where that decides that the result must be another."""
    directory.mkdir(parents=True)
    try:
        TrainingKind().prepare(run, directory)
    except msgspec.ValidationError as unknown:
        raise CannotRun(f"Its settings are none that today's engine knows: {unknown}.") from None
    _require_no_judge(run, directory)
    before = path_of(run.directory) if run.directory else None
    kept = before is not None and (before / "train.jsonl").is_file()
    lost = _keys(before / "train.jsonl") - _keys(directory / "train.jsonl") if before and kept else _withdrawn(run)
    if lost:
        raise CannotRun(_lost(sorted(lost, key=lambda key: (len(key), key))))
    notes = _changed_inputs(before, directory) if before and kept else [_UNKNOWN]
    _as_one_piece(directory, made)
    return tuple(notes)


_UNKNOWN = "What the run read is no longer here to compare with: its inputs were written anew from the database."


def _lost(keys: list[str]) -> str:
    named = ", ".join(keys[:MOST_NAMED]) + (f" and {len(keys) - MOST_NAMED} more" if len(keys) > MOST_NAMED else "")
    one = len(keys) == 1
    return (
        f"{'A row' if one else f'{len(keys):,} rows'} that it was trained on "
        f"{'has' if one else 'have'} been withdrawn or retired since (task{'' if one else 's'} {named}): what is "
        "withdrawn is not used again, and without it the weights cannot be the same."
    )


def _withdrawn(run: TrainingRun) -> set[str]:
    """Frozen training rows that are no longer approved; some may have gone before the run began, none is used again."""
    frozen = training_data.frozen(run)
    return {str(pk) for pk in frozen.exclude(state=TaskState.APPROVED).values_list("pk", flat=True)}


def _require_no_judge(run: TrainingRun, directory: Path) -> None:
    """A judge is somebody else's model: its answers are not kept, and not the same twice."""
    if run.grader is not None:
        asked = registry.asks_a_model(run.grader)
    else:
        seen = {msgspec.json.encode(line["grader"]): line["grader"] for line in _rows(directory / "train.jsonl")}
        asked = any(registry.asks_a_model(grader) for grader in seen.values())
    if asked:
        raise CannotRun("Its graders ask a judge, whose answers are not kept: the same rewards cannot be had again.")


def _as_one_piece(directory: Path, made: Mapping[str, ModelRef]) -> None:
    """Budgets only pause a run, and a paused run comes out the same: they are lifted, so that it goes to its end. Where
    the store has lost the model that the run starts from, what came out here for it takes its place.
    """
    path = directory / "spec.json"
    spec = contract.decode_spec(path.read_bytes())
    assert isinstance(spec, contract.TrainSpec)
    lifted = {name: 0 for name in BUDGETS if hasattr(spec.recipe, name)}
    recipe = msgspec.structs.replace(spec.recipe, **lifted)
    model = spec.model if Path(spec.model.path).is_dir() else made.get(spec.model.digest, spec.model)
    write_whole(path, contract.encode(msgspec.structs.replace(spec, recipe=recipe, model=model)))


def _changed_inputs(before: Path, now: Path) -> list[str]:
    """Sentences on files and settings that are not those of the first time, as far as they are still there."""
    both = [name for name in INPUTS if (before / name).is_file() and (now / name).is_file()]
    changed = [name for name in both if not filecmp.cmp(before / name, now / name, shallow=False)]
    notes = [f"{name} is not what was read the first time." for name in changed]
    with suppress(OSError, msgspec.DecodeError):
        then, today = (_settings(contract.decode_spec((path / "spec.json").read_bytes())) for path in (before, now))
        moved = [name for name in today if then.get(name) != today[name]]
        notes += [f"The setting {name} was {then.get(name)} and is {today[name]}." for name in moved]
    return notes


def _settings(spec: contract.Spec) -> dict[str, Any]:
    """What decides the result: not the attempt, and not where the model lies."""
    told = msgspec.to_builtins(spec)
    knobs = {**told, **told.pop("recipe", {})}
    knobs["model"] = (told.get("model") or {}).get("digest")
    return {name: value for name, value in knobs.items() if name not in ("attempt", "run", "recipe")}


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            yield msgspec.json.decode(line)


def _keys(path: Path) -> set[str]:
    return {str(line["key"]) for line in _rows(path)}


# The engine


def _rebuilt(
    version: ModelVersion, directory: Path, notes: tuple[str, ...], made: dict[str, ModelRef], say: Say
) -> Report:
    """Run the engine as it was run and compare what it publishes."""
    recorded = dict(version.environment)
    threads = recorded.get("threads", "")
    result = _result(directory, threads, lambda words: say(f"{version.name}: {words}"))
    if result.model is None:
        raise CannotRun(_unfinished(result, directory))
    made[version.digest] = ModelRef(str(directory / "model"), result.model.digest, name=version.name)
    report = Report(
        version.name,
        Outcome.SAME,
        "Every file has the same bytes.",
        then=version.digest,
        now=result.model.digest,
        notes=notes,
        environment_then=recorded,
        environment_now=result.environment,
    )
    if report.now == report.then:
        return report
    first, apart, sentence = _difference(version, directory / "model", result.model)
    return replace(report, outcome=Outcome.DIFFERS, sentence=sentence, first_differing=first, apart=apart)


def _result(directory: Path, threads: str, say: Say) -> Result:
    code = _run_engine(directory, threads, say)
    try:
        return msgspec.json.decode((directory / "result.json").read_bytes(), type=Result)
    except (FileNotFoundError, msgspec.DecodeError):
        raise CannotRun(f"The engine ended without a result (exit status {code}).{_last_words(directory)}") from None


def _run_engine(directory: Path, threads: str, say: Say) -> int:
    """The exit status. Whatever ends this process in good order ends the engine."""
    command = shlex.split(settings.ENGINE_COMMAND) or [sys.executable, "-m", "trainer.engine"]
    with (directory / "engine.log").open("ab") as log:
        engine = subprocess.Popen(
            [*command, str(directory)],
            cwd=REPOSITORY,
            env=_environment(threads),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us, and we tell the engine
        )
    try:
        return _followed(engine, directory, say)
    finally:
        _end(engine)


def _environment(threads: str) -> dict[str, str]:
    """As a launcher has it, with the number of threads of the first time: sums are split by it."""
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    wished = threads or (str(settings.ENGINE_THREADS) if settings.ENGINE_THREADS else "")
    own = {"ENGINE_THREADS": wished} if wished else {}
    return {"LANG": "C.UTF-8", **passed_on, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", **own}


def _followed(engine: "subprocess.Popen[bytes]", directory: Path, say: Say) -> int:
    told = ""
    while engine.poll() is None:
        if (words := _progress(directory)) != told:
            say(told := words)
        with suppress(subprocess.TimeoutExpired):
            engine.wait(POLL_SECONDS)
    return engine.returncode


def _progress(directory: Path) -> str:
    """Phase, and tenths of the steps: a line for each is enough."""
    try:
        beat = msgspec.json.decode((directory / "heartbeat.json").read_bytes(), type=contract.Heartbeat)
    except (FileNotFoundError, msgspec.DecodeError):
        return "starting"
    if not beat.total_steps:
        return beat.phase
    tenth = 10 * beat.step // beat.total_steps
    return f"{tenth * 10} % of {beat.total_steps:,} steps"


def _end(engine: "subprocess.Popen[bytes]") -> None:
    """Nothing where it has ended by itself."""
    if engine.poll() is not None:
        return
    engine.terminate()
    try:
        engine.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(engine.pid, signal.SIGKILL)
        engine.wait()


def _unfinished(result: Result, directory: Path) -> str:
    if result.error is not None:
        return f"The engine failed in {result.error.boundary}: {result.error.sentence}"
    return f"The engine ended as {result.status} at step {result.step}, without a model.{_last_words(directory)}"


def _last_words(directory: Path) -> str:
    with suppress(OSError):
        lines = (directory / "engine.log").read_text(errors="replace").strip().splitlines()
        return f" Its last words: {lines[-1][:300]}" if lines else ""
    return ""


# Comparing


def _difference(version: ModelVersion, model: Path, now: Manifest) -> tuple[str, float | None, str]:
    """First differing file in order of name, how far the weights are apart, and both in a sentence."""
    try:
        then = artifacts.manifest_of(version.digest, version.name)
    except FlywheelError as lost:
        return "", None, f"The digest is another. {lost.sentence}"
    old, new = ({file.path: file.sha256 for file in manifest.files} for manifest in (then, now))
    differing = [path for path in sorted({**old, **new}) if old.get(path) != new.get(path)]
    apart = _apart(
        artifacts.path_of(version.digest), model, [path for path in differing if path in old and path in new]
    )
    told = "" if apart is None else f" Weights are apart by at most {apart:.3g}."
    return differing[0], apart, f"{differing[0]} is the first of {len(differing)} files that differ.{told}"


def _apart(stored: Path, model: Path, names: list[str]) -> float | None:
    found = [
        weights.greatest_difference(stored / name, model / name) for name in names if name.endswith(artifacts.WEIGHTS)
    ]
    known = [apart for apart in found if apart is not None]
    return max(known) if known and len(known) == len(found) else None
