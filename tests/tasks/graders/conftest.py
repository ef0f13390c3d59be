"""Graders need no database: the platform's served models are not looked up here."""

import pytest

from tasks.graders import judges


@pytest.fixture(autouse=True)
def no_served_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges, "_resolvers", [])
