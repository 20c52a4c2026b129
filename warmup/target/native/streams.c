/* Streams, events and graphs. Nothing is ever pending: what is asked for has happened. */
#define _GNU_SOURCE
#include "core.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define STREAM_MAGIC 0x5354524du
#define EVENT_MAGIC 0x45564e54u
#define GRAPH_MAGIC 0x47524148u
#define MAX_NODES_SHOWN 65536

/* 0 is the default stream, 1 the legacy one, 2 the thread's own (documented handle values). */
static struct stream defaults[3] = {{.magic = STREAM_MAGIC}, {.magic = STREAM_MAGIC},
                                    {.magic = STREAM_MAGIC}};
static uint64_t last_capture;

struct stream *null_stream(void *handle) {
    if ((uintptr_t)handle <= 2) return &defaults[(uintptr_t)handle];
    struct stream *stream = handle;
    return stream->magic == STREAM_MAGIC ? stream : NULL;
}

int null_stream_create(unsigned flags, int priority, void **out) {
    struct stream *stream = calloc(1, sizeof *stream);
    if (!stream) return OUT_OF_MEMORY;
    *stream = (struct stream){STREAM_MAGIC, null_device(), flags, priority, NULL, false, 0};
    *out = stream;
    return OK;
}

int null_stream_destroy(void *handle) {
    struct stream *stream = null_stream(handle);
    if (!stream || (uintptr_t)handle <= 2) return INVALID_HANDLE;
    stream->magic = 0;
    free(stream);
    return OK;
}

int null_capture_begin(void *handle, struct graph *into) {
    struct stream *stream = null_stream(handle);
    if (!stream) return INVALID_HANDLE;
    if (stream->captured) return CAPTURE_INVALID;
    stream->owns_graph = into == NULL;
    void *made = into;
    if (!into && null_graph_create(&made) != OK) return OUT_OF_MEMORY;
    stream->captured = made;
    stream->capture_id = __atomic_add_fetch(&last_capture, 1, __ATOMIC_RELAXED);
    return OK;
}

int null_capture_end(void *handle, void **graph) {
    struct stream *stream = null_stream(handle);
    if (!stream) return INVALID_HANDLE;
    if (!stream->captured) return CAPTURE_UNMATCHED;
    *graph = stream->captured;
    stream->captured = NULL;
    return OK;
}

int null_graph_create(void **out) {
    struct graph *graph = calloc(1, sizeof *graph);
    if (!graph) return OUT_OF_MEMORY;
    *graph = (struct graph){GRAPH_MAGIC, 1, 0};
    *out = graph;
    return OK;
}

struct graph *null_graph(void *handle) {
    struct graph *graph = handle;
    return graph && graph->magic == GRAPH_MAGIC ? graph : NULL;
}

/* Nodes are not kept, only counted: each is shown as an address inside a table of ours. */
int null_graph_nodes(void *handle, void **nodes, size_t *count) {
    static char table[MAX_NODES_SHOWN];
    struct graph *graph = null_graph(handle);
    if (!graph || !count) return INVALID_VALUE;
    size_t shown = graph->nodes < MAX_NODES_SHOWN ? graph->nodes : MAX_NODES_SHOWN;
    for (size_t i = 0; nodes && i < *count && i < shown; i++) nodes[i] = &table[i];
    *count = shown;
    return OK;
}

int null_graph_destroy(void *handle) {
    struct graph *graph = null_graph(handle);
    if (!graph) return INVALID_VALUE;
    graph->magic = 0;
    free(graph);
    return OK;
}

int null_event_create(void **out) {
    struct event *event = calloc(1, sizeof *event);
    if (!event) return OUT_OF_MEMORY;
    event->magic = EVENT_MAGIC;
    *out = event;
    return OK;
}

static struct event *find_event(void *handle) {
    struct event *event = handle;
    return event && event->magic == EVENT_MAGIC ? event : NULL;
}

int null_event_destroy(void *handle) {
    struct event *event = find_event(handle);
    if (!event) return INVALID_HANDLE;
    event->magic = 0;
    free(event);
    return OK;
}

/* Times only grow, by a microsecond at least: a loop that waits for progress must see some. */
int null_event_record(void *handle) {
    static uint64_t last_ns;
    struct event *event = find_event(handle);
    if (!event) return INVALID_HANDLE;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    uint64_t before = __atomic_load_n(&last_ns, __ATOMIC_RELAXED);
    if (time_ns < before + 1000) time_ns = before + 1000;
    __atomic_store_n(&last_ns, time_ns, __ATOMIC_RELAXED);
    event->time_ns = time_ns;
    event->recorded = true;
    return OK;
}

int null_event_elapsed(float *ms, void *start, void *end) {
    struct event *from = find_event(start), *to = find_event(end);
    if (!from || !to || !from->recorded || !to->recorded) return INVALID_HANDLE;
    *ms = (float)((double)(to->time_ns - from->time_ns) / 1e6);
    return OK;
}
