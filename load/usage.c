/*
 * usage.c - what processes have used, from /proc.
 *
 * One look at /proc gives every process with its parent; whoever has one of the wanted ones above itself is
 * counted. Times of children that have ended are in their parents' once they were waited for.
 *
 * A process' time in /proc/PID/stat is in whole ticks of 10 ms, which is nothing for each of many processes
 * that do little (PostgreSQL with a connection a buyer). The scheduler's own count is in nanoseconds, but
 * of living threads only; so it is the greater of the two.
 */
#include "load/usage.h"

#include <ctype.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct process {
    uint32_t pid;
    uint32_t parent;
    uint64_t own_ticks;
    uint64_t child_ticks; /* of those that have ended */
};

#define PROCESSES_MAX   32768u /* more are not looked at */
#define GENERATIONS_MAX 64

static bool
process_read(const char *name, struct process *ret_process)
{
    char path[64], text[1024];
    unsigned long long user, system, child_user, child_system;
    unsigned parent;
    snprintf(path, sizeof path, "/proc/%.20s/stat", name);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return false;
    size_t size = fread(text, 1, sizeof text - 1, file);
    (void)fclose(file); /* only read */
    text[size] = '\0';
    /* The name in brackets may hold anything; what follows it is plain. */
    const char *rest = strrchr(text, ')');
    if (rest == NULL || sscanf(rest + 1, " %*c %u %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu",
                               &parent, &user, &system, &child_user, &child_system) != 5)
        return false;
    *ret_process = (struct process){(uint32_t)strtoul(name, NULL, 10), parent, user + system,
                                    child_user + child_system};
    return true;
}

static uint32_t
processes_read(struct process *processes)
{
    uint32_t count = 0;
    DIR *folder = opendir("/proc");
    if (folder == NULL)
        return 0;
    for (struct dirent *entry; count < PROCESSES_MAX && (entry = readdir(folder)) != NULL;)
        if (isdigit((unsigned char)entry->d_name[0]) && process_read(entry->d_name, &processes[count]))
            count++;
    (void)closedir(folder); /* only read */
    return count;
}

static const struct process *
process_find(const struct process *processes, uint32_t count, uint32_t pid)
{
    for (uint32_t i = 0; i < count; i++)
        if (processes[i].pid == pid)
            return &processes[i];
    return NULL;
}

static bool
descends(const struct process *processes, uint32_t process_count, const struct process *process,
         const uint32_t *pids, uint32_t count)
{
    for (uint32_t generation = 0; process != NULL && generation < GENERATIONS_MAX; generation++) {
        for (uint32_t i = 0; i < count; i++)
            if (process->pid == pids[i])
                return true;
        process = process_find(processes, process_count, process->parent);
    }
    return false;
}

/* Of its living threads. */
static double
scheduled_seconds(uint32_t pid)
{
    char path[320];
    double seconds = 0;
    snprintf(path, sizeof path, "/proc/%u/task", pid);
    DIR *folder = opendir(path);
    if (folder == NULL)
        return 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        unsigned long long ns;
        snprintf(path, sizeof path, "/proc/%u/task/%.20s/schedstat", pid, entry->d_name);
        FILE *file = isdigit((unsigned char)entry->d_name[0]) ? fopen(path, "r") : NULL;
        if (file == NULL)
            continue;
        if (fscanf(file, "%llu", &ns) == 1)
            seconds += (double)ns / 1e9;
        (void)fclose(file); /* only read */
    }
    (void)closedir(folder); /* only read */
    return seconds;
}

static uint64_t
written_by(uint32_t pid)
{
    char path[64], line[128];
    unsigned long long bytes = 0;
    snprintf(path, sizeof path, "/proc/%u/io", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "write_bytes: %llu", &bytes) == 1)
            break;
    (void)fclose(file); /* only read */
    return bytes;
}

struct usage
usage_of(const uint32_t *pids, uint32_t count)
{
    struct usage usage = {0};
    struct process *processes = count > 0 ? malloc(PROCESSES_MAX * sizeof *processes) : NULL;
    uint32_t process_count = processes != NULL ? processes_read(processes) : 0;
    for (uint32_t i = 0; i < process_count; i++) {
        if (!descends(processes, process_count, &processes[i], pids, count))
            continue;
        double tick = 1 / (double)sysconf(_SC_CLK_TCK);
        double own = (double)processes[i].own_ticks * tick;
        double scheduled = scheduled_seconds(processes[i].pid);
        usage.cpu_seconds += (own > scheduled ? own : scheduled) + (double)processes[i].child_ticks * tick;
        usage.written_bytes += written_by(processes[i].pid);
    }
    free(processes);
    return usage;
}

double
usage_own_seconds(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage); /* cannot fail */
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}
