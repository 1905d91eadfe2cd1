/* The pressure callback: who may use its argument until when, and what it may do. */
#include "support.h"
#include <pthread.h>
#include <semaphore.h>

static const char CONFIG[] = "VMEM_POOL_LIMIT=64M VMEM_OOM_SAFETY=1 VMEM_MEMORY_RESERVE_BYTES=0";

static sem_t entered, leave;
static int released;

struct cache {
    void *block;
    vmem_stream stream;
    int asked;
};

static struct cache *new_cache(uint64_t size, vmem_stream stream) {
    struct cache *cache = calloc(1, sizeof *cache);
    cache->stream = stream;
    if (size > 0)
        cache->block = allocate(size, stream);
    return cache;
}

static uint64_t spare(struct cache *cache) {
    if (cache->block == NULL)
        return 0;
    OK(vmem_free_vouched(cache->block, cache->stream));
    cache->block = NULL;
    return 40 * MIB;
}

/* Blocks until it is told to go on, and then still uses its argument. */
static uint64_t slow(void *arg, int32_t device, uint64_t wanted) {
    CHECK(device == 0 && wanted > 0);
    sem_post(&entered);
    sem_wait(&leave);
    return spare(arg);
}

static uint64_t quick(void *arg, int32_t device, uint64_t wanted) {
    CHECK(device == 0 && wanted > 0);
    ((struct cache *)arg)->asked++;
    return spare(arg);
}

static void release(void *arg) {
    released++;
    free(arg);
}

static void *runs_short(void *arg) {
    void *block = allocate(40 * MIB, VMEM_STREAM_LEGACY);
    OK(vmem_free(block, VMEM_STREAM_LEGACY));
    return arg;
}

/* Replaced by another, by none, or with the device: the argument goes with the last call. */
static void an_argument_is_released_with_its_last_use(int how) {
    open_with(CONFIG);
    released = 0;
    pthread_t thread;
    struct cache *cache = new_cache(40 * MIB, VMEM_STREAM_LEGACY), *next = new_cache(0, NULL);
    OK(vmem_set_pressure_callback(0, slow, cache, release));
    CHECK(pthread_create(&thread, NULL, runs_short, NULL) == 0);
    sem_wait(&entered);
    if (how == 0)
        OK(vmem_set_pressure_callback(0, quick, next, release));
    else if (how == 1)
        OK(vmem_set_pressure_callback(0, NULL, NULL, NULL));
    else
        OK(vmem_close(0));
    CHECK(released == 0);
    sem_post(&leave);
    pthread_join(thread, NULL);
    CHECK(released == 1);
    if (how == 0) {
        OK(vmem_set_pressure_callback(0, NULL, NULL, NULL));
        CHECK(released == 2);
    } else {
        free(next);
    }
    if (how != 2)
        OK(vmem_close(0));
    check_rules();
}

static void a_callback_that_was_not_set_is_not_released(void) {
    released = 0;
    CHECK(vmem_set_pressure_callback(0, quick, NULL, release) == VMEM_ERROR_NOT_OPEN);
    open_with("");
    CHECK(vmem_set_pressure_callback(0, quick, NULL, release) == VMEM_ERROR_UNSUPPORTED);
    OK(vmem_close(0));
    CHECK(released == 0);
}

/* Inside a request on one stream of others it vouches for another. */
static uint64_t vouches_for_another(void *arg, int32_t device, uint64_t wanted) {
    struct cache *cache = arg;
    CHECK(device == 0 && wanted > 0);
    void *block;
    if (vmem_allocate(100, 0, 0, cache->stream, NULL, &block) == VMEM_OK)
        OK(vmem_free_vouched(block, cache->stream));
    if (cache->block != NULL)
        fill(cache->block, 40 * MIB, cache->stream);
    cache->asked++;
    return spare(cache);
}

static void a_callback_may_vouch_for_another_stream(void) {
    open_with(CONFIG);
    vmem_stream outer = new_stream(), inner = new_stream();
    struct cache *cache = new_cache(40 * MIB, inner);
    OK(vmem_set_pressure_callback(0, vouches_for_another, cache, NULL));
    for (int i = 0; i < 3; i++) {
        void *block = allocate(40 * MIB, outer);
        fill(block, 40 * MIB, outer);
        CHECK(cache->asked > i && cache->block == NULL);
        OK(vmem_free_vouched(block, outer));
        cache->block = allocate(40 * MIB, inner);
        fill(cache->block, 40 * MIB, inner);
    }
    OK(vmem_free_vouched(cache->block, inner));
    OK(vmem_forget_stream(0, outer));
    OK(vmem_forget_stream(0, inner));
    destroy(outer);
    destroy(inner);
    OK(vmem_close(0));
    free(cache);
    check_rules();
}

int main(void) {
    enter(0);
    sem_init(&entered, 0, 0);
    sem_init(&leave, 0, 0);
    for (int how = 0; how < 3; how++)
        an_argument_is_released_with_its_last_use(how);
    a_callback_that_was_not_set_is_not_released();
    a_callback_may_vouch_for_another_stream();
    return 0;
}
