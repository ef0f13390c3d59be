"""/me: API keys, shown once; teams and who is in them."""

from datetime import timedelta

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from tasks.errors import Invalid
from tasks.forms import KeyForm, MemberForm, ScreeningForm, TeamForm
from tasks.models import ApiKey, Membership, Team, User
from tasks.services import accounts
from tasks.states import Role, Scope
from tasks.views.scope import signed_in

SCOPES = {
    Scope.READ: "look at everything you may see",
    Scope.WRITE: "upload, review, change datasets",
    Scope.TRAIN: "start and steer runs, promote",
    Scope.ADMIN: "everything, members and keys included",
}


@login_required
@require_safe
def me(request: HttpRequest) -> HttpResponse:
    return _page(request, KeyForm(signed_in(request)))


def _page(request: HttpRequest, form: KeyForm, secret: str = "") -> HttpResponse:
    user = signed_in(request)
    context = {
        "form": form,
        "secret": secret,
        "scopes": [(scope.value, meaning) for scope, meaning in SCOPES.items()],
        "keys": ApiKey.objects.filter(user=user).select_related("team").order_by("-pk")[:100],
        "teams": [_members(team, user) for team in Team.objects.filter(pk__in=user.team_ids()).order_by("name")],
        "roles": list(Role),
        "now": timezone.now(),
    }
    return render(request, "tasks/me.html", context, status=400 if form.errors else 200)


def _members(team: Team, user: User) -> dict[str, object]:
    people: dict[str, list[str]] = {}
    for membership in Membership.objects.filter(team=team).select_related("user").order_by("user__username", "role"):
        people.setdefault(membership.user.username, []).append(membership.role)
    policy = accounts.screening_of(team)
    screening = ScreeningForm(initial=ScreeningForm.initial_of(policy), auto_id=f"{team.slug}_%s")
    return {
        "team": team,
        "people": people,
        "mine": people.get(user.username, []),
        "policy": policy,
        "screening": screening,
    }


@login_required
@require_POST
@never_cache
def create_key(request: HttpRequest) -> HttpResponse:
    """The secret is on this reply and nowhere else."""
    user = signed_in(request)
    form = KeyForm(user, request.POST)
    if not form.is_valid():
        return _page(request, form)
    given = form.cleaned_data
    expires = timezone.now() + timedelta(days=given["days"]) if given["days"] else None
    _, secret = accounts.create_key(given["team"], user, given["name"], given["scopes"], expires, actor=user)
    return _page(request, KeyForm(user), secret)


@login_required
@require_POST
def revoke_key(request: HttpRequest, pk: int) -> HttpResponse:
    key = get_object_or_404(ApiKey, pk=pk, user=signed_in(request))
    accounts.revoke_key(key, actor=signed_in(request))
    messages.success(request, f"The key {key.name} is revoked: it opens nothing any more.")
    return redirect("me")


@login_required
@require_POST
def create_team(request: HttpRequest) -> HttpResponse:
    form = TeamForm(request.POST)
    if not form.is_valid():
        raise Invalid("name_missing", "Give the team a name of at most 120 characters.", "name")
    team = accounts.create_team(form.cleaned_data["name"], actor=signed_in(request))
    messages.success(request, f"{team.name} is yours: you are its administrator.")
    return redirect("me")


@login_required
@require_POST
def add_member(request: HttpRequest, slug: str) -> HttpResponse:
    team = get_object_or_404(Team, slug=slug, pk__in=signed_in(request).team_ids())
    form = MemberForm(request.POST)
    if not form.is_valid():
        raise Invalid("member_incomplete", "Give a user name and a role.", "username")
    user = User.objects.filter(username=form.cleaned_data["username"], is_active=True).first()
    if user is None:
        raise Invalid("no_such_user", "There is no user of that name: ask an administrator to make the account.")
    accounts.join(team, user, form.cleaned_data["role"], actor=signed_in(request))
    messages.success(request, f"{user.username} is {form.cleaned_data['role']} of {team.name}.")
    return redirect("me")


@login_required
@require_POST
def set_screening(request: HttpRequest, slug: str) -> HttpResponse:
    team = get_object_or_404(Team, slug=slug, pk__in=signed_in(request).team_ids())
    form = ScreeningForm(request.POST)
    if not form.is_valid():
        name, (fault, *_) = next(iter(form.errors.items()))
        raise Invalid("screening_bad", f"{name}: {fault}", name)
    accounts.set_screening(team, form.policy(), actor=signed_in(request))
    messages.success(request, f"Rows that come into {team.name} from now on are held against the new policy.")
    return redirect("me")
