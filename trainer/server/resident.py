"""One loaded model with its tokenizer and its worker."""

import gc
import threading
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from trainer.constraint import Constraint, Unusable, Vocabulary
from trainer.server.faults import invalid
from trainer.server.store import Store, corrupt
from trainer.server.worker import Worker

# One at a time: transformers sets torch's global default dtype while it builds a model.
_building = threading.Lock()

NO_LIMIT = 1 << 20  # tokens; for models that name no context length


class Resident:
    def __init__(self, model: PreTrainedModel, tokenizer: Any, name: str, max_cached_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._rendering = threading.Lock()  # a fast tokenizer is not made for two callers at once
        self.context = int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or NO_LIMIT)
        self.ends = _end_tokens(model, tokenizer)
        self._width = int(model.config.get_text_config().vocab_size)
        self._spelt: dict[int, tuple[str, bytes | None]] = {}
        self.worker = Worker(model, name, max_cached_tokens)
        self.worker.start()

    def render(self, messages: list[dict[str, str]]) -> list[int]:
        """The prompt's tokens, by the model's own chat template."""
        if not self._tokenizer.chat_template:
            raise invalid("model", "This model has no chat template, so it cannot be asked messages.")
        try:
            with self._rendering:
                tokens = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
        except jinja2.TemplateError as error:
            raise invalid("messages", f"The model's chat template refuses these messages: {error}.") from error
        return list(tokens["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def constrain(self, grammar: str) -> Constraint:
        """The state of a new answer that is held to the grammar. Raises Unusable."""
        if isinstance(self._vocabulary, Unusable):
            raise self._vocabulary
        return self._vocabulary.begin(grammar)

    def spell(self, token: int) -> tuple[str, bytes | None]:
        """A token's text and its bytes; None where the tokenizer does not tell them."""
        if token not in self._spelt:
            text = str(self._tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False))
            known = self._vocabulary
            written = None if isinstance(known, Unusable) else known.bytes_of(token)
            self._spelt[token] = (text, written)
        return self._spelt[token]

    @cached_property
    def _vocabulary(self) -> Vocabulary | Unusable:
        """Made for the first answer that needs it: of a large vocabulary it takes a second."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            return Unusable("This model has no fast tokenizer, so its answers cannot be held to a format.")
        try:
            with self._rendering:
                return Vocabulary(backend.to_str(), self._width, self.ends)
        except Unusable as error:
            return error

    def close(self) -> None:
        self.worker.close()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def load(store: Store, digest: str, device: str, max_cached_tokens: int) -> Resident:
    directory = store.verify(digest)
    with _building:
        try:
            model = AutoModelForCausalLM.from_pretrained(
                directory,
                dtype=weight_dtype(device),
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
            )
            tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise corrupt(digest, f"transformers cannot load it ({_first_line(error)})") from error
    model.to(device)
    return Resident(model, tokenizer, digest, max_cached_tokens)


def weight_dtype(device: str) -> torch.dtype | str:
    """As stored, on an accelerator. On CPU float32: half precision is slower there and rounds by the batch's shape."""
    return torch.float32 if device == "cpu" else "auto"


def bytes_needed(store: Store, digest: str, device: str) -> int:
    directory: Path = store.find(digest)
    if device == "cpu":
        return store.parameters(digest) * 4
    return sum(path.stat().st_size for path in directory.glob("*.safetensors"))


def _end_tokens(model: PreTrainedModel, tokenizer: Any) -> frozenset[int]:
    stated = model.generation_config.eos_token_id if model.generation_config else None
    listed: Iterable[int | None] = stated if isinstance(stated, list) else [stated]
    return frozenset(token for token in [*listed, tokenizer.eos_token_id] if token is not None)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
