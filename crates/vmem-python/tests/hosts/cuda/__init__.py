"""As much of cuda.core as the adaptor touches, with the signatures and rules of cuda.core 1.2.2
(``cuda/core/_memory/_buffer.pyi``)."""
