"""A small event file as TensorBoard's own writer makes it; or, given the path of one, what TensorBoard reads in it.

    python tests/golden/tensorboard.py
    python tests/golden/tensorboard.py runs/lenet5-digits
"""

import io
import json
import sys
from pathlib import Path

# The folder of this file comes first in the search path, and this file is called like the package.
sys.path.pop(0)

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402
from tensorboard.compat.proto.event_pb2 import Event  # noqa: E402
from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: E402
from tensorboard.summary.writer.record_writer import RecordWriter  # noqa: E402

EVENTS = [
    (0, 300, {"step/loss": 1.5, "step/learning_rate": 0.125, "step/gradient_norm": 3.0, "step/examples_per_second": 1000.0}),
    (1, 350, {"evaluation/loss": 0.5, "evaluation/accuracy": 0.625}),
    (3, 400, {
        "training/loss": 0.75, "training/accuracy": 0.5, "evaluation/loss": 0.5, "evaluation/accuracy": 0.625,
        "running_mean/loss": 0.25, "running_mean/accuracy": 0.875,
    }),
    (5, 400, {"test/loss": 0.5, "test/accuracy": 0.75}),
]  # fmt: skip


def write():
    file = io.BytesIO()
    writer = RecordWriter(file)
    writer.write(Event(wall_time=1.5e9, file_version="brain.Event:2").SerializeToString())
    for seconds, step, scalars in EVENTS:
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        event = Event(wall_time=1.5e9 + seconds, step=step, summary=Summary(value=values))
        writer.write(event.SerializeToString())
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps({"file": file.getvalue().hex()}) + "\n")


def read(run):
    accumulator = EventAccumulator(str(run))
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    assert tags, f"TensorBoard finds no scalars in {run}"
    for tag in tags:
        events = accumulator.Scalars(tag)
        print(f"{tag}: {len(events)} from step {events[0].step} to {events[-1].step}, last {events[-1].value:.6g}")


if __name__ == "__main__":
    read(Path(sys.argv[1])) if len(sys.argv) > 1 else write()
