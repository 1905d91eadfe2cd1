/* Machines that lack something. What is expected is the argument. */
#include "support.h"

int main(int argc, char **argv) {
    CHECK(argc == 2);
    const char *lacking = argv[1];
    int32_t devices = -1;
    void *block;
    if (strcmp(lacking, "driver") == 0) {
        REFUSED(vmem_open(0, NULL), VMEM_ERROR_NO_DRIVER, "libcuda.so.1");
        REFUSED(vmem_device_count(&devices), VMEM_ERROR_NO_DRIVER, "libcuda.so.1");
        REFUSED(vmem_allocate(1, 0, 0, NULL, NULL, &block), VMEM_ERROR_NOT_OPEN, "");
    } else if (strcmp(lacking, "device") == 0) {
        OK(vmem_device_count(&devices));
        CHECK(devices == 0);
        REFUSED(vmem_open(0, NULL), VMEM_ERROR_NO_DEVICE, "no CUDA device");
    } else if (strcmp(lacking, "version") == 0) {
        REFUSED(vmem_open(0, NULL), VMEM_ERROR_DRIVER_TOO_OLD, "11.4");
    } else if (strcmp(lacking, "numbers") == 0) {
        enter(0);
        open_with("");
        vmem_stream stream = new_stream();
        REFUSED(vmem_allocate(100, 0, 0, stream, NULL, &block), VMEM_ERROR_DRIVER_TOO_OLD, "vmem_hold_stream");
        OK(vmem_free(allocate(100, VMEM_STREAM_LEGACY), VMEM_STREAM_LEGACY));
        OK(vmem_free(allocate(100, VMEM_STREAM_PER_THREAD), VMEM_STREAM_PER_THREAD));
        /* A free that vouches does what it can without. */
        block = allocate(100, VMEM_STREAM_LEGACY);
        OK(vmem_free_vouched(block, stream));
        REFUSED(vmem_free(block, stream), VMEM_ERROR_NOT_A_BLOCK, "");
        /* A use on a stream that cannot be told from others is waited for with the device. */
        block = allocate(MIB, VMEM_STREAM_LEGACY);
        fill(block, MIB, stream);
        REFUSED(vmem_record_use(block, stream), VMEM_ERROR_DRIVER_TOO_OLD, "vmem_hold_stream");
        OK(vmem_free(block, VMEM_STREAM_LEGACY));
        void *next = allocate(MIB, VMEM_STREAM_LEGACY);
        CHECK(next != block);
        OK(vmem_free(next, VMEM_STREAM_LEGACY));
        OK(vmem_hold_stream(0, stream));
        OK(vmem_free(allocate(100, stream), stream));
        OK(vmem_forget_stream(0, stream));
        destroy(stream);
        OK(vmem_close(0));
    } else {
        CHECK(0);
    }
    return 0;
}
