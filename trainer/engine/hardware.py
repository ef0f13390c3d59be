"""What the machine decides: device, precision, how many rows go through the model at once."""

import torch
from transformers import PreTrainedModel

from trainer.engine import loading
from trainer.runspec import RunSpec

CHECKPOINTING_FROM = 100_000_000  # parameters: below, recomputing activations costs time and saves little
TINY = 20_000_000  # parameters: a whole batch fits, two passes by length halve the padding
BYTES_A_VALUE = 4
VALUES_A_TOKEN = 40  # activations kept of a token, in units of hidden size and layer
SHARE_OF_MEMORY = 0.3  # of the accelerator, for activations


def precision(recipe: RunSpec) -> str:
    """bfloat16 where an accelerator computes it well; on CPU it is slower than float32."""
    if recipe.precision != "auto":
        return recipe.precision
    on_gpu = loading.device().type == "cuda"
    return "bfloat16" if on_gpu and torch.cuda.is_bf16_supported() else "float32"


def checkpoints_gradients(recipe: RunSpec, model: PreTrainedModel) -> bool:
    if recipe.gradient_checkpointing != "auto":
        return recipe.gradient_checkpointing == "on"
    return loading.parameters(model) >= CHECKPOINTING_FROM


def passes(recipe: RunSpec, model: PreTrainedModel, processes: int) -> int:
    """Into how many micro-batches a process cuts its share of a step's completions: a divisor of their number."""
    rows = recipe.prompts_per_step * recipe.group_size // processes
    if loading.device().type != "cuda":
        wished = 2 if loading.parameters(model) < TINY else max(2, rows // 8)
    else:
        wished = max(1, -(-rows // _rows_at_once(recipe, model)))
    return next(count for count in range(min(wished, rows), rows + 1) if rows % count == 0)


def _rows_at_once(recipe: RunSpec, model: PreTrainedModel) -> int:
    """How many rows of full length the accelerator holds with their activations and logits."""
    config = model.config.get_text_config()
    layers = 2.0 if checkpoints_gradients(recipe, model) else float(config.num_hidden_layers)
    values = VALUES_A_TOKEN * config.hidden_size * layers + 3 * config.vocab_size
    bytes_a_row = BYTES_A_VALUE * values * 2 * recipe.max_completion_tokens
    free = SHARE_OF_MEMORY * torch.cuda.get_device_properties(0).total_memory
    return max(1, int(free // bytes_a_row))
