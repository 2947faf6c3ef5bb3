/* Mount points: what the clients of a listener call "t" is "MOUNT" + "t" to everybody else. Put in front where a topic comes in,
 * before anything is judged; taken off where a message goes out (outq.c). */
#include "broker/internal.h"

static struct slice
mount_of(const struct shard *sh, unsigned listener)
{
	return slice_str(listener_of(sh, listener)->mount_point);
}

bool
mount_name_of(const struct shard *sh, unsigned listener, struct slice *topic)
{
	struct slice mount = mount_of(sh, listener);
	struct wr w = wr_of(sh->mounted, MOUNTED_MAX);

	if (mount.n == 0)
		return true;
	wr_bytes(&w, mount);
	wr_bytes(&w, *topic);
	*topic = slice_of(sh->mounted, wr_len(&w));
	return wr_ok(&w) && topic_name_ok(*topic);
}

bool
mount_name(const struct client *c, struct slice *topic)
{
	return mount_name_of(c->shard, c->listener, topic);
}

bool
mount_filter_of(const struct shard *sh, unsigned listener, struct slice *filter)
{
	struct slice mount = mount_of(sh, listener), name, inner = *filter;
	struct wr w = wr_of(sh->mounted, MOUNTED_MAX);
	enum topic_share share;

	if (mount.n == 0)
		return true;
	/* The group is the mount point's own, as its filter is. */
	share = topic_share_split(*filter, &name, &inner);
	wr_bytes(&w, slice_of(filter->p, filter->n - inner.n));
	wr_bytes(&w, mount);
	wr_bytes(&w, inner);
	*filter = slice_of(sh->mounted, wr_len(&w));
	if (!wr_ok(&w))
		return false;
	/* "mount#" is none: a mount point that does not end in '/' is the beginning of the first level. */
	return share == TOPIC_SHARE_YES ? topic_share_split(*filter, &name, &inner) == TOPIC_SHARE_YES : topic_filter_ok(*filter);
}

bool
mount_filter(const struct client *c, struct slice *filter)
{
	return mount_filter_of(c->shard, c->listener, filter);
}

bool
mount_sees(const struct session *s, struct slice topic)
{
	struct slice mount = mount_of(s->shard, s->listener);

	return mount.n == 0 || (topic.n > mount.n && slice_starts(topic, mount));
}
