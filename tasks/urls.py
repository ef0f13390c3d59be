"""Addresses of the data side's pages."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from tasks.views import account, datasets, docs, graders, mapping, resumable, reviews, uploads

urlpatterns = [
    path("login", LoginView.as_view(template_name="login.html", redirect_authenticated_user=True), name="login"),
    path("logout", LogoutView.as_view(), name="logout"),
    path("me", account.me, name="me"),
    path("me/keys", account.create_key, name="key-create"),
    path("me/keys/<int:pk>/revoke", account.revoke_key, name="key-revoke"),
    path("me/teams", account.create_team, name="team-create"),
    path("me/teams/<slug:slug>/members", account.add_member, name="member-add"),
    path("submit", uploads.submit, name="submit"),
    path("submit/announced", resumable.announce, name="submit-announced"),
    path("submit/<int:pk>", uploads.upload_page, name="upload"),
    path("submit/<int:pk>/mapping", mapping.mapping_page, name="upload-mapping"),
    path("submit/<int:pk>/corrected", uploads.correct, name="upload-correct"),
    path("submit/<int:pk>/findings", uploads.findings, name="upload-findings"),
    path("submit/<int:pk>/progress", uploads.upload_progress, name="upload-progress"),
    path("submit/<int:pk>/retry", uploads.retry, name="upload-retry"),
    path("submit/<int:pk>/grader", graders.grader_page, name="upload-grader"),
    path("submit/<int:pk>/grader/progress", graders.grader_progress, name="upload-grader-progress"),
    path("submit/<int:pk>/grader/use", graders.use_grader, name="upload-grader-use"),
    path("submit/<int:pk>/grader/again", graders.prove_again, name="upload-grader-again"),
    path("submit/<int:pk>/grader/cost", graders.confirm_cost, name="upload-grader-cost"),
    path("datasets", datasets.dataset_list, name="datasets"),
    path("datasets/<slug:team>/<slug:slug>", datasets.dataset_page, name="dataset"),
    path("datasets/<slug:team>/<slug:slug>/grader", datasets.set_grader, name="dataset-grader"),
    path("datasets/<slug:team>/<slug:slug>/freeze", datasets.freeze, name="dataset-freeze"),
    path("datasets/<slug:team>/<slug:slug>/withdraw", datasets.withdraw, name="dataset-withdraw"),
    path("tasks/<int:pk>", datasets.task_page, name="task"),
    path("tasks/<int:pk>/withdraw", datasets.withdraw_task, name="task-withdraw"),
    path("review", reviews.queue, name="review"),
    path("review/log", reviews.log, name="review-log"),
    path("review/bulk", reviews.bulk, name="review-bulk"),
    path("review/undo/<int:pk>", reviews.undo, name="review-undo"),
    path("review/undo/<uuid:batch>", reviews.undo_batch, name="review-undo-batch"),
    path("review/<int:pk>", reviews.review_page, name="review-task"),
    path("review/<int:pk>/approve", reviews.approve, name="review-approve"),
    path("review/<int:pk>/reject", reviews.reject, name="review-reject"),
    path("docs/formats", docs.formats, name="docs-formats"),
    path("docs/graders", docs.graders, name="docs-graders"),
    path("docs/errors", docs.errors, name="docs-errors"),
]
