/* mail.c within broker/: letters between shards. Part of internal.h, which includes it. */
#ifndef BROKER_MAIL_H
#define BROKER_MAIL_H

#include "broker/internal.h"

enum mail_kind {
	MAIL_NONE, MAIL_PUBLISH, MAIL_RETAIN, MAIL_SHARE_JOIN, MAIL_SHARE_LEAVE, MAIL_SHARE_ONLINE, MAIL_SHARE_OFFLINE,
	MAIL_SHARE_DELIVER, MAIL_SHARE_AGAIN, MAIL_SHARE_RETURN, MAIL_SHARE_LOST, MAIL_SCAN_NEW, MAIL_SCAN_HIT, MAIL_SCAN_PAUSE, MAIL_SCAN_MORE, MAIL_SCAN_STOP,
	MAIL_ONCE,
	MAIL_KINDS
};
struct mail {
	uint8_t kind, qos, options, tries;
	uint16_t from, extra;
	uint32_t id;   /* subscription identifier */
	uint32_t scan;
	struct handle session;
	struct msg *msg;             /* a reference, or NULL */
	struct mail_text *text;      /* owned by the mail, or NULL */
};
struct mail_text {
	uint32_t n, name_n;
	struct errand errand; /* of a message to a group */
	char text[];
};
struct mail_text *mail_text_new(struct slice s);
/* Queue for shard <to> (also the own one); takes over msg and text. False: out of memory, both are released. */
bool mail_post(struct shard *sh, unsigned to, const struct mail *m);
/* Room for this letter, so that mail_post() of it does not fail; gone with the next mail_flush(). Nothing is taken over. */
bool mail_room(struct shard *sh, unsigned to, const struct mail *m);
/* What was put by then is handed to the store first: no letter is on the disk without what it came from. */
void mail_flush(struct shard *sh);
/* The letters alone, in the middle of a turn: only while nothing in the outboxes must come once (once.h). */
void mail_send(struct shard *sh);
/* At the beginning of a message: send what is too much for one batch. */
void mail_relieve(struct shard *sh);
void mail_take(struct shard *sh); /* carries out what has arrived */
void mail_carry(struct broker *b); /* before the workers run: until nothing is under way */
void mail_done(struct shard *sh);
typedef void mail_fn(struct shard *sh, struct mail *m); /* may take msg and text by setting them NULL */
mail_fn mail_share_join, mail_share_leave, mail_share_status, mail_share_deliver, mail_share_again, mail_share_return, mail_share_lost, mail_scan_new,
    mail_scan_hit, mail_scan_pause, mail_scan_more, mail_scan_stop, mail_once;
/* A member of one of <home>'s groups has gone. Any thread. */
void share_uncount(struct broker *b, unsigned home, struct slice filter);
/* To one who is in it now; nobody: it has gone. */
void group_take(struct shard *sh, struct slice full, struct msg *m, const struct errand *e);

#endif
