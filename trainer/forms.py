"""Forms of the model side: they read what people typed; what may be is decided by the services."""

from collections.abc import Iterable, Mapping
from typing import Any

from django import forms

from tasks.errors import FlywheelError
from tasks.forms import GraderField, JsonObject
from tasks.models import Team
from trainer.catalogue import entries
from trainer.fire_times import DAYS
from trainer.models import BaseBuild, Line, ModelVersion, Recipe
from trainer.news import CHOICES
from trainer.presets import AUTO, PRESETS
from trainer.runspec import Knob, knobs

OFFERED = 100  # versions to start from in a select
FEW_SHOT = "few-shot"  # what an expert's owner gets without asking for anything else


class KnobsForm(forms.Form):
    """A field for every knob of a run. Empty means auto: the preset decides. What a knob takes the service says."""

    def __init__(self, *args: Any, only: Iterable[str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        chosen = None if only is None else set(only)
        for knob in knobs():
            if knob.name != "preset" and (chosen is None or knob.name in chosen):
                self.fields[knob.name] = _field(knob)

    def overrides(self) -> dict[str, Any]:
        """Of the knobs that were filled in."""
        given = self.cleaned_data
        known = {knob.name for knob in knobs()} - {"preset"}
        return {name: value for name, value in given.items() if name in known and value not in (None, "")}


def _field(knob: Knob) -> forms.Field:
    if knob.kind == "bool":
        answers = [("", "auto"), ("yes", "yes"), ("no", "no")]
        return forms.TypedChoiceField(
            required=False, choices=answers, coerce=lambda word: word == "yes", empty_value=""
        )
    words = _words(knob)
    if words:
        return forms.ChoiceField(required=False, choices=[("", "as by default"), *((word, word) for word in words)])
    kind = forms.IntegerField if knob.kind == "int" else forms.FloatField
    return kind(required=False, widget=forms.NumberInput(attrs={"placeholder": "auto", "step": "any"}))


def _words(knob: Knob) -> list[str]:
    """What a knob of words may say: its unit lists them."""
    return knob.unit.replace(" or ", ", ").split(", ") if knob.kind == "str" else []


class TrainForm(KnobsForm):
    """Where an expert starts, its preset, and every knob for those who want to set it."""

    preset = forms.ChoiceField(required=False, choices=[(name, name) for name in PRESETS], initial=FEW_SHOT)
    start_from = forms.ModelChoiceField(ModelVersion.objects.none(), required=False, empty_label="as usual")

    def __init__(self, origins: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        offer(self, origins)

    def clean_preset(self) -> str:
        return self.cleaned_data["preset"] or FEW_SHOT


def offer(form: forms.Form, origins: Any) -> None:
    """The newest versions to start from, by name."""
    field: Any = form.fields["start_from"]
    newest = list(origins.values_list("pk", flat=True)[:OFFERED])
    field.queryset = origins.filter(pk__in=newest)
    field.label_from_instance = lambda version: version.name


class StartForm(KnobsForm):
    """A run of a recipe: knobs that differ from the recipe's, and where it starts."""

    seed = forms.IntegerField(required=False, min_value=0)  # of the mixture, and of the run
    start_from = forms.ModelChoiceField(ModelVersion.objects.none(), required=False, empty_label="the champion")

    def __init__(self, origins: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        offer(self, origins)

    def overrides(self) -> dict[str, Any]:
        return {name: value for name, value in super().overrides().items() if name != "seed"}


class CloneForm(KnobsForm):
    """The knobs that somebody set for the run, its seed, and one more that may be named."""

    another = forms.ChoiceField(required=False)
    value = forms.CharField(required=False, max_length=40)

    def __init__(self, *args: Any, only: Iterable[str], **kwargs: Any) -> None:
        named = {"seed", *only}
        super().__init__(*args, only=named, **kwargs)
        others = [knob.name for knob in knobs() if knob.name not in named and knob.name != "preset"]
        self.order_fields([*(name for name in self.fields if name not in ("another", "value")), "another", "value"])
        field: Any = self.fields["another"]
        field.choices = [("", "none"), *((name, name.replace("_", " ")) for name in others)]

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if name := given.get("another"):
            one = KnobsForm({name: given.get("value", "")}, only=[name])
            if not one.is_valid():
                raise forms.ValidationError(f"{name}: {' '.join(str(error) for error in one.errors[name])}")
            given[name] = one.cleaned_data[name] if given.get("value") else AUTO
        return given


class BudgetsForm(forms.Form):
    """For a paused run that goes on. Empty: as it was; 0: no limit."""

    max_steps = forms.IntegerField(required=False, min_value=0)
    max_minutes = forms.FloatField(required=False, min_value=0)
    max_tokens = forms.IntegerField(required=False, min_value=0)

    def budgets(self) -> dict[str, Any]:
        return {name: value for name, value in self.cleaned_data.items() if value is not None}


class UsageBudgetForm(forms.Form):
    team = forms.SlugField()
    minutes_per_month = forms.FloatField(required=False, min_value=0)


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


class BringForm(forms.Form):
    file = forms.FileField()


class SuiteForm(BringForm):
    """A suite that comes as a file. Of a published set the catalogue knows the rest."""

    name = forms.CharField(max_length=64)
    catalogue = forms.ChoiceField(required=False)
    source = forms.CharField(required=False, max_length=200)
    revision = forms.CharField(max_length=64)
    licence = forms.CharField(required=False, max_length=60)
    grader = GraderField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["catalogue"]
        field.choices = [("", "none: described here"), *((entry.name, entry.title) for entry in entries().values())]


class LineForm(forms.Form):
    name = forms.CharField(max_length=120)
    slug = forms.SlugField(max_length=60)
    source = forms.ChoiceField(choices=BaseBuild.Source.choices, initial=BaseBuild.Source.DIRECTORY)
    location = forms.CharField(required=False, max_length=500)
    revision = forms.CharField(required=False, max_length=64)
    demonstrations = forms.CharField(required=False, max_length=200)


# Name → (what a person would say, the fields of a schedule that make it so)
SCHEDULE_PRESETS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "nightly": ("Every night at 3", {"cron": "0 3 * * *"}),
    "weekdays": ("Weekdays at 3", {"cron": "0 3 * * 1-5"}),
    "weekly": ("Sundays at 3", {"cron": "0 3 * * 0"}),
    "hourly": ("Every hour", {"cron": "0 * * * *"}),
    "soon": ("As soon as there is enough", {"cron": "*/15 * * * *", "min_new_tasks": 500, "min_hours": 6}),
}


class ScheduleForm(forms.Form):
    """When a line's turns begin. What a cron time, a zone and quiet hours may be the service says."""

    recipe = forms.ModelChoiceField(Recipe.objects.none(), empty_label=None)
    cron = forms.CharField(max_length=100, initial="0 3 * * *", widget=forms.TextInput(attrs={"class": "mono"}))
    timezone = forms.CharField(max_length=60, initial="UTC")
    min_new_tasks = forms.IntegerField(min_value=0, max_value=2_000_000_000, initial=100)
    min_hours = forms.FloatField(min_value=0, initial=0, widget=forms.NumberInput(attrs={"step": "any"}))
    quiet_from = forms.TimeField(required=False, widget=forms.TimeInput(format="%H:%M", attrs={"type": "time"}))
    quiet_to = forms.TimeField(required=False, widget=forms.TimeInput(format="%H:%M", attrs={"type": "time"}))
    quiet_days = forms.TypedMultipleChoiceField(required=False, coerce=int, choices=list(enumerate(DAYS, start=1)))

    def __init__(self, recipes: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offer(recipes)

    def offer(self, recipes: Any) -> None:
        recipe: Any = self.fields["recipe"]
        recipe.queryset = recipes

    def refuse(self, refused: FlywheelError) -> None:
        """Show a refusal beside the field that it is about."""
        self.add_error(refused.param if refused.param in self.fields else None, refused.sentence)

    def days(self) -> list[tuple[int, str, bool]]:
        """Of the quiet hours: number, name, ticked."""
        ticked = {str(day) for day in self["quiet_days"].value() or []}
        return [(number, name, str(number) in ticked) for number, name in enumerate(DAYS, start=1)]


class WebhookChangeForm(forms.Form):
    """What of a webhook can be changed."""

    name = forms.CharField(max_length=80)
    types = forms.MultipleChoiceField(choices=CHOICES.items(), initial=list(CHOICES), required=False)
    line = forms.ModelChoiceField(Line.objects.none(), required=False, empty_label="every line")

    def __init__(self, lines: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        line: Any = self.fields["line"]
        line.queryset = lines


class WebhookForm(WebhookChangeForm):
    team = forms.ModelChoiceField(Team.objects.none(), empty_label=None)
    url = forms.CharField(required=False, max_length=500)
    email = forms.CharField(required=False, max_length=254)

    def __init__(self, teams: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        team: Any = self.fields["team"]
        team.queryset = teams
