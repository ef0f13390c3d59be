"""manage.py credit: reports of earlier days are measured once, and again when asked."""

from collections.abc import Callable
from io import StringIO

import pytest
from django.core.management import call_command

from tasks.models import Dataset, User
from tests.trainer.services.settling import settle
from trainer.models import CreditEntry, GateReport, Line
from trainer.services import recipes, runs


def said(*options: str) -> str:
    out = StringIO()
    call_command("credit", *options, stdout=out)
    return out.getvalue().strip()


@pytest.fixture
def report(line: Line, fill: Callable[..., Dataset], operator: User, knobs: Callable[..., None]) -> GateReport:
    """As an installation has it that judged it before credit was measured."""
    knobs(champion=0.3, candidate=0.7)
    fill(sealed=60)
    recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 4})
    runs.start(line, actor=operator, recipe=recipe)
    settle(lambda: GateReport.objects.filter(line=line).exists())
    CreditEntry.objects.all().delete()
    return GateReport.objects.get(line=line)


def test_what_has_no_credit_is_measured_once(report: GateReport):
    assert [said(), said()] == ["1 report measured.", "0 reports measured."]
    assert CreditEntry.objects.filter(report=report).count() == 2


def test_everything_is_measured_again_when_asked(report: GateReport):
    said()

    assert said("--again") == "1 report measured."
    assert CreditEntry.objects.filter(report=report).count() == 2


def test_answers_that_have_gone_are_told(report: GateReport):
    type(report.evaluation).objects.update(directory="")

    assert said() == "0 reports measured; the answers of 1 are no longer there."
