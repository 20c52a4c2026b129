/* Modules and kernels. Figures that host code chooses by (registers, stack, shared memory) come
 * from the cubin's own ELF: section names and the records of `.nv.info`, as `cuobjdump --dump-elf`
 * and `nvdisasm` (CUDA Binary Utilities 13.0) print them. */
#define _GNU_SOURCE
#include "core.h"

#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODULE_MAGIC 0x4d4f4455u
#define KERNEL_MAGIC 0x4b45524eu
#define EM_CUDA_MACHINE 190
#define FATBIN_MAGIC 0xba55ed50u
#define WRAPPER_MAGIC 0x466243b1u /* __fatBinC_Wrapper_t, crt/host_runtime.h */
#define MAX_SECTIONS 65535

enum { MAX_THREADS_RECORD = 0x05, FRAME_SIZE_RECORD = 0x11, REGISTERS_RECORD = 0x2f };
enum { NO_VALUE = 1, BYTE_VALUE = 2, SHORT_VALUE = 3, SIZED_VALUE = 4 };
enum { MAX_THREADS_PER_BLOCK = 1, SHARED_PER_BLOCK = 8, REGISTERS_PER_BLOCK = 12,
       THREADS_PER_SM = 39, SHARED_PER_SM = 81, REGISTERS_PER_SM = 82, SHARED_OPTIN = 97,
       BLOCKS_PER_SM = 106, RESERVED_SHARED = 111, MAJOR = 75, MINOR = 76 };

struct elf {
    const char *bytes;
    const Elf64_Ehdr *header;
    const Elf64_Shdr *sections;
    const char *names;
};

/* size: of the image where it is known (a file), SIZE_MAX where the caller gave only an address. */
static bool open_elf(const void *image, size_t size, struct elf *elf) {
    const Elf64_Ehdr *header = image;
    if (size < sizeof *header || memcmp(header->e_ident, ELFMAG, SELFMAG)) return false;
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_machine != EM_CUDA_MACHINE)
        return false;
    size_t end = header->e_shoff + (size_t)header->e_shnum * sizeof(Elf64_Shdr);
    if (header->e_shentsize != sizeof(Elf64_Shdr) || end > size || end < header->e_shoff)
        return false;
    if (!header->e_shnum || header->e_shstrndx >= header->e_shnum) return false;
    elf->bytes = image;
    elf->header = header;
    elf->sections = (const Elf64_Shdr *)(elf->bytes + header->e_shoff);
    for (int i = 0; i < header->e_shnum; i++) {
        const Elf64_Shdr *section = &elf->sections[i];
        if (section->sh_type == SHT_NOBITS || size == SIZE_MAX) continue;
        if (section->sh_offset > size || section->sh_size > size - section->sh_offset)
            return false; /* truncated */
    }
    elf->names = elf->bytes + elf->sections[header->e_shstrndx].sh_offset;
    return true;
}

static const char *section_name(const struct elf *elf, int index) {
    return elf->names + elf->sections[index].sh_name;
}

static int find_section(const struct elf *elf, const char *prefix, const char *name) {
    size_t length = strlen(prefix);
    for (int i = 1; i < elf->header->e_shnum; i++) {
        const char *section = section_name(elf, i);
        if (!strncmp(section, prefix, length) && !strcmp(section + length, name)) return i;
    }
    return 0;
}

/* The symbol's name by its index, "" where there is no symbol table. */
static const char *symbol_name(const struct elf *elf, uint32_t index) {
    for (int i = 1; i < elf->header->e_shnum; i++) {
        const Elf64_Shdr *table = &elf->sections[i];
        if (table->sh_type != SHT_SYMTAB || index >= table->sh_size / sizeof(Elf64_Sym)) continue;
        const Elf64_Sym *symbols = (const Elf64_Sym *)(elf->bytes + table->sh_offset);
        return elf->bytes + elf->sections[table->sh_link].sh_offset + symbols[index].st_name;
    }
    return "";
}

static uint32_t read_u32(const char *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* One `.nv.info` or `.nv.info.KERNEL` section: call `take` for each record that has a body. */
typedef void (*take_record)(const struct elf *elf, int attribute, const char *body, size_t size,
                            struct module *module, struct kernel *kernel);

static void read_records(const struct elf *elf, int index, take_record take,
                         struct module *module, struct kernel *kernel) {
    const char *at = elf->bytes + elf->sections[index].sh_offset;
    const char *end = at + elf->sections[index].sh_size;
    while (index && end - at >= 4) {
        uint16_t size;
        memcpy(&size, at + 2, sizeof size);
        if (at[0] != SIZED_VALUE) size = 0;
        if (at[0] < NO_VALUE || at[0] > SIZED_VALUE || end - at < 4 + size) return;
        if (size) take(elf, (unsigned char)at[1], at + 4, size, module, kernel);
        at += 4 + size;
    }
}

static struct kernel *find_kernel(struct module *module, const char *name) {
    for (size_t i = 0; i < module->count; i++)
        if (!strcmp(module->kernels[i].name, name)) return &module->kernels[i];
    return NULL;
}

static void take_global(const struct elf *elf, int attribute, const char *body, size_t size,
                        struct module *module, struct kernel *unused) {
    (void)unused;
    if (size < 8) return;
    struct kernel *kernel = find_kernel(module, symbol_name(elf, read_u32(body)));
    if (kernel && attribute == REGISTERS_RECORD) kernel->registers = (int)read_u32(body + 4);
    if (kernel && attribute == FRAME_SIZE_RECORD) kernel->local = (int)read_u32(body + 4);
}

static void take_own(const struct elf *elf, int attribute, const char *body, size_t size,
                     struct module *module, struct kernel *kernel) {
    (void)elf, (void)module;
    if (attribute != MAX_THREADS_RECORD || size < 12) return;
    uint64_t threads = (uint64_t)read_u32(body) * read_u32(body + 4) * read_u32(body + 8);
    if (threads && threads < (uint64_t)kernel->max_threads) kernel->max_threads = (int)threads;
}

static struct kernel make_kernel(const char *name) {
    int limit = null_attribute(SHARED_PER_BLOCK);
    return (struct kernel){.magic = KERNEL_MAGIC, .name = strdup(name), .registers = 32,
                           .max_threads = null_attribute(MAX_THREADS_PER_BLOCK),
                           .max_dynamic_shared = limit};
}

static void limit_threads(struct kernel *kernel) {
    int rounded = (kernel->registers + 7) / 8 * 8; /* registers are given out in eights a thread */
    int fit = rounded ? null_attribute(REGISTERS_PER_BLOCK) / rounded / 32 * 32 : 0;
    if (fit && fit < kernel->max_threads) kernel->max_threads = fit;
}

/* From sm_90 on the section begins with what the driver reserves; ptxas does not count that. */
static int get_static_shared(int section) {
    int reserved = null_attribute(MAJOR) >= 9 ? null_attribute(RESERVED_SHARED) : 0;
    return section >= reserved ? section - reserved : section;
}

static struct module *read_module(const struct elf *elf) {
    struct module *module = calloc(1, sizeof *module);
    module->magic = MODULE_MAGIC;
    module->kernels = calloc(elf->header->e_shnum, sizeof *module->kernels);
    for (int i = 1; i < elf->header->e_shnum; i++) {
        const char *name = section_name(elf, i);
        if (!strncmp(name, ".text.", 6)) module->kernels[module->count++] = make_kernel(name + 6);
    }
    for (int i = 1; i < elf->header->e_shnum; i++)
        if (!strcmp(section_name(elf, i), ".nv.info"))
            read_records(elf, i, take_global, module, NULL);
    for (size_t i = 0; i < module->count; i++) {
        struct kernel *kernel = &module->kernels[i];
        int shared = find_section(elf, ".nv.shared.", kernel->name);
        if (shared) kernel->shared = get_static_shared((int)elf->sections[shared].sh_size);
        read_records(elf, find_section(elf, ".nv.info.", kernel->name), take_own, module, kernel);
        limit_threads(kernel);
    }
    return module;
}

/* PTX and fatbins are taken unread: their kernels are known by the names that are asked for. */
static bool is_unread_image(const void *image) {
    uint32_t magic = read_u32(image);
    const char *text = image;
    while (*text == ' ' || *text == '\n' || *text == '\r' || *text == '\t') text++;
    return magic == FATBIN_MAGIC || magic == WRAPPER_MAGIC || !strncmp(text, "//", 2) ||
           !strncmp(text, ".version", 8);
}

static int load(const void *image, size_t size, void **out) {
    struct elf elf;
    *out = NULL;
    if (!image) return INVALID_VALUE;
    struct module *module;
    if (open_elf(image, size, &elf)) {
        module = read_module(&elf);
    } else if (size >= 8 && is_unread_image(image)) {
        module = calloc(1, sizeof *module);
        module->magic = MODULE_MAGIC;
    } else {
        null_trace("bad-image", "neither a cubin, a fatbin nor PTX");
        return INVALID_IMAGE;
    }
    *out = module;
    return OK;
}

int null_module_load(const void *image, void **out) { return load(image, SIZE_MAX, out); }

int null_module_load_file(const char *path, void **out) {
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return FILE_NOT_FOUND;
    int result = INVALID_IMAGE;
    if (!fstat(fd, &status) && status.st_size > 0) {
        size_t size = (size_t)status.st_size;
        void *image = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (image != MAP_FAILED) {
            result = load(image, size, out);
            munmap(image, size);
        }
    }
    close(fd);
    return result;
}

struct module *null_module(void *handle) {
    struct module *module = handle;
    return module && module->magic == MODULE_MAGIC ? module : NULL;
}

/* Kept, not freed: kernels of it may still be named by a captured graph or a cached handle. */
int null_module_unload(void *handle) { return null_module(handle) ? OK : INVALID_HANDLE; }

static pthread_mutex_t names_lock = PTHREAD_MUTEX_INITIALIZER;

int null_module_kernel(void *handle, const char *name, void **out) {
    struct module *module = null_module(handle);
    if (!module || !name) return INVALID_HANDLE;
    struct kernel *kernel = find_kernel(module, name);
    if (!kernel && module->kernels) return NOT_FOUND;
    if (!kernel) {
        kernel = malloc(sizeof *kernel);
        *kernel = make_kernel(name);
    }
    *out = kernel;
    return OK;
}

/* Host stubs → kernel names: torch registers tens of thousands before main, so no allocation each. */
struct registered {
    const void *host_function;
    const char *name;
    struct kernel *kernel;
};
static struct registered *table;
static size_t capacity, used;

static struct registered *find_slot(struct registered *slots, size_t size, const void *key) {
    size_t at = ((uintptr_t)key >> 4) * 0x9e3779b97f4a7c15u & (size - 1);
    while (slots[at].host_function && slots[at].host_function != key) at = (at + 1) & (size - 1);
    return &slots[at];
}

void null_register_kernel(const void *host_function, const char *name) {
    pthread_mutex_lock(&names_lock);
    if (used * 2 >= capacity) {
        size_t larger = capacity ? capacity * 2 : 1 << 16;
        struct registered *slots = calloc(larger, sizeof *slots);
        for (size_t i = 0; i < capacity; i++)
            if (table[i].host_function)
                *find_slot(slots, larger, table[i].host_function) = table[i];
        free(table);
        table = slots;
        capacity = larger;
    }
    struct registered *slot = find_slot(table, capacity, host_function);
    if (!slot->host_function) used++;
    *slot = (struct registered){host_function, name, NULL};
    pthread_mutex_unlock(&names_lock);
}

struct kernel *null_kernel(const void *handle) {
    const struct kernel *kernel = handle;
    return kernel && kernel->magic == KERNEL_MAGIC ? (struct kernel *)kernel : NULL;
}

/* A host stub's address, or a kernel handle, which the runtime takes in the same argument. */
struct kernel *null_host_kernel(const void *host_function) {
    if (!host_function) return NULL;
    pthread_mutex_lock(&names_lock);
    struct kernel *found = NULL;
    struct registered *slot = capacity ? find_slot(table, capacity, host_function) : NULL;
    if (slot && slot->host_function) {
        if (!slot->kernel) {
            slot->kernel = malloc(sizeof *slot->kernel);
            *slot->kernel = make_kernel(slot->name);
        }
        found = slot->kernel;
    }
    pthread_mutex_unlock(&names_lock);
    return found ? found : null_kernel(host_function);
}

/* Numbers of CUfunction_attribute. */
int null_kernel_attribute(struct kernel *kernel, int number, int *out) {
    int architecture = null_attribute(MAJOR) * 10 + null_attribute(MINOR);
    switch (number) {
    case 0: *out = kernel->max_threads; return OK;
    case 1: *out = kernel->shared; return OK;
    case 2: *out = kernel->constant; return OK;
    case 3: *out = kernel->local; return OK;
    case 4: *out = kernel->registers; return OK;
    case 5:
    case 6: *out = architecture; return OK;
    case 8: *out = kernel->max_dynamic_shared; return OK;
    case 9: *out = -1; return OK; /* no preference for the carve-out */
    case 10: *out = kernel->cluster_must_be_set; return OK;
    case 11:
    case 12:
    case 13: *out = kernel->cluster[number - 11]; return OK;
    case 7:
    case 14:
    case 15: *out = 0; return OK;
    default: return INVALID_VALUE;
    }
}

int null_kernel_set(struct kernel *kernel, int number, int value) {
    if (number == 8) {
        if (value < 0 || value + kernel->shared > null_attribute(SHARED_OPTIN))
            return INVALID_VALUE;
        kernel->max_dynamic_shared = value;
    }
    return OK;
}

static int smaller(int one, int other) { return one < other ? one : other; }

/* Blocks that fit on one SM: the least of what threads, registers and shared memory allow (CUDA
 * C++ Programming Guide 13.0, "Compute Capabilities": 256 registers a warp, 1 KiB reserved a block). */
int null_occupancy(struct kernel *kernel, int block_size, size_t dynamic_shared, int *out) {
    if (block_size <= 0) return INVALID_VALUE;
    int warps = (block_size + 31) / 32;
    int registers = (kernel->registers * 32 + 255) / 256 * 256 * warps;
    size_t shared = (size_t)kernel->shared + dynamic_shared + (size_t)null_attribute(RESERVED_SHARED);
    *out = 0;
    if (block_size > kernel->max_threads) return OK;
    int blocks = smaller(null_attribute(THREADS_PER_SM) / (warps * 32), null_attribute(BLOCKS_PER_SM));
    if (registers) blocks = smaller(blocks, null_attribute(REGISTERS_PER_SM) / registers);
    if (shared) blocks = smaller(blocks, (int)((size_t)null_attribute(SHARED_PER_SM) / shared));
    *out = blocks;
    return OK;
}

int null_launch(struct kernel *kernel, void *handle) {
    struct stream *stream = null_stream(handle);
    if (!kernel || !stream) return INVALID_HANDLE;
    if (stream->captured) stream->captured->nodes++;
    return OK;
}
