//! Every function of the driver that programs reach from here. cudarc looks one up when it is first
//! called, and panics if there is none.

use cudarc::driver::{CudaContext, sys};
use cudarc::nvrtc::Ptx;
use vmem_cudarc::VmemSlice;

use crate::support::{bench, calls, has_control, skip, turn};

/// A kernel without a body.
const PTX: &str =
    ".version 6.5\n.target sm_50\n.address_size 64\n.visible .entry nothing()\n{ ret; }\n";

/// What slices, their streams and what cudarc does with them call.
const REACHED: &[&str] = &[
    "cuCtxGetCurrent",
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRetain",
    "cuDeviceTotalMem_v2",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventQuery",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuGetErrorString",
    "cuGraphDestroy",
    "cuInit",
    "cuMemAllocAsync",
    "cuMemFreeAsync",
    "cuMemFreeHost",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleLoadData",
    "cuStreamBeginCapture_v2",
    "cuStreamCreate",
    "cuStreamCreateWithPriority",
    "cuStreamDestroy_v2",
    "cuStreamEndCapture",
    "cuStreamIsCapturing",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
];

#[test]
fn every_function_that_programs_reach_is_there() {
    let Some(bench) = bench() else { return };
    let (pool, _) = bench.pool();
    let stream = bench.stream();
    let theirs = stream.cudarc();
    let context = &bench.context;
    assert!(CudaContext::device_count().unwrap() > 0);
    assert!(!context.name().unwrap().is_empty());
    context.uuid().unwrap();
    assert!(context.total_mem().unwrap() >= context.mem_get_info().unwrap().0);
    context.compute_capability().unwrap();

    // Copies with memory of every kind.
    let x = VmemSlice::clone_htod(pool.clone(), &[1_u8, 2, 3], &stream).unwrap();
    let mut y = VmemSlice::<u8>::alloc_zeros(pool.clone(), 3, &stream).unwrap();
    theirs.memcpy_dtod(&x, &mut y).unwrap();
    let of_cudarc = x.as_cuda_slice().try_clone().unwrap();
    theirs.memcpy_dtod(&of_cudarc, &mut y).unwrap();
    // SAFETY: written below before it is read.
    let mut pinned = unsafe { context.alloc_pinned::<u8>(3) }.unwrap();
    theirs.memcpy_dtoh(&y, &mut pinned).unwrap();
    assert_eq!(pinned.as_slice().unwrap(), [1, 2, 3]);
    theirs.memcpy_htod(&pinned, &mut y).unwrap();
    theirs.synchronize().unwrap();
    drop((of_cudarc, pinned));

    // Streams and events.
    let fork = theirs.fork().unwrap();
    theirs.join(&fork).unwrap();
    let urgent = context.new_stream_with_priority(0).unwrap();
    let timed = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
    let (start, end) = (urgent.record_event(timed).unwrap(), urgent.record_event(timed).unwrap());
    assert!(start.elapsed_ms(&end).unwrap() >= 0.0);
    assert!(end.try_is_complete().unwrap());
    urgent.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED).unwrap();
    assert_eq!(
        urgent.capture_status().unwrap(),
        sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_ACTIVE
    );
    let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    // The software driver launches no graphs: it answers an error.
    let _ = urgent.end_capture(flags);

    // A kernel, which the software driver has a refusal for.
    match context.load_module(Ptx::from_src(PTX)) {
        Ok(module) => drop(module.load_function("nothing").unwrap()),
        Err(refused) => assert!(refused.to_string().contains("NOT_SUPPORTED"), "{refused}"),
    }
    let _ = context.check_err();

    drop((x, y, fork, urgent, start, end, pool, stream));
    if has_control() {
        let missed: Vec<_> = REACHED.iter().filter(|name| calls(name) == 0).collect();
        assert!(missed.is_empty(), "this test does not call {missed:?}");
    }
    bench.finish();
}

/// Whatever cudarc's `driver` may look up, from its own text: the declarations that it compiles are not
/// all reached by tests.
#[test]
fn the_software_driver_has_every_function_of_cudarcs_safe_layer() {
    let Some(_turn) = turn("") else { return };
    if !has_control() {
        skip("a GPU's driver has what its version has");
        return;
    }
    let there = crate::support::control("functions");
    let there: Vec<_> = there.lines().collect();
    let missing: Vec<_> =
        SAFE_LAYER.split_whitespace().filter(|one| !there.contains(one)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The functions that `driver::safe` and `driver::result` of cudarc 0.19 name.
const SAFE_LAYER: &str = "
    cuCtxCreate_v3 cuCtxCreate_v4 cuCtxDestroy_v2 cuCtxGetCacheConfig cuCtxGetCurrent
    cuCtxGetLimit cuCtxGetStreamPriorityRange cuCtxSetCacheConfig cuCtxSetCurrent cuCtxSetFlags
    cuCtxSetLimit cuCtxSynchronize cuDestroyExternalMemory cuDeviceGet cuDeviceGetAttribute
    cuDeviceGetCount cuDeviceGetDefaultMemPool cuDeviceGetMemPool cuDeviceGetName cuDeviceGetUuid
    cuDeviceGetUuid_v2 cuDevicePrimaryCtxRelease_v2 cuDevicePrimaryCtxRetain cuDeviceSetMemPool
    cuDeviceTotalMem_v2 cuEventCreate cuEventDestroy_v2 cuEventElapsedTime cuEventElapsedTime_v2
    cuEventQuery cuEventRecord cuEventSynchronize cuExternalMemoryGetMappedBuffer
    cuFuncGetAttribute cuFuncSetAttribute cuFuncSetCacheConfig cuGetErrorName cuGetErrorString
    cuGraphDestroy cuGraphExecDestroy cuGraphInstantiateWithFlags cuGraphLaunch cuGraphUpload
    cuImportExternalMemory cuInit cuLaunchCooperativeKernel cuLaunchHostFunc cuLaunchKernel
    cuMemAdvise_v2 cuMemAllocAsync cuMemAllocFromPoolAsync cuMemAllocManaged cuMemAlloc_v2
    cuMemFreeAsync cuMemFreeHost cuMemFree_v2 cuMemGetInfo_v2 cuMemHostAlloc cuMemPoolCreate
    cuMemPoolDestroy cuMemPoolGetAttribute cuMemPoolSetAttribute cuMemPoolTrimTo
    cuMemPrefetchAsync_v2 cuMemcpyDtoDAsync_v2 cuMemcpyDtoD_v2 cuMemcpyDtoHAsync_v2
    cuMemcpyDtoH_v2 cuMemcpyHtoDAsync_v2 cuMemcpyHtoD_v2 cuMemcpyPeerAsync cuMemsetD8Async
    cuMemsetD8_v2 cuModuleGetFunction cuModuleGetGlobal_v2 cuModuleLoad cuModuleLoadData
    cuModuleUnload cuOccupancyAvailableDynamicSMemPerBlock
    cuOccupancyMaxActiveBlocksPerMultiprocessor
    cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags cuOccupancyMaxActiveClusters
    cuOccupancyMaxPotentialBlockSize cuOccupancyMaxPotentialBlockSizeWithFlags
    cuOccupancyMaxPotentialClusterSize cuProfilerStart cuProfilerStop cuStreamAttachMemAsync
    cuStreamBeginCapture_v2 cuStreamCreate cuStreamCreateWithPriority cuStreamDestroy_v2
    cuStreamEndCapture cuStreamIsCapturing cuStreamSynchronize cuStreamWaitEvent
";
