/* What `signet pub`, `signet sub` and `signet rr` were asked to do. One table of flags, shared
 * by the three, drives parsing and --help. */
#ifndef CLI_CLIENT_OPTS_H
#define CLI_CLIENT_OPTS_H

#include "base/err.h"
#include "cli/wire.h"
#include "mqtt/mqtt.h"

enum client_cmd { CLIENT_PUB = 1, CLIENT_SUB = 2, CLIENT_RR = 4 };

/* Texts in the order in which they were given; the array is owned, the texts are borrowed. */
struct text_list {
	const char **v;
	size_t n;
};

/* The properties of one packet, ready for the encoder; texts are borrowed from the command line. */
struct prop_set {
	struct mqtt_props p; /* p.user points into <user> */
	uint8_t *user;       /* owned */
	size_t user_n;
};
/* The packets that -D knows. */
enum prop_packet {
	PROP_CONNECT,
	PROP_PUBLISH,
	PROP_SUBSCRIBE,
	PROP_UNSUBSCRIBE,
	PROP_DISCONNECT,
	PROP_WILL,
	PROP_PACKETS
};

enum payload_from {
	PAYLOAD_NONE,
	PAYLOAD_MESSAGE,
	PAYLOAD_EMPTY,
	PAYLOAD_FILE,
	PAYLOAD_STDIN,
	PAYLOAD_LINES
};

/* Texts are borrowed from argv unless said otherwise; NULL = not given. */
struct client_opts {
	enum client_cmd cmd;
	bool help, show_version, debug, quiet, strict;

	/* Where to. */
	const char *host, *unix_path, *bind_addr;
	uint32_t port; /* 0: 1883, or 8883 with TLS; filled in by the end of parsing */
	bool nodelay, use_tls;
	struct wire_tls_opts tls;

	/* CONNECT. */
	uint32_t version; /* MQTT_V31, … */
	const char *id, *id_prefix;
	char id_made[256]; /* when <id> is NULL: what the client id is; may be empty */
	bool keep_session;
	uint32_t keep_alive;
	const char *username, *pw_file;
	bool scram; /* --auth-method */
	char *password; /* owned, wiped when freed */
	size_t password_n;
	const char *will_topic, *will_payload;
	uint32_t will_qos;
	bool will_retain;
	struct prop_set props[PROP_PACKETS];

	/* PUBLISH. */
	enum payload_from from;
	const char *message, *file;
	uint32_t qos, max_inflight, repeat, repeat_delay_ms;
	bool retain;

	/* SUBSCRIBE, and what to show. */
	struct text_list topics, unsubscribe, filter_out;
	const char *response_topic, *format;
	uint32_t count;           /* 0: no end */
	uint32_t timeout_s;       /* 0: none */
	uint32_t random_permille; /* of the messages to print; 1000 = all */
	bool exit_after_sub, no_eol, verbose, pretty, no_retained, retained_only, remove_retained,
	    retain_as_published;

	char *url; /* owned: the pieces of -L point into it */
};

/* Parse argv[1..]. The password given with -P is copied and overwritten in argv, so that it does
 * not stay visible to others; SIGNET_MQTT_PASSWORD is taken out of the environment. False and
 * <err> on wrong use. <o> needs client_opts_done() in both cases. --help and --version end
 * parsing at once. */
bool client_opts_parse(
    struct client_opts *o, enum client_cmd cmd, int argc, char **argv, struct err *err);
void client_opts_done(struct client_opts *o);
/* The whole --help text on standard output. */
void client_opts_help(enum client_cmd cmd);
/* The same for programs (cli/describe.h). */
void client_opts_describe(enum client_cmd cmd);
/* "pub", "sub", "rr". */
const char *client_cmd_name(enum client_cmd cmd);

/* "mqtt[s]://[user[:password]@]host[:port]/topic" into <o>. */
bool client_url_parse(struct client_opts *o, const char *url, struct err *err);

/* -D: add <name> with <value> (user-property: <value> and <value2>) to the properties of
 * <packet>. */
bool client_prop_add(struct client_opts *o, const char *packet, const char *name, const char *value,
    const char *value2, struct err *err);
/* Does this property take two values? */
bool client_prop_is_pair(const char *name);

#endif
