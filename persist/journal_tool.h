/*
 * journal_tool.h - `holdfast journal verify|dump|stats DIR`: a data directory looked at, never changed.
 */
#ifndef HOLDFAST_JOURNAL_TOOL_H
#define HOLDFAST_JOURNAL_TOOL_H

/* argv[0] is "journal". Exit code: 0 done and whole, 1 damage or a failure, 2 usage. */
int journal_main(int argc, char **argv);

#endif
