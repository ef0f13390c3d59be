"""What every launcher runs, and the lines of shell that their scripts share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.launchers.payload import Payload, assignments
from trainer.launchers.submission import job_name

HOSTILE = "a b'\"; touch owned; $(touch owned) `touch owned`\n#SBATCH --wrap=x %j $HOME \\"


def test_python_and_the_engine_are_all_that_runs():
    assert Payload().of(Path("/data/runs/r")) == ("python", "-m", "trainer.engine", "/data/runs/r")


def test_on_several_gpus_accelerate_starts_a_process_for_each():
    command = Payload(gpus=4).of(Path("/data/runs/r"))

    assert command[:4] == ("python", "-m", "accelerate.commands.launch", "--multi_gpu")
    assert command[command.index("--num_processes") + 1] == "4"
    assert command[-3:] == ("--module", "trainer.engine", "/data/runs/r")


def test_accelerate_knows_every_option_that_it_is_given():
    options = {word for word in Payload(gpus=2).of(Path("/r")) if word.startswith("--")}
    # The first four lines of its help would take two seconds of imports; the parser is the same.
    program = (
        "from accelerate.commands.launch import launch_command_parser as parser;"
        "print(*(option for action in parser()._actions for option in action.option_strings))"
    )

    known = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert options <= set(known)


def test_a_command_given_in_the_settings_replaces_python_and_module():
    assert Payload(command=("podman", "run", "engine"), gpus=2).of(Path("/r")) == ("podman", "run", "engine", "/r")


@pytest.mark.parametrize("value", [HOSTILE, "", "plain", "-n"])
def test_a_variable_arrives_in_the_job_as_it_is(value: str, tmp_path: Path):
    script = "\n".join([*assignments({"VALUE": value}), 'printf %s "$VALUE"'])

    printed = subprocess.run(["/bin/sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert printed.stdout == value
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("directory", ["run-" + "f" * 32, HOSTILE, "Ünïcödé", "-", "x" * 200])
def test_a_job_is_named_as_kubernetes_wants_names(directory: str):
    name = job_name(Path("/data/runs") / directory, 12345)

    assert len(name) <= 52
    assert name.replace("-", "").isalnum()
    assert name.isascii()
    assert name == name.lower()


def test_directories_that_look_alike_have_jobs_of_different_names():
    assert job_name(Path("/data/a b"), 1) != job_name(Path("/data/a-b"), 1)
