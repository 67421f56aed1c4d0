"""Recurrent layers: torch.nn.RNN, LSTM and GRU over packed sequences, both directions, in f64.

Run `python tests/golden/recurrent.py`; it writes recurrent.safetensors beside itself. Case `KIND.DIRECTION.LENGTHS` has
the inputs `x`, `w_ih`, `w_hh`, with a projection `w_hr`, with biases `b_ih` and `b_hh`, with a state `h` (and `c`), and as `y` the outputs and the
final states end to end.
"""
import torch
from cases import Cases
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

BATCH, STEPS, INPUTS, UNITS, OUTPUTS = 3, 4, 2, 3, 2
LENGTHS = {"whole": [4, 4, 4], "mixed": [2, 4, 1]}
KINDS = {
    "tanh": lambda bias: torch.nn.RNN(INPUTS, UNITS, bias=bias, batch_first=True, bidirectional=True),
    "relu": lambda bias: torch.nn.RNN(INPUTS, UNITS, bias=bias, batch_first=True, bidirectional=True, nonlinearity="relu"),
    "lstm": lambda bias: torch.nn.LSTM(INPUTS, UNITS, bias=bias, batch_first=True, bidirectional=True),
    "gru": lambda bias: torch.nn.GRU(INPUTS, UNITS, bias=bias, batch_first=True, bidirectional=True),
    "projected": lambda bias: torch.nn.LSTM(INPUTS, UNITS, bias=bias, batch_first=True, bidirectional=True, proj_size=OUTPUTS),
}


def layer(kind, lengths, reverse):
    """One direction of a layer of two: the other one's parameters and states are 0 and its results are left out."""

    def f(x, w_ih, w_hh, b_ih=None, b_hh=None, w_hr=None, h=None, c=None):
        m = KINDS[kind](b_ih is not None).double()
        given = {"weight_ih_l0": w_ih, "weight_hh_l0": w_hh, "bias_ih_l0": b_ih, "bias_hh_l0": b_hh, "weight_hr_l0": w_hr}
        suffix, other = ("_reverse", "") if reverse else ("", "_reverse")
        parameters = {name + suffix: p for name, p in given.items() if p is not None}
        parameters |= {name + other: torch.zeros_like(p) for name, p in given.items() if p is not None}
        pair = lambda s: torch.stack([torch.zeros_like(s), s] if reverse else [s, torch.zeros_like(s)])
        state = None if h is None else pair(h) if c is None else (pair(h), pair(c))
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, last = functional_call(m, parameters, (packed, state))
        y, _ = pad_packed_sequence(y, batch_first=True, total_length=STEPS)
        y = y.chunk(2, -1)[int(reverse)]
        last = last if isinstance(last, tuple) else (last,)
        return torch.cat([y.flatten(), *(s[int(reverse)].flatten() for s in last)])

    return f


cases = Cases(__file__, 31)
for kind in KINDS:
    gates = {"lstm": 4, "projected": 4, "gru": 3}.get(kind, 1) * UNITS
    outputs = OUTPUTS if kind == "projected" else UNITS
    for reverse in [False, True]:
        for name, lengths in LENGTHS.items():
            inputs = {
                "x": torch.randn(BATCH, STEPS, INPUTS),
                "w_ih": 0.7 * torch.randn(gates, INPUTS),
                "w_hh": 0.7 * torch.randn(gates, outputs),
            }
            inputs |= {"w_hr": torch.randn(outputs, UNITS)} if kind == "projected" else {}
            if name == "mixed":
                inputs |= {"b_ih": torch.randn(gates), "b_hh": torch.randn(gates), "h": torch.randn(BATCH, outputs)}
                inputs |= {"c": torch.randn(BATCH, UNITS)} if kind in ("lstm", "projected") else {}
            direction = "reverse" if reverse else "forward"
            cases.add(f"{kind}.{direction}.{name}", layer(kind, lengths, reverse), **inputs)
cases.save()
