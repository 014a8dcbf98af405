/*
 * log.h - lines for the operator on standard error: text on a terminal, one JSON object a line otherwise.
 */
#ifndef HOLDFAST_LOG_H
#define HOLDFAST_LOG_H

/* Once, before the first thread. */
void log_open(void);

/* Any thread; a line is written whole. Text: lower case, with the value and the reason. */
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What was asked for by a request: a part of the line of its own. Either may be empty. */
struct log_cause {
    char trace_id[33];
    char request_id[129];
};
void log_info_of(const struct log_cause *cause, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void log_warning_of(const struct log_cause *cause, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void log_error_of(const struct log_cause *cause, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
