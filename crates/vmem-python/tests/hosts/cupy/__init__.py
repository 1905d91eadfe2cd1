"""As much of CuPy as the adaptor touches, with the signatures and rules of CuPy 14.2 (``cupy/cuda/memory.pyx``,
``cupy/cuda/stream.pyx``)."""

from . import cuda

__all__ = ["cuda"]
