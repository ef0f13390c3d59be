"""Addresses of the pages that need both sides."""

from django.urls import path

from flywheel.pages import credit, home, leaderboard, openai, playground, used_in, wanted, withdrawing

urlpatterns = [
    path("", home.home, name="home"),
    path("wheel", home.ring, name="wheel"),
    path("leaderboard", leaderboard.leaderboard_page, name="leaderboard"),
    path("leaderboard/name", leaderboard.set_name, name="leaderboard-name"),
    path("datasets/<slug:team>/<slug:slug>/credit", credit.dataset_credit, name="dataset-credit"),
    path("wanted", wanted.wanted_page, name="wanted"),
    path("playground", playground.playground, name="playground"),
    path("playground/ask", playground.ask, name="playground-ask"),
    path("playground/wrong", playground.wrong, name="playground-wrong"),
    path("datasets/<slug:team>/<slug:slug>/used-in", used_in.dataset_used_in, name="dataset-used-in"),
    path("datasets/<slug:team>/<slug:slug>/withdraw", withdrawing.withdraw_dataset, name="dataset-withdraw"),
    *(path(f"docs/{name}", openai.explained, {"name": name}, name=f"docs-{name}") for name in openai.PAGES),
    path("tasks/<int:pk>/withdraw", withdrawing.withdraw_task, name="task-withdraw"),
]
