/*
 * server_door.c - what a server needs at its front door: the table of keys, the tables of rates, the
 * secrets of passes. guard.c uses them.
 */
#include "net/server_door.h"

#include "persist/log.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#define DOOR_CAUSE_SIZE (512 + SETTING_TEXT_SIZE_MAX)

static bool
open_keys(struct server *server)
{
    const char *path = server->settings->keys_file;
    char cause[KEYS_CAUSE_SIZE_MAX];
    struct keys *keys;
    if (path[0] == '\0')
        return true;
    if (!keys_read(path, 1, &keys, cause)) {
        log_error("%s", cause);
        return false;
    }
    if (keys->count == 0)
        log_warning("the keys file '%s' has no keys: nobody can come in until one is added", path);
    atomic_store_explicit(&server->keys, keys, memory_order_relaxed); /* there are no threads yet */
    return true;
}

static bool
open_pass_secrets(struct server *server)
{
    const struct settings *settings = server->settings;
    char cause[DOOR_CAUSE_SIZE];
    char path[SETTING_TEXT_SIZE_MAX + 16];
    bool own = settings->pass_secret_file[0] == '\0';
    (void)snprintf(path, sizeof path, "%s%s", own ? settings->data : settings->pass_secret_file,
                   own ? "/pass.secret" : ""); /* fits */
    bool good = !own || pass_secret_make(path, cause, sizeof cause);
    good = good && pass_secret_read(path, &server->pass_secrets.current, cause, sizeof cause);
    if (good && settings->pass_secret_file_old[0] != '\0')
        good = pass_secret_read(settings->pass_secret_file_old, &server->pass_secrets.old, cause,
                                sizeof cause);
    if (!good)
        log_error("%s", cause);
    return good;
}

static bool
open_rates(struct server *server)
{
    const struct settings *settings = server->settings;
    uint64_t seeds[2];
    bool valid = proxies_parse(settings->proxies, &server->proxies);
    assert(valid); /* settings_read() has looked */
    int result = getrandom(seeds, sizeof seeds, 0) == sizeof seeds ? 0 : -EIO;
    if (result == 0)
        result = rate_limit_open(&server->rate_user, (uint32_t)settings->user_per_second, seeds[0],
                                 (uint32_t)settings->rate_buckets);
    if (result == 0)
        result = rate_limit_open(&server->rate_address, (uint32_t)settings->address_per_second, seeds[1],
                                 (uint32_t)settings->rate_buckets);
    if (result != 0)
        log_error("could not make the tables of rates: %s: lower rate.buckets", strerror(-result));
    return result == 0;
}

bool
door_check(const struct settings *settings)
{
    const char *const secrets[] = {settings->pass_secret_file, settings->pass_secret_file_old};
    char keys_cause[KEYS_CAUSE_SIZE_MAX], cause[DOOR_CAUSE_SIZE];
    struct keys *keys = NULL;
    if (settings->keys_file[0] != '\0' && !keys_read(settings->keys_file, 1, &keys, keys_cause)) {
        log_error("%s", keys_cause);
        return false;
    }
    keys_free(keys);
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++) {
        struct pass_secret secret;
        if (secrets[i][0] != '\0' && !pass_secret_read(secrets[i], &secret, cause, sizeof cause)) {
            log_error("%s", cause);
            return false;
        }
    }
    return true;
}

bool
door_open(struct server *server)
{
    return open_keys(server) && open_pass_secrets(server) && open_rates(server);
}

/* Free for whoever made it; for the loops it was read-only, and they have left it. */
static void
free_table(const struct keys *keys)
{
    keys_free((struct keys *)(uintptr_t)keys);
}

void
door_reload(struct server *server)
{
    char cause[KEYS_CAUSE_SIZE_MAX];
    struct keys *keys;
    /* relaxed: only this thread writes it */
    const struct keys *before = atomic_load_explicit(&server->keys, memory_order_relaxed);
    if (!keys_read(server->settings->keys_file, before->generation + 1, &keys, cause)) {
        log_error("SIGHUP: %s; the %u keys from before stay", cause, before->count);
        return;
    }
    atomic_store_explicit(&server->keys, keys, memory_order_release);
    for (uint32_t i = 0; i < server->shard_count; i++)
        bell_ring_always(&server->bells[i]);
    for (uint32_t i = 0; i < server->shard_count; i++) {
        /* Bounded by the longest tick: a loop that never ends one answers nobody. Acquire: from here on the
         * shard reads nothing of the table of before. */
        while (atomic_load_explicit(&server->keys_taken[i], memory_order_acquire) != keys) {
            const struct timespec pause = {0, 1000000};
            (void)nanosleep(&pause, NULL); /* cut short: looks again */
        }
    }
    log_info("SIGHUP: %u keys from '%s', %u before", keys->count, server->settings->keys_file,
             before->count);
    free_table(before);
}

void
door_close(struct server *server)
{
    rate_limit_done(&server->rate_user);
    rate_limit_done(&server->rate_address);
    free_table(atomic_load_explicit(&server->keys, memory_order_relaxed)); /* no other thread is left */
}
