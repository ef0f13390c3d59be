"""Forms of the data side: they read what people typed; what may be is decided by the services."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from tasks.errors import FlywheelError, Invalid
from tasks.graders import registry
from tasks.models import Dataset, Membership, Review, Team, User
from tasks.screening import policy as policies
from tasks.services.licences import LICENCES
from tasks.states import Role, Scope, UploadMode, Visibility

MAX_PASTED_CHARACTERS = 2_000_000


class JsonObject(forms.CharField):
    """A JSON object as text; None where nothing was typed."""

    def __init__(self, **options: Any) -> None:
        widget = forms.Textarea(attrs={"class": "code", "rows": 7, "spellcheck": "false"})
        super().__init__(**{"required": False, "widget": widget, **options})

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if not text:
            return None
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as fault:
            raise ValidationError(f"This is not JSON: {fault}.") from None
        if not isinstance(found, dict):
            raise ValidationError('Write a JSON object: {"name": value}.')
        return found

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(data)


def pretty(value: Any) -> str:
    """A value as people edit it."""
    return json.dumps(value, indent=2, ensure_ascii=False)


class GraderField(JsonObject):
    """A grader's configuration, checked by the registry."""

    def to_python(self, value: Any) -> Any:
        config = super().to_python(value)
        if config is not None:
            try:
                registry.parse(config)
            except Invalid as refused:
                raise ValidationError(refused.sentence) from None
        return config


def grader_examples() -> list[tuple[str, str, str]]:
    """(type, summary, an example configuration as JSON) for the picker of graders."""
    return [(described["type"], described["summary"], pretty(described["grader"])) for described in registry.describe()]


class UploadForm(forms.Form):
    file = forms.FileField(required=False, allow_empty_file=True)
    pasted = forms.CharField(
        required=False,
        max_length=MAX_PASTED_CHARACTERS,
        strip=False,
        widget=forms.Textarea(attrs={"class": "code", "rows": 4, "spellcheck": "false"}),
    )
    dataset = forms.ModelChoiceField(Dataset.objects.none(), required=False, empty_label="A new dataset")
    name = forms.CharField(required=False, max_length=120)
    team = forms.ModelChoiceField(Team.objects.none(), required=False, empty_label=None)
    domain = forms.CharField(required=False, max_length=60)
    visibility = forms.ChoiceField(choices=[(v.value, v.value) for v in Visibility], initial=Visibility.PRIVATE)
    licence = forms.ChoiceField(required=False, choices=[("", "Choose one"), *((one, one) for one in LICENCES)])
    consent = forms.BooleanField(required=False)
    grader = GraderField()
    mode = forms.ChoiceField(required=False, choices=[(m.value, m.value) for m in UploadMode])
    hub = forms.CharField(required=False, max_length=200)  # id of a Hugging Face dataset
    hub_path = forms.CharField(required=False, max_length=500)
    hub_revision = forms.CharField(required=False, max_length=100)

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        teams = teams_with(user, Role.CONTRIBUTOR)
        team: Any = self.fields["team"]
        dataset: Any = self.fields["dataset"]
        team.queryset = teams
        dataset.queryset = Dataset.objects.filter(team__in=teams, held_out=False).select_related("team")

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        self._clean_source(given)
        given["mode"] = given.get("mode") or UploadMode.APPEND
        if given["mode"] == UploadMode.REPLACE and not given.get("dataset"):
            self.add_error("mode", "A new dataset holds nothing to replace: choose one that is there, or append.")
        if not given.get("dataset") and "dataset" not in self.errors:
            self._clean_new(given)
        return given

    def _clean_source(self, given: dict[str, Any]) -> None:
        source = given.get("file") or (given.get("pasted") or "").strip() or given.get("hub")
        if not source and "file" not in self.errors:
            self.add_error("file", "Choose a file, paste rows, or name a dataset of a hub.")

    def _clean_new(self, given: dict[str, Any]) -> None:
        if not given.get("name"):
            self.add_error("name", "Give the new dataset a name, or choose one that is there.")
        if not given.get("team"):
            self.add_error("team", "You are in no team that you may contribute to: make one under API keys and teams.")
        if given.get("visibility") == Visibility.CONTRIBUTED:
            if not given.get("licence"):
                self.add_error("licence", "Contributed data needs a licence.")
            if not given.get("consent"):
                self.add_error("consent", "Contributing needs your consent.")


class AnnouncedForm(UploadForm):
    """The same for a file whose bytes come afterwards, in pieces."""

    filename = forms.CharField(max_length=1000)
    length = forms.IntegerField(min_value=0)

    def _clean_source(self, given: dict[str, Any]) -> None:
        """There is nothing to look at yet."""


# What a column can be. "item." and "metadata." take a name.
TARGETS = (
    ("prompt", "prompt"),
    ("reference", "reference"),
    ("gold", "gold"),
    ("messages", "messages"),
    ("system", "system"),
    ("choices", "choices"),
    ("domain", "domain"),
    ("grader", "grader"),
    ("item.", "item, as …"),
    ("item", "item (object)"),
    ("metadata.", "metadata, as …"),
    ("metadata", "metadata"),
    ("ignore", "ignore"),
)
_NAMED = ("item.", "metadata.")
_AS_IT_STANDS = ("native", "openai_rft")
_NATIVE_NAMES = frozenset({"prompt", "messages", "reference", "gold", "domain", "grader", "item", "metadata"})


class MappingForm(forms.Form):
    """A mapping as people edit it: a target for every column of the file, and what holds for all rows."""

    dialect = forms.ChoiceField()
    reference_after = forms.CharField(required=False, max_length=100, strip=True)
    choices_in_prompt = forms.BooleanField(required=False)
    grader = GraderField()
    remember = forms.BooleanField(required=False)

    def __init__(
        self, columns: Sequence[Mapping[str, Any]], guess: Mapping[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.columns = columns
        known = dict.fromkeys((guess.get("dialect", "columns"), "columns", "native"))
        self.fields["dialect"] = forms.ChoiceField(choices=[(name, name) for name in known])
        for place, column in enumerate(columns):
            self.fields[f"target-{place}"] = forms.ChoiceField(required=False, choices=_targets_of(column, columns))
            self.fields[f"name-{place}"] = forms.CharField(required=False, max_length=100)

    @staticmethod
    def initial_of(columns: Sequence[Mapping[str, Any]], mapping: Mapping[str, Any]) -> dict[str, Any]:
        """The form's values for a mapping."""
        given: Mapping[str, str] = mapping.get("columns", {})
        values: dict[str, Any] = {name: mapping.get(name) for name in ("reference_after", "choices_in_prompt")}
        values["dialect"] = mapping.get("dialect", "columns")
        values["grader"] = pretty(mapping["grader"]) if mapping.get("grader") else ""
        for place, column in enumerate(columns):
            name = column["name"]
            target = given.get(name) or _usual_target(name, columns, values["dialect"])
            kind, dot, rest = target.partition(".")
            values[f"target-{place}"] = kind + dot
            values[f"name-{place}"] = rest or name.rpartition(".")[2]
        return values

    def rows(self) -> list[tuple[Mapping[str, Any], Any, Any]]:
        """(column, its target, its name) to be laid out."""
        return [(column, self[f"target-{place}"], self[f"name-{place}"]) for place, column in enumerate(self.columns)]

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if self.errors:
            return given
        mapping: dict[str, Any] = {"dialect": given["dialect"]}
        if given["dialect"] not in _AS_IT_STANDS:
            mapping["columns"] = self._columns(given)
            mapping["reference_after"] = given["reference_after"]
            mapping["choices_in_prompt"] = given["choices_in_prompt"]
        mapping["grader"] = given["grader"]
        given["mapping"] = {name: value for name, value in mapping.items() if value}
        return given

    def _columns(self, given: Mapping[str, Any]) -> dict[str, str]:
        columns: dict[str, str] = {}
        for place, column in enumerate(self.columns):
            target = given[f"target-{place}"]
            if target in _NAMED:
                target += given[f"name-{place}"].strip() or column["name"].rpartition(".")[2]
            if target:
                columns[column["name"]] = target
        return columns


def _targets_of(column: Mapping[str, Any], columns: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    if "." in column["name"]:
        return [*TARGETS, ("", "as its object")]
    return [*TARGETS, ("", "by its parts")] if _has_parts(column["name"], columns) else [*TARGETS]


def _has_parts(name: str, columns: Sequence[Mapping[str, Any]]) -> bool:
    return any(column["name"].startswith(f"{name}.") for column in columns)


def _usual_target(name: str, columns: Sequence[Mapping[str, Any]], dialect: str) -> str:
    """What becomes of a column that a mapping does not list."""
    if "." in name or (_has_parts(name, columns) and dialect not in _AS_IT_STANDS):
        return ""
    if dialect in _AS_IT_STANDS:
        return name if name in _NATIVE_NAMES else "item."
    return "metadata"


def teams_with(user: User, *roles: Role) -> Any:
    """Teams in which the user has one of the roles, or administers."""
    wanted = [*roles, Role.ADMINISTRATOR]
    return Team.objects.filter(pk__in=Membership.objects.filter(user=user, role__in=wanted).values("team"))


class DefaultGraderForm(forms.Form):
    grader = GraderField(required=True)


class TryGraderForm(forms.Form):
    grader = GraderField(required=True)
    item = JsonObject(required=True)
    completion = forms.CharField(required=False, strip=False, widget=forms.Textarea(attrs={"rows": 3}))


class BenchForm(forms.Form):
    """A grader in work, a row and a text. The source of a python grader is edited beside the rest, as text."""

    grader = JsonObject()
    source = forms.CharField(
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"class": "code", "rows": 12, "spellcheck": "false"}),
    )
    at = forms.CharField(required=False, max_length=20)
    completion = forms.CharField(required=False, strip=False, widget=forms.Textarea(attrs={"rows": 5}))
    use = forms.ChoiceField(required=False, choices=[("own", "own"), ("edited", "edited")])

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        config = given.get("grader")
        if config is not None:
            given["grader"] = config = with_source(config, given.get("source", ""))
            try:
                registry.parse(config)
            except Invalid as refused:
                self.refuse(refused)
        return given

    def refuse(self, refused: FlywheelError) -> None:
        """What a verb said against the grader, beside the field it is about."""
        in_source = bool((self.data.get("source") or "").strip()) and refused.param in ("grader.source", "grader")
        self.add_error("source" if in_source and "source" in self.cleaned_data else "grader", refused.sentence)


def with_source(config: dict[str, Any], source: str) -> dict[str, Any]:
    """The configuration with the source that was typed beside it, where it is a python grader's."""
    return {**config, "source": source.replace("\r\n", "\n")} if _has_source(config) and source.strip() else config


def apart(config: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """(the configuration without its source, the source): as the bench edits them."""
    fields = dict(config)
    return fields, str(fields.pop("source", "")) if _has_source(config) else ""


def _has_source(config: Mapping[str, Any]) -> bool:
    return config.get("type") == "python"


class CostForm(forms.Form):
    rows = forms.IntegerField(min_value=0)


class RejectForm(forms.Form):
    reason_code = forms.ChoiceField(choices=Review.ReasonCode.choices)
    note = forms.CharField(required=False, max_length=500)


class BulkForm(forms.Form):
    decision = forms.ChoiceField(choices=Review.Decision.choices)
    reason_code = forms.ChoiceField(required=False, choices=[("", "–"), *Review.ReasonCode.choices])
    note = forms.CharField(required=False, max_length=500)

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if given.get("decision") == Review.Decision.REJECTED and not given.get("reason_code"):
            self.add_error("reason_code", "Choose why these are rejected: their contributors read it.")
        return given


class KeyForm(forms.Form):
    team = forms.ModelChoiceField(Team.objects.none(), empty_label=None)
    name = forms.CharField(max_length=80)
    scopes = forms.MultipleChoiceField(
        choices=[(s.value, s.value) for s in Scope], widget=forms.CheckboxSelectMultiple, initial=[Scope.READ]
    )
    days = forms.IntegerField(required=False, min_value=1, max_value=3650)

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        team: Any = self.fields["team"]
        team.queryset = Team.objects.filter(pk__in=user.team_ids())


class TeamForm(forms.Form):
    name = forms.CharField(max_length=120)


class ScreeningForm(forms.Form):
    """A screening policy as people edit it: lists are separated by commas or blanks, what is empty is as by default."""

    secrets = forms.ChoiceField(choices=[(action.value, action.value) for action in policies.Action])
    personal = forms.ChoiceField(choices=[(action.value, action.value) for action in policies.Action])
    languages = forms.CharField(required=False, max_length=200)
    licences = forms.CharField(required=False, max_length=500)
    min_characters = forms.IntegerField(required=False)
    max_characters = forms.IntegerField(required=False)

    @staticmethod
    def initial_of(policy: Mapping[str, Any]) -> dict[str, Any]:
        lists = {name: ", ".join(policy[name]) for name in ("languages", "licences")}
        return {**policy, **lists}

    def policy(self) -> dict[str, Any]:
        given = self.cleaned_data
        lists = {name: given[name].replace(",", " ").split() for name in ("languages", "licences")}
        return {name: value for name, value in {**given, **lists}.items() if value is not None}


class MemberForm(forms.Form):
    username = forms.CharField(max_length=150)
    role = forms.ChoiceField(choices=[(r.value, r.value) for r in Role])
