/*
 * resp_queue.c - QUEUE JOIN, GET, LEAVE, WATCH and UNWATCH: their arguments, their answer, and the push
 * messages that follow a WATCH.
 *
 * The answer is the token's array; a push message is the same behind the word "queue":
 *
 *     [token, state, position or nil, pass or nil, deadline_ms or nil]
 *     > [queue, token, state, position or nil, pass or nil, deadline_ms or nil]
 *
 * Push messages are RESP3's: a RESP2 client could not tell one from an answer, so it is refused.
 *
 * See also: watch.c for who watches what, http_body.c for the same in JSON.
 */
#include "net/resp_internal.h"

#include <assert.h>

/* "*n\r\n", the word, five elements of which the pass is apart */
#define TOKEN_HEAD_SIZE_MAX 256

static void
refuse_field(struct request *request, const char *field, const char *expected)
{
    if (field != NULL)
        request_badrequest(request, field, expected);
}

static void
decode_join(struct request *request, struct arguments *arguments)
{
    if (arguments->left != 2) {
        resp_error_arity(request, "queue|join");
        return;
    }
    request_command(request, COMMAND_QUEUE_JOIN);
    const char *expected;
    const char *field = command_event(&request->command, argument_take(arguments), &expected);
    if (field == NULL)
        field = command_user(&request->command, argument_take(arguments), &expected);
    refuse_field(request, field, expected);
}

static void
decode_token(struct request *request, struct arguments *arguments, enum command_type type, const char *name)
{
    if (arguments->left != 1) {
        resp_error_arity(request, name);
        return;
    }
    bool watches = type == COMMAND_QUEUE_WATCH || type == COMMAND_QUEUE_UNWATCH;
    if (watches && request->reply_context.resp_version != 3) {
        resp_error_text(request, "ERR push messages need RESP3: send HELLO 3 first, or ask with QUEUE GET");
        return;
    }
    request_command(request, type);
    const char *expected;
    const char *field = command_token(&request->command, argument_take(arguments), &expected);
    refuse_field(request, field, expected);
}

void
resp_decode_queue(struct request *request, struct arguments *arguments)
{
    if (arguments->left == 0) {
        resp_error_arity(request, "queue");
        return;
    }
    struct bytes subcommand = argument_take(arguments);
    switch (word_of(subcommand)) {
    case WORD('J', 'O', 'I', 'N', 0, 0, 0, 0):
        decode_join(request, arguments);
        return;
    case WORD('G', 'E', 'T', 0, 0, 0, 0, 0):
        decode_token(request, arguments, COMMAND_QUEUE_GET, "queue|get");
        return;
    case WORD('L', 'E', 'A', 'V', 'E', 0, 0, 0):
        decode_token(request, arguments, COMMAND_QUEUE_LEAVE, "queue|leave");
        return;
    case WORD('W', 'A', 'T', 'C', 'H', 0, 0, 0):
        decode_token(request, arguments, COMMAND_QUEUE_WATCH, "queue|watch");
        return;
    case WORD('U', 'N', 'W', 'A', 'T', 'C', 'H', 0):
        decode_token(request, arguments, COMMAND_QUEUE_UNWATCH, "queue|unwatch");
        return;
    default:
        resp_error_subcommand(request, "QUEUE", subcommand);
    }
}

static char *
put_number_or_null(char *at, uint8_t version, uint64_t number)
{
    if (number > 0) {
        *at++ = ':';
        at = put_unsigned(at, number);
        return put_literal(at, "\r\n");
    }
    return version == 3 ? put_literal(at, "_\r\n") : put_literal(at, "$-1\r\n");
}

/* The elements from the token on. */
static void
encode_elements(struct output *output, uint8_t version, const struct token_view *token)
{
    const char *state = token_state_word(token->state);
    size_t state_size = strlen(state);
    char *at = output_reserve(output, TOKEN_HEAD_SIZE_MAX);
    if (at == NULL)
        return;
    at = put_literal(at, "$36\r\n");
    at = put_uuid(at, &token->id);
    at = put_literal(at, "\r\n$");
    at = put_unsigned(at, state_size);
    at = put_literal(at, "\r\n");
    at = put_bytes(at, state, state_size);
    at = put_literal(at, "\r\n");
    output_commit(output, put_number_or_null(at, version, token->position));
    if (token->pass.size > 0)
        resp_bulk(output, token->pass);
    else
        resp_null(output, version);
    at = output_reserve(output, 32);
    if (at != NULL)
        output_commit(output, put_number_or_null(at, version, token->deadline_ms));
}

void
resp_encode_token(struct output *output, uint8_t version, const struct token_view *token)
{
    resp_array(output, 5);
    encode_elements(output, version, token);
}

void
resp_encode_push(struct output *output, const struct token_view *token)
{
    static const char head[] = ">6\r\n$5\r\nqueue\r\n";
    output_put(output, head, sizeof head - 1);
    encode_elements(output, 3, token);
}
