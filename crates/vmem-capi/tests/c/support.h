/* What the programs of these tests share: checks, and the driver's own functions. */
#ifndef SUPPORT_H
#define SUPPORT_H

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vmem.h>

#define MIB ((uint64_t)1 << 20)

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n  last error: %s\n", __FILE__, __LINE__, #condition,       \
                    vmem_last_error());                                                            \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define OK(call) CHECK((call) == VMEM_OK)

/* The call answers this status, and the text says this. */
#define REFUSED(call, status, text)                                                                \
    do {                                                                                           \
        CHECK((call) == (status));                                                                 \
        CHECK(strstr(vmem_last_error(), (text)) != NULL);                                          \
        CHECK(strstr(vmem_last_error_json(), #status) != NULL);                                    \
    } while (0)

/* A function of the driver, by its name in the library. */
static inline void *driver_function(const char *name) {
    static void *driver;
    if (driver == NULL)
        driver = dlopen("libcuda.so.1", RTLD_NOW);
    CHECK(driver != NULL);
    void *function = dlsym(driver, name);
    CHECK(function != NULL);
    return function;
}

/* Calls a function of the driver, which must succeed. POSIX has data pointers to functions convert. */
#define CU(name, types, ...)                                                                       \
    do {                                                                                           \
        union {                                                                                    \
            void *data;                                                                            \
            unsigned(*function) types;                                                             \
        } called = {driver_function(#name)};                                                       \
        CHECK(called.function(__VA_ARGS__) == 0);                                                  \
    } while (0)

static inline const char *control(const char *command) {
    static char answer[1 << 16];
    union {
        void *data;
        int (*function)(const char *, char *, size_t);
    } called = {driver_function("vmemSimDriverControl")};
    CHECK(called.function(command, answer, sizeof answer) == 0);
    return answer;
}

/* How often the driver's function was called. */
static inline long calls_of(const char *function) {
    const char *line = control("calls");
    size_t length = strlen(function);
    while (line != NULL && *line != 0) {
        if (strncmp(line, function, length) == 0 && line[length] == ' ')
            return atol(line + length);
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    return 0;
}

/* Makes a device's primary context current on this thread, as the runtime of CUDA does. */
static inline void enter(int device) {
    void *context;
    CU(cuInit, (unsigned), 0);
    CU(cuDevicePrimaryCtxRetain, (void **, int), &context, device);
    CU(cuCtxSetCurrent, (void *), context);
}

static inline vmem_stream new_stream(void) {
    vmem_stream stream;
    CU(cuStreamCreate, (void **, unsigned), &stream, 1);
    return stream;
}

static inline void destroy(vmem_stream stream) { CU(cuStreamDestroy_v2, (void *), stream); }

/* Queues work on a block. */
static inline void fill(void *block, size_t bytes, vmem_stream stream) {
    CU(cuMemsetD8Async, (void *, unsigned char, size_t, void *), block, 7, bytes, stream);
}

/* Opens device 0 with these settings. */
static inline void open_with(const char *config) {
    vmem_options options = {.struct_size = sizeof options, .config = config};
    OK(vmem_open(0, &options));
}

static inline void *allocate(uint64_t size, vmem_stream stream) {
    void *block;
    OK(vmem_allocate(size, 0, 0, stream, NULL, &block));
    CHECK(block != NULL);
    return block;
}

/* No rule of the driver was broken. */
static inline void check_rules(void) { CHECK(strcmp(control("violations"), "") == 0 || (fputs(control("violations"), stderr), 0)); }

#endif
