/* What `signet pub`, `signet sub` and `signet rr` share around the client: start, errors, exit
 * codes, signals. */
#ifndef CLI_CLIENT_RUN_H
#define CLI_CLIENT_RUN_H

#include "cli/client.h"
#include "cli/client_opts.h"

enum {
	EXIT_DONE = 0,
	EXIT_WRONG = 1,
	EXIT_PROTOCOL = 2,
	EXIT_LOST = 7,
	EXIT_TLS = 8,
	EXIT_ERRNO = 14,
	EXIT_TIMEOUT = 27,
};

struct client_run {
	struct client_opts o;
	struct wire_tls *tls;
	struct scram_client *scram;
	struct mqttc *c;
	uint64_t due;  /* when -W ends it; UINT64_MAX: never */
	bool was_up;   /* <due> counts from the first CONNACK */
	int exit_code; /* when the command is done */
	struct slice payload;
	uint8_t *payload_owned, *forward_owned;
};

/* Parse, load TLS files and the payload. False: *ret_exit is the exit code, everything has been
 * said. <r> needs client_run_done() in both cases. */
bool client_run_init(
    struct client_run *r, enum client_cmd cmd, int argc, char **argv, int *ret_exit);
/* Make the client. */
bool client_run_start(
    struct client_run *r, const struct mqttc_events *events, void *ctx, int *ret_exit);
/* First connection: signals end the program until it stands; from then on they make turns return
 * MQTTC_STOPPED. */
enum mqttc_result client_run_open(struct client_run *r);
/* mqttc_turn() that ends at <deadline>, or with MQTTC_TIMEOUT when -W says so; MQTTC_OK when
 * only <deadline> passed. */
enum mqttc_result client_run_turn(
    struct client_run *r, uint64_t deadline, int extra_fd, bool *ret_extra);
/* The end: says what there is to say about <result>, closes, and returns the exit code.
 * <finished>: the command has done its work; a signal then is no failure. */
int client_run_end(struct client_run *r, enum mqttc_result result, bool finished);
void client_run_done(struct client_run *r);

/* "Error: …" and "Warning: …" on standard error, unless --quiet. */
void client_error(const struct client_run *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void client_warning(const struct client_run *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* The PUBLISH that the command line describes. */
bool client_run_message(struct client_run *r, struct mqtt_publish *ret, struct err *err);
/* Show <m> as the command line wants it. False: standard output is gone; r->exit_code says how
 * to end. */
bool client_run_show(struct client_run *r, const struct mqtt_publish *m);
/* Name each filter that was refused. Returns the number of those granted. */
size_t client_run_granted(
    struct client_run *r, const struct text_list *filters, struct slice codes);

#endif
