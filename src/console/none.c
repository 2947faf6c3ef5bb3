/* A build without the console. */
#include "console/console.h"

const struct console_file console_files[] = { { 0 } };
const size_t console_files_n = 0;
