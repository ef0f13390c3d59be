"""A stand-in for `python -m trainer.engine`: writes the same files in a moment, without torch.

`python tests/fakes/engine.py [--knobs FILE] DIR`. Knobs come from DIR/fake.json, else from --knobs, else from the file
that FAKE_ENGINE_KNOBS names; each is optional:

    {"seconds": 0.1,                 wall time of the whole run, spread over its steps
     "champion": 0.3, "candidate": 0.6, "anchor": 0.3,      pass rates; or by suite: {"*": 0.6, "reverse": 0.1}
     "sample": 4,                    how many of k answers solve a task; or by domain; null: ungradable
     "wrong": "41",                  what the other answers of a sample say
     "reward_from": 0.3, "reward_to": 0.6, "kl": 2.0,       the training curves
     "validation": false,            without a validation split; true by default
     "alarms": [{"step": 5, "kind": "kl", "level": "stop", "action": "rolled_back", "back_to": 3}],
                                     with "again": true, of a step that is trained after the run went back
     "suspicious": ["echo"],         checks of the report that do not hold
     "early_stop_at": 8,             the run ends there by itself
     "crash_at": 5,                  kill -9 of itself at this step, on attempts up to "crash_attempts" (1)
     "fail": "training",             end as failed at this boundary
     "leave": true,                  end without a result, with exit status 3
     "model": "DIR",                 publish the files of this directory, a model that can be served
     "by_seed": {"7": {...}}}        more knobs, for training of which this is the seed
"""

import argparse
import fcntl
import hashlib
import json
import math
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from trainer import contract, hacking

STEPS_OF_EVALUATION = 4


class Left(Exception):
    def __init__(self, status: str, ending: contract.Ending | None = None) -> None:
        self.status, self.ending = status, ending


class FakeEngine:
    def __init__(self, directory: Path, knobs: dict[str, Any]) -> None:
        self.directory = directory
        self.spec = contract.decode_spec((directory / "spec.json").read_bytes())
        seed = getattr(getattr(self.spec, "recipe", None), "seed", None)
        self.knobs = {**knobs, **knobs.get("by_seed", {}).get(str(seed), {})}
        self.started, self.step, self.terminated = time.time(), 0, False
        self.rollbacks = 0

    def run(self) -> None:
        lock = (self.directory / "lock").open("ab")
        fcntl.flock(lock, fcntl.LOCK_EX)  # a predecessor that finds itself fenced leaves at its next step
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "terminated", True))
        self.beat("loading")
        if self.knobs.get("leave"):
            sys.exit(3)
        try:
            if "fail" in self.knobs:
                raise Left("failed")
            {
                contract.BaseSpec: self.build,
                contract.TrainSpec: self.train,
                contract.EvaluateSpec: self.evaluate,
                contract.SampleSpec: self.sample,
            }[type(self.spec)]()
            completed = contract.Ending("completed", "All steps are done.")
            self.finish("succeeded", completed if isinstance(self.spec, contract.TrainSpec) else None)
        except Left as left:
            self.finish(left.status, left.ending)

    def build(self) -> None:
        assert (self.directory / "demonstrations.jsonl").stat().st_size
        self.training(self.spec.steps, "building")

    def train(self) -> None:
        assert (self.directory / "train.jsonl").stat().st_size
        self.training(self.spec.recipe.steps, "training")
        self.report()

    def report(self) -> None:
        failed = self.knobs.get("suspicious", [])
        checks = [
            contract.HackingCheck(
                name=name, title=title, value=0.4 * (name in failed), limit=0.05, holds=name not in failed, n=30,
                sentence="Fake: it earns something." if name in failed else "Fake: it earns nothing.",
                examples=[contract.CheckExample("0" * 32, "1 + 1 = ?", "1 + 1 = ?", 1.0, "Fake.")] * (name in failed),
            )
            for name, title in hacking.TITLES.items()
        ]  # fmt: skip
        self.replace("report.json", contract.encode(contract.Report(checks, self.step, 30, self.spec.attempt)))

    def training(self, total: int, phase: str) -> None:
        step = self.last_step() + 1
        while step <= total:
            self.go_on(step, total, phase)
            self.append("metrics.jsonl", self.metrics(step, total, phase))
            if phase == "training":
                self.append("samples.jsonl", self.rollout(step))
                if step % self.spec.recipe.save_every == 0:
                    self.checkpoint(step)
                step = self.alarmed(step)
                self.spend(step)
                if self.knobs.get("early_stop_at") == step:
                    raise Left("succeeded", contract.Ending("early_stopping", f"No better since step {step - 1}."))
            step += 1

    def metrics(self, step: int, total: int, phase: str) -> contract.StepMetrics:
        share = step / total
        start, end = self.knobs.get("reward_from", 0.3), self.knobs.get("reward_to", 0.6)
        reward = start + (end - start) * math.sqrt(share)
        common: dict[str, Any] = {
            "step": step, "total_steps": total, "at": time.time(), "attempt": self.spec.attempt,
            "loss": 1 - share / 2, "entropy": 1.2 - 0.4 * share, "gradient_norm": 0.5, "seconds_step": 0.01,
            "tokens_seen": step * 1000, "grader_error_share": 0.0, "learning_rate": 3e-4 * 0.5**self.rollbacks,
        }  # fmt: skip
        if phase != "training":
            return contract.StepMetrics(**common)
        validated = self.knobs.get("validation", True)
        if validated:
            self.validate(step, reward)
        return contract.StepMetrics(
            **common, reward_mean=reward, reward_by_domain={"add": reward, "reverse": reward / 2},
            reward_by_grader={"number": reward}, clip_share=0.02, zero_spread_share=0.25, truncated_share=0.0,
            completion_tokens_mean=6.0, kl=contract.Estimate(self.knobs.get("kl", 2.0) * share, 0.02, 128),
            validation_reward=contract.Estimate(reward, 0.02, 96) if validated else None,
            validation_by_domain={"add": reward, "reverse": reward / 2} if validated else {},
            probe_entropy=1.1 - 0.3 * share, sampler_gap=0.001, groups_drawn=20, groups_without_spread=5,
            groups_learned=15, prompts_passed_over=2, prompts_resting=step % 3, tokens_per_second=1e5,
            seconds_sampling=0.004, seconds_grading=0.001, seconds_measuring=0.002,
        )  # fmt: skip

    def validate(self, step: int, reward: float) -> None:
        """An answer to each validation prompt, the share of right ones near the reward."""
        given = self.directory / "validation.jsonl"
        rows = [json.loads(line) for line in given.read_text().splitlines()] if given.exists() else []
        right = round(reward * len(rows))
        (self.directory / "validation").mkdir(exist_ok=True)
        self.replace(f"validation/step-{step}.jsonl", b"".join(
            contract.encode(contract.ValidationAnswer(
                key=row["key"], sample=0, completion="2", tokens=2, truncated=False, score=float(n < right),
                outcome="correct" if n < right else "incorrect", reason="Fake.",
            )) + b"\n" for n, row in enumerate(rows)
        ))  # fmt: skip

    def rollout(self, step: int) -> contract.Rollout:
        return contract.Rollout(
            step=step, key="0" * 32, domain="add", prompt="1 + 1 = ?", completion="2", reward=1.0, advantage=0.5,
            reason="Fake.", tokens=2,
        )  # fmt: skip

    def alarmed(self, step: int) -> int:
        """Write the alarms of this step; the step that the run goes on from."""
        told = [alarm for alarm in self.knobs.get("alarms", []) if alarm["step"] == step]
        for number, alarm in enumerate(told):
            went_back = alarm.get("action") == "rolled_back"
            if bool(alarm.get("again")) != bool(self.rollbacks):
                continue
            self.append("alarms.jsonl", contract.Alarm(
                step=step, at=time.time() + number / 1000, kind=alarm.get("kind", "kl"), value=9.0, threshold=3.0,
                level=alarm.get("level", "warn"), action=alarm.get("action", "none"), attempt=self.spec.attempt,
                sentence=f"Fake: {alarm.get('kind', 'kl')} at step {step}.",
            ))  # fmt: skip
            if alarm.get("action") == "stopped":
                raise Left("succeeded", contract.Ending("alarm", f"Stopped by an alarm at step {step}."))
            if went_back:
                self.rollbacks += 1
                return int(alarm["back_to"])
        return step

    def spend(self, step: int) -> None:
        recipe, minutes = self.spec.recipe, (time.time() - self.started) / 60
        for unit, budget, used in (
            ("steps", recipe.max_steps, step),
            ("minutes", recipe.max_minutes, minutes),
            ("tokens", recipe.max_tokens, step * 1000),
        ):
            if 0 < budget <= used:
                sentence = f"The budget of {budget:g} {unit} is spent at step {step}."
                raise Left("paused", contract.Ending(f"budget_{unit}", sentence))

    def evaluate(self) -> None:
        items = [msgspec.json.decode(line, type=contract.EvalItem) for line in self.lines("items.jsonl")]
        scores = [
            self.score(side, item, k)
            for side in self.spec.sides
            for item in items
            if item.suite not in self.spec.known.get(side, ())
            for k in range(self.spec.sampling.answers_per_item)
        ]
        for step in range(1, STEPS_OF_EVALUATION + 1):
            self.go_on(step, STEPS_OF_EVALUATION, "evaluating")
        (self.directory / "scores.jsonl").write_bytes(b"".join(contract.encode(score) + b"\n" for score in scores))

    def sample(self) -> None:
        """A fourth of the items at every step, as lines of answers.jsonl; a killed attempt's are kept."""
        items = [msgspec.json.decode(line, type=contract.PromptItem) for line in self.lines("items.jsonl")]
        done = {json.loads(line)["key"] for line in self.lines("answers.jsonl")}
        for step in range(1, STEPS_OF_EVALUATION + 1):
            self.go_on(step, STEPS_OF_EVALUATION, "sampling")
            for item in items[step - 1 :: STEPS_OF_EVALUATION]:
                if item.key not in done:
                    self.append("answers.jsonl", self.answers(item))

    def answers(self, item: contract.PromptItem) -> contract.TaskAnswers:
        k, passes = self.spec.sampling.answers_per_item, self.knobs.get("sample", 4)
        if isinstance(passes, dict):
            passes = passes.get(item.domain, passes.get("*", 4))
        if passes is None:
            return contract.TaskAnswers(item.key, [None] * k, passes=0, tokens=8 * k, fault="Fake: ungradable.")
        scores = [float(at < passes) for at in range(k)]
        wrong = self.knobs.get("wrong", "41")
        return contract.TaskAnswers(item.key, scores, passes, 8 * k, wrong=wrong, wrong_count=k - passes)

    def score(self, side: str, item: contract.EvalItem, k: int) -> contract.Score:
        """Pass rates vary between items (hard for one side, hard for the other) and average to the side's rate."""
        seed = self.spec.sampling.seed
        hardness = random.Random(f"{seed}:{item.key}").uniform(-0.15, 0.15)
        rate = self.knobs.get(side, {"candidate": 0.6}.get(side, 0.3))
        if isinstance(rate, dict):
            rate = rate.get(item.suite, rate.get("*", 0.3))
        correct = random.Random(f"{seed}:{side}:{item.key}:{k}").random() < rate + hardness * (0 < rate < 1)
        return contract.Score(
            suite=item.suite, key=item.key, cluster=item.cluster, side=side, sample=k, score=float(correct),
            outcome="correct" if correct else "incorrect", tokens=8, truncated=False, completion="42", reason="Fake.",
        )  # fmt: skip

    def go_on(self, step: int, total: int, phase: str) -> None:
        """What the real engine does between two steps: heartbeat, fencing, control, crash points."""
        time.sleep(self.knobs.get("seconds", 0.0) / total)
        if self.knobs.get("crash_at") == step and self.spec.attempt <= self.knobs.get("crash_attempts", 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if contract.decode_spec((self.directory / "spec.json").read_bytes()).attempt != self.spec.attempt:
            sys.exit(4)  # fenced: another attempt owns the directory
        control = self.directory / "control.json"
        if control.exists():
            action = msgspec.json.decode(control.read_bytes(), type=contract.Control).action
            raise Left("paused" if action == "pause" else "cancelled")
        if self.terminated:
            raise Left("paused")
        self.step = step
        self.beat(phase, total)

    def finish(self, status: str, ending: contract.Ending | None = None) -> None:
        kept = status == "succeeded" and not isinstance(self.spec, contract.EvaluateSpec | contract.SampleSpec)
        fault = contract.EngineFault(self.knobs.get("fail", ""), "fake_fault", "The fake engine was told to fail.")
        with_kl = status == "succeeded" and getattr(self.spec, "initial", True) is not None
        result = contract.Result(
            status=status, attempt=self.spec.attempt, step=self.step, model=self.publish() if kept else None,
            kl=contract.Estimate(self.knobs.get("kl", 2.0), 0.02, 128) if with_kl else None,
            peak_memory_bytes=memory(), seconds={"total": time.time() - self.started},
            error=fault if status == "failed" else None,
            tokens=self.step * 1000 if status == "succeeded" else 0, ending=ending,
            kept_step=self.step if kept and ending else None,
            learning_rate=3e-4 * 0.5**self.rollbacks if kept and ending else None,
        )  # fmt: skip
        self.beat("done")
        self.replace("result.json", contract.encode(result))

    def checkpoint(self, step: int) -> None:
        """The weights of a step, with the state beside them that no model has."""
        final = self.directory / "checkpoints" / f"step-{step}"
        if not final.exists():
            final.parent.mkdir(exist_ok=True)
            self.publish_as(final, f"/{step}", {"state.json": b"{}", "optimizer.pt": b"moments"})

    def publish(self) -> contract.Manifest:
        return self.publish_as(self.directory / "model")

    def publish_as(self, model: Path, salt: str = "", more: dict[str, bytes] | None = None) -> contract.Manifest:
        partial = model.with_name(model.name + ".partial")
        partial.mkdir(exist_ok=True)
        work = self.directory.resolve().name + salt  # another run, another digest; another attempt, the same
        for name, content in {**self.files(hashlib.sha256(work.encode()).digest()), **(more or {})}.items():
            (partial / name).write_bytes(content)
        files = [
            contract.Artifact(file.name, file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest())
            for file in sorted(partial.iterdir())
            if file.name != "manifest.json"
        ]
        manifest = contract.Manifest(files, contract.manifest_digest(files), self.step)
        (partial / "manifest.json").write_bytes(contract.encode(manifest))
        if not model.exists():
            partial.rename(model)
        return manifest

    def files(self, content_of_this_run: bytes) -> dict[str, bytes]:
        if "model" in self.knobs:
            model = {path.name: path.read_bytes() for path in Path(self.knobs["model"]).iterdir()}
            return {**model, "run.json": json.dumps(content_of_this_run.hex()).encode()}
        header = b'{"weight":{"dtype":"U8","shape":[32],"data_offsets":[0,32]}}'
        weights = len(header).to_bytes(8, "little") + header + content_of_this_run
        named = {"config.json": b'{"model_type": "fake"}', "tokenizer.json": b"{}"}
        return {**named, "model.safetensors": weights}

    def last_step(self) -> int:
        steps = [json.loads(line)["step"] for line in self.lines("metrics.jsonl")]
        return steps[-1] if steps else 0

    def lines(self, name: str) -> list[bytes]:
        path = self.directory / name
        return path.read_bytes().splitlines() if path.exists() else []

    def append(self, name: str, value: msgspec.Struct) -> None:
        with (self.directory / name).open("ab") as file:
            file.write(contract.encode(value) + b"\n")

    def beat(self, phase: str, total: int = 0) -> None:
        beat = contract.Heartbeat(self.spec.attempt, os.getpid(), time.time(), phase, self.step, total, memory())
        self.replace("heartbeat.json", contract.encode(beat))

    def replace(self, name: str, content: bytes) -> None:
        path = self.directory / name
        partial = path.with_name(f".{path.name}")
        partial.write_bytes(content)
        os.replace(partial, path)


def memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--knobs", default=os.environ.get("FAKE_ENGINE_KNOBS"))
    parser.add_argument("directory", type=Path)
    arguments = parser.parse_args()
    own = arguments.directory / "fake.json"
    source = own if own.exists() else arguments.knobs and Path(arguments.knobs)
    FakeEngine(arguments.directory, json.loads(source.read_text()) if source else {}).run()


if __name__ == "__main__":
    main()
