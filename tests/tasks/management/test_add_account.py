from io import StringIO

import pytest
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command
from django.test import RequestFactory

from tasks.models import Event

pytestmark = pytest.mark.django_db


def _made(name):
    said = StringIO()
    call_command("add_account", name, stdout=said)
    return dict(line.split(" ", 1) for line in said.getvalue().splitlines())


def test_the_login_that_is_printed_lets_its_owner_in():
    login = _made("bea")

    user = authenticate(RequestFactory().post("/login"), username=login["username"], password=login["password"])

    assert user is not None


def test_the_account_leaves_its_event():
    _made("bea")

    assert Event.objects.filter(kind="user.created", data__username="bea").exists()


def test_two_accounts_do_not_share_a_name():
    _made("bea")

    with pytest.raises(CommandError, match="choose another name"):
        _made("bea")
