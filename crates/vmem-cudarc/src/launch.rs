//! Slices as arguments of kernels.

use cudarc::driver::{CudaSlice, LaunchArgs, PushKernelArg};
use vmem_core::MemoryResource;

use crate::VmemSlice;

// SAFETY: the argument is that of the slice of cudarc's inside, at the address where that keeps it, for
// as long as it is borrowed.
unsafe impl<'a, 'b: 'a, T, R: MemoryResource> PushKernelArg<&'b VmemSlice<T, R>>
    for LaunchArgs<'a>
{
    #[inline(always)]
    fn arg(&mut self, arg: &'b VmemSlice<T, R>) -> &mut Self {
        PushKernelArg::<&'b CudaSlice<T>>::arg(self, arg.as_cuda_slice())
    }
}

// SAFETY: as above.
unsafe impl<'a, 'b: 'a, T, R: MemoryResource> PushKernelArg<&'b mut VmemSlice<T, R>>
    for LaunchArgs<'a>
{
    #[inline(always)]
    fn arg(&mut self, arg: &'b mut VmemSlice<T, R>) -> &mut Self {
        PushKernelArg::<&'b mut CudaSlice<T>>::arg(self, arg.slice_of_cudarc())
    }
}
