/* Answers without an end. */
#include <event2/bufferevent.h>

#include "api/chan.h"
#include "base/num.h"

enum { STREAM_MAX = 512 * 1024 }; /* bytes that wait for the reader */

bool
chan_stream(struct chan *c, const char *type, struct evbuffer *headers)
{
	struct reply r = { .status = 200, .type = type, .headers = headers, .close = true, .endless = true };
	int64_t left = c->call->actor.expires - api_now(c->listener->api);

	reply_write(bufferevent_get_output(c->bev), &r);
	c->state = CHAN_STREAM;
	(void)bufferevent_enable(c->bev, EV_READ);
	if (c->call->actor.expires == 0)
		(void)evtimer_del(c->deadline);
	else
		chan_deadline(c, (unsigned)NUM_MAX(left, 0));
	return true;
}

void
chan_stream_end(struct chan *c)
{
	if (c->state != CHAN_STREAM)
		return;
	c->state = CHAN_LAST;
	chan_deadline(c, 0);
}

bool
chan_stream_put(struct chan *c, struct slice s)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);

	if (c->state != CHAN_STREAM)
		return false;
	if (evbuffer_get_length(out) + s.n <= STREAM_MAX && evbuffer_add(out, s.p, s.n) == 0)
		return true;
	chan_stream_end(c);
	return false;
}
