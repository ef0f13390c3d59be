"""A Llama of half a billion random weights: `python shaped_llama.py DIR`. Run by path: only the engine imports torch.

In    demonstrations.jsonl, of which a tokenizer is learned
Out   model/: config, safetensors, tokenizer, chat template; result.json
"""

import json
import sys
from pathlib import Path

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from trainer.contract import Demonstration
from trainer.engine import base, rows

directory = Path(sys.argv[1])
tokenizer = base.learn_tokenizer(rows.read(directory / "demonstrations.jsonl", Demonstration), 320)
torch.manual_seed(1)
# The shape of Qwen 2.5 0.5B. Ids past the tokenizer's are written as nothing.
model = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=151_936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
)
model.generation_config = GenerationConfig(
    do_sample=True, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
)
tokenizer.model_max_length = 4096
for part in (model, tokenizer):
    part.save_pretrained(directory / "model")
(directory / "result.json").write_text(json.dumps({"status": "succeeded", "attempt": 1}))
