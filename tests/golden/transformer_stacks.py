"""Attention and Transformers of several layers: torch.nn.MultiheadAttention, TransformerEncoder, TransformerDecoder, in f64.

Run `python tests/golden/transformer_stacks.py`; it writes transformer_stacks.safetensors beside itself. Inputs are `x`, `memory`,
a mask of floats `mask`, and the parameters by their names. What is hidden from whom is written in
`nn-sequence/tests/golden_transformer.rs` too.
"""
import torch
from cases import Cases
from torch.func import functional_call

WIDTH, HEADS, BATCH, TARGETS, SOURCES = 4, 2, 2, 3, 4
OPTIONS = dict(dim_feedforward=3, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64)
# What hides: of the second sequence the last two source tokens, and of all what comes later.
PADDING = torch.tensor([[0.0] * 4, [0, 0, -torch.inf, -torch.inf]], dtype=torch.float64)
CAUSAL = torch.full((SOURCES, SOURCES), -torch.inf, dtype=torch.float64).triu(1)


def parameters(module):
    return {name: p + 0.4 * torch.randn(p.shape, dtype=p.dtype) for name, p in module.named_parameters()}


def attention():
    module = torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, dtype=torch.float64)

    def f(x, memory, mask, **parameters):
        masks = {"key_padding_mask": PADDING, "attn_mask": mask}
        return functional_call(module, parameters, (x, memory, memory), masks)[0]

    return module, f


def encoder():
    norm = torch.nn.LayerNorm(WIDTH, dtype=torch.float64)
    layer = torch.nn.TransformerEncoderLayer(WIDTH, HEADS, **OPTIONS)
    module = torch.nn.TransformerEncoder(layer, 2, norm, enable_nested_tensor=False)
    masks = {"mask": CAUSAL, "src_key_padding_mask": PADDING}
    return module, lambda x, **p: functional_call(module, p, (x,), masks)


def decoder():
    norm = torch.nn.LayerNorm(WIDTH, dtype=torch.float64)
    module = torch.nn.TransformerDecoder(torch.nn.TransformerDecoderLayer(WIDTH, HEADS, **OPTIONS), 2, norm)
    masks = {"tgt_mask": CAUSAL, "tgt_key_padding_mask": PADDING}
    return module, lambda x, memory, **p: functional_call(module, p, (x, memory), masks)


cases = Cases(__file__, 36)
source = lambda: torch.randn(BATCH, SOURCES, WIDTH)
module, f = attention()
inputs = {"x": torch.randn(BATCH, TARGETS, WIDTH), "memory": source(), "mask": torch.randn(TARGETS, SOURCES)}
cases.add("attention", f, fixed=["mask"], **inputs, **parameters(module))
module, f = encoder()
cases.add("encoder", f, x=source(), **parameters(module))
module, f = decoder()
cases.add("decoder", f, x=source(), memory=source(), **parameters(module))
cases.save()
