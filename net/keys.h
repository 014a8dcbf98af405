/*
 * keys.h - API keys: who may come in, and what each role may do.
 *
 * A table is read from the keys file as a whole and never changes afterwards; a reload makes another one.
 */
#ifndef HOLDFAST_KEYS_H
#define HOLDFAST_KEYS_H

#include "holdfast/limits.h"
#include "holdfast/types.h"

#define KEYS_MAX            4096 /* lines with a key; more: the file is refused */
#define KEYS_FILE_SIZE_MAX  (1u << 20)
#define KEY_TEXT_SIZE_MAX   256 /* of a key that somebody shows; longer: not a key */
#define KEY_HASH_SIZE       32
#define KEYS_CAUSE_SIZE_MAX 768
#define KEY_ABSENT          UINT32_MAX

enum key_role {
    KEY_ROLE_CLIENT = 1, /* holds and queue */
    KEY_ROLE_OPERATOR,   /* everything */
    KEY_ROLE_READ,       /* gets and metrics */
};

/* "client", "operator", "read"; static storage. */
const char *key_role_word(enum key_role role);
/* False: none of these words. */
bool key_role_parse(struct bytes word, enum key_role *ret_role);

struct key {
    enum key_role role;
    uint8_t name_size;
    char name[CALLER_SIZE_MAX];
    uint8_t hash[KEY_HASH_SIZE]; /* SHA-256 of the key's text */
};

/* One state of the keys file; shared by all threads, read-only. */
struct keys {
    uint64_t
        generation; /* grows with every reload: what was found in another generation is looked up anew */
    uint32_t count;
    struct key keys[];
};

/*
 * Reads a keys file. False: ret_cause (KEYS_CAUSE_SIZE_MAX bytes) says file, line, what was expected. The
 * table is the caller's: keys_free().
 */
bool keys_read(const char *path, uint64_t generation, struct keys **ret_keys, char *ret_cause);
/* The same from text in memory; path only for ret_cause. */
bool keys_parse(const char *path, struct bytes text, uint64_t generation, struct keys **ret_keys,
                char *ret_cause);
void keys_free(struct keys *keys);

/* A name that a key may have: as an id of a user. */
bool key_name_valid(struct bytes name);
/* SHA-256 for where time does not matter. */
void key_hash_text(struct bytes text, uint8_t ret_hash[KEY_HASH_SIZE]);

/* What a thread needs to look at keys without allocating: one a thread. NULL: no memory. */
struct key_reader *key_reader_open(void);
void key_reader_close(struct key_reader *reader);

/* The index of the key with this text, or KEY_ABSENT; also leaves its hash. It takes the same time
 * whichever key it is, and where it is none. */
uint32_t key_find_text(struct key_reader *reader, const struct keys *keys, struct bytes text,
                       uint8_t ret_hash[KEY_HASH_SIZE]);
/* Likewise, by a hash found earlier. */
uint32_t key_find_hash(const struct keys *keys, const uint8_t hash[KEY_HASH_SIZE]);

#endif
