/* A stand-in of CUDA's runtime, as much of it as vmem_rmm.hpp calls. It notes what it was asked. */
#include <cuda_runtime_api.h>

int cudart_device, cudart_waits, cudart_waited_on, cudart_failing;

cudaError_t cudaGetDevice(int *device) {
    *device = cudart_device;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
    cudart_device = device;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    if (cudart_failing || stream != cudaStreamLegacy)
        return cudaErrorInvalidValue;
    cudart_waits++;
    cudart_waited_on = cudart_device;
    return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t error) {
    return error == cudaSuccess ? "no error" : "the stand-in failed";
}

/* Where a program is compiled for per-thread default streams the header of the runtime names this one. */
cudaError_t cudaStreamSynchronize_ptsz(cudaStream_t stream) { return cudaStreamSynchronize(stream); }
