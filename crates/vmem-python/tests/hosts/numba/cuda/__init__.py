from .cudadrv.driver import HostOnlyCUDAMemoryManager, MemoryPointer, set_memory_manager

__all__ = ["HostOnlyCUDAMemoryManager", "MemoryPointer", "set_memory_manager"]
