/* Streams that nobody holds share memory, as far as their callers vouch for them. */
#include "support.h"

static const char TIGHT[] = "VMEM_POOL_LIMIT=64M VMEM_MEMORY_RESERVE_BYTES=0";

static void end(vmem_stream *streams, int count) {
    for (int i = 0; i < count; i++) {
        OK(vmem_forget_stream(0, streams[i]));
        destroy(streams[i]);
    }
    OK(vmem_close(0));
    check_rules();
}

/* What one freed in calls that vouch serves the other, be it large or small, without a refusal before. */
static void what_a_live_stream_freed_serves_another(uint64_t size) {
    open_with(TIGHT);
    vmem_stream streams[] = {new_stream(), new_stream()};
    /* There are two. */
    OK(vmem_free_vouched(allocate(100, streams[1]), streams[1]));
    for (int i = 0; i < 100; i++) {
        void *block = allocate(size, streams[0]);
        fill(block, size, streams[0]);
        OK(vmem_free_vouched(block, streams[0]));
    }
    void *block = allocate(64 * MIB, streams[1]);
    fill(block, 64 * MIB, streams[1]);
    OK(vmem_free_vouched(block, streams[1]));
    end(streams, 2);
}

/* Many blocks of many sizes on a few streams, all freed by callers who vouch: the whole is anybody's. */
static void nothing_is_out_of_reach_of_streams_that_vouch(void) {
    enum { STREAMS = 4, BLOCKS = 40, ROUNDS = 20 };
    open_with(TIGHT);
    vmem_stream streams[STREAMS];
    void *blocks[BLOCKS];
    unsigned seed = 7;
    for (int i = 0; i < STREAMS; i++)
        streams[i] = new_stream();
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < BLOCKS; i++) {
            seed = seed * 1103515245u + 12345u;
            uint64_t size = (uint64_t)1 << (seed >> 16) % 21;
            blocks[i] = allocate(size, streams[i % STREAMS]);
            fill(blocks[i], size, streams[i % STREAMS]);
        }
        for (int i = 0; i < BLOCKS; i++)
            OK(vmem_free_vouched(blocks[i], streams[i % STREAMS]));
        vmem_stream next = streams[round % STREAMS];
        void *all = allocate(64 * MIB, next);
        fill(all, 64 * MIB, next);
        OK(vmem_free_vouched(all, next));
    }
    end(streams, STREAMS);
}

/* Of frees that do not vouch a full batch is marked by the next call that does. */
static void a_batch_of_frees_that_do_not_vouch_serves_others(void) {
    open_with(TIGHT);
    vmem_stream streams[] = {new_stream(), new_stream()};
    OK(vmem_free(allocate(100, streams[1]), streams[1]));
    void *block = allocate(40 * MIB, streams[0]);
    fill(block, 40 * MIB, streams[0]);
    OK(vmem_free(block, streams[0]));
    void *small = allocate(100, streams[0]);
    block = allocate(60 * MIB, streams[1]);
    fill(block, 60 * MIB, streams[1]);
    OK(vmem_free(block, streams[1]));
    OK(vmem_free(small, streams[0]));
    end(streams, 2);
}

/* The uses of one stream are one, however often they are recorded. */
static void of_many_uses_of_a_stream_the_latest_is_waited_for(void) {
    open_with(TIGHT);
    vmem_stream streams[] = {new_stream(), new_stream(), new_stream()};
    void *event, *block = allocate(MIB, streams[0]);
    CU(cuEventCreate, (void **, unsigned), &event, 2);
    fill(block, MIB, streams[0]);
    for (int user = 1; user < 3; user++) {
        CU(cuEventRecord, (void *, void *), event, streams[user - 1]);
        CU(cuStreamWaitEvent, (void *, void *, unsigned), streams[user], event, 0);
        for (int i = 0; i < 7; i++) {
            fill(block, MIB, streams[user]);
            OK(vmem_record_use(block, streams[user]));
        }
    }
    long waits = calls_of("cuStreamWaitEvent");
    OK(vmem_free(block, streams[0]));
    CHECK(allocate(MIB, streams[0]) == block);
    CHECK(calls_of("cuStreamWaitEvent") - waits <= 2);
    fill(block, MIB, streams[0]);
    OK(vmem_free(block, streams[0]));
    CU(cuEventDestroy_v2, (void *), event);
    end(streams, 3);
}

/* Managed memory that was set aside goes once its stream was forgotten and its work is over. */
static void what_managed_memory_set_aside_goes_once_its_stream_was_forgotten(int waits) {
    open_with("VMEM_MANAGED_MEMORY=1");
    vmem_stats stats = {.struct_size = sizeof stats};
    uint64_t returned = 0;
    vmem_stream stream = new_stream();
    void *block = allocate(8 * MIB, stream);
    fill(block, 8 * MIB, stream);
    OK(vmem_free(block, stream));
    OK(vmem_wait_and_trim(0, &returned));
    OK(vmem_get_stats(0, &stats));
    CHECK(returned == 0 && stats.quarantined == 8 * MIB);
    OK(vmem_forget_stream(0, stream));
    destroy(stream);
    long device_waits = calls_of("cuCtxSynchronize");
    if (waits) {
        OK(vmem_wait_and_trim(0, &returned));
    } else {
        /* Once the work is over. */
        while (returned == 0)
            OK(vmem_trim(0, &returned));
    }
    OK(vmem_get_stats(0, &stats));
    CHECK(returned == 8 * MIB && stats.quarantined == 0);
    CHECK(calls_of("cuCtxSynchronize") == device_waits);
    OK(vmem_close(0));
    check_rules();
}

int main(void) {
    enter(0);
    what_a_live_stream_freed_serves_another(40 * MIB);
    what_a_live_stream_freed_serves_another(3 * MIB);
    what_a_live_stream_freed_serves_another(100);
    nothing_is_out_of_reach_of_streams_that_vouch();
    a_batch_of_frees_that_do_not_vouch_serves_others();
    of_many_uses_of_a_stream_the_latest_is_waited_for();
    what_managed_memory_set_aside_goes_once_its_stream_was_forgotten(1);
    what_managed_memory_set_aside_goes_once_its_stream_was_forgotten(0);
    return 0;
}
