/*
 * keys_tool.c - `holdfast keys add|list|remove --keys FILE`: edits a keys file that a server may be using.
 *
 * add draws a key, prints it once on standard output, and writes only its hash. The file changes as a
 * whole: a temporary file beside it (mode 0600, the old one's owner), synced, renamed over it, the
 * directory synced; so a server that reads it, and a crash, see the old file or the new one. Two editors at
 * a time take turns by a lock on the directory. Lines that are not about the key in question stay as they
 * are, comments too; a file that is not valid is not edited.
 *
 * A key is "hf_" (so that scanners for leaked secrets can know it) and 32 random bytes in base64url.
 */
#include "net/keys_tool.h"

#include "net/base64url.h"
#include "net/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_BYTES 32
#define KEY_SIZE  (3 + BASE64URL_SIZE(KEY_BYTES))

static const char usage[] =
    "usage: holdfast keys add --keys FILE NAME ROLE    make a key; prints it, this once\n"
    "       holdfast keys list --keys FILE             names and roles\n"
    "       holdfast keys remove --keys FILE NAME      take a key away\n"
    "\n"
    "ROLE: client (holds and queue), operator (everything), read (gets and metrics).\n"
    "FILE has one line a key, NAME ROLE SHA256-HEX, and is made by the first add. A server that uses it\n"
    "(holdfast serve --keys FILE) reads it again on SIGHUP.\n";

struct keys_file {
    char path[PATH_MAX]; /* with symbolic links followed */
    int directory;       /* locked */
    bool exists;
    struct stat status;
    char *text;
    size_t size;
    struct keys *keys;
};

static int
fail(const char *text, const char *about, const char *reason)
{
    (void)fprintf(stderr, "holdfast keys: %s '%s'%s%s\n", text, about, reason[0] != '\0' ? ": " : "",
                  reason);
    return 1;
}

static void
file_close(struct keys_file *file)
{
    keys_free(file->keys);
    free(file->text);
    if (file->directory >= 0)
        (void)close(file->directory); /* releases the lock */
}

/* The whole file into memory, with room for one more line. */
static int
file_load(struct keys_file *file, const char *path)
{
    char cause[KEYS_CAUSE_SIZE_MAX];
    int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT)
        return fail("cannot read", path, strerror(errno));
    file->exists = fd >= 0;
    file->text = calloc(1, KEYS_FILE_SIZE_MAX + 512);
    if (file->text == NULL || (file->exists && fstat(fd, &file->status) != 0)) {
        if (fd >= 0)
            (void)close(fd); /* nothing was read */
        return fail("cannot read", path, strerror(errno));
    }
    ssize_t got = file->exists ? 1 : 0;
    while (got > 0 && file->size < KEYS_FILE_SIZE_MAX) {
        got = read(fd, file->text + file->size, KEYS_FILE_SIZE_MAX - file->size);
        file->size += got > 0 ? (size_t)got : 0;
    }
    int error = errno;
    if (fd >= 0)
        (void)close(fd); /* only read from */
    if (got < 0)
        return fail("cannot read", path, strerror(error));
    if (file->size == KEYS_FILE_SIZE_MAX)
        return fail("the file is too large:", path, "");
    if (!keys_parse(path, (struct bytes){file->text, (uint32_t)file->size}, 0, &file->keys, cause)) {
        (void)fprintf(stderr, "holdfast keys: %s\n", cause);
        return 1;
    }
    return 0;
}

/* Locks the directory and reads the file. */
static int
file_open(const char *path, struct keys_file *file)
{
    char copy[PATH_MAX];
    *file = (struct keys_file){.directory = -1};
    if (realpath(path, file->path) == NULL &&
        (errno != ENOENT || snprintf(file->path, PATH_MAX, "%s", path) >= PATH_MAX - 8))
        return fail("cannot read", path, strerror(errno));
    memcpy(copy, file->path, sizeof copy);
    const char *parent = dirname(copy);
    file->directory = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file->directory < 0 || flock(file->directory, LOCK_EX) != 0)
        return fail("cannot open the directory", parent, strerror(errno));
    return file_load(file, path);
}

/* Puts text in the file's place. 0, or negative errno. */
static int
file_replace(const struct keys_file *file, const char *text, size_t size)
{
    char temporary[PATH_MAX + 8];
    (void)snprintf(temporary, sizeof temporary, "%s.tmp", file->path); /* fits */
    (void)unlink(temporary); /* of an editor that was cut short: the lock says that nobody else is at it */
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int result = 0;
    /* root edits the file of a server that runs as somebody else */
    if (file->exists && (file->status.st_uid != geteuid() || file->status.st_gid != getegid()) &&
        fchown(fd, file->status.st_uid, file->status.st_gid) != 0)
        result = -errno;
    for (size_t at = 0; at < size && result == 0;) {
        ssize_t written = write(fd, text + at, size - at);
        if (written < 0)
            result = -errno;
        else
            at += (size_t)written;
    }
    if (result == 0 && fsync(fd) != 0)
        result = -errno;
    if (close(fd) != 0 && result == 0)
        result = -errno;
    if (result == 0 && rename(temporary, file->path) != 0)
        result = -errno;
    if (result == 0 && fsync(file->directory) != 0)
        result = -errno;
    if (result != 0)
        (void)unlink(temporary); /* not there any more where the rename was done */
    return result;
}

static const struct key *
find_name(const struct keys *keys, const char *name)
{
    for (uint32_t i = 0; i < keys->count; i++)
        if (keys->keys[i].name_size == strlen(name) &&
            memcmp(keys->keys[i].name, name, keys->keys[i].name_size) == 0)
            return &keys->keys[i];
    return NULL;
}

static int
add(struct keys_file *file, const char *path, const char *name, const char *role)
{
    uint8_t random[KEY_BYTES];
    uint8_t hash[KEY_HASH_SIZE];
    char key[KEY_SIZE + 1] = "hf_";
    if (find_name(file->keys, name) != NULL)
        return fail("there is a key of this name already; remove it first:", name, "");
    if (file->keys->count == KEYS_MAX)
        return fail("no more keys fit into", path, "");
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return fail("could not draw a key for", name, strerror(errno));
    *base64url_put(key + 3, random, sizeof random) = '\0';
    key_hash_text((struct bytes){key, (uint32_t)strlen(key)}, hash);

    size_t size = file->size;
    if (size > 0 && file->text[size - 1] != '\n')
        file->text[size++] = '\n';
    size += (size_t)sprintf(file->text + size, "%s %s ", name, role); /* fits: both were checked */
    for (size_t i = 0; i < KEY_HASH_SIZE; i++)
        size += (size_t)sprintf(file->text + size, "%02x", hash[i]); /* likewise */
    file->text[size++] = '\n';
    int result = file_replace(file, file->text, size);
    if (result != 0)
        return fail("could not write", path, strerror(-result));
    /* Only now: a key that was printed is in the file. */
    if (printf("%s\n", key) < 0 || fflush(stdout) != 0)
        return fail("the key is made but could not be printed; remove it and add it again:", name,
                    strerror(errno));
    (void)fprintf(stderr, "key '%s' (%s) is in %s; it is shown this once, above\n", name, role, path);
    return 0;
}

static int
list(const struct keys_file *file, const char *path)
{
    if (!file->exists)
        return fail("cannot read", path, strerror(ENOENT));
    for (uint32_t i = 0; i < file->keys->count; i++)
        (void)printf("%.*s %s\n", file->keys->keys[i].name_size, file->keys->keys[i].name,
                     key_role_word(file->keys->keys[i].role));
    return fflush(stdout) == 0 ? 0 : fail("could not print the keys of", path, strerror(errno));
}

/* Is this line about the key of this name? */
static bool
line_names(const char *line, size_t size, const char *name)
{
    size_t at = 0;
    while (at < size && (line[at] == ' ' || line[at] == '\t'))
        at++;
    size_t name_size = strlen(name);
    return size - at > name_size && memcmp(line + at, name, name_size) == 0 &&
           (line[at + name_size] == ' ' || line[at + name_size] == '\t');
}

static int
take_away(struct keys_file *file, const char *path, const char *name)
{
    if (find_name(file->keys, name) == NULL)
        return fail("there is no key of this name:", name, "");
    size_t kept = 0;
    for (size_t from = 0; from < file->size;) {
        const char *end = memchr(file->text + from, '\n', file->size - from);
        size_t size = end != NULL ? (size_t)(end - file->text) + 1 - from : file->size - from;
        if (!line_names(file->text + from, size, name)) {
            memmove(file->text + kept, file->text + from, size);
            kept += size;
        }
        from += size;
    }
    int result = file_replace(file, file->text, kept);
    if (result != 0)
        return fail("could not write", path, strerror(-result));
    (void)fprintf(stderr, "key '%s' is no longer in %s\n", name, path);
    return 0;
}

static int
wrong_usage(const char *what)
{
    (void)fprintf(stderr, "holdfast keys: %s\n\n%s", what, usage);
    return 2;
}

int
keys_main(int argc, char **argv)
{
    const char *words[4] = {NULL};
    int count = 0;
    const char *path = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            (void)fputs(usage, stdout);
            return 0;
        }
        if (strcmp(argv[i], "--keys") == 0 && i + 1 < argc)
            path = argv[++i];
        else if (strncmp(argv[i], "--keys=", 7) == 0)
            path = argv[i] + 7;
        else if (argv[i][0] == '-' || count == 4)
            return wrong_usage("an argument that is not known, or one too many");
        else
            words[count++] = argv[i];
    }
    if (count == 0)
        return wrong_usage("expected add, list or remove");
    bool adds = strcmp(words[0], "add") == 0;
    bool lists = strcmp(words[0], "list") == 0;
    bool removes = strcmp(words[0], "remove") == 0;
    enum key_role role;
    if (count != (adds ? 3 : lists ? 1 : removes ? 2 : 0))
        return wrong_usage("expected add NAME ROLE, list, or remove NAME");
    if (path == NULL || path[0] == '\0')
        return wrong_usage("--keys FILE is missing");
    if (adds && !key_name_valid((struct bytes){words[1], (uint32_t)strnlen(words[1], 1024)}))
        return wrong_usage("expected a name of 1 to 64 letters, digits, or . _ : @ -");
    if (adds && !key_role_parse((struct bytes){words[2], (uint32_t)strnlen(words[2], 1024)}, &role))
        return wrong_usage("expected a role: client, operator or read");
    struct keys_file file;
    int result = file_open(path, &file);
    if (result == 0)
        result = adds    ? add(&file, path, words[1], words[2])
                 : lists ? list(&file, path)
                         : take_away(&file, path, words[1]);
    file_close(&file);
    return result;
}
