/* Revocation lists are taken over as soon as their files change, without a signal: a thread reads them, lets pki decide what may
 * take the place of what, and tells the broker whose right is gone. What is wrong with them is an alarm, said loudly and counted. */
#include "server/internal.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "base/num.h"
#include "base/text.h"

enum {
	LOOK_MS = 60000,      /* without news: file systems that send none, and lists that grow old */
	BLIND_MS = 2000,      /* the same when there is no inotify */
	QUIET_MS = 10,        /* a writer that writes several files has so long between two */
	AGAIN_MS = 250,       /* a file that may be half written */
	YOUNG_NS = 1000000000, /* and is no younger than this when it is said to be damaged */
	NEWS_MAX = 4096,      /* more revocations at a time: everybody is judged */
	SOON_MAX_S = 3 * 86400,
	TEXT_CAP = 640,
};

struct watched {
	uint64_t files; /* what they looked like when they were read; 0: not yet */
	unsigned complaints;
};

struct watch {
	struct server *s;
	pthread_mutex_t lock; /* a look, or a reload */
	pthread_t thread;
	bool started;
	int inotify, wake;
	atomic_bool stop, renew; /* renew: after a reload */
	struct watched *listeners;
	bool again; /* a file may be half written */
};

/* ---- alarms ---- */

static void
raise_alarm(const struct watch *w, struct alarm *a)
{
	a->source = ALARMS_OF_LISTS;
	a->key = map_hash(slice_str(a->text));
	board_say(w->s->board, a);
}

static void
settle_alarms(const struct watch *w)
{
	unsigned old = board_count(w->s->board, ALARMS_OF_LISTS);

	if (board_settle(w->s->board, ALARMS_OF_LISTS) == 0 && old > 0)
		log_notice("The revocation lists are in order again.");
}

static void
say_ocsp(void *ctx, const char *text)
{
	raise_alarm(ctx, &(struct alarm){ .kind = ALARM_OCSP, .error = true, .text = text });
}

struct saying {
	const struct watch *w;
	const struct listener *l;
	int64_t grace;
};

static void
say_complaint(void *ctx, const char *text)
{
	const struct saying *x = ctx;
	char line[TEXT_CAP];

	(void)snprintf(line, sizeof(line), "listener %s: %s", x->l->config->name, text);
	raise_alarm(x->w, &(struct alarm){ .kind = ALARM_CRL, .error = true, .text = line,
			     .remedy = "repair, replace or remove what is in crlfile; until then the lists that were read before are in force" });
}

/* A list that ends soon or has ended locks its CA's clients out, now or then: nobody shall learn that from them. */
static void
say_age(void *ctx, const struct pki_crl *crl)
{
	const struct saying *x = ctx;
	int64_t now = (int64_t)time(NULL), soon, refuse = crl->next;
	char line[TEXT_CAP], when[32], then[32];
	bool over = crl->next <= now;

	if (crl->next == INT64_MAX)
		return;
	soon = NUM_MIN((crl->next - crl->last) / 4, (int64_t)SOON_MAX_S);
	if (crl->next - soon > now)
		return;
	(void)num_add(refuse, x->grace, &refuse);
	(void)snprintf(line, sizeof(line), "listener %s: the CRL of CA %.200s %s at %s; %s (%s)", x->l->config->name, crl->issuer,
	    over ? "expired" : "expires", text_when(crl->next, when),
	    refuse > now ? "from then, or the end of crl_grace, on all clients of this CA are refused"
			 : "all new clients of this CA are refused until there is a new one",
	    text_when(refuse, then));
	raise_alarm(x->w, &(struct alarm){ .kind = ALARM_CRL, .error = over, .text = line });
}

/* ---- what the files look like ---- */

static void
mix(uint64_t *sum, const void *p, size_t n)
{
	struct {
		uint64_t sum, of;
	} both = { *sum, map_hash(slice_of(p, n)) };

	*sum = map_hash(slice_of(&both, sizeof(both))) | 1;
}

static void
mix_stat(uint64_t *sum, const struct stat *st, bool *ret_young)
{
	int64_t v[] = { (int64_t)st->st_dev, (int64_t)st->st_ino, st->st_size, st->st_mtim.tv_sec, st->st_mtim.tv_nsec,
		st->st_ctim.tv_sec, st->st_ctim.tv_nsec };
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
	mix(sum, v, sizeof(v));
	if ((now.tv_sec - st->st_ctim.tv_sec) * 1000000000 + now.tv_nsec - st->st_ctim.tv_nsec < YOUNG_NS)
		*ret_young = true;
}

/* The file, or all files of the directory; 1 when there is none. */
uint64_t
watch_looks(const char *path, bool *ret_young)
{
	uint64_t sum = 1;
	struct stat st;
	char full[PKI_PATH_MAX];
	DIR *d;

	if (stat(path, &st) == -1)
		return sum;
	if (!S_ISDIR(st.st_mode)) {
		mix_stat(&sum, &st, ret_young);
		return sum;
	}
	d = opendir(path);
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		uint64_t one = 1;

		if (e->d_name[0] == '.' || !path_join(full, sizeof(full), path, e->d_name) || stat(full, &st) == -1)
			continue;
		mix(&one, e->d_name, strlen(e->d_name));
		mix_stat(&one, &st, ret_young);
		sum ^= one; /* in whatever order they come */
	}
	if (d != NULL)
		(void)closedir(d);
	return sum | 1;
}

/* ---- taking over ---- */

struct news {
	struct broker_suspect *v;
	size_t n;
};

static bool
on_news(void *ctx, const uint8_t key[32], struct slice serial)
{
	struct news *n = ctx;
	struct broker_suspect *s = &n->v[n->n];

	if (n->n == NEWS_MAX)
		return false;
	memcpy(s->issuer_key, key, 32);
	s->serial_n = (uint8_t)serial.n;
	memcpy(s->serial, serial.p, serial.n);
	n->n++;
	return true;
}

static void
tell_broker(struct watch *w, const struct pki_trust *old, const struct pki_trust *now)
{
	struct news n = { calloc(NEWS_MAX, sizeof(*n.v)), 0 };
	bool exact = n.v != NULL && pki_trust_news(old, now, on_news, &n);

	if (!exact)
		log_info("Revocation lists: everybody who is connected is judged by them.");
	if ((!exact || n.n > 0) && !broker_judge_again(w->s->broker, exact ? n.v : NULL, exact ? n.n : 0))
		log_error("Out of memory: who is connected was not judged by the new revocation lists; reload the broker.");
	free(n.v);
}

struct count {
	uint64_t lists, entries;
};

static void
count_crl(void *ctx, const struct pki_crl *c)
{
	struct count *n = ctx;

	n->lists++;
	n->entries += c->revoked;
}

static void
count_complaint(void *ctx, const char *text)
{
	(void)text;
	++*(unsigned *)ctx;
}

/* The new one everywhere, then the broker. Takes <now>. */
static void
install(struct watch *w, unsigned index, struct pki_trust *now)
{
	struct server *s = w->s;
	struct pki_trust *old;
	struct count n = { 0 };
	bool same;

	judge_set_trust(&s->judges[index], now);
	(void)pthread_mutex_lock(&s->lock);
	old = s->world->listeners[index].trust;
	s->world->listeners[index].trust = now;
	(void)pthread_mutex_unlock(&s->lock);
	same = pki_trust_same_crls(old, now);
	if (!same) {
		pki_trust_crls(now, count_crl, &n);
		log_notice("Listener %s: new revocation lists are in force (%llu, with %llu entries).", s->listeners[index].config->name,
		    (unsigned long long)n.lists, (unsigned long long)n.entries);
		tell_broker(w, old, now);
	}
	pki_trust_unref(old);
}

/* Another listener that has just read the same file. */
static const struct pki_trust *
who_else(const struct watch *w, unsigned index, const char *file)
{
	const struct server *s = w->s;
	unsigned i;

	for (i = 0; i < s->n_listeners; i++)
		if (i != index && s->world->listeners[i].crl_file != NULL && strcmp(s->world->listeners[i].crl_file, file) == 0)
			return s->world->listeners[i].trust;
	return NULL;
}

static void
look_at_listener(struct watch *w, unsigned index)
{
	struct server *s = w->s;
	const char *file = s->world->listeners[index].crl_file;
	struct saying say = { .w = w, .l = &s->listeners[index], .grace = s->world->listeners[index].crl_grace };
	struct watched *x = &w->listeners[index];
	bool young = false;
	struct err err = { 0 };
	struct pki_trust *now;
	uint64_t looks;

	if (file == NULL || s->world->listeners[index].trust == NULL)
		return;
	looks = watch_looks(file, &young);
	if (looks != x->files) {
		now = pki_trust_renew(s->world->listeners[index].trust, who_else(w, index, file), 0, &err);
		if (now == NULL) {
			log_error("Listener %s: %s: %s.", s->listeners[index].config->name, file, err.text);
			w->again = true;
			return;
		}
		x->complaints = 0;
		pki_trust_complaints(now, count_complaint, &x->complaints);
		/* Perhaps only half of it is there: it is looked at again before anything is said. */
		if (x->complaints > 0 && young)
			w->again = true;
		else
			x->files = looks;
		install(w, index, now);
	}
	if (x->files == looks)
		pki_trust_complaints(s->world->listeners[index].trust, say_complaint, &say);
	pki_trust_crls(s->world->listeners[index].trust, say_age, &say);
}

static void
look(struct watch *w)
{
	unsigned i;

	(void)pthread_mutex_lock(&w->lock);
	w->again = false;
	for (i = 0; i < w->s->n_listeners; i++)
		look_at_listener(w, i);
	w->again = staples_look(w->s->staples) || w->again;
	ocsp_complaints(w->s->ocsp, say_ocsp, w);
	staples_complaints(w->s->staples, say_ocsp, w);
	if (!w->again)
		settle_alarms(w);
	(void)pthread_mutex_unlock(&w->lock);
}

/* ---- news of the file system ---- */

static void
watch_path(const struct watch *w, const char *path)
{
	static const uint32_t mask = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB |
				     IN_DELETE_SELF | IN_MOVE_SELF;
	char dir[PKI_PATH_MAX];
	const char *slash = strrchr(path, '/');
	struct stat st;

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode) && inotify_add_watch(w->inotify, path, mask) == -1)
		log_debug("Cannot watch %s: %s.", path, strerror(errno));
	/* Files are replaced more often than written: the directory knows. */
	if (slash == NULL)
		(void)snprintf(dir, sizeof(dir), ".");
	else
		(void)snprintf(dir, sizeof(dir), "%.*s", slash == path ? 1 : (int)(slash - path), path);
	if (inotify_add_watch(w->inotify, dir, mask) == -1)
		log_warning("Cannot watch %s: %s; changes of %s are noticed within a minute.", dir, strerror(errno), path);
}

static void
watch_paths(struct watch *w)
{
	unsigned i;

	if (w->inotify != -1)
		(void)close(w->inotify);
	w->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	(void)pthread_mutex_lock(&w->lock);
	for (i = 0; i < w->s->n_listeners; i++) {
		w->listeners[i].files = 0;
		if (w->inotify != -1 && w->s->world->listeners[i].crl_file != NULL)
			watch_path(w, w->s->world->listeners[i].crl_file);
		if (w->inotify != -1 && w->s->world->listeners[i].staple_file != NULL)
			watch_path(w, w->s->world->listeners[i].staple_file);
	}
	(void)pthread_mutex_unlock(&w->lock);
}

/* Read away what is there. */
static void
drain(const struct watch *w)
{
	char buf[4096] __attribute__((aligned(8)));

	while (w->inotify != -1 && read(w->inotify, buf, sizeof(buf)) > 0)
		;
	while (read(w->wake, buf, sizeof(uint64_t)) > 0)
		;
}

static bool
wait_for_news(const struct watch *w, int ms)
{
	struct pollfd p[2] = { { .fd = w->wake, .events = POLLIN }, { .fd = w->inotify, .events = POLLIN } };
	int n = poll(p, 2, ms);

	if (n > 0)
		drain(w);
	return n > 0;
}

static void *
thread_main(void *arg)
{
	struct watch *w = arg;

	watch_paths(w);
	while (!atomic_load(&w->stop)) {
		if (atomic_exchange(&w->renew, false))
			watch_paths(w);
		look(w);
		if (wait_for_news(w, w->again ? AGAIN_MS : w->inotify == -1 ? BLIND_MS : LOOK_MS))
			(void)wait_for_news(w, QUIET_MS);
	}
	return NULL;
}

/* ---- life ---- */

struct watch *
watch_new(struct server *s, struct err *err)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (w != NULL)
		w->listeners = calloc(s->n_listeners, sizeof(*w->listeners));
	if (w == NULL || w->listeners == NULL || pthread_mutex_init(&w->lock, NULL) != 0) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		free(w != NULL ? w->listeners : NULL);
		free(w);
		return NULL;
	}
	w->s = s;
	w->inotify = -1;
	w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->wake != -1)
		return w;
	(void)err_sys(err, "cannot make an eventfd");
	watch_free(w);
	return NULL;
}

bool
watch_start(struct watch *w, struct err *err)
{
	int no = pthread_create(&w->thread, NULL, thread_main, w);

	if (no != 0)
		return err_set(err, ERR_SYSTEM, "cannot start the thread that watches files: %s", strerror(no));
	w->started = true;
	(void)pthread_setname_np(w->thread, "watch"); /* only for people who look with top */
	return true;
}

static void
poke(struct watch *w)
{
	uint64_t one = 1;

	/* A counter that is full wakes as well. */
	if (write(w->wake, &one, sizeof(one)) == -1 && errno != EAGAIN)
		log_debug("eventfd: %s.", strerror(errno));
}

void
watch_look(struct watch *w)
{
	if (w != NULL)
		poke(w);
}

void
watch_hold(struct watch *w)
{
	(void)pthread_mutex_lock(&w->lock);
}

void
watch_release(struct watch *w)
{
	(void)pthread_mutex_unlock(&w->lock);
	atomic_store(&w->renew, true);
	poke(w);
}

void
watch_free(struct watch *w)
{
	if (w == NULL)
		return;
	atomic_store(&w->stop, true);
	if (w->started) {
		poke(w);
		(void)pthread_join(w->thread, NULL);
	}
	if (w->inotify != -1)
		(void)close(w->inotify);
	if (w->wake != -1)
		(void)close(w->wake);
	(void)pthread_mutex_destroy(&w->lock);
	free(w->listeners);
	free(w);
}
