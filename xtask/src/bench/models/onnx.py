"""ONNX Runtime's side of `cargo xtask bench models`: a JSON object a line, seconds a call back."""
import contextlib
import io
import json
import tempfile
import time
from pathlib import Path

import onnxruntime

print(onnxruntime.__version__, flush=True)
ready = {}
for line in sys.stdin:
    request = json.loads(line)
    name, batch, calls = request["model"], request["batch"], request["calls"]
    if (name, batch) not in ready:
        ready.clear()
        model, shape = build(name)
        x = torch.randn(batch, *shape)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(sys.argv[2])
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            path = Path(folder) / "model.onnx"
            torch.onnx.export(model.eval(), (x,), path, dynamo=True, external_data=False, verbose=False)
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        ready[name, batch] = session, {session.get_inputs()[0].name: x.numpy()}
    session, inputs = ready[name, batch]
    began = time.perf_counter()
    for _ in range(calls):
        session.run(None, inputs)
    print((time.perf_counter() - began) / calls, flush=True)
