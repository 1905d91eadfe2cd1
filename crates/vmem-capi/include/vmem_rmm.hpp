/* vmem as a memory resource of CCCL and RMM: header-only, over vmem.h, C++17.
 *
 * vmem::memory_resource satisfies cuda::mr::resource_with<_, cuda::mr::device_accessible>. A program opens the
 * device first (vmem_open), and hands the resource to RMM as one of its device resources, or to whatever else
 * takes a resource of CCCL's:
 *
 *     vmem_open(0, nullptr);
 *     vmem::memory_resource memory{0, "columns"};
 *     rmm::mr::set_current_device_resource(memory);
 *
 * Streams must exist during the calls that name them, as RMM asks anyway. Those that are destroyed are told of
 * by vmem_forget_stream, and those that last are held by vmem_hold_stream: see vmem.h. Where a program is
 * compiled for per-thread default streams, the default stream is the calling thread's.
 *
 * Where RMM's headers are found, exhausted memory is rmm::out_of_memory, and the program links librmm, which has
 * its constructors. A program that has RMM's headers but not its library defines VMEM_WITHOUT_RMM before it
 * includes this. Either way has types of its own, so that files which differ in it can be in one program. */

#ifndef VMEM_RMM_HPP
#define VMEM_RMM_HPP

#include <cuda/memory_resource>
#include <cuda/stream_ref>
#include <cuda_runtime_api.h>
#include <vmem.h>

#if !defined(VMEM_WITHOUT_RMM) && __has_include(<rmm/error.hpp>)
#include <rmm/error.hpp>
#define VMEM_RMM_NAMESPACE with_rmm
#else
#define VMEM_RMM_NAMESPACE without_rmm
#endif

#include <cstddef>
#include <new>
#include <stdexcept>
#include <string>

namespace vmem {
inline namespace VMEM_RMM_NAMESPACE {

#if !defined(VMEM_WITHOUT_RMM) && __has_include(<rmm/error.hpp>)
/** What RMM's users catch when memory is exhausted. It has vmem's text. */
using out_of_memory = rmm::out_of_memory;
#else
/** Memory is exhausted. */
class out_of_memory : public std::bad_alloc {
 public:
  explicit out_of_memory(std::string const& text) : text_{text} {}
  char const* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};
#endif

/** Anything else that vmem refuses. */
class error : public std::runtime_error {
 public:
  error(vmem_status status, char const* text) : std::runtime_error{text}, status_{status} {}
  vmem_status status() const noexcept { return status_; }

 private:
  vmem_status status_;
};

/** The memory of a device that was opened. Copies are the same resource. */
class memory_resource {
 public:
  /** Allocates on a device, under a tag that outlives the resource; null for none. */
  explicit memory_resource(int device = 0, char const* tag = nullptr) noexcept
    : device_{device}, tag_{tag}
  {
  }

  /** Allocates in the order of a stream. Throws out_of_memory where memory is exhausted, and error. */
  void* allocate(::cuda::stream_ref stream, std::size_t bytes, std::size_t alignment = 256)
  {
    void* ptr = nullptr;
    check(vmem_allocate(bytes, alignment, device_, raw(stream.get()), tag_, &ptr));
    return ptr;
  }

  /** Frees in the order of a stream. Never throws; what vmem refuses stays allocated. */
  void deallocate(::cuda::stream_ref stream, void* ptr, std::size_t, std::size_t = 256) noexcept
  {
    static_cast<void>(vmem_free_vouched(ptr, raw(stream.get())));
  }

  /** Allocates for use at once, on every stream. Waits for the legacy default stream of the resource's device,
   * which breaks a capture in progress as cudaStreamSynchronize does. */
  void* allocate_sync(std::size_t bytes, std::size_t alignment = 256)
  {
    void* ptr = nullptr;
    check(vmem_allocate(bytes, alignment, device_, VMEM_STREAM_LEGACY, tag_, &ptr));
    if (auto const status = wait_for_legacy(); status != cudaSuccess) {
      static_cast<void>(vmem_free(ptr, VMEM_STREAM_LEGACY));
      throw error{VMEM_ERROR_DRIVER, cudaGetErrorString(status)};
    }
    return ptr;
  }

  /** Frees what no work uses any more. */
  void deallocate_sync(void* ptr, std::size_t, std::size_t = 256) noexcept
  {
    static_cast<void>(vmem_free(ptr, VMEM_STREAM_LEGACY));
  }

  friend bool operator==(memory_resource const& one, memory_resource const& other) noexcept
  {
    return one.device_ == other.device_;
  }

  friend bool operator!=(memory_resource const& one, memory_resource const& other) noexcept
  {
    return !(one == other);
  }

  friend void get_property(memory_resource const&, ::cuda::mr::device_accessible) noexcept {}

 private:
  static vmem_stream raw(::cudaStream_t stream) noexcept
  {
#if defined(CUDA_API_PER_THREAD_DEFAULT_STREAM)
    if (stream == nullptr) { return VMEM_STREAM_PER_THREAD; }
#endif
    return stream;
  }

  /** The runtime's handle of the legacy default stream means that of the current device. */
  cudaError_t wait_for_legacy() const noexcept
  {
    int before = 0;
    auto status = cudaGetDevice(&before);
    if (status != cudaSuccess) { return status; }
    status = cudaSetDevice(device_);
    if (status == cudaSuccess) { status = cudaStreamSynchronize(cudaStreamLegacy); }
    auto const back = cudaSetDevice(before);
    return status != cudaSuccess ? status : back;
  }

  static void check(vmem_status status)
  {
    switch (status) {
      case VMEM_OK: return;
      case VMEM_ERROR_OUT_OF_MEMORY:
      case VMEM_ERROR_LIMIT:
      case VMEM_ERROR_NEVER_FITS: throw out_of_memory{vmem_last_error()};
      default: throw error{status, vmem_last_error()};
    }
  }

  int device_;
  char const* tag_;
};

static_assert(::cuda::mr::resource_with<memory_resource, ::cuda::mr::device_accessible>,
              "vmem::memory_resource is a resource of CCCL's");

}  // namespace VMEM_RMM_NAMESPACE
}  // namespace vmem

#undef VMEM_RMM_NAMESPACE

#endif  // VMEM_RMM_HPP
