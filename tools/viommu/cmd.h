/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_CMD_H
#define TOOLS_CMD_H

/* The sub-commands: argv[0] is their name; they return the exit status. */
int cmd_boot(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_serve_vhost(int argc, char **argv); /* of cmd_serve() */
int cmd_bench(int argc, char **argv);

#endif
