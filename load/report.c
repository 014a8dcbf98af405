/*
 * report.c - the result of a load: one JSON object, and the table made of such objects.
 *
 * The table is always printed from the JSON, so that a load's own table and one put together from files
 * (`load table`) cannot differ. Figures are its rows, loads its columns; a row that no load has anything to
 * say in is left out:
 *
 *                          small deal    hall
 *     asked                       100    200,000
 *     held                         10    31,250
 *     refused SOLDOUT              90          -
 *     oversold                      0          0
 */
#include "load/report.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static json_t *
refusals_json(const struct refusals *refusals)
{
    json_t *object = json_object();
    for (uint32_t i = 0; i < refusals->count; i++)
        json_object_set_new(object, refusals->kind[i].word,
                            json_integer((json_int_t)refusals->kind[i].count));
    return object;
}

static void
set_integer(json_t *object, const char *name, uint64_t value)
{
    json_object_set_new(object, name, json_integer((json_int_t)value));
}

static json_t *
audit_json(const struct audit *audit)
{
    json_t *shown = json_array();
    for (uint64_t i = 0; i < audit->differences && i < DIFFERENCES_SHOWN_MAX; i++)
        json_array_append_new(shown, json_string(audit->shown[i]));
    json_t *object = json_object();
    set_integer(object, "differences", audit->differences);
    set_integer(object, "seats_checked", audit->seats_checked);
    set_integer(object, "holds_checked", audit->holds_checked);
    if (audit->places_checked > 0) {
        set_integer(object, "places_checked", audit->places_checked);
        set_integer(object, "active_most", audit->active_most);
        set_integer(object, "admitted", audit->admitted);
    }
    if (audit->recorded >= 0)
        set_integer(object, "recorded", (uint64_t)audit->recorded);
    if (audit->units_left >= 0)
        set_integer(object, "units_left", (uint64_t)audit->units_left);
    json_object_set_new(object, "shown", shown);
    return object;
}

static void
set_us(json_t *object, const char *name, double ns)
{
    json_object_set_new(object, name, json_real(ns / 1e3));
}

static json_t *
latency_json(const struct histogram *histogram)
{
    static const struct {
        const char *name;
        double share;
    } points[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"p9999", 0.9999}};
    json_t *object = json_object();
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++)
        set_us(object, points[i].name, (double)histogram_at(histogram, points[i].share));
    set_us(object, "max", (double)histogram->max);
    set_us(object, "mean", histogram->count > 0 ? (double)histogram->sum / (double)histogram->count : 0);
    return object;
}

/* Points of the curve, denser towards its end: [share, us]. */
static json_t *
curve_json(const struct histogram *histogram)
{
    static const double shares[] = {0.001, 0.01,   0.05,   0.1,     0.2,  0.3,    0.4,   0.5,
                                    0.6,   0.7,    0.75,   0.8,     0.85, 0.9,    0.925, 0.95,
                                    0.96,  0.97,   0.98,   0.985,   0.99, 0.9925, 0.995, 0.9975,
                                    0.999, 0.9995, 0.9999, 0.99999, 1};
    json_t *curve = json_array();
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++)
        json_array_append_new(
            curve, json_pack("[f, f]", shares[i], (double)histogram_at(histogram, shares[i]) / 1e3));
    return curve;
}

static uint64_t
units_granted(const struct ledger *ledger)
{
    uint64_t units = 0;
    for (uint32_t i = 0; i < ledger->grant_count; i++)
        units += ledger->grants[i].units;
    return units;
}

/* Whose processors were the limit: a client that is busy all the time measures itself. */
static const char *
limit_of(const struct outcome *outcome, double seconds)
{
    double client = seconds > 0 ? outcome->client_seconds / seconds : 0;
    double both =
        client + (seconds > 0 && outcome->server_known ? outcome->server.cpu_seconds / seconds : 0);
    if (client >= 0.9 * outcome->options->threads)
        return "client";
    if (both >= 0.95 * (double)sysconf(_SC_NPROCESSORS_ONLN))
        return "machine";
    return "server or schedule";
}

static json_t *
cpu_json(const struct outcome *outcome, double seconds)
{
    json_t *cpu = json_object();
    json_object_set_new(cpu, "client_seconds", json_real(outcome->client_seconds));
    json_object_set_new(cpu, "client_percent",
                        json_real(seconds > 0 ? outcome->client_seconds / seconds * 100 : 0));
    if (outcome->server_known) {
        json_object_set_new(cpu, "server_seconds", json_real(outcome->server.cpu_seconds));
        json_object_set_new(cpu, "server_percent",
                            json_real(seconds > 0 ? outcome->server.cpu_seconds / seconds * 100 : 0));
        set_integer(cpu, "server_written_bytes", outcome->server.written_bytes);
    }
    set_integer(cpu, "machine_percent", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN) * 100);
    json_object_set_new(cpu, "limit", json_string(limit_of(outcome, seconds)));
    return cpu;
}

static void
add_arrivals(json_t *result, const struct outcome *outcome)
{
    const struct load_options *options = outcome->options;
    const struct tally *tally = outcome->tally;
    json_object_set_new(result, "protocol", json_string(options->protocol->name));
    json_object_set_new(result, "loop", json_string(options->open_loop ? "open" : "closed"));
    set_integer(result, "arrived", tally->arrived);
    if (!options->open_loop)
        return;
    set_integer(result, "dropped", tally->dropped);
    set_integer(result, "queued_max", tally->queued_max);
    json_object_set_new(result, "late_us", latency_json(&tally->lateness));
    json_object_set_new(result, "service_us", latency_json(&tally->service));
}

static void
add_sale(json_t *result, const struct outcome *outcome)
{
    const struct load_options *options = outcome->options;
    const struct tally *tally = outcome->tally;
    json_object_set_new(result, "event", json_string(options->event));
    set_integer(result, "buyers", options->buyers);
    set_integer(result, "on_sale",
                options_units(options, (options->workload->options & OPTIONS_POOL) != 0));
    set_integer(result, "units_held", units_granted(&tally->ledger));
    set_integer(result, "confirmed", tally->confirmed);
    set_integer(result, "units_confirmed", tally->sold);
    json_object_set_new(result, "confirm_refused", refusals_json(&tally->other_refusals));
    if ((options->workload->options & OPTIONS_ROOM) != 0) {
        set_integer(result, "active_max", options->active_max);
        set_integer(result, "still_waiting", tally->waiting);
        set_integer(result, "retried", tally->retried);
        json_object_set_new(result, "wait_us", latency_json(&tally->wait));
        json_object_set_new(result, "join_us", latency_json(&tally->latency[ASK_JOIN]));
        json_object_set_new(result, "confirm_us", latency_json(&tally->latency[ASK_CONFIRM]));
    }
}

json_t *
report_json(const struct outcome *outcome)
{
    const struct load_options *options = outcome->options;
    const struct tally *tally = outcome->tally;
    double seconds = (double)outcome->all_ns / 1e9;
    uint64_t answered = tally->latency[ASK_BUY].count;
    json_t *result = json_object();
    json_object_set_new(result, "label", json_string(options->label));
    set_integer(result, "connections", options->connections);
    set_integer(result, "pipeline", options->pipeline);
    set_integer(result, "threads", options->threads);
    add_arrivals(result, outcome);
    set_integer(result, "asked", tally->asked);
    set_integer(result, "held", tally->held);
    json_object_set_new(result, "refused", refusals_json(&tally->refusals));
    set_integer(result, "lost", tally->lost);
    set_integer(result, "strange", tally->strange);
    json_object_set_new(result, "seconds", json_real(seconds));
    json_object_set_new(
        result, "holds_per_second",
        json_real(outcome->holds_ns > 0 ? (double)tally->held / ((double)outcome->holds_ns / 1e9) : 0));
    json_object_set_new(result, "answers_per_second",
                        json_real(seconds > 0 ? (double)answered / seconds : 0));
    json_object_set_new(result, "requests_per_second",
                        json_real(seconds > 0 ? (double)tally->answered / seconds : 0));
    json_object_set_new(result, "latency_us", latency_json(&tally->latency[ASK_BUY]));
    json_object_set_new(result, "curve_us", curve_json(&tally->latency[ASK_BUY]));
    json_object_set_new(result, "cpu", cpu_json(outcome, seconds));
    if ((options->workload->options & OPTIONS_EVENT) != 0)
        add_sale(result, outcome);
    if (outcome->counted)
        set_integer(result, "oversold", outcome->oversold);
    if (outcome->audit != NULL)
        json_object_set_new(result, "audit", audit_json(outcome->audit));
    return result;
}

/* ---- the table ---- */

#define CELL_SIZE_MAX 40
#define LABEL_WIDTH   24

struct table {
    json_t *const *results;
    size_t count;
    enum output_form form;
};

/* 1234567 as 1,234,567. */
static void
grouped(char *to, long long number)
{
    char digits[24];
    int size = snprintf(digits, sizeof digits, "%lld", number);
    int at = 0;
    for (int i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0 && digits[i - 1] != '-')
            to[at++] = ',';
        to[at++] = digits[i];
    }
    to[at] = '\0';
}

static void
number_write(double number, const char *unit, enum output_form form, char *ret_cell)
{
    if (form == OUTPUT_CSV)
        snprintf(ret_cell, CELL_SIZE_MAX, "%.10g", number);
    else if (strcmp(unit, "%") == 0)
        snprintf(ret_cell, CELL_SIZE_MAX, "%.0f %%", number);
    else if (strcmp(unit, "s") == 0)
        snprintf(ret_cell, CELL_SIZE_MAX, "%.2f s", number);
    else if (strcmp(unit, "us") != 0)
        grouped(ret_cell, (long long)(number + 0.5));
    else if (number < 1000)
        snprintf(ret_cell, CELL_SIZE_MAX, "%.0f us", number);
    else if (number < 1e6)
        snprintf(ret_cell, CELL_SIZE_MAX, "%.2f ms", number / 1e3);
    else
        snprintf(ret_cell, CELL_SIZE_MAX, "%.2f s", number / 1e6);
}

/* A member, possibly of a member ("audit.differences"), as a cell: whole numbers grouped, times with their
 * unit. */
static bool
cell_write(const struct table *table, const json_t *result, const char *group, const char *name,
           const char *unit, char *ret_cell)
{
    const json_t *object = group != NULL ? json_object_get(result, group) : result;
    const json_t *value = json_object_get(object, name);
    if (value == NULL) {
        snprintf(ret_cell, CELL_SIZE_MAX, "%s", table->form == OUTPUT_CSV ? "" : "-");
        return false;
    }
    if (json_is_string(value))
        snprintf(ret_cell, CELL_SIZE_MAX, "%s", json_string_value(value));
    else
        number_write(json_number_value(value), unit, table->form, ret_cell);
    return true;
}

static int
column_width(const json_t *result)
{
    int size = (int)strlen(json_string_value(json_object_get(result, "label")));
    return size > 18 ? size + 2 : 20;
}

static void
row_print(const struct table *table, const char *title, const char *group, const char *name,
          const char *unit)
{
    char cells[REPORT_RESULTS_MAX][CELL_SIZE_MAX];
    bool any = false;
    for (size_t i = 0; i < table->count; i++)
        any = cell_write(table, table->results[i], group, name, unit, cells[i]) || any;
    if (!any)
        return;
    if (table->form == OUTPUT_CSV) {
        printf("%s", title + strspn(title, " "));
        printf("%s%s", unit[0] != '\0' ? " " : "", unit);
        for (size_t i = 0; i < table->count; i++)
            printf(",%s", cells[i]);
    } else {
        printf("%-*s", LABEL_WIDTH, title);
        for (size_t i = 0; i < table->count; i++)
            printf("%*s", column_width(table->results[i]), cells[i]);
    }
    printf("\n");
}

/* One row for each word that any of the results has been refused with. */
static void
refusals_print(const struct table *table, const char *group, const char *prefix)
{
    json_t *words = json_object();
    for (size_t i = 0; i < table->count; i++)
        json_object_update(words, json_object_get(table->results[i], group));
    const char *word;
    json_t *value;
    json_object_foreach(words, word, value)
    {
        char title[64];
        snprintf(title, sizeof title, "%s %s", prefix, word);
        row_print(table, title, group, word, "");
    }
    json_decref(words);
}

static void
latencies_print(const struct table *table, const char *what, const char *group)
{
    static const struct {
        const char *title;
        const char *name;
    } points[] = {{"p50", "p50"},    {"p90", "p90"},      {"p99", "p99"},
                  {"p99.9", "p999"}, {"p99.99", "p9999"}, {"max", "max"}};
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        char title[64];
        snprintf(title, sizeof title, "%s %s", what, points[i].title);
        row_print(table, title, group, points[i].name, "us");
    }
}

/* A label as a CSV field. */
static void
label_print(const json_t *result)
{
    printf(",\"");
    for (const char *at = json_string_value(json_object_get(result, "label")); *at != '\0'; at++) {
        if (*at == '"')
            putchar('"');
        putchar(*at);
    }
    printf("\"");
}

static void
heading_print(const struct table *table)
{
    if (table->form == OUTPUT_CSV)
        printf("figure");
    else
        printf("%-*s", LABEL_WIDTH, "");
    for (size_t i = 0; i < table->count; i++) {
        if (table->form == OUTPUT_CSV)
            label_print(table->results[i]);
        else
            printf("%*s", column_width(table->results[i]),
                   json_string_value(json_object_get(table->results[i], "label")));
    }
    printf("\n");
}

static void
audit_print(const struct table *table)
{
    row_print(table, "oversold", NULL, "oversold", "");
    row_print(table, "audit: seats looked at", "audit", "seats_checked", "");
    row_print(table, "audit: holds looked at", "audit", "holds_checked", "");
    row_print(table, "audit: places looked at", "audit", "places_checked", "");
    row_print(table, "audit: active at most", "audit", "active_most", "");
    row_print(table, "audit: holds admitted", "audit", "admitted", "");
    row_print(table, "audit: recorded", "audit", "recorded", "");
    row_print(table, "audit: units left", "audit", "units_left", "");
    row_print(table, "audit: strange answers", NULL, "strange", "");
    row_print(table, "audit: differences", "audit", "differences", "");
}

void
report_table(json_t *const *results, size_t count, enum output_form form)
{
    const struct table whole = {results, count, form};
    const struct table *table = &whole;
    heading_print(table);
    row_print(table, "units on sale", NULL, "on_sale", "");
    row_print(table, "buyers", NULL, "buyers", "");
    row_print(table, "protocol", NULL, "protocol", "");
    row_print(table, "loop", NULL, "loop", "");
    row_print(table, "connections", NULL, "connections", "");
    row_print(table, "came", NULL, "arrived", "");
    row_print(table, "  dropped of these", NULL, "dropped", "");
    row_print(table, "  queued at most", NULL, "queued_max", "");
    row_print(table, "active allowed", NULL, "active_max", "");
    row_print(table, "asked", NULL, "asked", "");
    row_print(table, "held", NULL, "held", "");
    row_print(table, "  units of these", NULL, "units_held", "");
    row_print(table, "  confirmed", NULL, "confirmed", "");
    row_print(table, "  units confirmed", NULL, "units_confirmed", "");
    row_print(table, "still waiting", NULL, "still_waiting", "");
    refusals_print(table, "refused", "refused");
    refusals_print(table, "confirm_refused", "else");
    row_print(table, "answers lost", NULL, "lost", "");
    row_print(table, "asked again", NULL, "retried", "");
    row_print(table, "took", NULL, "seconds", "s");
    row_print(table, "holds/s", NULL, "holds_per_second", "");
    row_print(table, "answers/s", NULL, "answers_per_second", "");
    row_print(table, "requests/s of all kinds", NULL, "requests_per_second", "");
    latencies_print(table, "latency", "latency_us");
    latencies_print(table, "service", "service_us");
    latencies_print(table, "join", "join_us");
    latencies_print(table, "confirm", "confirm_us");
    latencies_print(table, "wait", "wait_us");
    latencies_print(table, "schedule late", "late_us");
    row_print(table, "client's cpu", "cpu", "client_percent", "%");
    row_print(table, "server's cpu", "cpu", "server_percent", "%");
    row_print(table, "  of the machine's", "cpu", "machine_percent", "%");
    row_print(table, "server's bytes written", "cpu", "server_written_bytes", "");
    row_print(table, "limited by", "cpu", "limit", "");
    audit_print(table);
}

bool
report_latencies(const char *path, const struct tally *tally)
{
    const struct histogram *latency = &tally->latency[ASK_BUY];
    FILE *file = fopen(path, "w");
    uint64_t seen = 0;
    bool written = file != NULL && fprintf(file, "upper_us,count,share\n") > 0;
    for (uint32_t i = 0; written && i < HISTOGRAM_BUCKETS; i++) {
        seen += latency->bucket[i];
        if (latency->bucket[i] > 0)
            written =
                fprintf(file, "%.3f,%llu,%.9f\n", (double)histogram_bucket_top(i) / 1e3,
                        (unsigned long long)latency->bucket[i], (double)seen / (double)latency->count) > 0;
    }
    if (file != NULL && fclose(file) != 0)
        written = false;
    if (!written)
        fprintf(stderr, "holdfast load: could not write %s: %s\n", path, strerror(errno));
    return written;
}

int
report_files(char **files, int count, enum output_form form)
{
    json_t *results[REPORT_RESULTS_MAX] = {NULL};
    int code = 0;
    size_t read = 0;
    if (count > REPORT_RESULTS_MAX) {
        fprintf(stderr, "holdfast load: %d files: expected at most %d\n", count, REPORT_RESULTS_MAX);
        return 2;
    }
    for (int i = 0; code == 0 && i < count; i++) {
        json_error_t error;
        json_t *result = json_load_file(files[i], 0, &error);
        if (result == NULL || !json_is_string(json_object_get(result, "label"))) {
            fprintf(stderr, "holdfast load: could not read %s: %s\n", files[i],
                    result == NULL ? error.text : "it is no result of a load (--json)");
            json_decref(result);
            code = 1;
        } else {
            results[read++] = result;
        }
    }
    if (code == 0)
        report_table(results, read, form);
    for (size_t i = 0; i < read; i++)
        json_decref(results[i]);
    return code;
}
