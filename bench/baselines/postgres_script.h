/*
 * postgres_script.h - rivals that are a few statements on PostgreSQL, in one or more round trips.
 */
#ifndef HOLDFAST_BENCH_POSTGRES_SCRIPT_H
#define HOLDFAST_BENCH_POSTGRES_SCRIPT_H

#include "bench/baselines/postgres.h"
#include "bench/baselines/rival.h"

struct postgres_statement {
    const char *name;
    const char *sql;
};

/* One purchase under way. */
struct postgres_purchase {
    struct postgres *postgres;
    struct rival_purchase wanted;
    uint32_t round; /* rounds that have come back in this try */
    int64_t kept;   /* the script's own, from round to round */
};

/* What a script makes of a round. */
enum postgres_step {
    POSTGRES_MORE,  /* another round has been sent */
    POSTGRES_DONE,  /* ret_outcome is set */
    POSTGRES_AGAIN, /* lost against another transaction: all from the beginning */
};

struct postgres_script {
    const struct postgres_statement *statements; /* ends with a name of NULL */
    void (*begin)(struct postgres_purchase *purchase);
    enum postgres_step (*then)(struct postgres_purchase *purchase, const struct postgres_round *round,
                               struct rival_outcome *ret_outcome);
    bool may_lose; /* against another transaction: then() asks postgres_round_lost() */
};

/* postgres_client.c: a client for such a script. */
struct client *postgres_client_open(const struct client_kind *kind, const struct postgres_script *script,
                                    const struct client_place *place, char *ret_error);
void postgres_client_free(struct client *client);
int postgres_client_fd(const struct client *client);
const char *postgres_client_error(const struct client *client);
void postgres_client_append(struct client *client, const struct request_text *request);
int postgres_client_flush(struct client *client);
int postgres_client_read(struct client *client);
int postgres_client_next(struct client *client, const struct answer **ret_answer);

/* The kind of client for `script`, which the file has defined before. */
#define POSTGRES_CLIENT(kind_name)                                                                         \
    static const struct client_kind kind_name;                                                             \
    static struct client *client_open(const struct client_place *place, uint32_t seconds, char *ret_error) \
    {                                                                                                      \
        (void)seconds; /* libpq has a time of its own */                                                   \
        return postgres_client_open(&kind_name, &script, place, ret_error);                                \
    }                                                                                                      \
    static const struct client_kind kind_name = {                                                          \
        .name = "postgres",                                                                                \
        .open = client_open,                                                                               \
        .free = postgres_client_free,                                                                      \
        .fd = postgres_client_fd,                                                                          \
        .error = postgres_client_error,                                                                    \
        .append = postgres_client_append,                                                                  \
        .flush = postgres_client_flush,                                                                    \
        .read = postgres_client_read,                                                                      \
        .next = postgres_client_next,                                                                      \
    }

/* The tables: a deal is one row with a count, or a row for each unit; a hall a row for each seat. */
bool postgres_prepare_deal(struct rival_stage *stage, char *ret_error);
bool postgres_prepare_units(struct rival_stage *stage, char *ret_error);
bool postgres_prepare_seats(struct rival_stage *stage, char *ret_error);
bool postgres_audit_deal(const struct rival_stage *stage, struct rival_audit *ret_audit, char *ret_error);
bool postgres_audit_units(const struct rival_stage *stage, struct rival_audit *ret_audit, char *ret_error);
bool postgres_audit_seats(const struct rival_stage *stage, struct rival_audit *ret_audit, char *ret_error);

/* Statements that several scripts have. */
#define POSTGRES_BEGIN                                                                                     \
    {                                                                                                      \
        "begin", "BEGIN"                                                                                   \
    }
#define POSTGRES_COMMIT                                                                                    \
    {                                                                                                      \
        "commit", "COMMIT"                                                                                 \
    }
#define POSTGRES_TAKE                                                                                      \
    {                                                                                                      \
        "take", "UPDATE deal SET stock = stock - 1 WHERE event_id = 1"                                     \
    }
#define POSTGRES_HOLD                                                                                      \
    {                                                                                                      \
        "hold", "INSERT INTO hold (event_id, user_id) VALUES (1, $1::bigint) RETURNING 1"                  \
    }
#define POSTGRES_END                                                                                       \
    {                                                                                                      \
        NULL, NULL                                                                                         \
    }

/* The usual second round: the stock that was seen allows one more or does not. The unit is the last of
 * those that were left. */
void postgres_take_and_hold(struct postgres_purchase *purchase, int64_t stock);
enum postgres_step postgres_taken(const struct postgres_purchase *purchase,
                                  struct rival_outcome *ret_outcome);

/* Lost against another transaction, or chosen to break a deadlock. */
bool postgres_round_lost(const struct postgres_round *round);

#endif
