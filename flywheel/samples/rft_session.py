"""A session of reinforcement fine-tuning with nothing but OpenAI's client: files, a grader, a job, its model.

python rft_session.py --base-url http://127.0.0.1:8000/openai/v1 --api-key fw_…   (or OPENAI_BASE_URL, OPENAI_API_KEY)

The task is one that the local base half knows: the largest of three numbers, as {"answer": "81"}. For a model that
follows instructions say in the messages what is asked for; the rest stays as it is.
"""

import argparse
import json
import sys
import time
from random import Random
from typing import Any

from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

GRADER: Any = {
    "type": "multi",
    "name": "largest",
    "graders": {
        "right": {
            "type": "string_check",
            "name": "right",
            "input": "{{ sample.output_json.answer }}",
            "reference": "{{ item.largest }}",
            "operation": "eq",
        },
        "named": {
            "type": "python",
            "name": "named",
            "source": "def grade(sample, item):\n"
            '    return float(sample["output_json"]["answer"] in item["numbers"])\n',
        },
    },
    "calculate_output": "0.8 * right + 0.2 * named",
}
RESPONSE_FORMAT: Any = {
    "type": "json_schema",
    "json_schema": {
        "name": "largest",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"answer": {"type": "string", "pattern": "^[0-9]{2}$"}},
            "required": ["answer"],
            "additionalProperties": False,
        },
    },
}


def rows(count: int, seed: int) -> list[dict[str, Any]]:
    """`messages` is what the model is asked; every other key is read by the grader as `item.KEY`."""
    random, found = Random(seed), []
    for _ in range(count):
        numbers = [str(number) for number in random.sample(range(10, 100), 3)]
        asked = [{"role": "user", "content": f"Max {' '.join(numbers)}"}]
        found.append({"messages": asked, "numbers": numbers, "largest": max(numbers)})
    return found


def upload(client: OpenAI, name: str, given: list[dict[str, Any]]) -> str:
    lines = "".join(json.dumps(row) + "\n" for row in given)
    file = client.files.create(file=(name, lines.encode()), purpose="fine-tune")
    print(f"{file.id}: {name}, {len(given)} rows")
    return file.id


def follow(client: OpenAI, job_id: str) -> FineTuningJob:
    """Print each event once until the job has ended."""
    told: set[str] = set()
    while True:
        job = client.fine_tuning.jobs.retrieve(job_id)
        for event in reversed(client.fine_tuning.jobs.list_events(job_id, limit=100).data):
            if event.id not in told:
                told.add(event.id)
                print(f"  {event.message}")
        if job.status in ("succeeded", "failed", "cancelled"):
            return job
        time.sleep(2)


def pass_rate(client: OpenAI, model: str, given: list[dict[str, Any]]) -> float:
    """The share of rows that the model answers with full reward."""
    passed = 0
    for row in given:
        answer = client.chat.completions.create(
            model=model,
            messages=row["messages"],
            response_format=RESPONSE_FORMAT,
            max_completion_tokens=48,
            temperature=0,
        )
        item = {key: value for key, value in row.items() if key != "messages"}
        sample = answer.choices[0].message.content or ""
        run = client.fine_tuning.alpha.graders.run(grader=GRADER, model_sample=sample, item=item)
        passed += run.reward == 1
    return passed / len(given)


def session(client: OpenAI, model: str, *, training: int, validation: int, epochs: int) -> tuple[float, float]:
    """Pass rates before and after."""
    held_out = rows(validation, seed=2)
    started = time.monotonic()

    def took(what: str) -> None:
        nonlocal started
        print(f"[{what}: {time.monotonic() - started:.0f} seconds]")
        started = time.monotonic()

    training_file = upload(client, "largest-train.jsonl", rows(training, seed=1))
    validation_file = upload(client, "largest-valid.jsonl", held_out)

    client.fine_tuning.alpha.graders.validate(grader=GRADER)
    print(f"grader {GRADER['name']}: valid")
    for sample in ('{"answer": "81"}', '{"answer": "35"}', '{"answer": "7"}'):
        item = {"numbers": ["62", "35", "81"], "largest": "81"}
        run = client.fine_tuning.alpha.graders.run(grader=GRADER, model_sample=sample, item=item)
        print(f"  {sample} earns {run.reward:g}, by {run.sub_rewards}")
    before = pass_rate(client, model, held_out)
    took("files, grader, pass rate of the base")

    method: Any = {
        "type": "reinforcement",
        "reinforcement": {
            "grader": GRADER,
            "response_format": RESPONSE_FORMAT,
            "hyperparameters": {"n_epochs": epochs, "batch_size": min(32, training), "eval_interval": 10},
        },
    }
    job = client.fine_tuning.jobs.create(
        model=model,
        training_file=training_file,
        validation_file=validation_file,
        suffix="largest",
        seed=1,
        method=method,
    )
    print(f"{job.id}: {job.status}")
    job = follow(client, job.id)
    if job.status != "succeeded":
        sys.exit(f"{job.id} {job.status}: {job.error.message if job.error else ''}")
    for checkpoint in client.fine_tuning.jobs.checkpoints.list(job.id).data:
        reward = checkpoint.metrics.to_dict().get("valid_reward_mean")
        print(f"  {checkpoint.fine_tuned_model_checkpoint}: validation reward {reward:.3f}")
    took("job")

    after = pass_rate(client, str(job.fine_tuned_model), held_out)
    took("pass rate of the result")
    print(
        f"{model}: {before:.0%} right; {job.fine_tuned_model}: {after:.0%} right, of {validation} rows never trained on"
    )
    return before, after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-url", help="default: OPENAI_BASE_URL")
    parser.add_argument("--api-key", help="default: OPENAI_API_KEY")
    parser.add_argument("--model", default="champion", help="to start from")
    parser.add_argument("--training", type=int, default=320, help="rows")
    parser.add_argument("--validation", type=int, default=50, help="rows")
    parser.add_argument("--epochs", type=int, default=4)
    given = parser.parse_args()
    client = OpenAI(base_url=given.base_url, api_key=given.api_key)
    session(client, given.model, training=given.training, validation=given.validation, epochs=given.epochs)


if __name__ == "__main__":
    main()
