/* Device memory: one NORESERVE mapping a device, first fit, charged against the profile's total. */
#define _GNU_SOURCE
#include "core.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define GRAIN 512u                     /* cudaMalloc's alignment is at least 256 */
#define COPY_LIMIT ((size_t)1 << 20)   /* larger copies to or from a device are skipped */
#define REGION_FACTOR 8u               /* address space a device, in units of its memory */

struct block {
    uintptr_t base;
    size_t size;
    bool used;
    struct block *next;
};
struct region {
    uintptr_t base;
    size_t size, charged;
    struct block *first;
};
struct host_range {
    uintptr_t base;
    size_t size;
    bool allocated;
    struct host_range *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct region regions[MAX_DEVICES];
static struct host_range *host_ranges;

static struct region *get_region(int device) {
    struct region *region = &regions[device];
    if (!region->base) {
        size_t size = null_profile()->memory * REGION_FACTOR;
        int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
        if (at == MAP_FAILED) return NULL;
        madvise(at, size, MADV_NOHUGEPAGE); /* a touched byte must not cost 2 MiB */
        madvise(at, size, MADV_DONTDUMP);
        region->first = calloc(1, sizeof *region->first);
        *region->first = (struct block){(uintptr_t)at, size, false, NULL};
        region->base = (uintptr_t)at;
        region->size = size;
    }
    return region;
}

static struct region *find_region(uintptr_t address) {
    for (int i = 0; i < MAX_DEVICES; i++)
        if (regions[i].base && address - regions[i].base < regions[i].size) return &regions[i];
    return NULL;
}

static int take(struct region *region, size_t size, void **out) {
    for (struct block *block = region->first; block; block = block->next) {
        if (block->used || block->size < size) continue;
        if (block->size > size) {
            struct block *rest = malloc(sizeof *rest);
            *rest = (struct block){block->base + size, block->size - size, false, block->next};
            block->next = rest;
            block->size = size;
        }
        block->used = true;
        region->charged += size;
        *out = (void *)block->base;
        return OK;
    }
    return OUT_OF_MEMORY;
}

int null_alloc(int device, size_t size, void **out) {
    *out = NULL;
    if (device < 0 || device >= null_profile()->visible) return INVALID_DEVICE;
    if (!size) return OK;
    if (size > null_profile()->memory) return OUT_OF_MEMORY;
    size = (size + GRAIN - 1) / GRAIN * GRAIN;
    pthread_mutex_lock(&lock);
    struct region *region = get_region(device);
    int result = OUT_OF_MEMORY;
    if (region && region->charged + size <= null_profile()->memory)
        result = take(region, size, out);
    pthread_mutex_unlock(&lock);
    return result;
}

int null_free(void *address) {
    if (!address) return OK;
    pthread_mutex_lock(&lock);
    struct region *region = find_region((uintptr_t)address);
    struct block *before = NULL, *block = region ? region->first : NULL;
    while (block && block->base != (uintptr_t)address) before = block, block = block->next;
    int result = block && block->used ? OK : INVALID_VALUE;
    if (result == OK) {
        madvise(address, block->size, MADV_DONTNEED);
        region->charged -= block->size;
        block->used = false;
        struct block *after = block->next;
        if (after && !after->used) {
            block->size += after->size;
            block->next = after->next;
            free(after);
        }
        if (before && !before->used) {
            before->size += block->size;
            before->next = block->next;
            free(block);
        }
    }
    pthread_mutex_unlock(&lock);
    return result;
}

void null_memory_info(int device, size_t *free_bytes, size_t *total) {
    *total = null_profile()->memory;
    pthread_mutex_lock(&lock);
    *free_bytes = *total - regions[device].charged;
    pthread_mutex_unlock(&lock);
}

static int add_host(void *address, size_t size, bool allocated) {
    struct host_range *range = malloc(sizeof *range);
    if (!range) return OUT_OF_MEMORY;
    pthread_mutex_lock(&lock);
    *range = (struct host_range){(uintptr_t)address, size, allocated, host_ranges};
    host_ranges = range;
    pthread_mutex_unlock(&lock);
    return OK;
}

static int drop_host(void *address, bool allocated) {
    int result = INVALID_VALUE;
    pthread_mutex_lock(&lock);
    for (struct host_range **at = &host_ranges; *at; at = &(*at)->next) {
        struct host_range *range = *at;
        if (range->base != (uintptr_t)address || range->allocated != allocated) continue;
        *at = range->next;
        if (allocated) munmap(address, range->size);
        free(range);
        result = OK;
        break;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int null_alloc_host(size_t size, void **out) {
    *out = NULL;
    if (!size) return OK;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (at == MAP_FAILED) return OUT_OF_MEMORY;
    *out = at;
    return add_host(at, size, true);
}

int null_free_host(void *address) { return address ? drop_host(address, true) : OK; }

int null_register_host(void *address, size_t size) { return add_host(address, size, false); }

int null_unregister_host(void *address) { return drop_host(address, false); }

struct pointer null_find(const void *address) {
    struct pointer found = {UNREGISTERED, 0, 0, 0};
    uintptr_t wanted = (uintptr_t)address;
    pthread_mutex_lock(&lock);
    struct region *region = find_region(wanted);
    for (struct block *block = region ? region->first : NULL; block; block = block->next)
        if (block->used && wanted - block->base < block->size)
            found = (struct pointer){DEVICE, (int)(region - regions), block->base, block->size};
    for (struct host_range *range = host_ranges; range && !region; range = range->next)
        if (wanted - range->base < range->size)
            found = (struct pointer){HOST, 0, range->base, range->size};
    pthread_mutex_unlock(&lock);
    return found;
}

static bool is_device(const void *address) {
    return find_region((uintptr_t)address) != NULL; /* regions are never unmapped */
}

int null_copy(void *to, const void *from, size_t size) {
    if (!size) return OK;
    if (!to || !from) return INVALID_VALUE;
    if (size <= COPY_LIMIT || (!is_device(to) && !is_device(from))) memmove(to, from, size);
    return OK;
}

int null_copy_2d(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                 size_t height) {
    if (width > to_pitch || width > from_pitch) return INVALID_VALUE;
    if (width * height > COPY_LIMIT && (is_device(to) || is_device(from))) return OK;
    for (size_t row = 0; row < height; row++)
        memmove((char *)to + row * to_pitch, (const char *)from + row * from_pitch, width);
    return OK;
}

/* width: bytes of one element, 1, 2 or 4. Zero over a large range gives its pages back instead. */
int null_fill(void *to, uint32_t value, size_t width, size_t count) {
    if (!count) return OK;
    if (!to) return INVALID_VALUE;
    size_t size = width * count;
    if (size > COPY_LIMIT && is_device(to)) {
        uintptr_t first = ((uintptr_t)to + 4095) & ~(uintptr_t)4095;
        uintptr_t last = ((uintptr_t)to + size) & ~(uintptr_t)4095;
        if (!value && last > first) madvise((void *)first, last - first, MADV_DONTNEED);
        return OK;
    }
    for (size_t i = 0; i < count; i++) memcpy((char *)to + i * width, &value, width);
    return OK;
}
