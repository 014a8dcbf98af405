/*
 * raw.h - one command with placeholders, written again and again.
 */
#ifndef HOLDFAST_LOAD_RAW_H
#define HOLDFAST_LOAD_RAW_H

#include "load/workload.h"

struct raw_command;

/* Reads the words with their placeholders. http: they are method, target and perhaps a body. NULL:
 * ret_error says why, at least 160 bytes. The words must live as long as the command. */
struct raw_command *raw_command_read(char **words, int count, bool http, char *ret_error);
void raw_command_free(struct raw_command *command);

void raw_write(const struct raw_command *command, uint64_t number, uint64_t *random,
               struct request_text *ret_request);

#endif
