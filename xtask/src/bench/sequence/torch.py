"""PyTorch's side of `cargo xtask bench sequence`: a JSON object a line, seconds a call back.

Without calls it answers how far its own answer is from the one in the file: logits by the largest, tokens by how many differ.
"""
import json
import math
import sys
import time
import warnings

warnings.filterwarnings("ignore")
import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

torch.set_num_threads(int(sys.argv[1]))
UNITS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
START, LONGEST = 2, 128


def beyond(lengths, steps):
    """True where there is padding."""
    return torch.arange(steps) >= lengths[:, None]


def causal(steps):
    return nn.Transformer.generate_square_subsequent_mask(steps)


class Rows(nn.Module):
    def __init__(self, unit, inputs, hidden, classes):
        super().__init__()
        self.rnn = UNITS[unit](inputs, hidden, num_layers=2, batch_first=True)
        self.head = nn.Linear(hidden, classes)

    def forward(self, source, lengths, given):
        return self.head(self.rnn(source)[0][:, -1])


class Letters(nn.Module):
    def __init__(self, unit, vocabulary, width, hidden, dropout):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.rnn = UNITS[unit](width, hidden, num_layers=2, dropout=dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Linear(hidden, vocabulary)

    def forward(self, source, lengths, given):
        x, _ = self.rnn(self.dropout(self.embedding(source)))
        return self.decoder(self.dropout(x))


class Tokens(nn.Module):
    """Scaled embeddings and positions."""

    def __init__(self, vocabulary, width, dropout, learned=False):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.dropout = nn.Dropout(dropout)
        if learned:
            self.positions = nn.Embedding(LONGEST, width)
        else:
            angles = torch.arange(LONGEST)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10000) / width))
            table = torch.stack([angles.sin(), angles.cos()], 2).reshape(LONGEST, width)
            self.register_buffer("table", table, persistent=False)

    def forward(self, x):
        places = self.positions.weight if hasattr(self, "positions") else self.table
        x = self.embedding(x) * math.sqrt(self.embedding.embedding_dim)
        return self.dropout(x + places[: x.shape[1]])


def encoder(layers, norms_first=True):
    activation = "gelu" if norms_first else "relu"
    layer = nn.TransformerEncoderLayer(
        layers["width"], layers["heads"], layers["feed_forward"], layers["dropout"], activation, batch_first=True, norm_first=norms_first
    )
    norm = nn.LayerNorm(layers["width"]) if norms_first else None
    return nn.TransformerEncoder(layer, layers["layers"], norm, enable_nested_tensor=False)


class Encoder(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = encoder(layers, norms_first=False).layers

    def forward(self, source, lengths, given):
        for layer in self.layers:
            source = layer(source)
        return source


class Sentences(Tokens):
    def __init__(self, vocabulary, classes, layers):
        super().__init__(vocabulary, layers["width"], layers["dropout"])
        self.encoder = encoder(layers)
        self.head = nn.Linear(layers["width"], classes)

    def forward(self, source, lengths, given):
        padding = beyond(lengths, source.shape[1])
        x = self.encoder(super().forward(source), src_key_padding_mask=padding)
        mean = x.masked_fill(padding[..., None], 0).sum(1) / lengths[:, None]
        return self.head(self.dropout(mean))


class CausalLetters(Tokens):
    def __init__(self, vocabulary, layers):
        super().__init__(vocabulary, layers["width"], layers["dropout"], learned=True)
        self.encoder = encoder(layers)
        self.decoder = nn.Linear(layers["width"], vocabulary)

    def forward(self, source, lengths, given):
        x = self.encoder(super().forward(source), mask=causal(source.shape[1]), is_causal=True)
        return self.decoder(x)


class AttentionWeights(nn.Module):
    """Bahdanau's."""

    def __init__(self, width):
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(2 * width, width, bias=False)
        self.score = nn.Parameter(torch.empty(width))


class Attention(nn.Module):
    def __init__(self, unit, vocabularies, width, dropout):
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.embedding = nn.Embedding(vocabularies[0], width)
        self.encoder.rnn = nn.GRU(width, width, bidirectional=True, batch_first=True)
        self.bridge = nn.ModuleDict({"h": nn.ModuleList([nn.Linear(2 * width, width)])})
        self.embedding = nn.Embedding(vocabularies[1], width)
        self.rnn = nn.GRU(3 * width, width, batch_first=True)
        self.attention = AttentionWeights(width)
        self.combine = nn.Linear(3 * width, width)
        self.output = nn.Linear(width, vocabularies[1])
        self.dropout = nn.Dropout(dropout)

    def start(self, source, lengths):
        x = self.dropout(self.encoder.embedding(source))
        x, h = self.encoder.rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        memory, _ = pad_packed_sequence(x, batch_first=True, total_length=source.shape[1])
        state = torch.tanh(self.bridge["h"][0](torch.cat([h[0], h[1]], 1)))[None]
        return state, memory, self.attention.key(memory), beyond(lengths, source.shape[1])

    def step(self, x, state, memory, keys, padding):
        """An embedded token `[B, 1, D]` → state and context, and the state to go on from."""
        query = self.attention.query(state[0])[:, None]
        scores = torch.tanh(keys + query) @ self.attention.score
        weights = scores.masked_fill(padding, -math.inf).softmax(1)
        context = torch.bmm(weights[:, None], memory)
        output, state = self.rnn(torch.cat([x, context], 2), state)
        return torch.cat([context, output], 2), state

    def read(self, x):
        return self.output(self.dropout(torch.tanh(self.combine(x))))

    def forward(self, source, lengths, given):
        state, *memory = self.start(source, lengths)
        outputs = []
        for x in self.dropout(self.embedding(given)).split(1, 1):
            output, state = self.step(x, state, *memory)
            outputs.append(output)
        return self.read(torch.cat(outputs, 1))

    def decode(self, source, lengths, steps):
        state, *memory = self.start(source, lengths)
        tokens = [torch.full((len(source), 1), START)]
        for _ in range(steps):
            output, state = self.step(self.embedding(tokens[-1]), state, *memory)
            tokens.append(self.read(output).argmax(2))
        return torch.cat(tokens[1:], 1)


class Transformer(nn.Module):
    def __init__(self, vocabularies, layers):
        super().__init__()
        width, depth, dropout = layers["width"], layers["layers"], layers["dropout"]
        self.source, self.target = (Tokens(count, width, dropout) for count in vocabularies)
        self.transformer = nn.Transformer(
            width, layers["heads"], depth, depth, layers["feed_forward"], dropout, batch_first=True, norm_first=True
        )
        self.output = nn.Linear(width, vocabularies[1])

    def forward(self, source, lengths, given):
        padding = beyond(lengths, source.shape[1])
        x = self.transformer(
            self.source(source),
            self.target(given),
            tgt_mask=causal(given.shape[1]),
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
            tgt_is_causal=True,
        )
        return self.output(x)

    def decode(self, source, lengths, steps):
        padding = beyond(lengths, source.shape[1])
        memory = self.transformer.encoder(self.source(source), src_key_padding_mask=padding)
        tokens = torch.full((len(source), 1), START)
        for _ in range(steps):
            x = self.transformer.decoder(
                self.target(tokens),
                memory,
                tgt_mask=causal(tokens.shape[1]),
                memory_key_padding_mask=padding,
                tgt_is_causal=True,
            )
            tokens = torch.cat([tokens, self.output(x[:, -1:]).argmax(2)], 1)
        return tokens[:, 1:]


KINDS = {
    "rows": Rows,
    "letters": Letters,
    "encoder": Encoder,
    "sentences": Sentences,
    "causal-letters": CausalLetters,
    "attention": Attention,
    "transformer": Transformer,
}


class Bench:
    """A row's network and batch."""

    def __init__(self, row, file):
        options = dict(row["network"])
        self.model = KINDS[options.pop("kind")](**options)
        tensors = load_file(file)
        batch = {key: tensors.pop(f"batch.{key}") for key in ("source", "lengths", "given", "labels", "answer")}
        batch = {key: x if x.is_floating_point() else x.long() for key, x in batch.items()}
        self.labels, self.answer = batch.pop("labels"), batch.pop("answer")
        self.batch = batch
        self.model.load_state_dict(tensors)
        self.steps = row["steps"][1]
        self.training = row["pass"] == "training"
        self.model.train(self.training)
        self.sgd = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)

    def logits(self):
        return self.model(**self.batch).flatten(0, -2)

    def once(self):
        if not self.training:
            with torch.inference_mode():
                return self.model.decode(self.batch["source"], self.batch["lengths"], self.steps)
        self.sgd.zero_grad()
        nn.functional.cross_entropy(self.logits(), self.labels).backward()
        self.sgd.step()

    def off(self):
        if not self.training:
            return (self.once() != self.answer).float().mean().item()
        with torch.no_grad():
            self.model.eval()
            logits = self.logits()
            self.model.train()
        return ((logits - self.answer).abs().max() / self.answer.abs().max()).item()


print(torch.__version__, flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if request["calls"] == 0:
        bench = Bench(request["row"], request["file"])
        print(bench.off(), flush=True)
        continue
    began = time.perf_counter()
    for _ in range(request["calls"]):
        bench.once()
    print((time.perf_counter() - began) / request["calls"], flush=True)
