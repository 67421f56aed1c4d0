"""Writes keras/: a small network as Keras 3 writes it in its three formats, and keras.safetensors: what is in the files, as
torch.nn would have it, and what the network makes of an input.

Run `KERAS_BACKEND=torch python tests/golden/keras_files.py` where keras, h5py, torch and safetensors are installed.
"""
import json
from pathlib import Path

import keras
import numpy as np
from keras import layers
from safetensors.numpy import save_file

HERE = Path(__file__).parent


def network():
    """Of each kind of layer one: channels last, then steps of a sequence."""
    x = images = keras.Input((6, 5, 2))
    x = layers.Conv2D(4, 3, padding="same", name="conv")(x)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.ReLU()(x)
    x = layers.DepthwiseConv2D((3, 2), depth_multiplier=2, name="dw")(x)
    x = layers.Conv2DTranspose(3, 2, name="up")(x)
    x = layers.Reshape((5, 15))(x)
    x = layers.LSTM(5, return_sequences=True, name="lstm")(x)
    x = layers.GRU(4, return_sequences=True, name="gru")(x)
    x = layers.Bidirectional(layers.SimpleRNN(3, return_sequences=True), name="both")(x)
    x = layers.LayerNormalization(epsilon=1e-5, name="ln")(x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(images, layers.Dense(2, name="fc")(x))


def turned(layer):
    """A layer's parameters as those of torch.nn."""
    w = layer.get_weights()
    if layer.name == "conv":
        return {"weight": w[0].transpose(3, 2, 0, 1), "bias": w[1]}
    if layer.name == "dw":
        h, width, c, m = w[0].shape
        return {"weight": w[0].transpose(2, 3, 0, 1).reshape(c * m, 1, h, width), "bias": w[1]}
    if layer.name == "up":
        return {"weight": w[0].transpose(3, 2, 0, 1), "bias": w[1]}
    if layer.name == "bn":
        return dict(zip(("weight", "bias", "running_mean", "running_var"), w))
    if layer.name == "ln":
        return {"weight": w[0], "bias": w[1]}
    if layer.name == "fc":
        return {"weight": w[0].T, "bias": w[1]}
    if layer.name == "lstm":
        return recurrent(w, "_l0")
    if layer.name == "both":
        return recurrent(w[:3], "_l0") | recurrent(w[3:], "_l0_reverse")
    if layer.name == "gru":
        def ordered(x):
            z, r, n = np.split(x, 3)
            return np.concatenate([r, z, n])
        return {"weight_ih_l0": ordered(w[0].T), "weight_hh_l0": ordered(w[1].T),
                "bias_ih_l0": ordered(w[2][0]), "bias_hh_l0": ordered(w[2][1])}
    return {}


def recurrent(w, suffix):
    tensors = {"weight_ih": w[0].T, "weight_hh": w[1].T, "bias_ih": w[2], "bias_hh": np.zeros_like(w[2])}
    return {name + suffix: x for name, x in tensors.items()}


def main():
    keras.utils.set_random_seed(0)
    model = network()
    rng = np.random.default_rng(0)
    for layer in model.layers:
        layer.set_weights([w + rng.uniform(0.0, 0.3, w.shape).astype("f4") for w in layer.get_weights()])
    folder = HERE / "keras"
    folder.mkdir(exist_ok=True)
    model.save(folder / "network.h5")
    model.save_weights(folder / "network.weights.h5")
    tensors = {f"{layer.name}.{name}": np.ascontiguousarray(x) for layer in model.layers for name, x in turned(layer).items()}
    images = rng.normal(size=(3, 6, 5, 2)).astype("f4")
    # Keras 3's own format is an archive with such a file; a small one will do.
    dense = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="small")])
    dense.save(folder / "dense.keras")
    tensors |= {f"small.{name}": np.ascontiguousarray(x) for name, x in zip(("weight", "bias"), (dense.get_weights()[0].T, dense.get_weights()[1]))}
    tensors |= {"images": images, "output": np.asarray(model.predict(images, verbose=0))}
    save_file(tensors, HERE / "keras.safetensors", {"about": json.dumps({"keras": keras.__version__})})
    print(sorted((name, x.shape) for name, x in tensors.items()))


if __name__ == "__main__":
    main()
