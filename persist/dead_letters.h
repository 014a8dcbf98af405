/*
 * dead_letters.h - `holdfast outbox`: what Kafka has refused for good, and what becomes of it.
 */
#ifndef HOLDFAST_DEAD_LETTERS_H
#define HOLDFAST_DEAD_LETTERS_H

/* argv[0]: outbox. Returns the exit code: 0 done, 1 failed, 2 usage. */
int outbox_main(int argc, char **argv);

#endif
