/* The subcommand `broker`; argv[0] is its name. Returns the exit code. */
#ifndef CLI_CMD_BROKER_H
#define CLI_CMD_BROKER_H

int cmd_broker(int argc, char **argv);

#endif
