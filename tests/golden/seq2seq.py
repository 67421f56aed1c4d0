"""Encoder, decoder and the attention between them, written with torch.nn, in f64.

Run `python tests/golden/seq2seq.py`; it writes seq2seq.safetensors beside itself. Cases are `UNIT.SCORE`, of two layers, with
an encoder of both directions but for `dot`; sources of 3, 1 and 2 tokens are packed. `y` are the logits, `weights` those of
attention.
"""
import torch
from cases import Cases
from torch import nn
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

VOCABULARIES, WIDTH, HIDDEN, LAYERS = (5, 4), 2, 3, 2
LENGTHS = torch.tensor([3, 1, 2])
UNITS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class Attention(nn.Module):
    def __init__(self, score, seen):
        super().__init__()
        self.kind = score
        if score == "general":
            self.key = nn.Linear(seen, HIDDEN, bias=False)
        if score in ("additive", "concat"):
            self.query, self.key = nn.Linear(HIDDEN, HIDDEN, bias=False), nn.Linear(seen, HIDDEN, bias=False)
            self.score = nn.Parameter(torch.empty(HIDDEN))

    def forward(self, state, memory):
        """States `[B, H]` → weights `[B, S]`."""
        keys = self.key(memory) if self.kind != "dot" else memory
        if self.kind in ("additive", "concat"):
            scores = torch.tanh(self.query(state)[:, None] + keys) @ self.score
        else:
            scores = (keys @ state[..., None]).squeeze(2)
        hidden = torch.arange(memory.shape[1]) >= LENGTHS[:, None]
        return scores.masked_fill(hidden, -torch.inf).softmax(1)


class Seq2Seq(nn.Module):
    def __init__(self, unit, score):
        super().__init__()
        both, lstm = score != "dot", unit == "lstm"
        seen = HIDDEN * (1 + both)
        self.encoder = nn.Module()
        self.encoder.embedding = nn.Embedding(VOCABULARIES[0], WIDTH)
        self.encoder.rnn = UNITS[unit](WIDTH, HIDDEN, num_layers=LAYERS, bidirectional=both, batch_first=True)
        bridge = lambda: nn.ModuleList(nn.Linear(2 * HIDDEN, HIDDEN) for _ in range(LAYERS))
        self.bridge = nn.ModuleDict({part: bridge() for part in ("h", "c")[: 1 + lstm]} if both else {})
        self.embedding = nn.Embedding(VOCABULARIES[1], WIDTH)
        fed = WIDTH + seen if score == "additive" else WIDTH
        self.rnn = UNITS[unit](fed, HIDDEN, num_layers=LAYERS, batch_first=True)
        self.attention = Attention(score, seen)
        self.combine, self.output = nn.Linear(seen + HIDDEN, HIDDEN), nn.Linear(HIDDEN, VOCABULARIES[1])

    def cross(self, part, states):
        """`[layers · directions, B, H]` → `[layers, B, H]`"""
        if part not in self.bridge:
            return states
        pairs = torch.cat([states[0::2], states[1::2]], 2)
        return torch.stack([torch.tanh(linear(pair)) for linear, pair in zip(self.bridge[part], pairs)])

    def forward(self, source, target):
        x = self.encoder.embedding(source)
        x, last = self.encoder.rnn(pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False))
        memory, _ = pad_packed_sequence(x, batch_first=True)
        lstm = isinstance(last, tuple)
        state = tuple(self.cross(*part) for part in zip("hc", last)) if lstm else self.cross("h", last)
        top = lambda state: (state[0] if lstm else state)[-1]
        logits, weights = [], []
        for x in self.embedding(target).unbind(1):
            if self.attention.kind == "additive":
                p = self.attention(top(state), memory)
                context = (p[..., None] * memory).sum(1)
                _, state = self.rnn(torch.cat([x, context], 1)[:, None], state)
            else:
                _, state = self.rnn(x[:, None], state)
                p = self.attention(top(state), memory)
                context = (p[..., None] * memory).sum(1)
            logits.append(self.output(torch.tanh(self.combine(torch.cat([context, top(state)], 1)))))
            weights.append(p)
        return torch.stack(logits, 1), torch.stack(weights, 1)


cases = Cases(__file__, 35)
for unit, score in [("gru", "additive"), ("lstm", "general"), ("rnn", "concat"), ("lstm", "dot")]:
    module = Seq2Seq(unit, score).double()
    parameters = {name: torch.randn(p.shape) for name, p in module.named_parameters()}
    tokens = {"source": torch.randint(VOCABULARIES[0], (3, 3)), "target": torch.randint(VOCABULARIES[1], (3, 2))}
    both = lambda source, target, **p: functional_call(module, p, (source, target))
    name = f"{unit}.{score}"
    cases.add(name, lambda **inputs: both(**inputs)[0], **tokens, **parameters)
    doubles = {name: p.double() for name, p in parameters.items()}
    cases.tensors[f"{name}.weights"] = both(**tokens, **doubles)[1].contiguous()
cases.save()
