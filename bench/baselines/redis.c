/*
 * redis.c - what the rivals on Redis share: emptying it, loading a script, asking for two numbers.
 */
#include "bench/baselines/rival.h"

#include <stdio.h>
#include <stdlib.h>

#define CONNECT_SECONDS 10
#define ANSWER_SECONDS  60

bool
resp_command(struct client *client, const char *const *words, const struct answer **ret_answer,
             char *ret_error)
{
    struct request_text request;
    uint32_t count = 0;
    while (words[count] != NULL)
        count++;
    request_begin(&request, count);
    for (uint32_t i = 0; i < count; i++)
        request_text(&request, words[i]);
    client->kind->append(client, &request);
    if (!client_wait(client, ANSWER_SECONDS, ret_answer, ret_error))
        return false;
    if ((*ret_answer)->values[0].kind == ANSWER_ERROR) {
        struct bytes text = answer_text(*ret_answer, 0);
        snprintf(ret_error, RIVAL_ERROR_SIZE, "%s: %.*s", words[0], (int)text.size, text.data);
        return false;
    }
    return true;
}

bool
resp_number(struct client *client, const char *const *words, uint64_t *ret_number, char *ret_error)
{
    const struct answer *answer;
    if (!resp_command(client, words, &answer, ret_error))
        return false;
    int64_t number = 0;
    if (answer->values[0].kind == ANSWER_INTEGER)
        number = answer->values[0].integer;
    if (answer->values[0].kind == ANSWER_TEXT) {
        char text[24];
        struct bytes bytes = answer_text(answer, 0);
        snprintf(text, sizeof text, "%.*s", (int)bytes.size, bytes.data);
        number = strtoll(text, NULL, 10);
    }
    *ret_number = number > 0 ? (uint64_t)number : 0;
    return true;
}

static bool
script_load(struct client *client, struct rival_stage *stage, const char *lua, char *ret_error)
{
    const struct answer *answer;
    if (!resp_command(client, (const char *const[]){"SCRIPT", "LOAD", lua, NULL}, &answer, ret_error))
        return false;
    struct bytes sha = answer_text(answer, 0);
    snprintf(stage->sha, sizeof stage->sha, "%.*s", (int)sha.size, sha.data);
    return true;
}

bool
redis_prepare(struct rival_stage *stage, const char *stock_key, const char *lua, char *ret_error)
{
    const struct answer *answer;
    char stock[16];
    snprintf(stock, sizeof stock, "%u", stage->units);
    struct client *client = resp_client.open(&stage->place, CONNECT_SECONDS, ret_error);
    bool well =
        client != NULL &&
        resp_command(client, (const char *const[]){"FLUSHALL", NULL}, &answer, ret_error) &&
        (stock_key == NULL ||
         resp_command(client, (const char *const[]){"SET", stock_key, stock, NULL}, &answer, ret_error)) &&
        (lua == NULL || script_load(client, stage, lua, ret_error));
    client_free(client);
    return well;
}

bool
redis_numbers(const struct rival_stage *stage, const char *const *words_1, uint64_t *ret_1,
              const char *const *words_2, uint64_t *ret_2, char *ret_error)
{
    struct client *client = resp_client.open(&stage->place, CONNECT_SECONDS, ret_error);
    bool well = client != NULL && resp_number(client, words_1, ret_1, ret_error) &&
                resp_number(client, words_2, ret_2, ret_error);
    client_free(client);
    return well;
}

bool
stock_read(const struct answer *answer, struct rival_outcome *ret_outcome)
{
    int64_t left = answer->values[0].integer;
    if (answer->values[0].kind != ANSWER_INTEGER)
        return false;
    ret_outcome->kind = left >= 0 ? RIVAL_GRANTED : RIVAL_REFUSED;
    if (left >= 0)
        ret_outcome->unit = (uint32_t)left;
    return true;
}
