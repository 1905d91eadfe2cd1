/* What the header's functions do, over a stand-in of CUDA's runtime: see cudart.c. */
#include <vmem_rmm.hpp>

extern "C" {
#include "support.h"
/* What the stand-in was asked. */
extern int cudart_device, cudart_waits, cudart_waited_on, cudart_failing;
}

template <class Error, class Call>
static void throws(Call call, char const* text)
{
  try {
    call();
  } catch (Error const& error) {
    CHECK(strstr(error.what(), text) != nullptr);
    return;
  }
  CHECK(false);
}

static void it_allocates_and_frees()
{
  vmem::memory_resource memory{0, "columns"};
  auto stream = static_cast<cudaStream_t>(new_stream());
  void* block = memory.allocate(cuda::stream_ref{stream}, MIB);
  vmem_block found{};
  found.struct_size = sizeof found;
  OK(vmem_find_block(block, &found));
  CHECK(found.size == MIB && found.stream == stream);
  vmem_usage usage{};
  usage.struct_size = sizeof usage;
  OK(vmem_get_tag_usage(0, "columns", &usage));
  CHECK(usage.bytes == MIB);
  memory.deallocate(cuda::stream_ref{stream}, block, MIB);
  CHECK(vmem_find_block(block, &found) == VMEM_ERROR_NOT_A_BLOCK);
  /* While the stream captures as well. */
  block = memory.allocate(cuda::stream_ref{stream}, MIB);
  void* graph;
  CU(cuStreamBeginCapture_v2, (void*, int), stream, 0);
  memory.deallocate(cuda::stream_ref{stream}, block, MIB);
  CU(cuStreamEndCapture, (void*, void**), stream, &graph);
  CU(cuGraphDestroy, (void*), graph);
  CHECK(vmem_find_block(block, &found) == VMEM_ERROR_NOT_A_BLOCK);
  OK(vmem_forget_stream(0, stream));
  destroy(stream);
}

static void two_streams_share_what_it_frees()
{
  vmem::memory_resource memory;
  auto first = static_cast<cudaStream_t>(new_stream()), second = static_cast<cudaStream_t>(new_stream());
  memory.deallocate(cuda::stream_ref{second}, memory.allocate(cuda::stream_ref{second}, 100), 100);
  for (int i = 0; i < 10; i++) {
    void* block = memory.allocate(cuda::stream_ref{first}, 40 * MIB);
    memory.deallocate(cuda::stream_ref{first}, block, 40 * MIB);
  }
  memory.deallocate(cuda::stream_ref{second}, memory.allocate(cuda::stream_ref{second}, 64 * MIB), 64 * MIB);
  for (auto stream : {first, second}) {
    OK(vmem_forget_stream(0, stream));
    destroy(stream);
  }
}

static void the_default_stream_is_the_programs()
{
  vmem::memory_resource memory;
  void* block = memory.allocate(cuda::stream_ref{cudaStream_t{}}, 100);
  vmem_block found{};
  found.struct_size = sizeof found;
  OK(vmem_find_block(block, &found));
#if defined(CUDA_API_PER_THREAD_DEFAULT_STREAM)
  CHECK(found.stream == VMEM_STREAM_PER_THREAD);
#else
  CHECK(found.stream == VMEM_STREAM_LEGACY);
#endif
  memory.deallocate(cuda::stream_ref{cudaStream_t{}}, block, 100);
}

static void exhaustion_has_a_type_of_its_own()
{
  vmem::memory_resource memory, other{7};
  cuda::stream_ref stream{cudaStream_t{}};
  throws<vmem::out_of_memory>([&] { (void)memory.allocate(stream, 65 * MIB); }, "can never fit");
  throws<std::bad_alloc>([&] { (void)memory.allocate(stream, 65 * MIB); }, "can never fit");
  throws<vmem::error>([&] { (void)other.allocate(stream, 100); }, "not open");
  throws<vmem::error>([&] { (void)memory.allocate(stream, 100, 3); }, "power of two");
  /* What is refused is no exception. */
  memory.deallocate(stream, &memory, 100);
  CHECK(memory != other && memory == vmem::memory_resource{0});
}

static void what_is_allocated_for_all_streams_was_waited_for_on_its_own_device()
{
  vmem::memory_resource memory{1};
  OK(vmem_open(1, nullptr));
  cudart_device = 0;
  cudart_waits = 0;
  void* block = memory.allocate_sync(MIB);
  CHECK(cudart_waits == 1 && cudart_waited_on == 1 && cudart_device == 0);
  memory.deallocate_sync(block, MIB);
  /* A wait that fails leaves nothing allocated, and the device as it was. */
  cudart_failing = 1;
  throws<vmem::error>([&] { (void)memory.allocate_sync(MIB); }, "the stand-in failed");
  cudart_failing = 0;
  CHECK(cudart_device == 0);
  vmem_stats stats{};
  stats.struct_size = sizeof stats;
  OK(vmem_get_stats(1, &stats));
  CHECK(stats.blocks == 0);
  OK(vmem_close(1));
}

int main()
{
  enter(0);
  open_with("VMEM_POOL_LIMIT=64M VMEM_MEMORY_RESERVE_BYTES=0");
  it_allocates_and_frees();
  two_streams_share_what_it_frees();
  the_default_stream_is_the_programs();
  exhaustion_has_a_type_of_its_own();
  what_is_allocated_for_all_streams_was_waited_for_on_its_own_device();
  OK(vmem_close(0));
  check_rules();
}
