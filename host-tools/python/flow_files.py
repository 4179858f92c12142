"""What the three exporters share: names of activations, the two output files, the command line.

A flow is written as ``NAME.arch.json`` (what the weights mean) and ``NAME.weights.safetensors``
(the weights, float32; whole numbers as int64). Tested with torch 2.15.0, safetensors 0.8.0 and
numpy 2.4.6 under Python 3.11.
"""

import argparse
import importlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any, Callable, Iterable

import torch
import torch.nn.functional as F
from safetensors.torch import save_file


class Unsupported(ValueError):
    """The flow holds something that the files cannot express; the message names it."""


# Activation modules, with the settings that the plain name stands for.
_MODULES: dict[type, tuple[str, dict[str, Any]]] = {
    torch.nn.ReLU: ("relu", {}),
    torch.nn.Tanh: ("tanh", {}),
    torch.nn.Sigmoid: ("sigmoid", {}),
    torch.nn.SiLU: ("silu", {}),
    torch.nn.ELU: ("elu", {"alpha": 1.0}),
    torch.nn.LeakyReLU: ("leaky_relu", {"negative_slope": 0.01}),
    torch.nn.Softplus: ("softplus", {"beta": 1.0, "threshold": 20.0}),
}

_FUNCTIONS: list[tuple[Callable, str]] = [
    (torch.relu, "relu"),
    (F.relu, "relu"),
    (torch.tanh, "tanh"),
    (F.tanh, "tanh"),
    (torch.sigmoid, "sigmoid"),
    (F.sigmoid, "sigmoid"),
    (F.silu, "silu"),
    (F.elu, "elu"),
    (F.leaky_relu, "leaky_relu"),
    (F.softplus, "softplus"),
]


def activation_name(activation: Any) -> str:
    """The name of an activation, given as a module or as a function of torch."""
    for function, name in _FUNCTIONS:
        if activation is function:
            return name
    if type(activation) not in _MODULES:
        shown = getattr(activation, "__name__", type(activation).__name__)
        known = ", ".join(kind.__name__ for kind in _MODULES)
        raise Unsupported(f"the nonlinearity {shown} is not supported; supported are {known}")
    name, settings = _MODULES[type(activation)]
    for key, usual in settings.items():
        if getattr(activation, key) != usual:
            shown = type(activation).__name__
            raise Unsupported(
                f"{shown} with {key}={getattr(activation, key)} is not supported, only {key}={usual}"
            )
    return name


def class_name(value: Any) -> str:
    """Module and class of a value, for error messages."""
    return f"{type(value).__module__}.{type(value).__name__}"


def parameter_count(layer: Any) -> int:
    """Numbers that training moves; 0 for a layer that is no module."""
    if not isinstance(layer, torch.nn.Module):
        return 0
    return sum(parameter.numel() for parameter in layer.parameters())


def stored(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor as it stands in the file: float32, or int64 for whole numbers."""
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bool or tensor.is_floating_point():
        return tensor.to(torch.float32).contiguous().clone()
    return tensor.to(torch.int64).contiguous().clone()


def state(module: torch.nn.Module, leave_out: Iterable[str] = ()) -> dict[str, torch.Tensor]:
    """The state of a module but for the names that begin with one of `leave_out`."""
    skip = tuple(leave_out)
    return {
        name: tensor
        for name, tensor in module.state_dict().items()
        if not (skip and name.startswith(skip))
    }


def check_finite(name: str, tensor: torch.Tensor) -> None:
    """Refuses a weight that no flow can have."""
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        raise Unsupported(f"{name} holds a value that is not a finite float32 number")


def write(arch: dict[str, Any], tensors: dict[str, torch.Tensor], path_prefix: str) -> None:
    """Writes PREFIX.arch.json and PREFIX.weights.safetensors."""
    prefix = Path(path_prefix)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: stored(tensor) for name, tensor in tensors.items()}
    for name, tensor in weights.items():
        check_finite(name, tensor)
    text = json.dumps(arch, indent=1, allow_nan=False)
    prefix.with_name(prefix.name + ".arch.json").write_text(text + "\n", encoding="utf-8")
    save_file(weights, str(prefix.with_name(prefix.name + ".weights.safetensors")))


def load(target: str) -> Any:
    """The object that `package.module:attribute` names; a plain function is called for it."""
    module_name, _, attribute = target.partition(":")
    if not attribute:
        raise SystemExit(f"{target!r} should read package.module:attribute")
    sys.path.insert(0, str(Path.cwd()))
    value = importlib.import_module(module_name)
    for part in attribute.split("."):
        value = getattr(value, part)
    return value() if inspect.isfunction(value) else value


def main(export: Callable[..., None], description: str) -> None:
    """The command line of an exporter."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", help="package.module:attribute, the flow or a function making it")
    parser.add_argument("prefix", help="where to write: PREFIX.arch.json, PREFIX.weights.safetensors")
    parser.add_argument("--context-dim", type=int, default=0, help="expected context variables")
    options = parser.parse_args()
    try:
        export(load(options.target), options.prefix, context_dim=options.context_dim)
    except Unsupported as error:
        raise SystemExit(f"error: {error}") from None
    print(f"wrote {options.prefix}.arch.json and {options.prefix}.weights.safetensors")
