/* Every function, with good input and bad. */
#include "support.h"

/* What older programs were compiled with. */
_Static_assert(sizeof(vmem_options) == 32 && sizeof(vmem_block) == 48, "fields are added at the ends");
_Static_assert(sizeof(vmem_usage) == 56 && sizeof(vmem_stats) == 112, "fields are added at the ends");

static uint64_t spare(void *arg, int32_t device, uint64_t wanted) {
    void **cache = arg;
    CHECK(device == 0 && wanted > 0);
    uint64_t freed = 0;
    /* Inside, memory is refused rather than asked for again. */
    void *none;
    CHECK(vmem_allocate(48 * MIB, 0, 0, VMEM_STREAM_LEGACY, NULL, &none) == VMEM_ERROR_LIMIT);
    if (*cache != NULL) {
        OK(vmem_usable_size(*cache, &freed));
        OK(vmem_free(*cache, VMEM_STREAM_LEGACY));
        *cache = NULL;
    }
    return freed;
}

struct text {
    char bytes[1 << 16];
    size_t len;
};

static int append(void *arg, const char *bytes, size_t len) {
    struct text *text = arg;
    if (text->len + len >= sizeof text->bytes)
        return 1;
    memcpy(text->bytes + text->len, bytes, len);
    text->len += len;
    text->bytes[text->len] = 0;
    return 0;
}

static int no_more(void *arg, const char *bytes, size_t len) {
    (void)arg, (void)bytes, (void)len;
    return 7;
}

static void before_anything_is_open(void) {
    void *block = NULL;
    CHECK(strcmp(vmem_last_error(), "") == 0 && strcmp(vmem_last_error_json(), "") == 0);
    CHECK(vmem_abi_version() == VMEM_ABI_VERSION && strlen(vmem_version()) >= 5);
    CHECK(strcmp(vmem_status_name(VMEM_ERROR_FORKED), "VMEM_ERROR_FORKED") == 0);
    CHECK(vmem_status_name(-1) == NULL && vmem_status_name(1000) == NULL);
    int32_t devices = 0;
    OK(vmem_device_count(&devices));
    CHECK(devices == 2);
    REFUSED(vmem_device_count(NULL), VMEM_ERROR_INVALID_ARGUMENT, "null");
    REFUSED(vmem_allocate(1, 0, 0, NULL, NULL, &block), VMEM_ERROR_NOT_OPEN, "vmem_open");
    REFUSED(vmem_close(0), VMEM_ERROR_NOT_OPEN, "device 0");
    REFUSED(vmem_free(&block, NULL), VMEM_ERROR_NOT_A_BLOCK, "never came");
    OK(vmem_free(NULL, NULL));
    REFUSED(vmem_open(-1, NULL), VMEM_ERROR_NO_DEVICE, "-1");
    REFUSED(vmem_open(7, NULL), VMEM_ERROR_NO_DEVICE, "no CUDA device 7");
    REFUSED(vmem_open(1000, NULL), VMEM_ERROR_NO_DEVICE, "1000");
    REFUSED(vmem_trim(0, NULL), VMEM_ERROR_NOT_OPEN, "");
    REFUSED(vmem_synchronize(0), VMEM_ERROR_NOT_OPEN, "");
}

static void configurations(void) {
    vmem_options options = {.struct_size = 0};
    REFUSED(vmem_open(0, &options), VMEM_ERROR_INVALID_ARGUMENT, "struct_size");
    options.struct_size = sizeof options;
    const char *wrong[][2] = {
        {"VMEM_POOL_LIMIT=lots", "lots"}, {"VMEM_POOL_LIMITS=1G", "VMEM_POOL_LIMIT"}, {"hello", "NAME=VALUE"},
        {"OTHER_POOL_LIMIT=1G", "VMEM_"}, {"VMEM_POOL_LIMIT=1", "at least 256"},
        {"VMEM_MEMORY_RESERVE_BYTES=100%", "leaves nothing"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        options.config = wrong[i][0];
        REFUSED(vmem_open(0, &options), VMEM_ERROR_CONFIGURATION, wrong[i][1]);
    }
    options.config = "\xff";
    REFUSED(vmem_open(0, &options), VMEM_ERROR_INVALID_ARGUMENT, "UTF-8");
    options.config = "";
    options.footprint = 9;
    REFUSED(vmem_open(0, &options), VMEM_ERROR_INVALID_ARGUMENT, "footprint is 9");
    options.footprint = 2;
    options.on_failed_setup = 2;
    REFUSED(vmem_open(0, &options), VMEM_ERROR_INVALID_ARGUMENT, "on_failed_setup is 2");
    options.on_failed_setup = 1;
    options.prefix = "MINE";
    options.config = "MINE_POOL_LIMIT=64M\tMINE_OOM_SAFETY=yes";
    OK(vmem_open(0, &options));
    vmem_stats stats = {.struct_size = sizeof stats};
    OK(vmem_get_stats(0, &stats));
    CHECK(stats.limit == 64 * MIB && stats.tier == 'B' && stats.reserved == 0);
    REFUSED(vmem_open(0, &options), VMEM_ERROR_ALREADY_OPEN, "device 0");
    OK(vmem_close(0));
    /* A null pointer is the environment. */
    setenv("VMEM_MANAGED_MEMORY", "on", 1);
    OK(vmem_open(1, NULL));
    OK(vmem_get_stats(1, &stats));
    CHECK(stats.tier == 'C' && stats.reserved == VMEM_UNKNOWN);
    void *block;
    OK(vmem_allocate(MIB, 0, 1, VMEM_STREAM_LEGACY, "managed", &block));
    OK(vmem_free(block, VMEM_STREAM_LEGACY));
    OK(vmem_close(1));
    unsetenv("VMEM_MANAGED_MEMORY");
}

static void sizes_and_alignments(void) {
    open_with("VMEM_POOL_LIMIT=64M VMEM_OOM_SAFETY=1 VMEM_MEMORY_RESERVE_BYTES=0");
    void *block = &block;
    OK(vmem_allocate(0, 0, 0, NULL, NULL, &block));
    CHECK(block == NULL);
    for (int power = 0; power <= 63; power++) {
        uint64_t size = (uint64_t)1 << power;
        vmem_status status = vmem_allocate(size, 0, 0, NULL, NULL, &block);
        CHECK(status == (size <= 64 * MIB ? VMEM_OK : VMEM_ERROR_NEVER_FITS));
        CHECK((status == VMEM_OK) == (block != NULL));
        OK(vmem_free(block, NULL));
    }
    REFUSED(vmem_allocate(UINT64_MAX, 0, 0, NULL, NULL, &block), VMEM_ERROR_NEVER_FITS, "18446744073709551615");
    for (uint64_t alignment = 1; alignment <= 2 * MIB; alignment *= 2) {
        OK(vmem_allocate(100, alignment, 0, NULL, NULL, &block));
        CHECK((uintptr_t)block % alignment == 0);
        OK(vmem_free(block, NULL));
    }
    REFUSED(vmem_allocate(100, 3, 0, NULL, NULL, &block), VMEM_ERROR_INVALID_ARGUMENT, "power of two");
    REFUSED(vmem_allocate(100, 4 * MIB, 0, NULL, NULL, &block), VMEM_ERROR_INVALID_ARGUMENT, "");
    REFUSED(vmem_allocate(100, 0, 0, NULL, NULL, NULL), VMEM_ERROR_INVALID_ARGUMENT, "ptr is null");
    REFUSED(vmem_allocate(100, 0, 0, NULL, "\xff", &block), VMEM_ERROR_INVALID_ARGUMENT, "tag");
    REFUSED(vmem_allocate(100, 0, 1, NULL, NULL, &block), VMEM_ERROR_NOT_OPEN, "device 1");
}

static void addresses(void) {
    void *block = allocate(5000, NULL), *small;
    OK(vmem_allocate(1, 1, 0, NULL, NULL, &small));
    vmem_block found = {.struct_size = sizeof found};
    OK(vmem_find_block(block, &found));
    CHECK(found.base == block && found.size == 5000 && found.alignment == 256 && found.device == 0);
    CHECK(found.stream == VMEM_STREAM_LEGACY);
    OK(vmem_find_block((char *)block + 4999, &found));
    CHECK(found.base == block && found.struct_size == sizeof found);
    OK(vmem_find_block(small, &found));
    CHECK(found.base == small && found.size == 1);
    REFUSED(vmem_find_block((char *)block + 5000, &found), VMEM_ERROR_NOT_A_BLOCK, "no live block");
    REFUSED(vmem_find_block(NULL, &found), VMEM_ERROR_NOT_A_BLOCK, "");
    REFUSED(vmem_find_block(&found, &found), VMEM_ERROR_NOT_A_BLOCK, "");
    REFUSED(vmem_find_block(block, NULL), VMEM_ERROR_INVALID_ARGUMENT, "");
    found.struct_size = 8;
    REFUSED(vmem_find_block(block, &found), VMEM_ERROR_INVALID_ARGUMENT, "struct_size");
    uint64_t size;
    OK(vmem_usable_size(block, &size));
    CHECK(size == 5000);
    OK(vmem_usable_size(NULL, &size));
    CHECK(size == 0);
    REFUSED(vmem_usable_size((char *)block + 1, &size), VMEM_ERROR_NOT_A_BLOCK, "lies inside the block");
    REFUSED(vmem_free((char *)block + 256, NULL), VMEM_ERROR_NOT_A_BLOCK, "lies inside the block");
    REFUSED(vmem_free(&size, NULL), VMEM_ERROR_NOT_A_BLOCK, "never came");
    REFUSED(vmem_record_use((char *)block + 1, NULL), VMEM_ERROR_NOT_A_BLOCK, "lies inside the block");
    OK(vmem_record_use(NULL, NULL));
    OK(vmem_record_use(block, NULL));
    REFUSED(vmem_use_until_free((char *)block + 1, NULL), VMEM_ERROR_NOT_A_BLOCK, "lies inside the block");
    OK(vmem_use_until_free(NULL, NULL));
    OK(vmem_use_until_free(block, NULL));
    OK(vmem_free(block, NULL));
    REFUSED(vmem_use_until_free(block, NULL), VMEM_ERROR_NOT_A_BLOCK, "freed before");
    REFUSED(vmem_free(block, NULL), VMEM_ERROR_NOT_A_BLOCK, "freed before");
    REFUSED(vmem_free_vouched(block, NULL), VMEM_ERROR_NOT_A_BLOCK, "freed before");
    REFUSED(vmem_record_use(block, NULL), VMEM_ERROR_NOT_A_BLOCK, "freed before");
    OK(vmem_free_vouched(small, NULL));
    OK(vmem_free_vouched(NULL, NULL));
}

static void streams_of_another_device(void) {
    enter(1);
    vmem_stream other = new_stream();
    enter(0);
    void *block;
    REFUSED(vmem_allocate(1, 0, 0, other, NULL, &block), VMEM_ERROR_INVALID_STREAM, "another device");
    REFUSED(vmem_hold_stream(0, other), VMEM_ERROR_INVALID_STREAM, "another device");
    block = allocate(100, NULL);
    REFUSED(vmem_record_use(block, other), VMEM_ERROR_INVALID_STREAM, "another device");
    REFUSED(vmem_free_vouched(block, other), VMEM_ERROR_INVALID_STREAM, "another device");
    /* The block is still there. */
    OK(vmem_free(block, NULL));
    enter(1);
    destroy(other);
    enter(0);
}

static void statistics(void) {
    void *first, *second;
    OK(vmem_allocate(1000, 0, 0, NULL, "one", &first));
    OK(vmem_allocate(2000, 0, 0, NULL, "two", &second));
    vmem_usage usage = {.struct_size = sizeof usage};
    OK(vmem_get_tag_usage(0, "two", &usage));
    CHECK(usage.bytes == 2000 && usage.blocks == 1 && usage.peak_bytes == 2000 && usage.total_blocks == 1);
    OK(vmem_get_tag_usage(0, "three", &usage));
    CHECK(usage.bytes == 0 && usage.total_bytes == 0);
    REFUSED(vmem_get_tag_usage(0, NULL, &usage), VMEM_ERROR_INVALID_ARGUMENT, "tag is null");
    vmem_stats stats = {.struct_size = sizeof stats};
    OK(vmem_get_stats(0, &stats));
    CHECK(stats.bytes == 3000 && stats.blocks == 2 && stats.failures > 0 && stats.reserved >= 3000);
    CHECK(stats.peak_bytes == 64 * MIB);
    OK(vmem_reset_peaks(0));
    OK(vmem_get_stats(0, &stats));
    CHECK(stats.peak_bytes == 3000);
    static struct text text;
    OK(vmem_snapshot(0, append, &text));
    CHECK(strstr(text.bytes, "\"one\"") != NULL && strstr(text.bytes, "\"segments\"") != NULL);
    CHECK(text.bytes[0] == '{' && text.bytes[text.len - 1] == '}');
    REFUSED(vmem_snapshot(0, NULL, NULL), VMEM_ERROR_INVALID_ARGUMENT, "null");
    REFUSED(vmem_snapshot(0, no_more, NULL), VMEM_ERROR_IO, "answered 7");
    OK(vmem_free(first, NULL));
    OK(vmem_free(second, NULL));
    uint64_t returned = 0;
    OK(vmem_wait_and_trim(0, &returned));
    CHECK(returned > 0);
    OK(vmem_trim(0, &returned));
    CHECK(returned == 0);
    OK(vmem_trim(0, NULL));
    OK(vmem_synchronize(0));
}

static uint64_t room(void) {
    size_t left = 0, total = 0;
    CU(cuMemGetInfo_v2, (size_t *, size_t *), &left, &total);
    return left;
}

static unsigned char byte_of(void *block, uint64_t at) {
    static unsigned char byte;
    CU(cuMemcpyDtoHAsync_v2, (void *, uintptr_t, size_t, void *), &byte, (uintptr_t)block + at, 1, NULL);
    CU(cuStreamSynchronize, (void *), NULL);
    return byte;
}

static void memory_that_rests(void) {
    void *weights = NULL, *cache = NULL;
    OK(vmem_allocate(12 * MIB, 0, 0, NULL, "weights", &weights));
    OK(vmem_allocate(8 * MIB, 0, 0, NULL, "cache", &cache));
    CU(cuMemsetD8Async, (void *, unsigned char, size_t, void *), weights, 7, 12 * MIB, NULL);
    OK(vmem_fill_host_reserve(0, 12 * MIB));
    uint64_t before = room();
    vmem_moved moved = {.struct_size = sizeof moved};
    /* What has no room for the answer is refused before contents are given up. */
    vmem_moved small = {.struct_size = 0};
    REFUSED(vmem_sleep(0, "weights", VMEM_REST_DISCARD, &small), VMEM_ERROR_INVALID_ARGUMENT, "struct_size");
    CHECK(byte_of(weights, 0) == 7 && room() == before);
    OK(vmem_sleep(0, "weights", 0, &moved));
    CHECK(moved.device == 12 * MIB && moved.copied == 12 * MIB && moved.stayed == 0);
    OK(vmem_sleep(0, "cache", VMEM_REST_DISCARD, NULL));
    CHECK(room() >= before + 20 * MIB);
    vmem_residence residence = {.struct_size = sizeof residence};
    OK(vmem_get_residence(weights, &residence));
    CHECK(residence.host == 12 * MIB && residence.device == 0);
    OK(vmem_get_residence(cache, &residence));
    CHECK(residence.discarded == 8 * MIB);
    /* What rests with its contents can be read where it rests. */
    CHECK(byte_of(weights, 5 * MIB) == 7);
    /* A stream that nobody holds may be gone: whether its work is over cannot be asked. */
    REFUSED(vmem_wake(0, NULL, VMEM_REST_NO_WAIT, &moved), VMEM_ERROR_BUSY, "cannot be asked");
    REFUSED(vmem_wake(0, NULL, 0, &small), VMEM_ERROR_INVALID_ARGUMENT, "struct_size");
    OK(vmem_wake(0, NULL, 0, &moved));
    CHECK(moved.device == 20 * MIB);
    CHECK(byte_of(weights, 11 * MIB) == 7);
    OK(vmem_sleep(0, NULL, 0, NULL));
    /* What rests is freed like anything else. */
    OK(vmem_free(weights, NULL));
    OK(vmem_free(cache, NULL));
    OK(vmem_fill_host_reserve(0, 0));
    REFUSED(vmem_sleep(0, NULL, 4, NULL), VMEM_ERROR_INVALID_ARGUMENT, "flags");
    REFUSED(vmem_wake(0, NULL, VMEM_REST_DISCARD, NULL), VMEM_ERROR_INVALID_ARGUMENT, "flags");
    REFUSED(vmem_get_residence(cache, &residence), VMEM_ERROR_NOT_A_BLOCK, "");
    REFUSED(vmem_get_residence(NULL, NULL), VMEM_ERROR_INVALID_ARGUMENT, "null");
}

static void pressure(void) {
    void *cache = allocate(48 * MIB, NULL);
    OK(vmem_set_pressure_callback(0, spare, &cache, NULL));
    void *block = allocate(40 * MIB, NULL);
    CHECK(cache == NULL);
    void *none;
    REFUSED(vmem_allocate(40 * MIB, 0, 0, NULL, "big", &none), VMEM_ERROR_LIMIT, "limit");
    CHECK(strstr(vmem_last_error_json(), "\"requested\":41943040") != NULL);
    CHECK(strstr(vmem_last_error_json(), "\"tag\":\"big\"") != NULL);
    OK(vmem_set_pressure_callback(0, NULL, NULL, NULL));
    OK(vmem_free(block, NULL));
}

static void recordings(const char *path) {
    uint64_t events = 0;
    REFUSED(vmem_stop_recording(0, &events), VMEM_ERROR_UNSUPPORTED, "not recorded");
    REFUSED(vmem_start_recording(0, NULL), VMEM_ERROR_INVALID_ARGUMENT, "path is null");
    REFUSED(vmem_start_recording(0, "/no/such/folder/file"), VMEM_ERROR_IO, "/no/such/folder/file");
    OK(vmem_start_recording(0, path));
    OK(vmem_free(allocate(1000, NULL), NULL));
    void *none;
    CHECK(vmem_allocate(1000 * MIB, 0, 0, NULL, "much", &none) == VMEM_ERROR_NEVER_FITS);
    OK(vmem_stop_recording(0, &events));
    CHECK(events == 3);
    FILE *file = fopen(path, "rb");
    char start[15] = "";
    CHECK(file != NULL && fread(start, 1, 14, file) == 14 && strcmp(start, "vmem recording") == 0);
    fclose(file);
    OK(vmem_start_recording(0, path));
    OK(vmem_free(allocate(2000, NULL), NULL));
    OK(vmem_stop_recording(0, NULL));
}

/* A program that knows more fields than the library. */
static void a_field_that_is_not_known_is_refused_if_it_says_something(void) {
    struct {
        vmem_options known;
        uint64_t newer;
    } options = {.known = {.struct_size = sizeof options, .config = ""}, .newer = 1};
    REFUSED(vmem_open(0, &options.known), VMEM_ERROR_INVALID_ARGUMENT, "byte 32");
    options.newer = 0;
    OK(vmem_open(0, &options.known));
    OK(vmem_close(0));
}

static void after_it_was_closed(void) {
    void *block = allocate(100, NULL);
    OK(vmem_close(0));
    void *none;
    REFUSED(vmem_allocate(1, 0, 0, NULL, NULL, &none), VMEM_ERROR_NOT_OPEN, "");
    vmem_block found = {.struct_size = sizeof found};
    OK(vmem_find_block(block, &found));
    /* It may be opened again while blocks of before are out. */
    open_with("");
    REFUSED(vmem_set_pressure_callback(0, spare, NULL, NULL), VMEM_ERROR_UNSUPPORTED, "VMEM_OOM_SAFETY=1");
    OK(vmem_free(block, NULL));
    REFUSED(vmem_free(block, NULL), VMEM_ERROR_NOT_A_BLOCK, "");
    OK(vmem_free(allocate(100, NULL), NULL));
    OK(vmem_close(0));
    REFUSED(vmem_close(0), VMEM_ERROR_NOT_OPEN, "");
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    before_anything_is_open();
    configurations();
    sizes_and_alignments();
    addresses();
    streams_of_another_device();
    statistics();
    memory_that_rests();
    pressure();
    recordings(argv[1]);
    after_it_was_closed();
    a_field_that_is_not_known_is_refused_if_it_says_something();
    check_rules();
    return 0;
}
