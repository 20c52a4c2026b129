/* Devices, the profile they claim, and the trace. */
#define _GNU_SOURCE
#include "core.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct profile the_profile;
static pthread_once_t profile_once = PTHREAD_ONCE_INIT;

static void die(const char *what, const char *path) {
    fprintf(stderr, "warmup-ci null device: %s: %s\n", what, path);
    abort();
}

/* As the driver reads CUDA_VISIBLE_DEVICES: up to the first name that is not a device's index. All
 * devices are alike, so which ones does not matter. */
static int count_visible(int devices) {
    const char *names = getenv("CUDA_VISIBLE_DEVICES");
    if (!names) return devices;
    int count = 0;
    for (char *end; count < devices; names = end + 1) {
        long index = strtol(names, &end, 10);
        if (end == names || index < 0 || index >= devices) break;
        count++;
        if (*end != ',') break;
    }
    return count;
}

/* Lines of `KEY VALUE`, written by warmup/target/environment.py. */
static void read_profile(void) {
    const char *path = getenv("WARMUP_CI_NULL_PROFILE");
    FILE *file = path ? fopen(path, "re") : NULL;
    if (!file) die("WARMUP_CI_NULL_PROFILE cannot be read", path ? path : "(not set)");
    char line[256];
    struct profile *p = &the_profile;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        int number, value;
        if (sscanf(line, "attribute %d %d", &number, &value) == 2) {
            if (number >= 0 && number < MAX_ATTRIBUTES) p->attributes[number] = value;
        } else if (!strncmp(line, "name ", 5)) {
            strncpy(p->name, line + 5, sizeof p->name - 1);
        } else if (!strncmp(line, "driver_text ", 12)) {
            strncpy(p->driver_text, line + 12, sizeof p->driver_text - 1);
        } else if (sscanf(line, "clock %d %d", &number, &value) == 2) {
            if (number >= 0 && number < 4) p->clocks_mhz[number] = value;
        } else {
            sscanf(line, "devices %d", &p->devices);
            sscanf(line, "memory %lu", &p->memory);
            sscanf(line, "nvml_memory %lu", &p->nvml_memory);
            sscanf(line, "driver %d", &p->driver);
            sscanf(line, "power_limit_mw %d", &p->power_limit_mw);
        }
    }
    fclose(file);
    if (p->devices < 1 || p->devices > MAX_DEVICES || !p->memory) die("not a profile", path);
    p->visible = count_visible(p->devices);
}

const struct profile *null_profile(void) {
    pthread_once(&profile_once, read_profile);
    return &the_profile;
}

int null_attribute(int number) {
    return number > 0 && number < MAX_ATTRIBUTES ? null_profile()->attributes[number] : 0;
}

void null_uuid(int device, unsigned char out[16]) {
    memcpy(out, "warmup-ci-null-", 15);
    out[15] = (unsigned char)device;
}

void null_pci_id(int device, char *out, int size) {
    snprintf(out, (size_t)size, "00000000:%02X:00.0", device + 1);
}

static __thread int current_device;

int null_device(void) { return current_device; }

int null_set_device(int device) {
    if (device < 0 || device >= null_profile()->visible) return INVALID_DEVICE;
    current_device = device;
    return OK;
}

void null_trace(const char *event, const char *detail) {
    static int fd = -2;
    if (fd == -2) {
        const char *path = getenv("WARMUP_CI_NULL_TRACE");
        fd = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    }
    char line[512];
    int length = snprintf(line, sizeof line, "%d %s %s\n", (int)getpid(), event, detail);
    if (length >= (int)sizeof line) length = sizeof line - 1;
    if (fd >= 0 && write(fd, line, (size_t)length) < 0) fd = -1;
}

/* Named once a process: a loop that asks again and again must not fill the disk. */
int null_unsupported(const char *symbol) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static const char *seen[1024];
    static int count;
    pthread_mutex_lock(&lock);
    bool is_new = true;
    for (int i = 0; i < count && is_new; i++) is_new = seen[i] != symbol;
    if (is_new && count < 1024) seen[count++] = symbol;
    pthread_mutex_unlock(&lock);
    if (is_new) null_trace("unsupported", symbol);
    return NOT_SUPPORTED;
}
