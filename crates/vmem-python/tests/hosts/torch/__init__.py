"""As much of PyTorch as the adaptor touches, with the signatures and rules of PyTorch 2.6 and later
(``torch/cuda/memory.py``)."""

from . import cuda

__all__ = ["cuda"]
