/* signet serve and files that are others now: a CA that somebody has brought, a certificate that is new. */
#include "server/serve.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "base/map.h"

/* ---- who reads what ---- */

static void
open_to_broker(struct serve *s, const struct config *c)
{
	char why[REREAD_WHY_MAX];
	bool blind = !reread_prepare(c, &s->broker, s->dir, why);

	if (blind && !s->broker_blind)
		log_warning("The broker cannot read all of its files again: %s. So it knows other files, and CAs that come, after its next start only; for a new "
			    "certificate of its own it is started again, which ends all connections. Remedy: give it a user of its own (useradd --system signet, or user), "
			    "who may read them.", why);
	s->broker_blind = blind;
}

void
serve_news_open(struct serve *s)
{
	const struct server_options o = { .config_file = s->file };
	struct err ignored;
	struct config *c;

	if (!s->broker.drop)
		return;
	/* What is wrong with it says the broker. */
	c = config_load(&o, &ignored);
	open_to_broker(s, c != NULL ? c : s->config);
	config_free(c);
}

void
serve_news_tell(struct serve *s, struct serve_child *c)
{
	c->stale = c->pid != 0 && !c->ready;
	if (!c->ready || c->told)
		return;
	if (c->role == SERVE_CONTROL ? s->control_drops : s->broker_blind) {
		log_notice("The %s is started again, so that it reads its files.", c->name);
		serve_ask_to_end(c);
	} else {
		(void)kill(c->pid, SIGHUP);
	}
}

/* ---- CAs that come meanwhile ---- */

struct key_look {
	const char *dir;
	uint64_t sum;
};

static void
add_ca(void *ctx, const char *name)
{
	struct key_look *l = ctx;
	char key[PKI_PATH_MAX + 64], uri[PKI_PATH_MAX + 64];

	(void)snprintf(key, sizeof(key), "%s/pki/%s/key.pem", l->dir, name);
	(void)snprintf(uri, sizeof(uri), "%s/pki/%s/key.uri", l->dir, name);
	if (access(key, F_OK) == 0 || access(uri, F_OK) == 0)
		l->sum += map_hash(slice_str(name));
}

static uint64_t
cas_with_keys(const struct serve *s)
{
	struct key_look l = { s->dir, 0 };

	(void)pki_each_ca(s->dir, add_ca, &l, NULL);
	return l.sum;
}

/* Who adds a CA holds this lock from before he writes ca.pem until its line is in the configuration. */
static bool
nobody_writes(const struct serve *s)
{
	char path[PKI_PATH_MAX];
	int fd = path_join(path, sizeof(path), s->dir, "pki") ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	bool ok = fd == -1 || flock(fd, LOCK_SH | LOCK_NB) == 0;

	if (fd != -1)
		(void)close(fd);
	return ok;
}

static bool
cas_are_new(struct serve *s)
{
	char path[PKI_PATH_MAX];
	struct stat st;

	if (!path_join(path, sizeof(path), s->dir, "pki/ca.pem") || stat(path, &st) == -1)
		return false;
	if (st.st_ino != s->cas_seen.st_ino || st.st_mtim.tv_sec != s->cas_seen.st_mtim.tv_sec || st.st_mtim.tv_nsec != s->cas_seen.st_mtim.tv_nsec) {
		s->cas_new = s->cas_seen.st_ino != 0;
		s->cas_seen = st;
	}
	if (!s->cas_new || !nobody_writes(s))
		return false;
	s->cas_new = false;
	return true;
}

void
serve_news_begin(struct serve *s)
{
	s->cas_with_keys = cas_with_keys(s);
	(void)cas_are_new(s);
	open_to_broker(s, s->config);
}

void
serve_news_turn(struct serve *s)
{
	uint64_t keys;

	if (s->stopping || !s->announced || !cas_are_new(s))
		return;
	keys = cas_with_keys(s);
	log_notice("There is another CA: %s.", keys != s->cas_with_keys ? "who has to know it is told, and signer and control are started again" : "who has to know it is told");
	/* Control follows the signer. */
	if (keys != s->cas_with_keys)
		serve_ask_to_end(&s->children[SERVE_SIGNER]);
	else
		serve_news_tell(s, &s->children[SERVE_CONTROL]);
	s->cas_with_keys = keys;
	serve_news_open(s);
	if (s->broker_blind)
		log_warning("The broker cannot read its files again: it trusts the new CA after its next start.");
	else
		serve_news_tell(s, &s->children[SERVE_BROKER]);
}
