/* Streams that are destroyed behind the library's back. The driver gives their handles out again at once, and
 * ends the process if a call names a dead one. */
#include "support.h"

static const char TIGHT[] = "VMEM_POOL_LIMIT=64M VMEM_MEMORY_RESERVE_BYTES=0";

/* A block freed on a dead stream serves nobody but that stream, which is never asked for again. */
static void a_dead_streams_memory_waits_for_the_device(void) {
    open_with(TIGHT);
    vmem_stream first = new_stream();
    void *block = allocate(32 * MIB, first);
    fill(block, 32 * MIB, first);
    destroy(first);
    OK(vmem_free(block, first));

    vmem_stream second = new_stream();
    CHECK(second == first);
    void *other;
    /* It is the same handle, but another stream: what the first one freed is not at hand. */
    void *next = allocate(32 * MIB, second);
    CHECK(next != block);
    fill(next, 32 * MIB, second);
    REFUSED(vmem_allocate(32 * MIB, 0, 0, second, NULL, &other), VMEM_ERROR_LIMIT, "limit");
    CHECK(other == NULL);
    CHECK(strstr(vmem_last_error_json(), "\"quarantined\"") != NULL);

    OK(vmem_synchronize(0));
    other = allocate(32 * MIB, second);
    fill(other, 32 * MIB, second);
    /* The block of the second stream, freed by the name that both had. */
    OK(vmem_free(next, second));
    CHECK(allocate(32 * MIB, second) == next);
    OK(vmem_free(next, second));
    OK(vmem_free(other, second));
    destroy(second);
    OK(vmem_close(0));
}

/* A host frees with the handle that it remembers, which another stream has by now. */
static void a_free_by_a_name_that_passed_on_does_not_serve_its_next_owner(void) {
    open_with(TIGHT);
    vmem_stream first = new_stream();
    void *block = allocate(MIB, first);
    fill(block, MIB, first);
    destroy(first);
    vmem_stream second = new_stream();
    CHECK(second == first);
    void *next = allocate(2 * MIB, second);
    OK(vmem_free(block, first));
    void *other = allocate(MIB, second);
    CHECK(other != block);
    fill(other, MIB, second);
    OK(vmem_free(other, second));
    OK(vmem_free(next, second));
    destroy(second);
    OK(vmem_close(0));
}

/* While a stream lives its own frees serve it again, and a driver call marks a batch of them at most. */
static void a_live_stream_reuses_what_it_freed_and_marks_batches(void) {
    open_with(TIGHT);
    vmem_stream stream = new_stream();
    void *block = allocate(MIB, stream);
    fill(block, MIB, stream);
    OK(vmem_free(block, stream));
    long events = calls_of("cuEventRecord");
    for (int i = 0; i < 100; i++) {
        CHECK(allocate(MIB, stream) == block);
        fill(block, MIB, stream);
        OK(vmem_free(block, stream));
    }
    CHECK(calls_of("cuEventRecord") - events <= 100 / 32);
    destroy(stream);
    OK(vmem_close(0));
}

/* After it was forgotten, others get what was freed on it, before and since. */
static void a_forgotten_stream_leaves_its_memory_to_others(void) {
    open_with(TIGHT);
    vmem_stream first = new_stream();
    void *before = allocate(32 * MIB, first);
    void *since = allocate(32 * MIB, first);
    fill(before, 32 * MIB, first);
    fill(since, 32 * MIB, first);
    OK(vmem_free(before, first));
    OK(vmem_forget_stream(0, first));
    destroy(first);
    vmem_stream second = new_stream();
    void *block = allocate(32 * MIB, second);
    CHECK(block == before);
    fill(block, 32 * MIB, second);
    OK(vmem_free(since, first));
    void *other = allocate(32 * MIB, second);
    CHECK(other == since);
    fill(other, 32 * MIB, second);
    OK(vmem_free(block, second));
    OK(vmem_free(other, second));
    /* Forgetting one that nobody ever named is nothing. */
    vmem_stream unknown = new_stream();
    OK(vmem_forget_stream(0, unknown));
    destroy(unknown);
    OK(vmem_forget_stream(0, second));
    destroy(second);
    OK(vmem_close(0));
}

/* A handle that names another stream by now: forgetting that one marks nothing of the first. */
static void forgetting_a_handles_next_owner_does_not_mark_the_one_before(void) {
    open_with(TIGHT);
    vmem_stream first = new_stream();
    void *block = allocate(64 * MIB, first);
    fill(block, 64 * MIB, first);
    OK(vmem_free(block, first));
    destroy(first);
    vmem_stream second = new_stream();
    CHECK(second == first);
    OK(vmem_forget_stream(0, second));
    void *other;
    REFUSED(vmem_allocate(64 * MIB, 0, 0, second, NULL, &other), VMEM_ERROR_LIMIT, "limit");
    OK(vmem_synchronize(0));
    OK(vmem_free(allocate(64 * MIB, second), second));
    destroy(second);
    OK(vmem_close(0));
}

/* Uses on other streams come before the next use, though their streams are dead when the block is freed. */
static void recorded_uses_are_over_before_a_block_is_used_again(void) {
    open_with(TIGHT);
    vmem_stream home = new_stream(), user = new_stream();
    void *block = allocate(MIB, home);
    void *event;
    CU(cuEventCreate, (void **, unsigned), &event, 2);
    fill(block, MIB, home);
    CU(cuEventRecord, (void *, void *), event, home);
    CU(cuStreamWaitEvent, (void *, void *, unsigned), user, event, 0);
    for (int i = 0; i < 100; i++) {
        fill(block, MIB, user);
        OK(vmem_record_use(block, user));
    }
    destroy(user);
    long waits = calls_of("cuStreamWaitEvent");
    OK(vmem_free(block, home));
    CHECK(calls_of("cuStreamWaitEvent") == waits);
    /* The home stream is made to wait when it is named again. */
    CHECK(allocate(MIB, home) == block);
    fill(block, MIB, home);
    OK(vmem_free(block, home));
    /* And if it is never named again, whoever waits for the device waits for both. */
    block = allocate(MIB, home);
    user = new_stream();
    CU(cuEventRecord, (void *, void *), event, home);
    CU(cuStreamWaitEvent, (void *, void *, unsigned), user, event, 0);
    fill(block, MIB, user);
    OK(vmem_record_use(block, user));
    destroy(user);
    destroy(home);
    OK(vmem_free(block, home));
    OK(vmem_synchronize(0));
    vmem_stream other = new_stream();
    CHECK(allocate(MIB, other) == block);
    fill(block, MIB, other);
    OK(vmem_free(block, other));
    CU(cuEventDestroy_v2, (void *), event);
    destroy(other);
    OK(vmem_close(0));
}

/* What is said beforehand covers all that is queued until the free: on a stream that is held, or was. */
static void a_use_that_lasts_until_the_free_is_over_before_a_block_is_used_again(int is_forgotten) {
    open_with(TIGHT);
    vmem_stream home = new_stream(), user = new_stream();
    OK(vmem_hold_stream(0, user));
    void *block = allocate(MIB, home), *event;
    CU(cuEventCreate, (void **, unsigned), &event, 2);
    fill(block, MIB, home);
    CU(cuEventRecord, (void *, void *), event, home);
    CU(cuStreamWaitEvent, (void *, void *, unsigned), user, event, 0);
    long records = calls_of("cuEventRecord");
    for (int i = 0; i < 100; i++)
        OK(vmem_use_until_free(block, user));
    CHECK(calls_of("cuEventRecord") == records);
    fill(block, MIB, user);
    if (is_forgotten) {
        OK(vmem_forget_stream(0, user));
        destroy(user);
    }
    OK(vmem_free(block, home));
    CHECK(allocate(MIB, home) == block);
    fill(block, MIB, home);
    OK(vmem_free(block, home));
    if (!is_forgotten) {
        /* On the stream itself there is nothing to wait for. */
        block = allocate(MIB, user);
        OK(vmem_use_until_free(block, user));
        records = calls_of("cuEventRecord");
        OK(vmem_free(block, user));
        CHECK(calls_of("cuEventRecord") == records);
        OK(vmem_forget_stream(0, user));
        destroy(user);
    }
    CU(cuEventDestroy_v2, (void *), event);
    destroy(home);
    OK(vmem_close(0));
}

/* Of the block's own stream there is nothing to wait for, though nobody holds it. */
static void a_use_until_the_free_on_the_blocks_own_stream_is_none(void) {
    open_with(TIGHT);
    vmem_stream home = new_stream();
    void *block = allocate(40 * MIB, home);
    OK(vmem_use_until_free(block, home));
    fill(block, 40 * MIB, home);
    OK(vmem_free(block, home));
    CHECK(allocate(40 * MIB, home) == block);
    fill(block, 40 * MIB, home);
    OK(vmem_free(block, home));
    destroy(home);
    OK(vmem_close(0));
}

/* Nobody promised that the stream would be there at the free: the block waits for the device. */
static void a_use_until_the_free_on_a_stream_that_is_not_held_waits_for_the_device(void) {
    open_with(TIGHT);
    vmem_stream home = new_stream(), user = new_stream();
    void *block = allocate(40 * MIB, home), *event, *none;
    CU(cuEventCreate, (void **, unsigned), &event, 2);
    fill(block, 40 * MIB, home);
    CU(cuEventRecord, (void *, void *), event, home);
    CU(cuStreamWaitEvent, (void *, void *, unsigned), user, event, 0);
    OK(vmem_use_until_free(block, user));
    fill(block, 40 * MIB, user);
    destroy(user);
    OK(vmem_free(block, home));
    REFUSED(vmem_allocate(40 * MIB, 0, 0, home, NULL, &none), VMEM_ERROR_LIMIT, "limit");
    OK(vmem_synchronize(0));
    block = allocate(40 * MIB, home);
    fill(block, 40 * MIB, home);
    OK(vmem_free(block, home));
    CU(cuEventDestroy_v2, (void *), event);
    destroy(home);
    OK(vmem_close(0));
}

/* A use that could not be marked, whichever call of the driver failed, is waited for with the device. */
static void a_use_whose_record_failed_is_not_lost(void) {
    int failures = 0;
    for (int nth = 1, struck = 1; struck; nth++) {
        open_with(TIGHT);
        vmem_stream home = new_stream(), user = new_stream();
        void *event, *none;
        CU(cuEventCreate, (void **, unsigned), &event, 2);
        void *block = allocate(40 * MIB, home);
        fill(block, 40 * MIB, home);
        CU(cuEventRecord, (void *, void *), event, home);
        CU(cuStreamWaitEvent, (void *, void *, unsigned), user, event, 0);
        fill(block, 40 * MIB, user);
        char order[64];
        snprintf(order, sizeof order, "fail %d 999", nth);
        control(order);
        vmem_status status = vmem_record_use(block, user);
        struck = control("fired")[0] != 0;
        control("clear");
        CHECK(struck || status == VMEM_OK);
        OK(vmem_free(block, home));
        if (status != VMEM_OK) {
            failures++;
            REFUSED(vmem_allocate(40 * MIB, 0, 0, home, NULL, &none), VMEM_ERROR_LIMIT, "limit");
            OK(vmem_synchronize(0));
        }
        block = allocate(40 * MIB, home);
        fill(block, 40 * MIB, home);
        OK(vmem_free(block, home));
        CU(cuEventDestroy_v2, (void *), event);
        destroy(home);
        destroy(user);
        OK(vmem_close(0));
        check_rules();
    }
    CHECK(failures > 0);
}

/* A free that cannot vouch, on another stream than the block's: known ones serve themselves, unknown ones
 * nobody. */
static void a_free_on_another_stream_goes_by_what_is_known_of_it(void) {
    open_with(TIGHT);
    vmem_stream home = new_stream(), other = new_stream(), event_stream = new_stream();
    void *event;
    CU(cuEventCreate, (void **, unsigned), &event, 2);
    void *small = allocate(MIB, other);
    void *block = allocate(32 * MIB, home);
    fill(block, 32 * MIB, home);
    CU(cuEventRecord, (void *, void *), event, home);
    CU(cuStreamWaitEvent, (void *, void *, unsigned), other, event, 0);
    OK(vmem_free(block, other));
    void *again = allocate(32 * MIB, other);
    CHECK(again == block);
    fill(again, 32 * MIB, other);
    CU(cuEventRecord, (void *, void *), event, other);
    CU(cuStreamWaitEvent, (void *, void *, unsigned), event_stream, event, 0);
    /* Nobody vouched for this one yet. */
    OK(vmem_free(again, event_stream));
    vmem_stats stats = {.struct_size = sizeof stats};
    void *none;
    CHECK(vmem_allocate(60 * MIB, 0, 0, event_stream, NULL, &none) == VMEM_ERROR_LIMIT);
    OK(vmem_synchronize(0));
    OK(vmem_free(small, other));
    OK(vmem_synchronize(0));
    again = allocate(60 * MIB, home);
    fill(again, 60 * MIB, home);
    CU(cuEventRecord, (void *, void *), event, home);
    CU(cuStreamWaitEvent, (void *, void *, unsigned), event_stream, event, 0);
    /* Who vouches is understood. */
    OK(vmem_free_vouched(again, event_stream));
    CHECK(allocate(60 * MIB, event_stream) == again);
    fill(again, 60 * MIB, event_stream);
    OK(vmem_free_vouched(again, event_stream));
    OK(vmem_get_stats(0, &stats));
    CHECK(stats.blocks == 0);
    CU(cuEventDestroy_v2, (void *), event);
    destroy(home);
    destroy(other);
    destroy(event_stream);
    OK(vmem_close(0));
}

/* A stream that is held may be named at any time, and others find what it freed. */
static void a_held_streams_memory_is_shared_without_its_being_forgotten(void) {
    open_with(TIGHT);
    vmem_stream held = new_stream(), other = new_stream();
    void *block = allocate(64 * MIB, held);
    fill(block, 64 * MIB, held);
    OK(vmem_free(block, held));
    /* What was freed before it was held is shared too. */
    OK(vmem_hold_stream(0, held));
    OK(vmem_hold_stream(0, held));
    CHECK(allocate(64 * MIB, other) == block);
    fill(block, 64 * MIB, other);
    OK(vmem_free(block, other));
    OK(vmem_forget_stream(0, other));
    long questions = calls_of("cuStreamGetId");
    CHECK(allocate(64 * MIB, held) == block);
    CHECK(calls_of("cuStreamGetId") == questions);
    fill(block, 64 * MIB, held);
    OK(vmem_free(block, held));
    CHECK(allocate(64 * MIB, other) == block);
    fill(block, 64 * MIB, other);
    OK(vmem_free(block, other));
    OK(vmem_forget_stream(0, held));
    destroy(held);
    destroy(other);
    OK(vmem_close(0));
}

/* A block that was out when its stream was held is freed behind what the stream has done since. */
static void a_block_that_was_out_when_its_stream_was_held_waits_for_later_work(void) {
    open_with(TIGHT);
    vmem_stream stream = new_stream(), other = new_stream();
    void *block = allocate(64 * MIB, stream);
    OK(vmem_hold_stream(0, stream));
    fill(block, 64 * MIB, stream);
    OK(vmem_free(block, stream));
    CHECK(allocate(64 * MIB, other) == block);
    fill(block, 64 * MIB, other);
    OK(vmem_free(block, other));
    OK(vmem_forget_stream(0, stream));
    OK(vmem_forget_stream(0, other));
    destroy(stream);
    destroy(other);
    OK(vmem_close(0));
    check_rules();
}

/* The next owner of a forgotten stream's handle, met or not, uses a block of before and frees it. */
static void a_forgotten_handles_next_owner_is_not_taken_for_the_one_before(int is_met) {
    open_with(TIGHT);
    vmem_stream first = new_stream(), other = new_stream();
    void *event, *none;
    CU(cuEventCreate, (void **, unsigned), &event, 2);
    void *block = allocate(40 * MIB, first);
    fill(block, 40 * MIB, first);
    CU(cuEventRecord, (void *, void *), event, first);
    OK(vmem_forget_stream(0, first));
    destroy(first);
    vmem_stream second = new_stream();
    CHECK(second == first);
    void *met = is_met ? allocate(MIB, second) : NULL;
    CU(cuStreamWaitEvent, (void *, void *, unsigned), second, event, 0);
    fill(block, 40 * MIB, second);
    OK(vmem_free(block, second));
    REFUSED(vmem_allocate(40 * MIB, 0, 0, other, NULL, &none), VMEM_ERROR_LIMIT, "limit");
    if (is_met) {
        OK(vmem_free(met, second));
        CHECK(allocate(40 * MIB, second) == block);
        fill(block, 40 * MIB, second);
        OK(vmem_free(block, second));
    }
    OK(vmem_synchronize(0));
    OK(vmem_free(allocate(40 * MIB, other), other));
    CU(cuEventDestroy_v2, (void *), event);
    destroy(second);
    destroy(other);
    OK(vmem_close(0));
    check_rules();
}

/* Calls while a stream captures break nothing. */
static void captures_survive_every_call(void) {
    open_with(TIGHT);
    vmem_stream held = new_stream(), stream = new_stream();
    OK(vmem_hold_stream(0, held));
    void *mine = allocate(MIB, held), *block = allocate(MIB, stream), *none;
    void *loose = allocate(MIB, stream);
    fill(mine, MIB, held);
    OK(vmem_free(mine, held));
    fill(loose, MIB, stream);
    void *graph, *grown = NULL;
    for (int i = 0; i < 2; i++) {
        vmem_stream captured = i == 0 ? held : stream;
        CU(cuStreamBeginCapture_v2, (void *, int), captured, 0);
        if (i == 0)
            CHECK(allocate(MIB, held) == mine);
        else {
            /* More memory concerns no capture; what others work on would have to be waited for. */
            grown = allocate(48 * MIB, stream);
            REFUSED(vmem_allocate(48 * MIB, 0, 0, stream, NULL, &none), VMEM_ERROR_CAPTURING, "captur");
        }
        fill(i == 0 ? mine : block, MIB, captured);
        REFUSED(vmem_record_use(block, captured), VMEM_ERROR_CAPTURING, "captur");
        REFUSED(vmem_forget_stream(0, captured), VMEM_ERROR_CAPTURING, "captur");
        if (i == 1)
            OK(vmem_free(loose, stream));
        OK(vmem_trim(0, NULL));
        OK(vmem_wait_and_trim(0, NULL));
        CU(cuStreamEndCapture, (void *, void **), captured, &graph);
        CHECK(graph != NULL);
        CU(cuGraphDestroy, (void *), graph);
    }
    OK(vmem_free(grown, stream));
    OK(vmem_free(mine, held));
    OK(vmem_free(block, stream));
    OK(vmem_forget_stream(0, held));
    destroy(held);
    destroy(stream);
    OK(vmem_close(0));
}

/* What waits for the device is refused while a stream captures, and the device stays open. */
static void a_device_is_not_closed_while_a_stream_captures(void) {
    open_with(TIGHT);
    vmem_stream held = new_stream();
    void *graph, *mine = allocate(MIB, held);
    CU(cuStreamBeginCapture_v2, (void *, int), held, 0);
    REFUSED(vmem_close(0), VMEM_ERROR_CAPTURING, "CAPTURE");
    union {
        void *data;
        unsigned (*function)(void *, void **);
    } end = {driver_function("cuStreamEndCapture")};
    CHECK(end.function(held, &graph) != 0);
    OK(vmem_free(mine, held));
    destroy(held);
    OK(vmem_close(0));
}

int main(void) {
    enter(0);
    a_dead_streams_memory_waits_for_the_device();
    a_free_by_a_name_that_passed_on_does_not_serve_its_next_owner();
    a_live_stream_reuses_what_it_freed_and_marks_batches();
    a_forgotten_stream_leaves_its_memory_to_others();
    forgetting_a_handles_next_owner_does_not_mark_the_one_before();
    recorded_uses_are_over_before_a_block_is_used_again();
    a_use_that_lasts_until_the_free_is_over_before_a_block_is_used_again(0);
    a_use_that_lasts_until_the_free_is_over_before_a_block_is_used_again(1);
    a_use_until_the_free_on_the_blocks_own_stream_is_none();
    a_use_until_the_free_on_a_stream_that_is_not_held_waits_for_the_device();
    a_use_whose_record_failed_is_not_lost();
    a_free_on_another_stream_goes_by_what_is_known_of_it();
    a_held_streams_memory_is_shared_without_its_being_forgotten();
    a_block_that_was_out_when_its_stream_was_held_waits_for_later_work();
    a_forgotten_handles_next_owner_is_not_taken_for_the_one_before(0);
    a_forgotten_handles_next_owner_is_not_taken_for_the_one_before(1);
    captures_survive_every_call();
    check_rules();
    a_device_is_not_closed_while_a_stream_captures();
    return 0;
}
