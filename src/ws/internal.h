/* What the files of ws share: the request, its answer, and frames. */
#ifndef WS_INTERNAL_H
#define WS_INTERNAL_H

#include "ws/ws.h"

/* ---- request.c: one HTTP/1.1 request head, strictly (RFC 9112) ---- */

struct request {
	struct slice method, target; /* borrowed from the input, as all slices here */
	struct slice key;            /* .p NULL: there is none, as for the next */
	struct slice origin;
	struct slice host;
	struct slice none_match; /* If-None-Match; .p NULL: none that could be used, as for the next */
	struct slice accept;     /* Accept-Encoding */
	unsigned none_matches, accepts;
	unsigned hosts, versions;
	bool has_upgrade; /* an Upgrade header, whatever it says */
	bool upgrade_websocket, connection_upgrade, version_13;
	bool has_protocol, protocol_mqtt, protocol_mqttv31;
	bool has_body;
};

enum request_result {
	REQUEST_MORE,      /* unfinished, and good so far */
	REQUEST_OK,        /* *ret_n bytes of the input are the request */
	REQUEST_BAD,       /* *ret_why says how */
	REQUEST_TOO_LARGE, /* more than <max> bytes */
	REQUEST_NOT_HTTP,  /* no answer in HTTP would be understood; *ret_why */
	REQUEST_VERSION,   /* HTTP, but not 1.1 */
};
enum request_result request_parse(
    struct slice in, size_t max, struct request *ret, size_t *ret_n, const char **ret_why);

/* ---- answer.c: what a request gets ---- */

enum answer_kind {
	ANSWER_SWITCH, /* 101: from here on there are frames */
	ANSWER_ERROR,  /* .status, .why */
	ANSWER_CLOSE,  /* nothing at all; .why */
	ANSWER_FILE,   /* not an upgrade: look for a page or a file */
};
struct answer {
	enum answer_kind kind;
	unsigned status;
	const char *why; /* for people; static */
};
struct answer answer_to(const struct request *r, const struct ws_config *c);

enum { ANSWER_CAP = 512 };
/* The head of 101, of a file, and all of an error. Bytes written; <out> has room for ANSWER_CAP. */
size_t answer_put_switch(const struct request *r, char *out);
size_t answer_put_file(const char *type, const struct ws_file *f, char *out);
/* 304: the file is the one that the client has. */
size_t answer_put_same(const struct ws_file *f, char *out);
/* Is it, by what If-None-Match says? Weak comparison, RFC 9110 13.1.2. */
bool answer_is_same(const struct request *r, const struct ws_file *f);
size_t answer_put_error(unsigned status, const char *why, bool head_only, char *out);
enum { ANSWER_PAGE_CAP = WS_FIELDS_MAX + 128 };
/* The head of a page; <out> has room for ANSWER_PAGE_CAP. */
size_t answer_put_page(const struct ws_page *p, char *out);

/* ---- path.c ---- */

/* The file that a request target means, as ws_files.open() wants it. False: none that could be served. */
bool path_of_target(struct slice target, char out[static WS_PATH_MAX]);
/* By the end of its name. */
const char *path_type(const char *path);

/* ---- frame.c: RFC 6455 section 5, from client to server ---- */

enum { FRAME_HEAD_MAX = 14, FRAME_CONTROL_MAX = 125 };

enum frame_close {
	CLOSE_NORMAL = 1000,
	CLOSE_PROTOCOL = 1002,
	CLOSE_TEXT = 1003,
	CLOSE_TOO_LARGE = 1009,
	CLOSE_MEMORY = 1011,
	CLOSE_EMPTY = 1005, /* a Close frame without a code; never on the wire */
};

/* Where in a frame the input stands. Zeroed: before the first. */
struct frames {
	uint64_t left;   /* payload of the present data frame that is still to come */
	uint8_t mask[4]; /* turned so that the next byte takes mask[0] */
	bool within;     /* a message whose last fragment has not begun */
};

enum frame_event {
	FRAME_DATA, /* payload was written to <out>, possibly none; more input is needed or there is no more */
	FRAME_PING,  /* .payload is to be sent back */
	FRAME_CLOSE, /* .code of the peer, with .used before it: taken when asked again */
	FRAME_BAD,   /* .code to close with, .why */
};
struct frame_step {
	size_t used;      /* of the input */
	size_t payload_n; /* PING, CLOSE */
	uint8_t payload[FRAME_CONTROL_MAX];
	uint16_t code;
	const char *why; /* static */
};
/* Read on until something happens or the input is at its end (or at the beginning of a frame that is not all there). What was
 * in data frames is unmasked to <out>, which has room for <in>; *out_n goes up. */
enum frame_event frames_step(
    struct frames *f, struct slice in, uint8_t *out, size_t *out_n, struct frame_step *ret);

/* Headers of what we send, which is never masked: bytes written. */
size_t frame_put_head(uint8_t out[static FRAME_HEAD_MAX], uint64_t n);
/* The frames of what was lent at iov + room, <n> <= <room> pieces that begin with the fixed header of an MQTT packet and hold whole
 * packets, each from the beginning of a piece to the end of one: they are put at <iov>, with a head in front of each packet. There
 * are 3 * <room> pieces; the last <room> hold the bytes of heads until all was sent. Returns how many pieces it is. */
int frames_of_packets(struct iovec *iov, int room, int n);
enum { FRAME_OP_CLOSE = 8, FRAME_OP_PING = 9, FRAME_OP_PONG = 10 };

#endif
