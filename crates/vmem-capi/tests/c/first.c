#include <stdio.h>
#include <vmem.h>

/* Says what went wrong, and returns whether something did. */
static int failed(vmem_status status) {
    if (status != VMEM_OK)
        fprintf(stderr, "%s\n", vmem_last_error());
    return status != VMEM_OK;
}

int main(void) {
    vmem_options options = {.struct_size = sizeof options, .config = "VMEM_POOL_LIMIT=80%"};
    if (failed(vmem_open(0, &options)))
        return 1;

    void *column;
    if (failed(vmem_allocate(1 << 20, 0, 0, VMEM_STREAM_LEGACY, "column", &column)))
        return 1;
    /* Kernels and copies on the legacy default stream use the column here. */
    if (failed(vmem_free(column, VMEM_STREAM_LEGACY)))
        return 1;

    vmem_stats stats = {.struct_size = sizeof stats};
    if (failed(vmem_get_stats(0, &stats)))
        return 1;
    printf("%llu bytes at most\n", (unsigned long long)stats.peak_bytes);
    return failed(vmem_close(0));
}
