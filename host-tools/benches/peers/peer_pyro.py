"""Pyro: a coupling flow of rational-quadratic splines, and the stack of rotations and splines."""

import lockstep

options = lockstep.arguments(__doc__)
with lockstep.imports():
    from importlib.metadata import version

    import pyro.distributions as dist
    import torch
    from pyro.distributions import transforms
    from pyro.nn import DenseNN

    import torch_tasks
from lockstep import BINS, BOUND, COUPLINGS, DIM, REFLECTIONS, ROTATION_BINS, ROTATION_DIM, ROTATIONS, WIDTH


def finish(dim, layers):
    flow = dist.TransformedDistribution(dist.Normal(torch.zeros(dim), torch.ones(dim)).to_event(1), layers)
    modules = [layer for layer in layers if isinstance(layer, torch.nn.Module)]
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    sample = lambda count: flow.sample((count,))
    # A transform remembers its last value, which is stale as soon as a parameter has moved.
    return torch_tasks.tasks(flow.log_prob, sample, parameters, dim, settle=flow.clear_cache)


@lockstep.flow("train", "log_prob", "sample")
def coupling():
    torch.manual_seed(0)
    half = DIM // 2
    layers = []
    for index in range(COUPLINGS):
        if index > 0:
            layers.append(transforms.Permute(torch.arange(DIM).flip(0)))
        network = DenseNN(half, [WIDTH, WIDTH], [half * BINS, half * BINS, half * (BINS - 1)])
        # `identity`: the first half passes as it is, as in the other libraries.
        layers.append(transforms.SplineCoupling(DIM, half, network, BINS, BOUND, "quadratic", identity=True))
    return finish(DIM, layers)


@lockstep.flow("train", "log_prob", "sample")
def rotation():
    torch.manual_seed(0)
    layers = []
    for _ in range(ROTATIONS):
        layers.append(transforms.Spline(ROTATION_DIM, ROTATION_BINS, BOUND, "quadratic"))
        layers.append(transforms.Householder(ROTATION_DIM, REFLECTIONS))
    return finish(ROTATION_DIM, layers)


torch.set_num_threads(options.threads)
flows = {"coupling": coupling, "rotation": rotation}
lockstep.serve(options, "Pyro", version("pyro-ppl"), flows)
