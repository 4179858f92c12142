"""Writes a Pyro flow as FLOW.arch.json and FLOW.weights.safetensors.

A Pyro state_dict lacks what a flow needs to be rebuilt (bounds, orders, split points, clips,
permutations, activations), so this script reads the live distribution:

    import pyro.distributions as dist, pyro.distributions.transforms as T, torch
    from export_pyro import export
    base = dist.Normal(torch.zeros(2), torch.ones(2))
    flow = dist.TransformedDistribution(base, [T.spline_coupling(2), T.permute(2)])  # ... train it
    export(flow, "out/flow")           # out/flow.arch.json, out/flow.weights.safetensors

or, from a shell, ``python export_pyro.py mypackage.flow:flow out/flow``.

Layers are listed from noise to data, Pyro's own direction, with the tensor names of the modules'
state_dict behind ``layers.{index}.``; tensors that are constructor arguments are ``arg.*``.
Compositions are flattened, ``.inv`` becomes ``"inverse": true``, a base that is normal but not
standard becomes a first layer. BatchNorm is written as it acts in evaluation. Whatever is not
supported raises `Unsupported` with the name of its class.

Tested with pyro-ppl 1.9.2 and torch 2.15.0; written for 1.9.
"""

from math import prod
from pathlib import Path
from typing import Any, Callable, Iterator

import pyro.distributions as dist
import pyro.distributions.transforms as T
import torch
from pyro.distributions import conditional
from pyro.nn import AutoRegressiveNN, ConditionalAutoRegressiveNN, ConditionalDenseNN, DenseNN
from torch.distributions import transforms as torch_transforms

import flow_files as files
from flow_files import Unsupported

Shape = tuple[int, ...]
Config = dict[str, Any]
Tensors = dict[str, torch.Tensor]
Layer = tuple[Config, Tensors]


# --- Networks -------------------------------------------------------------------------------


def expect(condition: bool, message: str) -> None:
    """Raises `Unsupported` unless the condition holds."""
    if not condition:
        raise Unsupported(message)


def network(net: Any, kind: type, layer: str, inputs: int, outputs: list[int]) -> Config:
    """Checks class, inputs and outputs of a conditioner; its part of the layer's config."""
    expect(
        type(net) is kind,
        f"{layer} needs a pyro.nn.{kind.__name__} as its network, not {files.class_name(net)}",
    )
    expect(
        net.input_dim == inputs or inputs < 0,
        f"the network of {layer} reads {net.input_dim} inputs, not {inputs}",
    )
    expect(
        list(net.param_dims) == outputs,
        f"the network of {layer} gives param_dims {list(net.param_dims)}, not {outputs}",
    )
    return {"hidden_dims": list(net.hidden_dims), "nonlinearity": files.activation_name(net.f)}


def autoregressive(net: Any, kind: type, layer: str, dim: int, outputs: list[int]) -> Config:
    """The same for a masked network, whose masks must keep the order they claim."""
    config = network(net, kind, layer, dim, outputs)
    check_masks(net, layer)
    config["skip_connections"] = net.skip_layer is not None
    config["permutation"] = net.permutation.tolist()
    return config


def check_masks(net: Any, layer: str) -> None:
    """Refuses masks through which a variable reaches itself or an earlier one."""
    reach = net.layers[0].mask
    for masked in net.layers[1:]:
        reach = masked.mask @ reach
    if net.skip_layer is not None:
        reach = reach + net.skip_layer.mask
    place = torch.empty(net.input_dim)
    place[net.permutation] = torch.arange(net.input_dim, dtype=place.dtype)
    earlier = (place[:, None] > place[None, :]).repeat(net.output_multiplier, 1)
    leak = (reach[:, net.context_dim :] != 0) & ~earlier.to(reach.device)
    expect(not leak.any(), f"the network of {layer} is not autoregressive: its masks leak")


def spline_outputs(dim: int, bins: int, order: str) -> list[int]:
    """param_dims of a network that gives `dim` splines their parameters."""
    return [dim * n for n in (bins, bins, bins - 1) + ((bins,) if order == "linear" else ())]


def spline_config(layer: Any, dim: int) -> Config:
    """Settings that every spline has."""
    expect(layer.order in ("linear", "quadratic"), f"a spline of order {layer.order!r}")
    return {
        "input_dim": dim,
        "count_bins": layer.count_bins,
        "bound": float(layer.bound),
        "order": layer.order,
    }


def dense_spline(layer: Any, name: str, inputs: int) -> Config:
    """The network of a ConditionalSpline. Pyro itself misreads a single bin."""
    expect(layer.count_bins > 1, f"{name} with a single bin fails in Pyro")
    outputs = spline_outputs(layer.input_dim, layer.count_bins, layer.order)
    return network(layer.nn, DenseNN, name, inputs, outputs)


# --- Layers ---------------------------------------------------------------------------------


def vector(shape: Shape, name: str) -> int:
    """The length of a vector event."""
    expect(len(shape) == 1, f"{name} acts here on an event of shape {shape}; only vectors are supported")
    return shape[0]


def last_dim(layer: Any, shape: Shape, name: str) -> int:
    """The length of a vector event, for a layer that could act along another dimension."""
    expect(layer.dim == -1, f"{name} along dim={layer.dim} is not supported, only dim=-1")
    return vector(shape, name)


def same(dim: int, given: int, name: str) -> int:
    """A layer's own dimension, which must be that of the event."""
    expect(dim == given, f"{name} of dimension {given} in a flow of dimension {dim}")
    return dim


def spline(layer: T.Spline, shape: Shape) -> Layer:
    dim = same(vector(shape, "Spline"), layer.input_dim, "Spline")
    return spline_config(layer, dim), files.state(layer)


def conditional_spline(layer: T.ConditionalSpline, shape: Shape) -> Layer:
    dim = same(vector(shape, "ConditionalSpline"), layer.input_dim, "ConditionalSpline")
    net = dense_spline(layer, "ConditionalSpline", -1)
    config = spline_config(layer, dim)
    return {**config, "context_dim": layer.nn.input_dim, **net}, files.state(layer)


def spline_coupling(layer: T.SplineCoupling, shape: Shape) -> Layer:
    dim = vector(shape, "SplineCoupling")
    upper, split = layer.upper_spline, layer.split_dim
    same(dim, split + upper.input_dim, "SplineCoupling")
    config = {**spline_config(upper, dim), "split_dim": split, "identity": bool(layer.identity)}
    return {**config, **dense_spline(upper, "SplineCoupling", split)}, files.state(layer)


def spline_autoregressive(layer: T.SplineAutoregressive, shape: Shape) -> Layer:
    dim = same(vector(shape, "SplineAutoregressive"), layer.spline.input_dim, "SplineAutoregressive")
    config = spline_config(layer.spline, dim)
    outputs = spline_outputs(1, layer.spline.count_bins, layer.spline.order)
    net = autoregressive(layer.arn, AutoRegressiveNN, "SplineAutoregressive", dim, outputs)
    # `spline.nn` is the same network under a second name.
    return {**config, **net}, files.state(layer, leave_out=["spline."])


def conditional_spline_autoregressive(
    layer: T.ConditionalSplineAutoregressive, shape: Shape
) -> Layer:
    name = "ConditionalSplineAutoregressive"
    dim = same(vector(shape, name), layer.input_dim, name)
    conditioned = T.SplineAutoregressive(dim, layer.nn, **layer.kwargs).spline
    config = {**spline_config(conditioned, dim), "context_dim": layer.nn.context_dim}
    outputs = spline_outputs(1, conditioned.count_bins, conditioned.order)
    net = autoregressive(layer.nn, ConditionalAutoRegressiveNN, name, dim, outputs)
    return {**config, **net}, files.state(layer)


def clips(layer: Any) -> Config:
    """Bounds of an affine layer's log(scale)."""
    return {
        "log_scale_min_clip": float(layer.log_scale_min_clip),
        "log_scale_max_clip": float(layer.log_scale_max_clip),
    }


def affine_coupling(layer: T.AffineCoupling, shape: Shape) -> Layer:
    dim, split = last_dim(layer, shape, "AffineCoupling"), layer.split_dim
    net = network(layer.nn, DenseNN, "AffineCoupling", split, [dim - split] * 2)
    return {"input_dim": dim, "split_dim": split, **net, **clips(layer)}, files.state(layer)


def conditional_affine_coupling(layer: T.ConditionalAffineCoupling, shape: Shape) -> Layer:
    name = "ConditionalAffineCoupling"
    dim, split = vector(shape, name), layer.split_dim
    conditioned = T.AffineCoupling(split, layer.nn, **layer.kwargs)
    last_dim(conditioned, shape, name)
    net = network(layer.nn, ConditionalDenseNN, name, split, [dim - split] * 2)
    config = {"input_dim": dim, "split_dim": split, "context_dim": layer.nn.context_dim}
    return {**config, **net, **clips(conditioned)}, files.state(layer)


def affine_autoregressive_config(layer: T.AffineAutoregressive) -> Config:
    """Settings of an affine autoregressive layer besides its network."""
    settings = {"stable": bool(layer.stable), "sigmoid_bias": float(layer.sigmoid_bias)}
    return {**settings, **clips(layer)}


def affine_autoregressive(layer: T.AffineAutoregressive, shape: Shape) -> Layer:
    dim = vector(shape, "AffineAutoregressive")
    net = autoregressive(layer.arn, AutoRegressiveNN, "AffineAutoregressive", dim, [1, 1])
    config = affine_autoregressive_config(layer)
    return {"input_dim": dim, **net, **config}, files.state(layer)


def conditional_affine_autoregressive(
    layer: T.ConditionalAffineAutoregressive, shape: Shape
) -> Layer:
    name = "ConditionalAffineAutoregressive"
    dim = vector(shape, name)
    net = autoregressive(layer.nn, ConditionalAutoRegressiveNN, name, dim, [1, 1])
    config = affine_autoregressive_config(T.AffineAutoregressive(layer.nn, **layer.kwargs))
    context = {"input_dim": dim, "context_dim": layer.nn.context_dim}
    return {**context, **net, **config}, files.state(layer)


def householder(layer: T.Householder, shape: Shape) -> Layer:
    dim = same(vector(shape, "Householder"), layer.input_dim, "Householder")
    config = {"input_dim": dim, "count_transforms": layer.u_unnormed.shape[0]}
    return config, files.state(layer)


def conditional_householder(layer: T.ConditionalHouseholder, shape: Shape) -> Layer:
    name = "ConditionalHouseholder"
    dim = same(vector(shape, name), layer.input_dim, name)
    net = network(layer.nn, DenseNN, name, -1, [dim] * layer.count_transforms)
    config = {"input_dim": dim, "context_dim": layer.nn.input_dim}
    return {**config, "count_transforms": layer.count_transforms, **net}, files.state(layer)


def matrix_exponential(layer: T.MatrixExponential, shape: Shape) -> Layer:
    dim = same(vector(shape, "MatrixExponential"), layer.weights.shape[0], "MatrixExponential")
    return {"input_dim": dim, "iterations": layer.iterations}, files.state(layer)


def conditional_matrix_exponential(layer: T.ConditionalMatrixExponential, shape: Shape) -> Layer:
    name = "ConditionalMatrixExponential"
    dim = same(vector(shape, name), layer.input_dim, name)
    net = network(layer.nn, DenseNN, name, -1, [dim * dim])
    config = {"input_dim": dim, "context_dim": layer.nn.input_dim}
    return {**config, **net, "iterations": layer.iterations}, files.state(layer)


def image(shape: Shape, channels: int, name: str) -> Config:
    """Settings of a layer that acts on (channels, height, width)."""
    expect(len(shape) == 3, f"{name} acts on an event (channels, height, width), not {shape}")
    same(shape[0], channels, name)
    return {"channels": channels, "event_shape": list(shape)}


def channel_permute(layer: T.GeneralizedChannelPermute, shape: Shape) -> Layer:
    name = "GeneralizedChannelPermute"
    return image(shape, layer.LU.shape[0], name), files.state(layer)


def conditional_channel_permute(
    layer: T.ConditionalGeneralizedChannelPermute, shape: Shape
) -> Layer:
    name = "ConditionalGeneralizedChannelPermute"
    config = image(shape, layer.channels, name)
    net = network(layer.nn, DenseNN, name, -1, [layer.channels**2])
    return {**config, "context_dim": layer.nn.input_dim, **net}, files.state(layer)


def batch_norm(layer: T.BatchNorm, shape: Shape) -> Layer:
    dim = same(vector(shape, "BatchNorm"), layer.input_dim, "BatchNorm")
    config = {"input_dim": dim, "momentum": layer.momentum, "epsilon": layer.epsilon}
    return config, files.state(layer)


def permute(layer: T.Permute, shape: Shape) -> Layer:
    dim = last_dim(layer, shape, "Permute")
    order = layer.permutation
    expect(sorted(order.tolist()) == list(range(dim)), f"Permute by {order.tolist()}")
    return {"input_dim": dim, "dim": layer.dim}, {"arg.permutation": order}


def cosine(layer: T.DiscreteCosineTransform, shape: Shape) -> Layer:
    dim = last_dim(layer, shape, "DiscreteCosineTransform")
    return {"input_dim": dim, "dim": layer.dim, "smooth": float(layer.smooth)}, {}


def haar(layer: T.HaarTransform, shape: Shape) -> Layer:
    dim = last_dim(layer, shape, "HaarTransform")
    return {"input_dim": dim, "dim": layer.dim, "flip": bool(layer.flip)}, {}


def flat(value: Any, shape: Shape) -> torch.Tensor:
    """A number or tensor, one value for each element of the event, row by row."""
    return torch.as_tensor(value, dtype=torch.float64).expand(shape).reshape(-1)


def affine(layer: T.AffineTransform, shape: Shape) -> Layer:
    return affine_layer(layer.loc, layer.scale, shape)


def affine_layer(loc: Any, scale: Any, shape: Shape) -> Layer:
    loc, scale = flat(loc, shape), flat(scale, shape)
    expect(bool((scale != 0).all()), "AffineTransform with a scale of 0 is not a bijection")
    return {"input_dim": prod(shape)}, {"arg.loc": loc, "arg.scale": scale}


def cholesky(layer: T.LowerCholeskyAffine, shape: Shape) -> Layer:
    return cholesky_layer(layer.loc, layer.scale_tril, shape)


def cholesky_layer(loc: torch.Tensor, scale_tril: torch.Tensor, shape: Shape) -> Layer:
    name = "LowerCholeskyAffine"
    dim = vector(shape, name)
    expect(scale_tril.shape == (dim, dim), f"{name} with a matrix of shape {tuple(scale_tril.shape)}")
    diagonal = scale_tril.diagonal()
    expect(bool((diagonal > 0).all()), f"{name} with a diagonal that is not positive")
    return {"input_dim": dim}, {"arg.loc": flat(loc, shape), "arg.scale_tril": scale_tril.tril()}


def elementwise(_: Any, shape: Shape) -> Layer:
    """A function without parameters."""
    return {"input_dim": prod(shape)}, {}


LAYERS: dict[type, Callable[[Any, Shape], Layer]] = {
    T.Spline: spline,
    T.ConditionalSpline: conditional_spline,
    T.SplineCoupling: spline_coupling,
    T.SplineAutoregressive: spline_autoregressive,
    T.ConditionalSplineAutoregressive: conditional_spline_autoregressive,
    T.AffineCoupling: affine_coupling,
    T.ConditionalAffineCoupling: conditional_affine_coupling,
    T.AffineAutoregressive: affine_autoregressive,
    T.ConditionalAffineAutoregressive: conditional_affine_autoregressive,
    T.Householder: householder,
    T.ConditionalHouseholder: conditional_householder,
    T.MatrixExponential: matrix_exponential,
    T.ConditionalMatrixExponential: conditional_matrix_exponential,
    T.GeneralizedChannelPermute: channel_permute,
    T.ConditionalGeneralizedChannelPermute: conditional_channel_permute,
    T.BatchNorm: batch_norm,
    T.Permute: permute,
    T.DiscreteCosineTransform: cosine,
    T.HaarTransform: haar,
    T.AffineTransform: affine,
    T.LowerCholeskyAffine: cholesky,
    T.TanhTransform: elementwise,
    T.LeakyReLUTransform: elementwise,
    T.SoftplusTransform: elementwise,
    torch_transforms.SoftplusTransform: elementwise,
    T.SigmoidTransform: elementwise,
    T.ExpTransform: elementwise,
}


# --- The whole flow -------------------------------------------------------------------------


def flatten(transform: Any, inverse: bool = False) -> Iterator[tuple[Any, bool]]:
    """The layers of a transform, each with whether it is used inversely, from noise to data."""
    if isinstance(transform, torch_transforms._InverseTransform):
        yield from flatten(transform._inv, not inverse)
    elif isinstance(transform, conditional._ConditionalInverseTransformModule):
        yield from flatten(transform._transform, not inverse)
    elif isinstance(transform, conditional.ConstantConditionalTransform):
        yield from flatten(transform.transform, inverse)
    elif isinstance(transform, torch_transforms.IndependentTransform):
        yield from flatten(transform.base_transform, inverse)
    elif isinstance(transform, torch_transforms.ComposeTransform):
        yield from flatten_all(transform.parts, inverse)
    elif isinstance(transform, conditional.ConditionalComposeTransformModule):
        yield from flatten_all(transform.transforms, inverse)
    else:
        yield transform, inverse


def flatten_all(parts: list[Any], inverse: bool = False) -> Iterator[tuple[Any, bool]]:
    """The layers of several transforms, applied one after another."""
    for part in reversed(parts) if inverse else parts:
        yield from flatten(part, inverse)


def open_up(distribution: Any) -> tuple[Any, list[tuple[Any, bool]]]:
    """The base density and the flattened layers of a distribution."""
    kinds = (torch.distributions.TransformedDistribution, dist.ConditionalTransformedDistribution)
    if isinstance(distribution, conditional.ConstantConditionalDistribution):
        return open_up(distribution.base_dist)
    if isinstance(distribution, torch.distributions.Independent):
        return open_up(distribution.base_dist)
    if isinstance(distribution, kinds):
        base, layers = open_up(distribution.base_dist)
        return base, layers + list(flatten_all(distribution.transforms))
    return distribution, []


def base_layer(base: Any, shape: Shape) -> list[tuple[str, Layer]]:
    """Nothing for a standard normal base, else the layer that makes one of it."""
    if isinstance(base, torch.distributions.Normal):
        if bool((base.loc == 0).all() and (base.scale == 1).all()):
            return []
        return [("AffineTransform", affine_layer(base.loc, base.scale, shape))]
    if isinstance(base, torch.distributions.MultivariateNormal):
        return [("LowerCholeskyAffine", cholesky_layer(base.loc, base.scale_tril, shape))]
    raise Unsupported(f"the base density {files.class_name(base)} is not supported, only a normal one")


def unsupported(transform: Any) -> Unsupported:
    """Says what a layer is that no file can hold."""
    name = files.class_name(transform)
    if type(transform).__name__.startswith("Conditioned"):
        return Unsupported(f"{name} is bound to one context; export the conditional distribution")
    if getattr(transform, "bijective", True) is False:
        return Unsupported(f"{name} is not supported: it is not a bijection")
    return Unsupported(f"{name} is not supported")


def reshaped(transform: Any, inverse: bool, shape: Shape) -> Shape:
    """The event's shape after a ReshapeTransform, which moves no number in row-major order."""
    before, after = tuple(transform.in_shape), tuple(transform.out_shape)
    if inverse:
        before, after = after, before
    expect(before == shape, f"ReshapeTransform of {before} in a flow of shape {shape}")
    return after


def describe(layers: list[tuple[Any, bool]], first: list, shape: Shape) -> tuple[list, Tensors]:
    """The records and tensors of all layers; `first` are layers that stand for the base."""
    records, tensors = [], {}

    def add(kind: str, inverse: bool, layer: Layer, learnable: int) -> None:
        index = len(records)
        record = {"index": index, "type": kind, "inverse": inverse, "config": layer[0]}
        records.append({**record, "learnable_parameters": learnable})
        tensors.update({f"layers.{index}.{name}": value for name, value in layer[1].items()})

    for kind, layer in first:
        add(kind, False, layer, 0)
    for transform, inverse in layers:
        if isinstance(transform, torch_transforms.ReshapeTransform):
            shape = reshaped(transform, inverse, shape)
            continue
        if type(transform) not in LAYERS:
            raise unsupported(transform)
        layer = LAYERS[type(transform)](transform, shape)
        add(type(transform).__name__, inverse, layer, files.parameter_count(transform))
    return records, tensors


def context_length(records: list, given: int) -> int:
    """The number of context variables, which all conditional layers must share."""
    found = {layer["config"]["context_dim"] for layer in records if "context_dim" in layer["config"]}
    expect(len(found) <= 1, f"layers disagree about the context: {sorted(found)} variables")
    length = found.pop() if found else given
    expect(given in (0, length), f"the layers read {length} context variables, not {given}")
    return length


def export(distribution: Any, path_prefix: str, context_dim: int = 0) -> None:
    """Writes PATH_PREFIX.arch.json and PATH_PREFIX.weights.safetensors.

    `distribution` is a TransformedDistribution or a ConditionalTransformedDistribution over
    vectors. `context_dim` is checked against the conditional layers, and taken from them if 0.
    """
    base, layers = open_up(distribution)
    shape = tuple(base.batch_shape) + tuple(base.event_shape)
    expect(bool(layers), f"{files.class_name(distribution)} has no transforms")
    expect(len(shape) in (1, 3), f"a base of shape {shape}: give it loc and scale of shape (D,)")
    records, tensors = describe(layers, base_layer(base, shape), shape)
    arch = {
        "name": Path(path_prefix).name,
        "dim": prod(shape),
        "context_dim": context_length(records, context_dim),
        "base": "standard normal",
        "order": "noise -> data",
        "layers": records,
    }
    files.write(arch, tensors, path_prefix)


if __name__ == "__main__":
    files.main(export, __doc__)
