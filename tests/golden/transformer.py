"""Transformers: torch.nn.TransformerEncoderLayer, TransformerDecoderLayer and Transformer with their options, in f64.

Run `python tests/golden/transformer.py`; it writes transformer.safetensors beside itself. Inputs are `x`, for those with a
decoder `memory` or the source `source`, a mask of floats `mask`, and the parameters by their names. What is hidden from whom
is written in `nn-sequence/tests/golden_transformer.rs` too.
"""
import torch
from cases import Cases
from torch.func import functional_call

WIDTH, HEADS, FEED_FORWARD, BATCH, TARGETS, SOURCES = 4, 2, 3, 2, 3, 4
OPTIONS = dict(dim_feedforward=FEED_FORWARD, dropout=0.0, batch_first=True, dtype=torch.float64)
# True hides: of the second sequence the last two source tokens.
PADDING = torch.tensor([[False] * 4, [False, False, True, True]])
CAUSAL = torch.ones(TARGETS, TARGETS, dtype=torch.bool).triu(1)


def parameters(module):
    return {name: p + 0.4 * torch.randn(p.shape, dtype=p.dtype) for name, p in module.named_parameters()}


def encoder_layer(norm_first, activation, **masks):
    module = torch.nn.TransformerEncoderLayer(WIDTH, HEADS, activation=activation, norm_first=norm_first, **OPTIONS)

    def f(x, mask=None, **parameters):
        given = masks if mask is None else {"src_mask": mask}
        return functional_call(module, parameters, (x,), given)

    return module, f


def decoder_layer(norm_first, activation):
    module = torch.nn.TransformerDecoderLayer(WIDTH, HEADS, activation=activation, norm_first=norm_first, **OPTIONS)

    def f(x, memory, **parameters):
        masks = {"tgt_mask": CAUSAL, "memory_key_padding_mask": PADDING}
        return functional_call(module, parameters, (x, memory), masks)

    return module, f


def transformer():
    module = torch.nn.Transformer(WIDTH, HEADS, num_encoder_layers=1, num_decoder_layers=1, **OPTIONS)

    def f(source, x, **parameters):
        masks = {"src_key_padding_mask": PADDING, "tgt_mask": CAUSAL, "memory_key_padding_mask": PADDING}
        return functional_call(module, parameters, (source, x), masks)

    return module, f


cases = Cases(__file__, 33)
source = lambda: torch.randn(BATCH, SOURCES, WIDTH)
target = lambda: torch.randn(BATCH, TARGETS, WIDTH)
module, f = encoder_layer(False, "relu")
cases.add("encoder_layer.last.relu", f, x=source(), **parameters(module))
module, f = encoder_layer(True, "gelu", src_key_padding_mask=PADDING)
cases.add("encoder_layer.first.gelu", f, x=source(), **parameters(module))
module, f = encoder_layer(False, "gelu")
cases.add("encoder_layer.last.gelu", f, fixed=["mask"], x=source(), mask=torch.randn(SOURCES, SOURCES), **parameters(module))
module, f = decoder_layer(False, "gelu")
cases.add("decoder_layer.last.gelu", f, x=target(), memory=source(), **parameters(module))
module, f = decoder_layer(True, "relu")
cases.add("decoder_layer.first.relu", f, x=target(), memory=source(), **parameters(module))
module, f = transformer()
cases.add("transformer", f, source=source(), x=target(), **parameters(module))
cases.save()
