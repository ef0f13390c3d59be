"""Who may do what: roles in a team. Asked by every verb, at its first line."""

from typing import Any

from tasks.errors import Forbidden
from tasks.models import Dataset, Team
from tasks.states import Role

_A_PERSON_WHO = {
    Role.CONTRIBUTOR: "contribute to",
    Role.REVIEWER: "review tasks of",
    Role.OPERATOR: "train and ship models of",
    Role.ADMINISTRATOR: "administer",
}


def require_role(actor: Any, team: Team, *roles: Role) -> None:
    """Raise Forbidden unless the actor has one of the roles in the team. Administrators may do everything in theirs.

    An actor of None is the platform itself (a job, a schedule).
    """
    if actor is None:
        return
    if not actor.roles_in(team) & {*roles, Role.ADMINISTRATOR}:
        verbs = " or ".join(_A_PERSON_WHO[role] for role in roles) or _A_PERSON_WHO[Role.ADMINISTRATOR]
        asked_for = roles[0] if roles else Role.ADMINISTRATOR
        raise Forbidden(
            "role_missing", f"You may not {verbs} {team.name}: ask one of its administrators for the role {asked_for}."
        )


def who_brings(dataset: Dataset) -> Role:
    """Whose rows a dataset takes: a held-out suite is its operators'."""
    return Role.OPERATOR if dataset.held_out else Role.CONTRIBUTOR
