import pytest
from django.test import Client

from tests import cast

pytestmark = pytest.mark.django_db


def test_a_page_leads_to_the_others_and_marks_itself(client: Client):
    client.force_login(cast.of_own_team("carla").user, backend="django.contrib.auth.backends.ModelBackend")

    page = client.get("/docs/openai-graders").content.decode()

    assert '<a href="/docs/openai-graders" aria-current="page">' in page
    assert '<a href="/docs/openai-evals">' in page


def test_whoever_is_not_signed_in_is_asked_to(client: Client):
    assert client.get("/docs/openai").status_code == 302
