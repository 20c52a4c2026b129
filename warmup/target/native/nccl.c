/* Null libnccl.so.2 (NCCL 2.28's nccl.h): communicators know their size and rank; a collective acts
 * as if every rank held what this one holds, and moves only what is small. */
#define _GNU_SOURCE
#include "core.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { INVALID_ARGUMENT = 4, INVALID_USAGE = 5 }; /* ncclResult_t */

struct comm {
    int ranks, rank, device;
};
struct unique_id {
    char bytes[128];
};

/* Bytes of ncclDataType_t: int8, uint8, int32, uint32, int64, uint64, f16, f32, f64, bf16, fp8 ×2. */
static size_t get_width(int type) {
    static const size_t widths[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1};
    return type >= 0 && type < 12 ? widths[type] : 1;
}

static int make(struct comm **out, int ranks, int rank) {
    if (ranks < 1 || rank < 0 || rank >= ranks) return INVALID_ARGUMENT;
    struct comm *comm = malloc(sizeof *comm);
    *comm = (struct comm){ranks, rank, null_device()};
    return *out = comm, OK;
}

EXPORT int ncclGetVersion(int *version) { return *version = 22800, OK; }
EXPORT int ncclGetUniqueId(struct unique_id *id) {
    return getrandom(id, sizeof *id, 0) == sizeof *id ? OK : 2;
}
EXPORT const char *ncclGetErrorString(int error) {
    return error ? "refused by the null device" : "no error";
}
EXPORT const char *ncclGetLastError(void *comm) { return (void)comm, ""; }
EXPORT int ncclCommInitRank(struct comm **out, int ranks, struct unique_id id, int rank) {
    return (void)id, make(out, ranks, rank);
}
EXPORT int ncclCommInitRankConfig(struct comm **out, int ranks, struct unique_id id, int rank,
                                  void *config) {
    return (void)id, (void)config, make(out, ranks, rank);
}
EXPORT int ncclCommInitRankScalable(struct comm **out, int ranks, int rank, int count,
                                    struct unique_id *ids, void *config) {
    return (void)count, (void)ids, (void)config, make(out, ranks, rank);
}
EXPORT int ncclCommInitAll(struct comm **out, int count, const int *devices) {
    for (int i = 0; i < count; i++) {
        if (make(&out[i], count, i)) return INVALID_ARGUMENT;
        out[i]->device = devices ? devices[i] : i;
    }
    return OK;
}
EXPORT int ncclCommSplit(struct comm *comm, int color, int key, struct comm **out, void *config) {
    (void)key, (void)config;
    if (color < 0) return *out = NULL, OK; /* NCCL_SPLIT_NOCOLOR */
    return make(out, comm->ranks, comm->rank);
}
EXPORT int ncclCommDestroy(struct comm *comm) { return free(comm), OK; }
EXPORT int ncclCommAbort(struct comm *comm) { return free(comm), OK; }
EXPORT int ncclCommFinalize(struct comm *comm) { return (void)comm, OK; }
EXPORT int ncclCommCount(struct comm *comm, int *count) { return *count = comm->ranks, OK; }
EXPORT int ncclCommUserRank(struct comm *comm, int *rank) { return *rank = comm->rank, OK; }
EXPORT int ncclCommCuDevice(struct comm *comm, int *device) { return *device = comm->device, OK; }
EXPORT int ncclCommGetAsyncError(struct comm *comm, int *error) { return (void)comm, *error = 0, OK; }
EXPORT int ncclCommRegister(struct comm *comm, void *at, size_t size, void **handle) {
    return (void)at, (void)size, *handle = comm, OK;
}
EXPORT int ncclCommDeregister(struct comm *comm, void *handle) {
    return (void)comm, (void)handle, OK;
}
EXPORT int ncclMemAlloc(void **out, size_t size) { return null_alloc(null_device(), size, out) ? 1 : OK; }
EXPORT int ncclMemFree(void *at) { return null_free(at) ? INVALID_ARGUMENT : OK; }
EXPORT int ncclGroupStart(void) { return OK; }
EXPORT int ncclGroupEnd(void) { return OK; }
EXPORT int ncclRedOpCreatePreMulSum(int *operation, void *scalar, int type, int where, struct comm *c) {
    return (void)scalar, (void)type, (void)where, (void)c, *operation = 0, OK;
}
EXPORT int ncclRedOpDestroy(int operation, struct comm *comm) {
    return (void)operation, (void)comm, OK;
}
EXPORT int ncclAllReduce(const void *from, void *to, size_t count, int type, int operation,
                         struct comm *comm, void *stream) {
    (void)operation, (void)comm, (void)stream;
    return null_copy(to, from, count * get_width(type));
}
EXPORT int ncclReduce(const void *from, void *to, size_t count, int type, int operation, int root,
                      struct comm *comm, void *stream) {
    (void)operation, (void)stream;
    return comm->rank == root ? null_copy(to, from, count * get_width(type)) : OK;
}
EXPORT int ncclBroadcast(const void *from, void *to, size_t count, int type, int root,
                         struct comm *comm, void *stream) {
    (void)stream;
    return comm->rank == root ? null_copy(to, from, count * get_width(type)) : OK;
}
EXPORT int ncclBcast(void *at, size_t count, int type, int root, struct comm *comm, void *stream) {
    return (void)at, (void)count, (void)type, (void)root, (void)comm, (void)stream, OK;
}
EXPORT int ncclAllGather(const void *from, void *to, size_t count, int type, struct comm *comm,
                         void *stream) {
    size_t size = count * get_width(type);
    (void)stream;
    for (int rank = 0; rank < comm->ranks; rank++) null_copy((char *)to + (size_t)rank * size, from, size);
    return OK;
}
EXPORT int ncclReduceScatter(const void *from, void *to, size_t count, int type, int operation,
                             struct comm *comm, void *stream) {
    size_t size = count * get_width(type);
    (void)operation, (void)stream;
    return null_copy(to, (const char *)from + (size_t)comm->rank * size, size);
}
EXPORT int ncclSend(const void *from, size_t count, int type, int peer, struct comm *comm, void *stream) {
    return (void)from, (void)count, (void)type, (void)peer, (void)comm, (void)stream, OK;
}
EXPORT int ncclRecv(void *to, size_t count, int type, int peer, struct comm *comm, void *stream) {
    return (void)to, (void)count, (void)type, (void)peer, (void)comm, (void)stream, OK;
}
int null_stub_result(const char *symbol) { return null_unsupported(symbol), INVALID_USAGE; }
