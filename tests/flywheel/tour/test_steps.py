"""Which datasets the tour makes on a live server, where python graders cannot be confined and where they can.

Django's test server reads no chunked bodies, so the files themselves stay here; tests/journeys upload them.
"""

import pytest

from flywheel.celery import app
from flywheel.samples.families import FAMILIES
from flywheel.tour.client import Client, Refused
from flywheel.tour.steps import Tour
from tasks.models import Dataset


@pytest.fixture
def tour(transactional_db, live_server, settings, tmp_path, monkeypatch):
    settings.DATA_DIR = tmp_path
    monkeypatch.setitem(app.conf, "task_always_eager", True)
    monkeypatch.setattr(Client, "upload", lambda self, path, dataset: {"id": dataset, "bytes": path.stat().st_size})
    return Tour(live_server.url, seed=1, share=0.1)


def test_without_a_sandbox_what_needs_one_is_left_out_in_a_sentence_and_the_rest_goes_on(tour, monkeypatch, capsys):
    monkeypatch.setenv("SANDBOX_LEVELS", "none")

    uploads = tour.upload(1)

    assert len(uploads) == Dataset.objects.count() == 9
    assert tour.domains == {"fractions", *(family.domain for family in FAMILIES)} - {"shuffles"}
    assert "ada-shuffles is left out: The sandbox is switched off" in capsys.readouterr().out


def test_with_a_sandbox_nothing_is_left_out(tour):
    assert len(tour.upload(1)) == 10


def test_a_domain_of_which_nothing_was_approved_gets_no_weight(tour):
    tour.domains = {"maxima"}

    assert not tour._approved("maxima")


def test_any_other_refusal_stops_the_tour(tour, monkeypatch):
    monkeypatch.setattr("flywheel.tour.steps.CONSENT_VERSION", "never given")

    with pytest.raises(Refused, match="consent"):
        tour.upload(1)
