#!/usr/bin/env python3
"""Cut the demo recording out of the ceiling-fan data set.

    pip install numpy pyarrow
    python3 excerpt.py SOURCE_FOLDER [OUTPUT_FOLDER]

SOURCE_FOLDER holds X.npy (records, 200, 3) in g, group.npy and split.npy (see
README.md); OUTPUT_FOLDER, by default the folder of this script, receives
fan_train.parquet and fan_test.parquet. The same input gives the same rows; the
bytes may differ between versions of pyarrow.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

COUNTS_PER_G = 2048  # the sensor's least significant bit is 1/2048 g
SPEEDS = 3  # groups 0, 1, 2: normal at low, medium, high speed; 3, 4, 5: the same with a coin
COIN_RECORDS_PER_SPEED = 280  # what fits: both files together stay below 1.4 MB


def counts(g_values: np.ndarray) -> np.ndarray:
    """Back from g to the integers the sensor sent; fails if that would lose anything."""
    exact = g_values.astype(np.float64) * COUNTS_PER_G
    rounded = np.round(exact)
    if np.abs(exact - rounded).max() > 0.01:
        raise SystemExit("the values are no multiples of 1/2048 g: not the expected source")
    return rounded.astype(np.int32)


def evenly(indices: np.ndarray, wanted: int) -> np.ndarray:
    """`wanted` of `indices`, evenly spaced and in their order."""
    return indices[np.arange(wanted) * len(indices) // wanted]


def write(path: Path, samples: np.ndarray, runs: list[tuple[int, int, np.ndarray]]) -> None:
    """One row group a run; a run is (label, speed, record indices in time order)."""
    schema = pa.schema(
        [
            pa.field(name, pa.int32(), nullable=False)
            for name in ("x", "y", "z", "label", "speed")
        ]
    )
    writer = pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=22,
        use_dictionary=["label", "speed"],
        column_encoding={axis: "BYTE_STREAM_SPLIT" for axis in "xyz"},
        write_statistics=False,
        store_schema=False,
    )
    with writer:
        for label, speed, records in runs:
            rows = samples[records].reshape(-1, 3)
            constant = [np.full(len(rows), value, np.int32) for value in (label, speed)]
            columns = [np.ascontiguousarray(rows[:, axis]) for axis in range(3)] + constant
            writer.write_table(pa.table(columns, schema=schema), row_group_size=len(rows))
    rows_written = sum(len(records) for _, _, records in runs) * samples.shape[1]
    print(f"{path.name}: {rows_written} rows, {path.stat().st_size} bytes")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("source", type=Path)
    arguments.add_argument("output", type=Path, nargs="?", default=Path(__file__).parent)
    options = arguments.parse_args()

    samples = counts(np.load(options.source / "X.npy"))
    group = np.load(options.source / "group.npy")
    split = np.load(options.source / "split.npy")

    def run(label: int, speed: int, part: int) -> np.ndarray:
        return np.flatnonzero((group == SPEEDS * label + speed) & (split == part))

    train = [(0, speed, run(0, speed, 1)) for speed in range(SPEEDS)]
    test = [(0, speed, run(0, speed, 2)) for speed in range(SPEEDS)]
    test += [
        (1, speed, evenly(run(1, speed, 2), COIN_RECORDS_PER_SPEED)) for speed in range(SPEEDS)
    ]
    write(options.output / "fan_train.parquet", samples, train)
    write(options.output / "fan_test.parquet", samples, test)


if __name__ == "__main__":
    main()
