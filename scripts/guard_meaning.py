"""What windows mean to the guard: the last two layers of all-MiniLM-L6-v2, trained further, and a small network for each channel.

`train_guard.py` is the command. Needs jax, onnx, onnxruntime, tokenizers and blake3 beside numpy. A text is as bad as its worst window: of an
attack, that which the word pairs find worst is learned; of a harmless text, that one or any other of its worst, by turns. The first
four layers do not change, so what they say of a window is computed once.
"""

import os
import pathlib
import struct
import sys

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
import blake3
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from tokenizers import Tokenizer

from guard_rows import WINDOWS, weights_of

CACHE = pathlib.Path(os.environ.get("SIGNALBOX_CACHE") or pathlib.Path.home() / ".cache/signalbox")
MODEL = pathlib.Path(os.environ.get("SIGNALBOX_MODEL_DIR") or CACHE / "models/all-MiniLM-L6-v2")
CHANNELS = ("direct", "document")
# Windows of a text that are learned from, and judged where it is left out.
MOST = {"direct": 4, "document": 6}
FIRST, LAYERS, HEADS, SIZE, UNITS, TOKENS = 4, 6, 12, 384, 48, 160
DENSE = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense", "intermediate.dense", "output.dense"]
NORMS = ["attention.output.LayerNorm", "output.LayerNorm"]
WIDTHS = (40, 64, 96, TOKENS)
BATCH = 32


def names(layer):
    """The graph's names of a layer's weights, by ours."""
    prefix = f"encoder.layer.{layer}."
    kernel = {f"{name}.w": f"{prefix}{name}.weight.T" for name in DENSE} | {f"{name}.w": f"{prefix}{name}.weight" for name in NORMS}
    return kernel | {f"{name}.b": f"{prefix}{name}.bias" for name in DENSE + NORMS}


class States:
    """What the first layers say of windows, computed when it is asked for."""

    def __init__(self):
        graph = onnx.load(MODEL / "model.onnx")
        self.weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
        # One behind the embeddings, two a layer.
        self.name = [node.output[0] for node in graph.graph.node if node.op_type == "LayerNormalization"][2 * FIRST]
        graph.graph.output.append(onnx.helper.make_tensor_value_info(self.name, onnx.TensorProto.FLOAT, ["batch", "sequence", SIZE]))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        extractor = onnx.utils.Extractor(graph)
        self.session = onnxruntime.InferenceSession(extractor.extract_model(["input_ids", "attention_mask", "token_type_ids"], [self.name]).SerializeToString(), options)
        self.tokens = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
        self.tokens.no_padding()
        self.tokens.enable_truncation(TOKENS)
        self.known = {}

    def fill(self, windows):
        new = [window for window in dict.fromkeys(windows) if window not in self.known]
        ids = sorted(zip(new, (encoding.ids for encoding in self.tokens.encode_batch(new))), key=lambda one: len(one[1]))
        for at in range(0, len(ids), BATCH):
            part = ids[at:at + BATCH]
            x = np.zeros((len(part), len(part[-1][1])), np.int64)
            mask = np.zeros_like(x)
            for row, (_, tokens) in enumerate(part):
                x[row, :len(tokens)], mask[row, :len(tokens)] = tokens, 1
            (states,) = self.session.run(None, {"input_ids": x, "attention_mask": mask, "token_type_ids": np.zeros_like(x)})
            for row, (window, tokens) in enumerate(part):
                self.known[window] = states[row, :len(tokens)].astype(np.float16)

    def batch(self, items, size):
        """States, which of them count, and the channels, of windows with their channels."""
        parts = [self.known[window] for window, _ in items]
        width = next(w for w in WIDTHS if w >= max(map(len, parts)))
        x, mask, place = np.zeros((size, width, SIZE), np.float16), np.zeros((size, width), bool), np.zeros(size, np.int32)
        mask[:, 0] = True
        for row, part in enumerate(parts):
            x[row, :len(part)], mask[row, :len(part)], place[row] = part, True, items[row][1]
        return x, mask, place


def begin(weights, seed):
    rng = np.random.default_rng(seed)
    first = rng.normal(0, 0.4, (len(CHANNELS), SIZE, UNITS)).astype(np.float32)
    return {"layers": [{ours: jnp.asarray(weights[name]) for ours, name in names(layer).items()} for layer in range(FIRST, LAYERS)],
            "first": jnp.asarray(first), "first_bias": jnp.zeros((len(CHANNELS), UNITS)),
            "second": jnp.asarray(rng.normal(0, UNITS ** -0.5, (len(CHANNELS), UNITS)).astype(np.float32)), "bias": jnp.zeros(len(CHANNELS))}


def dropped(x, share, key):
    return x if key is None else jnp.where(jax.random.bernoulli(key, 1 - share, x.shape), x / (1 - share), 0)


def layer(p, x, absent, key):
    batch, length, _ = x.shape
    one, two = (None, None) if key is None else jax.random.split(key)
    dense = lambda x, name: x @ p[f"{name}.w"] + p[f"{name}.b"]
    split = lambda x: x.reshape(batch, length, HEADS, -1).transpose(0, 2, 1, 3)

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt((centred ** 2).mean(-1, keepdims=True) + 1e-12) * p[f"{name}.w"] + p[f"{name}.b"]

    query, key_, value = (split(dense(x, name)) for name in DENSE[:3])
    share = jax.nn.softmax(query @ key_.transpose(0, 1, 3, 2) / (SIZE // HEADS) ** 0.5 + absent, -1)
    context = (share @ value).transpose(0, 2, 1, 3).reshape(batch, length, SIZE)
    x = norm(x + dropped(dense(context, DENSE[3]), 0.1, one), NORMS[0])
    inner = jax.nn.gelu(dense(x, DENSE[4]), approximate=False)
    return norm(x + dropped(dense(inner, DENSE[5]), 0.1, two), NORMS[1])


def logits(params, x, mask, place, key=None):
    """As the guard computes them: the mean over tokens, at length 1, through the channel's network."""
    keys = [None] * 3 if key is None else jax.random.split(key, 3)
    x, absent = x.astype(jnp.float32), jnp.where(mask, 0.0, -1e4)[:, None, None]
    for p, one in zip(params["layers"], keys):
        x = layer(p, x, absent, one)
    vector = (x * mask[..., None]).sum(1)
    vector = vector * jax.lax.rsqrt((vector ** 2).sum(-1, keepdims=True) + 1e-12)
    units = jax.nn.relu(jnp.einsum("bi,biu->bu", vector, params["first"][place]) + params["first_bias"][place])
    return (dropped(units, 0.2, keys[2]) * params["second"][place]).sum(-1) + params["bias"][place]


def loss(params, x, mask, place, label, key, smooth=0.03):
    z = logits(params, x, mask, place, key)
    return jnp.mean(jax.nn.softplus(z) - (label * (1 - 2 * smooth) + smooth) * z)


@jax.jit
def step(params, moments, batch, key, number, speed):
    """One of Adam's, slower for the layers than for what is new."""
    slope = jax.grad(loss)(params, *batch, key)
    long = jnp.sqrt(sum(jnp.sum(part ** 2) for part in jax.tree.leaves(slope)))
    slope = jax.tree.map(lambda part: part * jnp.minimum(1, 1 / long), slope)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], slope)
    second = jax.tree.map(lambda m, g: 0.999 * m + 0.001 * g ** 2, moments[1], slope)

    def moved(path, p, m, v):
        rate = speed * (1e-4 if path[0].key == "layers" else 1e-3)
        return p - rate * (m / (1 - 0.9 ** number) / (jnp.sqrt(v / (1 - 0.999 ** number)) + 1e-8) + (0.01 * p if p.ndim > 1 else 0))

    return jax.tree_util.tree_map_with_path(moved, params, first, second), (first, second)


judge = jax.jit(logits)


def candidates(texts, pairs, channel, chosen):
    """Each chosen text's worst windows by the word pairs, the worst first."""
    scores = texts.logits(pairs)
    for text in np.flatnonzero(chosen):
        start, end = texts.start[text], texts.start[text + 1]
        order = np.argsort(-scores[start:end], kind="stable")[:MOST[channel]]
        yield text, [texts.windows[start + window] for window in order]


def train(states, every, pairs, keep, seed, draws):
    """Learns from the texts of both channels that are kept, as often as they weigh; `every`, `pairs` and `keep` go by channel."""
    rng, items = np.random.default_rng(seed), []
    for place, channel in enumerate(CHANNELS):
        texts, kept = every[channel], keep[channel]
        worst = dict(candidates(texts, pairs[channel], channel, kept))
        weight = weights_of(texts, kept)
        for text in rng.choice(len(weight), draws // len(CHANNELS), p=weight / weight.sum()):
            some = worst[text]
            which = 0 if texts.label[text] or rng.random() < 0.5 else rng.integers(len(some))
            items.append((some[which], place, texts.label[text]))
    rng.shuffle(items)
    items = [(str(window), int(place), float(label)) for window, place, label in items]
    states.fill([window for window, _, _ in items])
    # Windows of about the same length go together, but in no order of lengths.
    batches = []
    for at in range(0, len(items), 24 * BATCH):
        part = sorted(items[at:at + 24 * BATCH], key=lambda item: len(states.known[item[0]]))
        some = [part[first:first + BATCH] for first in range(0, len(part) - BATCH + 1, BATCH)]
        batches += [some[number] for number in rng.permutation(len(some))]
    params, key = begin(states.weights, seed), jax.random.PRNGKey(seed)
    moments = (jax.tree.map(jnp.zeros_like, params),) * 2
    for number, part in enumerate(batches, 1):
        key, one = jax.random.split(key)
        batch = (*states.batch([item[:2] for item in part], BATCH), np.array([item[2] for item in part], np.float32))
        speed = min(1, number / (0.08 * len(batches))) * (len(batches) - number) / len(batches)
        params, moments = step(params, moments, batch, one, number, speed)
        if number % 25 == 0:
            print(f"  {number}/{len(batches)}", end="\r", file=sys.stderr, flush=True)
    return params


def scores(params, states, texts, pairs, channel, chosen):
    """The score of each chosen text by its worst window, of those that the word pairs find worst."""
    place, items = CHANNELS.index(channel), []
    for text, windows in candidates(texts, pairs, channel, chosen):
        items += [(text, window) for window in windows]
    states.fill([window for _, window in items])
    items.sort(key=lambda item: len(states.known[item[1]]))
    found = np.full(len(texts.label), -np.inf)
    for at in range(0, len(items), 64):
        part = items[at:at + 64]
        z = np.asarray(judge(params, *states.batch([(window, place) for _, window in part], 64)))
        for (text, _), logit in zip(part, z):
            found[text] = max(found[text], logit)
    return found - WINDOWS * np.log(np.diff(texts.start))


def save(folder, files, params, weights):
    """The layers' changes as `libs/embed/src/changes.rs` reads them, and the networks as `services/guard/src/injection/meaning.rs` does."""
    graph = (MODEL / "model.onnx").read_bytes()
    out = [blake3.blake3(graph).digest()]
    for number, trained in zip(range(FIRST, LAYERS), params["layers"]):
        for ours, name in sorted(names(number).items()):
            before = np.ascontiguousarray(weights[name], np.float32)
            change = np.asarray(trained[ours], np.float32) - before
            step_ = max(float(np.abs(change).max()) / 127, 1e-12)
            at = graph.find(before.tobytes())
            if at < 0 or graph.find(before.tobytes(), at + 1) >= 0:
                raise SystemExit(f"{name} is not in {MODEL}/model.onnx once")
            out.append(struct.pack("<IIf", at, before.size, step_) + np.round(change / step_).astype(np.int8).tobytes())
    (folder / "meaning.bin").write_bytes(b"".join(out))
    for place, channel in enumerate(CHANNELS):
        first = np.concatenate([np.asarray(params["first"][place]).T, np.asarray(params["first_bias"][place])[:, None]], axis=1)
        numbers = [first.ravel(), np.asarray(params["second"][place]), np.asarray(params["bias"][place])[None]]
        (folder / files[channel]).write_bytes(struct.pack("<I", UNITS) + np.concatenate(numbers).astype("<f4").tobytes())
