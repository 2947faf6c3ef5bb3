/* Private to cli/: the commands, and what they share. */
#ifndef CLI_INTERNAL_H
#define CLI_INTERNAL_H

#include <stdint.h>
#include <stdio.h>
#include "base/err.h"
#include "base/slice.h"
#include "pki/pki.h"
#include "server/server.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* Each runs one command: argv[0] is its name. Returns the exit code. */
int cmd_init(int argc, char *argv[]);
int cmd_ca(int argc, char *argv[]);
int cmd_device(int argc, char *argv[]);
int cmd_inspect(int argc, char *argv[]);
int cmd_pub(int argc, char *argv[]);
int cmd_sub(int argc, char *argv[]);
int cmd_rr(int argc, char *argv[]);
int cmd_broker(int argc, char *argv[]);
int cmd_control(int argc, char *argv[]);
int cmd_passwd(int argc, char *argv[]);
int cmd_doctor(int argc, char *argv[]);
int cmd_restore(int argc, char *argv[]); /* in cmd_store.c */
int cmd_explain(int argc, char *argv[]);
int cmd_policy(int argc, char *argv[]);
int cmd_backup(int argc, char *argv[]);
int cmd_why(int argc, char *argv[]);
int cmd_store(int argc, char *argv[]);
int cmd_registry(int argc, char *argv[]);
int cmd_retrieve(int argc, char *argv[]);
int cmd_enrol(int argc, char *argv[]);
int cmd_audit(int argc, char *argv[]);
int cmd_serve(int argc, char *argv[]);

/* Subcommands of "signet ca". */
int ca_issue(int argc, char *argv[]);
int ca_sign(int argc, char *argv[]);
int ca_list(int argc, char *argv[]);
int ca_show(int argc, char *argv[]);
int ca_export(int argc, char *argv[]);
int ca_adopt(int argc, char *argv[]);
int ca_trust(int argc, char *argv[]);
int ca_revoke(int argc, char *argv[]);
int ca_ocsp(int argc, char *argv[]);

/* Subcommands of "signet device". */
int device_bundle(int argc, char *argv[]);
int device_token(int argc, char *argv[]);
int device_tokens(int argc, char *argv[]);
int device_withdraw(int argc, char *argv[]);

/* Subcommands of "signet store". */
int store_cmd_check(int argc, char *argv[]);
int store_cmd_dump(int argc, char *argv[]);
int store_cmd_stats(int argc, char *argv[]);
int store_cmd_import(int argc, char *argv[]);

/* ---- group.c: commands with subcommands ---- */

struct subcommand {
	const char *name, *summary;
	int (*run)(int argc, char *argv[]);
};
struct group {
	const char *name;  /* "ca" */
	const char *about; /* for the manual */
	const char *more;  /* of the help's last sentences: begins behind "… explains one" */
	const struct subcommand *table;
	size_t n;
};
/* Run the subcommand that argv[1] names; argv[0] is the command. Returns the exit code. */
int group_run(const struct group *g, int argc, char *argv[]);

/* ---- args.c: flags of a command, by a table that is also its help ---- */

/* Choices of several commands. */
#define CHOICES_KEY "p256 p384 p521 rsa2048 rsa3072 rsa4096 rsa8192"
#define CHOICES_CA "client watch control cloud"

enum arg_kind {
	ARG_FLAG,   /* bool */
	ARG_TEXT,   /* const char * */
	ARG_NUMBER, /* unsigned, within [min, max] */
	ARG_HOSTS,  /* struct host_list: comma-separated, may be repeated */
};
enum { HOSTS_MAX = 64 };
struct host_list {
	const char *v[HOSTS_MAX];
	size_t n;
};
struct arg {
	const char *name;  /* without the dashes */
	const char *value; /* what stands behind it, for --help; NULL for flags */
	enum arg_kind kind;
	void *to;
	unsigned min, max;
	const char *help;
	const char *choices; /* what a shell may offer for <value>, "p256 p384"; NULL: it knows nothing */
	char letter;         /* of the short form, or '\0' */
};
struct args {
	const char *usage;   /* "signet ca issue [options] NAME" */
	const char *about;   /* what it does: a paragraph */
	const struct arg *table;
	size_t n;
	const char *more;    /* behind the flags: examples; or NULL */
	int words_min, words_max; /* words that are no flags */
};
/* Parses argv[1..]; the words are moved to argv[1..] and counted in *ret_words. True: go on. False: leave with *ret_exit
 * (help was shown, or the mistake was named). <argv> strings may be cut at commas. */
bool args_parse(const struct args *a, int argc, char *argv[], int *ret_words, int *ret_exit);
/* "signet: <text>" on standard error; returns EXIT_FAILED, or EXIT_USAGE for ERR_USAGE. */
int fail(const struct err *e);

/* ---- pass.c: passphrases, from a file, the environment or a person ---- */

struct pass {
	const char *file; /* --passphrase-file; NULL: SIGNET_PASSPHRASE, else ask */
	struct pki_secret secret;
};
void pass_init(struct pass *p, const char *file);
/* A password for <user>: twice at the terminal without echo, else one line of standard input. */
bool pass_ask_new(const char *user, char *buf, size_t cap, struct err *err);
/* What <prompt> says: at the terminal (<hidden>: without echo), else one line of standard input. */
bool pass_ask(const char *prompt, bool hidden, char *buf, size_t cap, struct err *err);
/* The first line of a file. */
bool pass_from_file(const char *path, char *buf, size_t cap, struct err *err);

/* ---- site.c: the installation that a command works on ---- */

/* <given>, or ".", or "./run", whichever has a signet.conf. False with an error that says what to do. */
bool site_dir(const char *given, const char **ret, struct err *err);
/* "cloud", "client", … of an option; names the option in <err>. */
bool site_role(const char *text, enum authz_role *ret, struct err *err);
/* What clients need to know: the name that the broker's certificate has, and what <name> of <role> can do by the configuration and its policy.
 * What is not known is said on standard error; then usage has no topics. */
struct site_facts {
	char host[256];
	struct server_usage usage;
};
void site_facts(const char *dir, const char *name, enum authz_role role, struct site_facts *ret);
/* Commands that work when pasted, with the files in <folder> (NULL: where one is). free(). "": there are none. False: out of memory. */
bool site_command_text(const struct site_facts *c, const char *folder, char **ret);
/* The same, for the client <name> of <role> with its files in <folder>; also kept there as
 * commands.txt, if there are any. free(). */
bool site_commands(const char *dir, const char *folder, const char *name, enum authz_role role, char **ret,
    struct err *err);

/* ---- admin.c ---- */

/* Make the registry that <config_file> means if there is none, and <name> an administrator of its first tenant with a new password,
 * which is printed. */
bool site_admin(const char *config_file, const char *name, struct err *err);
/* The first tenant, where nobody says another one; and can <name> be one, for the registry and for a policy? */
#define SITE_TENANT "default"
bool site_tenant_ok(const char *name);
/* The same in the file <registry>, whose first tenant becomes <tenant> if it has none; the password comes out, and is the caller's to wipe. */
enum { SITE_PASSWORD_CAP = 21 };
bool site_admin_put(const char *registry, const char *tenant, const char *name, char password[static SITE_PASSWORD_CAP], struct err *err);

/* ---- show.c: certificates for people and for programs ---- */

/* Show <path> on standard output. <json>: one object an entry, in an array that spans files (see show_json_begin). */
struct show {
	bool json;
	const struct pki_secret *secret; /* for what is encrypted, or NULL */
	unsigned objects; /* shown so far */
	bool open;        /* inside an object */
	char list[32];    /* JSON: the list that is open; text: the last field's name */
};
bool show_file(struct show *s, const char *path, struct err *err);
bool show_bytes(struct show *s, struct slice data, const char *name, struct err *err);
void show_end(struct show *s);
/* "…" with JSON's escapes. */
void show_json_string(FILE *out, const char *s);
/* One field of the first object in <path>, e.g. "sha256"; "" when there is none. */
bool show_field(const char *path, const char *field, char *out, size_t cap, struct err *err);

#endif
