/* Threads, the end of a thread and of the process, and what a fork leaves. */
#include "support.h"
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 8, ROUNDS = 300 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *shared[64];

/* Allocates on streams of its own and frees what others allocated. */
static void *work(void *arg) {
    unsigned seed = (unsigned)(uintptr_t)arg;
    enter(0);
    vmem_stream stream = new_stream();
    for (int round = 0; round < ROUNDS; round++) {
        seed = seed * 1103515245u + 12345u;
        unsigned slot = seed >> 16 & 63;
        vmem_stream on = round % 3 == 0 ? VMEM_STREAM_PER_THREAD : round % 3 == 1 ? VMEM_STREAM_LEGACY : stream;
        void *block = allocate(1 + (seed >> 8) % 100000, on);
        fill(block, 1, on);
        pthread_mutex_lock(&lock);
        void *other = shared[slot];
        shared[slot] = block;
        pthread_mutex_unlock(&lock);
        if (other != NULL) {
            vmem_block found = {.struct_size = sizeof found};
            OK(vmem_find_block(other, &found));
            OK(vmem_free(other, found.stream));
        }
        if (round % 50 == 49) {
            if (round % 100 == 99)
                OK(vmem_forget_stream(0, stream));
            destroy(stream);
            stream = new_stream();
        }
    }
    destroy(stream);
    return NULL;
}

static void threads_free_each_others_blocks(void) {
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)(i + 1)) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 64; i++) {
        vmem_block found = {.struct_size = sizeof found};
        if (shared[i] != NULL) {
            OK(vmem_find_block(shared[i], &found));
            OK(vmem_free(shared[i], found.stream));
        }
    }
    OK(vmem_synchronize(0));
    vmem_stats stats = {.struct_size = sizeof stats};
    OK(vmem_get_stats(0, &stats));
    CHECK(stats.blocks == 0 && stats.quarantined == 0);
    uint64_t returned;
    OK(vmem_wait_and_trim(0, &returned));
    OK(vmem_get_stats(0, &stats));
    CHECK(stats.reserved == 0);
}

static void *allocates_on_its_default_stream(void *arg) {
    enter(0);
    void **block = arg;
    *block = allocate(MIB, VMEM_STREAM_PER_THREAD);
    fill(*block, MIB, VMEM_STREAM_PER_THREAD);
    return NULL;
}

static void blocks_of_a_thread_that_ended_are_freed(void) {
    pthread_t thread;
    void *block;
    CHECK(pthread_create(&thread, NULL, allocates_on_its_default_stream, &block) == 0);
    pthread_join(thread, NULL);
    OK(vmem_free(block, VMEM_STREAM_PER_THREAD));
    void *other = allocate(MIB, VMEM_STREAM_PER_THREAD);
    CHECK(other != block);
    OK(vmem_free(other, VMEM_STREAM_PER_THREAD));
    OK(vmem_synchronize(0));
    OK(vmem_wait_and_trim(0, NULL));
}

enum { STREAMS = 1000 };

static vmem_stream fresh[STREAMS];
static pthread_barrier_t meeting;

static void *holds(void *arg) {
    for (int i = 0; i < STREAMS; i++) {
        pthread_barrier_wait(&meeting);
        OK(vmem_hold_stream(0, fresh[i]));
    }
    return arg;
}

static void *allocates(void *arg) {
    enter(0);
    for (int i = 0; i < STREAMS; i++) {
        pthread_barrier_wait(&meeting);
        for (int j = 0; j < 3; j++) {
            void *block = allocate(MIB, fresh[i]);
            fill(block, MIB, fresh[i]);
            OK(vmem_free(block, fresh[i]));
        }
    }
    return arg;
}

/* Whoever comes first, the stream is held afterwards, and no allocation is refused. */
static void a_stream_is_held_while_threads_allocate_on_it(void) {
    pthread_t threads[4];
    for (int i = 0; i < STREAMS; i++)
        fresh[i] = new_stream();
    pthread_barrier_init(&meeting, NULL, 4);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, i < 2 ? holds : allocates, NULL) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&meeting);
    long questions = calls_of("cuStreamGetId");
    for (int i = 0; i < STREAMS; i++)
        OK(vmem_free(allocate(MIB, fresh[i]), fresh[i]));
    CHECK(calls_of("cuStreamGetId") == questions);
    for (int i = 0; i < STREAMS; i++) {
        OK(vmem_forget_stream(0, fresh[i]));
        destroy(fresh[i]);
    }
    check_rules();
}

static void *shared_event;
static vmem_status (*free_of_both)(void *, vmem_stream);

/* Uses a block after the first thread's work, on its own default stream, and frees it under the name of both. */
static void *uses_and_frees_on_its_default_stream(void *block) {
    enter(0);
    CU(cuStreamWaitEvent, (void *, void *, unsigned), VMEM_STREAM_PER_THREAD, shared_event, 0);
    fill(block, MIB, VMEM_STREAM_PER_THREAD);
    OK(free_of_both(block, VMEM_STREAM_PER_THREAD));
    return NULL;
}

static void a_free_under_the_name_of_two_threads_streams_heeds_both(void) {
    pthread_t thread;
    CU(cuEventCreate, (void **, unsigned), &shared_event, 2);
    void *block = allocate(MIB, VMEM_STREAM_PER_THREAD);
    fill(block, MIB, VMEM_STREAM_PER_THREAD);
    CU(cuEventRecord, (void *, void *), shared_event, VMEM_STREAM_PER_THREAD);
    CHECK(pthread_create(&thread, NULL, uses_and_frees_on_its_default_stream, block) == 0);
    pthread_join(thread, NULL);
    CHECK(allocate(MIB, VMEM_STREAM_PER_THREAD) == block);
    fill(block, MIB, VMEM_STREAM_PER_THREAD);
    OK(vmem_free(block, VMEM_STREAM_PER_THREAD));
    CU(cuEventDestroy_v2, (void *), shared_event);
    check_rules();
}

static void *frees_without_a_context(void *block) {
    void *context = &block;
    CU(cuCtxGetCurrent, (void **), &context);
    CHECK(context == NULL);
    OK(vmem_free(block, VMEM_STREAM_LEGACY));
    OK(vmem_free(allocate(10 * MIB, VMEM_STREAM_LEGACY), VMEM_STREAM_LEGACY));
    OK(vmem_free(allocate(MIB, VMEM_STREAM_PER_THREAD), VMEM_STREAM_PER_THREAD));
    OK(vmem_wait_and_trim(0, NULL));
    CU(cuCtxGetCurrent, (void **), &context);
    CHECK(context == NULL);
    return NULL;
}

static void a_thread_needs_no_context_and_keeps_its_own(void) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, frees_without_a_context, allocate(MIB, VMEM_STREAM_LEGACY)) == 0);
    pthread_join(thread, NULL);
    void *before, *after;
    enter(1);
    CU(cuCtxGetCurrent, (void **), &before);
    OK(vmem_free(allocate(20 * MIB, VMEM_STREAM_LEGACY), VMEM_STREAM_LEGACY));
    OK(vmem_wait_and_trim(0, NULL));
    CU(cuCtxGetCurrent, (void **), &after);
    CHECK(before == after);
    enter(0);
}

static pthread_key_t key;

/* Allocates where the driver may not be called any more, which is no more than refused. */
static void allocate_late(vmem_stream stream) {
    void *block;
    vmem_status status = vmem_allocate(100, 0, 0, stream, "late", &block);
    CHECK(status == VMEM_OK || status == VMEM_ERROR_DRIVER);
    OK(vmem_free(block, stream));
}

/* Runs while the thread ends, after its locals. */
static void free_late(void *block) {
    OK(vmem_free(block, VMEM_STREAM_PER_THREAD));
    allocate_late(VMEM_STREAM_PER_THREAD);
    allocate_late(VMEM_STREAM_LEGACY);
    void *other = NULL;
    CHECK(vmem_free(&other, NULL) == VMEM_ERROR_NOT_A_BLOCK && vmem_last_error() != NULL);
}

static void *leaves_a_block_to_its_end(void *arg) {
    (void)arg;
    enter(0);
    void *block = allocate(MIB, VMEM_STREAM_PER_THREAD);
    pthread_setspecific(key, block);
    return NULL;
}

static void a_thread_that_ends_may_still_free(void) {
    pthread_t thread;
    CHECK(pthread_key_create(&key, free_late) == 0);
    CHECK(pthread_create(&thread, NULL, leaves_a_block_to_its_end, NULL) == 0);
    pthread_join(thread, NULL);
}

static void a_forked_child_is_refused(void *block) {
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        void *none;
        uint64_t size;
        vmem_stats stats = {.struct_size = sizeof stats};
        REFUSED(vmem_free(block, VMEM_STREAM_LEGACY), VMEM_ERROR_FORKED, "forked");
        REFUSED(vmem_allocate(1, 0, 0, NULL, NULL, &none), VMEM_ERROR_FORKED, "forked");
        REFUSED(vmem_usable_size(block, &size), VMEM_ERROR_FORKED, "forked");
        REFUSED(vmem_get_stats(0, &stats), VMEM_ERROR_FORKED, "forked");
        REFUSED(vmem_open(1, NULL), VMEM_ERROR_FORKED, "forked");
        REFUSED(vmem_close(0), VMEM_ERROR_FORKED, "forked");
        exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void *left;
static pid_t parent;

static void at_exit(void) {
    if (getpid() != parent)
        return;
    allocate_late(VMEM_STREAM_PER_THREAD);
    allocate_late(VMEM_STREAM_LEGACY);
    OK(vmem_free(left, VMEM_STREAM_LEGACY));
    CHECK(vmem_free(left, VMEM_STREAM_LEGACY) == VMEM_ERROR_NOT_A_BLOCK && vmem_last_error() != NULL);
    vmem_stats stats = {.struct_size = sizeof stats};
    OK(vmem_get_stats(0, &stats));
    vmem_status closed = vmem_close(0);
    CHECK(closed == VMEM_OK || closed == VMEM_ERROR_DRIVER);
    CHECK(vmem_close(0) == VMEM_ERROR_NOT_OPEN);
    check_rules();
}

int main(void) {
    parent = getpid();
    atexit(at_exit);
    enter(0);
    open_with("");
    threads_free_each_others_blocks();
    blocks_of_a_thread_that_ended_are_freed();
    a_stream_is_held_while_threads_allocate_on_it();
    free_of_both = vmem_free;
    a_free_under_the_name_of_two_threads_streams_heeds_both();
    free_of_both = vmem_free_vouched;
    a_free_under_the_name_of_two_threads_streams_heeds_both();
    a_thread_needs_no_context_and_keeps_its_own();
    a_thread_that_ends_may_still_free();
    left = allocate(MIB, VMEM_STREAM_LEGACY);
    a_forked_child_is_refused(left);
    check_rules();
    return 0;
}
