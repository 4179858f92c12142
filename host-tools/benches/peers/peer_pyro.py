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
from lockstep import FLEET_BATCH, FLEET_ROTATIONS


def finish(dim, layers, batch=None):
    flow = dist.TransformedDistribution(dist.Normal(torch.zeros(dim), torch.ones(dim)).to_event(1), layers)
    modules = [layer for layer in layers if isinstance(layer, torch.nn.Module)]
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    sample = lambda count: flow.sample((count,))
    # A transform remembers its last value, which is stale as soon as a parameter has moved.
    return torch_tasks.tasks(flow.log_prob, sample, parameters, dim, settle=flow.clear_cache, batch=batch)


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


def rotations(dim, count, bins, batch=None):
    torch.manual_seed(0)
    layers = []
    for _ in range(count):
        layers.append(transforms.Spline(dim, bins, BOUND, "quadratic"))
        layers.append(transforms.Householder(dim, REFLECTIONS))
    return finish(dim, layers, batch)


@lockstep.flow("train", "log_prob", "sample")
def rotation():
    return rotations(ROTATION_DIM, ROTATIONS, ROTATION_BINS)


@lockstep.flow("train")
def fleet():
    """One model of a fleet."""
    return rotations(DIM, FLEET_ROTATIONS, BINS, FLEET_BATCH)


torch.set_num_threads(options.threads)
flows = {"coupling": coupling, "rotation": rotation}
if lockstep.DEVICE != "cpu":
    flows["fleet"] = fleet
lockstep.serve(options, "Pyro", version("pyro-ppl"), flows)
