/* Private to server/: the supervisor of `signet serve` and the processes that it starts. */
#ifndef SERVER_SERVE_H
#define SERVER_SERVE_H

#include <sys/stat.h>

#include "pki/pki.h"
#include "server/internal.h"

enum serve_role { SERVE_SIGNER, SERVE_BROKER, SERVE_CONTROL, SERVE_ROLES };

/* One process, or the wish for one. */
struct serve_child {
	enum serve_role role;
	const char *name;
	bool wanted;         /* started again when it ends */
	pid_t pid;           /* 0: not running */
	int channel;         /* SOCK_SEQPACKET to it; -1 */
	int log;             /* what it writes to standard error; -1: it has its own */
	bool ready, was_ready;
	bool told;           /* was asked to end */
	bool stale;          /* started before there was a new certificate, and not ready yet to hear of it */
	uint64_t started_ms, next_ms;
	unsigned pause_ms;   /* before it is started the next time */
	size_t line_n;
	char line[2048];     /* of its log, so far */
};

struct serve {
	const struct serve_options *options;
	struct config *config;
	char dir[PKI_PATH_MAX], file[PKI_PATH_MAX];
	struct serve_child children[SERVE_ROLES];
	char *pass;          /* PKI_PASSPHRASE_MAX bytes, locked in memory; "": the keys are not encrypted */
	int signals;
	struct serve_cert *cert;
	uint64_t watchdog_ms, watched_ms;
	struct stat cas_seen;      /* of pki/ca.pem, which is written anew with each CA that comes */
	bool cas_new;              /* one has come, and who brings it may still be writing */
	uint64_t cas_with_keys;    /* a hash of those that the signer has heard of */
	struct privileges broker;  /* whom it becomes */
	bool broker_blind;   /* that user cannot read the broker's files again */
	bool control_drops;  /* it cannot read its files again, and is started again instead */
	bool announced;      /* everything was ready once */
	bool stopping;
	enum server_exit code;
};

/* ---- serve.c, server.c, privileges.c ---- */

void serve_ask_to_end(struct serve_child *c); /* SIGTERM, once */
bool server_daemonize(struct err *err); /* into the background; the parent ends */
bool server_write_pid(const struct config *c, struct err *err);

/* ---- reread.c ---- */

/* All that the configuration lets the broker read again can be read by <p>. What is root's below <dir>, the installation, and is not, is opened
 * to his group for reading; never for "nobody", whom others are, too. False: he cannot, for *ret_why. Forks: before there are threads. */
enum { REREAD_WHY_MAX = 400 };
bool reread_prepare(const struct config *c, const struct privileges *p, const char *dir, char ret_why[static REREAD_WHY_MAX]);

/* ---- serve_news.c: files that are others now ---- */

/* What is there already is no news. */
void serve_news_begin(struct serve *s);
/* Before the broker is told to read: it may. */
void serve_news_open(struct serve *s);
/* The process is to read its files again: by SIGHUP, or by being started again where it cannot. One that is starting is told when it is ready. */
void serve_news_tell(struct serve *s, struct serve_child *c);
/* Has somebody adopted a CA, or trusts another one? Who has to know it is told. */
void serve_news_turn(struct serve *s);

/* ---- serve_child.c ---- */

/* fork and exec of this program. <c> has its pid and channel afterwards. <signer_fd>: control's end of its socket to the signer, or -1. */
bool serve_spawn(struct serve *s, struct serve_child *c, int signer_fd, struct err *err);
/* A new pair of sockets between control and the signer: one end goes to the signer, the other is *ret_fd. */
bool serve_link(struct serve *s, int *ret_fd, struct err *err);
/* It has ended: close what was ours of it. */
void serve_reap(struct serve_child *c);
/* Its lines become ours. */
void serve_read_log(struct serve_child *c);

/* ---- serve_cert.c: the broker's own certificate ---- */

/* What is to be kept good. False: the names are not such. */
bool serve_cert_new(struct serve *s, struct err *err);
void serve_cert_free(struct serve *s);
/* False: nobody can start with it; it is asked for, as soon as there is a signer. */
bool serve_cert_usable(const struct serve *s);
/* Look in the next turn, not in an hour. */
void serve_cert_soon(struct serve *s);
/* What to wait for; 0: nothing. */
short serve_cert_wants(const struct serve *s, int *ret_fd);
/* Look, ask, take the answer. True: there is a new one, and those who run are to read it. */
bool serve_cert_turn(struct serve *s, short revents);

/* ---- serve_signer.c ---- */

/* Are the keys of the CAs below <dir> encrypted? */
bool serve_needs_passphrase(const char *dir);
int serve_signer_main(int argc, char *argv[]);

#endif
