#!/usr/bin/env python3
"""The network of `glm-eval bench` in PyTorch, served a step at a time: the other side of `--against torch`.

The one argument is the case as JSON (`Case` in src/bench/case.rs). One JSON object a line goes to stdout:
`{"ready": {...}}` first, then for each line of stdin, a number of steps, `{"seconds": ...}` for all of them, and
`{"peak_memory_bytes": ...}` when stdin ends. Eager mode, AdamW in its fastest form, nothing else tuned.
"""

import contextlib
import json
import re
import sys
import time

try:
    import torch
except ModuleNotFoundError as error:
    print(json.dumps({"missing": error.name}), flush=True)
    sys.exit(0)
import torch.nn.functional as F
from torch import nn


class Layer(nn.Module):
    """Attention and a GELU MLP, each behind a layer norm and added to its input."""

    def __init__(self, width, heads, epsilon):
        super().__init__()
        self.heads = heads
        self.input_layernorm = nn.LayerNorm(width, eps=epsilon)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.dense = nn.Linear(width, width)
        self.post_attention_layernorm = nn.LayerNorm(width, eps=epsilon)
        self.dense_h_to_4h = nn.Linear(width, 4 * width)
        self.dense_4h_to_h = nn.Linear(4 * width, width)

    def attention(self, xs, mask):
        b, s, h = xs.shape
        qkv = self.query_key_value(xs).view(b, s, 3, self.heads, h // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # [b, n, s, d] each
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.dense(context.transpose(1, 2).reshape(b, s, h))

    def mlp(self, xs):
        return self.dense_4h_to_h(F.gelu(self.dense_h_to_4h(xs), approximate="tanh"))

    def forward(self, xs, mask):
        xs = xs + self.attention(self.input_layernorm(xs), mask)
        return xs + self.mlp(self.post_attention_layernorm(xs))


class Glm(nn.Module):
    """From tokens to the logits of the rows asked for; the output projection is the token embedding."""

    def __init__(self, config):
        super().__init__()
        width, epsilon = config["hidden_size"], config["layernorm_epsilon"]
        rows = config["max_sequence_length"] + int(config["block_position_encoding"])
        self.word_embeddings = nn.Embedding(config["vocab_size"], width)
        self.position_embeddings = nn.Embedding(rows, width)
        self.block_position_embeddings = nn.Embedding(rows, width)
        layer = lambda: Layer(width, config["num_attention_heads"], epsilon)
        self.layers = nn.ModuleList(layer() for _ in range(config["num_layers"]))
        self.final_layernorm = nn.LayerNorm(width, eps=epsilon)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, 0.0, config["initializer_range"])

    def forward(self, ids, positions, block_positions, mask, rows):
        xs = self.word_embeddings(ids) + self.position_embeddings(positions)
        xs = xs + self.block_position_embeddings(block_positions)
        for layer in self.layers:
            xs = layer(xs, mask)
        xs = self.final_layernorm(xs).flatten(0, 1)  # [b * s, h]
        if rows is not None:
            xs = xs[rows]
        return F.linear(xs, self.word_embeddings.weight)


def batch_of(work, dtype):
    """Random tokens: the first `prefix` of each sequence see each other, the rest is read left to right."""
    b, s, prefix, targets = (work[key] for key in ("batch", "sequence", "prefix", "num_targets"))
    vocabulary = work["config"]["vocab_size"]
    ids = torch.randint(0, vocabulary, (b, s))
    place = torch.arange(s)
    positions = place.clamp(max=max(prefix - 1, 0)).expand(b, s).contiguous()
    block_positions = (place - prefix + 1).clamp(min=0).expand(b, s).contiguous()
    visible = (place[None, :] < prefix) | (place[None, :] <= place[:, None])
    mask = torch.zeros(s, s).masked_fill(~visible, float("-inf")).to(dtype)
    rows = None if targets == b * s else torch.tensor([i * b * s // targets for i in range(targets)])
    return (ids, positions, block_positions, mask, rows), torch.randint(0, vocabulary, (targets,))


def optimizer_of(parameters):
    """AdamW in the fastest form that this version has on the CPU, and the form's name."""
    parameters = list(parameters)
    try:
        return torch.optim.AdamW(parameters, lr=1e-4, fused=True), "AdamW(fused=True)"
    except (RuntimeError, TypeError):
        return torch.optim.AdamW(parameters, lr=1e-4, foreach=True), "AdamW(foreach=True)"


def peak_memory_bytes():
    """As glm-eval reads its own (src/machine.rs)."""
    try:
        with open("/proc/self/status") as status:
            line = next(line for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None
    return int(line.split()[1]) * 1024


def about(case, optimizer):
    """What a reader of the figures should know of this side."""
    libraries = ("OpenMP", "Intel(R) oneAPI Math Kernel", "Intel(R) MKL-DNN", "ATen parallel backend")
    parallel = [line.strip() for line in torch.__config__.parallel_info().splitlines()]
    facts = {
        "version": torch.__version__,
        "how": "eager" if case["dtype"] == "f32" else 'eager, torch.autocast("cpu", bfloat16)',
        "threads": torch.get_num_threads(),
        "blas": next(iter(re.findall(r"BLAS_INFO=(\w+)", torch.__config__.show())), None),
        "libraries": [line for line in parallel if line.startswith(libraries)],
    }
    if case["mode"] == "train":
        facts["optimizer"] = optimizer
    return facts


def main():
    case = json.loads(sys.argv[1])
    work = case["work"]["random"]
    torch.set_num_threads(case["threads"])
    torch.manual_seed(0)
    is_half = case["dtype"] == "bf16"
    glm = Glm(work["config"])
    inputs, targets = batch_of(work, torch.bfloat16 if is_half else torch.float32)
    optimizer, optimizer_name = optimizer_of(glm.parameters()) if case["mode"] == "train" else (None, None)

    def precision():
        return torch.autocast("cpu", dtype=torch.bfloat16) if is_half else contextlib.nullcontext()

    def evaluate():
        with torch.inference_mode(), precision():
            glm(*inputs)

    def train():
        optimizer.zero_grad(set_to_none=True)
        with precision():
            loss = F.cross_entropy(glm(*inputs).float(), targets)
        loss.backward()
        optimizer.step()

    step = evaluate if case["mode"] == "eval" else train
    reply = lambda **what: print(json.dumps(what), flush=True)
    reply(ready=about(case, optimizer_name))
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            step()
        reply(seconds=time.perf_counter() - start)
    reply(peak_memory_bytes=peak_memory_bytes())


main()
