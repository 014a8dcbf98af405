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

#endif
