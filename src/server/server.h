/* The broker as a process: its configuration, what it loads, the threads it runs, how it is told to
 * stop. */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

struct config;

/* What the process exits with. */
enum server_exit {
	SERVER_OK = 0,
	SERVER_FAILED = 1, /* could not start: a file, an address, the system */
	SERVER_USAGE = 3,  /* the configuration or the command line is wrong (mosquitto's number) */
};

struct server_options {
	const char
	    *config_file; /* NULL: none; then only this machine can connect, as in mosquitto */
	unsigned port;    /* 0: as configured; else of the only listener */
	unsigned ports[9]; /* further ones, when no listener is configured */
	unsigned n_ports;
	bool quiet;       /* log nothing, whatever the file says */
	bool verbose;     /* log everything, whatever the file says */
	bool daemon;      /* go to the background once all sockets are open */
	int notify_fd;    /* of a process of serve_run(): where its supervisor hears it; 0: there is none */
	uint64_t watchdog_ms; /* of the same */
	int signer_fd;    /* of the same, of control: its socket to the signer; 0: there is none */
};

/* Read and check the configuration. NULL and <err> on the first mistake. */
struct config *config_load(const struct server_options *o, struct err *err);
void config_free(struct config *c); /* NULL is fine */
/* The path of the control socket that <file> configures into <out>. False and <err>: a mistake, or there is none. */
bool server_control_path(const char *file, char *out, size_t cap, struct err *err);

/* The same of the registry. */
bool server_registry_path(const char *file, char *out, size_t cap, struct err *err);
/* The unix socket of the API. */
bool server_api_path(const char *file, char *out, size_t cap, struct err *err);

/* May somebody do that, by the configuration alone? */
struct server_question {
	const char *config_file;
	const char *listener;  /* its name or port; NULL: the first for clients */
	const char *cert_file; /* his certificate with the CAs below the trusted one, PEM; its issuer's key gives the role. NULL: none */
	const char *role;      /* without <cert_file>: "client", …, "none"; NULL: none */
	const char *cn;        /* with <role>; NULL: the client id */
	const char *user;      /* the user name of CONNECT, as if it had been proved; NULL: none */
	const char *client_id, *topic;
	const char *action;    /* "connect", "publish", "subscribe", "receive", "unsubscribe", "will" (which is "publish") */
};
struct server_answer {
	bool allowed;
	char listener[160], role[16], cn[512], user[512]; /* "": none */
	char text[2048]; /* the rule that decides, in words */
};
/* False and <err>: it cannot be said. */
bool server_explain(const struct server_question *q, struct server_answer *ret, struct err *err);

/* What the certificate of <role> and <cn> of <q> can do by the configuration, on the first listener that asks for certificates: all of it is
 * allowed there. */
enum { SERVER_USAGE_MAX = 1025 };
struct server_usage {
	unsigned port;
	char client_id[SERVER_USAGE_MAX]; /* "": it may not connect */
	char publish[SERVER_USAGE_MAX], subscribe[SERVER_USAGE_MAX]; /* a topic and a filter; "": none */
};
/* False and <err>: it cannot be said. */
bool server_usage(const struct server_question *q, struct server_usage *ret, struct err *err);

/* Run until SIGTERM or SIGINT. Logs its own errors. Must be called before the process has other
 * threads. */
enum server_exit server_run(const struct server_options *o);
/* The control process alone, with what the configuration says of it. As server_run(). <o> has a config_file. */
enum server_exit server_control(const struct server_options *o);

/* `signet serve`: signer, broker and control, each a process that this one starts and watches, until SIGTERM or SIGINT. */
struct pki_secret;
struct serve_options {
	const char *config_file, *dir;   /* of the installation */
	bool quiet, verbose, daemon;     /* as above; a person is asked before it goes to the background */
	const struct pki_secret *secret; /* asked once when the CAs' keys are encrypted */
};
enum server_exit serve_run(const struct serve_options *o);
/* What such a process runs, by the words that serve_run() gives it. The exit code, or -1: these are no such words. */
int serve_child_main(int argc, char *argv[]);
/* Load everything that server_run() would, open nothing, and print what would listen and what looks
 * wrong. */
enum server_exit server_test_config(const struct server_options *o);
/* Print every directive: for people, or as a table for docs/configuration.md. */
void server_print_directives(bool markdown);
/* One directive of the configuration, in words. */
struct server_directive {
	const char *name, *value, *scope, *def, *help; /* <def> may be "" */
	bool at_start;                                 /* SIGHUP does not change it */
	bool old;                                      /* works, and another one is better */
};
/* All of them, in the order of the table. The texts are there for the time of the call. */
void server_each_directive(void (*each)(void *ctx, const struct server_directive *d), void *ctx);

#endif
