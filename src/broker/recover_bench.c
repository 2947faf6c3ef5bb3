/* How long does a restart take, and how much memory? Writes a store with 1,000,000 retained messages and 100,000 sessions with a subscription
 * and 10 queued messages each (or a fraction: argv[2]) into the empty directory argv[1], as the journal would, and recovers it; 0: what is there
 * already, so that the kernel's cache can be emptied before. Run by hand.
 *
 * Without arguments a test: a tenth of it in a directory of its own, and what was resident at most must not be far above what is then. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "broker/internal.h"
#include "base/file.h"
#include "broker/record.h"

enum { SHARDS = 2, RETAINED = 1000000, SESSIONS = 100000, QUEUED = 10, PAYLOAD = 100, TURN = 1000 };

static double
now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
check(bool ok, const char *what)
{
	if (ok)
		return;
	(void)fprintf(stderr, "%s\n", what);
	exit(1);
}

/* A message of its own. */
static uint64_t
put_body(struct store_writer *w, const char *topic, bool retain)
{
	static const char payload[PAYLOAD] = "x";
	struct mqtt_publish p = { .topic = slice_str(topic), .payload = slice_of((const uint8_t *)payload, PAYLOAD), .qos = 1, .retain = retain };
	struct msg *m = msg_new(&p, SL("publisher"), NULL, 0);
	uint8_t head[RECORD_BODY_HEAD];
	struct store_record r = { .kind = STORE_BODY, .id = store_id(w) };

	check(m != NULL, "out of memory");
	r.head = record_put_body(head, m, 0);
	r.bytes = record_body_bytes(m);
	check(store_put(w, &r), "cannot put a message");
	msg_unref(m);
	return r.id;
}

static void
put_session(struct store_writer *w, unsigned i)
{
	struct record_session s = { .expiry_s = UINT32_MAX, .away_since = 1800000000 };
	uint8_t buf[512], sub_head[RECORD_SUB_MAX];
	char id[32], filter[48], topic[48];
	struct store_record r = { .kind = STORE_SESSION, .id = store_id(w) };
	struct record_sub sub = { .session = r.id, .options = 1 };
	uint64_t session = r.id;

	(void)snprintf(id, sizeof id, "device-%06u", i);
	(void)snprintf(filter, sizeof filter, "site/%u/device/%u/#", i % 100, i);
	(void)snprintf(topic, sizeof topic, "site/%u/device/%u/in", i % 100, i);
	s.id = slice_str(id);
	s.who = (struct authz_facts){ .role = AUTHZ_ROLE_CLIENT, .has_cert = true, .cn = s.id, .username = s.id };
	r.bytes = record_put_session(buf, &s);
	check(store_put(w, &r), "cannot put a session");
	r = (struct store_record){ .kind = STORE_SUBSCRIPTION, .id = store_id(w), .head = record_put_sub(sub_head, &sub), .bytes = slice_str(filter) };
	check(store_put(w, &r), "cannot put a subscription");
	for (unsigned k = 0; k < QUEUED; k++) {
		struct record_entry e = { .session = session, .state = RECORD_QUEUED, .qos = 1 };
		uint64_t body = put_body(w, topic, false);

		r = (struct store_record){ .kind = STORE_ENTRY, .id = store_id(w), .ref = body, .bytes = record_put_entry(buf, &e) };
		check(store_put(w, &r), "cannot put an entry");
	}
}

static void
fill(const char *dir, unsigned percent)
{
	struct store_options o = { .dir = dir, .n_writers = 1 };
	struct err err = { .text = "" };
	struct store *s = store_open(&o, &err);
	struct store_writer *w;
	char topic[64];

	check(s != NULL && store_start(s, &err), err.text);
	w = store_writer(s, 0);
	for (unsigned i = 0; i < RETAINED / 100 * percent; i++) {
		struct store_record r = { .kind = STORE_RETAINED };

		(void)snprintf(topic, sizeof topic, "site/%u/device/%u/state", i % 1000, i);
		r.ref = put_body(w, topic, true);
		r.id = store_id(w);
		check(store_put(w, &r), "cannot put a retained message");
		if (i % TURN == 0)
			store_submit(w);
	}
	for (unsigned i = 0; i < SESSIONS / 100 * percent; i++) {
		put_session(w, i);
		if (i % (TURN / QUEUED) == 0)
			store_submit(w);
	}
	store_submit(w);
	check(store_close(s), "the store could not be written");
}

static void
port_wake(void *ctx, unsigned shard)
{
	(void)ctx;
	(void)shard;
}

static int64_t
port_wall(void *ctx)
{
	(void)ctx;
	return 1800000100;
}

static void
port_event(void *ctx, const struct broker_event *e)
{
	(void)ctx;
	(void)e;
}

/* In a process of its own: what it takes is not what the restart takes. */
static void
fill_aside(const char *dir, unsigned percent)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		fill(dir, percent);
		_exit(0);
	}
	check(child != -1 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0, "cannot write the store");
}

static unsigned long
resident_mib(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long size, pages = 0;

	check(f != NULL && fscanf(f, "%lu %lu", &size, &pages) == 2, "cannot read /proc/self/statm");
	(void)fclose(f);
	return pages * (unsigned long)sysconf(_SC_PAGESIZE) >> 20;
}

static unsigned long
peak_mib(void)
{
	struct rusage usage;

	(void)getrusage(RUSAGE_SELF, &usage);
	return (unsigned long)usage.ru_maxrss >> 10;
}

/* MiB resident at most, and then. */
static void
measure(const char *dir, unsigned long *ret_peak, unsigned long *ret_then)
{
	struct store_options o = { .dir = dir, .n_writers = SHARDS };
	struct broker_ports ports = { .wake = port_wake, .wall = port_wall, .event = port_event };
	struct broker_settings set;
	struct broker_listener l = { .policy = authz_policy_open() };
	struct broker_recovered got;
	struct err err = { .text = "" };
	struct broker *b;
	double begin = now(), opened, read;

	broker_settings_default(&set);
	set.store = store_open(&o, &err);
	check(set.store != NULL, err.text);
	opened = now();
	b = broker_new(SHARDS, &set, &l, 1, &ports);
	check(b != NULL && broker_recover(b, 1000000, &got, &err), err.text);
	read = now();
	for (unsigned i = 0; i < SHARDS; i++)
		(void)shard_turn(broker_shard(b, i), 1000001);
	*ret_peak = peak_mib();
	*ret_then = resident_mib();
	(void)printf("opened and checked in %.2f s, recovered in %.2f s, first turns %.2f s: %llu sessions, %llu messages, %llu retained; "
		     "%lu MiB resident at most, %lu then, %zu in use\n",
	    opened - begin, read - opened, now() - read, (unsigned long long)got.sessions, (unsigned long long)got.messages,
	    (unsigned long long)got.retained, *ret_peak, *ret_then, (mallinfo2().uordblks + mallinfo2().hblkhd) >> 20);
	broker_free(b);
	(void)store_close(set.store);
	authz_policy_unref(l.policy);
}

static int
test(void)
{
	char dir[] = "/tmp/signet-recover-XXXXXX";
	unsigned long peak, then;

	check(mkdtemp(dir) != NULL, "cannot make a directory in /tmp");
	fill_aside(dir, 10);
	measure(dir, &peak, &then);
	(void)dir_remove(dir);
	check(peak <= then + then / 4, "a restart takes more than a quarter above what the broker takes then");
	return 0;
}

int
main(int argc, char *argv[])
{
	unsigned long peak, then;
	unsigned percent;
	double begin = now();

	if (argc < 2)
		return test();
	percent = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 100;
	if (percent > 0)
		fill_aside(argv[1], percent);
	(void)printf("written in %.2f s\n", now() - begin);
	measure(argv[1], &peak, &then);
	return 0;
}
