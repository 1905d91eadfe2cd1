/* Two copies of the library in one process: the second that opens a device is refused, with both paths. */
#include "support.h"

typedef vmem_status open_function(int32_t, const vmem_options *);
typedef vmem_status close_function(int32_t);
typedef const char *text_function(void);

static void *look_up(void *library, const char *name) {
    void *found = dlsym(library, name);
    CHECK(found != NULL);
    return found;
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    CHECK(library != NULL);
    union { void *data; open_function *call; } open = {look_up(library, "vmem_open")};
    union { void *data; close_function *call; } close = {look_up(library, "vmem_close")};
    union { void *data; text_function *call; } error = {look_up(library, "vmem_last_error")};
    CHECK(vmem_open != open.call);

    OK(vmem_open(0, NULL));
    CHECK(open.call(0, NULL) == VMEM_ERROR_OTHER_COPY);
    CHECK(strstr(error.call(), argv[1]) != NULL && strstr(error.call(), argv[2]) != NULL);
    /* Another device is free. */
    CHECK(open.call(1, NULL) == VMEM_OK);
    REFUSED(vmem_open(1, NULL), VMEM_ERROR_OTHER_COPY, argv[1]);
    CHECK(strstr(vmem_last_error(), argv[2]) != NULL);
    CHECK(close.call(1) == VMEM_OK);
    OK(vmem_open(1, NULL));
    OK(vmem_close(1));
    /* One that is closed is the first one's while blocks of it are out. */
    void *block = allocate(100, NULL);
    OK(vmem_close(0));
    CHECK(open.call(0, NULL) == VMEM_ERROR_OTHER_COPY);
    OK(vmem_open(0, NULL));
    OK(vmem_free(block, NULL));
    CHECK(open.call(0, NULL) == VMEM_ERROR_OTHER_COPY);
    OK(vmem_close(0));
    CHECK(open.call(0, NULL) == VMEM_OK);
    CHECK(close.call(0) == VMEM_OK);
    return 0;
}
