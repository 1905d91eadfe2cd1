// PyTorch's pluggable allocator as it calls what it was given, with the signatures and rules of PyTorch 2.11
// (torch/csrc/cuda/CUDAPluggableAllocator.cpp), and what PyTorch makes of errors. For ctypes.

#include <c10/util/Exception.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

namespace {

using Stream = void *;
using MempoolId = std::pair<unsigned long long, unsigned long long>;
using Filter = std::function<bool(Stream)>;

struct Allocator {
    std::function<void *(std::size_t, int, Stream)> allocate;
    std::function<void(void *, std::size_t, int, Stream)> free;
    std::function<void(int)> init;
    std::function<void()> reset;
    std::function<void(double, int)> memory_fraction;
    std::function<void *(void *, std::size_t *)> base_alloc;
    std::function<void(void *, Stream)> record_stream;
    std::function<void(int, MempoolId, Filter)> begin_pool;
    std::function<void(int, MempoolId)> end_pool;
    std::function<void(int, MempoolId)> release_pool;
};

thread_local std::string text;

// 0, or the kind of the error: 1 for RuntimeError, 2 for OutOfMemoryError.
template <typename Call>
int caught(Call call) {
    try {
        call();
        return 0;
    } catch (const c10::OutOfMemoryError &error) {
        text = error.what();
        return 2;
    } catch (const c10::Error &error) {
        text = error.what();
        return 1;
    } catch (const std::exception &error) {
        text = error.what();
        return 1;
    }
}

template <typename Function>
void set(std::function<Function> &hook, std::uint64_t address) {
    hook = reinterpret_cast<Function *>(address);
}

// What a callback saw.
int lock_was_held = -1;

}  // namespace

extern "C" {

Allocator *torch_create(std::uint64_t allocate, std::uint64_t free) {
    auto *made = new Allocator;
    // PyTorch's own types are signed here, and its calls are not.
    made->allocate = reinterpret_cast<void *(*)(std::ptrdiff_t, int, Stream)>(allocate);
    made->free = reinterpret_cast<void (*)(void *, std::ptrdiff_t, int, Stream)>(free);
    return made;
}

int torch_set(Allocator *self, const char *setter, std::uint64_t address) {
    const std::string name = setter;
    if (name == "set_init_fn") set(self->init, address);
    else if (name == "set_reset_fn") set(self->reset, address);
    else if (name == "set_memory_fraction_fn") set(self->memory_fraction, address);
    else if (name == "set_base_alloc_fn") set(self->base_alloc, address);
    else if (name == "set_record_stream_fn") set(self->record_stream, address);
    else if (name == "set_begin_allocate_to_pool") set(self->begin_pool, address);
    else if (name == "set_end_allocate_to_pool_fn") set(self->end_pool, address);
    else if (name == "set_release_pool") set(self->release_pool, address);
    else return 1;
    return 0;
}

const char *torch_what() { return text.c_str(); }

int torch_malloc(Allocator *self, std::size_t size, int device, Stream stream, void **ptr) {
    return caught([&] { *ptr = self->allocate(size, device, stream); });
}
int torch_free(Allocator *self, void *ptr, std::size_t size, int device, Stream stream) {
    return caught([&] { self->free(ptr, size, device, stream); });
}
int torch_init(Allocator *self, int devices) {
    return caught([&] { self->init(devices); });
}
int torch_empty_cache(Allocator *self) {
    return caught([&] { self->reset(); });
}
int torch_set_memory_fraction(Allocator *self, double fraction, int device) {
    return caught([&] { self->memory_fraction(fraction, device); });
}
void *torch_base_alloc(Allocator *self, void *ptr, std::size_t *size) { return self->base_alloc(ptr, size); }
int torch_record_stream(Allocator *self, void *ptr, Stream stream) {
    return caught([&] { self->record_stream(ptr, stream); });
}

// PyTorch's filter throws where the driver fails, and is over with the capture.
int torch_begin_pool(Allocator *self, int device, std::uint64_t id) {
    return caught([&] {
        self->begin_pool(device, {0, id}, [id](Stream) -> bool { throw std::runtime_error(std::to_string(id)); });
    });
}
int torch_end_pool(Allocator *self, int device, std::uint64_t id) {
    return caught([&] { self->end_pool(device, {0, id}); });
}
int torch_release_pool(Allocator *self, int device, std::uint64_t id) {
    return caught([&] { self->release_pool(device, {0, id}); });
}

// A pressure callback that frees nothing, and looks whether the thread has the interpreter's lock.
std::uint64_t torch_look_at_lock(void *holds_lock, std::int32_t, std::uint64_t) {
    lock_was_held = reinterpret_cast<int (*)()>(holds_lock)();
    return 0;
}
int torch_lock_was_held() { return lock_was_held; }

}  // extern "C"
