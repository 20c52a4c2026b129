/* Null libnvidia-ml.so.1: what engines ask NVML of a device (nvml.h 13.0 by way of nvidia-ml-py's
 * declarations). Nothing runs on it, nothing else holds its memory. */
#include "core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { ML_INVALID = 2, ML_NOT_SUPPORTED = 3, ML_NOT_FOUND = 6, ML_TOO_SMALL = 7 };

static char handles[MAX_DEVICES];
static int find(void *handle) {
    ptrdiff_t at = (char *)handle - handles;
    return at >= 0 && at < null_profile()->devices ? (int)at : -1;
}
static int put(char *out, unsigned size, const char *text) {
    return (unsigned)snprintf(out, size, "%s", text) < size ? OK : ML_TOO_SMALL;
}
struct memory { unsigned long long total, free, used; };
struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };
struct pci {
    char legacy[16];
    unsigned domain, bus, device, id, subsystem;
    char bus_id[32];
};

EXPORT int nvmlInit_v2(void) { return null_profile() ? OK : 999; }
EXPORT int nvmlInit(void) { return nvmlInit_v2(); }
EXPORT int nvmlInitWithFlags(unsigned flags) { return (void)flags, nvmlInit_v2(); }
EXPORT int nvmlShutdown(void) { return OK; }
EXPORT const char *nvmlErrorString(int error) {
    return error == ML_NOT_SUPPORTED ? "Not Supported" : error ? "Null device error" : "Success";
}
EXPORT int nvmlSystemGetDriverVersion(char *out, unsigned size) {
    return put(out, size, null_profile()->driver_text);
}
EXPORT int nvmlSystemGetNVMLVersion(char *out, unsigned size) {
    return put(out, size, null_profile()->driver_text);
}
EXPORT int nvmlSystemGetCudaDriverVersion_v2(int *version) { return *version = null_profile()->driver, OK; }
EXPORT int nvmlSystemGetCudaDriverVersion(int *version) { return nvmlSystemGetCudaDriverVersion_v2(version); }
EXPORT int nvmlDeviceGetCount_v2(unsigned *count) {
    return *count = (unsigned)null_profile()->devices, OK;
}
/* FP32 lanes of an SM since 8.6 (CUDA C++ Programming Guide 13.0, arithmetic throughput). */
EXPORT int nvmlDeviceGetNumGpuCores(void *handle, unsigned *out) {
    return *out = (unsigned)null_attribute(16) * 128, find(handle) < 0 ? ML_INVALID : OK;
}
EXPORT int nvmlDeviceGetCount(unsigned *count) { return nvmlDeviceGetCount_v2(count); }
EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **out) {
    return *out = &handles[index % MAX_DEVICES], find(*out) == (int)index ? OK : ML_INVALID;
}
EXPORT int nvmlDeviceGetHandleByIndex(unsigned index, void **out) {
    return nvmlDeviceGetHandleByIndex_v2(index, out);
}
static void get_uuid(int device, char *out, size_t size) {
    unsigned char b[16];
    null_uuid(device, b);
    snprintf(out, size, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
             b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
}
EXPORT int nvmlDeviceGetHandleByUUID(const char *uuid, void **out) {
    char own[64];
    for (int device = 0; device < null_profile()->devices; device++) {
        get_uuid(device, own, sizeof own);
        if (!strcmp(own, uuid)) return *out = &handles[device], OK;
    }
    return ML_NOT_FOUND;
}
EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **out) {
    char own[32];
    for (int device = 0; device < null_profile()->devices; device++) {
        null_pci_id(device, own, sizeof own);
        const char *short_form = own + 4; /* with a domain of four digits */
        if (!strcasecmp(own, id) || !strcasecmp(short_form, id)) return *out = &handles[device], OK;
    }
    return ML_NOT_FOUND;
}
EXPORT int nvmlDeviceGetIndex(void *handle, unsigned *index) {
    return *index = (unsigned)find(handle), find(handle) < 0 ? ML_INVALID : OK;
}
EXPORT int nvmlDeviceGetMinorNumber(void *handle, unsigned *number) {
    return nvmlDeviceGetIndex(handle, number);
}
EXPORT int nvmlDeviceGetName(void *handle, char *out, unsigned size) {
    return (void)handle, put(out, size, null_profile()->name);
}
EXPORT int nvmlDeviceGetUUID(void *handle, char *out, unsigned size) {
    char uuid[64];
    return get_uuid(find(handle), uuid, sizeof uuid), put(out, size, uuid);
}
EXPORT int nvmlDeviceGetPciInfo_v3(void *handle, struct pci *out) {
    memset(out, 0, sizeof *out);
    out->bus = (unsigned)find(handle) + 1;
    null_pci_id(find(handle), out->bus_id, sizeof out->bus_id);
    snprintf(out->legacy, sizeof out->legacy, "%s", out->bus_id + 4);
    return OK;
}
EXPORT int nvmlDeviceGetPciInfo(void *handle, struct pci *out) {
    return nvmlDeviceGetPciInfo_v3(handle, out);
}
EXPORT int nvmlDeviceGetMemoryInfo(void *handle, struct memory *out) {
    size_t free_bytes, total;
    null_memory_info(find(handle), &free_bytes, &total);
    unsigned long long all = null_profile()->nvml_memory, used = total - free_bytes;
    return *out = (struct memory){all, all - used, used}, OK;
}
EXPORT int nvmlDeviceGetMemoryInfo_v2(void *handle, struct memory_v2 *out) {
    struct memory known;
    nvmlDeviceGetMemoryInfo(handle, &known);
    out->total = known.total, out->free = known.free, out->used = known.used, out->reserved = 0;
    return OK;
}
EXPORT int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    return (void)handle, *major = null_attribute(75), *minor = null_attribute(76), OK;
}
EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, void *infos) {
    return (void)handle, (void)infos, *count = 0, OK;
}
EXPORT int nvmlDeviceGetComputeRunningProcesses_v2(void *handle, unsigned *count, void *infos) {
    return nvmlDeviceGetComputeRunningProcesses_v3(handle, count, infos);
}
EXPORT int nvmlDeviceGetComputeRunningProcesses(void *handle, unsigned *count, void *infos) {
    return nvmlDeviceGetComputeRunningProcesses_v3(handle, count, infos);
}
EXPORT int nvmlDeviceGetGraphicsRunningProcesses_v3(void *handle, unsigned *count, void *infos) {
    return nvmlDeviceGetComputeRunningProcesses_v3(handle, count, infos);
}
static int get_clock(int type, unsigned *mhz) {
    if (type < 0 || type > 3) return ML_INVALID;
    return *mhz = (unsigned)null_profile()->clocks_mhz[type], OK;
}
EXPORT int nvmlDeviceGetMaxClockInfo(void *handle, int type, unsigned *mhz) {
    return (void)handle, get_clock(type, mhz);
}
EXPORT int nvmlDeviceGetClockInfo(void *handle, int type, unsigned *mhz) {
    return (void)handle, get_clock(type, mhz);
}
EXPORT int nvmlDeviceGetPowerManagementLimit(void *handle, unsigned *milliwatts) {
    return (void)handle, *milliwatts = (unsigned)null_profile()->power_limit_mw, OK;
}
EXPORT int nvmlDeviceGetPowerManagementDefaultLimit(void *handle, unsigned *milliwatts) {
    return nvmlDeviceGetPowerManagementLimit(handle, milliwatts);
}
EXPORT int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned *milliwatts) {
    return nvmlDeviceGetPowerManagementLimit(handle, milliwatts);
}
EXPORT int nvmlDeviceGetPowerUsage(void *handle, unsigned *milliwatts) {
    return (void)handle, *milliwatts = 0, OK;
}
EXPORT int nvmlDeviceGetUtilizationRates(void *handle, unsigned out[2]) {
    return (void)handle, out[0] = out[1] = 0, OK;
}
EXPORT int nvmlDeviceGetComputeMode(void *handle, int *mode) { return (void)handle, *mode = 0, OK; }
EXPORT int nvmlDeviceGetPersistenceMode(void *handle, int *mode) { return (void)handle, *mode = 1, OK; }
EXPORT int nvmlDeviceGetMigMode(void *handle, unsigned *now, unsigned *pending) {
    return (void)handle, *now = *pending = 0, OK;
}
EXPORT int nvmlDeviceGetP2PStatus(void *one, void *other, int which, int *status) {
    return (void)one, (void)other, (void)which, *status = 0, OK; /* NVML_P2P_STATUS_OK */
}
EXPORT int nvmlDeviceGetTopologyCommonAncestor(void *one, void *other, int *level) {
    return (void)one, (void)other, *level = 30, OK; /* NVML_TOPOLOGY_NODE */
}
int null_stub_result(const char *symbol) { return null_unsupported(symbol), ML_NOT_SUPPORTED; }
