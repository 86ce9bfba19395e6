#!/usr/bin/env python3
"""SmolLM2 from its GGUF file in PyTorch, on its own: log-probabilities to hold glm-eval's against.

    scripts/torch_llama.py MODEL.gguf --requests REQUESTS.jsonl > SCORES.jsonl

Needs torch, gguf and tokenizers. A request is {"id", "context", "continuation"}; a score {"id", "log_prob",
"num_tokens", "is_greedy"}. Nothing is shared with glm-eval but the file: weights are dequantized by llama.cpp's
own Python package, the network is written out here, one sequence at a time, without a cache.
"""

import argparse
import json
import sys

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from tokenizers import Tokenizer, decoders, models, pre_tokenizers


class Llama:
    def __init__(self, path, dtype):
        reader = GGUFReader(path)
        field = lambda key: reader.fields[key].contents()
        self.w = {t.name: torch.tensor(np.array(dequantize(t.data, t.tensor_type))).to(dtype) for t in reader.tensors}
        self.layers = field("llama.block_count")
        self.heads, self.kv_heads = field("llama.attention.head_count"), field("llama.attention.head_count_kv")
        self.eps, self.theta = field("llama.attention.layer_norm_rms_epsilon"), field("llama.rope.freq_base")
        self.bos = field("tokenizer.ggml.bos_token_id")
        tokens, merges = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.merges")
        vocab = {token: i for i, token in enumerate(tokens)}
        self.tokenizer = Tokenizer(models.BPE(vocab, [tuple(merge.split(" ")) for merge in merges]))
        # llama.cpp's "smollm": every digit on its own, then GPT-2's words.
        self.tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )

    def ids(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def norm(self, x, weight):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * weight

    def rope(self, x):
        """GGUF's rows go in pairs: neighbouring channels are turned. x: [heads, s, d]."""
        s, d = x.shape[1:]
        angles = torch.arange(s)[:, None] * self.theta ** (-torch.arange(0, d, 2) / d)[None]
        a, b = x[..., 0::2], x[..., 1::2]
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)

    @torch.no_grad()
    def logits(self, ids):
        w, s = self.w, len(ids)
        x = w["token_embd.weight"][torch.tensor(ids)]
        mask = torch.full((s, s), float("-inf"), dtype=x.dtype).triu(1)
        for i in range(self.layers):
            layer = lambda name: w[f"blk.{i}.{name}.weight"]
            y = self.norm(x, layer("attn_norm"))
            split = lambda name, n: (y @ layer(name).T).view(s, n, -1).transpose(0, 1)
            q, k = self.rope(split("attn_q", self.heads)), self.rope(split("attn_k", self.kv_heads))
            k, v = (t.repeat_interleave(self.heads // self.kv_heads, 0) for t in (k, split("attn_v", self.kv_heads)))
            p = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5 + mask).softmax(-1)
            x = x + (p @ v).transpose(0, 1).reshape(s, -1) @ layer("attn_output").T
            y = self.norm(x, layer("ffn_norm"))
            y = torch.nn.functional.silu(y @ layer("ffn_gate").T) * (y @ layer("ffn_up").T)
            x = x + y @ layer("ffn_down").T
        head = w.get("output.weight", w["token_embd.weight"])
        return self.norm(x, w["output_norm.weight"]) @ head.T

    def score(self, context, continuation):
        """`context` and `continuation`: lists of texts that are tokenized one by one."""
        context = [i for part in context for i in self.ids(part)] or [self.bos]
        continuation = [i for part in continuation for i in self.ids(part)]
        logits = self.logits(context + continuation[:-1])[len(context) - 1 :].float().log_softmax(-1)
        targets = torch.tensor(continuation)
        log_probs = logits.gather(1, targets[:, None]).squeeze(1)
        return log_probs.double().sum().item(), len(continuation), bool((logits.argmax(-1) == targets).all())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--requests", required=True)
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    args = parser.parse_args()
    model = Llama(args.model, getattr(torch, args.dtype))
    for line in open(args.requests):
        request = json.loads(line)
        log_prob, num_tokens, is_greedy = model.score(request["context"], request["continuation"])
        score = {"id": request["id"], "log_prob": log_prob, "num_tokens": num_tokens, "is_greedy": is_greedy}
        print(json.dumps(score), flush=True)


main()
