"""Writes a zuko neural spline flow as FLOW.arch.json and FLOW.weights.safetensors.

    import zuko
    from export_zuko import export
    flow = zuko.flows.NSF(3, context=2, transforms=2)       # ... train it
    export(flow, "out/flow", context_dim=2)
    # out/flow.arch.json and out/flow.weights.safetensors now hold the whole flow

or, from a shell, ``python export_zuko.py mypackage.flow:flow out/flow --context-dim 2``.

Layers are listed from data to noise, zuko's own direction. Supported are flows of
`MaskedAutoregressiveTransform`s with rational-quadratic splines, which is what
`zuko.flows.NSF` makes, autoregressive or coupling (``passes=2``), with or without residual
blocks, and their `.inv`. Whatever else raises `Unsupported` with its name. README.md beside this
file has the formulas.

Tested with zuko 1.6.0 and torch 2.15.0.
"""

from functools import partial
from pathlib import Path
from typing import Any, Iterator

import torch
import zuko
from zuko.distributions import DiagNormal
from zuko.flows.autoregressive import MaskedAutoregressiveTransform
from zuko.lazy import LazyComposedTransform, LazyInverse
from zuko.nn import MaskedLinear, MaskedMLP, Residual
from zuko.transforms import MonotonicRQSTransform

import flow_files as files
from flow_files import Unsupported

Config = dict[str, Any]


def flatten(transform: Any, inverse: bool = False) -> Iterator[tuple[Any, bool]]:
    """The layers of a transform, each with whether it is used inversely, from data to noise."""
    if isinstance(transform, LazyInverse):
        yield from flatten(transform.transform, not inverse)
    elif isinstance(transform, LazyComposedTransform):
        parts = list(transform.transforms)
        for part in reversed(parts) if inverse else parts:
            yield from flatten(part, inverse)
    else:
        yield transform, inverse


def spline(layer: MaskedAutoregressiveTransform) -> Config:
    """Settings of the univariate transform, which must be a rational-quadratic spline."""
    make = layer.univariate
    settings = dict(make.keywords) if isinstance(make, partial) else {}
    kind = make.func if isinstance(make, partial) else make
    if kind is not MonotonicRQSTransform:
        raise Unsupported(f"the univariate transform {getattr(kind, '__name__', kind)} is not supported")
    unknown = set(settings) - {"slope", "bound"}
    if unknown or (isinstance(make, partial) and make.args):
        raise Unsupported(f"MonotonicRQSTransform with the settings {sorted(unknown)}")
    bins = layer.shapes[0][0]
    return {
        "univariate": kind.__name__,
        "bins": bins,
        "bound": float(settings.get("bound", 5.0)),
        "slope": float(settings.get("slope", 1e-3)),
    }


def hyper(net: MaskedMLP) -> Config:
    """What the modules of the network are, in order; their index is that of the tensors."""
    names, activations = [], set()
    for module in net:
        if isinstance(module, MaskedLinear):
            names.append("linear")
        elif isinstance(module, Residual):
            names.append("residual")
            activations.add(files.activation_name(module[1]))
        else:
            names.append("activation")
            activations.add(files.activation_name(module))
    if len(activations) > 1:
        raise Unsupported(f"a network with several nonlinearities: {sorted(activations)}")
    widths = [net[i].out_features for i, name in enumerate(names) if name == "linear"]
    return {
        "hidden_features": hidden_features(net, names, widths),
        "activation": activations.pop() if activations else "relu",
        "residual": "residual" in names,
        "hyper": names,
    }


def hidden_features(net: MaskedMLP, names: list[str], widths: list[int]) -> list[int]:
    """Widths of the hidden layers. A residual block stands for a layer of its own width."""
    if "residual" not in names:
        return widths[:-1]
    return [net[i][0].in_features for i, name in enumerate(names) if name == "residual"]


def check_masks(layer: MaskedAutoregressiveTransform, context: int) -> None:
    """Refuses masks through which a feature reaches itself or a later one."""
    reach = None
    for module in layer.hyper:
        if isinstance(module, MaskedLinear):
            step = module.mask.double()
        elif isinstance(module, Residual):
            step = torch.eye(module[0].in_features) + module[2].mask.double() @ module[0].mask.double()
        else:
            continue
        reach = step if reach is None else step.to(reach) @ reach
    order = layer.order
    earlier = (order[:, None] > order[None, :]).repeat_interleave(layer.total, dim=0)
    if ((reach[:, : len(order)] != 0) & ~earlier).any():
        raise Unsupported("the network is not autoregressive: its masks leak")
    if reach.shape[1] != len(order) + context:
        raise Unsupported(f"the network reads {reach.shape[1]} inputs")


def describe(layer: Any) -> Config:
    """The settings of one layer."""
    if type(layer) is not MaskedAutoregressiveTransform:
        raise Unsupported(f"{files.class_name(layer)} is not supported")
    if layer.order is None:
        raise Unsupported("MaskedAutoregressiveTransform with an adjacency matrix is not supported")
    features = len(layer.order)
    context = layer.hyper.in_features - features
    check_masks(layer, context)
    config = {"features": features, "context": context, "passes": layer.passes}
    return {**config, "order": layer.order.tolist(), **spline(layer), **hyper(layer.hyper)}


def check_base(flow: zuko.lazy.Flow) -> None:
    """Refuses a base density other than the standard normal."""
    make = getattr(flow.base, "f", None)
    if make is not DiagNormal:
        shown = getattr(make, "__name__", files.class_name(flow.base))
        raise Unsupported(f"the base density {shown} is not supported, only DiagNormal")
    base = flow.base()
    if not (bool((base.base_dist.loc == 0).all()) and bool((base.base_dist.scale == 1).all())):
        raise Unsupported("a base density that is not the standard normal")


def only(values: set[int], what: str) -> int:
    """The one value that all layers share."""
    if len(values) != 1:
        raise Unsupported(f"layers disagree about the number of {what}: {sorted(values)}")
    return values.pop()


def export(flow: zuko.lazy.Flow, path_prefix: str, context_dim: int = 0) -> None:
    """Writes PATH_PREFIX.arch.json and PATH_PREFIX.weights.safetensors."""
    check_base(flow)
    records, tensors = [], {}
    for index, (layer, inverse) in enumerate(flatten(flow.transform)):
        record = {"index": index, "type": type(layer).__name__, "inverse": inverse}
        record["config"] = describe(layer)
        records.append({**record, "learnable_parameters": files.parameter_count(layer)})
        state = files.state(layer, leave_out=["order"])
        tensors.update({f"layers.{index}.{name}": value for name, value in state.items()})
    context = only({record["config"]["context"] for record in records}, "context variables")
    if context_dim not in (0, context):
        raise Unsupported(f"the flow reads {context} context variables, not {context_dim}")
    arch = {
        "name": Path(path_prefix).name,
        "library": "zuko",
        "dim": only({record["config"]["features"] for record in records}, "features"),
        "context_dim": context,
        "base": "standard normal",
        "order": "data -> noise",
        "layers": records,
    }
    files.write(arch, tensors, path_prefix)


if __name__ == "__main__":
    files.main(export, __doc__)
