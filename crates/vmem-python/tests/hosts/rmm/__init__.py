"""As much of RMM as the adaptor touches, with the signatures and rules of RMM 26.10 (``rmm/rmm.py``,
``rmm/pylibrmm/memory_resource/_memory_resource.pyx``)."""

from . import mr
from .rmm import register_reinitialize_hook, reinitialize

__all__ = ["mr", "register_reinitialize_hook", "reinitialize"]
