/* Every call of the driver that a use of the library makes fails in turn. */
#include "support.h"

enum { BLOCKS = 6 };

static const int CODES[] = {2, 999, 9999};

struct use {
    vmem_stream home, other, dying;
    void *blocks[BLOCKS];
    vmem_stream freed_on[BLOCKS];
    int failures;
};

/* A status is one of these, and has a text. Returns whether it was done. */
static int note(struct use *use, vmem_status status) {
    if (status == VMEM_OK)
        return 1;
    CHECK(status == VMEM_ERROR_OUT_OF_MEMORY || status == VMEM_ERROR_DRIVER || status == VMEM_ERROR_LIMIT);
    CHECK(strlen(vmem_last_error()) > 20 && vmem_last_error_json()[0] == '{');
    use->failures++;
    return 0;
}

/* The program's own work, which may fail too. */
static void touch(void *block, vmem_stream stream) {
    union {
        void *data;
        unsigned (*function)(void *, unsigned char, size_t, void *);
    } set = {driver_function("cuMemsetD8Async")};
    set.function(block, 1, 256, stream);
}

static void give_back(struct use *use, int i) {
    if (use->blocks[i] != NULL && note(use, vmem_free(use->blocks[i], use->freed_on[i])))
        use->blocks[i] = NULL;
}

static void use_it(struct use *use, const char *config) {
    vmem_options options = {.struct_size = sizeof options, .config = config};
    vmem_stats stats = {.struct_size = sizeof stats};
    if (!note(use, vmem_open(0, &options)))
        return;
    note(use, vmem_hold_stream(0, use->other));
    vmem_stream streams[BLOCKS] = {use->home,          use->other, use->dying, VMEM_STREAM_PER_THREAD,
                                   VMEM_STREAM_LEGACY, use->home};
    uint64_t sizes[BLOCKS] = {3 * MIB, 5000, 2 * MIB, 700, MIB, 300};
    for (int i = 0; i < BLOCKS; i++) {
        use->freed_on[i] = streams[i];
        if (note(use, vmem_allocate(sizes[i], 0, 0, streams[i], "sweep", &use->blocks[i])))
            touch(use->blocks[i], streams[i]);
        else
            CHECK(use->blocks[i] == NULL);
    }
    if (use->blocks[0] != NULL)
        note(use, vmem_record_use(use->blocks[0], use->other));
    if (use->blocks[2] != NULL)
        note(use, vmem_use_until_free(use->blocks[2], use->other));
    for (int i = 0; i < BLOCKS - 1; i++)
        give_back(use, i);
    note(use, vmem_forget_stream(0, use->dying));
    /* What one stream freed serves another. */
    void *again;
    if (note(use, vmem_allocate(2 * MIB, 0, 0, use->other, NULL, &again))) {
        touch(again, use->other);
        if (!note(use, vmem_free_vouched(again, use->other)))
            OK(vmem_free(again, use->other));
    }
    note(use, vmem_trim(0, NULL));
    note(use, vmem_synchronize(0));
    note(use, vmem_wait_and_trim(0, NULL));
    OK(vmem_get_stats(0, &stats));
    note(use, vmem_forget_stream(0, use->other));
    note(use, vmem_close(0));
    /* The last one after the device was closed. */
    give_back(use, BLOCKS - 1);
}

/* One use in which the nth call fails. Returns whether there were so many. */
static int strike(int nth, int code, const char *config) {
    struct use use = {.home = new_stream(), .other = new_stream(), .dying = new_stream()};
    char order[64];
    snprintf(order, sizeof order, "fail %d %d", nth, code);
    control(order);
    use_it(&use, config);
    int struck = control("fired")[0] != 0;
    char failed[100];
    snprintf(failed, sizeof failed, "call %d, %s", nth, control("failed"));
    control("clear");
    /* A fault of the program's own call is nobody's failure here. */
    CHECK(struck || use.failures == 0);
    for (int i = 0; i < BLOCKS; i++) {
        if (use.blocks[i] != NULL)
            OK(vmem_free(use.blocks[i], use.freed_on[i]));
    }
    destroy(use.home);
    destroy(use.other);
    destroy(use.dying);
    if (control("violations")[0] != 0) {
        fprintf(stderr, "%s: %s", failed, control("violations"));
        abort();
    }
    return struck;
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    char config[200];
    snprintf(config, sizeof config, "VMEM_MEMORY_RESERVE_BYTES=0 %s", argv[1]);
    enter(0);
    int calls = 0;
    for (int i = 0; i < 3; i++) {
        int nth = 1;
        while (strike(nth, CODES[i], config)) {
            nth++;
            /* All works afterwards. */
            if (nth % 10 == 0)
                CHECK(!strike(1 << 20, 2, config));
        }
        CHECK(nth > 30);
        calls += nth;
    }
    printf("%d calls\n", calls);
    check_rules();
    return 0;
}
