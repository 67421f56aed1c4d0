//! Layers with the parameter names, defaults and numbers of PyTorch.
