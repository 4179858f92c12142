"""Scores the zuko and nflows vectors from their files alone, with numpy and README.md's formulas.

    python check_vectors.py           # prints the worst deviation of each flow, fails above 1e-10

No flow library is used: this shows that the files hold everything and that the formulas of
host-tools/python/README.md are those of the libraries.
"""

import json
import sys
from pathlib import Path
from typing import Any, Callable

import numpy as np
from safetensors.numpy import load_file

HERE = Path(__file__).resolve().parent
Array = np.ndarray
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda a: np.maximum(a, 0),
    "tanh": np.tanh,
    "elu": lambda a: np.where(a > 0, a, np.expm1(np.minimum(a, 0))),
}


class Weights:
    """The float64 tensors whose names begin with a prefix."""

    def __init__(self, tensors: dict[str, Array], prefix: str = "") -> None:
        self.tensors, self.prefix = tensors, prefix

    def at(self, name: str) -> "Weights":
        return Weights(self.tensors, f"{self.prefix}{name}.")

    def get(self, name: str) -> Array:
        tensor = self.tensors[self.prefix + name]
        return tensor.astype(np.float64) if tensor.dtype == np.float32 else tensor

    def linear(self, name: str, x: Array) -> Array:
        """x Wᵀ + b, with the mask where there is one."""
        layer = self.at(name)
        weight = layer.get("weight")
        if f"{layer.prefix}mask" in self.tensors:
            weight = weight * layer.get("mask")
        return x @ weight.T + layer.get("bias")


def softmax(a: Array) -> Array:
    e = np.exp(a - a.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def softplus(a: Array) -> Array:
    return np.logaddexp(a, 0)


def knots(share: Array, bound: float) -> Array:
    """Edges of bins whose shares of [−B, B] are given."""
    edges = np.concatenate([np.zeros(share.shape[:-1] + (1,)), np.cumsum(share, -1)], -1)
    edges = bound * (2 * edges - 1)
    edges[..., -1] = bound
    return edges


def rational_quadratic(x: Array, xs: Array, ys: Array, slopes: Array, inverse: bool) -> tuple:
    """The spline through knots (xs, ys), identity outside; value and ln of its derivative."""
    edges = ys if inverse else xs
    inside = (x >= edges[..., 0]) & (x <= edges[..., -1])
    k = np.clip((x[..., None] >= edges).sum(-1) - 1, 0, edges.shape[-1] - 2)[..., None]
    pick = lambda table, i: np.take_along_axis(table, i, -1)[..., 0]  # noqa: E731
    x0, w = pick(xs, k), pick(xs, k + 1) - pick(xs, k)
    y0, h = pick(ys, k), pick(ys, k + 1) - pick(ys, k)
    d0, d1, s = pick(slopes, k), pick(slopes, k + 1), h / w
    if inverse:
        t = np.where(inside, x - y0, 0)
        a, b = h * (s - d0) + t * (d0 + d1 - 2 * s), h * d0 - t * (d0 + d1 - 2 * s)
        z = 2 * s * t / (b + np.sqrt(b * b + 4 * a * s * t))
    else:
        z = np.where(inside, (x - x0) / w, 0)
    bottom = s + (d0 + d1 - 2 * s) * z * (1 - z)
    y = x0 + w * z if inverse else y0 + h * (s * z * z + d0 * z * (1 - z)) / bottom
    slope = s * s * (d1 * z * z + 2 * s * z * (1 - z) + d0 * (1 - z) ** 2) / bottom**2
    sign = -1 if inverse else 1
    return np.where(inside, y, x), np.where(inside, sign * np.log(slope), 0)


# --- zuko -----------------------------------------------------------------------------------


def zuko_network(config: dict, w: Weights, x: Array) -> Array:
    act = ACTIVATIONS[config["activation"]]
    for i, name in enumerate(config["hyper"]):
        if name == "linear":
            x = w.linear(f"hyper.{i}", x)
        elif name == "activation":
            x = act(x)
        else:
            x = x + w.linear(f"hyper.{i}.2", act(w.linear(f"hyper.{i}.0", x)))
    return x


def zuko_layer(config: dict, w: Weights, x: Array, context: Array) -> tuple[Array, Array]:
    K, D, ln_slope = config["bins"], config["features"], abs(np.log(config["slope"]))
    phi = zuko_network(config, w, np.concatenate([x, context], -1)).reshape(len(x), D, 3 * K - 1)
    clip = lambda a, limit: a / (1 + np.abs(a) / limit)  # noqa: E731
    widths, heights = clip(phi[..., :K], ln_slope / 2), clip(phi[..., K : 2 * K], ln_slope / 2)
    inner = np.exp(clip(phi[..., 2 * K :], ln_slope))
    slopes = np.pad(inner, ((0, 0), (0, 0), (1, 1)), constant_values=1.0)
    xs, ys = (knots(softmax(a), config["bound"]) for a in (widths, heights))
    y, ladj = rational_quadratic(x, xs, ys, slopes, False)
    return y, ladj.sum(-1)


# --- nflows ---------------------------------------------------------------------------------


def nflows_spline(config: dict, x: Array, raw: Array, divisor: float) -> tuple[Array, Array]:
    K, B = config["num_bins"], config["tail_bound"]
    share = lambda a, least: least + (1 - least * K) * softmax(a / divisor)  # noqa: E731
    xs = knots(share(raw[..., :K], config["min_bin_width"]), B)
    ys = knots(share(raw[..., K : 2 * K], config["min_bin_height"]), B)
    inner = config["min_derivative"] + softplus(raw[..., 2 * K :])
    slopes = np.pad(inner, [(0, 0)] * (inner.ndim - 1) + [(1, 1)], constant_values=1.0)
    y, ladj = rational_quadratic(x, xs, ys, slopes, False)
    return y, ladj.sum(-1)


def residual_net(config: dict, w: Weights, x: Array, context: Array) -> Array:
    act = ACTIVATIONS[config["activation"]]
    h = w.linear("initial_layer", np.concatenate([x, context], -1))
    for i in range(config["num_blocks"]):
        t = w.linear(f"blocks.{i}.linear_layers.0", act(h))
        t = w.linear(f"blocks.{i}.linear_layers.1", act(t))
        if context.shape[1]:
            t = t / (1 + np.exp(-w.linear(f"blocks.{i}.context_layer", context)))
        h = h + t
    return w.linear("final_layer", h)


def made(config: dict, w: Weights, x: Array, context: Array) -> Array:
    act, given = ACTIVATIONS[config["activation"]], context.shape[1] > 0
    h = w.linear("initial_layer", x)
    if given:
        h = h + act(w.linear("context_layer", context))
    if not config["use_residual_blocks"]:
        h = act(h)
    for i in range(config["num_blocks"]):
        if not config["use_residual_blocks"]:
            h = act(w.linear(f"blocks.{i}.linear", h))
            continue
        t = w.linear(f"blocks.{i}.linear_layers.0", act(h))
        if given:
            t = t + w.linear(f"blocks.{i}.context_layer", context)
        h = h + w.linear(f"blocks.{i}.linear_layers.1", act(t))
    return w.linear("final_layer", h)


def nflows_coupling(config: dict, w: Weights, x: Array, context: Array) -> tuple[Array, Array]:
    kept, moved = config["identity_features"], config["transform_features"]
    raw = residual_net(config, w.at("transform_net"), x[:, kept], context)
    raw = raw.reshape(len(x), len(moved), 3 * config["num_bins"] - 1)
    z = x.copy()
    z[:, moved], ladj = nflows_spline(config, x[:, moved], raw, config["divide_logits_by_sqrt"] ** 0.5)
    if config["unconditional_transform"]:
        own = w.at("unconditional_transform")
        names = ("unnormalized_widths", "unnormalized_heights", "unnormalized_derivatives")
        raw = np.concatenate([own.get(name) for name in names], -1)
        raw = np.broadcast_to(raw, (len(x),) + raw.shape)
        z[:, kept], more = nflows_spline(config, x[:, kept], raw, 1.0)
        ladj = ladj + more
    return z, ladj


def nflows_autoregressive(config: dict, w: Weights, x: Array, context: Array) -> tuple:
    raw = made(config, w.at("autoregressive_net"), x, context)
    raw = raw.reshape(len(x), config["features"], 3 * config["num_bins"] - 1)
    return nflows_spline(config, x, raw, config["divide_logits_by_sqrt"] ** 0.5)


def lu_linear(config: dict, w: Weights, x: Array, inverse: bool) -> tuple[Array, Array]:
    D = config["features"]
    lower, upper = np.eye(D), np.diag(softplus(w.get("unconstrained_upper_diag")) + config["eps"])
    lower[np.tril_indices(D, -1)] = w.get("lower_entries")
    upper[np.triu_indices(D, 1)] = w.get("upper_entries")
    ladj = np.full(len(x), np.log(upper.diagonal()).sum())
    if inverse:
        return np.linalg.solve(lower @ upper, (x - w.get("bias")).T).T, -ladj
    return x @ (lower @ upper).T + w.get("bias"), ladj


def scale_shift(kind: str, config: dict, w: Weights) -> tuple[Array, Array]:
    """Element-wise layers as scale and shift."""
    if kind == "ActNorm":
        return np.exp(w.get("log_scale")), w.get("shift")
    if kind == "PointwiseAffineTransform":
        return w.get("scale"), w.get("shift")
    scale = softplus(w.get("unconstrained_weight")) + config["eps"]
    scale = scale / np.sqrt(w.get("running_var") + config["eps"])
    return scale, w.get("bias") - scale * w.get("running_mean")


# --- Any layer ------------------------------------------------------------------------------

NETWORKS: dict[str, Callable] = {
    "MaskedAutoregressiveTransform": zuko_layer,
    "PiecewiseRationalQuadraticCouplingTransform": nflows_coupling,
    "MaskedPiecewiseRationalQuadraticAutoregressiveTransform": nflows_autoregressive,
}


def apply(layer: dict[str, Any], w: Weights, x: Array, context: Array) -> tuple[Array, Array]:
    """One layer, from data to noise, and ln of its derivative."""
    kind, config = layer["type"], layer["config"]
    if kind == "LULinear":
        return lu_linear(config, w, x, layer["inverse"])
    if layer["inverse"]:
        raise NotImplementedError(f"{kind}, inverse")
    if kind in NETWORKS:
        return NETWORKS[kind](config, w, x, context)
    if kind == "Permutation":
        return x[:, w.get("permutation")], np.zeros(len(x))
    scale, shift = scale_shift(kind, config, w)
    return scale * x + shift, np.full(len(x), np.log(scale).sum())


def deviation(name: str) -> dict[str, float]:
    """Largest |a − b| / (1 + |b|) of noise, score and trace."""
    arch = json.loads((HERE / f"{name}.arch.json").read_text())
    weights = Weights(load_file(HERE / f"{name}.weights.safetensors"))
    tests = load_file(HERE / f"{name}.tests.safetensors")
    x = tests["v"].astype(np.float64)
    context = tests.get("context", np.zeros((len(x), 0))).astype(np.float64)
    score, traced = 0.0, []
    for layer in arch["layers"]:
        x, ladj = apply(layer, weights.at(f"layers.{layer['index']}"), x, context)
        score, traced = score + ladj, traced + [x[8:12]]
    score = score - 0.5 * (x**2).sum(-1) - 0.5 * arch["dim"] * np.log(2 * np.pi)
    pairs = {
        "log_prob": (score, tests["log_prob_f64"]),
        "z": (x, tests["z_from_v_f64"]),
        "trace": (np.array(traced), tests["trace_rows8to11_f64"]),
    }
    return {key: float(np.max(np.abs(a - b) / (1 + np.abs(b)))) for key, (a, b) in pairs.items()}


def main() -> None:
    """Checks every zuko and nflows vector."""
    names = sorted(p.name[: -len(".arch.json")] for p in HERE.glob("*.arch.json"))
    failed = False
    for name in (n for n in names if n.startswith(("zuko", "nflows"))):
        found = deviation(name)
        failed |= not max(found.values()) < 1e-10
        print(f"{name:22} " + "  ".join(f"{key} {value:.1e}" for key, value in found.items()))
    sys.exit("a vector deviates" if failed else 0)


if __name__ == "__main__":
    main()
