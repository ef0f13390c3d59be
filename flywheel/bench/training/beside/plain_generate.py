"""A plain `generate` loop: `python plain_generate.py DIR`. Run by path, because only the engine imports torch.

In    the files of an evaluation: spec.json with one side, items.jsonl
Out   result.json: seconds from the loaded model to the last grade, answers, share of right ones, peak memory
"""

import json
import resource
import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from tasks.graders import registry

AT_ONCE = 512  # answers, as many as the engine's

directory = Path(sys.argv[1])
spec = json.loads((directory / "spec.json").read_text())
items = [json.loads(line) for line in (directory / "items.jsonl").read_text().splitlines()]
(side,) = spec["sides"].values()
drawn_as = spec["sampling"]
k = drawn_as["answers_per_item"]
logging.set_verbosity_error()
logging.disable_progress_bar()
if not torch.cuda.is_available():
    torch.set_num_threads(1)
torch.manual_seed(drawn_as["seed"])

device = "cuda" if torch.cuda.is_available() else "cpu"
tokenizer = AutoTokenizer.from_pretrained(side["path"], padding_side="left")
model = AutoModelForCausalLM.from_pretrained(side["path"], dtype=torch.float32).to(device).eval()
began = time.monotonic()
right = answers = 0
items.sort(key=lambda item: len(item["messages"][-1]["content"]))  # as the engine does: a pass pads little
for at in range(0, len(items), AT_ONCE // k):
    some = items[at : at + AT_ONCE // k]
    given = tokenizer.apply_chat_template(
        [item["messages"] for item in some],
        add_generation_prompt=True,
        padding=True,
        return_tensors="pt",
        return_dict=True,
    ).to(device)
    with torch.inference_mode():
        made = model.generate(
            **given,
            do_sample=True,
            temperature=drawn_as["temperature"],
            top_k=0,
            num_return_sequences=k,
            max_new_tokens=drawn_as["max_completion_tokens"],
        )
    texts = tokenizer.batch_decode(made[:, given["input_ids"].size(1) :], skip_special_tokens=True)
    asked = [(some[n // k]["grader"], text, some[n // k]["item"]) for n, text in enumerate(texts)]
    grades = registry.grade_each(asked)
    right += sum(grade.outcome == "correct" for grade in grades)
    answers += len(grades)
seconds = time.monotonic() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
told = {"status": "succeeded", "attempt": 1, "step": answers, "seconds": {"evaluating": seconds}}
(directory / "result.json").write_text(json.dumps({**told, "peak_memory_bytes": peak}))
(directory / "right.json").write_text(json.dumps({"right": right, "answers": answers}))
