"""The Django admin, for administrators: every row to read, none to edit; tasks have the actions of the review queue.

Lists stay fast at a million rows: counts stop at COUNTED rows, and no payload column is read.
"""

from typing import Any

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.core.paginator import Paginator
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.functional import cached_property

from tasks.errors import FlywheelError
from tasks.models import Review, Task
from tasks.services import reviews

COUNTED = 10_000  # rows that a list counts and pages through; a filter finds what lies behind
_WIDE = (models.JSONField, models.TextField)


class BoundedPaginator(Paginator):
    """Counts no further than COUNTED."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:COUNTED].count())


class ReadOnly(admin.ModelAdmin):
    """Rows to look at. Writes are verbs of the services."""

    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator
    ordering = ("-pk",)

    def get_list_display(self, request: HttpRequest) -> Any:
        """Every narrow column, unless a list names its own."""
        if self.list_display != ("__str__",):
            return self.list_display
        return [field.name for field in self.opts.concrete_fields if not isinstance(field, _WIDE)][:10]

    def get_list_select_related(self, request: HttpRequest) -> Any:
        shown = set(self.get_list_display(request))
        return [field.name for field in self.opts.concrete_fields if field.is_relation and field.name in shown]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        wide = [field.name for field in self.opts.concrete_fields if isinstance(field, _WIDE) and not field.primary_key]
        return super().get_queryset(request).defer(*wide)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Task)
class TaskAdmin(ReadOnly):
    list_display = ("id", "state", "reason_code", "space", "domain", "split", "grader", "created_at", "approved_at")
    list_filter = ("state", "split")
    search_fields = ("=id",)
    actions = ("approve", "reject", "undo")

    @admin.action(description="Approve …")
    def approve(self, request: HttpRequest, queryset: QuerySet[Task]) -> HttpResponse | None:
        return self._decide(request, queryset, Review.Decision.APPROVED)

    @admin.action(description="Reject …")
    def reject(self, request: HttpRequest, queryset: QuerySet[Task]) -> HttpResponse | None:
        return self._decide(request, queryset, Review.Decision.REJECTED)

    @admin.action(description="Undo the last decision …")
    def undo(self, request: HttpRequest, queryset: QuerySet[Task]) -> HttpResponse | None:
        actor: Any = request.user
        if "apply" not in request.POST:
            return self._ask(request, queryset, "undo", reviews.undo_last(queryset, actor=actor, dry_run=True))
        self._tell(request, reviews.undo_last(queryset, actor=actor), "returned to review")
        return None

    def _decide(self, request: HttpRequest, queryset: QuerySet[Task], decision: Review.Decision) -> HttpResponse | None:
        """First the count of what would be decided, then the decision."""
        reviewer: Any = request.user
        code = request.POST.get("reason_code", "") if decision is Review.Decision.REJECTED else ""
        note = request.POST.get("note", "")
        if "apply" not in request.POST:
            waiting = reviews.waiting_for(reviewer, queryset).count()
            return self._ask(
                request, queryset, "approve" if decision is Review.Decision.APPROVED else "reject", waiting
            )
        try:
            result = reviews.bulk(queryset, decision, reviewer=reviewer, reason_code=code, note=note)
        except FlywheelError as refusal:
            messages.error(request, refusal.sentence)
            return None
        self._tell(request, result.count, str(decision))
        return None

    def _tell(self, request: HttpRequest, count: int, what: str) -> None:
        messages.success(request, f"{count:,} tasks {what}.")

    def _ask(self, request: HttpRequest, queryset: QuerySet[Task], verb: str, count: int) -> HttpResponse:
        across = request.POST.get("select_across", "0")
        context = {
            **self.admin_site.each_context(request),
            "title": f"{verb.capitalize()}: {count:,} tasks",
            "opts": self.opts,
            "verb": verb,
            "count": count,
            "select_across": across,
            "selected": request.POST.getlist("_selected_action"),
            "reasons": Review.ReasonCode.choices if verb == "reject" else (),
        }
        return TemplateResponse(request, "admin/tasks/task/decide.html", context)


for model in apps.get_app_config("tasks").get_models():
    if not admin.site.is_registered(model):
        admin.site.register(model, ReadOnly)
if admin.site.is_registered(Group):  # roles are memberships of teams
    admin.site.unregister(Group)
