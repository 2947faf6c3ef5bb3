/* Where sessions, queues and retained messages outlive the process: opening the store, what is told of it, and its end. */
#include "server/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/file.h"
#include "base/secret.h"
#include "base/text.h"
#include "server/control.h"

struct persist {
	struct server *server;
	struct store *store;
	char dir[PKI_PATH_MAX]; /* as people know it */
	char real[PKI_PATH_MAX];   /* absolute, as it was found at the start; "": there is no such path, or it is too long */
	int fd;                    /* of the directory */
	pthread_mutex_t lock;      /* of <over> */
	bool over;                 /* the workers' loops are going */
	bool copying;              /* a backup is being made, under the lock */
	bool copied;               /* <copier> is to be joined */
	pthread_t copier;
	char copy_dir[PKI_PATH_MAX], copy_at[PKI_PATH_MAX]; /* as whoever asked finds it, and as we come there */
	bool copy_ours;            /* we have chosen it */
	struct broker_request *request; /* who asked for it */
};

/* Our own copies for a backup, in the store's folder: with the time behind it. Whoever asked takes what he wants of it within a day. */
#define COPY_PREFIX "backup-"
enum { COPY_KEPT_S = 86400 };

#define OLD_FILE "mosquitto.db" /* of mosquitto, without a persistence_file */

/* The store's thread: a worker's turn is on the disk. */
static void
on_wake(void *ctx, unsigned writer)
{
	struct persist *p = ctx;

	(void)pthread_mutex_lock(&p->lock);
	if (!p->over && p->server->workers != NULL && p->server->workers[writer].loop != NULL)
		loop_wake(p->server->workers[writer].loop);
	(void)pthread_mutex_unlock(&p->lock);
}

static void
say_state(const struct persist *p, const struct store_event *e)
{
	struct alarm a = { .source = ALARMS_OF_STORE, .error = true };
	char text[PKI_PATH_MAX + 512];

	a.text = text;
	switch (e->state) {
	case STORE_READY:
		log_notice("The store %s takes messages again.", p->dir);
		break;
	case STORE_FULL:
		(void)snprintf(text, sizeof(text), "the store %s is full: %s. Publishers of QoS 1 and 2 are refused until there is space", p->dir, e->text);
		a.kind = ALARM_STORE_FULL;
		break;
	case STORE_FAILED:
		(void)snprintf(text, sizeof(text), "the store %s cannot be written: %s. Nothing is acknowledged until it can; what is kept is still delivered",
		    p->dir, e->text);
		a.kind = ALARM_STORE_FAILED;
		break;
	}
	/* Each change is said, however short the last time was ago. */
	if (e->state != STORE_READY) {
		log_error("ALARM: %s.", text);
		(void)board_raise(p->server->board, &a);
	}
	(void)board_settle(p->server->board, ALARMS_OF_STORE);
}

static void
on_event(void *ctx, const struct store_event *e)
{
	struct persist *p = ctx;

	switch (e->kind) {
	case STORE_EVENT_STATE:
		say_state(p, e);
		/* Whoever waits for it need not be one whose turn is durable now. */
		for (unsigned i = 0; i < p->server->n_workers; i++)
			on_wake(ctx, i);
		break;
	case STORE_EVENT_TAIL:
		log_warning("Store %s: %s at byte %" PRIu64 ": the end was not written completely and is cut off; nothing of it was acknowledged.",
		    p->dir, e->file, e->offset);
		break;
	case STORE_EVENT_DAMAGE:
		log_error("ALARM: store %s: %s is damaged at byte %" PRIu64 ": %" PRIu64 " records are lost (%s); everything else is recovered. "
			  "`signet store check` shows the places, a backup has what was there.",
		    p->dir, e->file, e->offset, e->records, e->text);
		break;
	case STORE_EVENT_NO_BODY:
		log_error("ALARM: store %s: a message was damaged and is lost.", p->dir);
		break;
	case STORE_EVENT_UNREADABLE:
		log_error("ALARM: store %s: %s: its space is not reclaimed until it can be read. Everything is served meanwhile; if the disk is "
			  "failing, make a backup (`signet backup`) to another one.", p->dir, e->text);
		break;
	case STORE_EVENT_NO_CLEAN:
		log_error("Store %s: space is not reclaimed any more: %s.", p->dir, e->text);
		break;
	}
}

/* How the file is imported, as a person may type it. */
static void
say_command(const struct persist *p, const char *old, char *out, size_t cap)
{
	const struct config *c = p->server->config;
	size_t n;

	(void)snprintf(out, cap, "signet store import %s", old);
	n = strlen(out);
	if (c->persistence_key_file != NULL)
		(void)snprintf(out + n, cap - n, " --key-file %s", c->persistence_key_file);
	n = strlen(out);
	if (p->server->privileges.drop)
		(void)snprintf(out + n, cap - n, " && chown -R %s %s", p->server->privileges.name, p->dir);
}

/* Where the store is. What mosquitto kept there and nobody has imported yet would be lost to all clients, silently and for good, if we
 * began with nothing beside it: so we do not. */
static bool
find_dir(struct persist *p, const char *at, struct err *err)
{
	const char *name = p->server->config->persistence_file;
	char old[PKI_PATH_MAX], dir[PKI_PATH_MAX], command[2 * PKI_PATH_MAX + 512];
	struct stat st;
	bool fits;

	name = name != NULL ? name : OLD_FILE;
	fits = strcmp(name, OLD_FILE) == 0 ? text_copy(dir, sizeof(dir), SL("signet.store")) :
					     snprintf(dir, sizeof(dir), "%s.store", name) < (int)sizeof(dir);
	if (!fits || !path_join(p->dir, sizeof(p->dir), at, dir) || !path_join(old, sizeof(old), at, name))
		return err_set(err, ERR_LIMIT, "persistence_location: %s: the path is too long", at);
	if (stat(p->dir, &st) == 0 || stat(old, &st) == -1 || !S_ISREG(st.st_mode) || st.st_size == 0)
		return true;
	say_command(p, old, command, sizeof(command));
	log_error("%s is what mosquitto kept, and there is no store yet. Take it over with: %s", old, command);
	return err_set(err, ERR_EXISTS, "%s is what mosquitto kept: import it (the log has the command), or move it away to begin with nothing",
	    old);
}

/* Make it, if it is missing, for the user that we are going to be. */
static bool
make_dir(struct persist *p, const struct privileges *who, struct err *err)
{
	bool made = mkdir(p->dir, 0700) == 0;
	char real[PATH_MAX];
	struct stat st;

	if (!made && errno != EEXIST)
		return err_sys(err, "cannot make the directory %s for the store", p->dir);
	p->fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (p->fd == -1 || fstat(p->fd, &st) == -1)
		return err_sys(err, "cannot open the directory %s of the store", p->dir);
	if (realpath(p->dir, real) == NULL || !text_copy(p->real, sizeof(p->real), slice_str(real)))
		p->real[0] = '\0';
	if (who->drop && made && fchown(p->fd, who->uid, who->gid) == -1)
		return err_sys(err, "cannot give the directory %s to user %s", p->dir, who->name);
	if (who->drop && !made && st.st_uid != who->uid)
		return err_set(err, ERR_DENIED, "the store %s does not belong to user %s, as whom the broker runs: chown -R %s %s", p->dir,
		    who->name, who->name, p->dir);
	return true;
}

/* The file that has the key, as configured or as systemd's LoadCredential=signet-store-key:… brings it; *ret NULL: there is none. One
 * that is there and cannot be opened is no reason to write without it. */
static bool
key_file(const struct config *c, char room[PKI_PATH_MAX], const char **ret, struct err *err)
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");

	*ret = c->persistence_key_file;
	if (*ret != NULL || dir == NULL)
		return true;
	if (!path_join(room, PKI_PATH_MAX, dir, "signet-store-key"))
		return err_set(err, ERR_LIMIT, "CREDENTIALS_DIRECTORY: the path is too long");
	if (access(room, F_OK) == 0)
		*ret = room;
	else if (errno != ENOENT && errno != ENOTDIR)
		return err_sys(err, "cannot look for the credential %s", room);
	return true;
}

/* Whoever asked for them has died over it, or has what he wanted long since. */
static void
remove_old_copies(const struct persist *p, const char *dir)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	char path[PKI_PATH_MAX];
	uint64_t made, now = (uint64_t)time(NULL);
	size_t n = strlen(COPY_PREFIX);

	while (d != NULL && (e = readdir(d)) != NULL) {
		if (strncmp(e->d_name, COPY_PREFIX, n) != 0 || !text_u64(slice_str(e->d_name + n), 1, now, &made) || now - made < COPY_KEPT_S ||
		    !path_join(path, sizeof(path), dir, e->d_name))
			continue;
		if (dir_remove(path))
			log_notice("Store %s: the copy %s of an earlier backup is removed.", p->dir, e->d_name);
		else
			log_warning("Store %s: the copy %s of an earlier backup cannot be removed: %s.", p->dir, e->d_name, strerror(errno));
	}
	if (d != NULL)
		(void)closedir(d);
}

static bool
open_store(struct persist *p, const struct privileges *who, struct err *err)
{
	const struct config *c = p->server->config;
	uint8_t key[STORE_KEY_BYTES] = { 0 };
	char dir[64], room[PKI_PATH_MAX];
	const char *file;
	struct store_options o = { .dir = p->dir, .n_writers = p->server->n_workers, .refuse_damage = c->persistence_damage == 1, .ctx = p,
		.wake = on_wake, .event = on_event };

	if (!key_file(c, room, &file, err))
		return false;
	if (file != NULL) {
		if (!store_key_read(file, key, err))
			return err_prefix(err, file == room ? "credential signet-store-key" : "persistence_key_file");
		o.key = slice_of(key, sizeof(key));
	}
	/* The user that we are going to be may not come here by name: the directories above are not his business. */
	if (who->drop) {
		(void)snprintf(dir, sizeof(dir), "/proc/self/fd/%d", p->fd);
		o.dir = dir;
	}
	if (privileges_borrow(who, err)) {
		p->store = store_open(&o, err);
		if (p->store != NULL)
			remove_old_copies(p, o.dir);
		privileges_return(who);
	}
	secret_wipe(key, sizeof(key));
	return p->store != NULL || err_prefix(err, "store %s", p->dir);
}

bool
persist_open(struct server *s, struct err *err)
{
	const char *at = s->config->persistence_location != NULL ? s->config->persistence_location : ".";
	struct persist *p;

	if (!s->config->persistence) {
		log_notice("persistence false: nothing is kept on the disk. Sessions, what waits for them, retained messages, wills, and which certificates have "
			   "a successor end with this process; an acknowledgement says no more than that it has them now.");
		return true;
	}
	if ((p = calloc(1, sizeof(*p))) == NULL || pthread_mutex_init(&p->lock, NULL) != 0) {
		free(p);
		return err_set(err, ERR_MEMORY, "out of memory");
	}
	p->server = s;
	p->fd = -1;
	s->persist = p;
	if (!dir_make(at, 0755, err))
		return err_prefix(err, "persistence_location");
	return find_dir(p, at, err) && make_dir(p, &s->privileges, err) && open_store(p, &s->privileges, err);
}

struct store *
persist_store(const struct server *s)
{
	return s->persist != NULL ? s->persist->store : NULL;
}

bool
persist_recover(struct server *s, struct err *err)
{
	struct broker_recovered got;
	uint64_t begin = server_now_ms();

	if (persist_store(s) == NULL)
		return true;
	if (!broker_recover(s->broker, begin, &got, err))
		return err_prefix(err, "store %s", s->persist->dir);
	log_notice("Store %s: %" PRIu64 " sessions with %" PRIu64 " subscriptions, %" PRIu64 " messages for them, %" PRIu64
		   " retained messages; read in %" PRIu64 " ms.",
	    s->persist->dir, got.sessions, got.subscriptions, got.messages, got.retained, server_now_ms() - begin);
	if (got.homeless > 0)
		log_warning("Store %s: %" PRIu64 " sessions belong to listeners that are not configured any more; what comes for them waits, and is judged "
			    "by the listener that their clients come to.", s->persist->dir, got.homeless);
	if (got.rejected > 0)
		log_warning("Store %s: %" PRIu64 " records belong to nothing and are removed.", s->persist->dir, got.rejected);
	return true;
}

bool
persist_start(struct server *s, struct err *err)
{
	return persist_store(s) == NULL || store_start(s->persist->store, err);
}

/* ---- backup ---- */

static void *
copy_store(void *ctx)
{
	struct persist *p = ctx;
	uint64_t begin = server_now_ms();
	struct store_stats stats;
	struct err err;
	bool ok = store_backup(p->store, p->copy_at, &err);
	json_t *out;

	store_stats(p->store, &stats);
	if (ok) {
		log_notice("Store %s: a backup is in %s.", p->dir, p->copy_dir);
		out = json_pack("{s:s,s:I,s:I}", "dir", p->copy_dir, "bytes", (json_int_t)stats.log_bytes, "ms",
		    (json_int_t)(server_now_ms() - begin));
	} else {
		log_error("Store %s: the backup failed: %s", p->dir, err.text);
		out = json_pack("{s:s}", "error", err.text);
		if (p->copy_ours)
			(void)dir_remove(p->copy_at);
	}
	(void)pthread_mutex_lock(&p->lock);
	p->copying = false;
	(void)pthread_mutex_unlock(&p->lock);
	control_answer(p->request, out);
	return NULL;
}

/* The copier is there, or NULL what is against it. Under the lock. */
static const char *
copy_start(struct persist *p, struct broker_request *r)
{
	if (p->copied)
		(void)pthread_join(p->copier, NULL); /* it has nothing left to do */
	p->request = r;
	p->copied = p->copying = pthread_create(&p->copier, NULL, copy_store, p) == 0;
	return p->copied ? NULL : "there is no thread for it: out of memory, or a limit on processes";
}

static const char *
named_place(struct persist *p, const char *dir)
{
	if (dir == NULL || dir[0] != '/')
		return "dir must be an absolute path";
	p->copy_ours = false;
	if (!text_copy(p->copy_dir, sizeof(p->copy_dir), slice_str(dir)) || !text_copy(p->copy_at, sizeof(p->copy_at), slice_str(dir)))
		return "the path is too long";
	return NULL;
}

/* Nobody said where: within the store, where the broker may write and all of it is one file system. The user that we are may not come
 * there by name. */
static const char *
own_place(struct persist *p)
{
	long long now = (long long)time(NULL);

	if (p->real[0] == '\0' || snprintf(p->copy_dir, sizeof(p->copy_dir), "%s/" COPY_PREFIX "%lld", p->real, now) >= (int)sizeof(p->copy_dir))
		return "the store's path is too long, or was not known at the start: name a dir for the copy";
	(void)snprintf(p->copy_at, sizeof(p->copy_at), "/proc/self/fd/%d/" COPY_PREFIX "%lld", p->fd, now);
	p->copy_ours = access(p->copy_at, F_OK) == -1;
	return NULL;
}

bool
control_backup(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out)
{
	struct persist *p = s->persist;
	const json_t *dir = json_object_get(in, "dir");
	const char *why;

	if (persist_store(s) == NULL) {
		*ret_out = control_error("no-store", "persistence is false: there is no store");
		return false;
	}
	(void)pthread_mutex_lock(&p->lock);
	if (p->copying || p->over)
		why = "a backup is being made already";
	else
		why = dir == NULL ? own_place(p) : named_place(p, json_string_value(dir));
	if (why == NULL)
		why = copy_start(p, r);
	(void)pthread_mutex_unlock(&p->lock);
	if (why != NULL)
		*ret_out = control_error("argument", why);
	return why == NULL;
}

void
persist_quiet(struct server *s)
{
	if (s->persist == NULL)
		return;
	(void)pthread_mutex_lock(&s->persist->lock);
	s->persist->over = true;
	(void)pthread_mutex_unlock(&s->persist->lock);
	/* Whoever asked for it is answered while there is a broker. */
	if (s->persist->copied)
		(void)pthread_join(s->persist->copier, NULL);
	s->persist->copied = false;
}

void
persist_close(struct server *s)
{
	struct persist *p = s->persist;

	if (p == NULL)
		return;
	if (!store_close(p->store))
		log_error("Store %s: what was not acknowledged yet could not be written.", p->dir);
	if (p->fd != -1)
		(void)close(p->fd);
	(void)pthread_mutex_destroy(&p->lock);
	free(p);
	s->persist = NULL;
}
