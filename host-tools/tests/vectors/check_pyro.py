"""Scores and samples the Pyro vectors from their files alone, with numpy.

    python check_pyro.py           # prints the worst deviation of each flow, fails above 1e-8

The counterpart of check_vectors.py for flows that are listed from noise to data.
"""

import json
import sys
from typing import Callable

import numpy as np
from check_vectors import ACTIVATIONS, HERE, Array, Weights, knots, rational_quadratic, softmax, softplus
from safetensors.numpy import load_file

sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
ACTIVATIONS |= {
    "sigmoid": sigmoid,
    "softplus": softplus,
    "silu": lambda a: a * sigmoid(a),
    "leaky_relu": lambda a: np.where(a > 0, a, 0.01 * a),
}
Result = tuple[Array, Array]
LEAST, LEAST_LAMBDA = 1e-3, 0.025


# --- Networks and splines -------------------------------------------------------------------


def network(config: dict, w: Weights, x: Array) -> Array:
    """A dense or masked network."""
    h, last = x, len(config["hidden_dims"])
    for i in range(last):
        h = ACTIVATIONS[config["nonlinearity"]](w.linear(f"layers.{i}", h))
    h = w.linear(f"layers.{last}", h)
    if config.get("skip_connections"):
        h = h + x @ (w.at("skip_layer").get("weight") * w.at("skip_layer").get("mask")).T
    return h


def rational_linear(x: Array, xs: Array, ys: Array, slopes: Array, lam: Array, inverse: bool) -> Result:
    """Two pieces of hyperbola in each bin, identity outside."""
    edges = ys if inverse else xs
    inside = (x >= edges[..., 0]) & (x <= edges[..., -1])
    k = np.clip((x[..., None] >= edges).sum(-1) - 1, 0, edges.shape[-1] - 2)[..., None]
    pick = lambda table, i: np.take_along_axis(table, i, -1)[..., 0]  # noqa: E731
    x0, w, y0, h = pick(xs, k), pick(xs, k + 1) - pick(xs, k), pick(ys, k), pick(ys, k + 1) - pick(ys, k)
    d0, d1, lam, delta = pick(slopes, k), pick(slopes, k + 1), pick(lam, k), h / w
    wb = np.sqrt(d0 / d1)
    wc = (lam * d0 + (1 - lam) * wb * d1) / delta
    r = lam * wb / ((1 - lam) + lam * wb)
    if inverse:
        u = np.where(inside, (x - y0) / h, 0)
        right = 1 - (1 - u) * wb * (1 - lam) / ((1 - r) * wc - (1 - u) * (wc - wb))
        theta = np.where(u <= r, lam * u / (r * wc - (wc - 1) * u), right)
    else:
        theta = np.where(inside, (x - x0) / w, 0)
    left = theta <= lam
    n = np.where(left, lam + (wc - 1) * theta, wc * (1 - theta) + wb * (theta - lam))
    u = np.where(left, r * wc * theta / n, 1 - (1 - r) * wc * (1 - theta) / n)
    slope = delta * np.where(left, r * wc * lam, (1 - r) * wc * wb * (1 - lam)) / n**2
    y = x0 + w * theta if inverse else y0 + h * u
    return np.where(inside, y, x), np.where(inside, (-1 if inverse else 1) * np.log(slope), 0)


def spline(config: dict, raw: list[Array], x: Array, inverse: bool) -> Result:
    """Element-wise splines with the raw parameters (…, K) of each dimension."""
    least = lambda p: LEAST + (1 - LEAST * p.shape[-1]) * p  # noqa: E731
    xs, ys = (knots(least(softmax(a)), config["bound"]) for a in raw[:2])
    inner = LEAST + softplus(raw[2])
    slopes = np.pad(inner, [(0, 0)] * (inner.ndim - 1) + [(1, 1)], constant_values=1 - LEAST)
    full = lambda a: np.broadcast_to(a, x.shape + a.shape[-1:])  # noqa: E731
    if config["order"] == "quadratic":
        return rational_quadratic(x, full(xs), full(ys), full(slopes), inverse)
    lam = LEAST_LAMBDA + (1 - 2 * LEAST_LAMBDA) * sigmoid(raw[3])
    return rational_linear(x, full(xs), full(ys), full(slopes), full(lam), inverse)


def sizes(config: dict) -> list[int]:
    K = config["count_bins"]
    return [K, K, K - 1] + ([K] if config["order"] == "linear" else [])


def stored(config: dict, w: Weights) -> list[Array]:
    names = ["widths", "heights", "derivatives", "lambdas"][: len(sizes(config))]
    return [w.get(f"unnormalized_{name}") for name in names]


def blocks(config: dict, out: Array, dim: int) -> list[Array]:
    """A dense network's output: all widths, then all heights, ...; dimension by dimension inside."""
    cut = np.cumsum([dim * n for n in sizes(config)])[:-1]
    return [part.reshape(len(out), dim, -1) for part in np.split(out, cut, -1)]


# --- Layers: (config, weights, x, context, inverse) → y, ladj --------------------------------


def elementwise_spline(c: dict, w: Weights, x: Array, context: Array, inverse: bool) -> Result:
    raw = stored(c, w) if "context_dim" not in c else blocks(c, network(c, w.at("nn"), context), x.shape[1])
    y, ladj = spline(c, raw, x, inverse)
    return y, ladj.sum(-1)


def spline_coupling(c: dict, w: Weights, x: Array, context: Array, inverse: bool) -> Result:
    first, second = x[:, : c["split_dim"]], x[:, c["split_dim"] :]
    lower, ladj = first, 0.0
    if not c["identity"]:
        lower, ladj = spline(c, stored(c, w.at("lower_spline")), first, inverse)
    noise = lower if inverse else first
    raw = blocks(c, network(c, w.at("upper_spline").at("nn"), noise), second.shape[1])
    upper, more = spline(c, raw, second, inverse)
    return np.concatenate([lower, upper], -1), np.sum(ladj, -1) + more.sum(-1)


def sweep(step: Callable[[Array], Result], x: Array, inverse: bool) -> Result:
    """An autoregressive layer: one pass forward, D passes back."""
    noise = np.zeros_like(x) if inverse else x
    for _ in range(x.shape[1] if inverse else 1):
        result = step(noise)
        noise = result[0]
    return result


def net_of(c: dict, w: Weights, context: Array) -> Callable[[Array], Array]:
    name = "nn" if "context_dim" in c else "arn"
    return lambda noise: network(c, w.at(name), np.concatenate([context, noise], -1) if name == "nn" else noise)


def spline_autoregressive(c: dict, w: Weights, x: Array, context: Array, inverse: bool) -> Result:
    net, cut = net_of(c, w, context), np.cumsum(sizes(c))[:-1]

    def step(noise: Array) -> Result:
        out = net(noise).reshape(len(x), -1, x.shape[1]).transpose(0, 2, 1)
        y, ladj = spline(c, np.split(out, cut, -1), x, inverse)
        return y, ladj.sum(-1)

    return sweep(step, x, inverse)


def scaled(x: Array, shift: Array, log_scale: Array, inverse: bool) -> Result:
    y = (x - shift) * np.exp(-log_scale) if inverse else np.exp(log_scale) * x + shift
    return y, (-1 if inverse else 1) * log_scale.sum(-1)


def affine_autoregressive(c: dict, w: Weights, x: Array, context: Array, inverse: bool) -> Result:
    net = net_of(c, w, context)

    def step(noise: Array) -> Result:
        shift, s = np.split(net(noise), 2, -1)
        if c["stable"]:
            s = -softplus(-(s + c["sigmoid_bias"]))
            return scaled(x, (1 - np.exp(s)) * shift, s, inverse)
        return scaled(x, shift, np.clip(s, c["log_scale_min_clip"], c["log_scale_max_clip"]), inverse)

    return sweep(step, x, inverse)


def affine_coupling(c: dict, w: Weights, x: Array, context: Array, inverse: bool) -> Result:
    first, second = x[:, : c["split_dim"]], x[:, c["split_dim"] :]
    given = np.concatenate([context, first], -1) if "context_dim" in c else first
    shift, s = np.split(network(c, w.at("nn"), given), 2, -1)
    s = np.clip(s, c["log_scale_min_clip"], c["log_scale_max_clip"])
    y, ladj = scaled(second, shift, s, inverse)
    return np.concatenate([first, y], -1), ladj


def householder(c: dict, w: Weights, x: Array, context: Array, inverse: bool) -> Result:
    T, D = c["count_transforms"], c["input_dim"]
    v = network(c, w.at("nn"), context) if "context_dim" in c else w.get("u_unnormed").reshape(1, -1)
    v = v.reshape(-1, T, D)
    for t in reversed(range(T)) if inverse else range(T):
        u = v[:, t] / np.linalg.norm(v[:, t], axis=-1, keepdims=True)
        x = x - 2 * (u * x).sum(-1, keepdims=True) * u
    return x, np.zeros(len(x))


def matrix_exponential(c: dict, w: Weights, x: Array, context: Array, inverse: bool) -> Result:
    D = c["input_dim"]
    m = network(c, w.at("nn"), context) if "context_dim" in c else w.get("weights")
    m = (-1 if inverse else 1) * m.reshape(-1, D, D)
    term, y = x, x
    for i in range(c["iterations"]):
        term = (m @ term[..., None])[..., 0] / (i + 1)
        y = y + term
    return y, np.trace(m, axis1=1, axis2=2) + np.zeros(len(x))


def channel_permute(c: dict, w: Weights, x: Array, context: Array, inverse: bool) -> Result:
    C, pixels = c["channels"], c["event_shape"][1] * c["event_shape"][2]
    lu = network(c, w.at("nn"), context) if "context_dim" in c else w.get("LU")
    lu = lu.reshape(-1, C, C)
    matrix = w.get("permutation") @ (np.tril(lu, -1) + np.eye(C)) @ np.triu(lu)
    matrix = np.linalg.inv(matrix) if inverse else matrix
    ladj = pixels * np.log(np.abs(np.diagonal(lu, axis1=1, axis2=2))).sum(-1) + np.zeros(len(x))
    return (matrix @ x.reshape(len(x), C, pixels)).reshape(x.shape), -ladj if inverse else ladj


def batch_norm(c: dict, w: Weights, x: Array, context: Array, inverse: bool) -> Result:
    deviation = np.sqrt(w.get("moving_variance") + c["epsilon"])
    scale = deviation / (np.maximum(w.get("gamma"), 0) + 1e-6)
    shift = w.get("moving_mean") - scale * w.get("beta")
    return scaled(x, shift, np.broadcast_to(np.log(scale), x.shape), inverse)


def linear_map(matrix: Array, x: Array, inverse: bool) -> Result:
    ladj = np.linalg.slogdet(matrix)[1] + np.zeros(len(x))
    return (np.linalg.solve(matrix, x.T).T, -ladj) if inverse else (x @ matrix.T, ladj)


def cosine(c: dict, w: Weights, x: Array, context: Array, inverse: bool) -> Result:
    D = c["input_dim"]
    k, n = np.arange(D)[:, None], np.arange(D)[None, :]
    matrix = np.cos(np.pi * k * (2 * n + 1) / (2 * D)) * np.where(k == 0, 1, 2**0.5) / D**0.5
    gain = (np.arange(D) + 0.5) ** c["smooth"]
    return linear_map(gain[:, None] / np.exp(np.log(gain).mean()) * matrix, x, inverse)


def haar_step(x: Array) -> Array:
    n = x.shape[1] // 2
    low = (x[:, 0 : 2 * n : 2] + x[:, 1 : 2 * n : 2]) / 2**0.5
    high = (x[:, 0 : 2 * n : 2] - x[:, 1 : 2 * n : 2]) / 2**0.5
    return np.concatenate([haar_step(low) if n > 1 else low, high, x[:, 2 * n :]], -1)


def haar(c: dict, w: Weights, x: Array, context: Array, inverse: bool) -> Result:
    unit = np.eye(c["input_dim"])
    return linear_map(haar_step(unit[:, ::-1] if c["flip"] else unit).T, x, inverse)


def cholesky(c: dict, w: Weights, x: Array, context: Array, inverse: bool) -> Result:
    loc, matrix = w.get("arg.loc"), w.get("arg.scale_tril")
    y, ladj = linear_map(matrix, x - loc if inverse else x, inverse)
    return (y, ladj) if inverse else (y + loc, ladj)


def affine(c: dict, w: Weights, x: Array, context: Array, inverse: bool) -> Result:
    loc, scale = w.get("arg.loc"), w.get("arg.scale")
    ladj = np.log(np.abs(scale)).sum() + np.zeros(len(x))
    return ((x - loc) / scale, -ladj) if inverse else (scale * x + loc, ladj)


def permute(c: dict, w: Weights, x: Array, context: Array, inverse: bool) -> Result:
    order = w.get("arg.permutation")
    return x[:, np.argsort(order) if inverse else order], np.zeros(len(x))


# value, inverse, ln of the derivative at x
FUNCTIONS: dict[str, tuple[Callable, Callable, Callable]] = {
    "TanhTransform": (np.tanh, np.arctanh, lambda x: 2 * (np.log(2) - x - softplus(-2 * x))),
    "SigmoidTransform": (sigmoid, lambda y: np.log(y) - np.log1p(-y), lambda x: -softplus(-x) - softplus(x)),
    "ExpTransform": (np.exp, np.log, lambda x: x),
    "SoftplusTransform": (softplus, lambda y: y + np.log(-np.expm1(-y)), lambda x: -softplus(-x)),
    "LeakyReLUTransform": (
        lambda x: np.where(x >= 0, x, 0.01 * x),
        lambda y: np.where(y >= 0, y, 100 * y),
        lambda x: np.where(x >= 0, 0, np.log(0.01)),
    ),
}

LAYERS: dict[str, Callable[..., Result]] = {
    "Spline": elementwise_spline,
    "SplineCoupling": spline_coupling,
    "SplineAutoregressive": spline_autoregressive,
    "AffineCoupling": affine_coupling,
    "AffineAutoregressive": affine_autoregressive,
    "Householder": householder,
    "MatrixExponential": matrix_exponential,
    "GeneralizedChannelPermute": channel_permute,
    "BatchNorm": batch_norm,
    "Permute": permute,
    "DiscreteCosineTransform": cosine,
    "HaarTransform": haar,
    "AffineTransform": affine,
    "LowerCholeskyAffine": cholesky,
}


def apply(layer: dict, w: Weights, x: Array, context: Array, backwards: bool) -> Result:
    """One layer, from noise to data or back."""
    inverse, kind = layer["inverse"] != backwards, layer["type"]
    w = w.at(f"layers.{layer['index']}")
    if kind not in FUNCTIONS:
        return LAYERS[kind.removeprefix("Conditional")](layer["config"], w, x, context, inverse)
    value, back, log_slope = FUNCTIONS[kind]
    if inverse:
        y = back(x)
        return y, -log_slope(y).sum(-1)
    return value(x), log_slope(x).sum(-1)


def deviation(name: str) -> dict[str, float]:
    """Largest |a − b| / (1 + |b|) of scores, noise, samples and trace."""
    arch = json.loads((HERE / f"{name}.arch.json").read_text())
    weights = Weights(load_file(HERE / f"{name}.weights.safetensors"))
    tests = load_file(HERE / f"{name}.tests.safetensors")
    z, x = tests["v"].astype(np.float64), tests["z"].astype(np.float64)
    context = tests.get("context", np.zeros((len(x), 0))).astype(np.float64)
    score, traced = 0.0, []
    for layer in reversed(arch["layers"]):
        z, ladj = apply(layer, weights, z, context, True)
        score = score + ladj
    for layer in arch["layers"]:
        x, _ = apply(layer, weights, x, context, False)
        traced.append(x[:4])
    score = score - 0.5 * (z**2).sum(-1) - 0.5 * arch["dim"] * np.log(2 * np.pi)
    pairs = {
        "log_prob": (score, tests["log_prob_f64"]),
        "z": (z, tests["z_from_v_f64"]),
        "x": (x, tests["x_from_z_f64"]),
        "trace": (np.array(traced), tests["trace_first4_f64"]),
    }
    return {key: float(np.max(np.abs(a - b) / (1 + np.abs(b)))) for key, (a, b) in pairs.items()}


def main() -> None:
    """Checks both Pyro vectors."""
    failed = False
    for name in ("pyro_plain", "pyro_context"):
        found = deviation(name)
        failed |= not max(found.values()) < 1e-8
        print(f"{name:22} " + "  ".join(f"{key} {value:.1e}" for key, value in found.items()))
    sys.exit("a vector deviates" if failed else 0)


if __name__ == "__main__":
    main()
