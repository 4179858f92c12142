"""zuko: coupling and autoregressive rational-quadratic flows, plain or with torch.compile."""

import lockstep

options = lockstep.arguments(__doc__, compiles=True)
with lockstep.imports():
    from functools import partial
    from importlib.metadata import version

    import torch
    import zuko
    from zuko.flows.autoregressive import MaskedAutoregressiveTransform
    from zuko.flows.coupling import GeneralCouplingTransform
    from zuko.transforms import MonotonicRQSTransform

    import torch_tasks
from lockstep import AUTOREGRESSIVES, BINS, BOUND, COUPLINGS, DIM, WIDTH

SPLINE = {
    "univariate": partial(MonotonicRQSTransform, bound=BOUND),
    "shapes": [(BINS,), (BINS,), (BINS - 1,)],
    "hidden_features": (WIDTH, WIDTH),
}


class Score(torch.nn.Module):
    """The flow's log density as a module, which torch.compile takes whole."""

    def __init__(self, flow):
        super().__init__()
        self.flow = flow

    def forward(self, rows):
        return self.flow().log_prob(rows)


class Draw(Score):
    """Likewise rows from noise."""

    def forward(self, noise):
        return self.flow().transform.inv(noise)


def finish(transforms):
    torch.manual_seed(0)
    zeros, ones = torch.zeros(DIM), torch.ones(DIM)
    normal = zuko.distributions.DiagNormal
    base = zuko.lazy.UnconditionalDistribution(normal, zeros, ones, buffer=True)
    flow = zuko.flows.Flow(transforms, base)
    log_prob, draw = Score(flow), Draw(flow)
    if options.compile:
        log_prob, draw = torch.compile(log_prob), torch.compile(draw)
    parameters = [p for p in flow.parameters() if p.requires_grad]
    sample = lambda count: draw(torch.randn(count, DIM))
    return torch_tasks.tasks(log_prob, sample, parameters, DIM, fused=options.compile)


@lockstep.flow("train", "log_prob", "sample")
def coupling():
    # True: the number conditions the others. The halves take turns.
    first = torch.arange(DIM) < DIM // 2
    masks = [first if layer % 2 == 0 else ~first for layer in range(COUPLINGS)]
    return finish([GeneralCouplingTransform(DIM, 0, mask=mask, **SPLINE) for mask in masks])


@lockstep.flow("train", "log_prob", "sample")
def autoregressive():
    order = torch.arange(DIM)
    orders = [order if layer % 2 == 0 else order.flip(0) for layer in range(AUTOREGRESSIVES)]
    return finish([MaskedAutoregressiveTransform(DIM, 0, order=order, **SPLINE) for order in orders])


torch.set_num_threads(options.threads)
name = "zuko compiled" if options.compile else "zuko"
flows = {"coupling": coupling, "autoregressive": autoregressive}
lockstep.serve(options, name, version("zuko"), flows)
