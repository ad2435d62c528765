"""Makes the reference figures of this folder with PyTorch: what Meshwright's numbers are compared with.

    python reference.py            computes all models and writes <model>.safetensors and price.csv
    python reference.py --check    computes again, writes nothing, compares with the files that are there
    python reference.py gpt llama  only these

Needs `torch` (any CPU build from 2.4 on) and `numpy`. Takes a few seconds.

What a fixture holds (little-endian, the safetensors layout):
    weight/<path>   f32, the initial weights; <path> is the name that Meshwright gives the weight, its shape the dims in the
                    order of the declaration in <model>.mesh ([Embed -> Heads, Head] is (Embed, Heads, Head))
    input/<name>    i32 or f32, the model's inputs, dims as declared
    grad/<path>     f32, the gradient of the loss at the initial weights, every weight has one
    state/<path>    f32, each state after the steps of the curve; its first value stands among the weights, a gradient it has not
    loss            f32[1], the loss at the initial weights
    curve           f32[20], the loss before each of 20 steps of AdamW on this one batch (so curve[0] is the loss)
    metadata        rate, betas, eps, decay, the decayed weights' paths, PyTorch's version, the f64 loss

Conventions:
    x @ w contracts the dims left of the arrow; a weight without an arrow is a bias, a gain or the like.
    LayerNorm: (x - mean) / sqrt(variance + 1e-5) * gain + shift, variance over N (not N - 1).
    RMS norm: x / sqrt(mean(x^2) + 1e-6) * gain.
    Attention: scale 1/sqrt(Head); key j is visible from query i iff j <= i, and i - j < window where there is a window.
    Grouped queries: the query head (kv, g) reads the key and value head kv.
    Rotary: the pair (i, i + Head/2) turns by position * 10000^(-2i/Head), positions from 0, i from 0 to Head/2 - 1:
        first' = first cos - second sin,  second' = second cos + first sin.
    gelu is the tanh form; silu is x * sigmoid(x).
    Cross-entropy in nats, mean over all targets; squared error, mean over the batch.
    AdamW: w *= 1 - rate * decay (only weights declared with an arrow); then w -= rate * m / (sqrt(v) + eps), m and v with
        bias correction. Betas 0.9 and 0.95, eps 1e-8, decay 0.1. No clipping, constant rate.

Dims and weight declarations are read from the specs, so that shapes and names cannot drift apart. Everything is computed in
f32 (what is stored) and in f64; the script refuses to write figures where f32 rounding alone would use up a good part of the
tolerances that the tests grant (see README.md).
"""

import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

HERE = Path(__file__).resolve().parent
BETAS, EPS, DECAY, STEPS = (0.9, 0.95), 1e-8, 0.1, 20
STILL = (".key_bias", ".TokenMix.down_bias")  # gradient zero in theory: softmax, or the next layer norm, takes it out again
NORMS = {"LayerNorm": {"gain": "D", "shift": "D"}, "RmsNorm": {"gain": "D"}}  # as in the standard library


class Spec:
    """What the reference needs of a spec: its dims, the rate, and per layer (or model) the weights' declared dims."""

    def __init__(self, name):
        text = re.sub(r"//.*", "", (HERE / f"{name}.mesh").read_text())
        block = re.search(r"dims \{(.*?)\}", text, re.S).group(1)
        self.dims = {n: int(v) for n, v in re.findall(r"(\w+)\s*=\s*(\d+)", block)}
        self.rate = float(re.search(r"rate\s*=\s*constant\((.*?)\)", text).group(1))
        self.weights = {layer: dict(found) for layer, found in NORMS.items()}
        self.states = set(re.findall(r"^\s*state (\w+):", text, re.M))  # names; no weight has one of them
        for head, body in re.findall(r"^(?:layer|model) (\w+)(.*?)^\}", text, re.S | re.M):
            self.weights[head] = {
                one: dims
                for names, dims in re.findall(r"(?:weight|state) ([\w, ]+): \[(.*?)\]", body)
                for one in names.split(", ")
            }


class Weights:
    """The initial weights by path; `decayed` are those declared with an arrow. Drawn in the order of declaration."""

    def __init__(self, spec, seed):
        self.spec, self.random = spec, np.random.default_rng(seed)
        self.values, self.decayed, self.states = {}, [], []

    def layer(self, path, layer, D=None, each=()):
        """Draws every weight that `layer` declares (its own, not its instances'), under `path`; `each` are dims before its own."""
        for name, dims in self.spec.weights[layer].items():
            full = f"{path}.{name}"
            shape = [self.spec.dims[D if d == "D" else d] for d in [*each, *re.findall(r"\w+", dims)]]
            if name in self.spec.states:
                self.states.append(full)
                self.values[full] = np.zeros(shape, np.float32)
                continue
            if "->" in dims:
                inward = math.prod(self.spec.dims[d] for d in re.findall(r"\w+", dims.split("->")[0]))
                scale = 0.1 if name == "table" else 1.2 / math.sqrt(inward)
                self.decayed.append(full)
            else:
                scale = 0.4 if name == "last" else 0.1
            value = self.random.standard_normal(shape) * scale + (1.0 if name == "gain" else 0.0)
            assert full not in self.values
            self.values[full] = value.astype(np.float32)


class Scope:
    """Weights under one path: scope["query"] is a tensor, scope / "Attention" goes a level down."""

    def __init__(self, tensors, path):
        self.tensors, self.path = tensors, path

    def __getitem__(self, name):
        return self.tensors[f"{self.path}.{name}"]

    def __truediv__(self, part):
        return Scope(self.tensors, f"{self.path}.{part}")


# ---------------------------------------------------------------- the operations


def layer_norm(w, x):
    return F.layer_norm(x, x.shape[-1:], w["gain"], w["shift"], eps=1e-5)


def rms_norm(w, x):
    return F.rms_norm(x, x.shape[-1:], w["gain"], eps=1e-6)


def gelu(x):
    return F.gelu(x, approximate="tanh")


def rotary(x):
    """x is (batch, seq, ..., head); turns each pair (i, i + head/2) by its position's angle."""
    seq, half = x.shape[1], x.shape[-1] // 2
    speed = 10000.0 ** (-torch.arange(half, dtype=torch.float64) * 2 / x.shape[-1])
    angle = torch.arange(seq, dtype=torch.float64)[:, None] * speed
    shape = [1, seq] + [1] * (x.dim() - 3) + [half]
    cos, sin = angle.cos().to(x.dtype).view(shape), angle.sin().to(x.dtype).view(shape)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def attend(q, k, v, window=None):
    """q, k, v are (batch, seq, heads, head)."""
    i = torch.arange(q.shape[1])
    behind = i[:, None] - i[None, :]
    visible = (behind >= 0) & (behind < (window or q.shape[1]))
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=visible).transpose(1, 2)


def into(x, w, inward=1):
    """x @ w: contracts the last `inward` dims of x with the first of w."""
    return torch.tensordot(x, w, dims=inward)


def token_loss(logits, targets):
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


# ---------------------------------------------------------------- the models


class Gpt:
    name, seed = "gpt", 11

    def draw(self, w, d):
        w.layer("Gpt", "Gpt")
        for i in range(d["Layers"]):
            at = f"Gpt.Block[{i}]"
            w.layer(f"{at}.before", "LayerNorm", "Embed")
            w.layer(f"{at}.Attention", "Attention")
            w.layer(f"{at}.after", "LayerNorm", "Embed")
            w.layer(f"{at}.Feed", "Feed")
        w.layer("Gpt.final", "LayerNorm", "Embed")

    def inputs(self, r, d):
        return tokens(r, d)

    def loss(self, w, inputs, d):
        w = Scope(w, "Gpt")
        x = w["table"][inputs["tokens"]] + w["place"]
        for i in range(d["Layers"]):
            block = w / f"Block[{i}]"
            a, f = block / "Attention", block / "Feed"
            h = layer_norm(block / "before", x)
            q, k, v = (into(h, a[n]) + a[f"{n}_bias"] for n in ("query", "key", "value"))
            x = x + into(attend(q, k, v), a["out"], 2) + a["out_bias"]
            h = layer_norm(block / "after", x)
            x = x + into(gelu(into(h, f["up"]) + f["up_bias"]), f["down"]) + f["down_bias"]
        return token_loss(layer_norm(w / "final", x) @ w["table"].T, inputs["targets"])


class Llama:
    name, seed = "llama", 12

    def draw(self, w, d):
        w.layer("Llama", "Llama")
        for i in range(d["Layers"]):
            at = f"Llama.Block[{i}]"
            w.layer(f"{at}.before", "RmsNorm", "Embed")
            w.layer(f"{at}.Attention", "Attention")
            w.layer(f"{at}.after", "RmsNorm", "Embed")
            w.layer(f"{at}.Feed", "Feed")
        w.layer("Llama.final", "RmsNorm", "Embed")

    def inputs(self, r, d):
        return tokens(r, d)

    def loss(self, w, inputs, d):
        w = Scope(w, "Llama")
        x = w["table"][inputs["tokens"]]
        for i in range(d["Layers"]):
            block = w / f"Block[{i}]"
            a, f = block / "Attention", block / "Feed"
            h = rms_norm(block / "before", x)
            q, k, v = rotary(into(h, a["query"])), rotary(into(h, a["key"])), into(h, a["value"])
            k, v = (t.repeat_interleave(d["Group"], dim=2) for t in (k, v))
            y = attend(q.flatten(2, 3), k, v).unflatten(2, (d["KvHeads"], d["Group"]))
            x = x + into(y, a["out"], 3)
            h = rms_norm(block / "after", x)
            x = x + into(F.silu(into(h, f["gate"])) * into(h, f["up"]), f["down"])
        return token_loss(into(rms_norm(w / "final", x), w["head"]), inputs["targets"])


class Mixer:
    name, seed = "mixer", 13

    def draw(self, w, d):
        w.layer("Mixer", "Mixer")
        for i in range(d["Layers"]):
            at = f"Mixer.Block[{i}]"
            w.layer(f"{at}.before", "LayerNorm", "Embed")
            w.layer(f"{at}.TokenMix", "TokenMix")
            w.layer(f"{at}.after", "LayerNorm", "Embed")
            w.layer(f"{at}.ChannelMix", "ChannelMix")
        w.layer("Mixer.final", "LayerNorm", "Embed")

    def inputs(self, r, d):
        x = r.standard_normal((d["Batch"], d["Patch"], d["Pixel"])).astype(np.float32)
        return {"x": x, "label": r.integers(0, d["Class"], d["Batch"], dtype=np.int32)}

    def loss(self, w, inputs, d):
        w = Scope(w, "Mixer")
        mlp = lambda f, h: into(gelu(into(h, f["up"]) + f["up_bias"]), f["down"]) + f["down_bias"]
        x = into(inputs["x"], w["embed"]) + w["embed_bias"]
        for i in range(d["Layers"]):
            block = w / f"Block[{i}]"
            over_patches = layer_norm(block / "before", x).transpose(1, 2)
            x = x + mlp(block / "TokenMix", over_patches).transpose(1, 2)
            x = x + mlp(block / "ChannelMix", layer_norm(block / "after", x))
        pooled = layer_norm(w / "final", x).mean(dim=1)
        return F.cross_entropy(into(pooled, w["head"]) + w["head_bias"], inputs["label"])


class Price:
    name, seed = "price", 14
    columns, rows = ["area", "rooms", "age", "distance", "floor", "price"], 64

    def draw(self, w, d):
        w.layer("Price", "Price")
        for i in range(d["Depth"]):
            w.layer(f"Price.Dense[{i}]", "Dense")

    def table(self):
        """An invented market: areas in 100 square metres, ages in decades, distances in 10 km, prices in 100,000."""
        r = np.random.default_rng(self.seed + 100)
        n = self.rows
        area, age = r.uniform(0.3, 2.0, n), r.uniform(0.0, 8.0, n)
        rooms = np.maximum(1, np.round(area * 3 + r.normal(0, 0.6, n)))
        distance, floor = r.uniform(0.05, 3.0, n), r.integers(0, 8, n)
        price = 1.0 + 2.2 * area + 0.2 * rooms - 0.06 * age - 0.7 * np.sqrt(distance) + r.normal(0, 0.15, n)
        return [
            f"{a:.2f},{b:.0f},{c:.1f},{e:.2f},{f:.0f},{p:.3f}"
            for a, b, c, e, f, p in zip(area, rooms, age, distance, floor, price)
        ]

    def csv(self):
        return "\n".join([",".join(self.columns)] + self.table()) + "\n"

    def inputs(self, _, d):
        """The first Batch rows, in order, as a reader of the file would parse them."""
        rows = [[float(v) for v in line.split(",")] for line in self.table()[: d["Batch"]]]
        rows = np.array(rows, dtype=np.float32)
        return {"x": rows[:, : d["Feature"]].copy(), "y": rows[:, d["Feature"]].copy()}

    def loss(self, w, inputs, d):
        w = Scope(w, "Price")
        h = into(inputs["x"], w["first"])
        for i in range(d["Depth"]):
            dense = w / f"Dense[{i}]"
            h = F.relu(into(h, dense["w"]) + dense["b"])
        return F.mse_loss(h @ w["last"], inputs["y"])


class Alternating:
    name, seed, near = "alternating", 19, 5

    def draw(self, w, d):
        w.layer("Alternating", "Alternating")
        w.layer("Alternating.shared", "Attention")
        for i in range(d["Times"]):
            w.layer(f"Alternating.before[{i}]", "Norm", "Embed")
            w.layer(f"Alternating.after[{i}]", "Norm", "Embed")
            w.layer(f"Alternating.Feed[{i}]", "Feed")
        w.layer("Alternating.final", "Norm", "Embed")

    def inputs(self, r, d):
        return tokens(r, d)

    def loss(self, w, inputs, d):
        w = Scope(w, "Alternating")
        a = w / "shared"
        x = w["table"][inputs["tokens"]]
        for i in range(d["Times"]):
            h = rms_norm(w / f"before[{i}]", x)
            q, k, v = rotary(into(h, a["query"])), rotary(into(h, a["key"])), into(h, a["value"])
            x = x + into(attend(q, k, v, self.near if i % 2 == 1 else None), a["out"], 2)
            f = w / f"Feed[{i}]"
            h = rms_norm(w / f"after[{i}]", x)
            x = x + into(gelu(into(h, f["up"])), f["down"])
        return token_loss(into(rms_norm(w / "final", x), w["head"]), inputs["targets"])


class Moe:
    name, seed = "moe", 25

    def draw(self, w, d):
        w.layer("Mixture", "Mixture")
        for i in range(d["Layers"]):
            w.layer(f"Mixture.before[{i}]", "Norm", "Embed")
            w.layer(f"Mixture.Moe[{i}]", "Moe")
            w.layer(f"Mixture.Moe[{i}].shared", "Feed")
            w.layer(f"Mixture.Moe[{i}].Feed", "Feed", each=["Expert"])
        w.layer("Mixture.final", "Norm", "Embed")

    def inputs(self, r, d):
        return tokens(r, d)

    def loss(self, w, inputs, d):
        w, self.nexts, self.dropped = Scope(w, "Mixture"), {}, 0
        x, extra = w["table"][inputs["tokens"]], 0
        for i in range(d["Layers"]):
            y, balance = self.layer(w / f"Moe[{i}]", rms_norm(w / f"before[{i}]", x), d)
            x, extra = x + y, extra + balance
        return token_loss(into(rms_norm(w / "final", x), w["head"]), inputs["targets"]) + extra

    def layer(self, w, x, d):
        """Token by token: who comes first takes the slots; the balance loss; notes the state's next value."""
        feed = lambda f, h, e=...: into(gelu(into(h, f["up"][e])), f["down"][e])
        score = torch.softmax(into(x, w["route"]), dim=-1)
        choice = torch.topk(score + w["bias"], d["TopK"], dim=-1).indices
        share = torch.gather(score, -1, choice)
        share = share / share.sum(-1, keepdim=True)
        hits = F.one_hot(choice, d["Route"]).sum(-2).to(x.dtype)
        balance = 0.05 * d["Route"] * (hits.mean(1) * score.mean(1)).sum(-1).mean()
        load = hits.mean((0, 1))
        self.nexts[f"{w.path}.bias"] = (w["bias"] + 0.01 * torch.sign(load.mean() - load)).detach()
        rows = []
        for b in range(d["Batch"]):
            taken = [0] * d["Expert"]
            for s in range(d["Seq"]):
                y = feed(w / "shared", x[b, s])
                for k in range(d["TopK"]):
                    e = int(choice[b, s, k])
                    taken[e] += 1
                    if taken[e] <= d["Slot"]:
                        y = y + share[b, s, k] * feed(w / "Feed", x[b, s], e)
                    else:
                        self.dropped += 1
                rows.append(y)
        return torch.stack(rows).view(x.shape), balance


def tokens(r, d):
    """Random tokens and, as targets, the next ones."""
    run = r.integers(0, d["Vocab"], (d["Batch"], d["Seq"] + 1), dtype=np.int32)
    return {"tokens": run[:, :-1].copy(), "targets": run[:, 1:].copy()}


# ---------------------------------------------------------------- figures


def tensors(arrays, real, grad=False):
    """Arrays as tensors: floats in the element type `real`, integers as PyTorch wants its indices."""
    return {
        n: torch.tensor(a).to(torch.int64 if a.dtype == np.int32 else real).requires_grad_(grad)
        for n, a in arrays.items()
    }


def figures(model, spec, weights, inputs, real):
    """Loss, gradients and curve in the element type `real`, as numpy arrays."""
    w, x = tensors(weights.values, real, grad=True), tensors(inputs, real)
    for n in weights.states:
        w[n].requires_grad_(False)
    loss = model.loss(w, x, spec.dims)
    loss.backward()
    grads = {n: t.grad.detach().clone().numpy() for n, t in w.items() if n not in weights.states}

    plain = [t for n, t in w.items() if n not in weights.decayed and n not in weights.states]
    groups = [{"params": [w[n] for n in weights.decayed], "weight_decay": DECAY}, {"params": plain, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=spec.rate, betas=BETAS, eps=EPS, foreach=False, fused=False)
    curve = []
    for _ in range(STEPS):
        adamw.zero_grad()
        now = model.loss(w, x, spec.dims)
        now.backward()
        curve.append(now.item())
        adamw.step()
        if weights.states:
            w.update(model.nexts)
    assert curve[0] == loss.item()
    return loss.item(), grads, np.array(curve), {n: w[n].numpy() for n in weights.states}


def distance(got, want):
    """The largest share of ε‖g‖ + ε/100·‖all g‖, with ε = 1e-4, that a gradient's error takes; and which one."""
    whole = math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in want.values()))
    shares = {}
    for name, g in want.items():
        error = np.linalg.norm(got[name].astype(np.float64) - g.astype(np.float64))
        shares[name] = float(error / (1e-4 * np.linalg.norm(g.astype(np.float64)) + 1e-6 * whole))
    worst = max(shares, key=shares.get)
    return shares[worst], worst


def sane(name, single, double):
    """Fails unless f32 agrees with f64 to a fifth of what the tests grant; says by how much."""
    loss = abs(single[0] - double[0]) / abs(double[0])
    grad, worst = distance(single[1], double[1])
    curve = float(np.max(np.abs(single[2] - double[2]) / np.abs(double[2])))
    print(f"{name:12} loss {single[0]:.7f} -> {single[2][-1]:.7f}   f32 against f64: loss {loss:.1e}, "
          f"gradients {grad:.1%} of the tolerance ({worst}), curve {curve:.1e}")
    assert loss < 2e-6 and grad < 0.2 and curve < 2e-5, f"{name}: f32 is too far from f64"
    for path, value in double[3].items():
        assert np.abs(single[3][path] - value).max() < 1e-6, f"{name}: {path} in f32 is not as in f64"
        assert np.abs(value).max() > 0.015, f"{name}: {path} hardly moves"
    assert single[2][-1] < single[2][0], f"{name}: the loss does not fall"
    for path, g in double[1].items():
        assert np.isfinite(g).all(), f"{name}: {path} is not finite"
        assert path.endswith(STILL) == (np.abs(g).max() < 1e-6), f"{name}: {path} is idle, or not idle as it should be"


# ---------------------------------------------------------------- the files


def write(path, arrays, metadata):
    """One safetensors file: header length, JSON header padded to 8 bytes, the arrays one after the other."""
    kinds = {"float32": "F32", "int32": "I32"}
    header, at = {"__metadata__": metadata}, 0
    for name, a in arrays.items():
        header[name] = {"dtype": kinds[a.dtype.name], "shape": list(a.shape), "data_offsets": [at, at + a.nbytes]}
        at += a.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    body = b"".join(np.ascontiguousarray(a).tobytes() for a in arrays.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def read(path):
    """The arrays of a file that `write` made."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    header.pop("__metadata__")
    kinds = {"F32": "<f4", "I32": "<i4"}
    return {
        n: np.frombuffer(raw[start + h["data_offsets"][0] : start + h["data_offsets"][1]], kinds[h["dtype"]]).reshape(h["shape"])
        for n, h in header.items()
    }


def compare(path, arrays):
    """--check: weights and inputs are the same bits, figures the same but for rounding on another machine."""
    there = read(path)
    assert there.keys() == arrays.keys(), f"{path.name}: other entries"
    for name, a in arrays.items():
        if name.startswith(("weight/", "input/")):
            assert a.tobytes() == there[name].tobytes(), f"{path.name}: {name} differs"
    pick = lambda of: {n: a for n, a in of.items() if n.startswith("grad/")}
    grad, worst = distance(pick(arrays), pick(there))
    assert grad < 0.2, f"{path.name}: gradient of {worst} differs"
    for name in (n for n in arrays if n.startswith("state/")):
        assert np.allclose(arrays[name], there[name], rtol=0, atol=1e-6), f"{path.name}: {name} differs"
    assert np.allclose(arrays["loss"], there["loss"], rtol=2e-6, atol=0), f"{path.name}: loss differs"
    assert np.allclose(arrays["curve"], there["curve"], rtol=2e-5, atol=0), f"{path.name}: curve differs"
    print(f"{path.name:24} as before")


def make(model, check):
    spec = Spec(model.name)
    weights = Weights(spec, model.seed)
    model.draw(weights, spec.dims)
    inputs = model.inputs(np.random.default_rng(model.seed + 1000), spec.dims)
    single = figures(model, spec, weights, inputs, torch.float32)
    double = figures(model, spec, weights, inputs, torch.float64)
    sane(model.name, single, double)
    arrays = {f"weight/{n}": a for n, a in weights.values.items()}
    arrays |= {f"input/{n}": a for n, a in inputs.items()}
    arrays |= {f"grad/{n}": g for n, g in single[1].items()}
    arrays |= {f"state/{n}": s for n, s in single[3].items()}
    arrays |= {"loss": np.array([single[0]], np.float32), "curve": single[2].astype(np.float32)}
    path = HERE / f"{model.name}.safetensors"
    if check:
        return compare(path, arrays)
    metadata = {
        "model": model.name, "rate": repr(spec.rate), "beta1": repr(BETAS[0]), "beta2": repr(BETAS[1]), "eps": repr(EPS),
        "decay": repr(DECAY), "decayed": " ".join(weights.decayed), "torch": torch.__version__, "loss_f64": repr(double[0]),
    }
    write(path, arrays, metadata)


def main():
    torch.set_num_threads(1)
    words = sys.argv[1:]
    check, chosen = "--check" in words, [w for w in words if w != "--check"]
    models = [m for m in (Gpt(), Llama(), Mixer(), Price(), Alternating(), Moe())]
    unknown = set(chosen) - {m.name for m in models}
    if unknown:
        sys.exit(f"no such model: {', '.join(sorted(unknown))}")
    for model in models:
        if not chosen or model.name in chosen:
            make(model, check)
            if isinstance(model, Price) and not check:
                (HERE / "price.csv").write_text(model.csv())
            elif isinstance(model, Price):
                assert (HERE / "price.csv").read_text() == model.csv(), "price.csv differs"


if __name__ == "__main__":
    main()
