/* max_connections of a listener and global_max_connections of them all: a stream around a stream
 * that counts its end. Only listeners with a limit pay for it. */
#include "server/internal.h"

#include <stdlib.h>

/* mosquitto takes 0 for no limit, too, but only here. */
static int64_t
global_max(const struct listener *l)
{
	int64_t max = l->server->config->global_max_connections;

	return max > 0 ? max : -1;
}

static bool
count_below(_Atomic int64_t *count, int64_t max)
{
	if (max < 0 || atomic_fetch_add(count, 1) < max)
		return true;
	(void)atomic_fetch_sub(count, 1);
	return false;
}

bool
limit_applies(const struct listener *l)
{
	return l->config->max_connections >= 0 || global_max(l) >= 0;
}

bool
limit_take(struct listener *l, bool *ret_global)
{
	*ret_global = false;
	if (!count_below(&l->connections, l->config->max_connections))
		return false;
	*ret_global = true;
	if (count_below(&l->server->connections, global_max(l)))
		return true;
	if (l->config->max_connections >= 0)
		(void)atomic_fetch_sub(&l->connections, 1);
	return false;
}

void
limit_give_back(struct listener *l)
{
	if (l->config->max_connections >= 0)
		(void)atomic_fetch_sub(&l->connections, 1);
	if (global_max(l) >= 0)
		(void)atomic_fetch_sub(&l->server->connections, 1);
}

struct limited {
	struct listener *listener;
	void *inner;
	const struct stream_ops *ops;
};

static ptrdiff_t
limited_feed(void *self, struct slice in)
{
	struct limited *x = self;

	return x->ops->feed(x->inner, in);
}

static int
limited_pull(void *self, struct iovec *iov, int max)
{
	struct limited *x = self;

	return x->ops->pull(x->inner, iov, max);
}

static void
limited_sent(void *self)
{
	struct limited *x = self;

	x->ops->sent(x->inner);
}

static void
limited_closed(void *self, const char *why)
{
	struct limited *x = self;

	x->ops->closed(x->inner, why);
	limit_give_back(x->listener);
	free(x);
}

static void
limited_moved(void *self, void *ctx, const struct waker *w)
{
	struct limited *x = self;

	x->ops->moved(x->inner, ctx, w);
}

static const struct stream_ops limited_stream = {
	.feed = limited_feed,
	.pull = limited_pull,
	.sent = limited_sent,
	.closed = limited_closed,
	.moved = limited_moved,
};

void *
limit_new(struct listener *l, void *inner, const struct stream_ops *ops,
    const struct stream_ops **ret_ops)
{
	struct limited *x = malloc(sizeof(*x));

	if (x == NULL)
		return NULL;
	*x = (struct limited){ l, inner, ops };
	*ret_ops = &limited_stream;
	return x;
}
