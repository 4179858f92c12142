"""Training step, scoring and sampling of a flow in torch, the same for every library on it."""

import torch

import lockstep

# Everything that a script makes from here on is where it computes.
torch.set_default_device(lockstep.DEVICE)


def tasks(log_prob, sample, parameters, dim, settle=lambda: None, fused=False, batch=None):
    """One call of each task; `settle` is what a library wants after every call, `batch` the rows of a step."""
    generator = torch.Generator(lockstep.DEVICE).manual_seed(0)
    data = torch.randn(lockstep.ROWS, dim, generator=generator)
    optimizer = torch.optim.Adam(parameters, lr=lockstep.LEARNING_RATE, fused=fused)
    if lockstep.DEVICE != "cpu":
        # A call is over when the device has done it.
        own, settle = settle, lambda: (own(), torch.cuda.synchronize())
    training = lockstep.batches(data, batch or lockstep.TRAIN_BATCH)
    scoring = lockstep.batches(data, lockstep.SCORE_BATCH)

    def train():
        optimizer.zero_grad(set_to_none=True)
        loss = -log_prob(next(training)).mean()
        loss.backward()
        optimizer.step()
        settle()

    @torch.no_grad()
    def score():
        log_prob(next(scoring))
        settle()

    @torch.no_grad()
    def draw():
        sample(lockstep.SAMPLE_BATCH)
        settle()

    return {"train": train, "log_prob": score, "sample": draw}


def dense(inputs, outputs):
    """The conditioner of a coupling layer: two hidden layers, ReLU."""
    width = lockstep.WIDTH
    return torch.nn.Sequential(
        torch.nn.Linear(inputs, width),
        torch.nn.ReLU(),
        torch.nn.Linear(width, width),
        torch.nn.ReLU(),
        torch.nn.Linear(width, outputs),
    )
