/* MQTT over WebSockets (RFC 6455, MQTT 5.0 section 6): a stream around a stream. Below it a transport, which carries HTTP
 * and then frames; inside it a protocol, which sees the bytes of binary frames and nothing else. Each MQTT packet that it lends goes
 * out as a frame of its own. Sans-I/O: it has
 * neither sockets nor files. It can also answer plain GET requests with pages and files that it is given. */
#ifndef WS_WS_H
#define WS_WS_H

#include "base/stream.h"

enum {
	WS_HEADERS_DEFAULT = 4096, /* bytes of a request with all its headers */
	WS_PATH_MAX = 1024,        /* of a file, decoded */
	WS_TAG_CAP = 64,
	WS_FIELDS_MAX = 1536,      /* header lines of a page */
};

/* What a GET or HEAD asks for; borrowed for the call. */
struct ws_ask {
	struct slice target;     /* begins with a slash; nothing is decoded */
	struct slice accept;     /* Accept-Encoding; .p NULL: none, or several, as for the next */
	struct slice none_match; /* If-None-Match */
};
/* An answer that is in memory already. */
struct ws_page {
	unsigned status;            /* 200, 302, 304, 404 */
	char fields[WS_FIELDS_MAX]; /* its header lines, each with its CR LF; Content-Length and Connection are added */
	struct slice body;          /* outlives every stream */
};
struct ws_pages {
	void *ctx;
	/* False: there is no such page. Any thread; may wait for nothing. */
	bool (*find)(void *ctx, const struct ws_ask *ask, struct ws_page *ret);
};

struct ws_file {
	uint64_t size;
	char tag[WS_TAG_CAP]; /* an entity tag, W/"…" or "…", that changes when the file does (RFC 9110 8.8.3); "": none */
};

/* Where files come from. None of it may wait for anything but a disk. */
struct ws_files {
	void *ctx;
	/* <path> is relative, and clean: components are not empty and do not begin with a dot, there are no control
	 * characters and no backslashes in it. NULL: there is no such file, or it is nobody's business. */
	void *(*open)(void *ctx, const char *path, struct ws_file *ret);
	/* The next bytes, at most <n>; <= 0: no more. */
	ptrdiff_t (*read)(void *file, void *p, size_t n);
	void (*close)(void *file);
};

/* Settings of one listener; must outlive every stream made under it. */
struct ws_config {
	size_t headers_max; /* 0: WS_HEADERS_DEFAULT */
	/* Web sites whose pages may come, "https://example.com". A request that names none is no browser's. */
	const char *const *origins;
	unsigned n_origins;           /* 0: all may, unless there are pages */
	/* NULL: none. They are looked at before files. Where there are some, a page of this very listener may come as well, by Origin and
	 * Host; of other web sites then only <origins>. */
	const struct ws_pages *pages;
	bool tls;                     /* a name in Host is one that our certificate has */
	const struct ws_files *files; /* NULL: none */
	/* A listener for plain HTTP alone: nothing is upgraded, and the inner stream never sees a byte. */
	bool plain;
	const char *type;      /* Content-Type of every file; NULL: by the end of its name */
	const char *forbidden; /* <plain>: not NULL: whatever is asked for, the answer is 403 and this */
};

struct ws;

/* In this order: ws_new(), the inner stream is made with ws_waker(), ws_take() gives it to the WebSocket, and the transport gets
 * the WebSocket with ws_stream. <below> is the transport's. NULL: out of memory. */
struct ws *ws_new(const struct ws_config *c, const struct waker *below);
struct waker ws_waker(struct ws *w);
/* <inner> is owned from now on. Its feed() is called only with bytes that came in binary frames after a good upgrade. A request that
 * does not end in an upgrade ends it: its closed() gets a text that begins with "WebSocket: ", or with "HTTP: " when
 * nothing was wrong or the listener is plain. Any time limit for the upgrade is the inner stream's limit for its own first packet. */
void ws_take(struct ws *w, void *inner, const struct stream_ops *ops);
/* Only before ws_take(). */
void ws_free(struct ws *w);
extern const struct stream_ops ws_stream;

#endif
