/* keys_tool.h - `holdfast keys`: edits a keys file. */
#ifndef HOLDFAST_KEYS_TOOL_H
#define HOLDFAST_KEYS_TOOL_H

int keys_main(int argc, char **argv);

#endif
