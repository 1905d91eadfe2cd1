// Throws PyTorch's own error where memory is exhausted: compiled at the user's, against the PyTorch that is there
// (_torch_companion.py). vmem, in Rust, has always returned before anything is thrown.

#include <c10/util/Exception.h>

#include <cstddef>
#include <cstdint>

namespace {

using TryAllocate =
    const char *(std::size_t size, int device, void *stream, void **ptr, int *is_exhausted);
TryAllocate *try_allocate = nullptr;

}  // namespace

extern "C" void vmem_gpu_torch_companion_bind(TryAllocate *function) { try_allocate = function; }

extern "C" void *vmem_gpu_torch_companion_allocate(std::size_t size, int device, void *stream) {
    void *ptr = nullptr;
    int is_exhausted = 0;
    const char *refusal = try_allocate(size, device, stream, &ptr, &is_exhausted);
    if (refusal == nullptr) {
        return ptr;
    }
    const c10::SourceLocation here = {__func__, __FILE__, static_cast<std::uint32_t>(__LINE__)};
    if (is_exhausted != 0) {
        throw c10::OutOfMemoryError(here, refusal);
    }
    throw c10::Error(here, refusal);
}
