/* The core of the null device: memory, streams and events, modules, devices, trace.
 *
 * libwarmup_null.so holds it; null libcudart, libcuda, libcublas(Lt), libnccl and libnvidia-ml are
 * thin over it. Our own minimal declarations, no CUDA header: names, numbers and struct layouts are
 * those of the CUDA Runtime and Driver API 13.0 documentation. Results are `int`: the runtime's
 * cudaError and the driver's CUresult share the numbers used here (both manuals, "Data types").
 */
#ifndef WARMUP_NULL_CORE_H
#define WARMUP_NULL_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    OK = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    FILE_NOT_FOUND = 301,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    CAPTURE_UNMATCHED = 905,
    CAPTURE_INVALID = 901,
    NOT_SUPPORTED = 801
};

#define EXPORT __attribute__((visibility("default")))
#define MAX_DEVICES 64
#define MAX_ATTRIBUTES 256

/* What the devices claim to be; read once from the file that WARMUP_CI_NULL_PROFILE names.
 * attributes: by CUdevice_attribute's number, which cudaDeviceAttr shares. */
struct profile {
    int devices;     /* that NVML shows */
    int visible;     /* that CUDA shows: CUDA_VISIBLE_DEVICES may name fewer */
    char name[256];
    uint64_t memory;      /* bytes, as cudaMemGetInfo gives them */
    uint64_t nvml_memory; /* bytes, as NVML gives them: what the driver keeps is in it */
    int driver;      /* as cudaDriverGetVersion: 13000 */
    char driver_text[64];
    int attributes[MAX_ATTRIBUTES];
    int clocks_mhz[4]; /* graphics, SM, memory, video: nvmlClockType_t's order */
    int power_limit_mw;
};
EXPORT const struct profile *null_profile(void);
EXPORT int null_attribute(int number);
EXPORT void null_uuid(int device, unsigned char out[16]);
EXPORT void null_pci_id(int device, char *out, int size);

/* The current device of the calling thread. */
EXPORT int null_device(void);
EXPORT int null_set_device(int device);

/* Each entry that nobody wrote says so once and answers NOT_SUPPORTED: callers fall back. */
EXPORT int null_unsupported(const char *symbol);
EXPORT void null_trace(const char *event, const char *detail);

/* Memory. Device memory is host address space that is backed only where it is touched. */
enum memory_kind { UNREGISTERED = 0, HOST = 1, DEVICE = 2 };
struct pointer {
    enum memory_kind kind;
    int device;
    uintptr_t base;
    size_t size;
};
EXPORT int null_alloc(int device, size_t size, void **out);
EXPORT int null_free(void *address);
EXPORT int null_alloc_host(size_t size, void **out);
EXPORT int null_free_host(void *address);
EXPORT int null_register_host(void *address, size_t size);
EXPORT int null_unregister_host(void *address);
EXPORT void null_memory_info(int device, size_t *free_bytes, size_t *total);
EXPORT struct pointer null_find(const void *address);
EXPORT int null_copy(void *to, const void *from, size_t size);
EXPORT int null_copy_2d(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                        size_t width, size_t height);
EXPORT int null_fill(void *to, uint32_t value, size_t width, size_t count);

/* Streams, events, graphs. Work is done when it is asked for: nothing is ever pending. */
struct graph {
    uint32_t magic;
    int references;
    size_t nodes;
};
struct stream {
    uint32_t magic;
    int device;
    unsigned flags;
    int priority;
    struct graph *captured; /* NULL unless a capture is under way */
    bool owns_graph;
    uint64_t capture_id;
};
struct event {
    uint32_t magic;
    bool recorded;
    uint64_t time_ns;
};
EXPORT int null_stream_create(unsigned flags, int priority, void **out);
EXPORT int null_stream_destroy(void *handle);
EXPORT struct stream *null_stream(void *handle); /* NULL for a handle that is not ours */
EXPORT int null_capture_begin(void *handle, struct graph *into);
EXPORT int null_capture_end(void *handle, void **graph);
EXPORT int null_event_create(void **out);
EXPORT int null_event_destroy(void *handle);
EXPORT int null_event_record(void *handle);
EXPORT int null_event_elapsed(float *ms, void *start, void *end);
EXPORT int null_graph_create(void **out);
EXPORT struct graph *null_graph(void *handle);
EXPORT int null_graph_nodes(void *handle, void **nodes, size_t *count);
EXPORT int null_graph_destroy(void *handle);

/* Modules and their kernels; what a cubin says of its kernels is read from its ELF. */
struct kernel {
    uint32_t magic;
    char *name;
    int registers;
    int shared, local, constant; /* bytes */
    int max_threads;
    int max_dynamic_shared;
    int cluster_must_be_set, cluster[3];
};
struct module {
    uint32_t magic;
    size_t count;
    struct kernel *kernels;
};
EXPORT int null_module_load(const void *image, void **out);
EXPORT int null_module_load_file(const char *path, void **out);
EXPORT int null_module_unload(void *handle);
EXPORT struct module *null_module(void *handle);
EXPORT int null_module_kernel(void *handle, const char *name, void **out);
EXPORT struct kernel *null_kernel(const void *handle); /* NULL where it is not one of ours */
EXPORT struct kernel *null_host_kernel(const void *host_function); /* registered by a host stub */
EXPORT void null_register_kernel(const void *host_function, const char *name);
EXPORT int null_kernel_attribute(struct kernel *kernel, int number, int *out);
EXPORT int null_kernel_set(struct kernel *kernel, int number, int value);
EXPORT int null_occupancy(struct kernel *kernel, int block_size, size_t dynamic_shared, int *out);
EXPORT int null_launch(struct kernel *kernel, void *stream);

#endif
