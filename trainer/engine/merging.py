"""`python -m trainer.engine.merging START CHECKPOINT TARGET`: the model START with an adapter that was trained on it.

What a run with LoRA publishes in the end is made in the same way, so that a checkpoint's model is the one that the run
would have ended with at that step. Exit status: 0 TARGET is a whole model, 1 it is not there and the last line of the
standard error says why, 2 the command is wrong.
"""

import sys
import traceback
from pathlib import Path

from peft import PeftModel
from transformers.utils import logging

from trainer.contract import ModelRef
from trainer.engine import checkpoints, loading
from trainer.engine.faults import Fault


def main(arguments: list[str]) -> int:
    if len(arguments) != 4:
        print("usage: python -m trainer.engine.merging START CHECKPOINT TARGET", file=sys.stderr)
        return 2
    logging.disable_progress_bar()
    loading.use_threads()
    try:
        merge(*map(Path, arguments[1:]))
    except Fault as fault:
        print(fault, file=sys.stderr)
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def merge(start: Path, checkpoint: Path, target: Path) -> None:
    """Raises Fault where the start is not what its manifest says, and peft's own error where the adapter does not fit
    it."""
    reference = ModelRef(path=str(start), digest=checkpoints.read_manifest(start).digest)
    model, tokenizer = loading.load(reference)
    merged = PeftModel.from_pretrained(model, str(checkpoint)).merge_and_unload()
    loading.publish(merged, tokenizer, target)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
