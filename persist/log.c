/*
 * log.c - the log of the server and of the persister. A line is put together on the stack and written by
 * one write(2), so lines of several threads never mix and no lock is needed.
 */
#include "persist/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_SIZE_MAX  4096
#define TEXT_SIZE_MAX  1024
#define FIELD_SIZE_MAX 512

static bool terminal; /* written once, before the first thread */

void
log_open(void)
{
    terminal = isatty(STDERR_FILENO) == 1;
}

/* Copies text with what JSON forbids escaped; returns the size, at most room. */
static size_t
escape(char *to, size_t room, const char *text)
{
    size_t size = 0;
    for (; *text != '\0' && size + 6 < room; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            to[size++] = '\\';
            to[size++] = (char)c;
        } else if (c < 0x20) {
            size += (size_t)snprintf(to + size, room - size, "\\u%04x", c);
        } else {
            to[size++] = (char)c;
        }
    }
    to[size] = '\0';
    return size;
}

/* ,"name":"value" or name=value; nothing where the value is empty. At most FIELD_SIZE_MAX bytes. */
static size_t
field(char *to, const char *name, const char *value)
{
    if (value[0] == '\0')
        return 0;
    size_t size = (size_t)sprintf(to, terminal ? " %s=" : ",\"%s\":\"", name); /* fits: names are ours */
    size += escape(to + size, FIELD_SIZE_MAX - 32, value);
    if (!terminal)
        to[size++] = '"';
    to[size] = '\0';
    return size;
}

static void
log_line(const char *level, const struct log_cause *cause, const char *format, va_list arguments)
{
    char fields[2 * FIELD_SIZE_MAX] = "";
    char text[TEXT_SIZE_MAX];
    char escaped[TEXT_SIZE_MAX + 512];
    char line[LINE_SIZE_MAX];
    struct timespec now = {0};
    struct tm parts = {0};
    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail: the clock exists */
    (void)gmtime_r(&now.tv_sec, &parts);       /* likewise for any year before two thousand million */
    (void)vsnprintf(text, sizeof text, format, arguments); /* cut where too long */
    char when[40];
    size_t when_size = strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &parts);
    (void)snprintf(when + when_size, sizeof when - when_size, ".%03ldZ", now.tv_nsec / 1000000); /* fits */
    int size;
    if (cause != NULL) {
        size_t used = field(fields, "trace_id", cause->trace_id);
        (void)field(fields + used, "request_id", cause->request_id);
    }
    if (terminal) {
        size = snprintf(line, sizeof line, "%s %s: %s%s\n", when, level, text, fields);
    } else {
        (void)escape(escaped, sizeof escaped, text);
        size = snprintf(line, sizeof line, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":\"%s\"%s}\n",
                        when, level, escaped, fields);
    }
    /* a log that cannot be written must not stop the server */
    ssize_t written = write(STDERR_FILENO, line, (size_t)size);
    (void)written;
}

void
log_info(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    log_line("info", NULL, format, arguments);
    va_end(arguments);
}

void
log_warning(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    log_line("warning", NULL, format, arguments);
    va_end(arguments);
}

void
log_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    log_line("error", NULL, format, arguments);
    va_end(arguments);
}

void
log_info_of(const struct log_cause *cause, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    log_line("info", cause, format, arguments);
    va_end(arguments);
}

void
log_warning_of(const struct log_cause *cause, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    log_line("warning", cause, format, arguments);
    va_end(arguments);
}

void
log_error_of(const struct log_cause *cause, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    log_line("error", cause, format, arguments);
    va_end(arguments);
}
