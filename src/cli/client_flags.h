/* The table of flags between client_flags.c (what there is), client_opts.c (parsing) and
 * client_help.c. */
#ifndef CLI_CLIENT_FLAGS_H
#define CLI_CLIENT_FLAGS_H

#include "cli/client_opts.h"

enum flag_kind {
	FLAG_ON,     /* bool: true */
	FLAG_TEXT,   /* const char * */
	FLAG_NUMBER, /* uint32_t within [min, max] */
	FLAG_LIST,   /* struct text_list: one more */
	FLAG_OTHER,  /* parse() */
};

/* The words from the flag on; a parser takes as many behind it as <words> of the flag, or says
 * how many by *used. */
struct flag_args {
	const char *flag; /* as written */
	char **v;         /* what stands behind it */
	int n, used;      /* how many there are; how many were taken */
};

struct flag {
	char letter;      /* 0: none */
	const char *name; /* without the dashes; NULL: none */
	const char *arg;  /* what stands behind it, for --help; NULL: nothing does */
	unsigned cmds;    /* enum client_cmd, or-ed */
	enum flag_kind kind;
	size_t at; /* in struct client_opts */
	uint32_t min, max;
	bool (*parse)(struct client_opts *o, struct flag_args *a, struct err *err);
	const char *help; /* may have several lines */
};

/* Ends with an entry that has neither letter nor name. An entry whose cmds is 0 is a heading:
 * <help>. */
extern const struct flag client_flags[];

/* Parsers of single flags, in client_opts.c. */
bool flag_message(struct client_opts *o, struct flag_args *a, struct err *err);
bool flag_file(struct client_opts *o, struct flag_args *a, struct err *err);
bool flag_null(struct client_opts *o, struct flag_args *a, struct err *err);
bool flag_stdin(struct client_opts *o, struct flag_args *a, struct err *err);
bool flag_lines(struct client_opts *o, struct flag_args *a, struct err *err);
bool flag_password(struct client_opts *o, struct flag_args *a, struct err *err);
bool flag_url(struct client_opts *o, struct flag_args *a, struct err *err);
bool flag_version(struct client_opts *o, struct flag_args *a, struct err *err);
bool flag_property(struct client_opts *o, struct flag_args *a, struct err *err);
bool flag_auth_method(struct client_opts *o, struct flag_args *a, struct err *err);
bool flag_expiry(struct client_opts *o, struct flag_args *a, struct err *err);
bool flag_delay(struct client_opts *o, struct flag_args *a, struct err *err);
bool flag_random(struct client_opts *o, struct flag_args *a, struct err *err);
bool flag_keyform(struct client_opts *o, struct flag_args *a, struct err *err);
bool flag_refuse_srv(struct client_opts *o, struct flag_args *a, struct err *err);
bool flag_refuse_proxy(struct client_opts *o, struct flag_args *a, struct err *err);
bool flag_refuse_engine(struct client_opts *o, struct flag_args *a, struct err *err);

#endif
