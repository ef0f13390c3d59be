"""Withdrawal of a dataset or a task: first what it would do, then the typed name and the reason, then the receipt."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from tasks.models import Dataset, Task
from tasks.services import withdrawals
from tasks.views.scope import dataset_of, signed_in
from trainer.models import Line
from trainer.services import consequences


class WithdrawalForm(forms.Form):
    confirm = forms.CharField(max_length=100)
    reason = forms.CharField(max_length=300)

    def __init__(self, name: str, data: Mapping[str, Any] | None) -> None:
        super().__init__(data)
        self._name = name

    def clean_confirm(self) -> str:
        """Typed, so that nobody withdraws the wrong thing by a click."""
        if self.cleaned_data["confirm"] != self._name:
            raise forms.ValidationError(f"Type {self._name} to confirm: nothing is withdrawn yet.")
        return self._name


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def withdraw_dataset(request: HttpRequest, team: str, slug: str) -> HttpResponse:
    dataset = dataset_of(request, team, slug)
    back = reverse("dataset", args=[team, slug])
    return _withdraw(request, dataset, {"name": dataset.slug, "title": dataset.name, "back": back})


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def withdraw_task(request: HttpRequest, pk: int) -> HttpResponse:
    task = get_object_or_404(Task.objects.for_user(request.user).select_related("space"), pk=pk)
    title, back = f"task {task.pk}", reverse("task", args=[task.pk])
    return _withdraw(request, task, {"name": str(task.pk), "title": title, "back": back})


def _withdraw(request: HttpRequest, subject: Dataset | Task, told: dict[str, str]) -> HttpResponse:
    user = signed_in(request)
    preview = withdrawals.preview(subject, actor=user)
    form = WithdrawalForm(told["name"], request.POST or None)
    if request.method == "POST" and form.is_valid():
        reason = form.cleaned_data["reason"]
        receipt = withdrawals.withdraw(subject, actor=user, reason=reason, told=consequences.told)
        return redirect("withdrawal", receipt.pk)
    context = {
        **told,
        "form": form,
        "preview": preview,
        "would": consequences.of(preview, Line.objects.for_user(user)),
        "dataset": subject if isinstance(subject, Dataset) else None,
        "them": "it" if isinstance(subject, Task) else "them",
        "task": subject if isinstance(subject, Task) else None,
    }
    return render(request, "withdraw.html", context, status=400 if form.errors else 200)
