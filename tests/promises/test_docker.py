"""What the container set-up promises. It is linted and read here, not run: no engine is needed for the tests."""

import re
from pathlib import Path
from typing import Any

import pytest
from openai import DEFAULT_CONNECTION_LIMITS
from ruamel.yaml import YAML

from flywheel.embedded import services
from flywheel.openai_compat.places import CHATS
from tasks.graders import judges
from tasks.sandbox import levels, pool

DOCKER = Path(__file__).resolve().parents[2] / "docker"
COMPOSE: dict[str, Any] = YAML(typ="safe").load(DOCKER / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service.get("image") == "flywheel:local"]


def test_every_part_of_the_product_is_a_service():
    assert set(SERVICES) == {"postgres", "valkey", "migrate", "web", "worker", "beat", "model-server", "engine"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_a_read_only_root_and_no_capability(name: str):
    service = SERVICES[name]

    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in OURS])
def test_a_foreign_image_runs_as_its_own_ordinary_user(name: str):
    assert SERVICES[name]["user"] not in ("root", "0")


def test_our_image_runs_as_an_ordinary_user():
    users = re.findall(r"^USER (\d+)", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)

    assert users
    assert int(users[-1]) > 0


def test_the_web_serves_as_it_does_without_a_container():
    told = re.findall(r'"(--[\w-]+)", +(?:\\\n +)?"([^"]+)"', (DOCKER / "Dockerfile").read_text())
    embedded = services.web(8000)

    shared = {
        name: value for name, value in told if name in ("--worker-class", "--workers", "--threads", "--keep-alive")
    }

    assert len(shared) == 4
    assert {name: embedded[embedded.index(name) + 1] for name in shared} == shared
    assert int(shared["--threads"]) > CHATS
    assert int(shared["--keep-alive"]) > DEFAULT_CONNECTION_LIMITS.keepalive_expiry


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "migrate"])
def test_a_lasting_service_has_a_health_check(name: str):
    assert SERVICES[name]["healthcheck"]["test"]


@pytest.mark.parametrize("name", ["web", "worker", "beat", "engine"])
def test_whoever_uses_the_database_awaits_the_migrations(name: str):
    assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_only_the_engine_needs_the_gpu_profile():
    assert [name for name, service in SERVICES.items() if service.get("profiles") == ["gpu"]] == ["engine"]


def test_only_the_portal_is_published_and_only_on_the_loopback():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert published == {"web": ["127.0.0.1:${WEB_PORT:-8000}:8000"]}


def test_the_models_cannot_be_changed_by_the_server_that_serves_them():
    assert SERVICES["model-server"]["volumes"] == ["data:/data:ro"]


def test_the_model_server_is_told_neither_the_secret_key_nor_the_database():
    assert {"SECRET_KEY", "DATABASE_URL"}.isdisjoint(SERVICES["model-server"]["environment"])


@pytest.mark.parametrize("name", ["web", "worker", "engine"])
def test_where_graders_run_every_setting_of_theirs_arrives_and_may_be_left_out(name: str):
    package = DOCKER.parent / "tasks"
    modules = [*(package / "graders").glob("*.py"), *(package / "sandbox").glob("*.py")]
    read = set(re.findall(r'"((?:JUDGES?|SANDBOX)(?:_[A-Z]+)*)"', "".join(path.read_text() for path in modules)))
    read -= {"JUDGES_FD"}  # from the launcher to an engine

    given = {setting: SERVICES[name]["environment"].get(setting) for setting in read}

    assert {"JUDGES", "SANDBOX_LEVELS"} <= read
    assert given == {setting: f"${{{setting}:-}}" for setting in read}


@pytest.mark.parametrize("setting", ["JUDGES", "JUDGE_URL", "JUDGE_API_KEY", "JUDGE_SECONDS", "JUDGE_CONCURRENCY"])
def test_a_setting_of_the_judges_that_is_empty_is_as_good_as_none(setting: str):
    assert judges.of_environment({setting: ""}) == judges.of_environment({})


def test_a_setting_of_the_sandbox_that_is_empty_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SANDBOX_LEVELS", "")
    monkeypatch.setenv("SANDBOX_WORKERS", "")

    assert levels.wanted() == levels.OFFERED
    assert pool.workers_wanted() >= 1


@pytest.mark.parametrize("name", ["web", "worker", "engine"])
def test_every_setting_of_engines_beside_their_worker_arrives_with_the_default_of_the_settings(name: str):
    elsewhere = ("LAUNCHER", "COMMAND", "POLL", "GPU_TYPE", "CPUS", "MEMORY", "TIME", "IMAGE", "SLURM", "KUBER", "SKY")
    source = (DOCKER.parent / "flywheel" / "settings.py").read_text()
    defaults = dict(re.findall(r'_(?:whole|word)\("(ENGINE_\w+)", (?:(\d+))?', source))
    beside = {name: default for name, default in defaults.items() if not name[7:].startswith(elsewhere)}

    given = {setting: SERVICES[name]["environment"].get(setting) for setting in beside}

    assert "ENGINE_SLOTS" in beside
    assert given == {setting: f"${{{setting}:-{default}}}" for setting, default in beside.items()}


def test_no_secret_has_a_default():
    text = (DOCKER / "compose.yaml").read_text()

    defaults = re.findall(r"\$\{(?:SECRET_KEY|MODEL_SERVER_TOKEN|POSTGRES_PASSWORD)(?!:\?)[^}]*\}", text)

    assert defaults == []
