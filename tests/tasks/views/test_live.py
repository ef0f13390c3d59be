"""Polling costs nothing while nothing changes."""

import json

from django.test import RequestFactory

from tasks.views import live

BODY = {"steps": [1, 2], "finished": False}


def test_the_same_numbers_again_are_304_without_a_body():
    first = live.numbers(RequestFactory().get("/"), BODY)

    again = live.numbers(RequestFactory().get("/", headers={"If-None-Match": first["ETag"]}), BODY)

    assert (again.status_code, again.content) == (304, b"")


def test_other_numbers_come_whole():
    first = live.numbers(RequestFactory().get("/"), BODY)

    again = live.numbers(RequestFactory().get("/", headers={"If-None-Match": first["ETag"]}), {"steps": [1, 2, 3]})

    assert (again.status_code, json.loads(again.content)) == (200, {"steps": [1, 2, 3]})


def test_a_finished_part_says_so_even_if_it_is_known():
    first = live.fragment(RequestFactory().get("/"), "_messages.html", {})

    request = RequestFactory().get("/", headers={"If-None-Match": first["ETag"]})
    last = live.fragment(request, "_messages.html", {}, finished=True)

    assert (last.status_code, last["X-Finished"]) == (200, "1")
