/* RMM takes the resource as its own. */
#include <rmm/mr/per_device_resource.hpp>
#include <rmm/resource_ref.hpp>
#include <vmem_rmm.hpp>

static_assert(cuda::mr::resource<vmem::memory_resource>);
static_assert(cuda::mr::resource_with<vmem::memory_resource, cuda::mr::device_accessible>);

int main()
{
  vmem::memory_resource memory{0, "columns"};
  rmm::device_async_resource_ref reference{memory};
  rmm::mr::set_current_device_resource(memory);
  static_cast<void>(reference);
}
