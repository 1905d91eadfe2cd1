//! What a slice is to cudarc: pointers that order their use, and views.

use std::ops::RangeBounds;
use std::sync::Arc;

use cudarc::driver::{
    CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceSlice, SyncOnDrop, sys,
};
use vmem_core::MemoryResource;

use crate::VmemSlice;

impl<T, R: MemoryResource> DeviceSlice<T> for VmemSlice<T, R> {
    fn len(&self) -> usize {
        self.as_cuda_slice().len()
    }

    fn stream(&self) -> &Arc<CudaStream> {
        self.as_cuda_slice().stream()
    }
}

impl<T, R: MemoryResource> DevicePtr<T> for VmemSlice<T, R> {
    fn device_ptr<'a>(&'a self, stream: &'a CudaStream) -> (sys::CUdeviceptr, SyncOnDrop<'a>) {
        self.as_cuda_slice().device_ptr(stream)
    }
}

impl<T, R: MemoryResource> DevicePtrMut<T> for VmemSlice<T, R> {
    fn device_ptr_mut<'a>(
        &'a mut self,
        stream: &'a CudaStream,
    ) -> (sys::CUdeviceptr, SyncOnDrop<'a>) {
        self.slice_of_cudarc().device_ptr_mut(stream)
    }
}

/// Views, which are cudarc's own. They borrow the slice, and share its two events.
impl<T, R: MemoryResource> VmemSlice<T, R> {
    /// A view of all elements.
    pub fn as_view(&self) -> CudaView<'_, T> {
        self.as_cuda_slice().as_view()
    }

    /// A view of all elements, to write.
    pub fn as_view_mut(&mut self) -> CudaViewMut<'_, T> {
        self.slice_of_cudarc().as_view_mut()
    }

    /// A view of the elements in a range.
    ///
    /// # Panics
    /// If the range is reversed, or ends after the last element.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> CudaView<'_, T> {
        self.as_cuda_slice().slice(range)
    }

    /// A view of the elements in a range, to write.
    ///
    /// # Panics
    /// If the range is reversed, or ends after the last element.
    pub fn slice_mut(&mut self, range: impl RangeBounds<usize>) -> CudaViewMut<'_, T> {
        self.slice_of_cudarc().slice_mut(range)
    }

    /// A view of the elements in a range; `None` if it is reversed, or ends after the last element.
    pub fn try_slice(&self, range: impl RangeBounds<usize>) -> Option<CudaView<'_, T>> {
        self.as_cuda_slice().try_slice(range)
    }

    /// The same, to write.
    pub fn try_slice_mut(&mut self, range: impl RangeBounds<usize>) -> Option<CudaViewMut<'_, T>> {
        self.slice_of_cudarc().try_slice_mut(range)
    }

    /// Views of the first `mid` elements and of the others.
    ///
    /// # Panics
    /// If there are not so many elements.
    pub fn split_at(&self, mid: usize) -> (CudaView<'_, T>, CudaView<'_, T>) {
        self.as_cuda_slice().split_at(mid)
    }

    /// The same, to write.
    ///
    /// # Panics
    /// If there are not so many elements.
    pub fn split_at_mut(&mut self, mid: usize) -> (CudaViewMut<'_, T>, CudaViewMut<'_, T>) {
        self.slice_of_cudarc().split_at_mut(mid)
    }
}
