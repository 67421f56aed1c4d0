"""The image captioner: soft attention as the usual PyTorch implementation writes it, in f64.

Run `python tests/golden/captioner.py`; it writes captioner.safetensors beside itself. Cases are `scalar`, with places of
features and one gate, and `features`, with a feature map and a gate a feature. `y` has the logits, the weights of attention
and the doubly stochastic term of captions of 2 and 3 tokens, end to end.
"""
import torch
from cases import Cases
from torch import nn
from torch.func import functional_call

BATCH, STEPS, VOCABULARY, WIDTH, FEATURES, HIDDEN, ATTENTION = 2, 3, 5, 2, 3, 4, 3
LENGTHS = [2, 3]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder_att = nn.Linear(FEATURES, ATTENTION)
        self.decoder_att = nn.Linear(HIDDEN, ATTENTION)
        self.full_att = nn.Linear(ATTENTION, 1, bias=False)

    def forward(self, places, h):
        scores = self.full_att(torch.tanh(self.encoder_att(places) + self.decoder_att(h).unsqueeze(1))).squeeze(2)
        alpha = scores.softmax(1)
        return (places * alpha.unsqueeze(2)).sum(1), alpha


class DecoderWithAttention(nn.Module):
    def __init__(self, gates):
        super().__init__()
        self.attention = Attention()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.init_h, self.init_c = nn.Linear(FEATURES, HIDDEN), nn.Linear(FEATURES, HIDDEN)
        self.f_beta = nn.Linear(HIDDEN, gates)
        self.decode_step = nn.LSTMCell(WIDTH + FEATURES, HIDDEN)
        self.fc = nn.Linear(HIDDEN, VOCABULARY)

    def forward(self, features, tokens):
        if features.dim() == 4:
            features = features.flatten(2).transpose(1, 2)
        h, c = self.init_h(features.mean(1)), self.init_c(features.mean(1))
        logits, alphas = [], []
        for token in self.embedding(tokens).unbind(1):
            context, alpha = self.attention(features, h)
            gate = torch.sigmoid(self.f_beta(h))
            h, c = self.decode_step(torch.cat([token, gate * context], 1), (h, c))
            logits.append(self.fc(h))
            alphas.append(alpha)
        return torch.stack(logits, 1), torch.stack(alphas, 1)


def captions(module):
    def f(features, tokens, **parameters):
        logits, alphas = functional_call(module, parameters, (features, tokens))
        own = (torch.arange(STEPS) < torch.tensor(LENGTHS)[:, None])[..., None]
        term = ((1 - (alphas * own).sum(1)) ** 2).mean()
        return torch.cat([logits.flatten(), alphas.flatten(), term[None]])

    return f


cases = Cases(__file__, 34)
for name, gates, shape in [("scalar", 1, (BATCH, 4, FEATURES)), ("features", FEATURES, (BATCH, FEATURES, 2, 3))]:
    module = DecoderWithAttention(gates).double()
    parameters = {name: torch.randn(p.shape) for name, p in module.named_parameters()}
    tokens = torch.randint(VOCABULARY, (BATCH, STEPS))
    cases.add(name, captions(module), features=torch.randn(shape), tokens=tokens, **parameters)
cases.save()
