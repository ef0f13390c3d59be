"""The model side through the API: lines, recipes, mixtures, runs, evaluations, gates, versions, schedules."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tasks.models import Task
from tests import cast, world
from tests.cast import Person
from tests.world import World
from trainer.models import Alias, Line, ModelVersion, TrainingRun
from trainer.services import artifacts


@pytest.fixture
def shared(operator: Person) -> Line:
    return world.line_of(operator, "shared", "shared")[0]


@pytest.fixture
def gifts(contributor: Person, shared: Line) -> Any:
    """A contributed dataset of which everything is approved."""
    dataset = world.contributed_dataset(contributor)
    world.imported(dataset, world.rows(60), contributor)
    Task.objects.update(state="approved")
    return dataset


@pytest.fixture
def turned(contributor: Person) -> World:
    """The contributor's expert line after a turn."""
    return world.full(contributor)


def post(person: Person, path: str, body: dict[str, Any] | None = None) -> Any:
    return person.api.post(f"/api/v1/{path}", body or {}, format="json")


def get(person: Person, path: str) -> Any:
    return person.api.get(f"/api/v1/{path}").json()


def recipe(operator: Person, line: Line) -> int:
    return int(post(operator, "recipes", {"line": line.pk, "name": "all", "body": {"seed": 1}}).json()["id"])


def test_a_shared_line_is_shown_to_everybody_with_its_aliases(stranger: Person, shared: Line):
    assert get(stranger, f"lines/{shared.pk}")["aliases"] == {"champion": "shared/v0", "anchor": "shared/v0"}


def test_a_contributor_registers_no_shared_line(contributor: Person):
    body = {"purpose": "shared", "name": "Mine", "source": "local", "demonstrations": "x"}

    assert post(contributor, "lines", body).status_code == 403


def test_an_expert_line_starts_from_a_version(contributor: Person, shared: Line):
    start = ModelVersion.objects.get().pk

    reply = post(contributor, "lines", {"purpose": "expert", "name": "Sums", "start": start})

    assert (reply.status_code, reply.json()["purpose"], reply.json()["team"]) == (201, "expert", "carla-team")


def test_a_policy_that_cannot_be_right_is_refused(operator: Person, shared: Line):
    reply = operator.api.put(f"/api/v1/lines/{shared.pk}/policy", {"policy": {"nonsense": 1}}, format="json")

    assert reply.status_code == 400


def test_a_preview_counts_and_writes_nothing(operator: Person, gifts: Any, shared: Line):
    plan = post(operator, f"recipes/{recipe(operator, shared)}/preview", {"seed": 5}).json()

    assert plan["size"] == plan["by_domain"][0]["used"] == Task.objects.filter(split="train").count()
    assert get(operator, "mixtures")["results"] == []


def test_the_same_seed_builds_the_same_mixture(operator: Person, gifts: Any, shared: Line):
    made = recipe(operator, shared)

    first, second = (post(operator, f"recipes/{made}/build", {"seed": 5}).json() for _ in range(2))

    assert first == second
    entries = get(operator, f"mixtures/{first['id']}/entries")["results"]
    assert [entry["position"] for entry in entries] == list(range(first["size"]))


def test_a_recipe_is_changed(operator: Person, shared: Line):
    made = recipe(operator, shared)

    reply = operator.api.put(f"/api/v1/recipes/{made}", {"body": {"seed": 2}}, format="json")

    assert reply.json()["body"]["seed"] == 2


def test_a_run_starts_from_a_recipe(operator: Person, gifts: Any, shared: Line):
    reply = post(operator, "runs", {"recipe": recipe(operator, shared), "seed": 3, "overrides": {"steps": 4}})

    assert (reply.status_code, reply.json()["state"], reply.json()["total_steps"]) == (201, "queued", 4)


def test_a_contributor_starts_no_run_of_the_shared_line(
    contributor: Person, operator: Person, gifts: Any, shared: Line
):
    assert post(contributor, "runs", {"recipe": recipe(operator, shared)}).status_code == 403


def test_a_dataset_alone_trains_the_teams_expert(contributor: Person, shared: Line):
    dataset = world.private_dataset(contributor)
    world.imported(dataset, world.rows(20), contributor)

    reply = post(contributor, "runs", {"dataset": str(dataset), "preset": "few-shot"})

    assert (reply.status_code, reply.json()["dataset"]) == (201, dataset.pk)
    assert Line.objects.get(pk=reply.json()["line"]).team == contributor.team


def test_an_estimate_comes_before_the_start(contributor: Person, shared: Line):
    dataset = world.private_dataset(contributor)
    world.imported(dataset, world.rows(20), contributor)

    told = post(contributor, "runs/estimate", {"dataset": str(dataset)}).json()

    assert told["seconds"] > 0
    assert told["sentence"].endswith(".")
    assert not TrainingRun.objects.exists()


def test_a_run_needs_a_source(contributor: Person):
    assert post(contributor, "runs").json()["code"] == "source_missing"


def test_a_knob_that_does_not_exist_is_refused(operator: Person, gifts: Any, shared: Line):
    reply = post(operator, "runs", {"recipe": recipe(operator, shared), "overrides": {"knob": 1}})

    assert reply.status_code == 400


def test_a_queued_run_is_cancelled_once(operator: Person, gifts: Any, shared: Line):
    run = post(operator, "runs", {"recipe": recipe(operator, shared)}).json()["id"]

    first, second = post(operator, f"runs/{run}/cancel"), post(operator, f"runs/{run}/cancel")

    assert (first.json()["state"], second.status_code) == ("cancelled", 409)


def test_a_running_run_is_asked_to_pause(operator: Person, gifts: Any, shared: Line):
    run = post(operator, "runs", {"recipe": recipe(operator, shared)}).json()["id"]
    TrainingRun.objects.filter(pk=run).update(state="running")

    assert post(operator, f"runs/{run}/pause").json()["state"] == "pausing"


def test_a_paused_run_is_queued_again(operator: Person, gifts: Any, shared: Line):
    run = post(operator, "runs", {"recipe": recipe(operator, shared)}).json()["id"]
    TrainingRun.objects.filter(pk=run).update(state="paused")

    assert post(operator, f"runs/{run}/resume").json()["state"] == "queued"


def test_metrics_are_polled_after_a_step(contributor: Person, turned: World):
    path = f"runs/{turned['trainingrun']}/metrics"

    assert [metric["step"] for metric in get(contributor, path)] == [1]
    assert get(contributor, f"{path}?after=1") == []


def test_a_team_reads_the_samples_of_its_own_run(contributor: Person, turned: World):
    assert world.SECRET in get(contributor, f"runs/{turned['trainingrun']}/samples")[0]["data"]["prompt"]


def test_samples_of_the_shared_line_are_for_the_pools_workers(contributor: Person, operator: Person, stranger: Person):
    shared = world.full(
        operator, purpose="shared", dataset=world.contributed_dataset(contributor), uploader=contributor
    )
    path = f"/api/v1/runs/{shared['trainingrun']}/samples"

    assert (operator.api.get(path).status_code, stranger.api.get(path).status_code) == (200, 403)


def test_flips_of_a_shared_report_are_for_the_pools_workers(contributor: Person, operator: Person, stranger: Person):
    shared = world.full(
        operator, purpose="shared", dataset=world.contributed_dataset(contributor), uploader=contributor
    )
    path = f"gates/{shared['gatereport']}"

    assert (get(stranger, path)["flips"], len(get(operator, path)["flips"])) == (None, 1)


def test_an_evaluation_without_sealed_tasks_is_refused(contributor: Person, turned: World):
    candidate = ModelVersion.objects.filter(line=turned["line"]).create(
        line_id=turned["line"], number=2, digest="8" * 64, origin="run"
    )

    reply = post(contributor, "evaluations", {"candidate": candidate.pk})

    assert (reply.status_code, reply.json()["code"]) == (409, "nothing_sealed")


def test_an_evaluation_names_its_report(contributor: Person, turned: World):
    assert get(contributor, f"evaluations/{turned['evaluation']}")["report"] == turned["gatereport"]


def test_a_version_is_promoted_and_rolled_back_with_a_reason(contributor: Person, turned: World):
    # an expert's owner decides where the gate has not spoken
    other = ModelVersion.objects.create(line_id=turned["line"], number=2, digest="8" * 64, origin="run")

    move = post(contributor, f"versions/{other.pk}/promote", {"reason": "I like it."})
    back = post(contributor, f"lines/{turned['line']}/roll-back", {"reason": "I do not."})

    assert (move.status_code, back.status_code) == (201, 201)
    assert (move.json()["new"], back.json()["new"]) == (other.name, move.json()["old"])
    assert len(get(contributor, f"lines/{turned['line']}/moves")["results"]) == 3


def test_what_the_gate_holds_is_not_promoted(contributor: Person, turned: World):
    reply = post(contributor, f"versions/{turned['modelversion']}/promote", {"reason": "anyway"})

    assert (reply.status_code, reply.json()["code"]) == (409, "not_better")


def test_a_promotion_without_a_reason_is_refused(contributor: Person, turned: World):
    assert post(contributor, f"versions/{turned['modelversion']}/promote").status_code == 400


def test_a_version_is_downloaded_as_a_zip(contributor: Person, turned: World, settings: Any, tmp_path: Path):
    settings.DATA_DIR = tmp_path
    manifest = artifacts.take_in(made_up_model(tmp_path / "source"))
    ModelVersion.objects.filter(pk=turned["modelversion"]).update(digest=manifest.digest)

    reply = contributor.api.get(f"/api/v1/versions/{turned['modelversion']}/download")

    with zipfile.ZipFile(io.BytesIO(b"".join(reply.streaming_content))) as archive:
        assert {name.removeprefix("carla-team-expert-v1/") for name in archive.namelist()} == {
            *(file.path for file in manifest.files),
            "manifest.json",
            "README.md",
        }


def made_up_model(folder: Path) -> Path:
    """The files of a causal LM without a weight in them."""
    folder.mkdir()
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def test_the_card_of_a_version_is_markdown_with_a_header(contributor: Person, turned: World):
    reply = contributor.api.get(f"/api/v1/versions/{turned['modelversion']}/card")

    assert reply["Content-Type"] == "text/markdown; charset=utf-8"
    assert reply.content.decode().startswith("---\nlicense:")


def test_what_a_version_came_from_is_not_told_where_it_is_another_teams(contributor: Person, turned: World):
    _, base = world.line_of(cast.of_own_team("nora"), "nora-secret")
    ModelVersion.objects.filter(pk=turned["modelversion"]).update(parent=base)

    assert get(contributor, f"versions/{turned['modelversion']}")["parent"] is None


def test_a_version_without_files_is_404(contributor: Person, turned: World):
    reply = contributor.api.get(f"/api/v1/versions/{turned['modelversion']}/download")

    assert (reply.status_code, reply.json()["code"]) == (404, "artifact_missing")


def test_a_schedule_is_made_changed_and_fired(operator: Person, gifts: Any, shared: Line):
    body = {"line": shared.pk, "recipe": recipe(operator, shared), "cron": "0 3 * * *", "timezone": "Europe/Berlin"}

    made = post(operator, "schedules", body)
    off = operator.api.patch(f"/api/v1/schedules/{made.json()['id']}", {"enabled": False}, format="json")
    fired = post(operator, f"schedules/{made.json()['id']}/fire")

    assert (made.status_code, len(made.json()["next_fire_times"])) == (201, 5)
    assert (off.json()["enabled"], off.json()["next_fire_times"]) == (False, [])
    assert (fired.json()["outcome"], TrainingRun.objects.get().pk) == ("ran", fired.json()["run"])


def test_a_schedule_with_quiet_hours_says_when_its_runs_begin(operator: Person, gifts: Any, shared: Line):
    quiet = {"quiet_from": "22:00", "quiet_to": "06:00", "quiet_days": [1, 2, 3, 4, 5, 6, 7]}
    body = {"line": shared.pk, "recipe": recipe(operator, shared), "cron": "0 3 * * *", **quiet}

    made = post(operator, "schedules", body).json()

    first = made["coming"][0]
    assert (made["quiet_from"], made["quiet_to"], made["quiet_days"]) == ("22:00", "06:00", [])
    assert (first["due"][11:16], first["begins"][11:16], first["is_quiet"]) == ("03:00", "06:00", True)
    assert made["next_fire_times"][0] == first["begins"]
    assert made["notes"][0].startswith("Every fire time lies in the quiet hours")


def test_quiet_hours_are_lifted_with_null(operator: Person, gifts: Any, shared: Line):
    body = {"line": shared.pk, "recipe": recipe(operator, shared), "cron": "0 3 * * *"}
    made = post(operator, "schedules", {**body, "quiet_from": "22:00", "quiet_to": "06:00"}).json()

    lifted = operator.api.patch(
        f"/api/v1/schedules/{made['id']}", {"quiet_from": None, "quiet_to": None}, format="json"
    ).json()

    assert (lifted["quiet_from"], lifted["coming"][0]["is_quiet"]) == (None, False)


def test_a_preview_of_a_schedule_needs_no_line(stranger: Person):
    body = {"cron": "0 3 * * *", "timezone": "Europe/Berlin", "quiet_from": "22:00", "quiet_to": "06:00"}

    told = post(stranger, "schedules/preview", body).json()

    assert ([one["begins"][11:16] for one in told["coming"]], len(told["notes"])) == (["06:00"] * 5, 1)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"cron": "0 0 */31 * MON#5"}, "bad_cron"),
        ({"quiet_from": "22:00"}, "bad_quiet_hours"),
        ({"quiet_from": "22:00", "quiet_to": "22:00"}, "bad_quiet_hours"),
        ({"quiet_from": "late", "quiet_to": "06:00"}, "invalid"),
        ({"quiet_days": [8]}, "max_value"),
    ],
)
def test_a_preview_of_what_cannot_be_is_refused(operator: Person, wrong: dict[str, Any], code: str):
    reply = post(operator, "schedules/preview", {"cron": "0 3 * * *", **wrong})

    assert (reply.status_code, reply.json()["code"]) == (400, code)


def test_schedules_and_their_firings_are_filtered(operator: Person, gifts: Any, shared: Line):
    made = post(operator, "schedules", {"line": shared.pk, "recipe": recipe(operator, shared), "cron": "0 3 * * *"})
    pk = made.json()["id"]
    post(operator, f"schedules/{pk}/fire")

    on, paused = (get(operator, f"schedules?state={state}")["results"] for state in ("on", "paused"))
    ran, skipped = (get(operator, f"schedules/{pk}/firings?outcome={word}")["results"] for word in ("ran", "skipped"))

    assert ([row["id"] for row in on], paused) == ([pk], [])
    assert ([row["reason"] for row in ran], skipped) == (["otto asked for it."], [])


def test_a_cron_that_cannot_be_right_is_refused(operator: Person, shared: Line):
    body = {"line": shared.pk, "recipe": recipe(operator, shared), "cron": "whenever"}

    assert post(operator, "schedules", body).json()["code"] == "bad_cron"


def test_the_status_counts_what_the_caller_may_see(contributor: Person, stranger: Person, turned: World):
    mine, theirs = get(contributor, "status"), get(stranger, "status")

    assert (mine["uploads"]["imported"], theirs["uploads"]["imported"]) == (1, 0)
    assert (mine["verdicts"]["HOLD"], theirs["verdicts"]["HOLD"]) == (1, 0)
    assert Alias.objects.count() == 2
