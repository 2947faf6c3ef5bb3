/* One request to the running broker of this machine, over its control socket. */
#include "cli/ctl.h"

#include <errno.h>
#include <poll.h>
#include "base/file.h"
#include "base/num.h"
#include "cli/internal.h"
#include "cli/wire.h"
#include "link/link.h"
#include "server/server.h"

enum { TURN_MS = 10000, WAIT_S = 30 };

struct question {
	struct link_client *link;
	const char *command;
	const json_t *request;
	json_t *answer;
	unsigned wait_s;
	struct err *err;
	bool done, ok;
};

static void
finish(struct question *q, bool ok)
{
	q->ok = ok;
	q->done = true;
}

static void
on_answer(void *ctx, const struct link_reply *r)
{
	struct question *q = ctx;

	if (r->result == LINK_OK && (q->answer = json_deep_copy(r->answer)) == NULL)
		finish(q, err_set(q->err, ERR_MEMORY, "out of memory"));
	else if (r->result == LINK_OK)
		finish(q, true);
	else if (r->result == LINK_REFUSED)
		finish(q, err_set(q->err, ERR_INPUT, "the broker says: %s", r->error));
	else
		finish(q, err_set(q->err, ERR_SYSTEM, "%s", r->error));
}

static void
on_up(void *ctx, const json_t *hello)
{
	struct question *q = ctx;
	struct link_request r = { .command = q->command, .body = q->request, .now_ms = wire_now(), .timeout_ms = q->wait_s * 1000, .answer = on_answer, .ctx = q };

	(void)hello;
	if (!link_client_request(q->link, &r, q->err))
		finish(q, false);
}

static void
on_down(void *ctx, const char *why)
{
	struct question *q = ctx;

	if (!q->done)
		finish(q, err_set(q->err, ERR_SYSTEM, "%s; does the broker run? Only its user and root may ask it", why));
}

/* Until there is an answer; the first attempt is the only one. */
static bool
ask(struct question *q)
{
	while (!q->done) {
		struct pollfd p = { link_client_fd(q->link), link_client_wants(q->link), 0 };
		uint64_t now = wire_now(), due = link_client_due(q->link);
		int wait = due <= now ? 0 : (int)NUM_MIN(due - now, (uint64_t)TURN_MS);

		if (p.fd != -1 && poll(&p, 1, wait) == -1 && errno != EINTR)
			return err_sys(q->err, "poll");
		link_client_ready(q->link, p.revents, wire_now());
	}
	return q->ok;
}

bool
ctl_ask(const struct ctl *t, const char *command, const json_t *request, json_t **ret, struct err *err)
{
	char path[PKI_PATH_MAX], conf[PKI_PATH_MAX];
	const char *dir;
	struct question q = { .command = command, .request = request, .wait_s = t->wait_s > 0 ? t->wait_s : WAIT_S, .err = err };
	struct link_config c = { .path = t->socket, .name = "", .on = { .up = on_up, .down = on_down }, .ctx = &q };

	if (t->socket == NULL) {
		if (!site_dir(t->dir, &dir, err) || !path_join(conf, sizeof conf, dir, "signet.conf") ||
		    !server_control_path(conf, path, sizeof path, err))
			return false;
		c.path = path;
	}
	if ((q.link = link_client_new(&c)) == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	if (ask(&q))
		*ret = q.answer;
	else
		json_decref(q.answer);
	q.done = true; /* what the end says is not asked for */
	link_client_free(q.link);
	return q.ok;
}
