"""Models that take a moment to make: random weights, a tokenizer of ninety tokens or of every byte, a chat template.

They are published as the engine publishes its own, and know nothing of it.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from trainer import contract

TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
TEXT = "the quick brown fox jumps over the lazy dog 0 1 2 3 4 5 6 7 8 9 , . ! ? + - = say hello to a small model"


def make_tokenizer(vocabulary: int = 90) -> PreTrainedTokenizerFast:
    """Of ninety tokens, which can spell what TEXT is made of; with 256 and more it can spell anything."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet() if vocabulary > 256 else []
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([TEXT], trainer)
    # No end token: random weights would draw it now and then. A test that wants one gives it to the model.
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|end|>")
    wrapped.chat_template = TEMPLATE
    return wrapped


def make_model(vocabulary: int, seed: int, end_token: int | None = None, context: int = 1024) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=context, initializer_range=0.4, eos_token_id=end_token,
        bos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def publish(store: Path, partial: Path) -> str:
    """Give the directory its manifest and its name, as the engine does."""
    files = [
        contract.Artifact(path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(partial.iterdir())
    ]
    digest = contract.manifest_digest(files)
    (partial / "manifest.json").write_bytes(contract.encode(contract.Manifest(files, digest)))
    partial.rename(store / digest)
    return digest


@dataclass(frozen=True)
class Shelf:
    """An artifact store that tests fill."""

    path: Path

    def add(
        self,
        seed: int,
        end_token: int | None = None,
        context: int = 1024,
        template: bool = True,
        vocabulary: int = 90,
    ) -> str:
        partial = self.path / f"partial-{seed}"
        tokenizer = make_tokenizer(vocabulary)
        if not template:
            tokenizer.chat_template = None
        make_model(len(tokenizer), seed, end_token, context).save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        return publish(self.path, partial)
