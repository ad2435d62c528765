"""Meshwright beside PyTorch on one GPU: first whether it is right, then how fast it is; one table.

    python benches/gpu.py --meshwright target/release/meshwright [--quick] [--out FILE] [--json]

Needs a GPU with its driver, NVRTC (`meshwright doctor` says what is missing), a Python with PyTorch 2.4 or newer, a checkout of the repository, and
`cargo build --release --example bench --bin meshwright` done there or on another machine. No network, no other package. The table is
printed as markdown (or with --json as JSON); `--out FILE` writes FILE.md and FILE.json. The exit code is 1 if anything is wrong.

Parts (`--parts numbers,speed` chooses):
    doctor   what this machine has
    verify   every example, made small, on the GPU against the CPU
    numbers  gradients and 50 steps of small models against PyTorch, f32 and bf16, from the same weights and batch
    repeat   two training runs of one seed: weights and metrics have equal bits; then a sample of them
    ranks    four ranks on the GPU against one
    speed    tokens a second of whole steps, beside torch.compile with fused attention and fused AdamW, bf16; memory
    start    seconds from the command to the end of the first step, with an empty cache of kernels and a full one
    kernels  each kernel that memory bounds against the copy bandwidth; attention against PyTorch's

`--target cpu --tiny` runs all of it on a processor with models of a few thousand weights: that shows that the script works, and no speed.

How it measures: a system is a process of its own and has the GPU for itself; ours and PyTorch take turns, a round each, every step ends with its
loss read. Figures are medians over a round's steps, then over rounds; ratios are medians over rounds. Model FLOPs are 6 a weight and token (learned
positions not counted) and, for causal attention, 6 * layers * sequence * heads * head a token.
"""

import argparse
import contextlib
import datetime
import json
import math
import os
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

ROOT = Path(__file__).resolve().parent.parent
RATE, BETAS, EPS, DECAY = 3e-4, (0.9, 0.95), 1e-8, 0.1

# Dense bf16 TFLOP/s with f32 sums, from NVIDIA's data sheets; the first name that stands in the GPU's.
PEAKS = [
    ("GB200", 2500), ("B200", 2250), ("GH200", 989), ("H200", 989), ("H100 PCIe", 756), ("H100 NVL", 835), ("H100", 989), ("H800", 989),
    ("A100", 312), ("A800", 312), ("L40S", 362), ("L40", 181), ("L4", 121), ("A10G", 70), ("A10", 125), ("A40", 150), ("A30", 165),
    ("RTX 6000 Ada", 364), ("RTX A6000", 155), ("RTX 5090", 210), ("RTX 4090", 165), ("RTX 3090", 71),
]

SPECS = {"gpt": ROOT / "examples/gpt2-124m.mesh", "llama": ROOT / "benches/gpu/llama.mesh"}


def gpt(batch, seq, embed, heads, vocab, layers):
    return {"family": "gpt", "Batch": batch, "Seq": seq, "Embed": embed, "Heads": heads, "Vocab": vocab, "Layers": layers}


def llama(batch, seq, embed, heads, group, head, mlp, vocab, layers):
    shape = {"family": "llama", "Batch": batch, "Seq": seq, "Embed": embed, "KvHeads": heads, "Group": group, "Head": head}
    return {**shape, "Mlp": mlp, "Vocab": vocab, "Layers": layers}


MODELS = {
    "gpt2-124m": gpt(16, 1024, 768, 12, 50304, 12),
    "gpt2-1.5b": gpt(4, 1024, 1600, 25, 50304, 48),
    "llama-1b": llama(4, 2048, 2048, 8, 4, 64, 8192, 128256, 16),
    "llama-8b-4-layers": llama(4, 2048, 4096, 8, 4, 128, 14336, 128256, 4),
}
# Models of `kernels`: arrays of 100 MB in f32, so that no cache holds them, and few layers.
LARGE = {"gpt2-124m": gpt(32, 1024, 768, 12, 50304, 2), "llama-1b": llama(8, 2048, 2048, 8, 4, 64, 8192, 32768, 2)}
# Models of `numbers`: heads of 64 and 128.
SMALL = {"gpt": gpt(4, 256, 256, 4, 512, 3), "llama": llama(4, 256, 512, 2, 2, 128, 1024, 512, 2)}
TINY = {"gpt": gpt(2, 32, 64, 2, 96, 2), "llama": llama(2, 32, 64, 2, 2, 16, 128, 96, 2)}


def shapes(table, a):
    """The shapes of a table, or tiny ones under the same names."""
    return {name: TINY[shape["family"]] for name, shape in table.items()} if a.tiny else table


def settings(shape, precision="bf16", **more):
    """The command line's overrides for a shape."""
    values = {f"dims.{dim}": size for dim, size in shape.items() if dim != "family"}
    values |= {"train.microbatches": 1, "train.precision": precision, "train.clip": "none", "train.rate": f"constant({RATE})", **more}
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


# PyTorch's side: the same two models.

HAS_GROUPS = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 5)


def attend(q, k, v):
    """(batch, sequence, heads, head) each; keys may have fewer heads."""
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    grouped = q.shape[1] != k.shape[1]
    if grouped and not HAS_GROUPS:
        k, v = (part.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for part in (k, v))
    options = {"enable_gqa": True} if grouped and HAS_GROUPS else {}
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True, **options).transpose(1, 2).flatten(2)


class Model(nn.Module):
    """What both families share: parameters under Meshwright's names, of which several may be rows of one matrix, stored (out, in)."""

    def __init__(self, shape, device):
        super().__init__()
        self.shape, self.device, self.named, self.compute = shape, device, {}, torch.float32

    def matrix(self, rows_of, inner):
        """A matrix whose rows are several weights': (name, rows) each."""
        total = sum(rows for _, rows in rows_of)
        parameter = nn.Parameter(0.02 * torch.randn(total, inner, device=self.device))
        at = 0
        for name, rows in rows_of:
            self.named[name] = (parameter, slice(at, at + rows), True)
            at += rows
        return parameter

    def vector(self, *names_sizes, value=0.0):
        parameter = nn.Parameter(torch.full([sum(size for _, size in names_sizes)], value, device=self.device))
        at = 0
        for name, size in names_sizes:
            self.named[name] = (parameter, slice(at, at + size), False)
            at += size
        return parameter

    def table(self, name, rows, inner):
        parameter = nn.Parameter(0.02 * torch.randn(rows, inner, device=self.device))
        self.named[name] = (parameter, slice(0, rows), False)
        return parameter

    def load(self, start):
        """Takes weights as Meshwright has them."""
        if set(start) != set(self.named):
            raise ValueError(f"weights differ by name: {sorted(set(start) ^ set(self.named))}")
        with torch.no_grad():
            for name, (parameter, rows, turned) in self.named.items():
                target = parameter[rows]
                value = start[name].reshape(target.shape[1], -1).T if turned else start[name].reshape(target.shape)
                target.copy_(value)

    def gradients(self, start):
        """Gradients as Meshwright has them."""
        turn = lambda value, turned: value.T if turned else value
        return {
            name: turn(parameter.grad[rows], turned).reshape(start[name].shape).float().cpu()
            for name, (parameter, rows, turned) in self.named.items()
        }

    def groups(self):
        """Matrices and the table decay, as in the specs; positions, gains and biases do not."""
        kept = lambda name, turned: turned or name.endswith(".table")
        decayed = {id(parameter) for name, (parameter, _, turned) in self.named.items() if kept(name, turned)}
        of = lambda wanted: [parameter for parameter in self.parameters() if (id(parameter) in decayed) == wanted]
        return [{"params": of(True), "weight_decay": DECAY}, {"params": of(False), "weight_decay": 0.0}]


class Gpt(Model):
    def __init__(self, shape, device):
        super().__init__(shape, device)
        c, heads = shape["Embed"], shape["Heads"]
        self.heads = heads
        self.words = self.table("Gpt.table", shape["Vocab"], c)
        self.place = self.table("Gpt.place", shape["Seq"], c)
        norm = lambda path: nn.ParameterList([self.vector((path + ".gain", c), value=1.0), self.vector((path + ".shift", c))])
        self.layers, self.final = nn.ModuleList(), norm("Gpt.final")
        for layer in range(shape["Layers"]):
            path = f"Gpt.Block[{layer}]"
            at = lambda name, path=path: f"{path}.{name}"
            three = [at("Attention.query"), at("Attention.key"), at("Attention.value")]
            block = nn.Module()
            block.before, block.after = norm(at("before")), norm(at("after"))
            block.qkv = self.matrix([(name, c) for name in three], c)
            block.qkv_bias = self.vector(*[(name + "_bias", c) for name in three])
            block.out, block.out_bias = self.matrix([(at("Attention.out"), c)], c), self.vector((at("Attention.out_bias"), c))
            block.up, block.up_bias = self.matrix([(at("Feed.up"), 4 * c)], c), self.vector((at("Feed.up_bias"), 4 * c))
            block.down, block.down_bias = self.matrix([(at("Feed.down"), c)], 4 * c), self.vector((at("Feed.down_bias"), c))
            self.layers.append(block)

    def forward(self, tokens, targets):
        norm = lambda x, p: functional.layer_norm(x, x.shape[-1:], p[0], p[1], 1e-5)
        x = (functional.embedding(tokens, self.words) + self.place).to(self.compute)
        for block in self.layers:
            mixed = functional.linear(norm(x, block.before), block.qkv, block.qkv_bias)
            q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in mixed.chunk(3, -1))
            x = x + functional.linear(attend(q, k, v), block.out, block.out_bias)
            up = functional.linear(norm(x, block.after), block.up, block.up_bias)
            x = x + functional.linear(functional.gelu(up, approximate="tanh"), block.down, block.down_bias)
        logits = functional.linear(norm(x, self.final), self.words)
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


class Llama(Model):
    def __init__(self, shape, device):
        super().__init__(shape, device)
        c, kv, group, head, mlp = (shape[name] for name in ["Embed", "KvHeads", "Group", "Head", "Mlp"])
        self.rows = [kv * group * head, kv * head, kv * head]
        self.head = head
        self.words = self.table("Llama.table", shape["Vocab"], c)
        norm = lambda path: self.vector((path + ".gain", c), value=1.0)
        self.layers, self.final = nn.ModuleList(), norm("Llama.final")
        for layer in range(shape["Layers"]):
            path = f"Llama.Block[{layer}]"
            at = lambda name, path=path: f"{path}.{name}"
            block = nn.Module()
            block.before, block.after = norm(at("before")), norm(at("after"))
            names = [at("Attention.query"), at("Attention.key"), at("Attention.value")]
            block.qkv = self.matrix(list(zip(names, self.rows)), c)
            block.out = self.matrix([(at("Attention.out"), c)], kv * group * head)
            block.up = self.matrix([(at("Feed.gate"), mlp), (at("Feed.up"), mlp)], c)
            block.down = self.matrix([(at("Feed.down"), c)], mlp)
            self.layers.append(block)
        speed = 500000.0 ** (-torch.arange(head // 2, dtype=torch.float64) * 2 / head)
        angle = torch.arange(shape["Seq"], dtype=torch.float64)[:, None] * speed
        self.cos, self.sin = (part.float().to(device)[None, :, None] for part in (angle.cos(), angle.sin()))

    def turn(self, x):
        first, second = x.float().chunk(2, -1)
        turned = torch.cat([first * self.cos - second * self.sin, second * self.cos + first * self.sin], -1)
        return turned.to(x.dtype)

    def norm(self, x, gain):
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-5) * gain).to(x.dtype)

    def forward(self, tokens, targets):
        x = functional.embedding(tokens, self.words).to(self.compute)
        for block in self.layers:
            mixed = functional.linear(self.norm(x, block.before), block.qkv).split(self.rows, -1)
            q, k, v = (part.unflatten(-1, (-1, self.head)) for part in mixed)
            x = x + functional.linear(attend(self.turn(q), self.turn(k), v), block.out)
            gate, up = functional.linear(self.norm(x, block.after), block.up).chunk(2, -1)
            x = x + functional.linear(functional.silu(gate) * up, block.down)
        logits = functional.linear(self.norm(x, self.final), self.words)
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def peer_step(shape, device, precision, start=None, batch=None, compiled=False):
    """A step of training in PyTorch, and its model; random weights and batch unless they are given."""
    model = {"gpt": Gpt, "llama": Llama}[shape["family"]](shape, device)
    model.compute = torch.bfloat16 if precision == "bf16" else torch.float32
    if start:
        model.load(start)
    random = lambda: torch.randint(shape["Vocab"], (shape["Batch"], shape["Seq"]))
    tokens, targets = (part.to(device) for part in (batch or [random(), random()]))
    optimizer = torch.optim.AdamW(model.groups(), lr=RATE, betas=BETAS, eps=EPS, fused=True)
    loss_of = torch.compile(model) if compiled else model
    lower = lambda: torch.autocast(device, torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()

    def step():
        optimizer.zero_grad(set_to_none=True)
        with lower():
            loss = loss_of(tokens, targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, model


def serve_peer(name, a):
    """The protocol of `bench --stepper`: a line when warm, then a line of samples for every number of seconds asked for."""
    step, _ = peer_step(shapes(MODELS, a)[name], a.device, "bf16", compiled=True)
    first = step()
    for _ in range(4):
        step()
    print(json.dumps({"loss": first}), flush=True)
    for line in sys.stdin:
        samples, end = [], time.perf_counter() + float(line)
        while len(samples) < 3 or time.perf_counter() < end:
            start = time.perf_counter()
            step()
            samples.append(time.perf_counter() - start)
        most = torch.cuda.max_memory_reserved() if a.device == "cuda" else None
        print(json.dumps({"seconds": samples, "memory": most}), flush=True)


# Meshwright's side, and what is common.


def tensors(path):
    """A safetensors file of f32."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    whole = torch.frombuffer(bytearray(data[8 + length :]), dtype=torch.float32)
    return {name: whole[one["data_offsets"][0] // 4 : one["data_offsets"][1] // 4].reshape(one["shape"]) for name, one in header.items()}


def part_of(file, kind):
    return {name.removeprefix(kind): value for name, value in file.items() if name.startswith(kind)}


def run(*command, env=None, fine=(0,)):
    """Standard output of a command that must succeed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=env, cwd=ROOT)
    if done.returncode not in fine:
        raise RuntimeError(f"{' '.join(str(word) for word in command)} ended with {done.returncode}: {(done.stderr + done.stdout)[-1500:]}")
    return done.stdout


class System:
    """A process that trains on request."""

    def __init__(self, command, work, env=None):
        self.errors = open(work / "errors.txt", "w+")
        words = [str(word) for word in command]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=env, cwd=ROOT)
        self.about = self.answer()

    def answer(self):
        for line in self.process.stdout:
            with contextlib.suppress(json.JSONDecodeError):
                return json.loads(line)
        self.process.wait()
        self.errors.seek(0)
        raise RuntimeError(f"{self.process.args[:3]} ended early: {self.errors.read()[-1500:]}")

    def steps(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return self.answer()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.errors.close()


def ours(a, shape, work, env=None):
    command = [a.bench, "--stepper", SPECS[shape["family"]], "--target", a.target, "--threads", a.threads, "--since", time.time_ns()]
    return System(command + settings(shape), work, env)


def record(a, spec, file, steps, sets):
    """Weights, batch, gradients and losses of a spec."""
    said = run(a.bench, "--record", spec, file, steps, "--target", a.target, "--threads", a.threads, *sets)
    return tensors(file), json.loads(said)["losses"]


def used_memory(a):
    """Bytes in use on the GPU, by whomever, as its driver says."""
    if a.device != "cuda":
        return None
    free, total = torch.cuda.mem_get_info()
    return total - free


class Report:
    def __init__(self):
        self.lines, self.about = [], {}

    def line(self, part, name, right=None, **figures):
        """`right`: whether it is as it must be; none where nothing is demanded."""
        self.lines.append({"part": part, "name": name, "right": right, **figures})
        shown = ", ".join(f"{key.replace('_', ' ')} {written(value)}" for key, value in figures.items())
        print(f"{part}: {name}: {shown}{'' if right is None else ' - right' if right else ' - WRONG'}", file=sys.stderr, flush=True)

    def wrong(self):
        return [line for line in self.lines if line["right"] is False]

    def markdown(self):
        rows = [", ".join(f"{key} {value}" for key, value in self.about.items()), "", "| part | what | figures | |", "| --- | --- | --- | --- |"]
        for line in self.lines:
            figures = {key: value for key, value in line.items() if key not in ("part", "name", "right")}
            shown = ", ".join(f"{key.replace('_', ' ')} {written(value)}" for key, value in figures.items()).replace("|", "/").replace("\n", " ")
            verdict = {None: "", True: "right", False: "**wrong**"}[line["right"]]
            rows.append(f"| {line['part']} | {line['name']} | {shown} | {verdict} |")
        return "\n".join(rows) + "\n"

    def json(self):
        return json.dumps({"about": self.about, "lines": self.lines}, indent=1)


def written(value):
    return f"{value:.4g}" if isinstance(value, float) else {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else str(value)


# The parts.


def doctor(a, report, work):
    said = json.loads(run(a.meshwright, "--json", "doctor"))
    gpus = [gpu.get("name", "?") for gpu in said["gpus"] or []]
    parts = {part.get("name", part.get("library", "?")): part.get("version") or "missing" for part in said["cuda"]}
    report.line("doctor", "this machine", a.target == "cpu" or bool(gpus), gpus=", ".join(gpus) or "none", **parts)


def verify(a, report, work):
    for spec in sorted((ROOT / "examples").glob("*.mesh")):
        if a.target == "cpu" and not re.search(r"^mesh ", spec.read_text(), re.M):
            continue  # one device of the CPU has nothing to be compared with
        said = json.loads(run(a.meshwright, "--json", "verify", spec, "--target", a.target, fine=(0, 3)).splitlines()[0])
        share = max((one["off"] / one["granted"] for one in said.get("gradients", [])), default=math.nan)
        right = said.get("differs") == []
        report.line("verify", spec.stem, right, ranks=said.get("ranks", 0), worst_gradient_of_what_is_granted=share, **({} if right else {"said": str(said)[:300]}))


def numbers(a, report, work):
    for family, shape in shapes(SMALL, a).items():
        plain = None
        for precision in ["f32", "bf16"]:
            # weights so large that activations leave the range in which all gelus, and all softmaxes, are the same
            file, losses = record(a, SPECS[family], work / "record.safetensors", 50, settings(shape, precision, init=0.1))
            start, found = part_of(file, "start."), part_of(file, "gradient.")
            batch = [file[f"input.{name}"].long() for name in ("tokens", "targets")]
            step, model = peer_step(shape, a.device, precision, start, batch)
            curve = [step()]
            wanted = model.gradients(start)
            curve += [step() for _ in losses[1:]]
            if precision == "f32":
                plain = (wanted, curve)
                compare_plain(report, family, found, wanted, losses, curve)
            else:
                compare_rounded(report, family, plain, (found, losses), (wanted, curve))


def norm(values):
    return math.sqrt(sum(float(value.double().square().sum()) for value in values))


def apart(found, wanted):
    """Differences of losses, relative; a batch that is known by heart has a loss near 0, where that would say nothing."""
    return [abs(one - other) / max(other, 0.1) for one, other in zip(found, wanted, strict=True)]


def compare_plain(report, family, found, wanted, losses, curve):
    """In f32 only the order of sums differs."""
    whole = norm(wanted.values())
    share = {name: norm([found[name] - g]) / (1e-4 * norm([g]) + 1e-6 * whole) for name, g in wanted.items()}
    worst = max(share, key=share.get)
    off = apart(losses, curve)
    report.line("numbers", f"{family} f32 gradients", all(s <= 1 for s in share.values()), worst=worst, of_what_is_granted=share[worst])
    right = max(off[:20]) <= 1e-4 and max(off) <= 1e-3
    report.line("numbers", f"{family} f32 losses", right, worst_of_20=max(off[:20]), worst_of_50=max(off), first=losses[0], last=losses[-1])


def compare_rounded(report, family, plain, ours, theirs):
    """In bf16 nobody is right: ours may be twice as far from f32 as PyTorch's is, and a little more."""
    (wanted, curve), (found, losses), (peer, peer_curve) = plain, ours, theirs
    whole = norm(wanted.values())
    off = lambda gradients, name: norm([gradients[name] - wanted[name]])
    share = {name: off(found, name) / (2 * off(peer, name) + 1e-2 * norm([g]) + 1e-3 * whole) for name, g in wanted.items()}
    worst = max(share, key=share.get)
    total = lambda gradients: norm(gradients[name] - g for name, g in wanted.items()) / whole
    right = all(s <= 1 for s in share.values()) and total(found) <= 1.5 * total(peer) + 1e-3
    report.line(
        "numbers", f"{family} bf16 gradients", right, worst=worst, of_what_is_granted=share[worst], from_f32=total(found), PyTorch_from_f32=total(peer)
    )
    far = lambda own: max(apart(own, curve))
    report.line("numbers", f"{family} bf16 losses", far(losses) <= 2 * far(peer_curve) + 2e-3, from_f32=far(losses), PyTorch_from_f32=far(peer_curve))


def repeat(a, report, work):
    shape = {**shapes(SMALL, a)["gpt"], "Vocab": 256}
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(256, (1 << 16,), generator=generator).tolist()
    (work / "tokens.bin").write_bytes(struct.pack(f"<{len(tokens)}H", *tokens))
    source = f'tokens("{work}/tokens.bin")'
    sets = settings(shape, **{"data.train": source, "data.validation": source, "validate.batches": 0, "train.steps": 20})
    states = []
    for name in ["one", "two"]:
        folder = work / name
        run(a.meshwright, "train", SPECS["gpt"], "--out", folder, "--target", a.target, *sets)
        metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        states.append(((folder / "weights.safetensors").read_bytes(), [(one["loss"], one["grad_norm"]) for one in metrics]))
    same = [states[0][at] == states[1][at] for at in (0, 1)]
    report.line("repeat", "two runs of one seed, 20 steps", all(same), weights_equal=same[0], metrics_equal=same[1], last_loss=states[0][1][-1][0])
    said = json.loads(run(a.meshwright, "--json", "generate", work / "one", "--prompt", "a", "--tokens", 8, "--target", a.target))
    report.line("repeat", "generate", said["tokens"] == 9, tokens=said["tokens"])


def ranks(a, report, work):
    spec, small = ROOT / "examples/source-gpt-mesh.mesh", ["--set", "dims.Layers=2", "--set", "dims.Batch=8"]
    alone = ["--set", "mesh.data=1", "--set", "mesh.tensor=1"]
    four, losses = record(a, spec, work / "four.safetensors", 5, small)
    one, expected = record(a, spec, work / "one.safetensors", 5, small + alone)
    same = all(torch.equal(four[name], value) for name, value in one.items() if not name.startswith("gradient."))
    found, wanted = part_of(four, "gradient."), part_of(one, "gradient.")
    whole = norm(wanted.values())
    share = {name: norm([found[name] - g]) / (1e-5 * norm([g]) + 1e-7 * whole) for name, g in wanted.items()}
    worst = max(share, key=share.get)
    off = max(apart(losses, expected))
    right = same and share[worst] <= 1 and off <= 1e-4
    report.line("ranks", "gradients of four ranks", right, same_start=same, worst=worst, of_what_is_granted=share[worst], worst_loss=off)


def context_bytes(a, work):
    """What the driver counts for a process beyond its arena: from a model of no size."""
    before = used_memory(a)
    with ours(a, TINY["gpt"], work) as system:
        system.steps(0)
        after = used_memory(a)
        return None if after is None else after - before - system.about["arenas"]


def speed(a, report, work):
    rounds, seconds = (2, 3) if a.quick else (3, 10)
    constant = context_bytes(a, work)
    for name in a.models:
        shape = shapes(MODELS, a)[name]
        own, other, about, used, peer_memory = [], [], {}, None, None
        for _ in range(rounds):
            before = used_memory(a)
            with ours(a, shape, work) as system:
                answer, about = system.steps(seconds), system.about
                own.append(statistics.median(answer["seconds"]))
                used = used_memory(a) - before if constant is not None else None
            options = ["--tiny"] if a.tiny else []
            command = [sys.executable, __file__, "--peer", name, "--target", a.target, "--threads", a.threads, "--meshwright", a.meshwright, *options]
            with System(command, work) as system:
                answer = system.steps(seconds)
                other.append(statistics.median(answer["seconds"]))
                peer_memory = answer["memory"]
        print_speed(a, report, name, shape, about, own, other)
        arena = about["arenas"]
        memory = {"arena_MiB": arena / 2**20}
        if used is not None:
            memory |= {"driver_MiB": used / 2**20, "context_MiB": constant / 2**20, "beyond_MiB": (used - constant - arena) / 2**20}
            memory |= {"PyTorch_reserves_MiB": peer_memory / 2**20}
        near = None if used is None else abs(used - constant - arena) <= 64 << 20
        report.line("memory", name, near, **memory)


def print_speed(a, report, name, shape, about, own, other):
    width = shape["Embed"] if shape["family"] == "gpt" else shape["KvHeads"] * shape["Group"] * shape["Head"]
    token = 6 * about["parameters"] + 6 * shape["Layers"] * shape["Seq"] * width
    peak = a.peak and a.peak * 1e12
    for system, steps in [("Meshwright", own), ("PyTorch compiled", other)]:
        step = statistics.median(steps)
        figures = {"tokens_per_second": about["tokens"] / step, "ms": 1e3 * step}
        figures |= {"of_peak": token * about["tokens"] / step / peak} if peak else {}
        report.line("speed", f"{name} {system}", None, **figures)
    ratio = statistics.median(peer / mine for mine, peer in zip(own, other))
    report.line("speed", f"{name} ours is faster", None, times=ratio, target=1.0, reached=ratio >= 1.0)


def start(a, report, work):
    name = "gpt2-124m"
    cache = work / "cache"
    env = dict(os.environ, XDG_CACHE_HOME=str(cache))
    warm = []
    for _ in range(2 if a.quick else 4):
        with ours(a, shapes(MODELS, a)[name], work, env) as system:
            warm.append(system.about)
    seconds = [about["first_loss"] for about in warm]
    stages = {f"{stage}_ms".replace(" ", "_"): 1e3 * taken for stage, taken in warm[0]["stages"] if taken > 5e-3}
    report.line("start", f"{name} with an empty cache", None, seconds=seconds[0], target=3.0, **stages)
    report.line("start", f"{name} with a full cache", None, seconds=statistics.median(seconds[1:]), target=1.0)


def timed(a, work, repeats=20):
    """Seconds of work on the device: the median."""
    samples = []
    for at in range(repeats + 3):
        if a.device == "cuda":
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            work()
            end.record()
            end.synchronize()
            samples.append(begin.elapsed_time(end) / 1e3)
        else:
            begin = time.perf_counter()
            work()
            samples.append(time.perf_counter() - begin)
    return statistics.median(samples[3:])


def machine(a):
    """Bytes a second of copying, and FLOP a second of a large product in bf16."""
    count, side = (1 << 20, 256) if a.tiny else (1 << 28, 8192)
    one, two = (torch.ones(count, device=a.device) for _ in range(2))
    copy = 8 * count / timed(a, lambda: two.copy_(one))
    left, right = (torch.randn(side, side, device=a.device, dtype=torch.bfloat16) for _ in range(2))
    return copy, 2 * side**3 / timed(a, lambda: left @ right)


def kernels(a, report, work):
    copy, product = machine(a)
    report.line("kernels", "the machine", None, copy_GB_per_second=copy / 1e9, product_bf16_TFLOP_per_second=product / 1e12)
    for name, shape in list(shapes(LARGE, a).items())[: 1 if a.quick else None]:
        said = run(a.bench, "--profile", SPECS[shape["family"]], "--json", "--quick", "--target", a.target, "--threads", a.threads, *settings(shape))
        lines = [json.loads(line) for line in said.splitlines()]
        for line in lines:
            each = line["ms best"] / line["launches"] if line.get("launches") else 0
            if not re.match(r"k\d+ ", line["name"]) or line["of all"] < 0.005 or (each < 0.02 and not a.tiny):
                continue  # a sum over kernels, of no weight, or so short that starting it is what is measured
            figures = {"launches": line["launches"], "ms_each": each, "of_all": line["of all"]}
            if "GFLOP/s" in line:
                figures |= {"TFLOP_per_second": line["GFLOP/s"] / 1e3, "of_product": line["GFLOP/s"] * 1e9 / product}
            else:
                figures |= {"GB_per_second": line["GB/s"], "of_copy": line["GB/s"] * 1e9 / copy, "target": 0.85}
            report.line("kernels", f"{name} {line['name']}", None, **figures)
        attention(a, report, name, shape, lines)


def attention(a, report, name, shape, lines):
    """Ours, by the profile, beside PyTorch's on tensors of the same shape."""
    gpt_head = shape["Embed"] // shape["Heads"] if shape["family"] == "gpt" else shape["Head"]
    heads, keys = (shape["Heads"],) * 2 if shape["family"] == "gpt" else (shape["KvHeads"] * shape["Group"], shape["KvHeads"])
    draw = lambda count: torch.randn(shape["Batch"], shape["Seq"], count, gpt_head, device=a.device, dtype=torch.bfloat16, requires_grad=True)
    q, k, v = draw(heads), draw(keys), draw(keys)
    forward = lambda: attend(q, k, v)
    out = forward()
    cotangent = torch.ones_like(out)
    backward = lambda: torch.autograd.grad(out, (q, k, v), cotangent, retain_graph=True)
    for kind, work in [("attention", forward), ("attention_grad", backward)]:
        peer = 1e3 * timed(a, work)
        mine = [line["ms best"] / line["launches"] for line in lines if re.match(rf"k\d+ {kind} ", line["name"])]
        if mine:
            report.line("kernels", f"{name} {kind} beside PyTorch's", None, ms=mine[0], PyTorch_ms=peer, times=peer / mine[0], target=0.6)


PARTS = [doctor, verify, numbers, repeat, ranks, speed, start, kernels]


def arguments():
    parser = argparse.ArgumentParser(description="Meshwright beside PyTorch on one GPU.")
    parser.add_argument("--meshwright", type=Path, required=True, help="the release binary")
    parser.add_argument("--bench", type=Path, help="the release example `bench`; by default examples/bench beside the binary")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--json", action="store_true", help="print JSON instead of markdown")
    parser.add_argument("--out", type=Path, help="write FILE.md and FILE.json too")
    parser.add_argument("--target", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="models of a few thousand weights")
    parser.add_argument("--threads", type=int, default=min(16, os.cpu_count() or 1), help="of the CPU, for both systems")
    names = [part.__name__ for part in PARTS]
    listed = lambda known: lambda text: [one if one in known else parser.error(f"{one} is not one of {', '.join(known)}") for one in text.split(",")]
    parser.add_argument("--parts", type=listed(names), default=names)
    parser.add_argument("--models", type=listed(list(MODELS)), default=list(MODELS), help="of the part `speed`")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    a = parser.parse_args()
    a.meshwright = a.meshwright.resolve()
    a.bench = (a.bench or a.meshwright.parent / "examples/bench").resolve()
    a.device = a.target
    return a


def about(a):
    said = {"date": datetime.date.today().isoformat(), "GPU": "none"}
    if a.device == "cuda":
        said |= {"GPU": torch.cuda.get_device_name(), "CUDA of PyTorch": torch.version.cuda}
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "-i", "0"]
            said["driver"] = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    a.peak = next((peak for name, peak in PEAKS if re.search(rf"\b{name}\b", said["GPU"])), None)
    said |= {"dense bf16 peak": f"{a.peak} TFLOP/s" if a.peak else "unknown"}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    version = run(a.meshwright, "--version").strip()
    return {**said, "PyTorch": torch.__version__, "Meshwright": f"{version} {commit}".strip(), "size": "tiny" if a.tiny else "quick" if a.quick else "full"}


def main():
    a = arguments()
    torch.manual_seed(1)
    if a.device == "cpu":
        torch.set_num_threads(a.threads)
    if a.device == "cuda" and not torch.cuda.is_available():
        print("PyTorch finds no GPU here; `--target cpu --tiny` runs all of this without one", file=sys.stderr)
        return 2
    if a.peer:
        return serve_peer(a.peer, a)
    report = Report()
    report.about = about(a)
    for part in PARTS:
        if part.__name__ not in a.parts:
            continue
        work = Path(tempfile.mkdtemp(prefix="meshwright-gpu-"))
        try:
            part(a, report, work)
        except Exception as why:  # the other parts are worth having
            report.line(part.__name__, "could not be finished", False, why=f"{type(why).__name__}: {why}")
        finally:
            shutil.rmtree(work, ignore_errors=True)
            if a.device == "cuda":
                torch.cuda.empty_cache()
    if a.out:
        a.out.with_suffix(".md").write_text(report.markdown())
        a.out.with_suffix(".json").write_text(report.json())
    print(report.json() if a.json else report.markdown())
    for line in report.wrong():
        print(f"wrong: {line}", file=sys.stderr)
    return 1 if report.wrong() else 0


if __name__ == "__main__":
    sys.exit(main())
