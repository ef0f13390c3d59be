"""Bare TRL, as its documentation has it: `python bare_trl.py DIR`. Run by path, because only the engine imports torch.

In    settings.json: model (path), grpo (arguments of GRPOConfig), keep_every (steps, 0: keep no weights)
      train.jsonl: prompts in the order in which they are trained on, with their graders
Out   steps.jsonl: a line a step, `at` is when it ended and `aside` the seconds after that which saving took
      kept/step-N: weights and tokenizer; result.json: peak memory
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from transformers.utils import logging
from trl import GRPOConfig, GRPOTrainer

from tasks.graders import registry
from trainer import rewards

directory = Path(sys.argv[1])
settings = json.loads((directory / "settings.json").read_text())
rows = [json.loads(line) for line in (directory / "train.jsonl").read_text().splitlines()]
logging.set_verbosity_error()
logging.disable_progress_bar()
on_cpu = not torch.cuda.is_available()
if on_cpu:
    torch.set_num_threads(1)


def graded(*, completions: list[Any], row: list[int], **others: Any) -> list[float | None]:
    texts = [completion[0]["content"] for completion in completions]
    asked = [(rows[place]["grader"], text, rows[place]["item"]) for place, text in zip(row, texts, strict=True)]
    return [rewards.reward(grade) for grade in registry.grade_each(asked)]


class Curve(TrainerCallback):
    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._write(step=0, completions=0, at=time.time(), aside=0.0)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **others: Any) -> None:
        if "reward" not in logs:
            return
        at = time.time()
        if settings["keep_every"] and state.global_step % settings["keep_every"] == 0:
            for part in (others["model"], tokenizer):
                part.save_pretrained(directory / "kept" / f"step-{state.global_step}")
        told = {
            name: logs[name] for name in ("reward", "frac_reward_zero_std", "completions/mean_length", "num_tokens")
        }
        drawn = args.per_device_train_batch_size * args.gradient_accumulation_steps
        self._write(step=state.global_step, completions=drawn, at=at, aside=time.time() - at, **told)

    def _write(self, **line: Any) -> None:
        with (directory / "steps.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


tokenizer = AutoTokenizer.from_pretrained(settings["model"])
trainer = GRPOTrainer(
    model=AutoModelForCausalLM.from_pretrained(settings["model"], dtype=torch.float32),
    reward_funcs=[graded],
    args=GRPOConfig(
        output_dir=str(directory / "trainer"),
        use_cpu=on_cpu,
        bf16=not on_cpu,
        dataloader_pin_memory=not on_cpu,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **settings["grpo"],
    ),
    train_dataset=Dataset.from_list([{"prompt": row["messages"], "row": at} for at, row in enumerate(rows)]),
    processing_class=tokenizer,
    callbacks=[Curve()],
)
trainer.train()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
(directory / "result.json").write_text(json.dumps({"status": "succeeded", "attempt": 1, "peak_memory_bytes": peak}))
