/*
 * main.c - the binary's subcommands. Each is a function of its own part; here is only the way to it.
 */
#include "bench/bench.h"
#include "load/load.h"
#include "net/keys_tool.h"
#include "net/persist_command.h"
#include "net/server.h"
#include "persist/dead_letters.h"
#include "persist/journal_tool.h"

#include <stdio.h>
#include <string.h>

static int
version_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    (void)printf("holdfast %s\n", HOLDFAST_VERSION);
    return 0;
}

struct subcommand {
    const char *name;
    const char *help;
    int (*main)(int argc, char **argv); /* argv[0]: the name */
};

static const struct subcommand subcommands[] = {
    {"serve", "run the server", serve_main},
    {"persist", "carry what the server did to PostgreSQL, and on to Kafka", persist_main},
    {"verify", "compare PostgreSQL with the journals, row by row", verify_main},
    {"keys", "make, list and take away API keys", keys_main},
    {"load", "put load on a server, and audit what it answered", load_main},
    {"bench", "compare Holdfast with others", bench_main},
    {"journal", "verify, dump or count what a data directory holds", journal_main},
    {"outbox", "list, requeue or drop what Kafka has refused for good", outbox_main},
    {"version", "print the version", version_main},
};

static void
help(FILE *file)
{
    (void)fprintf(file, "usage: holdfast COMMAND [ARGUMENTS]\n\n");
    for (size_t i = 0; i < sizeof subcommands / sizeof subcommands[0]; i++)
        (void)fprintf(file, "  %-10s %s\n", subcommands[i].name, subcommands[i].help);
    (void)fprintf(file, "\nholdfast COMMAND --help says more of each.\n");
}

int
main(int argc, char **argv)
{
    if (argc < 2) {
        help(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        help(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0)
        return version_main(1, argv);
    for (size_t i = 0; i < sizeof subcommands / sizeof subcommands[0]; i++)
        if (strcmp(argv[1], subcommands[i].name) == 0)
            return subcommands[i].main(argc - 1, argv + 1);
    (void)fprintf(stderr, "holdfast: unknown command '%s'\n\n", argv[1]);
    help(stderr);
    return 2;
}
