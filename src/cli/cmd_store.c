/* signet store: look at a store that no broker has open, and put a backup back. */
#include "cli/internal.h"
#include "cli/restore.h"

#include <inttypes.h>
#include <stdlib.h>
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "store/store.h"

static const struct subcommand subcommands[] = {
	{ "check", "verify every checksum and reference", store_cmd_check },
	{ "dump", "the live records, one JSON object a line", store_cmd_dump },
	{ "stats", "what is in it, and how much space it takes", store_cmd_stats },
	{ "import", "make a store of what mosquitto 2.0 kept", store_cmd_import },
};

int
cmd_store(int argc, char *argv[])
{
	static const struct group group = {
		.name = "store",
		.about = "Looks at the directory in which the broker keeps sessions and messages, while no broker has it open, and\n"
			 "copies a backup back. Nothing that is there is changed.",
		.more = ". Nothing is changed; a store that a broker has open is\n"
			"refused. Exit codes: 0 success, 1 failure or damage, 2 wrong usage.",
		.table = subcommands,
		.n = ARRAY_LEN(subcommands),
	};

	return group_run(&group, argc, argv);
}

/* ---- what the subcommands share ---- */

struct look {
	struct store_options o;
	uint8_t key[STORE_KEY_BYTES];
	const char *key_file;
	bool json, content;
	FILE *events; /* where damage is told */
};

#define KEY_FILE { "key-file", "FILE", ARG_TEXT, &l.key_file, 0, 0, "the key of an encrypted store: 32 bytes, or 64 hex digits" }

static void
on_event(void *ctx, const struct store_event *e)
{
	struct look *l = ctx;

	if (e->kind == STORE_EVENT_NO_BODY)
		(void)fprintf(l->events, "record %" PRIu64 ": %s\n", e->offset, e->text);
	else
		(void)fprintf(l->events, "%s: byte %" PRIu64 ": %s (frames lost: %" PRIu64 ", records lost: %" PRIu64 ")\n", e->file,
		    e->offset, e->text, e->frames, e->records);
}

static bool
prepare(struct look *l, const char *dir, struct err *err)
{
	l->o = (struct store_options){ .dir = dir, .ctx = l, .event = on_event };
	if (l->key_file == NULL)
		return true;
	if (!store_key_read(l->key_file, l->key, err))
		return false;
	l->o.key = slice_of(l->key, sizeof l->key);
	return true;
}

static void
done(struct look *l)
{
	secret_wipe(l->key, sizeof l->key);
}

/* ---- the subcommands ---- */

int
store_cmd_check(int argc, char *argv[])
{
	struct look l = { .events = stdout };
	struct store_report r;
	struct err err;
	int words, code;
	bool ok;
	const struct arg table[] = { KEY_FILE };
	const struct args args = { "signet store check DIR [--key-file FILE]",
		"Reads everything, verifies every checksum and every reference, and names each place that is damaged. A frame\n"
		"that was cut off when the machine stopped is no damage: it had not been acknowledged.",
		table, ARRAY_LEN(table), "Exit codes: 0 whole, 1 damaged or not readable, 2 wrong usage.\n", 1, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	ok = prepare(&l, argv[1], &err) && store_check(&l.o, &r, &err);
	done(&l);
	if (!ok)
		return fail(&err);
	(void)printf("%" PRIu64 " records in %" PRIu64 " frames, %" PRIu64 " alive; %s\n", r.records, r.frames, r.live_records,
	    r.damaged + r.lost_bodies > 0 ? "DAMAGED" : r.clean_end ? "whole, closed in order" : "whole, not closed in order");
	if (r.damaged + r.lost_bodies == 0)
		return EXIT_OK;
	(void)printf("%" PRIu64 " damaged places; frames lost: %" PRIu64 ", records lost: %" PRIu64 ", records whose content is lost: %"
		     PRIu64 ". The broker recovers the rest when it starts; or put a backup back with signet restore.\n",
	    r.damaged, r.lost_frames, r.lost_records, r.lost_bodies);
	return EXIT_FAILED;
}

/* A newer broker may have kinds that have no name here. */
static const char *
name_of(unsigned kind, char *buf, size_t cap)
{
	const char *name = store_kind_name((uint8_t)kind);

	if (name != NULL)
		return name;
	(void)snprintf(buf, cap, "kind-%u", kind);
	return buf;
}

static void
print_json(const struct store_report *r)
{
	const char *comma = "";
	char name[16];

	(void)printf("{\"segments\":%" PRIu64 ",\"log_bytes\":%" PRIu64 ",\"live_records\":%" PRIu64 ",\"live_bytes\":%" PRIu64
		     ",\"frames\":%" PRIu64 ",\"records\":%" PRIu64 ",\"damaged\":%" PRIu64 ",\"encrypted\":%s,\"clean_end\":%s,\"live\":{",
	    r->segments, r->log_bytes, r->live_records, r->live_bytes, r->frames, r->records, r->damaged + r->lost_bodies,
	    r->encrypted ? "true" : "false", r->clean_end ? "true" : "false");
	for (unsigned kind = 0; kind < 256; kind++)
		if (r->live_of_kind[kind] > 0) {
			(void)printf("%s\"%s\":%" PRIu64, comma, name_of(kind, name, sizeof name), r->live_of_kind[kind]);
			comma = ",";
		}
	(void)printf("}}\n");
}

static void
print_text(const struct store_report *r)
{
	char name[16];

	(void)printf("segments        %" PRIu64 "\nlog bytes       %" PRIu64 "\nlive bytes      %" PRIu64 "\nframes          %" PRIu64
		     "\nrecords         %" PRIu64 "\nlive records    %" PRIu64 "\n",
	    r->segments, r->log_bytes, r->live_bytes, r->frames, r->records, r->live_records);
	for (unsigned kind = 0; kind < 256; kind++)
		if (r->live_of_kind[kind] > 0)
			(void)printf("  %-14s%" PRIu64 "\n", name_of(kind, name, sizeof name), r->live_of_kind[kind]);
	(void)printf("encrypted       %s\nclosed          %s\ndamaged         %" PRIu64 "\n", r->encrypted ? "yes" : "no",
	    r->clean_end ? "in order" : "not in order", r->damaged + r->lost_bodies);
}

int
store_cmd_stats(int argc, char *argv[])
{
	struct look l = { .events = stderr };
	struct store_report r;
	struct err err;
	int words, code;
	bool ok;
	const struct arg table[] = { KEY_FILE, { "json", NULL, ARG_FLAG, &l.json, 0, 0, "one JSON object" } };
	const struct args args = { "signet store stats DIR [--json] [--key-file FILE]",
		"Says how many segments, frames and records there are, how many of which kind are alive, and how much space they take.",
		table, ARRAY_LEN(table), NULL, 1, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	ok = prepare(&l, argv[1], &err) && store_check(&l.o, &r, &err);
	done(&l);
	if (!ok)
		return fail(&err);
	(l.json ? print_json : print_text)(&r);
	return EXIT_OK;
}

static bool
on_record(void *ctx, const struct store_record *r)
{
	const struct look *l = ctx;
	char name[16];

	(void)printf("{\"kind\":\"%s\",\"id\":%" PRIu64, name_of(r->kind, name, sizeof name), r->id);
	if (r->ref != 0)
		(void)printf(",\"ref\":%" PRIu64, r->ref);
	(void)printf(",\"bytes\":%zu", r->bytes.n);
	if (l->content) {
		(void)printf(",\"content\":\"");
		for (size_t i = 0; i < r->bytes.n; i++)
			(void)printf("%02x", r->bytes.p[i]);
		(void)printf("\"");
	}
	(void)printf("}\n");
	return ferror(stdout) == 0;
}

int
store_cmd_dump(int argc, char *argv[])
{
	struct look l = { .events = stderr };
	struct err err = { .code = ERR_SYSTEM, .text = "cannot write to standard output" };
	int words, code;
	bool ok;
	const struct arg table[] = { KEY_FILE,
		{ "content", NULL, ARG_FLAG, &l.content, 0, 0, "with what the records hold, in hex: client ids, topics, payloads" } };
	const struct args args = { "signet store dump DIR [--content] [--key-file FILE]",
		"Prints each live record as a JSON object: its kind, its identity, what it refers to, and its size.",
		table, ARRAY_LEN(table), NULL, 1, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	ok = prepare(&l, argv[1], &err) && store_dump(&l.o, on_record, &l, &err);
	done(&l);
	return ok ? EXIT_OK : fail(&err);
}

int
cmd_restore(int argc, char *argv[])
{
	struct look l = { .events = stderr };
	struct err err;
	int words, code;
	bool ok;
	const struct arg table[] = { KEY_FILE };
	const struct args args = { "signet restore BACKUP DIR [--key-file FILE]",
		"Checks a backup and copies it to DIR, which must be empty or missing. A damaged backup is refused. One of a whole installation (`signet backup\n"
		"--all`, POST /api/v1/backup) becomes one again, also in another place or on another machine, and it is said what is missing: private keys are\n"
		"there only if `signet backup --keys BACKUP` has put them in.",
		table, ARRAY_LEN(table), NULL, 2, 2 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	ok = prepare(&l, argv[1], &err) && (restore_is_whole(argv[1]) ? restore_whole(argv[1], argv[2], l.o.key, &err) : store_restore(argv[1], argv[2], l.o.key, &err));
	done(&l);
	return ok ? EXIT_OK : fail(&err);
}
