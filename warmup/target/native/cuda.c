/* Null libcuda.so.1: the CUDA Driver API 13.0, what engines and their compilers link or ask for by
 * cuGetProcAddress. What stands in symbols/libcuda.txt and not here answers NOT_SUPPORTED. */
#define _GNU_SOURCE
#include "core.h"
#include "versions.h" /* generated: {name, first version, symbol} from symbols/libcuda.versions.txt */

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

typedef uintptr_t address; /* CUdeviceptr */
struct launch_config { /* CUlaunchConfig */
    unsigned grid[3], block[3], shared;
    void *stream;
    void *attributes;
    unsigned count;
};

/* Contexts: one primary a device; a handle is an address inside this table. */
static char contexts[MAX_DEVICES];
static __thread void *current;

static void *get_context(int device) { return &contexts[device]; }
static int find_device(void *context) {
    ptrdiff_t at = (char *)context - contexts;
    return at >= 0 && at < null_profile()->visible ? (int)at : -1;
}
static int check_device(int device) {
    return device >= 0 && device < null_profile()->visible ? OK : INVALID_DEVICE;
}

EXPORT int cuInit(unsigned flags) { return (void)flags, null_profile() ? OK : NO_DEVICE; }
EXPORT int cuDriverGetVersion(int *version) { return *version = null_profile()->driver, OK; }
EXPORT int cuDeviceGetCount(int *count) { return *count = null_profile()->visible, OK; }
EXPORT int cuDeviceGet(int *device, int ordinal) { return *device = ordinal, check_device(ordinal); }
EXPORT int cuDeviceGetName(char *out, int size, int device) {
    return snprintf(out, (size_t)size, "%s", null_profile()->name), check_device(device);
}
EXPORT int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    return *bytes = null_profile()->memory, check_device(device);
}
EXPORT int cuDeviceGetAttribute(int *value, int number, int device) {
    return *value = null_attribute(number), check_device(device);
}
EXPORT int cuDeviceGetUuid_v2(unsigned char *out, int device) {
    return null_uuid(device, out), check_device(device);
}
EXPORT int cuDeviceGetUuid(unsigned char *out, int device) { return cuDeviceGetUuid_v2(out, device); }
EXPORT int cuDeviceGetPCIBusId(char *out, int size, int device) {
    return null_pci_id(device, out, size), check_device(device);
}
EXPORT int cuDeviceCanAccessPeer(int *can, int device, int peer) {
    return *can = device != peer, check_device(device);
}
EXPORT int cuDeviceComputeCapability(int *major, int *minor, int device) {
    return *major = null_attribute(75), *minor = null_attribute(76), check_device(device);
}

EXPORT int cuDevicePrimaryCtxRetain(void **context, int device) {
    if (check_device(device)) return INVALID_DEVICE;
    return *context = get_context(device), OK;
}
EXPORT int cuDevicePrimaryCtxRelease_v2(int device) { return check_device(device); }
EXPORT int cuDevicePrimaryCtxSetFlags_v2(int device, unsigned flags) {
    return (void)flags, check_device(device);
}
EXPORT int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) {
    return *flags = 0, *active = 1, check_device(device);
}
/* Without one set, the context is that of the runtime's device: both APIs share it. */
EXPORT int cuCtxGetCurrent(void **context) {
    return *context = current && find_device(current) == null_device() ? current
                                                                        : get_context(null_device()),
           OK;
}
EXPORT int cuCtxSetCurrent(void *context) {
    if (!context) return current = NULL, OK;
    int device = find_device(context);
    if (device < 0) return INVALID_HANDLE;
    return current = context, null_set_device(device);
}
EXPORT int cuCtxPushCurrent_v2(void *context) { return cuCtxSetCurrent(context); }
EXPORT int cuCtxPopCurrent_v2(void **context) { return context ? cuCtxGetCurrent(context) : OK; }
EXPORT int cuCtxCreate_v4(void **context, void *params, unsigned flags, int device) {
    return (void)params, (void)flags, cuDevicePrimaryCtxRetain(context, device);
}
EXPORT int cuCtxCreate_v2(void **context, unsigned flags, int device) {
    return cuCtxCreate_v4(context, NULL, flags, device);
}
EXPORT int cuCtxDestroy_v2(void *context) { return (void)context, OK; }
EXPORT int cuCtxGetDevice(int *device) { return *device = null_device(), OK; }
EXPORT int cuCtxGetDevice_v2(int *device, void *context) {
    *device = find_device(context);
    return *device < 0 ? INVALID_HANDLE : OK;
}
EXPORT int cuCtxGetFlags(unsigned *flags) { return *flags = 0, OK; }
EXPORT int cuCtxGetId(void *context, unsigned long long *id) {
    return *id = (unsigned long long)(find_device(context) + 1), OK;
}
EXPORT int cuCtxGetApiVersion(void *context, unsigned *version) {
    return (void)context, *version = 13000, OK;
}
EXPORT int cuCtxSynchronize(void) { return OK; }
EXPORT int cuCtxGetLimit(size_t *value, int limit) { return (void)limit, *value = 0, OK; }
EXPORT int cuCtxSetLimit(int limit, size_t value) { return (void)limit, (void)value, OK; }
EXPORT int cuCtxGetStreamPriorityRange(int *least, int *greatest) {
    if (least) *least = 0;
    if (greatest) *greatest = -5;
    return OK;
}
EXPORT int cuCtxEnablePeerAccess(void *peer, unsigned flags) { return (void)peer, (void)flags, OK; }

static const struct {
    int number;
    const char *name, *text;
} errors[] = {
    {OK, "CUDA_SUCCESS", "no error"},
    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {FILE_NOT_FOUND, "CUDA_ERROR_FILE_NOT_FOUND", "file not found"},
    {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported by the null device"},
};
static int describe(int error, const char **out, bool by_name) {
    *out = NULL;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].number == error) *out = by_name ? errors[i].name : errors[i].text;
    return *out ? OK : INVALID_VALUE;
}
EXPORT int cuGetErrorString(int error, const char **out) { return describe(error, out, false); }
EXPORT int cuGetErrorName(int error, const char **out) { return describe(error, out, true); }

/* Memory. */
EXPORT int cuMemAlloc_v2(address *out, size_t size) {
    return null_alloc(null_device(), size, (void **)out);
}
EXPORT int cuMemAllocAsync(address *out, size_t size, void *stream) {
    return (void)stream, cuMemAlloc_v2(out, size);
}
EXPORT int cuMemAllocManaged(address *out, size_t size, unsigned flags) {
    return (void)flags, cuMemAlloc_v2(out, size);
}
EXPORT int cuMemFree_v2(address at) { return null_free((void *)at); }
EXPORT int cuMemFreeAsync(address at, void *stream) { return (void)stream, null_free((void *)at); }
EXPORT int cuMemAllocHost_v2(void **out, size_t size) { return null_alloc_host(size, out); }
EXPORT int cuMemHostAlloc(void **out, size_t size, unsigned flags) {
    return (void)flags, null_alloc_host(size, out);
}
EXPORT int cuMemFreeHost(void *at) { return null_free_host(at); }
EXPORT int cuMemHostRegister_v2(void *at, size_t size, unsigned flags) {
    return (void)flags, null_register_host(at, size);
}
EXPORT int cuMemHostUnregister(void *at) { return null_unregister_host(at); }
EXPORT int cuMemHostGetDevicePointer_v2(address *out, void *host, unsigned flags) {
    return (void)flags, *out = (address)host, OK;
}
EXPORT int cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    return null_memory_info(null_device(), free_bytes, total), OK;
}
EXPORT int cuMemGetAddressRange_v2(address *base, size_t *size, address at) {
    struct pointer found = null_find((void *)at);
    if (base) *base = found.base;
    if (size) *size = found.size;
    return found.kind == UNREGISTERED ? NOT_FOUND : OK;
}
/* Numbers of CUpointer_attribute; CU_MEMORYTYPE_HOST is 1 and DEVICE 2. */
EXPORT int cuPointerGetAttribute(void *out, int number, address at) {
    struct pointer found = null_find((void *)at);
    if (found.kind == UNREGISTERED) return INVALID_VALUE;
    switch (number) {
    case 1: *(void **)out = get_context(found.device); return OK;
    case 2: *(unsigned *)out = (unsigned)found.kind; return OK;
    case 3:
    case 4: *(address *)out = at; return OK;
    case 7: *(unsigned long long *)out = found.base; return OK;
    case 6:
    case 8:
    case 10:
    case 15: *(unsigned char *)out = 0; return OK;
    case 9: *(int *)out = found.device; return OK;
    case 11: *(address *)out = found.base; return OK;
    case 12: *(size_t *)out = found.size; return OK;
    case 13: *(unsigned char *)out = 1; return OK;
    default: return null_unsupported("cuPointerGetAttribute");
    }
}
EXPORT int cuPointerGetAttributes(unsigned count, const int *numbers, void **out, address at) {
    struct pointer found = null_find((void *)at);
    for (unsigned i = 0; i < count; i++)
        if (found.kind == UNREGISTERED) memset(out[i], 0, 4);
        else cuPointerGetAttribute(out[i], numbers[i], at);
    return OK;
}
EXPORT int cuPointerSetAttribute(const void *value, int number, address at) {
    return (void)value, (void)number, (void)at, OK;
}
EXPORT int cuMemcpy(address to, address from, size_t size) {
    return null_copy((void *)to, (void *)from, size);
}
EXPORT int cuMemcpyAsync(address to, address from, size_t size, void *stream) {
    return (void)stream, cuMemcpy(to, from, size);
}
EXPORT int cuMemcpyHtoD_v2(address to, const void *from, size_t size) {
    return null_copy((void *)to, from, size);
}
EXPORT int cuMemcpyHtoDAsync_v2(address to, const void *from, size_t size, void *stream) {
    return (void)stream, cuMemcpyHtoD_v2(to, from, size);
}
EXPORT int cuMemcpyDtoH_v2(void *to, address from, size_t size) {
    return null_copy(to, (void *)from, size);
}
EXPORT int cuMemcpyDtoHAsync_v2(void *to, address from, size_t size, void *stream) {
    return (void)stream, cuMemcpyDtoH_v2(to, from, size);
}
EXPORT int cuMemcpyDtoD_v2(address to, address from, size_t size) { return cuMemcpy(to, from, size); }
EXPORT int cuMemcpyDtoDAsync_v2(address to, address from, size_t size, void *stream) {
    return cuMemcpyAsync(to, from, size, stream);
}
EXPORT int cuMemsetD8_v2(address to, unsigned char value, size_t count) {
    return null_fill((void *)to, value, 1, count);
}
EXPORT int cuMemsetD16_v2(address to, unsigned short value, size_t count) {
    return null_fill((void *)to, value, 2, count);
}
EXPORT int cuMemsetD32_v2(address to, unsigned value, size_t count) {
    return null_fill((void *)to, value, 4, count);
}
EXPORT int cuMemsetD8Async(address to, unsigned char value, size_t count, void *stream) {
    return (void)stream, cuMemsetD8_v2(to, value, count);
}
EXPORT int cuMemsetD16Async(address to, unsigned short value, size_t count, void *stream) {
    return (void)stream, cuMemsetD16_v2(to, value, count);
}
EXPORT int cuMemsetD32Async(address to, unsigned value, size_t count, void *stream) {
    return (void)stream, cuMemsetD32_v2(to, value, count);
}
EXPORT int cuStreamWriteValue32_v2(void *stream, address at, unsigned value, unsigned flags) {
    return (void)stream, (void)flags, *(unsigned *)at = value, OK;
}

/* Streams, events, capture, graphs. */
static int check_stream(void *stream) { return null_stream(stream) ? OK : INVALID_HANDLE; }
EXPORT int cuStreamCreate(void **out, unsigned flags) { return null_stream_create(flags, 0, out); }
EXPORT int cuStreamCreateWithPriority(void **out, unsigned flags, int priority) {
    return null_stream_create(flags, priority, out);
}
EXPORT int cuStreamDestroy_v2(void *stream) { return null_stream_destroy(stream); }
EXPORT int cuStreamQuery(void *stream) { return check_stream(stream); }
EXPORT int cuStreamSynchronize(void *stream) { return check_stream(stream); }
EXPORT int cuStreamWaitEvent(void *stream, void *event, unsigned flags) {
    return (void)event, (void)flags, check_stream(stream);
}
EXPORT int cuStreamGetCtx(void *stream, void **context) {
    struct stream *found = null_stream(stream);
    if (!found) return INVALID_HANDLE;
    return *context = get_context((uintptr_t)stream <= 2 ? null_device() : found->device), OK;
}
EXPORT int cuStreamGetDevice(void *stream, int *device) {
    struct stream *found = null_stream(stream);
    return *device = found ? found->device : 0, check_stream(stream);
}
EXPORT int cuStreamIsCapturing(void *stream, int *status) {
    struct stream *found = null_stream(stream);
    return *status = found && found->captured, check_stream(stream);
}
EXPORT int cuStreamBeginCapture_v2(void *stream, int mode) {
    return (void)mode, null_capture_begin(stream, NULL);
}
EXPORT int cuStreamEndCapture(void *stream, void **graph) { return null_capture_end(stream, graph); }
EXPORT int cuStreamGetCaptureInfo_v3(void *stream, int *status, uint64_t *id, void **graph,
                                     const void **nodes, const void **edges, size_t *count) {
    struct stream *found = null_stream(stream);
    if (!found) return INVALID_HANDLE;
    *status = found->captured != NULL;
    if (id) *id = found->capture_id;
    if (graph) *graph = found->captured;
    if (nodes) *nodes = NULL;
    if (edges) *edges = NULL;
    if (count) *count = 0;
    return OK;
}
EXPORT int cuStreamGetCaptureInfo_v2(void *stream, int *status, uint64_t *id, void **graph,
                                     const void **nodes, size_t *count) {
    return cuStreamGetCaptureInfo_v3(stream, status, id, graph, nodes, NULL, count);
}
EXPORT int cuThreadExchangeStreamCaptureMode(int *mode) { return (void)mode, OK; }
EXPORT int cuLaunchHostFunc(void *stream, void (*function)(void *), void *data) {
    struct stream *found = null_stream(stream);
    if (found && found->captured) found->captured->nodes++;
    else function(data);
    return check_stream(stream);
}
EXPORT int cuEventCreate(void **out, unsigned flags) { return (void)flags, null_event_create(out); }
EXPORT int cuEventDestroy_v2(void *event) { return null_event_destroy(event); }
EXPORT int cuEventRecord(void *event, void *stream) {
    return (void)stream, null_event_record(event);
}
EXPORT int cuEventQuery(void *event) { return (void)event, OK; }
EXPORT int cuEventSynchronize(void *event) { return (void)event, OK; }
EXPORT int cuEventElapsedTime_v2(float *ms, void *start, void *end) {
    return null_event_elapsed(ms, start, end);
}
EXPORT int cuEventElapsedTime(float *ms, void *start, void *end) {
    return null_event_elapsed(ms, start, end);
}
EXPORT int cuGraphCreate(void **out, unsigned flags) { return (void)flags, null_graph_create(out); }
EXPORT int cuGraphDestroy(void *graph) { return null_graph_destroy(graph); }
EXPORT int cuGraphGetNodes(void *graph, void **nodes, size_t *count) {
    return null_graph_nodes(graph, nodes, count);
}
EXPORT int cuGraphInstantiateWithFlags(void **out, void *graph, unsigned long long flags) {
    return (void)graph, (void)flags, null_graph_create(out);
}
EXPORT int cuGraphLaunch(void *graph, void *stream) {
    return null_graph(graph) ? check_stream(stream) : INVALID_VALUE;
}
EXPORT int cuGraphExecDestroy(void *graph) { return null_graph_destroy(graph); }

/* Modules, libraries, kernels. A module and a library, a function and a kernel are one thing here. */
EXPORT int cuModuleLoadData(void **out, const void *image) { return null_module_load(image, out); }
EXPORT int cuModuleLoadDataEx(void **out, const void *image, unsigned count, void *options,
                              void **values) {
    return (void)count, (void)options, (void)values, null_module_load(image, out);
}
EXPORT int cuModuleLoadFatBinary(void **out, const void *image) { return null_module_load(image, out); }
EXPORT int cuModuleLoad(void **out, const char *path) { return null_module_load_file(path, out); }
EXPORT int cuModuleUnload(void *module) { return null_module_unload(module); }
EXPORT int cuModuleGetFunction(void **out, void *module, const char *name) {
    return null_module_kernel(module, name, out);
}
EXPORT int cuModuleGetLoadingMode(int *mode) { return *mode = 2, OK; } /* CU_MODULE_LAZY_LOADING */
EXPORT int cuModuleGetFunctionCount(unsigned *count, void *module) {
    struct module *found = null_module(module);
    return *count = found ? (unsigned)found->count : 0, found ? OK : INVALID_HANDLE;
}
EXPORT int cuLibraryLoadData(void **out, const void *image, void *options, void **values,
                             unsigned count, void *more, void **more_values, unsigned more_count) {
    (void)options, (void)values, (void)count, (void)more, (void)more_values, (void)more_count;
    return null_module_load(image, out);
}
EXPORT int cuLibraryLoadFromFile(void **out, const char *path, void *options, void **values,
                                 unsigned count, void *more, void **more_values,
                                 unsigned more_count) {
    (void)options, (void)values, (void)count, (void)more, (void)more_values, (void)more_count;
    return null_module_load_file(path, out);
}
EXPORT int cuLibraryUnload(void *library) { return null_module_unload(library); }
EXPORT int cuLibraryGetModule(void **out, void *library) {
    return *out = library, null_module(library) ? OK : INVALID_HANDLE;
}
EXPORT int cuLibraryGetKernel(void **out, void *library, const char *name) {
    return null_module_kernel(library, name, out);
}
EXPORT int cuLibraryGetKernelCount(unsigned *count, void *library) {
    return cuModuleGetFunctionCount(count, library);
}
EXPORT int cuLibraryEnumerateKernels(void **kernels, unsigned count, void *library) {
    struct module *found = null_module(library);
    for (unsigned i = 0; found && i < count && i < found->count; i++) kernels[i] = &found->kernels[i];
    return found ? OK : INVALID_HANDLE;
}
EXPORT int cuKernelGetFunction(void **out, void *kernel) {
    return *out = kernel, null_kernel(kernel) ? OK : INVALID_HANDLE;
}
EXPORT int cuKernelGetName(const char **out, void *kernel) {
    struct kernel *found = null_kernel(kernel);
    return *out = found ? found->name : NULL, found ? OK : INVALID_HANDLE;
}
EXPORT int cuFuncGetName(const char **out, void *kernel) { return cuKernelGetName(out, kernel); }
EXPORT int cuFuncGetAttribute(int *out, int number, void *kernel) {
    struct kernel *found = null_kernel(kernel);
    return found ? null_kernel_attribute(found, number, out) : INVALID_HANDLE;
}
EXPORT int cuKernelGetAttribute(int *out, int number, void *kernel, int device) {
    return (void)device, cuFuncGetAttribute(out, number, kernel);
}
EXPORT int cuFuncSetAttribute(void *kernel, int number, int value) {
    struct kernel *found = null_kernel(kernel);
    return found ? null_kernel_set(found, number, value) : INVALID_HANDLE;
}
EXPORT int cuKernelSetAttribute(int number, int value, void *kernel, int device) {
    return (void)device, cuFuncSetAttribute(kernel, number, value);
}
EXPORT int cuFuncSetCacheConfig(void *kernel, int config) {
    return (void)config, null_kernel(kernel) ? OK : INVALID_HANDLE;
}
EXPORT int cuFuncLoad(void *kernel) { return null_kernel(kernel) ? OK : INVALID_HANDLE; }
EXPORT int cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *out, void *kernel, int block,
                                                                size_t shared, unsigned flags) {
    struct kernel *found = null_kernel(kernel);
    return (void)flags, found ? null_occupancy(found, block, shared, out) : INVALID_HANDLE;
}
EXPORT int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *out, void *kernel, int block,
                                                       size_t shared) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(out, kernel, block, shared, 0);
}
EXPORT int cuOccupancyMaxActiveClusters(int *out, void *kernel, const struct launch_config *config) {
    int blocks = 0, block = (int)(config->block[0] * config->block[1] * config->block[2]);
    int error = cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, block, config->shared);
    return *out = blocks * null_attribute(16), error;
}
EXPORT int cuLaunchKernel(void *kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                          unsigned by, unsigned bz, unsigned shared, void *stream, void **args,
                          void **extra) {
    (void)gx, (void)gy, (void)gz, (void)bx, (void)by, (void)bz, (void)shared, (void)args;
    (void)extra;
    return null_launch(null_kernel(kernel), stream);
}
EXPORT int cuLaunchCooperativeKernel(void *kernel, unsigned gx, unsigned gy, unsigned gz,
                                     unsigned bx, unsigned by, unsigned bz, unsigned shared,
                                     void *stream, void **args) {
    return cuLaunchKernel(kernel, gx, gy, gz, bx, by, bz, shared, stream, args, NULL);
}
EXPORT int cuLaunchKernelEx(const struct launch_config *config, void *kernel, void **args,
                            void **extra) {
    return (void)args, (void)extra, null_launch(null_kernel(kernel), config->stream);
}
/* 128 opaque bytes that only a kernel would read. */
EXPORT int cuTensorMapEncodeTiled(void *map, int type, unsigned rank, void *at, const void *sizes,
                                  const void *strides, const void *box, const void *steps,
                                  int interleave, int swizzle, int l2, int fill) {
    (void)type, (void)rank, (void)at, (void)sizes, (void)strides, (void)box, (void)steps;
    (void)interleave, (void)swizzle, (void)l2, (void)fill;
    return memset(map, 0, 128), OK;
}
EXPORT int cuTensorMapEncodeIm2col(void *map, int type, unsigned rank, void *at, const void *sizes,
                                   const void *strides, const void *low, const void *high,
                                   unsigned channels, unsigned pixels, const void *steps,
                                   int interleave, int swizzle, int l2, int fill) {
    (void)low, (void)high, (void)channels, (void)pixels;
    return cuTensorMapEncodeTiled(map, type, rank, at, sizes, strides, NULL, steps, interleave,
                                  swizzle, l2, fill);
}
EXPORT int cuProfilerStart(void) { return OK; }
EXPORT int cuProfilerStop(void) { return OK; }

/* The symbol that a name means at a CUDA version: the newest that is not newer than asked for. */
static const char *choose_symbol(const char *name, int version) {
    const char *chosen = NULL;
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++)
        if (!strcmp(versions[i].name, name) && (versions[i].first <= version || !chosen))
            chosen = versions[i].symbol;
    return chosen ? chosen : name;
}

/* Tables that nobody documents. Who asks has a runtime of its own linked in: it is named. */
EXPORT int cuGetExportTable(const void **table, const void *id) {
    (void)id;
    Dl_info caller;
    *table = NULL;
    bool is_known = dladdr(__builtin_return_address(0), &caller) && caller.dli_fname;
    null_trace("own-runtime", is_known ? caller.dli_fname : "(unknown)");
    return NOT_SUPPORTED;
}

EXPORT int cuGetProcAddress_v2(const char *name, void **out, int version, uint64_t flags,
                               int *status) {
    Dl_info self;
    (void)flags;
    *out = NULL;
    if (name && dladdr((void *)cuInit, &self)) {
        void *library = dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
        if (library) {
            *out = dlsym(library, choose_symbol(name, version));
            if (!*out) *out = dlsym(library, name);
            dlclose(library);
        }
    }
    if (status) *status = *out ? 0 : 1; /* CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND */
    if (!*out) null_trace("no-entry-point", name ? name : "(null)");
    return *out ? OK : NOT_FOUND;
}
EXPORT int cuGetProcAddress(const char *name, void **out, int version, uint64_t flags) {
    return cuGetProcAddress_v2(name, out, version, flags, NULL);
}
int null_stub_result(const char *symbol) { return null_unsupported(symbol); }
