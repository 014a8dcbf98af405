/* persist_command.h - `holdfast persist`: settings, signals, and the listener around persist/persister.h.
 */
#ifndef HOLDFAST_PERSIST_COMMAND_H
#define HOLDFAST_PERSIST_COMMAND_H

int persist_main(int argc, char **argv);
int verify_main(int argc, char **argv);

#endif
