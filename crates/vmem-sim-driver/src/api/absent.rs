//! Functions that `cust` links or `cudarc` looks up, and this library does not model. A program that
//! uses one gets an error; without them, one that merely links `cust` would not start, and `cudarc`
//! would panic.

use crate::api::Export;
use crate::refusal::Refusal;

macro_rules! absent {
    ($($name:ident)*) => {
        $(
            /// Whatever the arguments are: not supported (801).
            #[unsafe(no_mangle)]
            #[allow(non_snake_case, reason = "CUDA's names")]
            extern "C" fn $name() -> std::ffi::c_uint {
                $crate::driver::enter(stringify!($name), |_| Err(absent()))
            }
        )*

        /// The functions of this file.
        pub(super) const EXPORTS: &[Export] = &[$(Export {
            name: stringify!($name),
            address: || $name as *mut std::ffi::c_void,
        },)*];
    };
}

absent! {
    cuArray3DCreate_v2 cuArray3DGetDescriptor_v2 cuArrayDestroy

    cuCtxCreate_v2 cuCtxDestroy_v2 cuCtxGetApiVersion cuCtxGetCacheConfig cuCtxGetFlags
    cuCtxGetLimit cuCtxGetSharedMemConfig cuCtxSetCacheConfig cuCtxSetLimit cuCtxSetSharedMemConfig
    cuDevicePrimaryCtxReset_v2 cuDevicePrimaryCtxSetFlags_v2

    cuDestroyExternalMemory cuExternalMemoryGetMappedBuffer cuImportExternalMemory

    cuStreamGetFlags cuStreamGetPriority

    cuGraphAddKernelNode cuGraphCreate cuGraphDebugDotPrint cuGraphGetEdges cuGraphGetNodes
    cuGraphKernelNodeGetParams cuGraphNodeGetType

    cuFuncGetAttribute cuFuncSetCacheConfig cuFuncSetSharedMemConfig cuLaunchHostFunc cuLaunchKernel
    cuLinkAddData_v2 cuLinkComplete cuLinkCreate_v2 cuLinkDestroy cuModuleGetFunction
    cuModuleGetGlobal_v2 cuModuleLoad cuModuleLoadData cuModuleLoadDataEx cuModuleUnload
    cuOccupancyAvailableDynamicSMemPerBlock cuOccupancyMaxActiveBlocksPerMultiprocessor
    cuOccupancyMaxPotentialBlockSize

    cuMemcpy2D_v2 cuMemcpyAtoH_v2 cuMemcpyDtoD_v2 cuMemcpyDtoH_v2 cuMemcpyHtoA_v2
    cuMemcpyHtoD_v2 cuMemsetD16_v2 cuMemsetD32_v2 cuMemsetD8_v2

    cuCtxCreate_v3 cuCtxCreate_v4 cuCtxSetFlags cuDeviceGetDefaultMemPool cuDeviceGetMemPool
    cuDeviceSetMemPool cuFuncSetAttribute cuGraphExecDestroy cuGraphInstantiateWithFlags cuGraphLaunch
    cuGraphUpload cuLaunchCooperativeKernel cuMemAdvise_v2 cuMemPrefetchAsync_v2 cuMemcpyPeerAsync
    cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags cuOccupancyMaxActiveClusters
    cuOccupancyMaxPotentialBlockSizeWithFlags cuOccupancyMaxPotentialClusterSize cuProfilerStart
    cuProfilerStop cuStreamAttachMemAsync

    cuSurfObjectCreate cuSurfObjectDestroy cuSurfObjectGetResourceDesc cuTexObjectCreate
    cuTexObjectDestroy cuTexObjectGetResourceDesc cuTexObjectGetResourceViewDesc
}

fn absent() -> Refusal {
    Refusal::unsupported("the software driver has this function only so that programs start")
}
