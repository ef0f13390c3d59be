"""Building the small local base model from demonstrations: a tokenizer, a two-layer Llama, a fixed number of steps.

Whatever the demonstrations get wrong, the base learns to get wrong as often; that share is the headroom which
reinforcement learning finds later, and it is put there on purpose (flywheel/samples/demonstrations.py says how much).
A fixed step count rather than a wall-clock schedule keeps the result the same on every run of the same machine.
"""

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from trainer.contract import BaseSpec, Demonstration, Manifest, StepMetrics
from trainer.engine import loading, rows, sampling
from trainer.engine.faults import Fault, Stopped
from trainer.engine.progress import Progress

PAD, END = "<|pad|>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{% if message.role == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CONTEXT_TOKENS = 512
MUON_RATE, ADAMW_RATE = 7e-3, 3e-3  # higher Muon rates leave the copying families unlearnt in 450 steps
REPORT_EVERY = 10
PASSES = 2
IGNORED = -100  # label of tokens that are not learned: the prompt and the padding

Example = tuple[list[int], list[int]]  # token ids and labels, equally long


def build(spec: BaseSpec, directory: Path, progress: Progress) -> Manifest:
    """Read demonstrations.jsonl, train, publish DIR/model."""
    demonstrations = rows.read(directory / "demonstrations.jsonl", Demonstration)
    progress.enter("building", total_steps=spec.steps)
    torch.manual_seed(spec.seed)
    tokenizer = learn_tokenizer(demonstrations, spec.vocabulary)
    model = LlamaForCausalLM(configuration(spec, tokenizer)).to(loading.device())
    _train(model, tokenizer, demonstrations, spec, progress)
    progress.enter("saving")
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=1.0, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return loading.publish(model.eval(), tokenizer, directory / "model", step=spec.steps)


def learn_tokenizer(demonstrations: Sequence[Demonstration], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE with single digits: any text can be written, and numbers are always spelt the same way."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, END, *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (text for d in demonstrations for text in (*(m.content for m in d.messages), d.completion))
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, padding_side="left")
    fast.chat_template = CHAT_TEMPLATE
    fast.model_max_length = CONTEXT_TOKENS
    return fast


def configuration(spec: BaseSpec, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    if spec.hidden % spec.heads:
        raise Fault(
            "spec", "heads_do_not_divide", f"hidden = {spec.hidden} must be a multiple of heads = {spec.heads}."
        )
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=spec.hidden,
        intermediate_size=3 * spec.hidden,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.heads,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    demonstrations: Sequence[Demonstration],
    spec: BaseSpec,
    progress: Progress,
) -> None:
    """Next-token loss on the answers alone: Muon for the matrices between the layers, AdamW for the rest."""
    matrices = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    others = [weight for weight in model.parameters() if not any(weight is matrix for matrix in matrices)]
    optimizers = (
        torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=0.0),
        torch.optim.AdamW(others, lr=ADAMW_RATE, weight_decay=0.0, betas=(0.9, 0.95)),
    )
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, lambda at: _rate(at, spec.steps)) for o in optimizers]
    examples = [_example(tokenizer, demonstration) for demonstration in demonstrations]
    model.train()
    for step, batch in enumerate(_batches(len(examples), spec), start=1):
        if progress.stop:
            raise Stopped
        loss = _learn(model, [examples[at] for at in batch], tokenizer.pad_token_id)
        if not math.isfinite(loss):
            raise Fault("training", "loss_not_finite", f"The loss became {loss} in step {step} of the base.")
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        model.zero_grad()
        progress.step = step
        if step % REPORT_EVERY == 0 or step == spec.steps:
            progress.report(
                StepMetrics(step=step, total_steps=spec.steps, at=time.time(), attempt=progress.attempt, loss=loss)
            )


def _learn(model: LlamaForCausalLM, examples: list[Example], pad: int) -> float:
    """Add the gradient of the mean loss a token, in passes over examples of like length, which halves the padding."""
    ordered = sorted(examples, key=lambda example: len(example[0]))
    tokens = sum(label != IGNORED for _, labels in examples for label in labels)
    size = math.ceil(len(ordered) / PASSES)
    total = 0.0
    for at in range(0, len(ordered), size):
        batch = _collate(ordered[at : at + size], pad, model.device)
        loss = model(**batch, num_items_in_batch=tokens).loss
        loss.backward()
        total += loss.item()
    return total


def _rate(step: int, steps: int) -> float:
    """Factor on the learning rate: up over the first 5 %, down to zero over the last 30 %."""
    return min(1.0, (step + 1) / (0.05 * steps), (steps - step) / (0.3 * steps))


def _example(tokenizer: PreTrainedTokenizerFast, demonstration: Demonstration) -> Example:
    """Token ids and labels of one demonstration; only the completion and its end are learned."""
    prompt = sampling.encode(tokenizer, [demonstration.messages])[0]
    answer = [*tokenizer.encode(demonstration.completion, add_special_tokens=False), tokenizer.eos_token_id]
    ids = (prompt + answer)[:CONTEXT_TOKENS]
    return ids, ([IGNORED] * len(prompt) + answer)[:CONTEXT_TOKENS]


def _batches(count: int, spec: BaseSpec) -> Iterator[list[int]]:
    """`steps` batches of indices, in a fresh seeded order every time the demonstrations run out."""
    generator = torch.Generator().manual_seed(spec.seed)
    waiting: list[int] = []
    for _ in range(spec.steps):
        while len(waiting) < spec.batch_size:
            waiting += torch.randperm(count, generator=generator).tolist()
        yield waiting[: spec.batch_size]
        waiting = waiting[spec.batch_size :]


def _collate(examples: list[Example], pad: int, on: torch.device) -> dict[str, torch.Tensor]:
    width = max(len(ids) for ids, _ in examples)
    return {
        "input_ids": torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in examples], device=on),
        "labels": torch.tensor([labels + [IGNORED] * (width - len(labels)) for _, labels in examples], device=on),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in examples], device=on),
    }
