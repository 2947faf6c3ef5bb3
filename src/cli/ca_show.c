/* signet ca list, show, export. */
#include "cli/internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/file.h"
#include "base/num.h"
#include "base/text.h"

struct listing {
	bool json;
	int64_t before; /* only live ones that end before; INT64_MAX: all */
	unsigned shown;
};

static void
list_one(void *ctx, const struct pki_entry *e)
{
	struct listing *l = ctx;
	time_t end = (time_t)e->not_after;
	char until[16] = "?", shown[4 * PKI_CN_MAX];
	struct tm tm;

	if (l->before != INT64_MAX && (e->status != PKI_LIVE || e->not_after >= l->before))
		return;
	if (gmtime_r(&end, &tm) != NULL)
		(void)strftime(until, sizeof until, "%Y-%m-%d", &tm);
	if (!l->json) {
		if (l->shown == 0)
			(void)printf("%-10s %-24s %-32s %-9s %-10s\n", "CA", "NAME", "SERIAL", "STATUS", "UNTIL");
		(void)printf("%-10s %-24s %-32s %-9s %-10s\n", e->ca, text_show(slice_str(e->cn), shown, sizeof shown),
		    e->serial, pki_status_name(e->status), until);
	} else {
		(void)printf(l->shown == 0 ? "[{\"ca\":" : ",\n {\"ca\":");
		show_json_string(stdout, e->ca);
		(void)printf(",\"name\":");
		show_json_string(stdout, e->cn);
		(void)printf(",\"serial\":\"%s\",\"status\":\"%s\",\"profile\":\"%s\",\"sha256\":\"%s\"", e->serial,
		    pki_status_name(e->status), e->profile, e->fingerprint);
		(void)printf(",\"not_before\":%lld,\"not_after\":%lld}", (long long)e->not_before, (long long)e->not_after);
	}
	l->shown++;
}

static bool
list(const char *dir, const char *ca, struct listing *l, struct err *err)
{
	if (!site_dir(dir, &dir, err) || !pki_list(dir, ca, 0, list_one, l, err))
		return false;
	if (l->json)
		(void)printf(l->shown == 0 ? "[]\n" : "]\n");
	else if (l->shown == 0)
		(void)printf("nothing%s\n", l->before != INT64_MAX ? " expires in that time" : " was issued yet");
	return true;
}

int
ca_list(int argc, char *argv[])
{
	struct listing l = { .before = INT64_MAX };
	const char *dir = NULL, *ca = NULL;
	unsigned days = 0;
	int words, code;
	struct err err;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &dir, 0, 0, "the installation" },
		{ "ca", "NAME", ARG_TEXT, &ca, 0, 0, "of this CA only", CHOICES_CA },
		{ "expiring", "DAYS", ARG_NUMBER, &days, 1, 36500, "only live ones that expire within DAYS" },
		{ "json", NULL, ARG_FLAG, &l.json, 0, 0, "an array of objects; times are seconds since 1970" },
	};
	const struct args args = { "signet ca list [options]", "Lists what the CAs of the installation issued.", table,
		ARRAY_LEN(table), NULL, 0, 0 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	if (days > 0)
		l.before = (int64_t)time(NULL) + (int64_t)days * 86400;
	return list(dir, ca, &l, &err) ? EXIT_OK : fail(&err);
}

/* Find by name or serial; the newest live one wins, else the newest. */
struct finding {
	const char *what;
	struct pki_entry best;
	bool found;
};

static void
find_one(void *ctx, const struct pki_entry *e)
{
	struct finding *f = ctx;

	if (strcmp(e->cn, f->what) != 0 && strcasecmp(e->serial, f->what) != 0)
		return;
	if (f->found && f->best.status == PKI_LIVE && e->status != PKI_LIVE)
		return;
	f->best = *e;
	f->found = true;
}

static bool
show_issued(const char *dir, const char *what, struct show *s, struct err *err)
{
	struct finding f = { .what = what };
	char sub[128], path[PKI_PATH_MAX], shown[128];

	if (!site_dir(dir, &dir, err) || !pki_list(dir, NULL, 0, find_one, &f, err))
		return false;
	if (f.found)
		(void)snprintf(sub, sizeof sub, "pki/%s/certs/%s.pem", f.best.ca, f.best.serial);
	else if (strchr(what, '/') == NULL && strlen(what) <= 32)
		(void)snprintf(sub, sizeof sub, "pki/%s/cert.pem", what); /* a CA itself */
	else
		sub[0] = '\0';
	if (sub[0] == '\0' || !path_join(path, sizeof path, dir, sub) || access(path, F_OK) == -1)
		return err_set(err, ERR_MISSING, "there is no file, certificate, serial number or CA \"%s\"",
		    text_show(slice_str(what), shown, sizeof shown));
	if (!show_file(s, path, err))
		return false;
	if (f.found && !s->json)
		(void)printf("  %-19s %s\n", "status", pki_status_name(f.best.status));
	return true;
}

int
ca_show(int argc, char *argv[])
{
	struct show s = { 0 };
	const char *dir = NULL;
	int words, code;
	bool ok;
	struct err err;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &dir, 0, 0, "the installation" },
		{ "json", NULL, ARG_FLAG, &s.json, 0, 0, "an array of objects" },
	};
	const struct args args = { "signet ca show NAME|SERIAL|FILE [options]",
		"Shows a certificate that was issued here, a CA (by its name), or a file.", table, ARRAY_LEN(table), NULL, 1, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	ok = strchr(argv[1], '/') != NULL || (access(argv[1], R_OK) == 0 && strchr(argv[1], '.') != NULL) ?
	    show_file(&s, argv[1], &err) :
	    show_issued(dir, argv[1], &s, &err);
	if (ok || s.objects > 0)
		show_end(&s);
	return ok ? EXIT_OK : fail(&err);
}

struct export {
	const char *dir, *ca, *format, *out;
	bool chain;
};

static bool
export(struct export *x, struct err *err)
{
	bool der = strcmp(x->format, "der") == 0, ok;
	uint8_t *data;
	size_t n;

	if (!der && strcmp(x->format, "pem") != 0)
		return err_set(err, ERR_USAGE, "the format is pem or der");
	if (der && x->chain)
		return err_set(err, ERR_USAGE, "DER holds one certificate: --chain needs --format pem");
	if (!site_dir(x->dir, &x->dir, err) || !pki_export(x->dir, x->ca, der, x->chain, &data, &n, err))
		return false;
	if (x->out != NULL)
		ok = file_write(x->out, slice_of(data, n), 0644, 0, err);
	else
		ok = fwrite(data, 1, n, stdout) == n || err_sys(err, "standard output");
	free(data);
	return ok;
}

int
ca_export(int argc, char *argv[])
{
	struct export x = { .ca = "root", .format = "pem" };
	int words, code;
	struct err err;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &x.dir, 0, 0, "the installation" },
		{ "ca", "NAME", ARG_TEXT, &x.ca, 0, 0, "which CA (root)", CHOICES_CA },
		{ "format", "pem|der", ARG_TEXT, &x.format, 0, 0, "pem (default) or der" },
		{ "chain", NULL, ARG_FLAG, &x.chain, 0, 0, "with the CA above it" },
		{ "out", "FILE", ARG_TEXT, &x.out, 0, 0, "where to (else standard output); not overwritten" },
	};
	const struct args args = { "signet ca export [options]",
		"Writes a CA's certificate, for devices and other programs. Keys are never exported.", table, ARRAY_LEN(table),
		"Example: signet ca export --ca client --format der --out client-ca.der\n", 0, 0 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	return export(&x, &err) ? EXIT_OK : fail(&err);
}
