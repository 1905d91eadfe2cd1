/* What may still be done about a device that was closed while blocks of it were out. */
#include "support.h"

static const char CONFIG[] = "VMEM_MEMORY_RESERVE_BYTES=0";

/* Memory of the device that the library has. */
static long held_memory(void) { return calls_of("cuMemCreate") - calls_of("cuMemRelease"); }

/* Nothing is left of it: its streams are nobody's, and its memory went back. */
static void check_ended(long before) {
    REFUSED(vmem_synchronize(0), VMEM_ERROR_NOT_OPEN, "device 0");
    CHECK(held_memory() == before);
    check_rules();
}

/* A stream that was held is forgotten and destroyed, and a block of it freed after that. */
static void a_held_stream_can_be_forgotten_after_the_device_was_closed(int is_opened_again) {
    long before = held_memory();
    open_with(CONFIG);
    vmem_stream held = new_stream();
    OK(vmem_hold_stream(0, held));
    void *block = allocate(MIB, held), *late = allocate(MIB, held);
    fill(block, MIB, held);
    OK(vmem_close(0));
    if (is_opened_again)
        open_with(CONFIG);
    OK(vmem_free(block, held));
    OK(vmem_forget_stream(0, held));
    destroy(held);
    OK(vmem_free(late, held));
    if (is_opened_again)
        OK(vmem_close(0));
    OK(vmem_synchronize(0));
    check_ended(before);
}

/* A block of a stream that nobody can name goes back once the stream is forgotten, or the device waited for. */
static void what_is_freed_after_the_close_goes_back(int is_forgotten) {
    long before = held_memory();
    open_with(CONFIG);
    vmem_stream stream = new_stream();
    void *block = allocate(10 * MIB, stream);
    fill(block, 10 * MIB, stream);
    OK(vmem_close(0));
    OK(vmem_free(block, stream));
    CHECK(held_memory() > before);
    if (is_forgotten)
        OK(vmem_forget_stream(0, stream));
    destroy(stream);
    if (!is_forgotten)
        OK(vmem_synchronize(0));
    check_ended(before);
}

/* How often anything was waited for on the host. */
static long waits(void) {
    return calls_of("cuEventSynchronize") + calls_of("cuStreamSynchronize") + calls_of("cuCtxSynchronize");
}

/* No free waits, not the last one either: what work is pending on then goes back with a call that may wait. */
static void the_last_free_of_a_closed_device_does_not_wait(int is_opened_again) {
    long before = held_memory();
    open_with(CONFIG);
    vmem_stream stream = new_stream(), held = new_stream();
    OK(vmem_hold_stream(0, held));
    void *block = allocate(10 * MIB, VMEM_STREAM_LEGACY);
    void *other = allocate(10 * MIB, stream), *mine = allocate(10 * MIB, held), *program;
    OK(vmem_close(0));
    CU(cuMemAlloc_v2, (void **, size_t), &program, 64 * MIB);
    fill(other, 10 * MIB, stream);
    fill(mine, 10 * MIB, held);
    /* Work of the program's own, behind which the stream's last marker comes. */
    fill(program, 64 * MIB, held);
    long waited = waits();
    OK(vmem_free(block, VMEM_STREAM_LEGACY));
    OK(vmem_free(mine, held));
    OK(vmem_free_vouched(other, stream));
    if (is_opened_again)
        open_with(CONFIG);
    CHECK(waits() == waited);
    if (is_opened_again) {
        OK(vmem_close(0));
    } else {
        vmem_status status = vmem_synchronize(0);
        CHECK(status == VMEM_OK || status == VMEM_ERROR_NOT_OPEN);
    }
    check_ended(before);
    CU(cuMemFree_v2, (void *), program);
    destroy(stream);
    destroy(held);
}

/* Nor does the last free of a block that rests on the host, with work pending on it there. */
static void the_last_free_of_what_rests_on_the_host_does_not_wait(void) {
    long before = held_memory();
    open_with(CONFIG);
    vmem_stream held = new_stream();
    OK(vmem_hold_stream(0, held));
    void *block = allocate(10 * MIB, held), *program;
    OK(vmem_sleep(0, NULL, 0, NULL));
    OK(vmem_close(0));
    CU(cuMemAlloc_v2, (void **, size_t), &program, 64 * MIB);
    fill(block, 10 * MIB, held);
    fill(program, 64 * MIB, held);
    long waited = waits();
    OK(vmem_free(block, held));
    CHECK(waits() == waited);
    vmem_status status = vmem_synchronize(0);
    CHECK(status == VMEM_OK || status == VMEM_ERROR_NOT_OPEN);
    check_ended(before);
    CU(cuMemFree_v2, (void *), program);
    destroy(held);
}

/* A device ends with its last block where the driver says at once that nothing is pending, as it often does. */
static void the_last_free_ends_a_closed_device_that_is_idle(void) {
    long before = held_memory();
    for (int ended = 0, tries = 0; !ended; tries++) {
        CHECK(tries < 1000);
        open_with(CONFIG);
        void *block = allocate(10 * MIB, VMEM_STREAM_LEGACY);
        OK(vmem_close(0));
        CHECK(held_memory() > before);
        OK(vmem_free(block, VMEM_STREAM_LEGACY));
        ended = held_memory() == before;
        if (!ended)
            OK(vmem_synchronize(0));
    }
    check_ended(before);
}

int main(void) {
    enter(0);
    a_held_stream_can_be_forgotten_after_the_device_was_closed(0);
    a_held_stream_can_be_forgotten_after_the_device_was_closed(1);
    what_is_freed_after_the_close_goes_back(1);
    what_is_freed_after_the_close_goes_back(0);
    for (int is_opened_again = 0; is_opened_again < 2; is_opened_again++)
        for (int i = 0; i < 20; i++)
            the_last_free_of_a_closed_device_does_not_wait(is_opened_again);
    for (int i = 0; i < 20; i++)
        the_last_free_of_what_rests_on_the_host_does_not_wait();
    the_last_free_ends_a_closed_device_that_is_idle();
    return 0;
}
