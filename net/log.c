/*
 * log.c - the server's log. A line is put together on the stack and written by one write(2), so lines of
 * several threads never mix and no lock is needed.
 */
#include "net/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_SIZE_MAX 2048
#define TEXT_SIZE_MAX 1024

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

static void
log_line(const char *level, const char *format, va_list arguments)
{
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
    if (terminal) {
        size = snprintf(line, sizeof line, "%s %s: %s\n", when, level, text);
    } else {
        (void)escape(escaped, sizeof escaped, text);
        size = snprintf(line, sizeof line, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":\"%s\"}\n", when,
                        level, escaped);
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
    log_line("info", format, arguments);
    va_end(arguments);
}

void
log_warning(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    log_line("warning", format, arguments);
    va_end(arguments);
}

void
log_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    log_line("error", format, arguments);
    va_end(arguments);
}
