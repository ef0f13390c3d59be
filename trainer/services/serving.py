"""From a model's public name to the version that answers, and the conversation with the model server."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from django.conf import settings
from django.db.models import Prefetch

from tasks.errors import FlywheelError, Invalid, NotFound
from tasks.models import Team
from tasks.services import connections
from tasks.text import refused_character
from tasks.wire import Limits, Wire, WireError, origin_of
from trainer.models import Alias, Line, ModelVersion, RunCheckpoint, TrainingRun
from trainer.models.lines import LineQuerySet
from trainer.services import artifacts, checkpoints, naming
from trainer.services.lines import shared_line
from trainer.states import AliasName

_NUMBER = re.compile(r"v(\d{1,9})")
ONCE = {"x-should-retry": "false"}  # the client would do all the work again, twice
_STREAM_SECONDS = 600.0  # of a whole stream
_PROBE = Limits(connect_seconds=0.5, silence_seconds=1, total_seconds=2)


class ModelServerDown(FlywheelError):
    status = 503


class ModelServerRefused(FlywheelError):
    """What the model server found wrong with the request, in its own words and with its own status and headers."""

    def __init__(
        self, status: int, code: str, sentence: str, param: str | None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(code, sentence, param)
        self.status, self.headers = status, dict(headers or {})


class Served(Protocol):
    """What answers: a version, or a checkpoint of a run."""

    digest: str
    created_at: datetime

    @property
    def line(self) -> Line: ...

    @property
    def name(self) -> str: ...


def resolve(name: str, user: Any, team: Team | None = None) -> Served:
    """What is behind a public name, to be asked: a checkpoint comes into the store for it, which copies its files."""
    found = find(name, user, team)
    return checkpoints.in_store(found) if isinstance(found, RunCheckpoint) else found


def find(name: str, user: Any, team: Team | None = None) -> Served:
    """What is behind a public name, looked up anew at every call: a promotion is seen by the next request.

    champion: the shared line's. LINE: its champion, else its newest. LINE/champion, /challenger, /anchor, /v3. What a
    run made, or keeps on its way: see trainer.services.naming.
    """
    visible = Line.objects.for_user(user, team)
    found = version_of(name, visible) or _kept_or_granted(name, visible, team)
    if found is None:
        raise NotFound(
            "model_not_found", f"There is no model {name[:120]} that you may use: list them with GET /models.", "model"
        )
    return found


def resolve_version(name: str, user: Any, team: Team | None = None) -> ModelVersion:
    """The version behind a name; a checkpoint on the way is none."""
    found = find(name, user, team)
    if not isinstance(found, ModelVersion):
        raise Invalid("checkpoint_is_no_version", "Name a finished model, without :ckpt-step behind it.", "model")
    return found


def version_of(name: str, visible: LineQuerySet) -> ModelVersion | None:
    if name.startswith(naming.PREFIX):
        run = _run_of(name)
        return _made(run, line__in=visible) if run and name == naming.of_run(run) else None
    if refused_character(name):
        return None
    slug, _, which = name.partition("/")
    line = _line(slug, which, visible)
    return _version(line, which) if line else None


def _run_of(name: str) -> TrainingRun | None:
    read = naming.read(name)
    runs = TrainingRun.objects.select_related("line__team", "start__line")
    return runs.filter(pk=read.run).first() if read else None


def _made(run: TrainingRun, **where: Any) -> ModelVersion | None:
    versions = ModelVersion.objects.select_related("line__team").filter(run=run, retired_at=None, **where)
    return versions.distinct().first()


def _kept_or_granted(name: str, visible: LineQuerySet, team: Team | None) -> Served | None:
    """A checkpoint of a visible run; what another team's run made, where this team was given leave."""
    run = _run_of(name)
    if run is None:
        return None
    if name == naming.of_run(run):
        return _made(run, permissions__team=team) if team else None
    kept = run.checkpoints.filter(gone_at=None).select_related("run__line__team", "run__start__line")
    found = next((checkpoint for checkpoint in kept if name == naming.of_checkpoint(checkpoint)), None)
    if found is None:
        return None
    own = visible.filter(pk=run.line_id).exists()
    return found if own or (team and found.permissions.filter(team=team).exists()) else None


def _line(slug: str, which: str, visible: LineQuerySet) -> Line | None:
    if slug == AliasName.CHAMPION and not which:
        shared = shared_line()
        return visible.filter(pk=shared.pk).first() if shared else None
    return visible.filter(slug=slug).first()


def _version(line: Line, which: str) -> ModelVersion | None:
    found: ModelVersion | None
    if which in set(AliasName):
        found = line.alias(AliasName(which))
    elif number := _NUMBER.fullmatch(which):
        found = line.versions.filter(number=int(number[1])).first()
    elif which:
        return None
    else:
        usable = line.versions.without_controls().filter(retired_at=None)
        found = line.alias(AliasName.CHAMPION) or usable.order_by("-number").first()
    return found if found and found.retired_at is None else None


@dataclass(frozen=True, slots=True)
class PublicModel:
    name: str
    version: ModelVersion


def model_names(user: Any, team: Team | None = None) -> list[PublicModel]:
    """The names of the lines that this user sees, lines by age: aliases first, then versions, newest first.

    `resolve` knows more: checkpoints, which their job lists, and what other teams gave this one leave to use.
    """
    return names_among(Line.objects.for_user(user, team))


def names_among(visible: LineQuerySet) -> list[PublicModel]:
    aliases_of = Prefetch("aliases", Alias.objects.select_related("version__line__team"))
    of_runs = ("line__team", "run__line__team", "run__start__line")
    in_service = ModelVersion.objects.filter(retired_at=None).select_related(*of_runs).order_by("-number")
    versions_of = Prefetch("versions", in_service, to_attr="in_service")
    shared, names = shared_line(), []
    for line in visible.order_by("pk").prefetch_related(aliases_of, versions_of):
        usable = [alias for alias in line.aliases.all() if alias.version.retired_at is None]
        aliases = sorted(usable, key=lambda alias: list(AliasName).index(AliasName(alias.name)))
        champion = next((alias.version for alias in aliases if alias.name == AliasName.CHAMPION), None)
        if champion and shared and line.pk == shared.pk:
            names.append(PublicModel(AliasName.CHAMPION, champion))
        versions: list[ModelVersion] = line.in_service
        served = champion or next((version for version in versions if not version.is_control), None)
        if served:
            names.append(PublicModel(line.slug, served))
        names += [PublicModel(f"{line.slug}/{alias.name}", alias.version) for alias in aliases]
        names += [PublicModel(version.name, version) for version in versions]
        names += [PublicModel(naming.of_run(version.run), version) for version in versions if version.run is not None]
    return names


def chat(version: Served, body: dict[str, Any], stream: bool = False) -> Any:
    """A completion of the version, or with `stream` an iterator of its chunks, as the model server sent them.

    The body is passed on as it is; the model server honours or refuses each parameter. Only `model` becomes what that
    server calls the version: ours its digest, another one what MODEL_SERVER_MODEL says.
    """
    asked = {**body, "model": served_name(version), "stream": stream}
    connections.let_go()  # an answer may take minutes: fifty that wait must not hold fifty connections
    try:
        return _told(_wire().chat_stream(asked)) if stream else _wire().chat(asked)
    except WireError as error:
        raise refusal(error) from error


def served_name(version: Served) -> str:
    """What the model server calls the version: {name} is shared/v3, {path} the directory of its files."""
    path = artifacts.path_of(version.digest)
    return str(settings.MODEL_SERVER_MODEL).format(digest=version.digest, path=path, name=version.name)


def _told(chunks: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    try:
        yield from chunks
    except WireError as error:
        raise refusal(error) from error


def is_up() -> bool:
    try:
        _wire(_PROBE).models()
    except WireError:
        return False
    return True


def _wire(limits: Limits | None = None) -> Wire:
    base, patience = settings.MODEL_SERVER_URL, float(settings.MODEL_ANSWER_SECONDS)
    return Wire(
        base_url=f"{base.rstrip('/')}/v1",
        token=settings.MODEL_SERVER_TOKEN,
        allowed_origins=frozenset({origin_of(base)}),
        limits=limits or Limits(silence_seconds=patience, total_seconds=max(4 * patience, _STREAM_SECONDS)),
    )


def refusal(error: WireError) -> FlywheelError:
    """The model server's refusal of the request goes on to the caller; every fault of the server itself is a 503.

    Another server than ours may word a refusal without OpenAI's envelope (vLLM's own checks do); it stays a refusal, so
    that nobody asks the same again.
    """
    told = error.body.get("error") if isinstance(error.body, dict) else None
    if error.code == "timeout":
        sentence = "No answer came in time. Ask for fewer tokens, stream it, or try again when it is quieter."
        return ModelServerRefused(504, "timeout", sentence, None, ONCE)
    if error.code == "request_too_large":
        return ModelServerRefused(413, "body_too_large", error.sentence, "messages")
    if error.status == 404:
        return ModelServerDown("artifact_missing", "The model server does not have this model: ask an operator.")
    if error.status in (None, 401, 403):
        return ModelServerDown("model_server_down", "The model server does not answer: try again in a moment.")
    if isinstance(told, dict):
        code, param = str(told.get("code") or "refused"), told.get("param")
        said, about = str(told.get("message")), str(param) if param else None
        return ModelServerRefused(error.status, code, said, about, _advice(error))
    if 400 <= error.status < 500:
        sentence = f"The model server refuses the request (status {error.status}): check its parameters."
        return ModelServerRefused(error.status, "refused", sentence, None)
    return ModelServerDown("model_server_down", "The model server does not answer: try again in a moment.")


def _advice(error: WireError) -> dict[str, str]:
    """Whether and when the same may be asked again, as the server has said."""
    if not error.should_retry:
        return ONCE
    wait = error.retry_after_seconds
    return {} if wait is None else {"retry-after": f"{wait:g}"}
