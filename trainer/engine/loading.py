"""Opening a causal language model and its tokenizer, with the checks that spare a run a late surprise."""

import os
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from trainer.contract import Manifest, ModelRef
from trainer.engine import checkpoints, ranks
from trainer.engine.faults import Fault


def device() -> torch.device:
    """This process's accelerator, else the processor."""
    return torch.device("cuda", ranks.local_rank()) if torch.cuda.is_available() else torch.device("cpu")


def use_threads() -> None:
    """All cores of the machine, or ENGINE_THREADS of them."""
    if wished := os.environ.get("ENGINE_THREADS"):
        torch.set_num_threads(int(wished))


def load(reference: ModelRef) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in evaluation mode and float32, and its tokenizer padding on the left."""
    _require_source(reference)
    try:
        tokenizer = AutoTokenizer.from_pretrained(reference.path, revision=reference.revision, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            reference.path,
            revision=reference.revision,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
        )
    except (OSError, ValueError, KeyError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Fault("model", "model_unreadable", f"{_called(reference)} cannot be loaded: {first_line}") from error
    if not tokenizer.chat_template:
        raise Fault(
            "model",
            "chat_template_missing",
            f"{_called(reference)} has no chat template: add a chat_template.jinja.",
        )
    _require_matching(model, tokenizer, _called(reference))
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    require_finite(model)
    return model.to(device()).eval(), tokenizer


def _require_matching(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, called: str) -> None:
    """A token without a row in the embedding would end the run with an index error, or on a GPU with the device."""
    rows = int(model.get_input_embeddings().weight.shape[0])
    ids = max(tokenizer.get_vocab().values(), default=-1) + 1
    if ids > rows:
        raise Fault(
            "model",
            "tokenizer_mismatch",
            f"{called} has {rows:,} rows in its embedding for the {ids:,} tokens of its tokenizer: they do not belong "
            "together.",
        )
    if tokenizer.eos_token_id is None:
        raise Fault(
            "model",
            "end_token_missing",
            f"{called} has a tokenizer without an end token: set eos_token in tokenizer_config.json.",
        )


def require_finite(model: PreTrainedModel) -> None:
    """A model with NaN in its weights must neither start a run nor leave one."""
    for name, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            raise Fault("model", "weights_not_finite", f"The weights {name} hold NaN or infinite values.")


def publish(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, final: Path, *, step: int = 0) -> Manifest:
    """A plain from_pretrained directory: config, safetensors, tokenizer, chat template, generation config, manifest."""
    require_finite(model)
    partial = final.with_name(final.name + ".partial")
    checkpoints.clear(partial)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    return checkpoints.publish(partial, final, step=step)


def parameters(model: PreTrainedModel) -> int:
    return sum(weight.numel() for weight in model.parameters())


def context_tokens(model: PreTrainedModel) -> int:
    """How many tokens prompt and completion may have together."""
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", 2**31))


def _require_source(reference: ModelRef) -> None:
    """A directory that holds safetensors and matches its digest, or a hub id pinned to a revision."""
    directory, called = Path(reference.path), _called(reference)
    if not directory.is_dir():
        if directory.is_absolute():
            raise Fault("model", "model_missing", f"{called} is not at {reference.path}.")
        if not reference.revision:
            raise Fault("model", "revision_missing", f"The hub model {reference.path} needs a pinned revision.")
        return
    if not any(directory.glob("*.safetensors")):
        raise Fault("model", "safetensors_missing", f"{called} has no safetensors weights; no other format is read.")
    if reference.digest and (directory / checkpoints.MANIFEST).is_file():
        manifest = checkpoints.verified(directory)
        if manifest is None or manifest.digest != reference.digest:
            raise Fault("model", "digest_differs", f"{called} is not what it was registered as: its files changed.")


def _called(reference: ModelRef) -> str:
    return f"The model {reference.name or reference.path}"
