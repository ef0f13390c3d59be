import json
import os
import subprocess
import sys

import pytest
from django.core.management import CommandError, call_command

NUMBER = {"type": "number"}


def grade(*arguments, lines=()):
    """Runs the command in a process of its own, with a database that does not exist."""
    text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    done = subprocess.run(
        [sys.executable, "manage.py", "grade", *arguments],
        input=text.encode(),
        capture_output=True,
        env={**os.environ, "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none"},
        check=False,
    )
    return done, [json.loads(line) for line in done.stdout.splitlines()]


def request(reference, completion, grader=NUMBER):
    return {"grader": grader, "item": {"reference": reference}, "completion": completion}


def test_every_line_is_answered_in_order_and_a_bad_one_says_why():
    done, grades = grade(
        lines=[
            request(5, "It is 5"),
            request(5, "It is 6"),
            "prose\n",
            request(5, "5", {"type": "oracle"}),
            request("many", "5"),
            "[" * 10_000 + "\n",
            request("é\u2028", "é\u2028", {"type": "set_match"}),
        ]
    )

    outcomes = [found["outcome"] for found in grades]
    assert done.returncode == 0
    assert outcomes == ["correct", "incorrect", "ungradable", "ungradable", "ungradable", "ungradable", "correct"]
    assert [found["errors"] for found in grades[2:6]] == [
        ["bad_line"],
        ["unknown_grader"],
        ["bad_reference"],
        ["bad_line"],
    ]
    assert set(grades[0]) == {"outcome", "score", "sub_scores", "read", "reason", "errors", "seconds"}


def test_several_workers_keep_the_order(tmp_path):
    file = tmp_path / "requests.jsonl"
    file.write_text("".join(json.dumps(request(n % 7, str(n % 5))) + "\n" for n in range(1500)))

    _, grades = grade(str(file), "--workers", "2")

    assert [found["outcome"] == "correct" for found in grades] == [n % 7 == n % 5 for n in range(1500)]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [({"file": "nowhere.jsonl"}, "nowhere.jsonl cannot be read"), ({"workers": 0}, "--workers must be 1 or more")],
)
def test_a_wrong_call_is_one_sentence(call, sentence):
    with pytest.raises(CommandError, match=sentence):
        call_command("grade", **call)


def test_a_reader_that_leaves_early_is_no_error():
    line = json.dumps(request(5, "5")) + "\n"
    command = [sys.executable, "manage.py", "grade"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    process.stdin.write(line.encode())
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.close()
    _, complaint = process.communicate(line.encode() * 10)

    assert (process.returncode, complaint) == (0, b"")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_program_that_waits_for_each_answer_gets_it(workers):
    command = [sys.executable, "manage.py", "grade", "--workers", workers]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    found = []

    for n in range(3):
        process.stdin.write((json.dumps(request(n, "1")) + "\n").encode())
        process.stdin.flush()
        found.append(json.loads(process.stdout.readline())["outcome"])
    process.communicate()

    assert found == ["incorrect", "correct", "incorrect"]


def test_ten_thousand_lines_with_bad_ones_among_them_are_answered_one_for_one(tmp_path):
    file = tmp_path / "requests.jsonl"
    lines = [json.dumps(request(n, str(n))) if n % 10 else "\0" for n in range(10_000)]
    file.write_text("\n".join(lines))

    done, grades = grade(str(file))

    assert done.returncode == 0
    assert [found["outcome"] == "correct" for found in grades] == [bool(n % 10) for n in range(10_000)]


def test_nothing_is_answered_with_nothing():
    done, grades = grade(lines=[])

    assert (done.returncode, grades) == (0, [])
