/* Reading the log at the start: while one thread puts together what has been read, another reads, verifies and decrypts what
 * comes next. It hands over about a megabyte of frames at a time, and reads on while no more than FRAME_KEEP are there to be put
 * together: what is in memory is bounded by that and one turn, however large turns were. */
#include <errno.h>
#include <stdlib.h>
#include "base/assert.h"
#include "store/internal.h"

enum {
	SLOTS = 4,
	SLOT_FRAMES = 256,
	THREAD_MIN = 4 * 1024 * 1024, /* bytes of log for which a thread is worth its while */
	NO_SEGMENT = UINT32_MAX,
};

struct ahead_frame {
	enum read_result got;
	struct frame frame;
	size_t held; /* where its payload is in the slot */
	uint64_t at, next, want_seq;
	bool torn;
	struct store_event damage;
};

/* Frames of one segment. */
struct slot {
	uint32_t seg; /* which; NO_SEGMENT: there are no more */
	uint32_t n;
	struct reader reader; /* as it was opened */
	uint8_t *buf;
	size_t cap, held; /* held: bytes that were read into it */
	struct err err;
	struct ahead_frame v[SLOT_FRAMES];
};

struct ahead {
	const struct files *files;
	struct seal *seal;
	bool live;
	/* who reads */
	struct reader reader;
	bool open;
	uint32_t seg;
	/* who is handed it */
	uint32_t slot, frame; /* slots that were taken, and frames of the present one */
	/* between them */
	bool threaded;
	pthread_t thread;
	sem_t filled, vacant;
	_Atomic bool stop;
	_Atomic size_t held; /* by slots that were filled and not given back */
	struct slot slots[SLOTS];
};

/* ---- reading ---- */

static bool
counts(const struct ahead *a, const struct seg *s)
{
	return !s->unreadable && (!a->live || s->live > 0);
}

/* False: the segment ends here, in one way or another. */
static bool
read_frame(struct ahead *a, struct slot *s)
{
	struct ahead_frame *f = &s->v[s->n++];
	struct reader *r = &a->reader;

	f->held = r->held;
	f->got = reader_next(r, &f->damage, &s->err);
	f->frame = r->frame;
	f->at = r->at;
	f->next = r->next;
	f->want_seq = r->want_seq;
	f->torn = r->torn;
	if (f->got != READ_FRAME && f->got != READ_PARTIAL)
		return false;
	r->held += f->frame.n;
	return true;
}

static void
fill(struct ahead *a, struct slot *s)
{
	struct reader *r = &a->reader;

	s->n = 0;
	s->held = 0;
	r->buf = s->buf;
	r->cap = s->cap;
	r->held = 0;
	while (!a->open && a->seg < a->files->n && !counts(a, &a->files->segs[a->seg]))
		a->seg++;
	s->seg = a->seg < a->files->n ? a->seg : NO_SEGMENT;
	if (s->seg == NO_SEGMENT)
		return;
	if (!a->open && !(a->open = reader_open(r, a->files, &a->files->segs[a->seg], a->seal, &s->err)))
		s->v[s->n++] = (struct ahead_frame){ .got = READ_FAILED };
	s->reader = *r;
	while (a->open && s->n < SLOT_FRAMES && r->held < FRAME_TARGET)
		if (!read_frame(a, s)) {
			a->files->fs->close(a->files->fs->ctx, r->fd);
			r->fd = -1;
			a->open = false;
		}
	a->seg += !a->open;
	s->buf = r->buf;
	s->cap = r->cap;
	s->held = r->held;
	r->buf = NULL;
}

static void
wait_for(sem_t *sem)
{
	while (sem_wait(sem) == -1 && errno == EINTR)
		;
}

static void *
run(void *arg)
{
	struct ahead *a = arg;
	unsigned vacant = 0;

	for (uint32_t i = 0;; i++) {
		struct slot *s = &a->slots[i % SLOTS];

		/* Whoever holds so much gives it back, each time with a word. */
		while (vacant == 0 || atomic_load_explicit(&a->held, memory_order_acquire) > FRAME_KEEP) {
			wait_for(&a->vacant);
			if (atomic_load_explicit(&a->stop, memory_order_acquire))
				return NULL;
			vacant++;
		}
		vacant--;
		fill(a, s);
		(void)atomic_fetch_add_explicit(&a->held, s->held, memory_order_relaxed);
		(void)sem_post(&a->filled);
		if (s->seg == NO_SEGMENT)
			return NULL;
	}
}

/* ---- being handed it ---- */

static struct slot *
present(struct ahead *a)
{
	return &a->slots[a->slot % SLOTS];
}

static void
take(struct ahead *a)
{
	if (a->threaded)
		wait_for(&a->filled);
	else
		fill(a, present(a));
	a->frame = 0;
}

static void
give_back(struct ahead *a)
{
	struct slot *s = present(a);

	/* One large turn does not hold its memory to the end. */
	if (s->cap > FRAME_KEEP) {
		free(s->buf);
		s->buf = NULL;
		s->cap = 0;
	}
	if (!a->threaded)
		return;
	a->slot++;
	(void)atomic_fetch_sub_explicit(&a->held, s->held, memory_order_release);
	(void)sem_post(&a->vacant);
}

struct ahead *
ahead_open(const struct files *f, uint32_t first, bool live, struct seal *seal)
{
	struct ahead *a = malloc(sizeof *a);

	if (a == NULL)
		return NULL;
	a->files = f;
	a->seal = seal;
	a->live = live;
	a->reader = (struct reader){ .fd = -1 };
	a->open = false;
	a->seg = first;
	a->slot = a->frame = 0;
	atomic_init(&a->stop, false);
	atomic_init(&a->held, 0);
	for (unsigned i = 0; i < SLOTS; i++) {
		a->slots[i].buf = NULL;
		a->slots[i].cap = 0;
	}
	(void)sem_init(&a->filled, 0, 0);
	(void)sem_init(&a->vacant, 0, SLOTS);
	a->threaded = f->log_bytes >= THREAD_MIN && pthread_create(&a->thread, NULL, run, a) == 0;
	take(a);
	return a;
}

void
ahead_close(struct ahead *a)
{
	if (a == NULL)
		return;
	if (a->threaded) {
		atomic_store_explicit(&a->stop, true, memory_order_release);
		(void)sem_post(&a->vacant);
		(void)pthread_join(a->thread, NULL);
	}
	if (a->open)
		a->files->fs->close(a->files->fs->ctx, a->reader.fd);
	for (unsigned i = 0; i < SLOTS; i++)
		free(a->slots[i].buf);
	(void)sem_destroy(&a->filled);
	(void)sem_destroy(&a->vacant);
	free(a);
}

bool
ahead_segment(struct ahead *a, uint32_t i, struct reader *ret, struct err *err)
{
	struct slot *s;

	while ((s = present(a))->seg < i) {
		give_back(a);
		take(a);
	}
	ASSERT(s->seg == i);
	if (s->n == 1 && s->v[0].got == READ_FAILED && s->reader.fd < 0) {
		*err = s->err;
		return false;
	}
	*ret = s->reader;
	return true;
}

enum read_result
ahead_next(struct ahead *a, struct reader *r, struct store_event *damage, struct err *err)
{
	const struct ahead_frame *f;

	if (a->frame == present(a)->n) {
		give_back(a);
		take(a);
	}
	f = &present(a)->v[a->frame++];
	r->frame = f->frame;
	r->bytes = f->held > 0 ? present(a)->buf + f->held : present(a)->buf;
	r->at = f->at;
	r->next = f->next;
	r->want_seq = f->want_seq;
	r->torn = f->torn;
	*damage = f->damage;
	if (f->got == READ_FAILED)
		*err = present(a)->err;
	return f->got;
}
