/* What is wrong now, in one place: whoever finds something raises an alarm here, and what he does not find again is over. The log says
 * each when it begins and once an hour; $SYS/broker/alarms always has those that stand. docs/monitoring.md has the same kinds, and the
 * test compares. */
#include "server/health.h"

#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/num.h"
#include "base/text.h"

enum { ALARMS_MAX = 256, WARNINGS_MAX = ALARMS_MAX - 64 /* what is wrong finds a place beside them */, SHOWN_MAX = 64, REPEAT_S = 3600, TEXT_CAP = 640, REMEDY_CAP = 400 };

/* clang-format off */
static const struct {
	const char *name, *remedy;
} kinds[] = {
	[ALARM_STORE_FAILED] = { "store-failed",
	    "look at the log for the error of the disk and repair it; the broker tries again by itself, and acknowledges nothing that must be kept until then" },
	[ALARM_STORE_FULL] = { "store-full",
	    "make room on the file system of persistence_location, or let clients that are away take or lose what is queued for them; it goes on by itself" },
	[ALARM_MEMORY] = { "memory-limit",
	    "look for queues and retained messages that grow, limit them (max_queued_messages, max_queued_bytes), or raise memory_limit" },
	[ALARM_LOOP_LAG] = { "loop-lag",
	    "look whether the machine has CPU time left, how many clients connect at once and how large the fan-out is; more workers on more cores help" },
	[ALARM_WORKER_STUCK] = { "worker-stuck",
	    "look whether the machine is overloaded or its disk hangs; with a watchdog the service manager starts the broker anew" },
	[ALARM_QUEUE_DROPS] = { "messages-dropped",
	    "the log names the clients: let them read faster or come back sooner, or raise the limit that it names" },
	[ALARM_REFUSALS] = { "refusals",
	    "see who is refused and why: `signet why`, or the console's page Refusals" },
	[ALARM_REGISTRY] = { "registry-unavailable",
	    "see that the control process runs: it states the registry; until then devices are refused and come again by themselves" },
	[ALARM_CONTROL] = { "control-unavailable",
	    "see what the log of `signet serve` says of control and the signer, without which it does not start; connections and messages go on meanwhile" },
	[ALARM_CERTIFICATE] = { "certificate",
	    "issue a new one, or set the clock of this machine, and send the broker a SIGHUP" },
	[ALARM_CA] = { "ca-certificate",
	    "make a new CA in time and name both in cafile: clients need certificates of the new one before the old one ends" },
	[ALARM_CRL] = { "crl",
	    "see that the signer runs, or put the CA's new list in the place of the old one: it is taken over as soon as the file changes" },
	[ALARM_OCSP] = { "ocsp",
	    "see that the responder answers (`openssl ocsp -url …`) and this machine reaches it" },
};
/* clang-format on */
_Static_assert(ARRAY_LEN(kinds) == ALARM_KINDS, "each kind has a row");

const char *
alarm_kind_name(enum alarm_kind k)
{
	return kinds[k].name;
}

/* One place; kind, source and key say which alarm it is. */
struct place {
	enum alarm_source source;
	enum alarm_kind kind;
	uint64_t key;
	int64_t since, logged; /* seconds since 1970 */
	bool error, seen;
	char text[TEXT_CAP], remedy[REMEDY_CAP];
};

struct board {
	pthread_mutex_t lock;
	uint64_t changes; /* 1 at first: an empty list is news, too */
	int64_t full_logged; /* when the log was told that there was no place */
	unsigned n, settled[ALARM_SOURCES];
	struct place v[ALARMS_MAX];
};

struct board *
board_new(void)
{
	struct board *b = calloc(1, sizeof(*b));

	if (b == NULL || pthread_mutex_init(&b->lock, NULL) != 0) {
		free(b);
		return NULL;
	}
	b->changes = 1;
	return b;
}

void
board_free(struct board *b)
{
	if (b == NULL)
		return;
	(void)pthread_mutex_destroy(&b->lock);
	free(b);
}

static struct place *
find(struct board *b, const struct alarm *a)
{
	for (unsigned i = 0; i < b->n; i++)
		if (b->v[i].source == a->source && b->v[i].kind == a->kind && b->v[i].key == a->key)
			return &b->v[i];
	return NULL;
}

/* What cannot be shown as it is (certificates have names of any bytes) is shown as it can. */
static void
set_text(char *to, size_t cap, const char *from, bool *changed)
{
	char shown[TEXT_CAP], cut[TEXT_CAP];

	if (!utf8_ok(slice_str(from)))
		from = text_show(slice_str(from), shown, sizeof(shown));
	(void)snprintf(cut, NUM_MIN(cap, sizeof(cut)), "%s", from);
	/* The end may have been cut within a character. */
	for (size_t n = strlen(cut); n > 0 && !utf8_ok(slice_of(cut, n)); n--)
		cut[n - 1] = '\0';
	if (strcmp(to, cut) == 0)
		return;
	memcpy(to, cut, strlen(cut) + 1);
	*changed = true;
}

/* A place for <a>, or NULL. */
static struct place *
add(struct board *b, const struct alarm *a, int64_t now)
{
	struct place *p = &b->v[b->n];

	if (b->n >= (a->error ? ALARMS_MAX : WARNINGS_MAX))
		return NULL;
	b->n++;
	*p = (struct place){ .source = a->source, .kind = a->kind, .key = a->key, .since = now };
	return p;
}

bool
board_raise(struct board *b, const struct alarm *a)
{
	int64_t now = (int64_t)time(NULL);
	struct place *p;
	bool say = false, changed = false, full;

	(void)pthread_mutex_lock(&b->lock);
	p = find(b, a);
	if (p == NULL)
		changed = (p = add(b, a, now)) != NULL;
	full = p == NULL && now - b->full_logged >= REPEAT_S;
	if (full)
		b->full_logged = now;
	/* The first word of a round counts. */
	if (p != NULL && !p->seen) {
		p->seen = true;
		changed = changed || p->error != a->error;
		p->error = a->error;
		set_text(p->text, sizeof(p->text), a->text, &changed);
		set_text(p->remedy, sizeof(p->remedy), a->remedy != NULL ? a->remedy : kinds[a->kind].remedy, &changed);
		say = now - p->logged >= REPEAT_S;
		if (say)
			p->logged = now;
		b->changes += changed;
	}
	(void)pthread_mutex_unlock(&b->lock);
	if (full)
		log_error("ALARM: there are more alarms than have a place (%d warnings, %d in all): further ones are neither shown nor logged, the first of them: %s.",
		    WARNINGS_MAX, ALARMS_MAX, a->text);
	return say;
}

void
board_say(struct board *b, const struct alarm *a)
{
	if (!board_raise(b, a))
		return;
	if (a->error)
		log_error("ALARM: %s.", a->text);
	else
		log_warning("ALARM: %s.", a->text);
}

unsigned
board_settle(struct board *b, enum alarm_source source)
{
	unsigned n = 0, mine = 0;

	(void)pthread_mutex_lock(&b->lock);
	for (unsigned i = 0; i < b->n; i++) {
		if (b->v[i].source == source && !b->v[i].seen)
			continue;
		if (b->v[i].source == source) {
			b->v[i].seen = false;
			mine++;
		}
		if (n != i)
			b->v[n] = b->v[i];
		n++;
	}
	b->changes += n != b->n;
	b->n = n;
	b->settled[source] = mine;
	(void)pthread_mutex_unlock(&b->lock);
	return mine;
}

unsigned
board_count(struct board *b, enum alarm_source source)
{
	unsigned n;

	(void)pthread_mutex_lock(&b->lock);
	n = b->settled[source];
	(void)pthread_mutex_unlock(&b->lock);
	return n;
}

void
board_kinds(struct board *b, unsigned ret[static ALARM_KINDS])
{
	memset(ret, 0, ALARM_KINDS * sizeof(*ret));
	if (b == NULL)
		return;
	(void)pthread_mutex_lock(&b->lock);
	for (unsigned i = 0; i < b->n; i++)
		ret[b->v[i].kind]++;
	(void)pthread_mutex_unlock(&b->lock);
}

/* ---- for people ---- */

static void
add_all(const struct board *b, bool error, json_t *list)
{
	for (unsigned i = 0; i < b->n && json_array_size(list) < SHOWN_MAX; i++) {
		const struct place *p = &b->v[i];

		if (p->error == error)
			(void)json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:s,s:I}", "name", kinds[p->kind].name, "level", error ? "error" : "warning",
							      "text", p->text, "remedy", p->remedy, "since", (json_int_t)p->since));
	}
}

char *
board_text(struct board *b, uint64_t *said)
{
	json_t *list;
	uint64_t changes;
	char *text;

	(void)pthread_mutex_lock(&b->lock);
	changes = b->changes;
	list = changes != *said ? json_array() : NULL;
	if (list != NULL) {
		add_all(b, true, list);
		add_all(b, false, list);
	}
	(void)pthread_mutex_unlock(&b->lock);
	text = list != NULL ? json_dumps(list, JSON_COMPACT) : NULL;
	json_decref(list);
	if (text != NULL)
		*said = changes;
	return text;
}
