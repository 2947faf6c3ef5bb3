/* max_connections of a listener: a stream around a stream that counts its end. Only listeners with
 * a limit pay for it. */
#include "server/internal.h"

#include <stdlib.h>

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
	(void)atomic_fetch_sub(&x->listener->connections, 1);
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
