"""Addresses of the pages that need both sides."""

from django.urls import path

from flywheel.pages import home, playground

urlpatterns = [
    path("", home.home, name="home"),
    path("wheel", home.ring, name="wheel"),
    path("playground", playground.playground, name="playground"),
    path("playground/ask", playground.ask, name="playground-ask"),
]
