"""What a dataset's rows did for models, on the page of the data side that shows the dataset."""

from collections.abc import Mapping
from typing import Any

from django import template

from flywheel.pages.credit import entries_of, newest_sentence
from tasks.models import Dataset

register = template.Library()
SHOWN = 5  # versions; the page of its own has all


@register.inclusion_tag("_what_it_did.html", takes_context=True)
def what_it_did(context: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    entries = list(entries_of(dataset, context["request"].user)[:SHOWN])
    return {"dataset": dataset, "entries": entries, "finding": newest_sentence(entries)}
