/* vmem: GPU memory in stream order.
 *
 * Generated from the sources of vmem-capi; see docs/c-abi.md in vmem's repository for how it is used.
 *
 * Every function but those that return a text or a number answers a vmem_status, throws nothing, can be
 * called by any thread with any current context, and leaves the thread's context as it was. */

#ifndef VMEM_H
#define VMEM_H

#include <stddef.h>
#include <stdint.h>

/**
 * The legacy default stream, and the calling thread's.
 */
#ifdef __cplusplus
#define VMEM_STREAM_LEGACY (reinterpret_cast<vmem_stream>(static_cast<uintptr_t>(1)))
#define VMEM_STREAM_PER_THREAD (reinterpret_cast<vmem_stream>(static_cast<uintptr_t>(2)))
#else
#define VMEM_STREAM_LEGACY ((vmem_stream)1)
#define VMEM_STREAM_PER_THREAD ((vmem_stream)2)
#endif

/**
 * The version of this interface. A change that programs must know of makes it greater; new functions,
 * and new fields at the end of structs, do not.
 */
#define VMEM_ABI_VERSION 1

/**
 * What stands for a figure that is not known, or for no limit.
 */
#define VMEM_UNKNOWN UINT64_MAX

/**
 * For `vmem_sleep`: contents are given up, and nothing is behind the addresses until `vmem_wake`.
 */
#define VMEM_REST_DISCARD 1

/**
 * For `vmem_sleep` and `vmem_wake`: work that is pending is not waited for; the call is refused.
 */
#define VMEM_REST_NO_WAIT 2

/**
 * What a call came to. Everything but `VMEM_OK` has a text: see `vmem_last_error`.
 */
enum vmem_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * It was done.
   */
  VMEM_OK = 0,
  /**
   * An argument is outside of its range: a null pointer, an alignment that is no power of two, a text
   * that is not UTF-8, a struct without its size.
   */
  VMEM_ERROR_INVALID_ARGUMENT = 1,
  /**
   * Memory is short now; freeing some may help.
   */
  VMEM_ERROR_OUT_OF_MEMORY = 2,
  /**
   * The configured limit is reached; freeing some may help.
   */
  VMEM_ERROR_LIMIT = 3,
  /**
   * The request is above what can ever be satisfied; nothing helps.
   */
  VMEM_ERROR_NEVER_FITS = 4,
  /**
   * The stream belongs to another device, or was forgotten while the call used it.
   */
  VMEM_ERROR_INVALID_STREAM = 5,
  /**
   * A stream captures a graph, which the call would break. Nothing was done.
   */
  VMEM_ERROR_CAPTURING = 6,
  /**
   * No live block is at the address: it is not of this library, or was freed.
   */
  VMEM_ERROR_NOT_A_BLOCK = 7,
  /**
   * The device is not open.
   */
  VMEM_ERROR_NOT_OPEN = 8,
  /**
   * The device is open already.
   */
  VMEM_ERROR_ALREADY_OPEN = 9,
  /**
   * The machine has no CUDA driver.
   */
  VMEM_ERROR_NO_DRIVER = 10,
  /**
   * The CUDA driver is too old for what was asked.
   */
  VMEM_ERROR_DRIVER_TOO_OLD = 11,
  /**
   * There is no device of that number.
   */
  VMEM_ERROR_NO_DEVICE = 12,
  /**
   * The configuration is wrong, or the device cannot satisfy it.
   */
  VMEM_ERROR_CONFIGURATION = 13,
  /**
   * Another copy of this library in the process has the device open.
   */
  VMEM_ERROR_OTHER_COPY = 14,
  /**
   * The driver failed.
   */
  VMEM_ERROR_DRIVER = 15,
  /**
   * The process was forked from one that had opened a device.
   */
  VMEM_ERROR_FORKED = 16,
  /**
   * The device, as it was opened, cannot do that.
   */
  VMEM_ERROR_UNSUPPORTED = 17,
  /**
   * A file could not be written.
   */
  VMEM_ERROR_IO = 18,
  /**
   * A fault of this library: it panicked.
   */
  VMEM_ERROR_INTERNAL = 19,
  /**
   * Work is or may be pending that was not to be waited for. Nothing was done.
   */
  VMEM_ERROR_BUSY = 20,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum vmem_status vmem_status;
#else
typedef int32_t vmem_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Frees what the program can spare of a device, and returns how many bytes that was. `wanted` is what is
 * missing of a request, or `UINT64_MAX` for all that can be spared.
 */
typedef uint64_t (*vmem_pressure_fn)(void *arg, int32_t device, uint64_t wanted);

/**
 * Gives up the argument of a callback.
 */
typedef void (*vmem_release_fn)(void *arg);

/**
 * How a device is opened. All zeros but the size is what a null pointer means.
 */
typedef struct vmem_options {
  /**
   * `sizeof(vmem_options)`.
   */
  size_t struct_size;
  /**
   * What the names of the variables begin with; null for `VMEM`.
   */
  const char *prefix;
  /**
   * Settings as `NAME=VALUE`, separated by white space, in place of the environment's variables:
   * `"VMEM_OOM_SAFETY=1 VMEM_POOL_LIMIT=80%"`. Null for the environment.
   */
  const char *config;
  /**
   * What to do where the configured stack cannot be built: 0 builds the fallback, 1 fails.
   */
  uint32_t on_failed_setup;
  /**
   * 0 and 2: move what is there before taking memory, for the least memory held; 1: move only where no more
   * is to be had.
   */
  uint32_t footprint;
} vmem_options;

/**
 * A stream: a `CUstream` or `cudaStream_t`, which convert to it. The values 0 and 1 are the legacy default
 * stream, 2 is the calling thread's default stream, whatever a program was built with.
 */
typedef void *vmem_stream;

/**
 * A block.
 */
typedef struct vmem_block {
  /**
   * `sizeof(vmem_block)`.
   */
  size_t struct_size;
  /**
   * Where it starts.
   */
  void *base;
  /**
   * The size asked for, in bytes.
   */
  uint64_t size;
  /**
   * The alignment asked for, in bytes.
   */
  uint64_t alignment;
  /**
   * Its device's number.
   */
  int32_t device;
  /**
   * No meaning.
   */
  int32_t reserved;
  /**
   * The stream it was allocated on, as it was named then. It may not exist any more.
   */
  void *stream;
} vmem_block;

/**
 * What a device's memory is used for. Sizes in bytes; what is not known is `VMEM_UNKNOWN`.
 */
typedef struct vmem_stats {
  /**
   * `sizeof(vmem_stats)`.
   */
  size_t struct_size;
  /**
   * Bytes in use, as asked for.
   */
  uint64_t bytes;
  /**
   * The most bytes that were in use at once since the peaks were reset.
   */
  uint64_t peak_bytes;
  /**
   * Bytes allocated so far.
   */
  uint64_t total_bytes;
  /**
   * Blocks in use.
   */
  uint64_t blocks;
  /**
   * The most blocks that were in use at once since the peaks were reset.
   */
  uint64_t peak_blocks;
  /**
   * Blocks allocated so far.
   */
  uint64_t total_blocks;
  /**
   * Requests that were refused.
   */
  uint64_t failures;
  /**
   * Held from the device.
   */
  uint64_t reserved;
  /**
   * The most that was held.
   */
  uint64_t peak_reserved;
  /**
   * Returned to the device so far.
   */
  uint64_t trimmed;
  /**
   * Free, but of use to nobody before `vmem_synchronize`.
   */
  uint64_t quarantined;
  /**
   * The most that may be held; `VMEM_UNKNOWN` for no limit.
   */
  uint64_t limit;
  /**
   * The tier that was built: `'A'`, `'B'`, `'C'`, or `'F'` for the fallback.
   */
  int32_t tier;
  /**
   * No meaning.
   */
  int32_t reserved_field;
} vmem_stats;

/**
 * Use of memory.
 */
typedef struct vmem_usage {
  /**
   * `sizeof(vmem_usage)`.
   */
  size_t struct_size;
  /**
   * Bytes in use, as asked for.
   */
  uint64_t bytes;
  /**
   * The most bytes that were in use at once.
   */
  uint64_t peak_bytes;
  /**
   * Bytes allocated so far.
   */
  uint64_t total_bytes;
  /**
   * Blocks in use.
   */
  uint64_t blocks;
  /**
   * The most blocks that were in use at once.
   */
  uint64_t peak_blocks;
  /**
   * Blocks allocated so far.
   */
  uint64_t total_blocks;
} vmem_usage;

/**
 * Takes `len` bytes of a text. Returns 0, or anything else to have no more.
 */
typedef int (*vmem_write_fn)(void *arg, const char *bytes, size_t len);

/**
 * What a call moved, in bytes.
 */
typedef struct vmem_moved {
  /**
   * `sizeof(vmem_moved)`.
   */
  size_t struct_size;
  /**
   * Of the device's memory, given up or taken.
   */
  uint64_t device;
  /**
   * Copied between device and host.
   */
  uint64_t copied;
  /**
   * Of the blocks, stayed on the device, because others share physical memory with them.
   */
  uint64_t stayed;
} vmem_moved;

/**
 * Where the memory of a block is, in bytes of the block, rounding included.
 */
typedef struct vmem_residence {
  /**
   * `sizeof(vmem_residence)`.
   */
  size_t struct_size;
  /**
   * In the device's memory.
   */
  uint64_t device;
  /**
   * In the host's memory, at the block's address.
   */
  uint64_t host;
  /**
   * Nowhere: contents were discarded.
   */
  uint64_t discarded;
  /**
   * Held, but not behind the block's address, because the driver failed twice. `vmem_wake` mends it.
   */
  uint64_t displaced;
  /**
   * Of those on the device, bytes that would stay if only this block were to go.
   */
  uint64_t shared;
} vmem_residence;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The text of the calling thread's last call that failed; empty if none has. Never null. It is valid
 * until the thread's next call that fails, or its end.
 */
const char *vmem_last_error(void);

/**
 * The same as JSON: an object with `status`, `code`, `call` and `text`, and what is known besides:
 * `request` and `report` where memory was exhausted, `driver_code` where the driver failed. Sizes are in
 * bytes.
 */
const char *vmem_last_error_json(void);

/**
 * The name of a status, `VMEM_OK` say; null for a number that is none.
 */
const char *vmem_status_name(int32_t status);

/**
 * Sets what is asked for memory when a request would fail for want of it, in place of the one before; null
 * for none. It is called on the thread that runs short, without a lock of this library held, by several
 * threads at once if several run short. It may free, and call everything here; what it allocates itself is
 * refused rather than asked for again. It is asked as long as it frees something, and must return: it
 * throws nothing and jumps nowhere.
 *
 * A call of the one before that is in progress on another thread goes on, and this function does not wait
 * for it. `release` says when `arg` is of no use any more: it is called with it once, when the callback was
 * replaced or the device closed and the last call in progress has ended, on the thread that comes last,
 * without a lock held; and not at exit. It may be null. Where this function fails, it is not called.
 *
 * VMEM_ERROR_UNSUPPORTED unless the device was opened with `VMEM_OOM_SAFETY=1`.
 *
 * The caller sees to it that: `callback` can be called with `arg` by any thread until `release` is, and `release` by any thread.
 */
vmem_status vmem_set_pressure_callback(int32_t device,
                                       vmem_pressure_fn callback,
                                       void *arg,
                                       vmem_release_fn release);

/**
 * Opens a device, by its number as the driver counts, with the stack of resources that the configuration
 * asks for. The variables and their values are those of the page on tiers in vmem's documentation.
 *
 * `options` may be null. Opening takes up to some hundreds of milliseconds. A field that the library does not
 * know, as the program is newer, is VMEM_ERROR_INVALID_ARGUMENT unless it is zero.
 *
 * The caller sees to it that: `options` is null or points to a struct of the size that it begins with, whose texts end with a zero.
 */
vmem_status vmem_open(int32_t device,
                      const struct vmem_options *options);

/**
 * Closes a device: it gives no more memory. Waits for the whole device, as `vmem_synchronize` does, to
 * give back what was freed. Blocks that are still live stay valid and can be freed, those asleep too, which
 * nothing can wake any more. With the last of them the rest goes back, if all their streams can be named or
 * were forgotten and no work is pending on it; otherwise with `vmem_forget_stream`, `vmem_synchronize`, or
 * when the device is opened or closed again. Streams that were held stay held until they are forgotten, but
 * only for the blocks of before: when the device is opened again they must be held again.
 *
 * VMEM_ERROR_CAPTURING if the driver refused the wait for a capture: the device is still open then. After
 * any other failure it is closed.
 */
vmem_status vmem_close(int32_t device);

/**
 * The version of the interface that the library has: `VMEM_ABI_VERSION` of the header it was built with.
 */
uint32_t vmem_abi_version(void);

/**
 * The library's own version, `"0.1.0"` say.
 */
const char *vmem_version(void);

/**
 * How many devices the driver sees: 0 where it sees none.
 *
 * VMEM_ERROR_NO_DRIVER where there is no driver, VMEM_ERROR_DRIVER_TOO_OLD where it lacks functions.
 *
 * The caller sees to it that: `count` may be written to.
 */
vmem_status vmem_device_count(int32_t *count);

/**
 * Returns memory that is free and that nothing pending uses to the device, without waiting, and says how
 * many bytes. `returned` may be null.
 *
 * The caller sees to it that: `returned` is null or may be written to.
 */
vmem_status vmem_trim(int32_t device,
                      uint64_t *returned);

/**
 * The same, after a wait for the frees that are pending on streams which can be named.
 *
 * The caller sees to it that: `returned` is null or may be written to.
 */
vmem_status vmem_wait_and_trim(int32_t device, uint64_t *returned);

/**
 * Waits for the whole device, after which all that was freed before can be used by every stream: also what
 * was freed on streams that have been destroyed since, and on the default streams of threads that have
 * ended. It breaks every capture in progress on the device, so that nothing here does it of its own accord.
 *
 * After `vmem_close` it does the same for what was freed since, as long as there is something.
 *
 * VMEM_ERROR_CAPTURING if the driver refused it for a capture, which is broken then.
 */
vmem_status vmem_synchronize(int32_t device);

/**
 * Promises that a stream is not destroyed before `vmem_forget_stream` is called for it. Such a stream can be
 * named at any time: nobody has to ask which stream its handle means, blocks can be allocated on it while
 * it captures, and what is freed on it is found by other streams at once. For streams that last, as those
 * of a framework's pool do, and for those whose owner is kept alive. Nothing for 0, 1 and 2.
 *
 * The caller sees to it that: The stream is valid until it is forgotten.
 */
vmem_status vmem_hold_stream(int32_t device,
                             vmem_stream stream);

/**
 * Tells that a stream is about to be destroyed, or that a thread which used its default stream (2) is about
 * to end: it is marked, and other streams can use what was freed on it once the work that is on it now is
 * over. So work on it that comes later must not use blocks that were freed on it before. Blocks of it that
 * are still out are best freed first: what is freed later under its handle goes by what `vmem_free` says of
 * handles. Nothing for 0 and 1, and for a stream that no call has named.
 *
 * It may be called after `vmem_close` too, as long as blocks are out or memory waits, and then acts on what
 * the device was before as well.
 *
 * VMEM_ERROR_CAPTURING while the stream captures; it is then as it was.
 *
 * The caller sees to it that: The stream is valid during the call.
 */
vmem_status vmem_forget_stream(int32_t device,
                               vmem_stream stream);

/**
 * Finds the live block that an address lies in, be it where it starts or inside. Inside, it takes time in
 * the number of live blocks.
 *
 * The caller sees to it that: `block` points to a struct of the size that it begins with.
 */
vmem_status vmem_find_block(const void *address,
                            struct vmem_block *block);

/**
 * How many bytes of a block may be used: as many as were asked for. 0 for a null pointer.
 *
 * The caller sees to it that: `size` may be written to.
 */
vmem_status vmem_usable_size(const void *ptr, uint64_t *size);

/**
 * What a device's memory is used for.
 *
 * The caller sees to it that: `stats` points to a struct of the size that it begins with.
 */
vmem_status vmem_get_stats(int32_t device, struct vmem_stats *stats);

/**
 * What is in use under a tag; all zeros for one that was never used.
 *
 * The caller sees to it that: `tag` ends with a zero; `usage` points to a struct of the size that it begins with.
 */
vmem_status vmem_get_tag_usage(int32_t device, const char *tag, struct vmem_usage *usage);

/**
 * Makes what is in use on a device now the peaks of its statistics.
 */
vmem_status vmem_reset_peaks(int32_t device);

/**
 * Writes all that is known of a device as JSON, piece by piece: what it was configured to be and is,
 * statistics by tag, and the pool with every range. Takes time in the number of blocks.
 *
 * VMEM_ERROR_IO if `write` wanted no more.
 *
 * The caller sees to it that: `write` can be called with `arg`.
 */
vmem_status vmem_snapshot(int32_t device,
                          vmem_write_fn write,
                          void *arg);

/**
 * Allocates `size` bytes of device memory, aligned to `alignment` bytes (a power of two, at most 2 MiB;
 * 0 for 256), for use in the order of `stream`: by work queued on it after this call returned, and by work
 * ordered after that point.
 *
 * The caller vouches for the stream: it exists, and is not destroyed during the call. `tag` names what
 * the memory is for in statistics, and may be null; tags should come from a bounded set. 0 bytes are a
 * null pointer, which can be freed.
 *
 * The caller sees to it that: The stream is valid during the call; `tag` is null or ends with a zero; `ptr` may be written to.
 */
vmem_status vmem_allocate(uint64_t size,
                          uint64_t alignment,
                          int32_t device,
                          vmem_stream stream,
                          const char *tag,
                          void **ptr);

/**
 * Frees a block by its address, in the order of `stream`: what was queued on it before, and all that it
 * waits for, may still use the block. Any thread may free, without a context too, while a stream captures,
 * and after `vmem_close`. A null pointer is nothing to free. Never waits, but with managed memory
 * (`VMEM_MANAGED_MEMORY=1`) for the work on the stream, if that can be named. Makes no call of the driver that
 * names the stream, unless that is held or one of 0, 1 and 2, which last.
 *
 * The stream need not exist any more: the block then serves its own stream, which is never asked for
 * again, and others after `vmem_forget_stream` had marked it, or `vmem_synchronize`. A stream that this
 * library never met in a call that vouches for it is taken for one that nobody can name: what is freed on
 * it waits for `vmem_synchronize`. Who can vouch for the stream calls `vmem_free_vouched`.
 *
 * Once the block's own stream was forgotten its handle may be another stream's, and means the one that a
 * caller has vouched for since. If none has, the block waits for `vmem_synchronize`.
 *
 * The caller sees to it that: Work that uses the block is ordered before what follows on `stream`, and none follows.
 */
vmem_status vmem_free(void *ptr,
                      vmem_stream stream);

/**
 * The same, by a caller who vouches for the stream: it exists, and is not destroyed during the call. So a
 * stream need not be known, and once a second stream is used others find at once what is freed: a marker is
 * left on the stream. Where the driver cannot say which stream it is, because it captures or the driver is
 * older than CUDA 12.0, this does what `vmem_free` does.
 *
 * VMEM_ERROR_INVALID_STREAM if the stream belongs to another device; the block is then still allocated.
 *
 * The caller sees to it that: As `vmem_free`; and the stream is valid during the call.
 */
vmem_status vmem_free_vouched(void *ptr,
                              vmem_stream stream);

/**
 * Begins to record what is allocated and freed on a device into a new file, which vmem's tools read,
 * replay, compare and convert for others. A recording in progress ends. An event costs some tens of
 * nanoseconds and ten bytes; of a process that dies fewer than the last 128 events are lost.
 *
 * The caller sees to it that: `path` ends with a zero.
 */
vmem_status vmem_start_recording(int32_t device,
                                 const char *path);

/**
 * Ends the recording of a device, which is then whole, and says how many events it has. `events` may be
 * null.
 *
 * VMEM_ERROR_UNSUPPORTED if there is none, VMEM_ERROR_IO if not all of it could be written.
 *
 * The caller sees to it that: `events` is null or may be written to.
 */
vmem_status vmem_stop_recording(int32_t device,
                                uint64_t *events);

/**
 * Moves the memory of live blocks to the host, at their addresses, so that the device has it for others: of
 * the blocks allocated under `tag`, or of all for null. Waits for the whole device first, which breaks every
 * capture in progress, unless `flags` has `VMEM_REST_NO_WAIT`. With `VMEM_REST_DISCARD` contents are given
 * up. All of it is moved that can be, or nothing, unless the driver fails again while a failure is undone.
 * The blocks can be freed while they rest. `moved` may be null.
 *
 * Where blocks rest with their contents, work that touches them is right, and slow.
 *
 * VMEM_ERROR_BUSY if work is or may be pending that was not to be waited for, VMEM_ERROR_CAPTURING if a
 * stream captures, VMEM_ERROR_OUT_OF_MEMORY if the host has too little memory, VMEM_ERROR_UNSUPPORTED where
 * memory cannot rest. With these, and if `moved` has too small a size, nothing has moved.
 *
 * VMEM_ERROR_DRIVER if the driver fails. All blocks are as they were, unless it failed again when that was
 * to be undone: then blocks have what they held, unless it was discarded, and some may be on the other side
 * or displaced. `vmem_get_residence` says which; `vmem_sleep` or `vmem_wake` puts them right.
 *
 * The caller sees to it that: No work is queued on the blocks during the call; none, if contents are discarded, until `vmem_wake`. What
 * was queued before is waited for, or on streams that the library knows. `tag` is null or ends with a zero;
 * `moved` is null or begins with its size.
 */
vmem_status vmem_sleep(int32_t device,
                       const char *tag,
                       uint32_t flags,
                       struct vmem_moved *moved);

/**
 * Gives blocks that rest device memory again, at their addresses, with their contents unless those were
 * discarded: those allocated under `tag` and those that share physical memory with them, or all for null. All
 * of them wake or none, unless the driver fails again while a failure is undone. `flags` may have
 * `VMEM_REST_NO_WAIT`. `moved` may be null.
 *
 * VMEM_ERROR_OUT_OF_MEMORY, with all blocks as they were, if the device or the pool's limit has too little
 * room; the others of `vmem_sleep`.
 *
 * The caller sees to it that: No work is queued on the blocks during the call. `tag` is null or ends with a zero; `moved` is null or
 * begins with its size.
 */
vmem_status vmem_wake(int32_t device,
                      const char *tag,
                      uint32_t flags,
                      struct vmem_moved *moved);

/**
 * Keeps `bytes` bytes of the host's memory ready for blocks that go to sleep, from now on; 0, as from the
 * start, keeps none. To make some takes long: see docs/residency.md.
 *
 * VMEM_ERROR_OUT_OF_MEMORY if the host has too little, VMEM_ERROR_UNSUPPORTED where memory cannot rest.
 */
vmem_status vmem_fill_host_reserve(int32_t device,
                                   uint64_t bytes);

/**
 * Says where the memory of the live block that begins at `block` is.
 *
 * VMEM_ERROR_NOT_A_BLOCK if none does, VMEM_ERROR_UNSUPPORTED where memory cannot rest.
 *
 * The caller sees to it that: `residence` begins with its size.
 */
vmem_status vmem_get_residence(const void *block, struct vmem_residence *residence);

/**
 * Notes that work now on `stream` uses a block, so that it is over before the block is used again, whatever
 * stream it is freed on. The caller vouches for the stream. Not for work that a graph captures.
 *
 * VMEM_ERROR_CAPTURING if the stream captures. After any other failure the block, once freed, waits for
 * `vmem_synchronize`.
 *
 * The caller sees to it that: The stream is valid during the call.
 */
vmem_status vmem_record_use(void *ptr,
                            vmem_stream stream);

/**
 * Notes that work on `stream` may use a block until it is freed: all that is queued there by then is over
 * before the block is used again. Makes no call of the driver before the free, which leaves a marker on the
 * stream if that is held (vmem_hold_stream) or the legacy default stream, or its last one if it was forgotten
 * meanwhile. Otherwise, and where the marker cannot be had, because the stream captures say, the block, once
 * freed, waits for `vmem_synchronize`. The calling thread's default stream can be marked by that thread alone.
 *
 * The caller sees to it that: The stream is valid during the call.
 */
vmem_status vmem_use_until_free(void *ptr,
                                vmem_stream stream);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* VMEM_H */
