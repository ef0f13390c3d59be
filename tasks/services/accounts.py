"""Users, teams, memberships and API keys."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.text import slugify

from tasks.errors import Conflict, Forbidden, Invalid, NotFound
from tasks.models import ApiKey, Membership, Team, User
from tasks.models.events import Subject, record
from tasks.screening import policy as policies
from tasks.services.access import require_role
from tasks.states import Role, Scope

OWN_TEAM_ROLES = (Role.ADMINISTRATOR, Role.CONTRIBUTOR, Role.OPERATOR, Role.REVIEWER)


def pool() -> Team:
    """The system team, which owns the shared pool."""
    return Team.objects.get(is_system=True)


def ensure_pool() -> Team:
    """Made once, with a split salt of its own; a database that has it keeps it as it is."""
    team, _ = Team.objects.get_or_create(
        is_system=True, defaults={"slug": "pool", "name": "Shared pool", "approval": Team.Approval.PERSON}
    )
    return team


@transaction.atomic
def create_user(username: str, password: str, email: str = "", *, actor: User | None) -> User:
    """By the platform, a superuser or an administrator of the pool."""
    _require_platform_administrator(actor)
    user = User(username=username, email=email)
    _check_user(user, password)
    user.set_password(password)
    try:
        with transaction.atomic():
            user.save()
    except IntegrityError:
        raise Conflict(
            "username_taken", f"There is a user '{username}' already: choose another name.", "username"
        ) from None
    record("user.created", subject=Subject("user", str(user.pk)), team=None, actor=actor, data={"username": username})
    return user


def _require_platform_administrator(actor: User | None) -> None:
    if actor is not None and not actor.is_superuser:
        require_role(actor, pool())


def _check_user(user: User, password: str) -> None:
    try:
        User._meta.get_field("username").clean(user.username, user)
    except ValidationError:
        raise Invalid(
            "bad_username", "A user name has 1 to 150 letters, digits and @ . + - _ and nothing else.", "username"
        ) from None
    try:
        validate_password(password, user)
    except ValidationError as fault:
        raise Invalid("bad_password", " ".join(fault.messages), "password") from None
    try:
        User._meta.get_field("email").clean(user.email, user)
    except ValidationError as fault:
        raise Invalid("bad_email", " ".join(fault.messages), "email") from None


@transaction.atomic
def create_team(name: str, slug: str = "", *, actor: User | None) -> Team:
    """Anybody signed in may; who does becomes its administrator, contributor, operator and reviewer."""
    name, slug = name.strip(), slug or slugify(name)[:60]
    if not name or len(name) > 120:
        raise Invalid("bad_name", "A team needs a name of 1 to 120 characters.", "name")
    if slug != slugify(slug) or not slug or len(slug) > 60:
        raise Invalid("bad_slug", "A slug has 1 to 60 small letters, digits and hyphens.", "slug")
    try:
        with transaction.atomic():
            team = Team.objects.create(name=name, slug=slug)
    except IntegrityError:
        raise Conflict("team_exists", f"There is a team '{slug}' already: choose another name.", "slug") from None
    if actor is not None:
        Membership.objects.bulk_create(Membership(user=actor, team=team, role=role) for role in OWN_TEAM_ROLES)
    record("team.created", subject=_subject(team), team=team.pk, actor=actor, data={"slug": slug})
    return team


@transaction.atomic
def set_approval(team: Team, approval: str, *, actor: User | None) -> None:
    """Who lets proved tasks of the team's space in: a person, their proof, or everything that is not rejected."""
    require_role(actor, team, Role.ADMINISTRATOR)
    if approval not in Team.Approval.values:
        raise Invalid("unknown_approval", f"Approval is one of {', '.join(Team.Approval.values)}.", "approval")
    before = Team.objects.select_for_update().get(pk=team.pk).approval
    Team.objects.filter(pk=team.pk).update(approval=approval)
    team.approval = approval
    record(
        "team.approval_set", subject=_subject(team), team=team.pk, actor=actor, data={"old": before, "new": approval}
    )


@transaction.atomic
def set_screening(team: Team, policy: Mapping[str, Any], *, actor: User | None) -> None:
    """What rows may come into the team's space: the whole policy, a part that is left out is as by default.

    It holds for rows that are read from now on. What is stored has come in under the policy of its day and stays.
    """
    require_role(actor, team, Role.ADMINISTRATOR)
    new = msgspec.to_builtins(policies.parse(policy))
    before = Team.objects.select_for_update().get(pk=team.pk).screening
    Team.objects.filter(pk=team.pk).update(screening=new)
    team.screening = new
    record("team.screening_set", subject=_subject(team), team=team.pk, actor=actor, data={"old": before, "new": new})


def screening_of(team: Team) -> dict[str, Any]:
    """The policy that holds, its defaults filled in."""
    found: dict[str, Any] = msgspec.to_builtins(policies.parse(team.screening))
    return found


@transaction.atomic
def join(team: Team, user: User, role: Role | str, *, actor: User | None) -> Membership:
    require_role(actor, team, Role.ADMINISTRATOR)
    role = _role(role)
    membership, created = Membership.objects.get_or_create(team=team, user=user, role=role)
    if created:
        record("team.joined", subject=_subject(team), team=team.pk, actor=actor, data={"user": user.pk, "role": role})
    return membership


@transaction.atomic
def leave(team: Team, user: User, role: Role | str | None = None, *, actor: User | None) -> int:
    """Give up one role, or all. One's own, or anybody's by an administrator; the last administrator stays."""
    if actor is None or actor.pk != user.pk:
        require_role(actor, team, Role.ADMINISTRATOR)
    Team.objects.select_for_update().get(pk=team.pk)
    given_up = Membership.objects.filter(team=team, user=user)
    if role is not None:
        given_up = given_up.filter(role=_role(role))
    administrators = Membership.objects.filter(team=team, role=Role.ADMINISTRATOR)
    if administrators.exists() and not administrators.exclude(pk__in=given_up).exists():
        raise Conflict(
            "last_administrator", f"{team.name} would have no administrator: give somebody else the role first."
        )
    roles = sorted(given_up.values_list("role", flat=True))
    if roles:
        given_up.delete()
        record("team.left", subject=_subject(team), team=team.pk, actor=actor, data={"user": user.pk, "roles": roles})
    return len(roles)


@transaction.atomic
def create_key(
    team: Team,
    user: User,
    name: str,
    scopes: Iterable[Scope | str],
    expires_at: datetime | None = None,
    *,
    actor: User | None,
) -> tuple[ApiKey, str]:
    """A key that acts as `user` in `team`. The secret is returned once and stored only as its hash."""
    _require_self_or_administrator(team, user, actor)
    if not user.roles_in(team):
        raise Forbidden("not_a_member", f"{user.username} has no role in {team.name}: join it first.")
    name = name.strip()
    if not name or len(name) > 80:
        raise Invalid("bad_name", "A key needs a name of 1 to 80 characters.", "name")
    if expires_at is not None and expires_at <= timezone.now():
        raise Invalid("already_expired", "The key would have expired already: choose a later moment.", "expires_at")
    secret = ApiKey.new_secret()
    key = ApiKey.objects.create(
        team=team,
        user=user,
        name=name,
        scopes=_scopes(scopes),
        prefix=secret[:10],
        digest=ApiKey.digest_of(secret),
        expires_at=expires_at,
    )
    data = {"name": name, "scopes": key.scopes, "user": user.pk}
    record("key.created", subject=Subject("apikey", str(key.pk)), team=team.pk, actor=actor, data=data)
    return key, secret


@transaction.atomic
def revoke_key(key: ApiKey, *, actor: User | None) -> None:
    _require_self_or_administrator(key.team, key.user, actor)
    now = timezone.now()
    if ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=now):
        key.revoked_at = now
        record("key.revoked", subject=Subject("apikey", str(key.pk)), team=key.team_id, actor=actor)


def _require_self_or_administrator(team: Team, user: User, actor: User | None) -> None:
    if actor is None or actor.pk != user.pk:
        require_role(actor, team, Role.ADMINISTRATOR)


def _role(role: Role | str) -> Role:
    try:
        return Role(role)
    except ValueError:
        raise Invalid("unknown_role", f"A role is one of {', '.join(Role)}.", "role") from None


def _scopes(scopes: Iterable[Scope | str]) -> list[str]:
    try:
        wanted = {Scope(scope) for scope in scopes}
    except ValueError:
        raise Invalid("unknown_scope", f"A scope is one of {', '.join(Scope)}.", "scopes") from None
    if not wanted:
        raise Invalid("no_scope", f"A key needs at least one of the scopes {', '.join(Scope)}.", "scopes")
    return [scope.value for scope in Scope if scope in wanted]


def member(team_slug: str, username: str) -> tuple[Team, User]:
    """For the command line, which names people and teams."""
    team: Any = Team.objects.filter(slug=team_slug).first()
    user = User.objects.filter(username=username).first()
    if team is None or user is None:
        missing = f"team '{team_slug}'" if team is None else f"user '{username}'"
        raise NotFound("not_found", f"There is no {missing}.")
    return team, user


def _subject(team: Team) -> Subject:
    return Subject("team", str(team.pk))
