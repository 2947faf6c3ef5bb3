/* The durable store: a segmented log of small records that survive kill -9 and a power cut once they are called durable.
 *
 * It knows records, not MQTT. A record has an identity that is never used twice, a kind, bytes, and perhaps one other record
 * that it refers to. Putting an identity again replaces its record, deleting forgets it. A record of a counted kind (a message
 * body) lives as long as others refer to it and goes by itself. What the bytes mean is the keeper's business (docs/store.md has
 * the table: which event of the broker puts what, and which packet waits for it); docs/store-format.md describes the files.
 *
 * Threads: each worker has a writer of its own and hands over once a loop turn what it has put, without lock and without
 * waiting. One thread of the store writes one frame for all that has arrived, makes it durable with one flush, and wakes the
 * workers whose turns are safe now. What arrives during a flush is the next frame: no timer decides. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/err.h"
#include "base/slice.h"

struct store;
struct store_writer;
struct store_part;
struct store_fs; /* internal.h: the door to the file system, which tests replace */

enum {
	STORE_KEY_BYTES = 32,
	STORE_RECORD_MAX = 512 * 1024 * 1024, /* bytes of one record */
	STORE_SEGMENT_MIN = 64 * 1024,
	STORE_SEGMENT_MAX = 256 * 1024 * 1024,
	STORE_SEGMENT_DEFAULT = 16 * 1024 * 1024,
	STORE_WRITERS_MAX = 256,
};

/* Two bits of a kind mean something to the store, the rest only to the keeper. */
enum {
	STORE_LATE = 0x80,    /* loaded after all kinds without this bit */
	STORE_COUNTED = 0x40, /* dropped when the last record that refers to it goes */
};
enum store_kind {
	STORE_SESSION = 1,
	STORE_RETAINED = 2,
	STORE_BODY = STORE_COUNTED | 3,
	STORE_SUBSCRIPTION = STORE_LATE | 4,
	STORE_ENTRY = STORE_LATE | 5,   /* queued or in flight to a client; refers to a body until PUBREC */
	STORE_INBOUND = STORE_LATE | 6, /* QoS 2 packet id received and not released */
	STORE_WILL = STORE_LATE | 7,
	STORE_PART = STORE_LATE | 8, /* a message that must come once has arrived at a part of the sessions */
	STORE_NOTE = 9, /* the keeper's own */
	STORE_HANDOVER = STORE_LATE | 10, /* a message that another part of the sessions has not written yet; refers to its body */
};

struct store_record {
	uint8_t kind;  /* enum store_kind; not 0 */
	uint64_t id;   /* from store_id() */
	uint64_t ref;  /* a record of a counted kind, put before in this store, or 0. One that nothing ever refers to stays until it is deleted
	                * or the store is opened again */
	struct slice head, bytes; /* the content is head and then bytes: two pieces spare the writer a copy; loaded ones have no head */
};

enum store_state {
	STORE_READY,
	STORE_FULL,   /* no space for reserves: refuse what adds, go on with what deletes */
	STORE_FAILED, /* input/output error: nothing becomes durable until a new segment can be written */
};

enum store_event_kind {
	STORE_EVENT_STATE,    /* .state has changed; .text says why */
	STORE_EVENT_TAIL,     /* a frame that was never acknowledged was cut off: .file, .offset */
	STORE_EVENT_DAMAGE,   /* .file, .offset, .frames and .records that are gone */
	STORE_EVENT_NO_BODY,  /* the body that record .offset refers to is gone; the record is, too */
	STORE_EVENT_NO_CLEAN, /* space is not reclaimed any more until the restart; .text says why */
	STORE_EVENT_UNREADABLE, /* .file cannot be read, so its space is not reclaimed; it is tried again from time to time */
};
/* Something worth a log line. Borrowed for the call. */
struct store_event {
	enum store_event_kind kind;
	enum store_state state;
	const char *file;   /* name in the directory, or "" */
	uint64_t offset, frames, records;
	const char *text;   /* a sentence */
};

struct store_options {
	const char *dir;           /* made (0700) if it is missing; the files are 0600 */
	unsigned n_writers;        /* 1..STORE_WRITERS_MAX */
	uint32_t segment_bytes;    /* 0 = STORE_SEGMENT_DEFAULT; clamped to STORE_SEGMENT_MIN..STORE_SEGMENT_MAX */
	uint64_t min_log_bytes;    /* below it nothing is copied to reclaim space; 0 = four segments */
	struct slice key;          /* empty, or STORE_KEY_BYTES: AES-256-GCM. Copied */
	bool refuse_damage;        /* store_open() fails on damage; else it is reported and the rest is recovered */
	const struct store_fs *fs; /* NULL: the real one; must outlive the store */
	void *ctx;
	/* From the store's thread, or from a worker's within store_join() and store_submit(): make worker <writer> call
	 * store_durable() soon. Must not block. NULL is fine. */
	void (*wake)(void *ctx, unsigned writer);
	/* From the thread that is within store_open() or store_load(), later from the store's own. NULL is fine. */
	void (*event)(void *ctx, const struct store_event *e);
};

/* ---- opening ---- */

/* Lock the directory, read and check everything in it, and begin a new segment. NULL with <err>: another process has it
 * (ERR_EXISTS), the key is missing or not the one (ERR_DENIED), damage with refuse_damage or a newer format (ERR_INPUT), no
 * space, memory or permission. Time: about 0.5 s for a million records; memory: 45 bytes for each live one. */
struct store *store_open(const struct store_options *o, struct err *err);
/* Call <fn> for each live record: first all of kinds without STORE_LATE, then the others; within each half in the order of the
 * log, which is not that of identities: the order of creation is that of the identities that one writer gave. The record is
 * borrowed for the call. False: reading failed, or <fn> returned false (then <err> is as fn's owner left it). Once, before
 * store_start(). */
typedef bool store_load_fn(void *ctx, const struct store_record *r);
bool store_load(struct store *s, store_load_fn *fn, void *ctx, struct err *err);
/* Start the store's thread. */
bool store_start(struct store *s, struct err *err);
/* Write what was submitted, mark a clean end, stop and free. False when something submitted could not be written; the rest is
 * done all the same. After all workers have stopped. NULL is fine. */
bool store_close(struct store *s);

/* ---- writing: each writer is one worker's own ---- */

struct store_writer *store_writer(struct store *s, unsigned index);
/* A new identity, larger than all this writer gave before, also before a restart; never 0. */
uint64_t store_id(struct store_writer *w);
/* Both join this turn. False: out of memory or larger than STORE_RECORD_MAX; nothing was put. Copied. Records about one identity
 * come from one writer at a time. */
bool store_put(struct store_writer *w, const struct store_record *r);
bool store_del(struct store_writer *w, uint8_t kind, uint64_t id);
/* The number of this turn: what is put now is safe when store_durable() >= store_seq(). */
uint64_t store_seq(const struct store_writer *w);
/* The end of a turn: hand over what was put. Nothing put and nothing claimed: nothing happens. */
void store_submit(struct store_writer *w);
/* All turns of this writer up to the one returned are durable, with all that others have joined to them. Only grows. */
uint64_t store_durable(struct store_writer *w);

/* What others put because of this turn: take one part for each letter to another worker; this turn becomes durable when that
 * worker has joined the part and what it had put until then is durable. NULL: out of memory. */
struct store_part *store_claim(struct store_writer *w);
/* The same for a letter that comes of a letter: one more part of the turn that <p>, which is not joined yet, is of. Any thread. */
struct store_part *store_share(const struct store_part *p);
/* On the receiving worker, when the letter was carried out and before its store_submit(). Takes the part. A letter that goes
 * nowhere is joined by whoever drops it. */
void store_join(struct store_writer *w, struct store_part *p);

/* ---- state; any thread ---- */

enum store_state store_state(const struct store *s);
struct store_stats {
	enum store_state state;
	uint64_t live_records, live_bytes; /* live_bytes: as they lie in the log */
	uint64_t log_bytes, segments, spares; /* on disk; spares come on top */
	uint64_t backlog_bytes; /* handed over and not durable yet */
	uint64_t frames, records, bytes, flush_us, flush_max_us; /* since the start */
	uint64_t copied_bytes;  /* moved to reclaim space */
	uint64_t failures;      /* writes and flushes that failed */
};
void store_stats(const struct store *s, struct store_stats *ret);
/* Flushes by how long they took: bucket i has those of at most store_flush_le_us[i] that none before it has, the last one the rest. */
enum { STORE_FLUSH_BUCKETS = 13 };
extern const uint32_t store_flush_le_us[STORE_FLUSH_BUCKETS - 1];
void store_flushes(const struct store *s, uint64_t ret[static STORE_FLUSH_BUCKETS]);

/* The key in a file: STORE_KEY_BYTES bytes, or as many in hex with or without a newline. Wipe it after store_open(). */
bool store_key_read(const char *path, uint8_t ret[static STORE_KEY_BYTES], struct err *err);

/* ---- backup ---- */

/* A consistent copy of all that was submitted before, while the store is in use: hard links where that is possible, else copies.
 * <dir> must be empty or missing. Links share their bytes with the store: against a failing disk, copy the backup elsewhere. Any
 * thread but a worker's that must not wait; one at a time (else an error). */
bool store_backup(struct store *s, const char *dir, struct err *err);
/* Check the backup in <from>, then copy it to <to>, which must be empty or missing. No store may have either open. */
bool store_restore(const char *from, const char *to, struct slice key, struct err *err);

/* ---- without opening: read-only; refused (ERR_EXISTS) while a broker has the directory ---- */

struct store_report {
	uint64_t segments, frames, records, puts, dels, live_records, live_bytes, log_bytes;
	uint64_t damaged, lost_frames, lost_records, lost_bodies; /* damaged: places */
	uint64_t live_of_kind[256];
	bool torn_tail, clean_end, encrypted;
};
/* Verify every checksum and every reference; o->event reports places. True when it could be read: see ret->damaged. Only dir,
 * key, fs, ctx and event of the options count. */
bool store_check(const struct store_options *o, struct store_report *ret, struct err *err);
/* The same, and store_load()'s order of the live records. */
bool store_dump(const struct store_options *o, store_load_fn *fn, void *ctx, struct err *err);
/* "session", "retained", … or NULL. */
const char *store_kind_name(uint8_t kind);

#endif
