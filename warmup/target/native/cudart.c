/* Null libcudart.so.13: the CUDA Runtime API 13.0, as far as torch, Triton, DeepGEMM, sgl-kernel and
 * TileLang link it. What stands in symbols/libcudart.txt and not here answers NOT_SUPPORTED. */
#define _GNU_SOURCE
#include "core.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dim3 {
    unsigned x, y, z;
};
struct launch_config { /* cudaLaunchConfig_t */
    struct dim3 grid, block;
    size_t shared;
    void *stream;
    void *attributes;
    unsigned count;
};
struct function_attributes { /* cudaFuncAttributes */
    size_t shared, constant, local;
    int max_threads, registers, ptx_version, binary_version, cache_mode, max_dynamic_shared;
    int carveout, cluster_must_be_set, cluster[3], cluster_policy, non_portable_cluster;
    int reserved[16];
};
struct pointer_attributes { /* cudaPointerAttributes */
    int type, device;
    void *device_pointer, *host_pointer;
    long reserved[8];
};
struct device_properties { /* cudaDeviceProp, 13.0's driver_types.h */
    char name[256];
    unsigned char uuid[16];
    char luid[8];
    unsigned luid_mask;
    size_t memory, shared_per_block;
    int registers_per_block, warp_size;
    size_t pitch;
    int threads_per_block, threads_dim[3], grid_size[3];
    size_t constant;
    int major, minor;
    size_t texture_alignment, texture_pitch_alignment;
    int multiprocessors, integrated, can_map_host;
    int textures[39]; /* maxTexture1D … maxSurfaceCubemapLayered */
    size_t surface_alignment;
    int concurrent_kernels, ecc, pci_bus, pci_device, pci_domain, tcc, async_engines;
    int unified_addressing, bus_width, l2_size, persisting_l2, threads_per_multiprocessor;
    int stream_priorities, global_l1, local_l1;
    size_t shared_per_multiprocessor;
    int registers_per_multiprocessor, managed, multi_gpu_board, multi_gpu_group, native_atomic;
    int pageable, concurrent_managed, preemption, host_pointer_registered, cooperative;
    size_t shared_optin;
    int pageable_host_tables, direct_managed, blocks_per_multiprocessor, access_window;
    size_t reserved_shared;
    int host_register, sparse_array, host_register_read_only, timeline_semaphore, memory_pools;
    int rdma;
    unsigned rdma_flush;
    int rdma_ordering;
    unsigned pool_handle_types;
    int deferred_mapping, ipc_event, cluster_launch, unified_functions, numa_config, numa_id;
    int mps, host_numa_id;
    unsigned pci_id, pci_subsystem_id;
    int host_numa_ipc;
    int reserved[56];
};

/* As the compiler laid out the documented declarations of 13.0. */
_Static_assert(sizeof(struct device_properties) == 1008, "cudaDeviceProp");
_Static_assert(offsetof(struct device_properties, surface_alignment) == 552, "cudaDeviceProp");
_Static_assert(offsetof(struct device_properties, shared_optin) == 672, "cudaDeviceProp");
_Static_assert(offsetof(struct device_properties, reserved) == 784, "cudaDeviceProp");
_Static_assert(sizeof(struct function_attributes) == 144, "cudaFuncAttributes");
_Static_assert(sizeof(struct pointer_attributes) == 88, "cudaPointerAttributes");

EXPORT int cuGetProcAddress_v2(const char *, void **, int, uint64_t, int *);

static __thread int last_error;

static int result(int error) {
    if (error) last_error = error;
    return error;
}

EXPORT int cudaGetLastError(void) {
    int error = last_error;
    last_error = OK;
    return error;
}
EXPORT int cudaPeekAtLastError(void) { return last_error; }

static const struct {
    int number;
    const char *name, *text;
} errors[] = {
    {OK, "cudaSuccess", "no error"},
    {INVALID_VALUE, "cudaErrorInvalidValue", "invalid argument"},
    {OUT_OF_MEMORY, "cudaErrorMemoryAllocation", "out of memory"},
    {NO_DEVICE, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {INVALID_DEVICE, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {INVALID_IMAGE, "cudaErrorInvalidKernelImage", "device kernel image is invalid"},
    {FILE_NOT_FOUND, "cudaErrorFileNotFound", "file not found"},
    {INVALID_HANDLE, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {NOT_FOUND, "cudaErrorSymbolNotFound", "named symbol not found"},
    {CAPTURE_INVALID, "cudaErrorStreamCaptureInvalidated", "operation failed due to a previous "
                                                           "error during capture"},
    {CAPTURE_UNMATCHED, "cudaErrorStreamCaptureUnmatched", "the capture was not begun here"},
    {NOT_SUPPORTED, "cudaErrorNotSupported", "operation not supported by the null device"},
};
static size_t find_error(int number) {
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].number == number) return i;
    return sizeof errors / sizeof *errors;
}
EXPORT const char *cudaGetErrorName(int number) {
    size_t at = find_error(number);
    return at < sizeof errors / sizeof *errors ? errors[at].name : "unrecognized error code";
}
EXPORT const char *cudaGetErrorString(int number) {
    size_t at = find_error(number);
    return at < sizeof errors / sizeof *errors ? errors[at].text : "unrecognized error code";
}

/* Devices. */
EXPORT int cudaGetDeviceCount(int *count) { return *count = null_profile()->visible, OK; }
EXPORT int cudaGetDevice(int *device) { return *device = null_device(), OK; }
EXPORT int cudaSetDevice(int device) { return result(null_set_device(device)); }
EXPORT int cudaInitDevice(int device, unsigned flags, unsigned more) {
    return (void)flags, (void)more, result(null_set_device(device));
}
EXPORT int cudaDeviceSynchronize(void) { return OK; }
EXPORT int cudaDeviceReset(void) { return OK; }
EXPORT int cudaGetDeviceFlags(unsigned *flags) { return *flags = 0, OK; }
EXPORT int cudaSetDeviceFlags(unsigned flags) { return (void)flags, OK; }
EXPORT int cudaDriverGetVersion(int *version) { return *version = null_profile()->driver, OK; }
EXPORT int cudaRuntimeGetVersion(int *version) { return *version = 13000, OK; }
EXPORT int cudaDeviceGetAttribute(int *value, int number, int device) {
    if (device < 0 || device >= null_profile()->visible) return result(INVALID_DEVICE);
    return *value = null_attribute(number), OK;
}
EXPORT int cudaDeviceGetPCIBusId(char *out, int size, int device) {
    return null_pci_id(device, out, size), OK;
}
EXPORT int cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    if (least) *least = 0;
    if (greatest) *greatest = -5;
    return OK;
}
EXPORT int cudaDeviceCanAccessPeer(int *can, int device, int peer) {
    return *can = device != peer, OK;
}
EXPORT int cudaDeviceEnablePeerAccess(int peer, unsigned flags) {
    return (void)flags, result(peer < null_profile()->visible ? OK : INVALID_DEVICE);
}
EXPORT int cudaDeviceGetLimit(size_t *value, int limit) { return (void)limit, *value = 0, OK; }
EXPORT int cudaDeviceSetLimit(int limit, size_t value) { return (void)limit, (void)value, OK; }

EXPORT int cudaGetDeviceProperties(struct device_properties *p, int device) {
    if (device < 0 || device >= null_profile()->visible) return result(INVALID_DEVICE);
    memset(p, 0, sizeof *p);
    memcpy(p->name, null_profile()->name, sizeof p->name);
    null_uuid(device, p->uuid);
    p->memory = null_profile()->memory;
    const struct { int number; int *to; } whole[] = {
        {12, &p->registers_per_block}, {10, &p->warp_size}, {1, &p->threads_per_block},
        {2, &p->threads_dim[0]}, {3, &p->threads_dim[1]}, {4, &p->threads_dim[2]},
        {5, &p->grid_size[0]}, {6, &p->grid_size[1]}, {7, &p->grid_size[2]},
        {75, &p->major}, {76, &p->minor}, {16, &p->multiprocessors}, {18, &p->integrated},
        {19, &p->can_map_host}, {31, &p->concurrent_kernels}, {32, &p->ecc},
        {34, &p->pci_device}, {50, &p->pci_domain}, {35, &p->tcc}, {40, &p->async_engines},
        {41, &p->unified_addressing}, {37, &p->bus_width}, {38, &p->l2_size},
        {108, &p->persisting_l2}, {39, &p->threads_per_multiprocessor},
        {78, &p->stream_priorities}, {79, &p->global_l1}, {80, &p->local_l1},
        {82, &p->registers_per_multiprocessor}, {83, &p->managed}, {84, &p->multi_gpu_board},
        {86, &p->native_atomic}, {88, &p->pageable}, {89, &p->concurrent_managed},
        {90, &p->preemption}, {91, &p->host_pointer_registered}, {95, &p->cooperative},
        {100, &p->pageable_host_tables}, {101, &p->direct_managed},
        {106, &p->blocks_per_multiprocessor}, {109, &p->access_window}, {99, &p->host_register},
        {113, &p->host_register_read_only}, {115, &p->memory_pools}, {116, &p->rdma},
        {125, &p->ipc_event}, {120, &p->cluster_launch}, {129, &p->unified_functions},
        {134, &p->host_numa_id},
    };
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        *whole[i].to = null_attribute(whole[i].number);
    p->pci_bus = device + 1;
    p->shared_per_block = (size_t)null_attribute(8);
    p->pitch = (size_t)null_attribute(11);
    p->constant = (size_t)null_attribute(9);
    p->texture_alignment = (size_t)null_attribute(14);
    p->texture_pitch_alignment = (size_t)null_attribute(51);
    p->surface_alignment = (size_t)null_attribute(30);
    p->shared_per_multiprocessor = (size_t)null_attribute(81);
    p->shared_optin = (size_t)null_attribute(97);
    p->reserved_shared = (size_t)null_attribute(111);
    return OK;
}

/* Memory. */
EXPORT int cudaMalloc(void **out, size_t size) {
    return result(null_alloc(null_device(), size, out));
}
EXPORT int cudaMallocAsync(void **out, size_t size, void *stream) {
    return (void)stream, cudaMalloc(out, size);
}
EXPORT int cudaMallocManaged(void **out, size_t size, unsigned flags) {
    return (void)flags, cudaMalloc(out, size);
}
EXPORT int cudaFree(void *address) { return result(null_free(address)); }
EXPORT int cudaFreeAsync(void *address, void *stream) { return (void)stream, cudaFree(address); }
EXPORT int cudaMallocHost(void **out, size_t size) { return result(null_alloc_host(size, out)); }
EXPORT int cudaHostAlloc(void **out, size_t size, unsigned flags) {
    return (void)flags, cudaMallocHost(out, size);
}
EXPORT int cudaFreeHost(void *address) { return result(null_free_host(address)); }
EXPORT int cudaHostRegister(void *address, size_t size, unsigned flags) {
    return (void)flags, result(null_register_host(address, size));
}
EXPORT int cudaHostUnregister(void *address) { return result(null_unregister_host(address)); }
EXPORT int cudaHostGetDevicePointer(void **out, void *host, unsigned flags) {
    return (void)flags, *out = host, OK;
}
EXPORT int cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    return null_memory_info(null_device(), free_bytes, total), OK;
}
EXPORT int cudaPointerGetAttributes(struct pointer_attributes *out, const void *address) {
    struct pointer found = null_find(address);
    memset(out, 0, sizeof *out);
    out->type = (int)found.kind;
    out->device = found.kind == UNREGISTERED ? -2 : found.device;
    out->device_pointer = found.kind == UNREGISTERED ? NULL : (void *)address;
    out->host_pointer = found.kind == DEVICE ? NULL : (void *)address;
    return OK;
}
EXPORT int cudaMemcpy(void *to, const void *from, size_t size, int kind) {
    return (void)kind, result(null_copy(to, from, size));
}
EXPORT int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream) {
    return (void)kind, (void)stream, result(null_copy(to, from, size));
}
EXPORT int cudaMemcpyPeer(void *to, int to_device, const void *from, int device, size_t size) {
    return (void)to_device, (void)device, result(null_copy(to, from, size));
}
EXPORT int cudaMemcpyPeerAsync(void *to, int to_device, const void *from, int device, size_t size,
                               void *stream) {
    return (void)stream, cudaMemcpyPeer(to, to_device, from, device, size);
}
EXPORT int cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t pitch, size_t width,
                        size_t height, int kind) {
    return (void)kind, result(null_copy_2d(to, to_pitch, from, pitch, width, height));
}
EXPORT int cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t pitch,
                             size_t width, size_t height, int kind, void *stream) {
    return (void)stream, cudaMemcpy2D(to, to_pitch, from, pitch, width, height, kind);
}
EXPORT int cudaMemset(void *to, int value, size_t size) {
    return result(null_fill(to, (uint32_t)value & 0xff, 1, size));
}
EXPORT int cudaMemsetAsync(void *to, int value, size_t size, void *stream) {
    return (void)stream, cudaMemset(to, value, size);
}
EXPORT int cudaMemset2DAsync(void *to, size_t pitch, int value, size_t width, size_t height,
                             void *stream) {
    (void)stream;
    for (size_t row = 0; row < height; row++) cudaMemset((char *)to + row * pitch, value, width);
    return OK;
}
static int default_pool;
EXPORT int cudaDeviceGetDefaultMemPool(void **pool, int device) {
    return (void)device, *pool = &default_pool, OK;
}
EXPORT int cudaDeviceGetMemPool(void **pool, int device) {
    return cudaDeviceGetDefaultMemPool(pool, device);
}
EXPORT int cudaMemPoolSetAttribute(void *pool, int attribute, void *value) {
    return (void)pool, (void)attribute, (void)value, OK;
}
EXPORT int cudaMemPoolGetAttribute(void *pool, int attribute, void *value) {
    (void)pool;
    if (attribute >= 4) memset(value, 0, 8); /* the thresholds and counters are 64 bits */
    else memset(value, 0, 4);
    return OK;
}
EXPORT int cudaMemPoolSetAccess(void *pool, const void *list, size_t count) {
    return (void)pool, (void)list, (void)count, OK;
}
EXPORT int cudaMemPoolTrimTo(void *pool, size_t keep) { return (void)pool, (void)keep, OK; }
EXPORT int cudaDeviceGetGraphMemAttribute(int device, int attribute, void *value) {
    return (void)device, (void)attribute, memset(value, 0, 8), OK;
}
EXPORT int cudaDeviceSetGraphMemAttribute(int device, int attribute, void *value) {
    return (void)device, (void)attribute, (void)value, OK;
}

/* Streams and events. */
EXPORT int cudaStreamCreate(void **out) { return result(null_stream_create(0, 0, out)); }
EXPORT int cudaStreamCreateWithFlags(void **out, unsigned flags) {
    return result(null_stream_create(flags, 0, out));
}
EXPORT int cudaStreamCreateWithPriority(void **out, unsigned flags, int priority) {
    return result(null_stream_create(flags, priority, out));
}
EXPORT int cudaStreamDestroy(void *stream) { return result(null_stream_destroy(stream)); }
static int check_stream(void *stream) { return result(null_stream(stream) ? OK : INVALID_HANDLE); }
EXPORT int cudaStreamQuery(void *stream) { return check_stream(stream); }
EXPORT int cudaStreamSynchronize(void *stream) { return check_stream(stream); }
EXPORT int cudaStreamWaitEvent(void *stream, void *event, unsigned flags) {
    return (void)event, (void)flags, check_stream(stream);
}
EXPORT int cudaStreamGetPriority(void *stream, int *priority) {
    return *priority = null_stream(stream) ? null_stream(stream)->priority : 0, check_stream(stream);
}
EXPORT int cudaStreamGetFlags(void *stream, unsigned *flags) {
    return *flags = null_stream(stream) ? null_stream(stream)->flags : 0, check_stream(stream);
}
EXPORT int cudaStreamGetDevice(void *stream, int *device) {
    return *device = null_stream(stream) ? null_stream(stream)->device : 0, check_stream(stream);
}
EXPORT int cudaStreamGetId(void *stream, unsigned long long *id) {
    return *id = (unsigned long long)(uintptr_t)stream, check_stream(stream);
}
EXPORT int cudaStreamAddCallback(void *stream, void (*callback)(void *, int, void *), void *data,
                                 unsigned flags) {
    (void)flags;
    return callback(stream, OK, data), check_stream(stream);
}
EXPORT int cudaLaunchHostFunc(void *stream, void (*function)(void *), void *data) {
    struct stream *found = null_stream(stream);
    if (found && found->captured) found->captured->nodes++;
    else function(data);
    return check_stream(stream);
}
EXPORT int cudaEventCreate(void **out) { return result(null_event_create(out)); }
EXPORT int cudaEventCreateWithFlags(void **out, unsigned flags) {
    return (void)flags, result(null_event_create(out));
}
EXPORT int cudaEventDestroy(void *event) { return result(null_event_destroy(event)); }
EXPORT int cudaEventRecord(void *event, void *stream) {
    return (void)stream, result(null_event_record(event));
}
EXPORT int cudaEventRecordWithFlags(void *event, void *stream, unsigned flags) {
    return (void)flags, cudaEventRecord(event, stream);
}
EXPORT int cudaEventQuery(void *event) { return (void)event, OK; }
EXPORT int cudaEventSynchronize(void *event) { return (void)event, OK; }
EXPORT int cudaEventElapsedTime(float *ms, void *start, void *end) {
    return result(null_event_elapsed(ms, start, end));
}

/* Capture and graphs. */
EXPORT int cudaThreadExchangeStreamCaptureMode(int *mode) { return (void)mode, OK; }
EXPORT int cudaStreamBeginCapture(void *stream, int mode) {
    return (void)mode, result(null_capture_begin(stream, NULL));
}
EXPORT int cudaStreamBeginCaptureToGraph(void *stream, void *graph, const void *dependencies,
                                         const void *data, size_t count, int mode) {
    (void)dependencies, (void)data, (void)count, (void)mode;
    return result(null_capture_begin(stream, null_graph(graph)));
}
EXPORT int cudaStreamEndCapture(void *stream, void **graph) {
    return result(null_capture_end(stream, graph));
}
EXPORT int cudaStreamIsCapturing(void *stream, int *status) {
    struct stream *found = null_stream(stream);
    return *status = found && found->captured, check_stream(stream);
}
EXPORT int cudaStreamGetCaptureInfo(void *stream, int *status, unsigned long long *id,
                                    void **graph, const void **dependencies, const void **data,
                                    size_t *count) {
    struct stream *found = null_stream(stream);
    if (!found) return result(INVALID_HANDLE);
    *status = found->captured != NULL;
    if (id) *id = found->capture_id;
    if (graph) *graph = found->captured;
    if (dependencies) *dependencies = NULL;
    if (data) *data = NULL;
    if (count) *count = 0;
    return OK;
}
EXPORT int cudaStreamUpdateCaptureDependencies(void *stream, void *nodes, const void *data,
                                               size_t count, unsigned flags) {
    return (void)nodes, (void)data, (void)count, (void)flags, check_stream(stream);
}
EXPORT int cudaGraphCreate(void **out, unsigned flags) {
    return (void)flags, result(null_graph_create(out));
}
EXPORT int cudaGraphDestroy(void *graph) { return result(null_graph_destroy(graph)); }
EXPORT int cudaGraphGetNodes(void *graph, void **nodes, size_t *count) {
    return result(null_graph_nodes(graph, nodes, count));
}
EXPORT int cudaGraphInstantiateWithFlags(void **out, void *graph, unsigned long long flags) {
    (void)graph, (void)flags;
    return result(null_graph_create(out)); /* an executable graph replays nothing */
}
EXPORT int cudaGraphInstantiate(void **out, void *graph, unsigned long long flags) {
    return cudaGraphInstantiateWithFlags(out, graph, flags);
}
EXPORT int cudaGraphExecDestroy(void *graph) { return result(null_graph_destroy(graph)); }
EXPORT int cudaGraphUpload(void *graph, void *stream) {
    return (void)stream, result(null_graph(graph) ? OK : INVALID_VALUE);
}
EXPORT int cudaGraphLaunch(void *graph, void *stream) { return cudaGraphUpload(graph, stream); }
struct user_object {
    void (*destroy)(void *);
    void *data;
    unsigned references;
};
EXPORT int cudaUserObjectCreate(void **out, void *data, void (*destroy)(void *), unsigned count,
                                unsigned flags) {
    (void)flags;
    struct user_object *object = malloc(sizeof *object);
    if (!object) return result(OUT_OF_MEMORY);
    *object = (struct user_object){destroy, data, count};
    return *out = object, OK;
}
EXPORT int cudaUserObjectRelease(void *handle, unsigned count) {
    struct user_object *object = handle;
    if (!object || count > object->references) return result(INVALID_VALUE);
    object->references -= count;
    if (!object->references) {
        object->destroy(object->data);
        free(object);
    }
    return OK;
}
EXPORT int cudaGraphRetainUserObject(void *graph, void *handle, unsigned count, unsigned flags) {
    struct user_object *object = handle;
    (void)graph;
    if (!(flags & 1)) object->references += count; /* 1: cudaGraphUserObjectMove */
    return OK;
}

/* Kernels and launches. */
EXPORT void **__cudaRegisterFatBinary(void *wrapper) {
    void **handle = malloc(sizeof *handle);
    return *handle = wrapper, handle;
}
EXPORT void __cudaRegisterFatBinaryEnd(void **handle) { (void)handle; }
EXPORT void __cudaUnregisterFatBinary(void **handle) { free(handle); }
EXPORT char __cudaInitModule(void **handle) { return (void)handle, 1; }
EXPORT void __cudaRegisterFunction(void **handle, const char *host, char *device, const char *name,
                                   int limit, void *tid, void *bid, void *block, void *grid,
                                   int *warp) {
    (void)handle, (void)device, (void)limit, (void)tid, (void)bid, (void)block, (void)grid;
    (void)warp;
    null_register_kernel(host, name);
}
struct symbol {
    const void *host;
    size_t size;
    void *address;
    struct symbol *next;
};
static struct symbol *symbols;
static pthread_mutex_t symbols_lock = PTHREAD_MUTEX_INITIALIZER;
EXPORT void __cudaRegisterVar(void **handle, char *host, char *device, const char *name, int ext,
                              size_t size, int constant, int global) {
    (void)handle, (void)device, (void)name, (void)ext, (void)constant, (void)global;
    struct symbol *symbol = malloc(sizeof *symbol);
    pthread_mutex_lock(&symbols_lock);
    *symbol = (struct symbol){host, size, NULL, symbols};
    symbols = symbol;
    pthread_mutex_unlock(&symbols_lock);
}
EXPORT int cudaGetSymbolAddress(void **out, const void *host) {
    int error = INVALID_VALUE;
    pthread_mutex_lock(&symbols_lock);
    for (struct symbol *symbol = symbols; symbol; symbol = symbol->next) {
        if (symbol->host != host) continue;
        error = symbol->address ? OK : null_alloc(null_device(), symbol->size, &symbol->address);
        *out = symbol->address;
        break;
    }
    pthread_mutex_unlock(&symbols_lock);
    return result(error);
}
EXPORT int cudaMemcpyToSymbol(const void *host, const void *from, size_t size, size_t offset,
                              int kind) {
    void *address = NULL;
    (void)kind;
    int error = cudaGetSymbolAddress(&address, host);
    return error ? error : result(null_copy((char *)address + offset, from, size));
}
EXPORT int __cudaGetKernel(void **out, const void *host) {
    return *out = null_host_kernel(host), result(*out ? OK : INVALID_HANDLE);
}
static __thread struct {
    struct dim3 grid, block;
    size_t shared;
    void *stream;
} pending;
EXPORT unsigned __cudaPushCallConfiguration(struct dim3 grid, struct dim3 block, size_t shared,
                                            void *stream) {
    pending.grid = grid, pending.block = block;
    pending.shared = shared, pending.stream = stream;
    return 0;
}
EXPORT int __cudaPopCallConfiguration(struct dim3 *grid, struct dim3 *block, size_t *shared,
                                      void **stream) {
    *grid = pending.grid, *block = pending.block;
    *shared = pending.shared, *stream = pending.stream;
    return OK;
}
EXPORT int cudaLaunchKernel(const void *function, struct dim3 grid, struct dim3 block, void **args,
                            size_t shared, void *stream) {
    (void)grid, (void)block, (void)args, (void)shared;
    return result(null_launch(null_host_kernel(function), stream));
}
EXPORT int __cudaLaunchKernel(void *kernel, struct dim3 grid, struct dim3 block, void **args,
                              size_t shared, void *stream) {
    return cudaLaunchKernel(kernel, grid, block, args, shared, stream);
}
EXPORT int cudaLaunchCooperativeKernel(const void *function, struct dim3 grid, struct dim3 block,
                                       void **args, size_t shared, void *stream) {
    return cudaLaunchKernel(function, grid, block, args, shared, stream);
}
EXPORT int cudaLaunchKernelExC(const struct launch_config *config, const void *function,
                               void **args) {
    (void)args;
    return result(null_launch(null_host_kernel(function), config->stream));
}
EXPORT int cudaGetFuncBySymbol(void **out, const void *host) { return __cudaGetKernel(out, host); }
EXPORT int cudaFuncGetName(const char **name, const void *function) {
    struct kernel *kernel = null_host_kernel(function);
    if (!kernel) return result(INVALID_HANDLE);
    return *name = kernel->name, OK;
}
EXPORT int cudaFuncGetAttributes(struct function_attributes *out, const void *function) {
    struct kernel *kernel = null_host_kernel(function);
    if (!kernel) return result(INVALID_HANDLE);
    memset(out, 0, sizeof *out);
    int shared, constant, local;
    null_kernel_attribute(kernel, 1, &shared);
    null_kernel_attribute(kernel, 2, &constant);
    null_kernel_attribute(kernel, 3, &local);
    out->shared = (size_t)shared, out->constant = (size_t)constant, out->local = (size_t)local;
    null_kernel_attribute(kernel, 0, &out->max_threads);
    null_kernel_attribute(kernel, 4, &out->registers);
    null_kernel_attribute(kernel, 5, &out->ptx_version);
    null_kernel_attribute(kernel, 6, &out->binary_version);
    null_kernel_attribute(kernel, 8, &out->max_dynamic_shared);
    null_kernel_attribute(kernel, 9, &out->carveout);
    return OK;
}
EXPORT int cudaFuncSetAttribute(const void *function, int number, int value) {
    struct kernel *kernel = null_host_kernel(function);
    return result(kernel ? null_kernel_set(kernel, number, value) : INVALID_HANDLE);
}
EXPORT int cudaFuncSetCacheConfig(const void *function, int config) {
    return (void)config, result(null_host_kernel(function) ? OK : INVALID_HANDLE);
}
EXPORT int cudaKernelSetAttributeForDevice(void *kernel, int number, int value, int device) {
    return (void)device, cudaFuncSetAttribute(kernel, number, value);
}
EXPORT int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *function,
                                                                  int block_size, size_t shared,
                                                                  unsigned flags) {
    struct kernel *kernel = null_host_kernel(function);
    (void)flags;
    return result(kernel ? null_occupancy(kernel, block_size, shared, blocks) : INVALID_HANDLE);
}
EXPORT int cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *function,
                                                         int block_size, size_t shared) {
    return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, block_size,
                                                                  shared, 0);
}
EXPORT int cudaOccupancyMaxActiveClusters(int *clusters, const void *function,
                                          const struct launch_config *config) {
    int blocks = 0, block = (int)(config->block.x * config->block.y * config->block.z);
    int error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, function, block,
                                                              config->shared);
    return *clusters = blocks * null_attribute(16), error;
}
EXPORT int cudaLibraryLoadData(void **library, const void *code, void *options, void **values,
                               unsigned count, void *more, void **more_values, unsigned more_count) {
    (void)options, (void)values, (void)count, (void)more, (void)more_values, (void)more_count;
    return result(null_module_load(code, library));
}
EXPORT int cudaLibraryLoadFromFile(void **library, const char *path, void *options, void **values,
                                   unsigned count, void *more, void **more_values,
                                   unsigned more_count) {
    (void)options, (void)values, (void)count, (void)more, (void)more_values, (void)more_count;
    return result(null_module_load_file(path, library));
}
EXPORT int cudaLibraryUnload(void *library) { return result(null_module_unload(library)); }
EXPORT int cudaLibraryGetKernel(void **kernel, void *library, const char *name) {
    return result(null_module_kernel(library, name, kernel));
}
EXPORT int cudaLibraryGetKernelCount(unsigned *count, void *library) {
    struct module *module = null_module(library);
    if (!module) return result(INVALID_HANDLE);
    return *count = (unsigned)module->count, OK;
}
EXPORT int cudaLibraryEnumerateKernels(void **kernels, unsigned count, void *library) {
    struct module *module = null_module(library);
    if (!module) return result(INVALID_HANDLE);
    for (unsigned i = 0; i < count && i < module->count; i++) kernels[i] = &module->kernels[i];
    return OK;
}
EXPORT int cudaGetDriverEntryPointByVersion(const char *name, void **out, unsigned version,
                                            unsigned long long flags, int *status) {
    return result(cuGetProcAddress_v2(name, out, (int)version, flags, status));
}
EXPORT int cudaGetDriverEntryPoint(const char *name, void **out, unsigned long long flags,
                                   int *status) {
    return cudaGetDriverEntryPointByVersion(name, out, 13000, flags, status);
}
EXPORT int cudaProfilerStart(void) { return OK; }
EXPORT int cudaProfilerStop(void) { return OK; }
EXPORT int cudaStreamAttachMemAsync(void *stream, void *address, size_t length, unsigned flags) {
    return (void)address, (void)length, (void)flags, check_stream(stream);
}
/* For the generated stubs of this library: what failed is also the last error. */
int null_stub_result(const char *symbol) { return result(null_unsupported(symbol)); }
