/* signet audit: is the audit log as it was written, and what stands in it? */
#include "cli/internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "audit/audit.h"
#include "base/file.h"
#include "base/num.h"
#include "base/text.h"

struct options {
	const char *dir, *cas;     /* --dir, --cas; <dir> NULL: not known */
	char path[PKI_PATH_MAX];   /* of the log */
	char home[PKI_PATH_MAX];   /* what <dir> points to when it was found */
	bool json;
	const char *action, *object;
	unsigned count;
	uint64_t skip;             /* records that are not shown */
	unsigned shown;
	uint64_t unchecked;        /* checkpoints of signers whose certificate is not here */
};

/* FILE, or DIR/audit.log; the CAs' certificates are looked for beside it. */
static bool
find_log(struct options *o, const char *file, struct err *err)
{
	char probe[PKI_PATH_MAX];
	const char *slash;

	if (file == NULL) {
		if (!site_dir(o->dir, &o->dir, err))
			return false;
		return path_join(o->path, sizeof o->path, o->dir, "audit.log") || err_set(err, ERR_LIMIT, "%s: path too long", o->dir);
	}
	if (!text_copy(o->path, sizeof o->path, slice_str(file)))
		return err_set(err, ERR_LIMIT, "%s: path too long", file);
	if (o->dir != NULL)
		return true;
	slash = strrchr(file, '/');
	if (slash == NULL)
		(void)snprintf(o->home, sizeof o->home, ".");
	else if (!text_copy(o->home, sizeof o->home, slice_of(file, (size_t)(slash - file) + 1)))
		return err_set(err, ERR_LIMIT, "%s: path too long", file);
	if (path_join(probe, sizeof probe, o->home, "pki") && access(probe, F_OK) == 0)
		o->dir = o->home;
	return true;
}

static bool
name_ok(const char *name)
{
	return name[0] != '\0' && strlen(name) <= 32 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") == strlen(name);
}

static bool
check_signature(void *ctx, const char *name, struct slice statement, struct slice signature, struct err *err)
{
	struct options *o = ctx;
	char path[PKI_PATH_MAX + 64];

	if (o->cas != NULL)
		return pki_signed_by(o->cas, statement, signature, err);
	if (!name_ok(name))
		return err_set(err, ERR_INPUT, "its signer has no name");
	(void)snprintf(path, sizeof path, "%s/pki/%s/cert.pem", o->dir != NULL ? o->dir : "", name);
	if (o->dir == NULL || access(path, F_OK) == -1) {
		o->unchecked++;
		return true;
	}
	return pki_signed_by(path, statement, signature, err);
}

/* ---- verify ---- */

static void
report_json(const struct options *o, const struct audit_summary *s, const char *fault)
{
	(void)printf("{\"file\":");
	show_json_string(stdout, o->path);
	(void)printf(",\"ok\":%s,\"records\":%llu,\"checkpoints\":%llu,\"checkpoints_not_checked\":%llu,\"behind_checkpoint\":%llu,\"torn_bytes\":%llu",
	    fault == NULL ? "true" : "false", (unsigned long long)s->records, (unsigned long long)s->checkpoints,
	    (unsigned long long)o->unchecked, (unsigned long long)(s->records - s->last_checkpoint), (unsigned long long)s->torn);
	(void)printf(",\"hash\":\"%s\",\"first\":\"%s\",\"last\":\"%s\",\"fault\":", s->hash, s->first, s->last);
	if (fault != NULL)
		show_json_string(stdout, fault);
	else
		(void)printf("null");
	(void)printf("}\n");
}

static void
report(const struct options *o, const struct audit_summary *s)
{
	(void)printf("%s: %llu record%s, each as it was written", o->path, (unsigned long long)s->records, s->records == 1 ? "" : "s");
	if (s->records > 0)
		(void)printf(", %s to %s", s->first, s->last);
	(void)printf(".\nNewest hash %s.\n", s->hash);
	if (s->checkpoints == 0)
		(void)printf("No checkpoint yet: somebody who can write the file could have made it anew. `signet serve` signs checkpoints.\n");
	else
		(void)printf("%llu signed checkpoint%s, the newest is record %llu; %llu record%s behind it.\n", (unsigned long long)s->checkpoints,
		    s->checkpoints == 1 ? "" : "s", (unsigned long long)s->last_checkpoint,
		    (unsigned long long)(s->records - s->last_checkpoint), s->records - s->last_checkpoint == 1 ? "" : "s");
	if (o->unchecked > 0)
		(void)printf("The signatures of %llu of them were not checked: say where the installation is with --dir, or give the CAs' "
			     "certificates with --cas.\n", (unsigned long long)o->unchecked);
	if (s->torn > 0)
		(void)printf("The last line is cut (%llu bytes): a crash while it was written, of which nobody was told; the next record says so.\n",
		    (unsigned long long)s->torn);
}

static int
verify(struct options *o, const char *file)
{
	struct audit_reader r = { .verify = check_signature, .ctx = o };
	struct audit_summary sum;
	struct err err = { 0 };
	bool ok;

	if (!find_log(o, file, &err))
		return fail(&err);
	ok = audit_verify(o->path, &r, &sum, &err);
	if (o->json && (ok || err.code != ERR_MISSING))
		report_json(o, &sum, ok ? NULL : err.text);
	else if (ok)
		report(o, &sum);
	if (ok)
		return EXIT_OK;
	if (sum.records > 0 && !o->json)
		(void)printf("Good up to record %llu (%s).\n", (unsigned long long)sum.records, sum.last);
	return fail(&err);
}

static const struct arg dir_row = { "dir", "DIR", ARG_TEXT, NULL, 0, 0, "the installation; default: . or ./run", NULL, 0 };

static int
audit_cmd_verify(int argc, char *argv[])
{
	struct options o = { .json = false };
	int words, code;
	struct arg table[] = {
		dir_row,
		{ "cas", "FILE", ARG_TEXT, &o.cas, 0, 0, "certificates of the CAs that may sign checkpoints, PEM; default: those of the installation", NULL, 0 },
		{ "json", NULL, ARG_FLAG, &o.json, 0, 0, "one object", NULL, 0 },
	};
	const struct args args = { "signet audit verify [FILE] [options]",
		"Reads the audit log from its beginning and compares the numbers, hashes and signatures of all its records. Names the first\n"
		"record, line and byte that is not as it was written.",
		table, ARRAY_LEN(table), "Example: signet audit verify --dir /etc/signet\n\nExit codes: 0 it is whole; 1 it is not; 2 wrong usage.\n",
		0, 1 };

	table[0].to = &o.dir;
	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	return verify(&o, words > 0 ? argv[1] : NULL);
}

/* ---- show ---- */

static bool
wanted(const struct options *o, const struct audit_seen *s)
{
	return (o->action == NULL || strcmp(o->action, s->action) == 0) && (o->object == NULL || strcmp(o->object, s->object) == 0);
}

static bool
count_one(void *ctx, const struct audit_seen *s)
{
	struct options *o = ctx;

	o->skip += wanted(o, s);
	return true;
}

static const char *
safe(const char *text, char out[256])
{
	return text_show(slice_str(text), out, 256);
}

static bool
show_one(void *ctx, const struct audit_seen *s)
{
	struct options *o = ctx;
	char a[256], b[256], c[256], d[256];

	if (!wanted(o, s))
		return true;
	if (o->skip > 0) {
		o->skip--;
		return true;
	}
	if (o->json) {
		(void)printf("%s%.*s", o->shown > 0 ? ",\n" : "", SL_ARG(s->text));
	} else {
		(void)printf("%llu  %s  %s  %s  %s\n", (unsigned long long)s->n, safe(s->time, c), safe(s->actor, a), safe(s->action, b),
		    safe(s->object, d));
		for (size_t i = 0; i < s->n_details; i++)
			(void)printf("    %-11s %s\n", safe(s->details[i].name, a), safe(s->details[i].value, b));
	}
	o->shown++;
	return true;
}

static int
show(struct options *o, const char *file)
{
	struct audit_reader count = { .each = count_one, .ctx = o }, r = { .each = show_one, .ctx = o };
	struct audit_summary sum;
	struct err err = { 0 };
	bool ok;

	if (!find_log(o, file, &err))
		return fail(&err);
	if (o->count > 0) {
		/* A fault is told by the pass that shows what stands before it. */
		(void)audit_verify(o->path, &count, &sum, NULL);
		o->skip = o->skip > o->count ? o->skip - o->count : 0;
	}
	if (o->json)
		(void)printf("[");
	ok = audit_verify(o->path, &r, &sum, &err);
	if (o->json)
		(void)printf("]\n");
	return ok ? EXIT_OK : fail(&err);
}

static int
audit_cmd_show(int argc, char *argv[])
{
	struct options o = { .json = false };
	int words, code;
	struct arg table[] = {
		dir_row,
		{ "count", "N", ARG_NUMBER, &o.count, 1, 1000000000, "only the newest N", NULL, 'n' },
		{ "action", "WORD", ARG_TEXT, &o.action, 0, 0, "only records of this action, as \"issue\" or \"revoke\"", "issue revoke crl ocsp checkpoint", 0 },
		{ "object", "NAME", ARG_TEXT, &o.object, 0, 0, "only records about this, as a common name", NULL, 0 },
		{ "json", NULL, ARG_FLAG, &o.json, 0, 0, "an array of the records as they stand in the file", NULL, 0 },
	};
	const struct args args = { "signet audit show [FILE] [options]",
		"Shows the records of the audit log, oldest first, up to the first that is not as it was written.",
		table, ARRAY_LEN(table),
		"Examples:\n  signet audit show -n 20\n  signet audit show --object sensor01 --json\n\n"
		"Exit codes: 0 shown; 1 the file cannot be read or was changed; 2 wrong usage.\n", 0, 1 };

	table[0].to = &o.dir;
	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	return show(&o, words > 0 ? argv[1] : NULL);
}

int
cmd_audit(int argc, char *argv[])
{
	static const struct subcommand table[] = {
		{ "verify", "is every byte of the log as it was written?", audit_cmd_verify },
		{ "show", "who issued, revoked and changed what", audit_cmd_show },
	};
	static const struct group group = { "audit",
		"The audit log of an installation, DIR/audit.log: who issued, revoked and changed what. Each record holds the hash of the one\n"
		"before it, and the signer signs checkpoints, so that nothing can be changed or taken out unnoticed.",
		".", table, ARRAY_LEN(table) };

	return group_run(&group, argc, argv);
}
