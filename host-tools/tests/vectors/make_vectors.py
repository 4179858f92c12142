"""Makes the test vectors of this folder with the real libraries: pyro, zuko and nflows.

    python make_vectors.py            # writes NAME.{arch.json,weights.safetensors,tests.safetensors}

Each flow is drawn from a seed, perturbed so that nothing stands at its initial value, and written
with the exporters of host-tools/python. The float64 values come from the float32 weights made
double again, so they can be compared strictly. README.md has the names of the tensors.

Made with pyro-ppl 1.9.2, zuko 1.6.0, nflows 0.14 and torch 2.15.0. Another version draws other
weights from the same seed.
"""

import sys
import warnings
from pathlib import Path
from typing import Any, Callable

import pyro.distributions as dist
import torch
import zuko
from nflows import transforms as N
from nflows.distributions.normal import StandardNormal
from nflows.flows.base import Flow
from nflows.nn.nets.resnet import ResidualNet
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributions import ReshapeTransform

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "python"))

import export_nflows  # noqa: E402
import export_pyro  # noqa: E402
import export_zuko  # noqa: E402
from pyro_flows import perturb, pyro_context, pyro_plain  # noqa: E402

ROWS, TAILS, TRACED = 32, 8, 4
Context = Tensor | None


# --- Pyro -----------------------------------------------------------------------------------


class PyroFlow:
    """A Pyro flow, evaluated row by row: some conditional layers take a single context only."""

    def __init__(self, parts: list[Any], context_dim: int, dtype: torch.dtype) -> None:
        self.dtype = dtype
        for layer, _ in export_pyro.flatten_all(parts):
            self._convert(layer)
        base = dist.Normal(torch.zeros(4, dtype=dtype), torch.ones(4, dtype=dtype)).to_event(1)
        make = dist.ConditionalTransformedDistribution if context_dim else dist.TransformedDistribution
        self.distribution = make(base, parts)

    def _convert(self, layer: Any) -> None:
        if isinstance(layer, nn.Module):
            layer.to(self.dtype)
        for name in ("loc", "scale", "scale_tril"):
            if isinstance(getattr(layer, name, None), Tensor):
                setattr(layer, name, getattr(layer, name).to(self.dtype))

    def _rows(self, rows: Tensor, context: Context, compute: Callable) -> Tensor:
        torch.set_default_dtype(self.dtype)  # AffineAutoregressive's inverse relies on it.
        flow, results = self.distribution, []
        for i in range(len(rows)):
            given = flow if context is None else flow.condition(context[i].to(self.dtype))
            results.append(compute(given, rows[i : i + 1].to(self.dtype)))
        torch.set_default_dtype(torch.float32)
        return torch.cat(results)

    def log_prob(self, v: Tensor, context: Context) -> Tensor:
        return self._rows(v, context, lambda flow, row: flow.log_prob(row))

    def to_noise(self, v: Tensor, context: Context) -> Tensor:
        def invert(flow: Any, row: Tensor) -> Tensor:
            for transform in reversed(flow.transforms):
                row = transform.inv(row)
            return row

        return self._rows(v, context, invert)

    def _trace(self, flow: Any, row: Tensor) -> Tensor:
        steps = []
        for layer, inverse in export_pyro.flatten_all(flow.transforms):
            row = layer.inv(row) if inverse else layer(row)
            if not isinstance(layer, ReshapeTransform):
                steps.append(row.reshape(1, -1))
        return torch.stack(steps, dim=1)

    def from_noise(self, z: Tensor, context: Context) -> Tensor:
        return self._rows(z, context, lambda flow, row: self._trace(flow, row)[:, -1])

    def trace(self, z: Tensor, context: Context) -> Tensor:
        return self._rows(z, context, self._trace).transpose(0, 1)

    def export(self, prefix: str, context_dim: int) -> None:
        export_pyro.export(self.distribution, prefix, context_dim)


# --- zuko -----------------------------------------------------------------------------------


def zuko_flow(**kwargs: Any) -> zuko.flows.NSF:
    """A perturbed NSF."""
    flow = zuko.flows.NSF(**kwargs)
    perturb(flow, 0.15)
    return flow


class ZukoFlow:
    """A zuko flow, of either precision."""

    def __init__(self, flow: zuko.flows.NSF, _: int, dtype: torch.dtype) -> None:
        self.flow, self.dtype = flow.to(dtype), dtype

    def _at(self, context: Context) -> Any:
        return self.flow(None if context is None else context.to(self.dtype))

    def log_prob(self, v: Tensor, context: Context) -> Tensor:
        return self._at(context).log_prob(v.to(self.dtype))

    def to_noise(self, v: Tensor, context: Context) -> Tensor:
        return self._at(context).transform(v.to(self.dtype))

    def from_noise(self, z: Tensor, context: Context) -> Tensor:
        return self._at(context).transform.inv(z.to(self.dtype))

    def trace(self, v: Tensor, context: Context) -> Tensor:
        steps, row = [], v.to(self.dtype)
        for layer, inverse in export_zuko.flatten(self.flow.transform):
            step = layer(None if context is None else context.to(self.dtype))
            row = (step.inv if inverse else step)(row)
            steps.append(row)
        return torch.stack(steps)

    def export(self, prefix: str, context_dim: int) -> None:
        export_zuko.export(self.flow, prefix, context_dim)


# --- nflows ---------------------------------------------------------------------------------


def residual(hidden: int, context: int | None = None, act: Any = torch.relu) -> Callable:
    """Makes the conditioner of a coupling layer."""
    return lambda inputs, outputs: ResidualNet(
        inputs, outputs, hidden, context_features=context, num_blocks=2, activation=act
    )


def rq_coupling(mask: list[int], net: Callable, **kwargs: Any) -> Any:
    """A coupling layer with linear tails."""
    return N.PiecewiseRationalQuadraticCouplingTransform(
        torch.tensor(mask), net, num_bins=6, tails="linear", tail_bound=3.0, **kwargs
    )


def rq_autoregressive(features: int, **kwargs: Any) -> Any:
    """An autoregressive layer with linear tails."""
    return N.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
        features, tails="linear", tail_bound=3.0, **kwargs
    )


def nflows_batch_norm(features: int) -> N.BatchNorm:
    """A BatchNorm with statistics of some training."""
    layer = N.BatchNorm(features)
    layer.running_mean.copy_(0.3 * torch.randn(features))
    layer.running_var.copy_(0.5 + torch.rand(features))
    return layer


def nflows_flow(layers: list[Any], features: int) -> Flow:
    """A perturbed flow, in evaluation."""
    flow = Flow(N.CompositeTransform(layers), StandardNormal([features])).eval()
    perturb(flow, 0.2)
    return flow


def nflows_coupling() -> Flow:
    """Coupling layers between linear ones."""
    return nflows_flow(
        [
            N.LULinear(4),
            rq_coupling([-1, 1, -1, 1], residual(12)),
            N.LULinear(4),
            rq_coupling([1, 1, -1, -1], residual(12)),
        ],
        4,
    )


def nflows_autoregressive() -> Flow:
    """Autoregressive layers between permutations."""
    layers = [
        [N.RandomPermutation(3), rq_autoregressive(3, hidden_features=10, num_bins=5, num_blocks=2)]
        for _ in range(2)
    ]
    return nflows_flow(sum(layers, []), 3)


def nflows_context() -> Flow:
    """What the other two leave out, with 2 context variables."""
    net = residual(8, context=2, act=torch.tanh)
    made = {"context_features": 2, "hidden_features": 9, "num_bins": 4}
    return nflows_flow(
        [
            N.PointwiseAffineTransform(torch.randn(4), 0.5 + torch.rand(4)),
            N.ActNorm(4),
            rq_coupling([1, -1, 1, -1], net, apply_unconditional_transform=True),
            N.CompositeTransform([N.ReversePermutation(4), nflows_batch_norm(4)]),
            rq_autoregressive(4, use_residual_blocks=False, num_blocks=1, **made),
            N.InverseTransform(N.LULinear(4)),
            rq_autoregressive(4, num_blocks=1, **made),
        ],
        4,
    )


class NflowsFlow:
    """An nflows flow, of either precision."""

    def __init__(self, flow: Flow, _: int, dtype: torch.dtype) -> None:
        self.flow, self.dtype = flow.to(dtype), dtype

    def _cast(self, value: Context) -> Context:
        return None if value is None else value.to(self.dtype)

    def log_prob(self, v: Tensor, context: Context) -> Tensor:
        return self.flow.log_prob(self._cast(v), self._cast(context))

    def to_noise(self, v: Tensor, context: Context) -> Tensor:
        return self.flow.transform_to_noise(self._cast(v), self._cast(context))

    def from_noise(self, z: Tensor, context: Context) -> Tensor:
        return self.flow._transform.inverse(self._cast(z), self._cast(context))[0]

    def trace(self, v: Tensor, context: Context) -> Tensor:
        steps, row = [], self._cast(v)
        for layer, inverse in export_nflows.flatten(self.flow._transform):
            row = (layer.inverse if inverse else layer)(row, self._cast(context))[0]
            steps.append(row)
        return torch.stack(steps)

    def export(self, prefix: str, context_dim: int) -> None:
        export_nflows.export(self.flow, prefix, context_dim)


# --- Files ----------------------------------------------------------------------------------

# name, wrapper, maker, variables, context variables
FLOWS: list[tuple[str, type, Callable[[], Any], int, int]] = [
    ("pyro_plain", PyroFlow, pyro_plain, 4, 0),
    ("pyro_context", PyroFlow, pyro_context, 4, 2),
    (
        "zuko_autoregressive",
        ZukoFlow,
        lambda: zuko_flow(features=3, context=2, transforms=2, bins=5, hidden_features=(16, 16)),
        3,
        2,
    ),
    (
        "zuko_coupling",
        ZukoFlow,
        lambda: zuko_flow(features=4, transforms=2, passes=2, bins=8, hidden_features=(16, 16)),
        4,
        0,
    ),
    (
        "zuko_residual",
        ZukoFlow,
        lambda: zuko_flow(
            features=5, context=1, transforms=3, bins=4, slope=1e-2, randperm=True,
            residual=True, hidden_features=(12, 12, 8), activation=nn.ELU,
        ),
        5,
        1,
    ),
    ("nflows_coupling", NflowsFlow, nflows_coupling, 4, 0),
    ("nflows_autoregressive", NflowsFlow, nflows_autoregressive, 3, 0),
    ("nflows_context", NflowsFlow, nflows_context, 4, 2),
]


def rows(flow: Any, dim: int, context_dim: int) -> tuple[Tensor, Tensor, Context]:
    """Data `v` (a sample, its first rows stretched into the tails), noise `z` and context."""
    context = torch.randn(ROWS, context_dim) if context_dim else None
    v = flow.from_noise(torch.randn(ROWS, dim), context)
    v = v + 0.03 * v.std() * torch.randn(ROWS, dim)
    v[:TAILS] = v.mean(0) + 2.5 * (v[:TAILS] - v.mean(0))
    return v, torch.randn(ROWS, dim), context


def evaluate(single: Any, double: Any, dim: int, context_dim: int) -> dict[str, Tensor]:
    """All tensors of NAME.tests.safetensors."""
    v, z, context = rows(single, dim, context_dim)
    tests = {
        "v": v,
        "z": z,
        "log_prob_f32": single.log_prob(v, context),
        "log_prob_f64": double.log_prob(v, context),
        "z_from_v_f64": double.to_noise(v, context),
        "x_from_z_f32": single.from_noise(z, context),
        "x_from_z_f64": double.from_noise(z, context),
        **trace(double, v, z, context),
    }
    return tests if context is None else {**tests, "context": context}


def trace(double: Any, v: Tensor, z: Tensor, context: Context) -> dict[str, Tensor]:
    """A few rows after each layer, in the order of the layers in the file."""
    if isinstance(double, PyroFlow):
        pick = slice(0, TRACED)
        name, start = "trace_first4_f64", z[pick]
    else:
        pick = slice(TAILS, TAILS + TRACED)
        name, start = "trace_rows8to11_f64", v[pick]
    return {name: double.trace(start, None if context is None else context[pick])}


def make(index: int, name: str, wrapper: type, maker: Callable, dim: int, context_dim: int) -> None:
    """Writes the three files of one flow and says how well conditioned it is."""
    made = []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(100 + index)
        made.append(wrapper(maker(), context_dim, dtype))
    single, double = made
    torch.manual_seed(200 + index)
    with torch.no_grad():
        tests = evaluate(single, double, dim, context_dim)
        back = double.from_noise(double.to_noise(tests["v"], tests.get("context")), tests.get("context"))
    double.export(str(HERE / name), context_dim)
    for key, tensor in tests.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name}: {key} holds a value that is not finite")
    save_file({key: value.contiguous().clone() for key, value in tests.items()}, str(HERE / f"{name}.tests.safetensors"))
    report(name, tests, back)


def report(name: str, tests: dict[str, Tensor], back: Tensor) -> None:
    """Prints the size of a flow's errors: float32 against float64, and there and back."""
    score = tests["log_prob_f64"]
    single = ((tests["log_prob_f32"] - score).abs() / (1 + score.abs())).max()
    sample = (tests["x_from_z_f32"] - tests["x_from_z_f64"]).abs().max()
    turn = ((back - tests["v"]).abs() / (1 + tests["v"].abs())).max()
    size = sum(path.stat().st_size for path in HERE.glob(f"{name}.*")) // 1024
    print(
        f"{name:22} log_prob {score.min():9.3f} to {score.max():7.3f}   float32: score {single:.1e}"
        f" sample {sample:.1e}   float64 there and back {turn:.1e}   {size} kB"
    )


def main() -> None:
    """Writes every flow, or those that the command line names."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    dist.enable_validation(False)
    torch.distributions.Distribution.set_default_validate_args(False)
    for index, flow in enumerate(FLOWS):
        if len(sys.argv) == 1 or flow[0] in sys.argv[1:]:
            make(index, *flow)


if __name__ == "__main__":
    main()
