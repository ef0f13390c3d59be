"""Sections of the data side's pages that only the model side can fill: which versions saw a dataset, or a task."""

from collections.abc import Mapping
from typing import Any

from django import template

from tasks.models import Dataset, Task
from trainer.models import Line
from trainer.services import uses

register = template.Library()
MOST = 10  # in a section; a page of its own shows the others


@register.inclusion_tag("_used_in.html", takes_context=True)
def used_in(context: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    used = uses.of_dataset(dataset, Line.objects.for_user(context["request"].user))
    return {"used": used, "uses": used.uses[:MOST], "dataset": dataset}


@register.inclusion_tag("_task_seen_by.html", takes_context=True)
def seen_by(context: Mapping[str, Any], task: Task) -> dict[str, Any]:
    used = uses.of_task(task, Line.objects.for_user(context["request"].user))
    return {"used": used, "uses": used.uses, "task": task}
