"""Recurrent layers and cells: torch.nn.RNN, LSTM and GRU with every option, and their cells, in f64.

Run `python tests/golden/recurrent_layers.py`; it writes recurrent_layers.safetensors beside itself. Cases are `KIND.stack`:
two layers, both directions, states and packed sequences of 2 and 3 steps; `KIND.time_first`: one layer without biases, the
time first; and `KIND.cell.state` and `KIND.cell.zeros`. Inputs are `x`, the states `h` and `c`, and the parameters by their
names; `y` has the outputs and the final states end to end.
"""
import torch
from cases import Cases
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

BATCH, STEPS, INPUTS, UNITS, OUTPUTS = 2, 3, 2, 2, 1
KINDS = {
    "tanh": (torch.nn.RNN, {}),
    "relu": (torch.nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (torch.nn.LSTM, {}),
    "gru": (torch.nn.GRU, {}),
    "projected": (torch.nn.LSTM, {"proj_size": OUTPUTS}),
}
CELLS = {"tanh": torch.nn.RNNCell, "relu": torch.nn.RNNCell, "lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell}


def end_to_end(*parts):
    return torch.cat([part.flatten() for part in parts])


def tuple_of(state):
    return state if isinstance(state, tuple) else (state,)


def layer(module, lengths):
    def f(x, h=None, c=None, **parameters):
        state = None if h is None else h if c is None else (h, c)
        if lengths is not None:
            x = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, last = functional_call(module, parameters, (x, state))
        if lengths is not None:
            y, _ = pad_packed_sequence(y, batch_first=True, total_length=STEPS)
        return end_to_end(y, *tuple_of(last))

    return f


def cell(module):
    def f(x, h=None, c=None, **parameters):
        state = None if h is None else h if c is None else (h, c)
        return end_to_end(*tuple_of(functional_call(module, parameters, (x, state))))

    return f


def parameters(module):
    return {name: 0.8 * torch.randn(p.shape) for name, p in module.named_parameters()}


cases = Cases(__file__, 32)
for kind, (make, options) in KINDS.items():
    stack = make(INPUTS, UNITS, num_layers=2, bidirectional=True, batch_first=True, **options).double()
    outputs = options.get("proj_size", UNITS)
    inputs = {"x": torch.randn(BATCH, STEPS, INPUTS), "h": torch.randn(4, BATCH, outputs)}
    inputs |= {"c": torch.randn(4, BATCH, UNITS)} if make is torch.nn.LSTM else {}
    cases.add(f"{kind}.stack", layer(stack, [2, 3]), **inputs, **parameters(stack))
    plain = make(INPUTS, UNITS, bias=False, **options).double()
    cases.add(f"{kind}.time_first", layer(plain, None), x=torch.randn(STEPS, BATCH, INPUTS), **parameters(plain))
    if kind in CELLS:
        module = CELLS[kind](INPUTS, UNITS, **options).double()
        inputs = {"x": torch.randn(BATCH, INPUTS), "h": torch.randn(BATCH, UNITS)}
        inputs |= {"c": torch.randn(BATCH, UNITS)} if kind == "lstm" else {}
        cases.add(f"{kind}.cell.state", cell(module), **inputs, **parameters(module))
        cases.add(f"{kind}.cell.zeros", cell(module), x=torch.randn(BATCH, INPUTS), **parameters(module))
cases.save()
