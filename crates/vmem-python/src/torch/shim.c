/* What PyTorch calls that throws. It is C, so that the package builds without a C++ compiler and loads without
 * libstdc++; what it needs of C++ is stable: the Itanium ABI, and the size of std::runtime_error. Rust has always
 * returned before anything is thrown. */

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* In Rust. Both return a text, which lives until the thread's next call, or null: it was done. */
const char *vmem_gpu_torch_try_allocate(size_t size, int device, void *stream, void **ptr, int *is_exhausted);
const char *vmem_gpu_torch_try_set_fraction(double fraction, int device);

static struct {
    void *(*allocate_exception)(size_t size);
    void (*construct)(void *error, const char *text);
    void (*destroy)(void *error);
    void (*raise)(void *error, void *type, void (*destroy)(void *error));
    void *type;
} cxx;

/* sizeof(std::runtime_error): a table of functions and a pointer to the text. */
enum { RUNTIME_ERROR_SIZE = 2 * sizeof(void *) };

/* Finds what throwing takes in the libstdc++ of the process. Returns what is lacking, or null. */
const char *vmem_gpu_torch_prepare(void) {
    void *library = dlopen("libstdc++.so.6", RTLD_NOW);
    if (library == NULL) {
        return "libstdc++.so.6";
    }
    struct {
        const char *name;
        void *place;
    } wanted[] = {
        {"__cxa_allocate_exception", &cxx.allocate_exception},
        {"_ZNSt13runtime_errorC1EPKc", &cxx.construct},
        {"_ZNSt13runtime_errorD1Ev", &cxx.destroy},
        {"__cxa_throw", &cxx.raise},
        {"_ZTISt13runtime_error", &cxx.type},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        void *found = dlsym(library, wanted[i].name);
        if (found == NULL) {
            return wanted[i].name;
        }
        memcpy(wanted[i].place, &found, sizeof found);
    }
    return NULL;
}

static void throw_text(const char *text) {
    void *error = cxx.allocate_exception(RUNTIME_ERROR_SIZE);
    cxx.construct(error, text);
    cxx.raise(error, cxx.type, cxx.destroy);
}

/* void *(size_t, int, cudaStream_t): never null but for 0 bytes; throws std::runtime_error. */
void *vmem_gpu_torch_allocate(size_t size, int device, void *stream) {
    void *ptr = NULL;
    int is_exhausted = 0;
    const char *refusal = vmem_gpu_torch_try_allocate(size, device, stream, &ptr, &is_exhausted);
    if (refusal != NULL) {
        throw_text(refusal);
    }
    return ptr;
}

/* void(double, int): throws std::runtime_error. */
void vmem_gpu_torch_set_fraction(double fraction, int device) {
    const char *refusal = vmem_gpu_torch_try_set_fraction(fraction, device);
    if (refusal != NULL) {
        throw_text(refusal);
    }
}
