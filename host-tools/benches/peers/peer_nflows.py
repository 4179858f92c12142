"""nflows: coupling and autoregressive rational-quadratic flows."""

import lockstep

options = lockstep.arguments(__doc__)
with lockstep.imports():
    from importlib.metadata import version

    import torch
    from nflows import distributions, flows, transforms

    import torch_tasks
from lockstep import AUTOREGRESSIVES, BINS, BOUND, COUPLINGS, DIM, WIDTH

SPLINE = {"num_bins": BINS, "tails": "linear", "tail_bound": BOUND}


class Conditioner(torch.nn.Module):
    """A dense network in the form that a coupling layer calls."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.hidden_features = WIDTH
        self.network = torch_tasks.dense(inputs, outputs)

    def forward(self, inputs, context=None):
        return self.network(inputs)


def finish(layers):
    flow = flows.Flow(transforms.CompositeTransform(layers), distributions.StandardNormal([DIM]))
    return torch_tasks.tasks(flow.log_prob, flow.sample, flow.parameters(), DIM)


@lockstep.flow("train", "log_prob", "sample")
def coupling():
    torch.manual_seed(0)
    # Above 0: the number is transformed. The halves take turns.
    second = (torch.arange(DIM) >= DIM // 2).float()
    masks = [second if layer % 2 == 0 else 1 - second for layer in range(COUPLINGS)]
    layer = transforms.PiecewiseRationalQuadraticCouplingTransform
    return finish([layer(mask, Conditioner, **SPLINE) for mask in masks])


@lockstep.flow("train", "log_prob", "sample")
def autoregressive():
    torch.manual_seed(0)
    layer = transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform
    layers = []
    for index in range(AUTOREGRESSIVES):
        if index > 0:
            layers.append(transforms.ReversePermutation(DIM))
        layers.append(layer(DIM, WIDTH, num_blocks=1, use_residual_blocks=False, **SPLINE))
    return finish(layers)


torch.set_num_threads(options.threads)
kinds = {"coupling": coupling, "autoregressive": autoregressive}
lockstep.serve(options, "nflows", version("nflows"), kinds)
