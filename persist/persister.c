/*
 * persister.c - the way of a persister: begin, carry, wait, begin again.
 */
#include "persist/persister.h"

#include "persist/journal_tool_internal.h"
#include "persist/log.h"
#include "persist/migrate.h"
#include "persist/persister_session.h"

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CONNECT_SECONDS 10
#define CAUSE_SIZE      4200

struct persister {
    struct persister_settings settings;
    char application[128];
    struct data_folder folder;
    struct pg *pg; /* NULL: not connected */
    struct persister_place place;
};

static struct pg_settings
session_settings(const struct persister *persister)
{
    return (struct pg_settings){
        .uri = persister->settings.postgres,
        .application = persister->application,
        .connect_seconds = CONNECT_SECONDS,
        .wait_ms = persister->settings.wait_ms,
        .stop = persister->settings.stop,
    };
}

static void
tell_refused(const struct persister_settings *settings, const struct pg_error *error)
{
    char where[256];
    pg_uri_text(settings->postgres, where, sizeof where);
    log_error("PostgreSQL, %s: %s%s%s%s", where, error->text,
              error->sqlstate[0] != '\0' ? " (SQLSTATE " : "", error->sqlstate,
              error->sqlstate[0] != '\0' ? ")" : "");
}

bool
persister_migrate(const struct persister_settings *settings)
{
    struct persister persister = {.settings = *settings};
    struct pg_error error;
    struct pg *pg;
    uint32_t applied = 0;
    session_application(persister.application, sizeof persister.application);
    struct pg_settings pg_settings = session_settings(&persister);
    if (!pg_connect(&pg_settings, &pg, &error)) {
        tell_refused(settings, &error);
        return false;
    }
    bool good = migrate(pg, &applied, &error);
    pg_close(pg);
    if (good)
        log_info("the schema has %u migrations; %u of them were applied now", migration_count(), applied);
    else
        tell_refused(settings, &error);
    return good;
}

bool
persister_open(struct persister **ret_persister, const struct persister_settings *settings)
{
    char cause[CAUSE_SIZE];
    struct pg_error error;
    bool locked;
    struct persister *persister = calloc(1, sizeof *persister);
    if (persister == NULL) {
        log_error("no memory");
        return false;
    }
    persister->settings = *settings;
    session_application(persister->application, sizeof persister->application);
    if (data_folder_open(settings->data, &persister->folder, cause, sizeof cause) != 0) {
        log_error("%s: is it the server's (--data)? a server must have been started there once", cause);
        free(persister);
        return false;
    }
    struct pg_settings pg_settings = session_settings(persister);
    if (!session_open(&pg_settings, true, &persister->pg, &locked, &error) ||
        !session_place(persister->pg, persister->folder.route_seed, &persister->place, &error)) {
        tell_refused(settings, &error);
        persister_close(persister);
        return false;
    }
    *ret_persister = persister;
    return true;
}

void
persister_run(struct persister *persister)
{
    while (!atomic_load_explicit(persister->settings.stop, memory_order_acquire))
        (void)poll(NULL, 0, 100);
}

void
persister_close(struct persister *persister)
{
    pg_close(persister->pg);
    data_folder_close(&persister->folder);
    free(persister);
}

size_t
persister_metrics(struct persister *persister, char *ret_text, size_t size)
{
    int written =
        snprintf(ret_text, size,
                 "# TYPE holdfast_persister_steps_total counter\nholdfast_persister_steps_total %llu\n",
                 (unsigned long long)persister->place.step);
    return (size_t)written;
}

bool
persister_healthy(struct persister *persister, char *ret_text, size_t size)
{
    bool healthy = pg_alive(persister->pg);
    (void)snprintf(ret_text, size, "%s\n", healthy ? "ok" : "PostgreSQL is away");
    return healthy;
}
