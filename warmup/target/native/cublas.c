/* Null libcublas.so.13 and libcublasLt.so.13 (one source, built twice): handles, modes and heuristics
 * answer; what computes launches nothing and succeeds (generated stubs, symbols/libcublas*.txt). */
#include "core.h"

#include <stdlib.h>
#include <string.h>

enum { STATUS_INVALID_VALUE = 7, STATUS_NOT_SUPPORTED = 15 }; /* cublasStatus_t */

#ifdef LT
/* cublasLtMatmulHeuristicResult_t: an opaque algorithm of 64 bytes, then what is known of it. */
struct heuristic {
    uint64_t algorithm[8];
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};
static int make(void **out) { return *out = calloc(1, 512), *out ? OK : 3; }

EXPORT int cublasLtCreate(void **out) { return make(out); }
EXPORT int cublasLtDestroy(void *handle) { return free(handle), OK; }
EXPORT size_t cublasLtGetVersion(void) { return 130000; }
EXPORT size_t cublasLtGetCudartVersion(void) { return 13000; }
EXPORT const char *cublasLtGetStatusName(int status) { return (void)status, "null device"; }
EXPORT const char *cublasLtGetStatusString(int status) { return (void)status, "null device"; }
EXPORT int cublasLtMatmulDescCreate(void **out, int compute, int scale) {
    return (void)compute, (void)scale, make(out);
}
EXPORT int cublasLtMatmulDescDestroy(void *at) { return free(at), OK; }
EXPORT int cublasLtMatrixLayoutCreate(void **out, int type, uint64_t rows, uint64_t columns,
                                      int64_t leading) {
    return (void)type, (void)rows, (void)columns, (void)leading, make(out);
}
EXPORT int cublasLtMatrixLayoutDestroy(void *at) { return free(at), OK; }
EXPORT int cublasLtMatmulPreferenceCreate(void **out) { return make(out); }
EXPORT int cublasLtMatmulPreferenceDestroy(void *at) { return free(at), OK; }
static int read_zero(void *out, size_t size, size_t *written) {
    if (out) memset(out, 0, size);
    if (written) *written = size;
    return OK;
}
EXPORT int cublasLtMatmulDescGetAttribute(void *at, int number, void *out, size_t size,
                                          size_t *written) {
    return (void)at, (void)number, read_zero(out, size, written);
}
EXPORT int cublasLtMatrixLayoutGetAttribute(void *at, int number, void *out, size_t size,
                                            size_t *written) {
    return (void)at, (void)number, read_zero(out, size, written);
}
EXPORT int cublasLtMatmulAlgoGetHeuristic(void *handle, void *operation, void *a, void *b, void *c,
                                          void *d, void *preference, int wanted,
                                          struct heuristic *out, int *found) {
    (void)handle, (void)operation, (void)a, (void)b, (void)c, (void)d, (void)preference;
    if (wanted < 1) return STATUS_INVALID_VALUE;
    memset(out, 0, sizeof *out);
    out->waves = 1.0f;
    return *found = 1, OK;
}
#else
struct handle {
    void *stream;
    int math_mode, pointer_mode, atomics_mode, sm_count;
};
EXPORT int cublasCreate_v2(struct handle **out) {
    return *out = calloc(1, sizeof **out), *out ? OK : 3;
}
EXPORT int cublasDestroy_v2(struct handle *handle) { return free(handle), OK; }
EXPORT int cublasGetVersion_v2(struct handle *handle, int *version) {
    return (void)handle, *version = 130000, OK;
}
EXPORT int cublasGetProperty(int which, int *value) { return *value = which ? 0 : 13, OK; }
EXPORT size_t cublasGetCudartVersion(void) { return 13000; }
EXPORT int cublasSetStream_v2(struct handle *handle, void *stream) {
    return handle->stream = stream, OK;
}
EXPORT int cublasGetStream_v2(struct handle *handle, void **stream) {
    return *stream = handle->stream, OK;
}
EXPORT int cublasSetMathMode(struct handle *handle, int mode) { return handle->math_mode = mode, OK; }
EXPORT int cublasGetMathMode(struct handle *handle, int *mode) { return *mode = handle->math_mode, OK; }
EXPORT int cublasSetPointerMode_v2(struct handle *handle, int mode) {
    return handle->pointer_mode = mode, OK;
}
EXPORT int cublasGetPointerMode_v2(struct handle *handle, int *mode) {
    return *mode = handle->pointer_mode, OK;
}
EXPORT int cublasSetAtomicsMode(struct handle *handle, int mode) {
    return handle->atomics_mode = mode, OK;
}
EXPORT int cublasGetAtomicsMode(struct handle *handle, int *mode) {
    return *mode = handle->atomics_mode, OK;
}
EXPORT int cublasSetSmCountTarget(struct handle *handle, int count) {
    return handle->sm_count = count, OK;
}
EXPORT int cublasGetSmCountTarget(struct handle *handle, int *count) {
    return *count = handle->sm_count, OK;
}
EXPORT const char *cublasGetStatusName(int status) { return (void)status, "null device"; }
EXPORT const char *cublasGetStatusString(int status) { return (void)status, "null device"; }
#endif

/* A getter without a value to give is refused; all else computes, which is nothing here. */
int null_stub_result(const char *symbol) {
    if (!strstr(symbol, "Get") && !strstr(symbol, "Query")) return OK;
    null_unsupported(symbol);
    return STATUS_NOT_SUPPORTED;
}
