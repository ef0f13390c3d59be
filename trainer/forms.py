"""Forms of the model side: they read what people typed; what may be is decided by the services."""

from typing import Any

from django import forms

from tasks.forms import JsonObject
from trainer.models import BaseBuild, Recipe
from trainer.presets import PRESETS

FEW_SHOT = "few-shot"  # what an expert's owner gets without asking for anything else


class TrainForm(forms.Form):
    """The few knobs that an expert's owner meets; the preset decides the others."""

    preset = forms.ChoiceField(required=False, choices=[(name, name) for name in PRESETS], initial=FEW_SHOT)
    steps = forms.IntegerField(required=False, min_value=0, max_value=100_000)
    learning_rate = forms.FloatField(required=False, min_value=0, max_value=1)
    seed = forms.IntegerField(required=False, min_value=0)

    def clean_preset(self) -> str:
        return self.cleaned_data["preset"] or FEW_SHOT

    def overrides(self) -> dict[str, Any]:
        given = self.cleaned_data
        return {name: given[name] for name in ("steps", "learning_rate", "seed") if given[name] is not None}


class RecipeForm(forms.Form):
    body = JsonObject(required=True)
    preset = forms.ChoiceField(choices=[(name, name) for name in PRESETS], initial="flywheel")
    overrides = JsonObject()


class NewRecipeForm(RecipeForm):
    name = forms.SlugField(max_length=60)


class SeedForm(forms.Form):
    seed = forms.IntegerField(required=False, min_value=0)


class ReasonForm(forms.Form):
    reason = forms.CharField(max_length=500)


class PolicyForm(forms.Form):
    policy = JsonObject(required=True)


class LineForm(forms.Form):
    name = forms.CharField(max_length=120)
    slug = forms.SlugField(max_length=60)
    source = forms.ChoiceField(choices=BaseBuild.Source.choices, initial=BaseBuild.Source.DIRECTORY)
    location = forms.CharField(required=False, max_length=500)
    revision = forms.CharField(required=False, max_length=64)
    demonstrations = forms.CharField(required=False, max_length=200)


class ScheduleForm(forms.Form):
    recipe = forms.ModelChoiceField(Recipe.objects.none(), empty_label=None)
    cron = forms.CharField(max_length=100, initial="0 3 * * *")
    timezone = forms.CharField(max_length=60, initial="UTC")
    min_new_tasks = forms.IntegerField(min_value=0, initial=100)
    min_hours = forms.FloatField(min_value=0, initial=0)
    enabled = forms.BooleanField(required=False, initial=True)

    def __init__(self, recipes: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        recipe: Any = self.fields["recipe"]
        recipe.queryset = recipes
