/* signet device add --from: devices of a CSV file. Each is whole or not there at all, so a run that was interrupted is begun again with the same
 * words, and goes on where it was. */
#include "cli/device_many.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/file.h"
#include "base/num.h"
#include "base/text.h"
#include "cli/internal.h"
#include "cli/local.h"
#include "enrol/enrol.h"

enum { CHUNK = PKI_SERIES_MAX, STEP = 1000, ERRORS_SHOWN = 50, COLUMNS = 3 };

enum state { MADE, HAD, BAD };
static const char *const state_names[] = { "made", "there already", "error" };

struct row {
	unsigned line;
	enum state state;
	char id[4 * PKI_CN_MAX + 1], serial[41], fingerprint[65], label[257];
	int64_t not_after, template;
	bool registered;
	char why[300];
};

struct run {
	const struct device_many *m;
	struct pki_series *series;
	struct https *api;               /* NULL: no control process here */
	FILE *result;
	int column[COLUMNS];             /* where id, label and template stand; -1: nowhere */
	struct row chunk[CHUNK];
	size_t n;
	unsigned done[3], registered, shown;
	struct timespec begun;
};
static const char *const column_names[COLUMNS] = { "id", "label", "template" };

/* ---- the result ---- */

static void
put_field(FILE *out, const char *s, char end)
{
	if (strpbrk(s, ",\"\r\n") == NULL) {
		(void)fprintf(out, "%s%c", s, end);
		return;
	}
	(void)fputc('"', out);
	for (; *s != '\0'; s++)
		(void)fprintf(out, *s == '"' ? "\"\"" : "%c", *s);
	(void)fprintf(out, "\"%c", end);
}

static void
put_row(struct run *r, const struct row *w)
{
	char when[32] = "";
	time_t t = (time_t)w->not_after;
	struct tm tm;

	if (w->not_after != 0 && gmtime_r(&t, &tm) != NULL)
		(void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
	(void)fprintf(r->result, "%u,", w->line);
	put_field(r->result, w->id, ',');
	(void)fprintf(r->result, "%s,%s,%s,%s,%s,", state_names[w->state], w->registered ? "yes" : "no", w->serial, w->fingerprint, when);
	put_field(r->result, w->why, '\n');
	r->done[w->state]++;
	r->registered += w->registered;
	if (w->why[0] == '\0' || r->shown++ >= ERRORS_SHOWN)
		return;
	(void)fprintf(stderr, "%s:%u: %s%s", r->m->from, w->line, w->why, r->shown == ERRORS_SHOWN ? "\n(more of them are in the result file)\n" : "\n");
}

static double
seconds(const struct run *r)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - r->begun.tv_sec) + (double)(now.tv_nsec - r->begun.tv_nsec) / 1e9;
}

static void
show_progress(const struct run *r)
{
	unsigned all = r->done[MADE] + r->done[HAD] + r->done[BAD];
	bool terminal = isatty(STDERR_FILENO) == 1;

	if (terminal || all % STEP < CHUNK)
		(void)fprintf(stderr, "%s%u devices, %.0f/s%s", terminal ? "\r" : "", all, all / (seconds(r) + 0.001), terminal ? "  " : "\n");
}

/* ---- the registry ---- */

static json_t *
device_json(const struct row *w)
{
	json_t *o = json_pack("{s:s, s:s}", "id", w->id, "label", w->label);

	if (w->template != 0)
		(void)json_object_set_new(o, "templates", json_pack("[I]", (json_int_t)w->template));
	return o;
}

static void
register_one(struct run *r, struct row *w)
{
	json_t *answer = NULL;
	struct err err;

	w->registered = local_ask(r->api, "/api/v1/devices", "", device_json(w), &answer, &err) || err.code == ERR_EXISTS;
	json_decref(answer);
	if (!w->registered)
		(void)snprintf(w->why, sizeof w->why, "it has its certificate and is not registered: %.200s", err.text);
}

/* All at once; one by one when some cannot be. */
static void
register_chunk(struct run *r)
{
	json_t *list = json_array(), *answer = NULL;
	struct err err;
	bool ok = r->api != NULL;

	for (size_t i = 0; i < r->n && ok; i++)
		if (r->chunk[i].state != BAD)
			(void)json_array_append_new(list, device_json(&r->chunk[i]));
	if (!ok || json_array_size(list) == 0) {
		json_decref(list);
		return;
	}
	ok = local_ask(r->api, "/api/v1/devices/bulk", "", json_pack("{s:o, s:s}", "devices", list, "existing", "keep"), &answer, &err);
	json_decref(answer);
	for (size_t i = 0; i < r->n; i++) {
		if (r->chunk[i].state == BAD)
			continue;
		if (ok)
			r->chunk[i].registered = true;
		else
			register_one(r, &r->chunk[i]);
	}
}

/* ---- their certificates ---- */

/* False: it makes no sense to go on. */
static bool
issue_chunk(struct run *r, struct err *err)
{
	struct pki_series_one *v = calloc(CHUNK, sizeof *v);
	struct row *of[CHUNK];
	size_t n = 0;
	bool ok = v != NULL || err_set(err, ERR_MEMORY, "out of memory");

	for (size_t i = 0; i < r->n && ok; i++)
		if (r->chunk[i].why[0] == '\0') {
			of[n] = &r->chunk[i];
			v[n++].cn = r->chunk[i].id;
		}
	ok = ok && pki_series_issue(r->series, v, n, err);
	for (size_t i = 0; i < n; i++) {
		const struct err *why = ok ? &v[i].why : err;

		if (why->code != ERR_OK) {
			(void)snprintf(of[i]->why, sizeof of[i]->why, "%.299s", why->text);
			continue;
		}
		of[i]->state = v[i].had ? HAD : MADE;
		of[i]->not_after = v[i].not_after;
		memcpy(of[i]->serial, v[i].serial, sizeof of[i]->serial);
		memcpy(of[i]->fingerprint, v[i].fingerprint, sizeof of[i]->fingerprint);
	}
	free(v);
	return ok;
}

static bool
end_chunk(struct run *r, struct err *err)
{
	bool ok;

	if (r->n == 0)
		return true;
	ok = issue_chunk(r, err);
	register_chunk(r);
	for (size_t i = 0; i < r->n; i++)
		put_row(r, &r->chunk[i]);
	r->n = 0;
	show_progress(r);
	return ok;
}

/* ---- lines ---- */

static struct slice
field(const struct run *r, const struct csv_line *l, int which)
{
	int at = r->column[which];

	return at >= 0 && (size_t)at < l->n ? l->fields[at] : (struct slice){ 0 };
}

static bool
read_row(const struct run *r, const struct csv_line *l, struct row *w, struct err *err)
{
	struct slice id = field(r, l, 0), label = field(r, l, 1), template = field(r, l, 2);
	char why[160], shown[100];
	uint64_t n = 0;

	if (l->fault != NULL)
		return err_set(err, ERR_INPUT, "this is not CSV: %s; correct the line", l->fault);
	if (!text_copy(w->id, sizeof w->id, id) || !pki_cn_ok(id, why, sizeof why) || memchr(id.p, ':', id.n) != NULL)
		return err_set(err, ERR_INPUT, "'%s' cannot be a device's id: 1 to %d characters without / + # :", text_show(id, shown, sizeof shown), PKI_CN_MAX);
	if (w->id[0] == '.')
		return err_set(err, ERR_INPUT, "'%s' begins with a dot, and a folder will have the name", text_show(id, shown, sizeof shown));
	if (!text_copy(w->label, sizeof w->label, label) || !utf8_ok(label))
		return err_set(err, ERR_INPUT, "the label of '%s' is over 256 bytes, or no UTF-8", w->id);
	if (template.n > 0 && !text_u64(template, 1, INT64_MAX, &n))
		return err_set(err, ERR_INPUT, "the template of '%s' is no number", w->id);
	w->template = (int64_t)n;
	return true;
}

/* False: it makes no sense to go on. */
static bool
take_line(struct run *r, const struct csv_line *l, struct err *err)
{
	struct row *w = &r->chunk[r->n++];
	struct err why;

	*w = (struct row){ .line = l->number, .state = BAD };
	if (!read_row(r, l, w, &why))
		(void)snprintf(w->why, sizeof w->why, "%.299s", why.text);
	return r->n < CHUNK || end_chunk(r, err);
}

static bool
take_header(struct run *r, const struct csv_line *l, struct err *err)
{
	char shown[100];

	for (int i = 0; i < COLUMNS; i++)
		r->column[i] = -1;
	if (l->fault != NULL)
		return err_set(err, ERR_INPUT, "%s: the first line is not CSV: %s", r->m->from, l->fault);
	for (size_t k = 0; k < l->n; k++) {
		int i = 0;

		while (i < COLUMNS && !slice_eq(l->fields[k], slice_str(column_names[i])))
			i++;
		if (i == COLUMNS)
			return err_set(err, ERR_INPUT, "%s: the first line names the columns, of which there are id, label and template; '%s' is none", r->m->from,
			    text_show(l->fields[k], shown, sizeof shown));
		r->column[i] = (int)k;
	}
	return r->column[0] >= 0 || err_set(err, ERR_INPUT, "%s: there is no column id", r->m->from);
}

static bool
read_file(struct run *r, FILE *in, struct csv *csv, struct err *err)
{
	static const size_t piece = 65536;
	uint8_t *buf = malloc(piece);
	bool header = true, ok = buf != NULL || err_set(err, ERR_MEMORY, "out of memory");
	struct csv_line l;

	while (ok) {
		size_t n = fread(buf, 1, piece, in);
		bool last = n < piece;
		struct slice s = slice_of(buf, n);

		while (ok && csv_next(csv, &s, last, &l)) {
			ok = header ? take_header(r, &l, err) : take_line(r, &l, err);
			header = false;
		}
		if (last)
			break;
	}
	free(buf);
	return ok && (ferror(in) == 0 || err_sys(err, "%s", r->m->from));
}

/* ---- all of it ---- */

/* Where there is a control process, the devices are registered, too. */
static struct https *
find_control(const char *dir)
{
	struct err err;
	struct https *h = local_open(dir, &err);
	json_t *me = NULL;

	if (h != NULL && !local_ask(h, "/api/v1/me", "", NULL, &me, &err)) {
		https_close(h);
		h = NULL;
	}
	json_decref(me);
	return h;
}

static bool
sum_up(struct run *r, const char *result, struct err *err)
{
	(void)fprintf(stderr, "\n");
	(void)printf("%u devices made, %u were there already, %u errors, in %.1f s. The result: %s\n", r->done[MADE], r->done[HAD], r->done[BAD], seconds(r), result);
	if (r->api == NULL)
		(void)printf("No control process answers here: their certificates are good, and they are not registered.\n");
	else
		(void)printf("%u of them are registered.\n", r->registered);
	if (r->done[BAD] > 0 || (r->api != NULL && r->registered < r->done[MADE] + r->done[HAD]))
		return err_set(err, ERR_INPUT, "some lines could not be done: correct them and run this again; what is done stays");
	return true;
}

static bool
run(struct run *r, FILE *in, struct err *err)
{
	struct csv *csv = csv_new(r->m->separator);
	bool ok = csv != NULL ? read_file(r, in, csv, err) : err_set(err, ERR_MEMORY, "out of memory");

	ok = ok && end_chunk(r, err);
	csv_free(csv);
	return ok;
}

bool
device_many(const struct device_many *m, struct err *err)
{
	char result[PKI_PATH_MAX], part[PKI_PATH_MAX + 8];
	struct run *r = calloc(1, sizeof *r);
	FILE *in = fopen(m->from, "re");
	bool ok = r != NULL && in != NULL;
	int fd = -1;

	if (!ok)
		(void)(r == NULL ? err_set(err, ERR_MEMORY, "out of memory") : err_sys(err, "%s", m->from));
	(void)snprintf(result, sizeof result, "%s%s", m->result != NULL ? m->result : m->from, m->result != NULL ? "" : ".result.csv");
	(void)snprintf(part, sizeof part, "%s.part", result);
	if (ok && ((fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) == -1 || (r->result = fdopen(fd, "w")) == NULL))
		ok = err_sys(err, "%s", part);
	if (ok) {
		r->m = m;
		(void)clock_gettime(CLOCK_MONOTONIC, &r->begun);
		(void)fputs("line,id,state,registered,serial,fingerprint,not_after,detail\n", r->result);
		r->api = find_control(m->order->dir);
		r->series = pki_series_new(m->order, err);
		ok = r->series != NULL && run(r, in, err);
		pki_series_free(r->series);
		ok = (fclose(r->result) == 0 && rename(part, result) == 0) ? ok : err_sys(err, "%s", result);
		ok = ok && sum_up(r, result, err);
		https_close(r->api);
	}
	if (in != NULL)
		(void)fclose(in);
	free(r);
	return ok;
}
