/* The one seam between bytes and protocols. Whoever owns a socket feeds a stream and pulls from it;
 * whoever speaks a protocol implements these functions and never sees a file descriptor.
 *
 * All calls for one stream come from the one thread that owns it at that time. */
#ifndef BASE_STREAM_H
#define BASE_STREAM_H

#include <sys/uio.h>
#include "base/slice.h"

enum { STREAM_CLOSE = -1 };

struct waker;

struct stream_ops {
	/* Take what can be used of <in>; the bytes not used come again, with more behind them.
	 * Returns the bytes used, or STREAM_CLOSE: what pull() still has is sent, then the transport closes.
	 * <in> is borrowed for the call and may be written to by nobody. */
	ptrdiff_t (*feed)(void *self, struct slice in);

	/* Lend up to <max> pieces of output. They stay valid until sent() or closed(), or until another stream
	 * of the same thread is pulled, so the caller copies what the socket does not take at once. The array, all
	 * of its <max>, is the stream's for as long. A protocol lends whole packets: one begins with a piece, and its
	 * fixed header is not cut (ws/ makes a frame of each).
	 * Returns how many pieces; 0: nothing now; STREAM_CLOSE: nothing more, close the transport. */
	int (*pull)(void *self, struct iovec *iov, int max);

	/* Everything that the last pull() lent has been taken. Called once after each pull() that lent. */
	void (*sent)(void *self);

	/* The transport is gone, or is about to be closed after an error of its own; <why> is a short text for
	 * the log ("connection reset by peer", "TLS: …"), or NULL for an orderly end of file. <self> is not
	 * used by the caller again. */
	void (*closed)(void *self, const char *why);

	/* The stream asked for another thread (waker.move) and is there now: <ctx> is that thread's context (as
	 * given to its loop) and <w> replaces the old waker. The bytes that were not used come after this.
	 * NULL in a stream that never moves. */
	void (*moved)(void *self, void *ctx, const struct waker *w);
};

/* How a stream reaches the transport below it. Cheap to copy. */
struct waker {
	const struct waker_ops *ops;
	void *conn;
};

struct waker_ops {
	/* There is output (or the wish to close): pull() is called before the loop turn ends. Idempotent. */
	void (*wake)(void *conn);

	/* Hand this transport to thread <worker> once the present feed() has returned (with the bytes it did
	 * use); no further call comes before moved() there. Only from within feed(). */
	void (*move)(void *conn, unsigned worker);

	/* Stop or go on reading from the peer (back-pressure). feed() is called with the bytes that are
	 * already here when reading is allowed again. */
	void (*read_enable)(void *conn, bool on);
};

static inline void
wake(const struct waker *w)
{
	w->ops->wake(w->conn);
}

#endif
