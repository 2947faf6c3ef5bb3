/* How the broker is: what is wrong now (board.c), and its figures over the last samples (health.c). Private to server/. */
#ifndef SERVER_HEALTH_H
#define SERVER_HEALTH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct server;
struct shard_stats;
struct worker;

/* ---- board.c: alarms that stand, each said once, with a remedy ---- */

enum alarm_kind {
	ALARM_STORE_FAILED,
	ALARM_STORE_FULL,
	ALARM_MEMORY,
	ALARM_LOOP_LAG,
	ALARM_WORKER_STUCK,
	ALARM_QUEUE_DROPS,
	ALARM_REFUSALS,
	ALARM_REGISTRY,
	ALARM_CONTROL,
	ALARM_CERTIFICATE,
	ALARM_CA,
	ALARM_CRL,
	ALARM_OCSP,
	ALARM_KINDS
};
const char *alarm_kind_name(enum alarm_kind k); /* "store-failed", …; static */

/* Who raises them. Each says all that he knows of, and then settles: what he did not say again is over. */
enum alarm_source {
	ALARMS_OF_LISTS,        /* revocation lists and OCSP; the thread of watch.c */
	ALARMS_OF_CERTIFICATES, /* our own and the CAs; the main thread */
	ALARMS_OF_FIGURES,      /* the first worker */
	ALARMS_OF_STORE,        /* its own thread */
	ALARM_SOURCES
};
struct alarm {
	enum alarm_source source;
	enum alarm_kind kind;
	bool error;          /* else a warning: it is going to be wrong, or only a part suffers */
	uint64_t key;        /* of its kind: what it is about; the same one with another text is the same alarm */
	const char *text;    /* copied; without a full stop */
	const char *remedy;  /* copied; NULL: that of its kind */
};
struct board;
struct board *board_new(void); /* NULL: out of memory */
void board_free(struct board *b); /* NULL is fine */
/* All of them any thread. True: the log shall have it, as it is new or was said an hour ago. */
bool board_raise(struct board *b, const struct alarm *a);
/* The same, and the log has it if it shall: "ALARM: <text>." */
void board_say(struct board *b, const struct alarm *a);
unsigned board_settle(struct board *b, enum alarm_source source); /* how many of its alarms stand now */
unsigned board_count(struct board *b, enum alarm_source source);  /* when they were settled last */
/* By kind. <b> NULL: none. */
void board_kinds(struct board *b, unsigned ret[static ALARM_KINDS]);
/* All that stand, as JSON, the gravest first; free(). NULL: it is as it was at *said, or out of memory. */
char *board_text(struct board *b, uint64_t *said);

/* ---- health.c: figures ---- */

/* One turn from the first worker to another: how long what is for that one waits. */
struct probe {
	atomic_bool out;
	uint64_t sent_ns;                  /* read by the other one only while it is out */
	_Atomic uint64_t n, sum_ns, max_ns; /* max_ns: since somebody took it */
};

struct health;
struct health *health_new(unsigned interval_s); /* NULL: out of memory */
void health_free(struct health *h);             /* NULL is fine */
/* On the first worker's thread: ask the other ones how they are, now and then. Ms to the next time. */
uint64_t health_probe(struct health *h, struct server *s, uint64_t now_ms);
/* On the first worker's thread, each interval: one more sample, and what follows from it for the alarms. */
void health_sample(struct health *h, struct server *s, uint64_t now_ms);
/* The newest samples, or all that are kept, as JSON; free(). NULL: out of memory. */
char *health_recent(const struct health *h);
char *health_history(const struct health *h);
/* Is it time to say all of them again? */
bool health_history_is_due(const struct health *h);
/* Refusals since the start by cause, as JSON; free(). NULL: out of memory. */
char *health_refusals(const struct server *s);

/* What another thread counts, as it is now. */
static inline uint64_t
figure_read(const _Atomic uint64_t *n)
{
	return atomic_load_explicit(n, memory_order_relaxed);
}

/* A counter of struct shard_stats at that offset, of one shard. */
static inline uint64_t
figure_of(const struct shard_stats *s, size_t at)
{
	return figure_read((const void *)((const char *)s + at));
}

/* The same of all shards together. */
uint64_t server_total(const struct server *s, size_t at);

#endif
