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

#include <stdio.h>

static json_t *
refusals_json(const struct refusals *refusals)
{
    json_t *object = json_object();
    for (uint32_t i = 0; i < refusals->count; i++)
        json_object_set_new(object, refusals->kind[i].word,
                            json_integer((json_int_t)refusals->kind[i].count));
    return object;
}

static json_t *
audit_json(const struct audit *audit)
{
    json_t *shown = json_array();
    for (uint64_t i = 0; i < audit->differences && i < DIFFERENCES_SHOWN_MAX; i++)
        json_array_append_new(shown, json_string(audit->shown[i]));
    return json_pack("{s:I, s:I, s:I, s:o}", "differences", (json_int_t)audit->differences, "seats_checked",
                     (json_int_t)audit->seats_checked, "holds_checked", (json_int_t)audit->holds_checked,
                     "shown", shown);
}

static double
latency_us(const struct histogram *histogram, double share)
{
    return (double)histogram_at(histogram, share) / 1e3;
}

static uint64_t
units_granted(const struct ledger *ledger)
{
    uint64_t units = 0;
    for (uint32_t i = 0; i < ledger->grant_count; i++)
        units += ledger->grants[i].units;
    return units;
}

json_t *
report_json(const struct load_options *options, const struct tally *tally, uint64_t all_ns,
            uint64_t holds_ns, uint64_t oversold, const struct audit *audit)
{
    double seconds = (double)all_ns / 1e9;
    double holds_per_second = holds_ns > 0 ? (double)tally->held / ((double)holds_ns / 1e9) : 0;
    double answers_per_second = all_ns > 0 ? (double)tally->answered / seconds : 0;
    json_t *result =
        json_pack("{s:s, s:i, s:i, s:i, s:I, s:I, s:o, s:I, s:I, s:f, s:f, s:f}", "label", options->label,
                  "connections", (int)options->connections, "pipeline", (int)options->pipeline, "threads",
                  (int)options->threads, "asked", (json_int_t)tally->asked, "held", (json_int_t)tally->held,
                  "refused", refusals_json(&tally->refusals), "lost", (json_int_t)tally->lost, "strange",
                  (json_int_t)tally->strange, "seconds", seconds, "holds_per_second", holds_per_second,
                  "answers_per_second", answers_per_second);
    json_object_set_new(result, "latency_us",
                        json_pack("{s:f, s:f, s:f, s:f}", "p50", latency_us(&tally->latency, 0.5), "p99",
                                  latency_us(&tally->latency, 0.99), "p999",
                                  latency_us(&tally->latency, 0.999), "max",
                                  (double)tally->latency.max / 1e3));
    if (audit == NULL)
        return result;
    json_object_set_new(result, "event", json_string(options->event));
    json_object_set_new(result, "buyers", json_integer((json_int_t)options->buyers));
    json_object_set_new(result, "on_sale",
                        json_integer(options->kind == LOAD_DEAL
                                         ? (json_int_t)options->stock
                                         : (json_int_t)options->rows * options->row_seats));
    json_object_set_new(result, "units_held", json_integer((json_int_t)units_granted(&tally->ledger)));
    json_object_set_new(result, "confirmed", json_integer((json_int_t)tally->confirmed));
    json_object_set_new(result, "confirm_refused", refusals_json(&tally->confirm_refusals));
    json_object_set_new(result, "oversold", json_integer((json_int_t)oversold));
    json_object_set_new(result, "audit", audit_json(audit));
    return result;
}

#define CELL_SIZE_MAX 40
#define LABEL_WIDTH   22

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

/* A member, possibly of a member ("audit.differences"), as a cell: whole numbers grouped, times with their
 * unit. */
static bool
cell_write(const json_t *result, const char *group, const char *name, const char *unit, char *ret_cell)
{
    const json_t *object = group != NULL ? json_object_get(result, group) : result;
    const json_t *value = json_object_get(object, name);
    if (value == NULL) {
        snprintf(ret_cell, CELL_SIZE_MAX, "-");
        return false;
    }
    double number = json_number_value(value);
    if (strcmp(unit, "us") != 0) {
        grouped(ret_cell, (long long)(number + 0.5));
        return true;
    }
    if (number < 1000)
        snprintf(ret_cell, CELL_SIZE_MAX, "%.0f us", number);
    else if (number < 1e6)
        snprintf(ret_cell, CELL_SIZE_MAX, "%.2f ms", number / 1e3);
    else
        snprintf(ret_cell, CELL_SIZE_MAX, "%.2f s", number / 1e6);
    return true;
}

static int
column_width(const json_t *result)
{
    int size = (int)strlen(json_string_value(json_object_get(result, "label")));
    return size > 14 ? size + 2 : 16;
}

static void
row_print(json_t *const *results, size_t count, const char *title, const char *group, const char *name,
          const char *unit)
{
    char cells[REPORT_RESULTS_MAX][CELL_SIZE_MAX];
    bool any = false;
    for (size_t i = 0; i < count; i++)
        any = cell_write(results[i], group, name, unit, cells[i]) || any;
    if (!any)
        return;
    printf("%-*s", LABEL_WIDTH, title);
    for (size_t i = 0; i < count; i++)
        printf("%*s", column_width(results[i]), cells[i]);
    printf("\n");
}

/* One row for each word that any of the results has been refused with. */
static void
refusals_print(json_t *const *results, size_t count, const char *group, const char *prefix)
{
    json_t *words = json_object();
    for (size_t i = 0; i < count; i++)
        json_object_update(words, json_object_get(results[i], group));
    const char *word;
    json_t *value;
    json_object_foreach(words, word, value)
    {
        char title[64];
        snprintf(title, sizeof title, "%s %s", prefix, word);
        row_print(results, count, title, group, word, "");
    }
    json_decref(words);
}

void
report_table(json_t *const *results, size_t count)
{
    printf("%-*s", LABEL_WIDTH, "");
    for (size_t i = 0; i < count; i++)
        printf("%*s", column_width(results[i]), json_string_value(json_object_get(results[i], "label")));
    printf("\n");
    row_print(results, count, "units on sale", NULL, "on_sale", "");
    row_print(results, count, "buyers", NULL, "buyers", "");
    row_print(results, count, "connections", NULL, "connections", "");
    row_print(results, count, "asked", NULL, "asked", "");
    row_print(results, count, "held", NULL, "held", "");
    row_print(results, count, "  units of these", NULL, "units_held", "");
    row_print(results, count, "  confirmed", NULL, "confirmed", "");
    refusals_print(results, count, "refused", "refused");
    refusals_print(results, count, "confirm_refused", "confirm");
    row_print(results, count, "answers lost", NULL, "lost", "");
    row_print(results, count, "oversold", NULL, "oversold", "");
    row_print(results, count, "holds/s", NULL, "holds_per_second", "");
    row_print(results, count, "answers/s", NULL, "answers_per_second", "");
    row_print(results, count, "latency p50", "latency_us", "p50", "us");
    row_print(results, count, "latency p99", "latency_us", "p99", "us");
    row_print(results, count, "latency p99.9", "latency_us", "p999", "us");
    row_print(results, count, "audit: seats looked at", "audit", "seats_checked", "");
    row_print(results, count, "audit: holds looked at", "audit", "holds_checked", "");
    row_print(results, count, "audit: differences", "audit", "differences", "");
}

int
report_files(char **files, int count)
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
        report_table(results, read);
    for (size_t i = 0; i < read; i++)
        json_decref(results[i]);
    return code;
}
