/* Shared inside store/ only: the file system's door, the format of the files, the index, and who does what with them. */
#ifndef STORE_INTERNAL_H
#define STORE_INTERNAL_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/types.h>
#include "base/inbox.h"
#include "store/store.h"

enum {
	FILE_HEADER = 4096,       /* of a segment: two copies of HEADER_BYTES and nothing else */
	HEADER_BYTES = 512,
	HEADER_SECOND = 2048,     /* where the second copy is */
	FRAME_HEADER = 32,
	FRAME_ALIGN = 512,        /* no sector that holds what was acknowledged is written again */
	FRAME_TARGET = 1024 * 1024, /* bytes at which a frame takes no more records */
	TURN_MAX = 256 * 1024 * 1024, /* a turn up to it is one frame */
	RECORD_SHORT = 16,        /* a record without content */
	RECORD_PUT = 28,          /* before the content */
	SEAL_TAG = 16,            /* behind an encrypted payload */
	FORMAT_MAJOR = 1,
	FORMAT_MINOR = 0,
	RESERVE = 2,              /* spare segments kept for deletes, cleaning and recovery when the disk is full */
	SPARES_MAX = 4,
	LOOK_AHEAD = 1024,        /* bytes of records whose places in the index are fetched into the cache */
	FRAME_KEEP = 8 * 1024 * 1024, /* a buffer of more than this is not kept */
	PREPARE_STEP = 256 * 1024, /* zeroes written ahead at a time */
	CLEAN_STEP = 64 * 1024,   /* bytes looked through with each frame, beside three for each byte written */
	COPY_MAX = 256 * 1024,    /* bytes copied with one frame */
	RETRY_MS = 200,           /* after a failure, then doubling */
	RETRY_MAX_MS = 2000,
	RETRY_READ_MS = 10000,
	NAME_BYTES = 32,
	PATH_BYTES = 4096,
};

/* ---- fs.c: the only file that touches the file system ---- */

enum { FS_READ, FS_WRITE = 1, FS_CREATE = 2, FS_DURABLE = 4 /* each write is on disk when it returns */ };

/* Zero or more is success, else -errno. Paths are whole. */
struct store_fs {
	void *ctx;
	int (*open)(void *ctx, const char *path, int flags); /* FS_CREATE: must not exist */
	void (*close)(void *ctx, int fd);
	ssize_t (*read)(void *ctx, int fd, void *p, size_t n, uint64_t at);
	ssize_t (*write)(void *ctx, int fd, const void *p, size_t n, uint64_t at);
	int (*sync)(void *ctx, int fd);
	int (*allocate)(void *ctx, int fd, uint64_t size); /* space, as far as the file system can promise it */
	int (*size)(void *ctx, int fd, uint64_t *ret, unsigned *ret_links);
	int (*rename)(void *ctx, const char *from, const char *to);
	int (*remove)(void *ctx, const char *path);
	int (*link)(void *ctx, const char *from, const char *to);
	int (*list)(void *ctx, const char *dir, void (*fn)(void *arg, const char *name), void *arg);
	int (*make_dir)(void *ctx, const char *path);
	int (*sync_dir)(void *ctx, const char *path);
	int (*lock)(void *ctx, const char *path, bool shared); /* a descriptor; shared: -ENOENT is fine, too */
	uint64_t (*now_us)(void *ctx);
};
const struct store_fs *store_fs_posix(void);
/* All <n> bytes, however many calls it takes; 0 or -errno, -ENODATA for a file that ends. */
int fs_write_all(const struct store_fs *fs, int fd, const void *p, size_t n, uint64_t at);
int fs_read_all(const struct store_fs *fs, int fd, void *p, size_t n, uint64_t at);

/* ---- crc.c ---- */

/* CRC32C of <p> going on from <crc> (0 at the start). */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);
uint32_t crc32c_plain(uint32_t crc, const void *p, size_t n); /* without help of the processor */

/* ---- format.c: bytes of headers, frames and records; little-endian ---- */

struct seg_header {
	uint32_t id, tail;      /* tail: segments below it are dead */
	uint64_t first_seq;     /* of its first frame; whatever an older segment has from here on does not count */
	uint64_t next_id;       /* identities from here on have not been given */
	uint64_t size;          /* of the file */
	uint16_t major, minor;
	uint8_t uuid[16], salt[16], key_id[8];
	uint8_t cipher;         /* 0 none, 1 AES-256-GCM */
};
void header_put(const struct seg_header *h, uint8_t out[static HEADER_BYTES]);
/* False: not a header, or damaged. */
bool header_get(const uint8_t in[static HEADER_BYTES], struct seg_header *ret);
/* What all checksums of this segment begin with: a frame of the file's former life never verifies. */
uint32_t header_seed(const struct seg_header *h);

struct frame {
	uint32_t n, records; /* n: bytes of payload as stored */
	uint64_t seq;
	uint32_t crc;
};
void frame_put(const struct frame *f, uint32_t seed, uint8_t out[static FRAME_HEADER]);
bool frame_get(const uint8_t in[static FRAME_HEADER], uint32_t seed, struct frame *ret);
/* On disk, with header and padding. */
uint64_t frame_size(uint64_t payload);

enum record_op { OP_PUT = 1, OP_DEL, OP_TAIL /* id: segments below it are dead */, OP_END /* the store was closed */ };
struct record {
	uint8_t op, kind;
	uint64_t id, ref;
	uint32_t n, size; /* n: of the content; size: of the whole record */
	const uint8_t *bytes;
};
/* The record at <p>; false when it cannot be one. Its checksum is not looked at. */
bool record_get(const uint8_t *p, size_t n, struct record *ret);
/* Write a record without content, or the head of a put whose content of <n> bytes stands behind it already. */
void record_put(uint8_t *p, const struct record *r);
/* Records carry a checksum of their own, mixed with their frame's mask, so that a damaged frame loses only what is damaged. */
uint32_t frame_mask(uint32_t seed, uint64_t seq);
bool record_verify(const uint8_t *p, const struct record *r, uint32_t mask);
void records_mask(uint8_t *p, size_t n, uint32_t change); /* mix <change> into the checksum of each record */

/* ---- seal.c: encryption at rest ---- */

struct seal;
struct seal *seal_new(struct slice master); /* NULL: out of memory */
void seal_free(struct seal *s);
void seal_key_id(const struct seal *s, uint8_t ret[static 8]);
/* Use the key of the segment with this header. */
bool seal_segment(struct seal *s, const struct seg_header *h);
/* <n> bytes in place, the tag behind them; the nonce is the frame's place in the file, which is written once. <aad>: the first
 * 24 bytes of the frame's header. */
bool seal_lock(struct seal *s, uint64_t at, const uint8_t aad[static 24], uint8_t *p, size_t n);
bool seal_unlock(struct seal *s, uint64_t at, const uint8_t aad[static 24], uint8_t *p, size_t n);

/* ---- index.c: what is alive, and where ---- */

struct place {
	uint64_t id, ref;   /* of a counted one: how many refer to it */
	uint32_t seg, at, n; /* n: of the whole record */
	uint8_t kind;
};
enum { INDEX_TABLES = 64 };
struct index {
	struct index_table {
		struct place *v;
		uint32_t count, cap;
	} tables[INDEX_TABLES];
	uint64_t count;
};
struct place *index_find(const struct index *x, uint64_t id);
/* Records whose identities are going to be looked for, one behind the other in <frame>: who is at <at> has those of the next LOOK_AHEAD
 * bytes fetched. <done>: how far that was done before; returns how far it is now. */
size_t records_prefetch(const struct index *x, struct slice frame, size_t done, size_t at);
/* The place of <id>, made (with only id set) if it is missing; NULL: out of memory. Moves others. */
struct place *index_add(struct index *x, uint64_t id);
void index_del(struct index *x, struct place *p); /* moves others */
/* A walk begins with *pos = 0; NULL at the end. Nothing may be added or removed meanwhile. */
struct place *index_next(const struct index *x, uint64_t *pos);
void index_clear(struct index *x);

/* ---- segment.c: files of one store ---- */

struct seg {
	struct seg_header h;
	uint64_t size, used, live; /* live: bytes of records that are alive */
	bool linked;               /* shared with a backup: never written again */
	bool damaged;              /* kept aside when it has served */
	bool unreadable;           /* neither copy of its header is one of this store's */
};
struct files {
	const struct store_fs *fs;
	char dir[PATH_BYTES - NAME_BYTES];
	int lock;
	struct seg *segs;          /* by id */
	uint32_t n, cap;
	uint32_t spares[SPARES_MAX];
	unsigned n_spares;
	uint32_t segment_bytes, next_file; /* numbers for files are never used twice */
	uint64_t log_bytes;
	bool dir_dirty;            /* names were changed and the directory was not synced */
	bool no_space;             /* the last attempt to get some failed for want of it */
	int fd;                    /* of the last segment, when it is being written, or -1 */
	/* a spare that is being written ahead */
	int prep_fd;
	uint32_t prep_id;
	uint64_t prep_at, prep_retry_us;
};
struct seg *seg_find(const struct files *f, uint32_t id);
/* A path in the directory. */
const char *file_path(const struct files *f, const char *name, char out[static PATH_BYTES]);
const char *seg_name(uint32_t id, char out[static NAME_BYTES]);
const char *spare_name(uint32_t id, char out[static NAME_BYTES]);
/* Only the numbers of the segments, without looking into them; the caller frees .segs. */
bool files_list(struct files *f, const char *dir, struct err *err);
/* Lock and list: segments with their headers, spares. <shared>: only to read. */
bool files_open(struct files *f, const char *dir, bool shared, struct err *err);
void files_close(struct files *f);
struct seg *files_append(struct files *f, const struct seg_header *h); /* NULL: out of memory */
/* Make the next segment, for a first frame that takes <room> bytes on disk, durable with its name; it becomes the last one, with
 * .fd open. 0 or -errno. */
int segment_make(struct files *f, struct seg_header *h, uint64_t room);
/* The last one takes no more frames. */
void segment_seal(struct files *f);
/* The first one is not needed any more: keep it as a spare, aside, or remove it. */
void segment_drop_first(struct files *f);
/* Get one file more for the reserve; nothing is written to it. False: nothing to do now. */
bool spares_reserve(struct files *f);
/* Go on writing the next segment ahead, about <bytes>: a commit to a file that was written before is faster. False: nothing to do
 * now. */
bool spares_prepare(struct files *f, uint64_t bytes);

/* ---- read.c: frames of a segment, whatever state it is in ---- */

struct report {
	void (*event)(void *ctx, const struct store_event *e);
	void *ctx;
	uint64_t places;
};
struct reader {
	const struct files *files;
	struct seg seg;           /* a copy: the table moves */
	struct seal *seal;        /* set to this segment, or NULL */
	int fd;
	uint32_t seed;
	uint64_t at, next;        /* of the present frame, and behind it */
	uint64_t limit_seq;       /* frames from here on do not count: the next segment has them */
	uint64_t want_seq;        /* of the next frame */
	struct frame frame;
	uint8_t *bytes;           /* payload of the present frame, in the clear: in .buf, behind the first .held bytes */
	uint8_t *buf;
	size_t cap, held;         /* held: of frames before, which somebody still looks at */
	bool is_last;             /* of the log: where it ends a frame may be torn */
	bool torn;                /* it was */
	int error;                /* of reading */
};
/* False: cannot be read; err. */
/* A place that cannot be read at all is an error and no damage: the next start may be able to, and what lies behind it must not be
 * given up before that. */
bool reader_open(struct reader *r, const struct files *f, const struct seg *s, struct seal *seal, struct err *err);
void reader_close(struct reader *r);
enum read_result { READ_FRAME, READ_PARTIAL /* damaged: only the records that verify count */, READ_END, READ_FAILED };
/* The next frame into r->frame and r->bytes; what is damaged is told in <damage>, with .frames lost before this one. */
enum read_result reader_next(struct reader *r, struct store_event *damage, struct err *err);

/* ---- ahead.c: the same for one segment after the other, by a thread that reads and verifies what comes next ---- */

struct ahead;
/* Those that can be read from <first> on (<live>: and that hold something alive). NULL: out of memory. The seal is its own until
 * ahead_close(). */
struct ahead *ahead_open(const struct files *f, uint32_t first, bool live, struct seal *seal);
void ahead_close(struct ahead *a); /* NULL is fine */
/* Go to segment <i>, over those before it. False: it cannot be read; err. */
bool ahead_segment(struct ahead *a, uint32_t i, struct reader *ret, struct err *err);
/* As reader_next(); <r> from ahead_segment(), and what it points to is there until the next call. READ_END: .next, .at, .want_seq and
 * .torn say how the segment ends. */
enum read_result ahead_next(struct ahead *a, struct reader *r, struct store_event *damage, struct err *err);

/* ---- load.c ---- */

/* Everything that is in the directory into <index>; what was found goes to <rep>. */
struct load {
	struct files *files;
	struct index *index;
	struct seal *seal;
	struct report *report;
	struct store_report *out;
	uint64_t next_seq, next_id, live_bytes;
	uint32_t tail;
	struct found {            /* damage, told when it is known which segments count */
		uint32_t seg;
		struct store_event e;
		char text[160];
	} *found;
	size_t n_found, cap_found;
};
bool load_index(struct load *l, struct err *err);
bool load_records(const struct files *f, const struct index *x, struct seal *seal, store_load_fn *fn, void *ctx, struct err *err);
/* Is the key the one that these segments were written with? */
bool load_key(const struct files *f, struct slice key, struct seal **ret, struct err *err);

/* ---- write.c, commit.c: the running store ---- */

struct ticket {
	_Atomic uint32_t parts;
	uint64_t seq;
	struct store_writer *writer;
	struct ticket *next;
};
struct store_part {
	struct ticket *ticket;
	struct store_part *next;
};
/* What one worker put in one turn. */
struct batch {
	struct inbox_node node; /* first */
	struct store_writer *writer;
	struct ticket *ticket;  /* NULL: only parts of others */
	struct store_part *parts;
	uint32_t records;
	size_t n, cap, taken;   /* taken: bytes that are in a frame already */
	struct batch *next;
	uint8_t *bytes;
};
struct store_writer {
	struct store *store;
	unsigned index;
	struct batch *batch;            /* being filled, or NULL */
	struct ticket *first, **last;   /* turns not known to be durable, oldest first */
	struct ticket *turn;            /* the present one, when something needs it */
	uint64_t seq, durable;          /* seq: of the present turn */
	uint64_t id, id_end;            /* identities that can be given */
	struct inbox done;              /* batches that come back to be filled again */
	struct batch *idle;
	bool wake;                      /* store thread: to be woken when the frame is through */
} __attribute__((aligned(64)));

/* What a backup asks for, and what it is told. */
enum control { CTL_IDLE, CTL_PIN, CTL_PINNED, CTL_UNPIN, CTL_FAILED };

struct store {
	struct store_options o;
	struct files files;
	struct index index;
	struct seal *seal, *clean_seal;
	struct inbox inbox;
	sem_t work;
	pthread_t thread;
	bool started;
	_Atomic bool stopping;
	_Atomic uint64_t next_id;
	/* the store's thread */
	struct seg_header h;            /* what new segments take over */
	uint64_t next_seq;
	struct batch *pending, **pending_last; /* oldest first; the first may be partly in the frame */
	struct batch *framed;           /* wholly in the frame */
	uint8_t *frame, *sealed;
	size_t frame_n, frame_cap, sealed_cap;
	uint32_t frame_records, mask, frame_tail, tail;
	uint64_t frame_at, live;        /* live: bytes of live records */
	uint64_t batches_in, batches_out;
	bool frame_held;                /* built, and not durable yet */
	uint64_t retry_us, retry_wait_ms;
	bool failing;
	/* cleaning */
	struct reader cleaner;
	uint32_t clean_seg;             /* 0: none is being read */
	size_t clean_pos;
	int64_t clean_credit;
	uint32_t clean_end;             /* read to its end */
	bool clean_stopped, clean_partial;
	uint64_t clean_retry_us;        /* not before: the segment could not be read */
	uint32_t clean_told;            /* that this one could not */
	/* backup.c asks under this */
	pthread_mutex_t ctl_lock;
	pthread_cond_t ctl_changed;
	_Atomic bool ctl_wanted;
	enum control ctl;
	uint32_t ctl_below;             /* segments below it are the backup's */
	uint64_t ctl_batches;           /* what was there when it asked */
	int ctl_error;
	bool pinned;
	/* any thread reads */
	_Atomic int state;
	_Atomic uint64_t backlog, live_records, live_bytes, log_bytes, segments, spares, frames, records, bytes, flush_us,
	    flush_max_us, copied, failures, flushes[STORE_FLUSH_BUCKETS];
	struct store_writer writers[];
};

enum step {
	STEP_IDLE,
	STEP_BUSY,
	STEP_WAITING,   /* for the time to try again */
};
/* One round: take what has arrived, write a frame, tell. The store's thread does nothing else; tests call it themselves. */
enum step store_step(struct store *s);
void store_failed(struct store *s, int r); /* -errno: wait, then try again */
void store_tell(struct store *s, const struct store_event *e);
/* One part of <t> is through; wakes the owner when it was the last. <defer>: by setting its .wake. */
void ticket_part(struct ticket *t, bool defer);
void batch_free(struct batch *b);
/* commit.c: make it durable in any segment; 0 or -errno. */
int frame_write(struct store *s);
int segment_next(struct store *s, uint64_t room); /* go on in a new segment */
void store_publish(struct store *s); /* figures that other threads read */
void frame_apply(struct store *s);
bool frame_room(struct store *s, size_t n); /* for n more bytes; false: out of memory */
/* clean.c: copies into the frame being built. */
void clean_fill(struct store *s);
bool clean_due(const struct store *s);
void clean_done(struct store *s); /* the frame is durable: free what it made free */
void clean_forget(struct store *s);
/* backup.c: what another thread has asked for. */
void control_turn(struct store *s);

#endif
