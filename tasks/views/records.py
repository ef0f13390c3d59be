"""One task as people read it: prompt, answer, grader, what its proof found, where it came from, who decided what."""

from typing import Any

from tasks.graders import registry
from tasks.models import Dataset, DatasetTask, Task
from tasks.proof import DecoyOutcome
from tasks.services import appeals, correcting, proofs, tombstones
from tasks.states import REVIEWABLE
from tasks.views import findings


def record_of(task: Task, user: Any) -> dict[str, Any]:
    """Everything that a page about the task shows; other teams' datasets and tasks stay out."""
    tombstones.bury([task], user)
    visible = Dataset.objects.for_user(user)
    sources = DatasetTask.objects.filter(task=task, dataset__in=visible).select_related("dataset__team", "upload")
    proof = proofs.of(task)
    decoys = proof.decoys if proof else []
    alike = Task.objects.for_user(user).filter(space=task.space_id, exact_key=task.exact_key).exclude(pk=task.pk)
    rivals = list(alike.select_related("grader").order_by("pk")[:10])
    tombstones.bury(rivals, user)
    return {
        "task": task,
        "turns": findings.messages_of(task),
        "marked_elsewhere": findings.elsewhere(task),
        "findings": findings.findings_of(task, user),
        "appeals": appeals.of_task(task)[:10],
        "corrects": correcting.corrects(task),
        "answer": answer_of(task),
        "proof": proof,
        "refused_decoys": [d["kind"].replace("_", " ") for d in decoys if d["outcome"] == DecoyOutcome.REFUSED],
        "other_decoys": [decoy for decoy in decoys if decoy["outcome"] != DecoyOutcome.REFUSED],
        "sources": sources.order_by("pk")[:10],
        "rivals": [(rival, answer_of(rival)) for rival in rivals],
        "decisions": task.reviews.select_related("reviewer")[:10],
        "reviewable": task.state in REVIEWABLE,
    }


def answer_of(task: Task) -> str:
    """The completion that must earn full score: as given, else as the grader derives it; "" where there is none."""
    if task.gold is not None:
        return task.gold
    return (registry.gold(task.grader.config, task.item) or "") if task.grader else ""
