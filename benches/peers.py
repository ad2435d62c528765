"""The benchmark's GPT in other systems: a warm process that trains on request.

Usage: python peers.py torch-eager|torch-compile|jax --batch 8 --seq 256 --embed 384 --heads 6 --vocab 65 --layers 6 --threads 2

Protocol: one JSON line when the model is warm; then, for every line with a number on standard input, that many seconds of steps and a JSON line
with the seconds of each step and the peak memory. The end of the input ends the process.

The model is examples/gpt-10m.mesh: GPT-2's form, learned positions, norm before each half of a block, biases everywhere, tanh gelu, causal
attention, the head tied to the table, no dropout. Mean cross entropy over a fixed random batch; AdamW (0.9, 0.999, 1e-8) at 3e-4 with decay 0.1 on
every parameter and no clipping; f32. A step is forward, backward, update, and reading the loss.

The allocator is tuned in both systems' favour: memory stays with the process and in huge pages, so that no step waits for fresh pages.
"""

import argparse
import json
import math
import os
import resource
import sys
import time

TUNING = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(1 << 26),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "THP_MEM_ALLOC_ENABLE": "1",
    "OMP_PROC_BIND": "close",
    "JAX_PLATFORMS": "cpu",
}


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("system", choices=["torch-eager", "torch-compile", "jax"])
    for name in ["batch", "seq", "embed", "heads", "vocab", "layers", "threads"]:
        parser.add_argument("--" + name, type=int, required=True)
    return parser.parse_args()


def tune(threads):
    """Starts this program again with an environment that allocators and thread pools read at their start."""
    if os.environ.get("PEERS_ARE_TUNED") != "yes":
        wanted = dict(os.environ, PEERS_ARE_TUNED="yes", OMP_NUM_THREADS=str(threads), **TUNING)
        os.execve(sys.executable, [sys.executable] + sys.argv, wanted)
    # JAX takes a thread per processor that it may use.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def weights(a):
    """Weights that do not start at 0 or 1, by name, as (in, out)."""
    import numpy

    draw = numpy.random.default_rng(7)
    small = 0.02 / math.sqrt(2 * a.layers)

    def normal(deviation, *shape):
        return draw.standard_normal(shape, dtype="float32") * numpy.float32(deviation)

    c = a.embed
    block = lambda: {
        "qkv": normal(0.02, c, 3 * c),
        "out": normal(small, c, c),
        "up": normal(0.02, c, 4 * c),
        "down": normal(small, 4 * c, c),
    }
    return {"table": normal(0.02, a.vocab, c), "place": normal(0.02, a.seq, c), "blocks": [block() for _ in range(a.layers)]}


def batch(a):
    import numpy

    draw = numpy.random.default_rng(8)
    return [draw.integers(0, a.vocab, (a.batch, a.seq)) for _ in range(2)]


def torch_step(a):
    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(a.threads)

    def linear(weight):
        """A linear layer with this weight and a bias of zeros."""
        layer = nn.Linear(*weight.shape)
        layer.weight.data.copy_(torch.from_numpy(weight.T))
        layer.bias.data.zero_()
        return layer

    class Block(nn.Module):
        def __init__(self, start):
            super().__init__()
            self.before, self.after = nn.LayerNorm(a.embed), nn.LayerNorm(a.embed)
            self.qkv, self.out, self.up, self.down = (linear(start[name]) for name in ["qkv", "out", "up", "down"])

        def forward(self, x):
            heads = lambda y: y.unflatten(-1, (a.heads, -1)).transpose(1, 2)
            q, k, v = (heads(part) for part in self.qkv(self.before(x)).chunk(3, -1))
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(mixed.transpose(1, 2).flatten(2))
            return x + self.down(functional.gelu(self.up(self.after(x)), approximate="tanh"))

    class Gpt(nn.Module):
        def __init__(self):
            super().__init__()
            start = weights(a)
            self.table = nn.Parameter(torch.from_numpy(start["table"]))
            self.place = nn.Parameter(torch.from_numpy(start["place"]))
            self.blocks = nn.Sequential(*(Block(block) for block in start["blocks"]))
            self.final = nn.LayerNorm(a.embed)

        def forward(self, tokens, targets):
            x = self.blocks(functional.embedding(tokens, self.table) + self.place)
            logits = functional.linear(self.final(x), self.table)
            return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    model = Gpt()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.1, fused=True)
    loss_of = torch.compile(model) if a.system == "torch-compile" else model
    tokens, targets = map(torch.from_numpy, batch(a))

    def step():
        loss = loss_of(tokens, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step, torch.__version__


def jax_step(a):
    import jax
    from jax import nn, numpy

    def layer(weight):
        return {"w": numpy.asarray(weight), "b": numpy.zeros(weight.shape[1])}

    def fresh_norm():
        return {"w": numpy.ones(a.embed), "b": numpy.zeros(a.embed)}

    start = weights(a)
    parameters = {
        "table": numpy.asarray(start["table"]),
        "place": numpy.asarray(start["place"]),
        "final": fresh_norm(),
        "blocks": [
            {"before": fresh_norm(), "after": fresh_norm(), **{name: layer(weight) for name, weight in block.items()}}
            for block in start["blocks"]
        ],
    }
    del start
    linear = lambda p, x: x @ p["w"] + p["b"]

    def norm(p, x):
        centred = x - x.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p["w"] + p["b"]

    def attention(q, k, v):
        scores = numpy.einsum("bthd,bshd->bhts", q, k) / math.sqrt(a.embed // a.heads)
        seen = numpy.tril(numpy.ones((a.seq, a.seq), bool))
        return numpy.einsum("bhts,bshd->bthd", nn.softmax(numpy.where(seen, scores, -numpy.inf), -1), v)

    def loss_of(p, tokens, targets):
        x = p["table"][tokens] + p["place"]
        for block in p["blocks"]:
            qkv = linear(block["qkv"], norm(block["before"], x))
            q, k, v = (part.reshape(a.batch, a.seq, a.heads, -1) for part in numpy.split(qkv, 3, -1))
            x = x + linear(block["out"], attention(q, k, v).reshape(x.shape))
            x = x + linear(block["down"], nn.gelu(linear(block["up"], norm(block["after"], x)), approximate=True))
        logits = nn.log_softmax(norm(p["final"], x) @ p["table"].T, -1)
        return -numpy.take_along_axis(logits, targets[..., None], -1).mean()

    def update(p, m, v, number, tokens, targets):
        loss, gradient = jax.value_and_grad(loss_of)(p, tokens, targets)
        each = jax.tree_util.tree_map
        m = each(lambda old, g: 0.9 * old + 0.1 * g, m, gradient)
        v = each(lambda old, g: 0.999 * old + 0.001 * g * g, v, gradient)
        unbiased = lambda moment, beta: moment / (1 - beta**number)
        change = lambda m, v: unbiased(m, 0.9) / (numpy.sqrt(unbiased(v, 0.999)) + 1e-8)
        return each(lambda p, m, v: p * (1 - 3e-4 * 0.1) - 3e-4 * change(m, v), p, m, v), m, v, loss

    zeros = lambda: jax.tree_util.tree_map(numpy.zeros_like, parameters)
    state = [parameters, zeros(), zeros()]
    del parameters
    compiled = jax.jit(update, donate_argnums=(0, 1, 2))
    tokens, targets = map(numpy.asarray, batch(a))
    count = 0

    def step():
        nonlocal count
        count += 1
        *state[:], loss = compiled(*state, float(count), tokens, targets)
        return float(loss)

    return step, jax.__version__


def seconds_of(step):
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def main():
    a = arguments()
    tune(a.threads)
    step, version = jax_step(a) if a.system == "jax" else torch_step(a)
    first = step()
    for _ in range(4):
        step()
    print(json.dumps({"version": version, "loss": first}), flush=True)
    for line in sys.stdin:
        end = time.perf_counter() + float(line)
        samples = [seconds_of(step) for _ in range(3)]
        while time.perf_counter() < end:
            samples.append(seconds_of(step))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": samples, "memory": memory}), flush=True)


if __name__ == "__main__":
    main()
