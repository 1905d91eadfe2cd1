"""As much of Numba as the adaptor touches, with the signatures and rules of numba-cuda 0.30.4
(``numba/cuda/cudadrv/driver.py``)."""
