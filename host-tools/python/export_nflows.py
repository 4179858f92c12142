"""Writes an nflows neural spline flow as FLOW.arch.json and FLOW.weights.safetensors.

    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from export_nflows import export
    flow = Flow(transform, StandardNormal([4])).eval()      # ... after training
    export(flow, "out/flow")           # out/flow.arch.json, out/flow.weights.safetensors

or, from a shell, ``python export_nflows.py mypackage.flow:flow out/flow``.

Layers are listed from data to noise, nflows' own direction. Supported are the rational-quadratic
coupling transform with a ResidualNet, the masked rational-quadratic autoregressive transform,
LULinear, permutations, ActNorm, BatchNorm (as in evaluation) and pointwise affine transforms, in
any composition, and a standard normal base. Whatever else raises `Unsupported` with its name.
README.md beside this file has the formulas.

Tested with nflows 0.14 and torch 2.15.0.
"""

from pathlib import Path
from typing import Any, Callable, Iterator

import torch
from nflows import transforms as N
from nflows.distributions.normal import StandardNormal
from nflows.flows.base import Flow
from nflows.nn.nets.resnet import ResidualNet
from nflows.transforms.made import MADE

import flow_files as files
from flow_files import Unsupported

Config = dict[str, Any]
Tensors = dict[str, torch.Tensor]
Layer = tuple[Config, Tensors]


def flatten(transform: Any, inverse: bool = False) -> Iterator[tuple[Any, bool]]:
    """The layers of a transform, each with whether it is used inversely, from data to noise."""
    if isinstance(transform, N.InverseTransform):
        yield from flatten(transform._transform, not inverse)
    elif isinstance(transform, N.CompositeTransform):
        parts = list(transform._transforms)
        for part in reversed(parts) if inverse else parts:
            yield from flatten(part, inverse)
    elif not isinstance(transform, N.IdentityTransform):
        yield transform, inverse


# --- Networks -------------------------------------------------------------------------------


def refuse_batch_norm(net: torch.nn.Module, name: str) -> None:
    """Batch normalisation inside a network would need layers that nobody else has."""
    if any(isinstance(module, torch.nn.BatchNorm1d) for module in net.modules()):
        raise Unsupported(f"{name} with use_batch_norm=True is not supported")


def residual_net(net: Any) -> Config:
    """Settings of a ResidualNet."""
    if type(net) is not ResidualNet:
        raise Unsupported(f"the network {files.class_name(net)} is not supported, only ResidualNet")
    refuse_batch_norm(net, "ResidualNet")
    activations = {files.activation_name(block.activation) for block in net.blocks} or {"relu"}
    return {
        "context_features": net.context_features or 0,
        "hidden_features": net.hidden_features,
        "num_blocks": len(net.blocks),
        "activation": only(activations, "activation"),
    }


def made(net: MADE) -> Config:
    """Settings of a MADE; the degrees of its hidden units follow from its masks."""
    refuse_batch_norm(net, "MADE")
    context = net.context_layer.in_features if hasattr(net, "context_layer") else 0
    return {
        "context_features": context,
        "hidden_features": net.initial_layer.out_features,
        "num_blocks": len(net.blocks),
        "use_residual_blocks": net.use_residual_blocks,
        "activation": files.activation_name(net.activation),
    }


def only(values: set, what: str) -> Any:
    """The one value of a set."""
    if len(values) != 1:
        raise Unsupported(f"more than one {what}: {sorted(values)}")
    return values.pop()


# --- Layers ---------------------------------------------------------------------------------


def spline(layer: Any, net: Any) -> Config:
    """Settings of the splines, with the number under the root that divides their logits."""
    if layer.tails != "linear":
        raise Unsupported(f"{type(layer).__name__} with tails={layer.tails!r}, only 'linear'")
    return {
        "num_bins": layer.num_bins,
        "tails": layer.tails,
        "tail_bound": float(layer.tail_bound),
        "min_bin_width": float(layer.min_bin_width),
        "min_bin_height": float(layer.min_bin_height),
        "min_derivative": float(layer.min_derivative),
        "divide_logits_by_sqrt": int(getattr(net, "hidden_features", 1)),
    }


def coupling(layer: N.PiecewiseRationalQuadraticCouplingTransform) -> Layer:
    """A coupling layer; its two lists of features stand in the config."""
    config = {
        "features": layer.features,
        "identity_features": layer.identity_features.tolist(),
        "transform_features": layer.transform_features.tolist(),
        "unconditional_transform": layer.unconditional_transform is not None,
        **spline(layer, layer.transform_net),
        **residual_net(layer.transform_net),
    }
    if layer.unconditional_transform is not None:
        check_unconditional(layer)
    return config, files.state(layer, leave_out=["identity_features", "transform_features"])


def check_unconditional(layer: N.PiecewiseRationalQuadraticCouplingTransform) -> None:
    """The splines of the identity features share the settings of the others."""
    other = layer.unconditional_transform
    if type(other) is not N.PiecewiseRationalQuadraticCDF:
        raise Unsupported(f"the unconditional transform {files.class_name(other)} is not supported")
    names = ["tails", "tail_bound", "min_bin_width", "min_bin_height", "min_derivative"]
    if any(getattr(other, name) != getattr(layer, name) for name in names):
        raise Unsupported("an unconditional transform with settings of its own is not supported")


def autoregressive(layer: N.MaskedPiecewiseRationalQuadraticAutoregressiveTransform) -> Layer:
    """An autoregressive layer; masks and degrees are among its tensors."""
    net = layer.autoregressive_net
    features = net.initial_layer.in_features
    config = {"features": features, **spline(layer, net), **made(net)}
    return config, files.state(layer)


def lu_linear(layer: N.LULinear) -> Layer:
    """The entries of both triangles, row by row, and the unconstrained diagonal."""
    return {"features": layer.features, "eps": float(layer.eps)}, files.state(layer)


def permutation(layer: Any) -> Layer:
    """Any permutation, whatever it was drawn from."""
    if layer._dim != 1:
        raise Unsupported(f"{type(layer).__name__} along dim={layer._dim} is not supported, only 1")
    return {"features": len(layer._permutation)}, {"permutation": layer._permutation}


def act_norm(layer: N.ActNorm) -> Layer:
    """Logarithm of the scale, and shift."""
    if not bool(layer.initialized) and layer.training:
        raise Unsupported("ActNorm that has seen no data yet; train the flow or call eval() first")
    return {"features": len(layer.log_scale)}, files.state(layer, leave_out=["initialized"])


def batch_norm(layer: N.BatchNorm) -> Layer:
    """Running statistics and the unconstrained weight."""
    return {"features": len(layer.bias), "eps": float(layer.eps)}, files.state(layer)


def pointwise_affine(layer: N.PointwiseAffineTransform, dim: int) -> Layer:
    """Shift and scale, one for each feature."""
    shift, scale = layer._shift.expand(dim), layer._scale.expand(dim)
    return {"features": dim}, {"shift": shift, "scale": scale}


LAYERS: dict[type, Callable[[Any], Layer]] = {
    N.PiecewiseRationalQuadraticCouplingTransform: coupling,
    N.MaskedPiecewiseRationalQuadraticAutoregressiveTransform: autoregressive,
    N.LULinear: lu_linear,
    N.Permutation: permutation,
    N.RandomPermutation: permutation,
    N.ReversePermutation: permutation,
    N.ActNorm: act_norm,
    N.BatchNorm: batch_norm,
}


# --- The whole flow -------------------------------------------------------------------------


def describe(layer: Any, dim: int) -> Layer:
    """The settings and tensors of one layer."""
    if isinstance(layer, N.PointwiseAffineTransform):
        return pointwise_affine(layer, dim)
    if type(layer) not in LAYERS:
        raise Unsupported(f"{files.class_name(layer)} is not supported")
    config, tensors = LAYERS[type(layer)](layer)
    if config["features"] != dim:
        raise Unsupported(f"{type(layer).__name__} of {config['features']} features, not {dim}")
    return config, tensors


def kind(layer: Any) -> str:
    """The name of a layer in the file: permutations and affine layers have one each."""
    if isinstance(layer, N.Permutation):
        return "Permutation"
    if isinstance(layer, N.PointwiseAffineTransform):
        return "PointwiseAffineTransform"
    return type(layer).__name__


def base_dim(flow: Flow) -> int:
    """Length of the standard normal base."""
    base = flow._distribution
    if type(base) is not StandardNormal or len(base._shape) != 1:
        raise Unsupported(f"the base density {files.class_name(base)} is not supported here")
    if type(flow._embedding_net) is not torch.nn.Identity:
        raise Unsupported(f"the embedding net {files.class_name(flow._embedding_net)} is not supported")
    return base._shape[0]


def context_length(records: list[Config], given: int) -> int:
    """The number of context variables, the same for every layer that reads any."""
    found = {record["config"].get("context_features", 0) for record in records} - {0}
    context = only(found, "number of context variables") if found else given
    if given not in (0, context):
        raise Unsupported(f"the flow reads {context} context variables, not {given}")
    return context


def export(flow: Flow, path_prefix: str, context_dim: int = 0) -> None:
    """Writes PATH_PREFIX.arch.json and PATH_PREFIX.weights.safetensors."""
    dim, records, tensors = base_dim(flow), [], {}
    for index, (layer, inverse) in enumerate(flatten(flow._transform)):
        config, state = describe(layer, dim)
        record = {"index": index, "type": kind(layer), "inverse": inverse, "config": config}
        records.append({**record, "learnable_parameters": files.parameter_count(layer)})
        tensors.update({f"layers.{index}.{name}": value for name, value in state.items()})
    arch = {
        "name": Path(path_prefix).name,
        "library": "nflows",
        "dim": dim,
        "context_dim": context_length(records, context_dim),
        "base": "standard normal",
        "order": "data -> noise",
        "layers": records,
    }
    files.write(arch, tensors, path_prefix)


if __name__ == "__main__":
    files.main(export, __doc__)
