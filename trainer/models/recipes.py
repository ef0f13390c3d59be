"""Recipes, and the mixtures that they make of dataset versions."""

from typing import Any

from django.db import models

from tasks.models.accounts import Team, User
from tasks.models.datasets import DatasetVersion
from trainer.models.lines import Line


class RecipeQuerySet(models.QuerySet["Recipe"]):
    def for_user(self, user: Any, team: Team | None = None) -> "RecipeQuerySet":
        return self.filter(line__in=Line.objects.for_user(user, team))


class Recipe(models.Model):
    """How a mixture is composed: trainer.mixing.Recipe as JSON, and which datasets it draws from."""

    line = models.ForeignKey(Line, on_delete=models.PROTECT, related_name="recipes")
    name = models.SlugField(max_length=60)
    body = models.JSONField()  # trainer.mixing.Recipe
    preset = models.CharField(max_length=20, default="flywheel")  # of the runs that it starts
    overrides = models.JSONField(default=dict)  # of RunSpec
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = RecipeQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["line", "name"], name="one_recipe_per_name")]

    def __str__(self) -> str:
        return f"{self.line.slug}/{self.name}"


class MixtureQuerySet(models.QuerySet["Mixture"]):
    def for_user(self, user: Any, team: Team | None = None) -> "MixtureQuerySet":
        return self.filter(recipe__in=Recipe.objects.for_user(user, team))


class Mixture(models.Model):
    """Recipe + dataset versions + seed → frozen ordered list. The same inputs and seed give the same digest."""

    recipe = models.ForeignKey(Recipe, on_delete=models.PROTECT, related_name="mixtures")
    body = models.JSONField()  # the recipe as it was
    seed = models.BigIntegerField()
    digest = models.CharField(max_length=64)
    dataset_versions = models.ManyToManyField(DatasetVersion, related_name="mixtures")
    size = models.PositiveIntegerField()
    by_domain = models.JSONField(default=dict)
    by_contributor = models.JSONField(default=dict)
    by_grader = models.JSONField(default=dict)  # type of grader → tasks
    # Where the recipe has a band: {"model", "solved", "too_hard", "unknown"}: tasks left out by it, and without a rate
    by_difficulty = models.JSONField(null=True)
    notes = models.JSONField(default=list)  # sentences: what bound
    created_at = models.DateTimeField(auto_now_add=True)

    objects = MixtureQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["recipe", "digest"], name="one_mixture_per_content")]

    def __str__(self) -> str:
        return f"mixture {self.digest[:10]} ({self.size} tasks)"


class MixtureEntry(models.Model):
    mixture = models.ForeignKey(Mixture, on_delete=models.CASCADE, related_name="entries")
    position = models.PositiveIntegerField()
    task = models.ForeignKey("tasks.Task", on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["mixture", "position"], name="one_task_per_position")]

    def __str__(self) -> str:
        return f"{self.mixture_id}[{self.position}]"


class MixtureSource(models.Model):
    """How many tasks of a mixture are in one of its dataset versions. A task of two datasets counts for both.

    Both are frozen, so it is counted once: pages that ask which models saw a dataset read no entry.
    """

    mixture = models.ForeignKey(Mixture, on_delete=models.CASCADE, related_name="sources", db_index=False)
    dataset_version = models.ForeignKey(DatasetVersion, on_delete=models.PROTECT, related_name="mixed")
    rows = models.PositiveIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["mixture", "dataset_version"], name="one_row_per_source")]

    def __str__(self) -> str:
        return f"{self.mixture_id}: {self.rows} of {self.dataset_version_id}"
