"""What the run page shows of a run on a file: its files, what its makings are called, its checkpoints, its offer."""

from typing import Any

from django import forms
from django.http import QueryDict

from tasks.errors import Invalid
from tasks.models import Event, Upload
from tasks.services.licences import CONSENT_TEXT, CONSENT_VERSION, LICENCES
from tasks.states import Visibility
from trainer.models import RunCheckpoint, TrainingRun
from trainer.services import checkpoints, file_runs, naming, offering
from trainer.states import RunState


class OfferForm(forms.Form):
    licence = forms.ChoiceField(choices=[("", "choose …"), *((name, name) for name in LICENCES)])
    consent = forms.BooleanField(label=CONSENT_TEXT)


def shown(run: TrainingRun) -> dict[str, Any]:
    """Context of trainer/_file_run.html; of other runs only their checkpoints."""
    kept = checkpoints.usable(run)
    rewards = checkpoints.rewards(run) if kept else {}
    told: dict[str, Any] = {
        "kept": [_checkpoint(run, one, rewards.get(one.step)) for one in kept],
        "made": naming.of_run(run) if run.state == RunState.SUCCEEDED else "",
    }
    if run.training_file is None:
        return told
    notices = Event.objects.filter(kind=file_runs.NOTICE, subject_type="trainingrun", subject_id=str(run.pk))
    private = run.training_file.dataset.visibility == Visibility.PRIVATE
    return {
        **told,
        "on_files": [("Training file", run.training_file), ("Validation file", run.validation_file)],
        "notices": [event.data["sentence"] for event in notices.order_by("pk")],
        "offered": offering.offered(run),
        "offer_form": OfferForm() if private else None,
    }


def _checkpoint(run: TrainingRun, found: RunCheckpoint, reward: float | None) -> dict[str, Any]:
    found.run = run
    return {"step": found.step, "reward": reward, "name": naming.of_checkpoint(found), "used": bool(found.digest)}


def offer(run: TrainingRun, given: QueryDict, *, actor: Any) -> Upload:
    """With the licence and the consent beside the switch."""
    form = OfferForm(given)
    if not form.is_valid():
        raise Invalid("offer_incomplete", "Choose a licence and agree to the text to offer these rows.", "licence")
    return offering.offer(run, licence=form.cleaned_data["licence"], consent_version=CONSENT_VERSION, actor=actor)
