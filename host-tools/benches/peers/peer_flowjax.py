"""FlowJAX: coupling and autoregressive rational-quadratic flows, compiled by XLA."""

import os

import lockstep

options = lockstep.arguments(__doc__)
os.environ["JAX_PLATFORMS"] = "cpu"
if options.threads == 1:
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
with lockstep.imports():
    # First, so that it is the library that is named where nothing is installed.
    from flowjax.bijections import RationalQuadraticSpline
    from flowjax.distributions import Normal
    from flowjax.flows import coupling_flow, masked_autoregressive_flow
    from flowjax.train.losses import MaximumLikelihoodLoss
    from flowjax.train.train_utils import step

    from importlib.metadata import version

    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import jax.random as jr
    import numpy as np
    import optax
    import paramax
from lockstep import AUTOREGRESSIVES, BINS, BOUND, COUPLINGS, DIM, WIDTH


def finish(make, layers):
    flow = make(
        jr.key(0),
        base_dist=Normal(jnp.zeros(DIM)),
        # The knots inside the interval: K bins have K - 1 of them.
        transformer=RationalQuadraticSpline(knots=BINS - 1, interval=BOUND),
        flow_layers=layers,
        nn_width=WIDTH,
        nn_depth=2,
    )
    frozen = lambda leaf: isinstance(leaf, paramax.NonTrainable)
    parameters, static = eqx.partition(flow, eqx.is_inexact_array, is_leaf=frozen)
    optimizer = optax.adam(lockstep.LEARNING_RATE)
    state = {"parameters": parameters, "optimizer": optimizer.init(parameters)}
    loss_function = MaximumLikelihoodLoss()
    data = np.random.default_rng(0).standard_normal((lockstep.ROWS, DIM), dtype=np.float32)
    training = lockstep.batches(data, lockstep.TRAIN_BATCH)
    scoring = lockstep.batches(data, lockstep.SCORE_BATCH)
    log_prob = eqx.filter_jit(lambda flow, rows: flow.log_prob(rows))
    sample = eqx.filter_jit(lambda flow, key: flow.sample(key, (lockstep.SAMPLE_BATCH,)))
    key = jr.key(1)

    def train():
        state["parameters"], state["optimizer"], loss = step(
            state["parameters"],
            static,
            jnp.asarray(next(training)),
            optimizer=optimizer,
            opt_state=state["optimizer"],
            loss_fn=loss_function,
            key=key,
        )
        jax.block_until_ready((loss, state["parameters"]))

    return {
        "train": train,
        "log_prob": lambda: jax.block_until_ready(log_prob(flow, jnp.asarray(next(scoring)))),
        "sample": lambda: jax.block_until_ready(sample(flow, key)),
    }


@lockstep.flow("train", "log_prob", "sample")
def coupling():
    return finish(coupling_flow, COUPLINGS)


@lockstep.flow("train", "log_prob", "sample")
def autoregressive():
    return finish(masked_autoregressive_flow, AUTOREGRESSIVES)


flows = {"coupling": coupling, "autoregressive": autoregressive}
lockstep.serve(options, "FlowJAX", version("flowjax"), flows)
