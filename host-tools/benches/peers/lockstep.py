"""What the scripts of this folder share: the flows' numbers, threads, timing, and the conversation.

A script first says in one JSON line who it is and what it can measure. Then it reads lines
`FLOW TASK SECONDS` from standard input and answers each with one JSON line: how many calls it made,
and how many seconds of wall time and of CPU time (all threads together) they took. It waits in
between, so that two libraries can be measured in turns. With `--rounds N` it asks itself.
"""

import argparse
import contextlib
import json
import os
import sys
import time

# The reference flow: D = 8, K = 8, two hidden layers of 64; five coupling or three autoregressive layers.
DIM, BINS, WIDTH, BOUND = 8, 8, 64, 5.0
COUPLINGS, AUTOREGRESSIVES = 5, 3
# The rotation stack: L = 4 times [Householder product of M = 4 -> spline of K = 12], D = 16.
ROTATION_DIM, ROTATIONS, REFLECTIONS, ROTATION_BINS = 16, 4, 4, 12
# One model of a fleet: L = 2 times a product of M = 4 and a spline of K = 8, D = 8.
FLEET_ROTATIONS, FLEET_BATCH = 2, 128

TRAIN_BATCH, SCORE_BATCH, SAMPLE_BATCH = 512, 4096, 1024
# Where torch computes.
DEVICE = "cpu"
LEARNING_RATE = 1e-3
# Rows that the batches are cut from.
ROWS = 64 * TRAIN_BATCH
# Calls before the first measurement: the first one compiles, where something compiles.
WARM_UP = 3


def say(**answer):
    print(json.dumps(answer), flush=True)


def arguments(description, compiles=False):
    """The command line; binds the process to its threads, which must happen before any import."""
    global DEVICE, TRAIN_BATCH
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, help="measure everything so many times and stop")
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU time of a measurement")
    parser.add_argument("--device", default=DEVICE, help="torch's name of where it computes")
    parser.add_argument("--batch", type=int, default=TRAIN_BATCH, help="rows of a training step")
    if compiles:
        parser.add_argument("--compile", action="store_true", help="with torch.compile")
    options = parser.parse_args()
    DEVICE, TRAIN_BATCH = options.device, options.batch
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    # A waiting thread sleeps: what it would burn in a loop is not the library's work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A forced kernel would be measured instead of the library's own choice.
    os.environ.pop("OPENBLAS_CORETYPE", None)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, set(cores[-options.threads:]))
    return options


@contextlib.contextmanager
def imports():
    """Says which module is missing, instead of a traceback."""
    try:
        yield
    except ModuleNotFoundError as error:
        say(error=f"the Python module {error.name} is missing")
        sys.exit(1)
    except ImportError as error:
        say(error=f"import: {error}")
        sys.exit(1)


def batches(data, size):
    """Batches of the rows, in order and for ever."""
    while True:
        for start in range(0, len(data) - size + 1, size):
            yield data[start:start + size]


def measure(call, seconds, threads):
    """Calls until `seconds` of CPU time a thread are used up, on a busy machine not for ever."""
    calls, wall, cpu = 0, time.perf_counter(), time.process_time()
    while True:
        call()
        calls += 1
        walls, cpus = time.perf_counter() - wall, time.process_time() - cpu
        if cpus >= threads * seconds or walls >= 10 * seconds:
            return {"calls": calls, "wall": walls, "cpu": cpus}


def serve(options, library, version, flows):
    """Measures on request; `flows` has for each flow a function that gives a call for each task."""
    tasks = {name: flow.tasks for name, flow in flows.items()}
    say(library=library, version=version, tasks=tasks)
    built = {}

    def answer(flow, task, seconds):
        try:
            if flow not in built:
                built[flow] = flows[flow]()
            call = built[flow][task]
            if (flow, task) not in built:
                for _ in range(WARM_UP):
                    call()
                built[flow, task] = True
            return measure(call, seconds, options.threads)
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            return {"error": f"{type(error).__name__}: {lines[0]}"}

    if options.rounds:
        for _ in range(options.rounds):
            for flow, names in tasks.items():
                for task in names:
                    measured = answer(flow, task, options.seconds)
                    say(library=library, flow=flow, task=task, threads=options.threads, **measured)
        return
    for line in sys.stdin:
        flow, task, seconds = line.split()
        say(**answer(flow, task, float(seconds)))


def flow(*tasks):
    """Marks a function that builds a flow with the tasks that it can do."""

    def mark(build):
        build.tasks = tasks
        return build

    return mark
