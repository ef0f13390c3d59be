from datetime import timedelta
from time import sleep
from typing import Any

import pytest
from django.utils import timezone

from tasks import stretch
from tasks.errors import Conflict, Forbidden
from tasks.graders import registry
from tasks.graders.outcome import ungradable
from tasks.models import Dataset, Event, Proof, ProofRun, Task
from tasks.services import accounts, judged, leases, matrix, proofs, proving, regrading, reproving
from tasks.states import ProofState
from tasks.types import Grade
from tests.cast import Person
from tests.tasks.pipeline import imported, proved, states, sums, tasks

pytestmark = pytest.mark.django_db

WEAK = {"type": "string_check", "input": "{{ sample.output_text }}", "reference": "no", "operation": "ne"}

EXACT = {**WEAK, "reference": "{{ item.reference }}", "operation": "eq"}


def _weak(prompt: str) -> dict[str, Any]:
    """A row whose grader accepts everything."""
    return {"prompt": prompt, "gold": "yes", "grader": WEAK}


def test_a_task_whose_gold_passes_and_whose_decoys_fail_is_proved(dataset: Dataset):
    upload = proved(dataset, sums(30))

    assert states(dataset) == ["proved"] * 30
    assert upload.proof.state == ProofState.DONE
    assert upload.proof.counts["proved"] == 30


def test_every_task_has_its_proof_with_six_decoys(dataset: Dataset):
    proved(dataset, sums(12))

    assert [len(proofs.whole(proof).decoys) for proof in Proof.objects.all()] == [6] * 12


def test_the_matrix_counts_every_decoy(dataset: Dataset):
    upload = proved(dataset, sums(12))

    matrix = upload.proof.counts["matrix"]["number"]
    assert matrix["gold"] == {"earned": 12, "failed": 0, "ungradable": 0, "absent": 0, "not_sampled": 0}
    assert matrix["empty"] == {"refused": 12, "passed": 0, "skipped": 0, "not_made": 0, "ungradable": 0}


def test_a_gold_that_does_not_earn_full_score_rejects_its_row(dataset: Dataset):
    wrong = {"prompt": "What is 1 + 1?", "reference": 2, "gold": "3"}

    upload = proved(dataset, [*sums(20), wrong])

    task = tasks(dataset)[-1]
    assert (task.state, task.reason_code) == ("rejected", "gold_failed")
    assert "not full score" in task.reason
    assert upload.proof.counts["rejected"] == 1


def test_a_row_without_a_gold_is_unproved(dataset: Dataset):
    check = {"type": "string_check", "input": "{{ sample.output_text }}", "reference": "x", "operation": "ne"}

    proved(dataset, [*sums(20), {"prompt": "Say anything but x.", "grader": check}])

    task = tasks(dataset)[-1]
    assert (task.state, task.reason_code) == ("unproved", "no_gold")


def test_a_decoy_that_passes_sends_its_row_to_review(dataset: Dataset):
    flattery = {
        "type": "string_check",
        "input": "{{ sample.output_text }}",
        "reference": "correct",
        "operation": "ilike",
    }
    precise = {**flattery, "reference": "{{ item.reference }}"}
    rows = [{"prompt": f"Word {n}?", "reference": f"w{n}x", "grader": precise} for n in range(40)]

    upload = proved(dataset, [*rows, {"prompt": "Weak?", "gold": "that is correct", "grader": flattery}])

    task = tasks(dataset)[-1]
    assert (task.state, task.reason_code) == ("unproved", "decoy_passed")
    assert upload.proof.state == ProofState.DONE


def test_a_grader_that_one_decoy_passes_too_often_is_refused(dataset: Dataset):
    upload = proved(dataset, [*sums(20), *(_weak(f"Question {n}?") for n in range(10))])

    assert states(dataset) == ["proved"] * 20 + ["rejected"] * 10
    assert upload.proof.state == ProofState.REFUSED
    assert upload.proof.refusals[0].startswith("string_check (graders of single rows): The grader accepts")
    assert {task.reason_code for task in tasks(dataset)[20:]} == {"grader_refused"}


def _exact(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"Word {n}?", "reference": f"w{n}x", "grader": EXACT} for n in range(count)]


def test_a_lax_grader_does_not_reject_the_rows_of_a_strict_one_of_its_type(dataset: Dataset):
    upload = proved(dataset, [*_exact(40), *(_weak(f"Question {n}?") for n in range(4))])

    assert states(dataset) == ["proved"] * 40 + ["rejected"] * 4
    assert len(upload.proof.refusals) == 1


def test_a_lax_grader_of_many_rows_is_refused_alone_and_named(dataset: Dataset):
    upload = proved(dataset, [*_exact(5), *(_weak(f"Question {n}?") for n in range(20))])

    assert states(dataset) == ["proved"] * 5 + ["rejected"] * 20
    assert upload.proof.refusals[0].startswith('string_check {"input":"{{ sample.output_text }}","operation":"ne"')
    assert matrix.of(upload)[0].refusals == tuple(upload.proof.refusals)


def test_few_rows_that_a_grader_accepts_too_much_on_do_not_hide_behind_many_of_another(dataset: Dataset):
    proved(dataset, [*_exact(1000), *(_weak(f"Question {n}?") for n in range(20))])

    assert states(dataset)[-20:] == ["rejected"] * 20


def test_conflicting_tasks_are_proved_where_they_are(dataset: Dataset):
    proved(dataset, [*sums(20), {"prompt": "2 + 2?", "reference": 4}, {"prompt": "2 + 2?", "reference": 5}])

    assert states(dataset)[-2:] == ["conflict", "conflict"]
    assert Proof.objects.filter(task__state="conflict").count() == 2


def test_a_conflicting_task_whose_gold_fails_is_rejected(dataset: Dataset):
    proved(dataset, [{"prompt": "2 + 2?", "reference": 4}, {"prompt": "2 + 2?", "reference": 5, "gold": "4"}])

    assert states(dataset) == ["conflict", "rejected"]


def test_proving_what_is_proved_changes_nothing(dataset: Dataset):
    upload = proved(dataset, sums(2))
    before = Event.objects.count()

    proving.prove_upload(upload.pk)

    assert Event.objects.count() == before


def test_a_proof_that_was_stopped_goes_on_and_counts_nothing_twice(dataset: Dataset, monkeypatch: Any):
    monkeypatch.setattr(proving, "CHUNK_LINES", 4)
    upload = imported(dataset, sums(10))
    monkeypatch.setattr(proving, "crash_point", _stop_after_two_chunks())
    with pytest.raises(_Stopped):
        proving.prove_upload(upload.pk)
    assert Proof.objects.count() == 8
    ProofRun.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    monkeypatch.setattr(proving, "crash_point", lambda name: None)

    proving.prove_upload(upload.pk)

    counts = ProofRun.objects.get().counts
    assert (counts["tasks"], counts["proved"]) == (10, 10)


class _Stopped(Exception):
    pass


def _stop_after_two_chunks() -> Any:
    seen: list[str] = []

    def crash_point(name: str) -> None:
        seen.append(name)
        if seen.count("prove.after_chunk") == 2:
            raise _Stopped

    return crash_point


def test_a_prover_that_lost_its_lease_writes_nothing(dataset: Dataset, monkeypatch: Any):
    upload = imported(dataset, sums(3))
    monkeypatch.setattr(stretch, "prove_claims", _while_somebody_else_claims(stretch.prove_claims))

    proving.prove_upload(upload.pk)

    assert ProofRun.objects.get().attempt == 2
    assert Proof.objects.count() == 0


def _while_somebody_else_claims(prove: Any) -> Any:
    def slow(*args: Any) -> Any:
        ProofRun.objects.update(attempt=2)
        return prove(*args)

    return slow


def test_a_proof_that_kills_its_worker_three_times_is_quarantined(dataset: Dataset, monkeypatch: Any):
    upload = imported(dataset, sums(1))
    ProofRun.objects.filter(upload=upload).update(
        state=ProofState.PROVING, tries=3, lease_until=timezone.now() - timedelta(seconds=1)
    )

    proving.prove_upload(upload.pk)

    run = ProofRun.objects.get()
    assert (run.state, run.refusals) == ("refused", [proving.QUARANTINED])


def test_another_rows_answer_comes_from_a_row_of_the_same_kind_of_grader(dataset: Dataset):
    choice = {"type": "choice", "choices": ["yes", "no"], "reference": "yes"}

    proved(dataset, [{"prompt": "Is it?", "reference": "yes", "grader": choice}, *sums(1)])

    decoys = [decoy for proof in Proof.objects.all() for decoy in proofs.whole(proof).decoys]
    assert {decoy["outcome"] for decoy in decoys if decoy["kind"] == "other_gold"} == {"not_made"}


# A change of grader meanwhile


def _change_before(monkeypatch: Any, stage: str, dataset: Dataset, config: dict[str, Any]) -> None:
    """Whoever first comes to `stage` of the proof finds the dataset with another grader."""
    staged = getattr(proving._Work, stage)
    changes: list[int] = []

    def changed(work: Any, *given: Any) -> Any:
        if not changes:
            changes.append(regrading.change_grader(dataset, config, actor=None).pk)
            regrading.run(changes[0])
        return staged(work, *given)

    monkeypatch.setattr(proving._Work, stage, changed)


@pytest.mark.parametrize("stage", ["grade", "count", "settle", "_settle", "finish"])
def test_a_task_that_gets_another_grader_meanwhile_is_proved_with_that_one(
    dataset: Dataset, monkeypatch: Any, stage: str
):
    _change_before(monkeypatch, stage, dataset, EXACT)

    upload = proved(dataset, sums(5))
    proving.prove_upload(upload.pk)  # only after the last stage it is still to come

    assert states(dataset) == ["proved"] * 5
    assert {task.grader_id for task in tasks(dataset)} == {registry.digest(EXACT)}
    assert Proof.objects.filter(grader=registry.digest(EXACT)).count() == 5


@pytest.mark.parametrize("stage", ["_settle", "finish"])
def test_so_is_one_in_conflict(dataset: Dataset, monkeypatch: Any, stage: str):
    _change_before(monkeypatch, stage, dataset, EXACT)

    upload = proved(dataset, [{"prompt": "2 + 2?", "reference": 4}, {"prompt": "2 + 2?", "reference": 5}])

    assert upload.proof.state == ProofState.DONE
    assert Proof.objects.filter(grader=registry.digest(EXACT)).count() == 2


def test_a_grader_that_was_refused_does_not_reject_the_rows_of_the_next(dataset: Dataset, monkeypatch: Any):
    _change_before(monkeypatch, "_settle", dataset, EXACT)
    regrading.change_grader(dataset, WEAK, actor=None)

    proved(dataset, [{"prompt": f"Question {n}?", "reference": f"answer {n}x"} for n in range(30)])

    assert states(dataset) == ["proved"] * 30


# What cannot be graded, and what costs tokens


def _down(monkeypatch: Any, flag: str, only: Any = lambda completion, item: True) -> None:
    """Every grade that `only` picks cannot be made."""
    graded = registry.grade_many

    def grade_many(config: Any, answers: Any) -> list[Grade]:
        made = zip(answers, graded(config, answers), strict=True)
        return [ungradable("It is down.", flag) if only(*answer) else grade for answer, grade in made]

    monkeypatch.setattr(registry, "grade_many", grade_many)


def test_a_row_whose_grader_cannot_be_reached_is_left_for_later_and_no_policy_lets_it_in(
    dataset: Dataset, contributor: Person, monkeypatch: Any
):
    accounts.set_approval(contributor.team, "all", actor=contributor.user)
    _down(monkeypatch, "sandbox_unavailable", lambda completion, item: item["reference"] == 200)

    upload = proved(dataset, sums(3))

    task = tasks(dataset)[0]
    assert (task.state, task.reason_code) == ("unproved", "grader_unavailable")
    assert states(dataset)[1:] == ["approved", "approved"]
    assert upload.proof.counts["ungradable"] == {"number": {"sandbox_unavailable": 1}}


def test_proving_again_takes_up_what_could_not_be_graded(dataset: Dataset, monkeypatch: Any):
    with monkeypatch.context() as patched:
        _down(patched, "sandbox_unavailable", lambda completion, item: item["reference"] == 200)
        upload = proved(dataset, sums(3))

    count = reproving.again(upload, actor=None)
    proving.prove_upload(upload.pk)

    assert count == 1
    assert states(dataset) == ["proved"] * 3


def test_proving_again_brings_back_golds_that_could_not_be_graded(dataset: Dataset, monkeypatch: Any):
    with monkeypatch.context() as patched:
        _down(patched, "python_grader_runtime_error")
        upload = proved(dataset, sums(3))
    assert {task.reason_code for task in tasks(dataset)} == {"gold_ungradable"}

    reproving.again(upload, actor=None)
    proving.prove_upload(upload.pk)

    assert states(dataset) == ["proved"] * 3


def test_what_the_gold_decided_is_not_proved_again(dataset: Dataset):
    upload = proved(dataset, [{"prompt": "1 + 1?", "reference": 2, "gold": "3"}])

    assert reproving.again(upload, actor=None) == 0


def test_a_task_that_comes_back_into_a_conflict_goes_to_review(dataset: Dataset, monkeypatch: Any):
    with monkeypatch.context() as patched:
        _down(patched, "other_error")
        upload = proved(dataset, [{"prompt": "2 + 2?", "reference": 4}])
    imported(dataset, [{"prompt": "2 + 2?", "reference": 5}])
    assert states(dataset) == ["rejected", "valid"]

    reproving.again(upload, actor=None)

    assert states(dataset) == ["conflict", "conflict"]


def test_an_upload_under_proof_is_not_proved_again(dataset: Dataset):
    upload = imported(dataset, sums(1))

    with pytest.raises(Conflict) as refused:
        reproving.again(upload, actor=None)

    assert refused.value.code == "proof_under_way"


def test_a_stranger_proves_nothing_again(dataset: Dataset, stranger: Person):
    upload = proved(dataset, sums(1))

    with pytest.raises(Forbidden):
        reproving.again(upload, actor=stranger.user)


@pytest.mark.parametrize("flag", ["model_grader_server_error", "python_grader_runtime_error"])
def test_a_grader_that_fails_too_often_decides_nothing(dataset: Dataset, monkeypatch: Any, flag: str):
    _down(monkeypatch, flag)

    upload = proved(dataset, sums(60))

    assert upload.proof.state == ProofState.REFUSED
    assert upload.proof.refusals[0].startswith("number (the dataset's): ")
    assert f"could not be graded ({flag})" in upload.proof.refusals[0]
    assert states(dataset) == ["valid"] * 60
    assert Proof.objects.count() == 0
    assert sum(upload.proof.counts["ungradable"]["number"].values()) < 60


def test_a_few_faults_of_ours_among_many_of_the_author_stop_nothing(dataset: Dataset, monkeypatch: Any):
    graded = registry.grade_many

    def grade_many(config: Any, answers: Any) -> list[Grade]:
        flags = ["sandbox_error", "python_grader_runtime_error", "python_grader_runtime_error", ""]
        made = zip(answers, graded(config, answers), strict=True)
        found = [(flags[item["reference"] // 2 % 4], grade) for (_, item), grade in made]
        return [ungradable("It is down.", flag) if flag else grade for flag, grade in found]

    monkeypatch.setattr(registry, "grade_many", grade_many)

    upload = proved(dataset, sums(60))

    assert upload.proof.state == ProofState.DONE
    assert [states(dataset).count(state) for state in ("unproved", "rejected", "proved")] == [15, 30, 15]


def test_another_grader_of_the_same_type_goes_on(dataset: Dataset, monkeypatch: Any):
    _down(monkeypatch, "sandbox_unavailable", lambda completion, item: "down" in item)

    other = {**EXACT, "operation": "like"}
    proved(dataset, [*({**row, "down": True, "grader": other} for row in sums(30)), *_exact(2)])

    assert states(dataset) == ["valid"] * 30 + ["proved"] * 2


def test_other_kinds_of_graders_go_on(dataset: Dataset, monkeypatch: Any):
    _down(monkeypatch, "sandbox_unavailable", lambda completion, item: isinstance(item["reference"], int))
    choice = {"type": "choice", "choices": ["yes", "no"]}

    proved(dataset, [*sums(30), {"prompt": "Is it?", "reference": "yes", "grader": choice}])

    assert states(dataset) == ["valid"] * 30 + ["proved"]


def test_a_repaired_grader_proves_what_was_left_undecided(dataset: Dataset, monkeypatch: Any):
    with monkeypatch.context() as patched:
        _down(patched, "sandbox_unavailable")
        upload = proved(dataset, sums(60))

    count = reproving.again(upload, actor=None)
    proving.prove_upload(upload.pk)

    run = ProofRun.objects.get()
    assert (count, states(dataset)) == (60, ["proved"] * 60)
    assert (run.state, run.refusals, run.counts["tasks"]) == ("done", [], 60)


def test_a_few_golds_that_cannot_be_graded_are_rejected_one_by_one(dataset: Dataset, monkeypatch: Any):
    _down(monkeypatch, "python_grader_runtime_error", lambda completion, item: item["reference"] % 20 == 0)

    upload = proved(dataset, sums(100))

    assert upload.proof.state == ProofState.DONE
    assert states(dataset).count("rejected") == 10


def test_a_grader_that_fails_on_decoys_is_refused(dataset: Dataset, monkeypatch: Any):
    _down(monkeypatch, "python_grader_runtime_error", lambda completion, item: completion == "")

    upload = proved(dataset, sums(20))

    assert upload.proof.refusals == [
        "number (the dataset's): The grader fails on an empty reply on 20 of 20 rows: "
        "change the grader to one that answers for every text."
    ]


def test_a_grader_is_tried_once_whatever_the_rows(dataset: Dataset, monkeypatch: Any):
    asked: list[Any] = []
    monkeypatch.setattr("tasks.graders.number.trial_problem", asked.append, raising=False)

    proved(dataset, sums(100))

    assert len(asked) == 1


def test_a_grader_that_its_trial_finds_broken_grades_nothing(dataset: Dataset, monkeypatch: Any):
    monkeypatch.setattr("tasks.graders.number.trial_problem", lambda config: "It does not compile.", raising=False)

    proved(dataset, sums(1))

    task = tasks(dataset)[0]
    assert (task.state, task.reason_code) == ("rejected", "gold_ungradable")
    assert task.reason.endswith("It does not compile.")


def test_a_slow_grader_renews_the_lease_of_its_proof(dataset: Dataset, monkeypatch: Any):
    asked: list[Any] = []
    renewed = leases.kept_alive
    monkeypatch.setattr(leases, "kept_alive", lambda *work: asked.append(work) or renewed(*work))

    proved(dataset, sums(3))

    assert asked


def test_a_step_that_hangs_keeps_its_lease_for_a_time_only(monkeypatch: Any, settings: Any):
    renewed: list[Any] = []
    monkeypatch.setattr(leases, "expiry", lambda: renewed.append(None) or timezone.now())
    monkeypatch.setattr(leases, "STEP_SECONDS", 0.2)
    settings.IMPORT_LEASE_SECONDS = 0.06

    with leases.kept_alive(ProofRun, 0, 0, ProofState.PROVING):
        sleep(0.8)

    assert 1 <= len(renewed) <= 11


@pytest.fixture
def judges(monkeypatch: Any) -> None:
    """Choice asks a model, for these tests."""
    monkeypatch.setattr("tasks.graders.choice.ASKS_A_MODEL", True, raising=False)


def _judged(count: int) -> list[dict[str, Any]]:
    choice = {"type": "choice", "choices": ["yes", "no"], "reference": "yes"}
    return [{"prompt": f"Is {n} odd?", "gold": "yes", "grader": choice} for n in range(1, 2 * count, 2)]


@pytest.mark.usefixtures("judges")
def test_judges_wait_for_somebody_to_agree_to_what_they_cost(dataset: Dataset):
    upload = proved(dataset, [*sums(2), *_judged(60)])

    estimate = upload.proof.estimate
    assert upload.proof.state == ProofState.WAITING
    assert states(dataset) == ["proved"] * 2 + ["valid"] * 60
    assert (estimate["judged_rows"], estimate["sample_rows"], estimate["calls"]) == (60, 50, 350)
    assert estimate["tokens"] > 350


@pytest.mark.usefixtures("judges")
def test_judges_prove_a_sample_once_it_is_agreed(dataset: Dataset, contributor: Person):
    upload = proved(dataset, _judged(60))

    reproving.confirm_cost(upload, actor=contributor.user)
    proving.prove_upload(upload.pk)

    upload.proof.refresh_from_db()
    found = [task.reason_code for task in tasks(dataset)]
    assert upload.proof.state == ProofState.DONE
    assert (states(dataset).count("proved"), found.count("judge_not_sampled")) == (50, 10)


@pytest.mark.usefixtures("judges")
def test_a_smaller_sample_may_be_agreed_and_is_spread_over_the_file(dataset: Dataset):
    upload = proved(dataset, _judged(60))

    reproving.confirm_cost(upload, actor=None, rows=3)
    proving.prove_upload(upload.pk)

    assert [line for line, state in enumerate(states(dataset), 1) if state == "proved"] == [1, 21, 41]


@pytest.mark.usefixtures("judges")
def test_without_any_sample_nothing_is_judged(dataset: Dataset):
    upload = proved(dataset, _judged(5))

    reproving.confirm_cost(upload, actor=None, rows=0)
    proving.prove_upload(upload.pk)

    assert {task.reason_code for task in tasks(dataset)} == {"judge_not_sampled"}


@pytest.mark.usefixtures("judges")
def test_where_no_judge_waits_there_is_nothing_to_agree_to(dataset: Dataset):
    upload = proved(dataset, _judged(5))
    reproving.confirm_cost(upload, actor=None)

    with pytest.raises(Conflict) as refused:
        reproving.confirm_cost(upload, actor=None)

    assert refused.value.code == "nothing_to_confirm"


@pytest.mark.usefixtures("judges")
@pytest.mark.parametrize("state", [ProofState.WAITING, ProofState.PENDING])
def test_an_agreement_is_told_with_who_agreed_to_what(dataset: Dataset, contributor: Person, state: ProofState):
    upload = proved(dataset, _judged(5))
    ProofRun.objects.update(state=state)

    reproving.confirm_cost(upload, actor=contributor.user, rows=3)

    event = Event.objects.get(kind="proofrun.cost_agreed")
    estimate = ProofRun.objects.get().estimate
    assert event.actor == contributor.user
    assert event.data == {"rows": 3, "calls": 21, "tokens": estimate["tokens"]}


@pytest.mark.usefixtures("judges")
def test_agreeing_reads_no_rows_and_a_sample_is_bounded(dataset: Dataset, monkeypatch: Any):
    monkeypatch.setattr(judged, "MAX_SAMPLE", 8)
    upload = proved(dataset, _judged(60))
    monkeypatch.setattr(judged, "estimate", None)

    reproving.confirm_cost(upload, actor=None, rows=1000)

    run = ProofRun.objects.get()
    assert (run.agreed_rows, len(run.estimate["lines"]), run.estimate["calls"]) == (8, 8, 56)


@pytest.mark.usefixtures("judges")
def test_a_change_of_judge_is_told_to_forget_the_agreement(dataset: Dataset):
    choice = {"type": "choice", "choices": ["yes", "no"], "reference": "yes"}
    regrading.change_grader(dataset, choice, actor=None)
    upload = proved(dataset, [{"prompt": "Is it?", "gold": "yes"}])
    reproving.confirm_cost(upload, actor=None)

    regrading.run(regrading.change_grader(dataset, {**choice, "choices": ["yes", "no", "may be"]}, actor=None).pk)

    run = ProofRun.objects.get()
    assert (run.agreed_rows, run.estimate) == (None, {})
    assert Event.objects.get(kind="proofrun.cost_forgotten").data == {"rows": 1, "reason": "grader_changed"}


@pytest.mark.usefixtures("judges")
def test_where_all_is_proved_without_a_judge_there_is_nothing_to_agree_to(dataset: Dataset, contributor: Person):
    accounts.set_approval(contributor.team, "all", actor=contributor.user)
    upload = proved(dataset, _judged(5))

    with pytest.raises(Conflict) as refused:
        reproving.confirm_cost(upload, actor=None)

    assert (refused.value.code, ProofRun.objects.get().state) == ("nothing_to_confirm", ProofState.DONE)


@pytest.mark.usefixtures("judges")
def test_a_judge_that_is_no_more_leaves_nothing_to_agree_to(dataset: Dataset):
    choice = {"type": "choice", "choices": ["yes", "no"], "reference": "yes"}
    regrading.change_grader(dataset, choice, actor=None)
    upload = proved(dataset, [{"prompt": "Is it?", "gold": "yes", "reference": "yes"}])
    regrading.run(regrading.change_grader(dataset, EXACT, actor=None).pk)
    proving.prove_upload(upload.pk)

    with pytest.raises(Conflict) as refused:
        reproving.confirm_cost(upload, actor=None)

    assert (refused.value.code, states(dataset)) == ("nothing_to_confirm", ["proved"])


@pytest.mark.usefixtures("judges")
def test_judges_that_did_not_answer_are_asked_again_only_for_another_agreement(dataset: Dataset, monkeypatch: Any):
    upload = proved(dataset, _judged(5))
    reproving.confirm_cost(upload, actor=None)
    with monkeypatch.context() as patched:
        _down(patched, "model_grader_server_error", lambda completion, item: True)
        proving.prove_upload(upload.pk)
    assert {task.reason_code for task in tasks(dataset)} == {"grader_unavailable"}

    assert reproving.again(upload, actor=None) == 5
    proving.prove_upload(upload.pk)

    run = ProofRun.objects.get()
    assert (run.state, run.agreed_rows, run.estimate["calls"]) == (ProofState.WAITING, None, 35)
    assert Event.objects.get(kind="proofrun.cost_forgotten").data == {"rows": 5, "reason": "proved_again"}


@pytest.mark.usefixtures("judges")
def test_a_stranger_agrees_to_nothing(dataset: Dataset, stranger: Person):
    upload = proved(dataset, _judged(1))

    with pytest.raises(Forbidden):
        reproving.confirm_cost(upload, actor=stranger.user)


@pytest.mark.usefixtures("judges")
def test_a_space_that_lets_unproved_tasks_in_is_not_asked_and_spends_nothing(dataset: Dataset, contributor: Person):
    accounts.set_approval(contributor.team, "all", actor=contributor.user)

    upload = proved(dataset, _judged(5))

    assert upload.proof.state == ProofState.DONE
    assert states(dataset) == ["approved"] * 5
    assert {proof.code for proof in Proof.objects.all()} == {"judge_not_sampled"}


@pytest.mark.usefixtures("judges")
def test_judged_rows_without_a_gold_cost_nothing_and_wait_for_nobody(dataset: Dataset):
    check = {"type": "string_check", "input": "{{ sample.output_text }}", "reference": "x", "operation": "ne"}

    upload = proved(dataset, [{"prompt": "Say anything but x.", "grader": check}])

    assert (upload.proof.state, states(dataset)) == (ProofState.DONE, ["unproved"])


def test_many_rows_are_proved_in_child_processes_as_they_are_here(dataset: Dataset, monkeypatch: Any):
    monkeypatch.setattr(proving, "CHUNK_LINES", 7)
    rows = [*sums(40), *_exact(20), {"prompt": "1 + 1?", "reference": 2, "gold": "3"}, _weak("Weak?")]
    proved(dataset, rows)
    here = _found()
    Proof.objects.all().delete()
    Task.objects.update(state="valid")
    ProofRun.objects.update(state=ProofState.PENDING, counts={})
    monkeypatch.setattr(proving, "ALONE", 0)

    proving.prove_upload(ProofRun.objects.get().upload_id)

    assert _found() == here
    assert ProofRun.objects.get().counts["tasks"] == 62


def test_a_row_that_stands_in_two_stretches_is_graded_once(dataset: Dataset, monkeypatch: Any):
    monkeypatch.setattr(proving, "CHUNK_LINES", 4)
    monkeypatch.setattr(proving, "ALONE", 0)
    upload = imported(dataset, [*sums(6), *sums(6)])
    written: list[int] = []
    store = proofs.store
    monkeypatch.setattr(
        proofs, "store", lambda rows, kept: written.extend(k.task_id for k in kept) or store(rows, kept)
    )

    proving.prove_upload(upload.pk)

    assert sorted(written) == sorted({task.pk for task in tasks(dataset)})


def _found() -> list[tuple[Any, ...]]:
    columns = ("task", "grader", "outcome", "code", "reason", "gold", "decoys")
    return list(Proof.objects.order_by("task").values_list(*columns))


def test_a_stretch_of_large_rows_is_shorter(dataset: Dataset, monkeypatch: Any):
    upload = imported(dataset, sums(10))
    monkeypatch.setattr(proofs, "MAX_STORED_BYTES", 300)

    first = proofs.stretch(upload.pk, 0, 1000)

    assert 1 <= len(first) < 10
    assert proofs.stretch(upload.pk, first[-1].line, 1000)[0].line == first[-1].line + 1


def test_a_proof_that_was_stopped_while_child_processes_worked_ahead_goes_on(dataset: Dataset, monkeypatch: Any):
    monkeypatch.setattr(proving, "CHUNK_LINES", 4)
    monkeypatch.setattr(proving, "ALONE", 0)
    upload = imported(dataset, sums(30))
    monkeypatch.setattr(proving, "crash_point", _stop_after_two_chunks())
    with pytest.raises(_Stopped):
        proving.prove_upload(upload.pk)
    kept = Proof.objects.count()
    ProofRun.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    monkeypatch.setattr(proving, "crash_point", lambda name: None)

    proving.prove_upload(upload.pk)

    counts = ProofRun.objects.get().counts
    assert (kept, counts["tasks"], states(dataset)) == (8, 30, ["proved"] * 30)
