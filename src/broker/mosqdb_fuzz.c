/* A mosquitto.db of arbitrary bytes becomes records that recover.c would take, or an error. The input stands behind the file's header. */
#include <stdlib.h>
#include "base/assert.h"
#include "broker/import.h"
#include "broker/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct seen {
	uint64_t last, records;
};

static uint64_t
next_id(void *ctx)
{
	return ++((struct seen *)ctx)->last;
}

static struct slice
join(const struct store_record *r, uint8_t **ret_buf)
{
	size_t n = r->head.n + r->bytes.n;
	uint8_t *buf = malloc(n + 1);

	ASSERT(buf != NULL);
	if (r->head.n > 0)
		memcpy(buf, r->head.p, r->head.n);
	if (r->bytes.n > 0)
		memcpy(buf + r->head.n, r->bytes.p, r->bytes.n);
	*ret_buf = buf;
	return slice_of(buf, n);
}

static void
check_body(struct slice s)
{
	const struct record_now now = { .wall = 1000000 };
	bool nomem;
	struct msg *m = record_get_body(s, &now, &nomem);

	ASSERT(m != NULL);
	msg_unref(m);
}

static bool
on_put(void *ctx, const struct store_record *r)
{
	struct seen *seen = ctx;
	struct record_session session;
	struct record_sub sub;
	struct record_entry entry;
	struct record_inbound inbound;
	uint8_t *buf;
	struct slice s = join(r, &buf);

	ASSERT(r->id != 0 && r->id <= seen->last && r->ref < r->id);
	if (r->kind == STORE_SESSION)
		ASSERT(record_get_session(s, &session) && session.unclaimed && session.expiry_s > 0);
	else if (r->kind == STORE_BODY)
		check_body(s);
	else if (r->kind == STORE_SUBSCRIPTION)
		ASSERT(record_get_sub(s, &sub) && sub.session != 0);
	else if (r->kind == STORE_ENTRY)
		ASSERT(record_get_entry(s, &entry) && entry.session != 0 && (r->ref == 0) == (entry.state == RECORD_RELEASED));
	else if (r->kind == STORE_INBOUND)
		ASSERT(record_get_inbound(s, &inbound) && inbound.session != 0);
	else
		ASSERT(r->kind == STORE_RETAINED && r->ref != 0 && s.n == 0);
	free(buf);
	seen->records++;
	return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char header[] = "\0\265\0mosquitto db\0\0\0\0\0\0\0\6";
	size_t header_n = sizeof header - 1;
	uint8_t *file = malloc(header_n + n);
	struct seen seen = { 0 };
	struct import_sink to = { &seen, next_id, on_put };
	struct broker_import from = { .now = 1000000, .saved_at = 999000 };
	struct broker_imported got = { 0 };
	struct err err = { 0 };

	ASSERT(file != NULL);
	memcpy(file, header, header_n);
	if (n > 0)
		memcpy(file + header_n, data, n);
	/* Format 5 by the first byte's highest bit, which no kind of chunk has. */
	if (n > 0 && (data[0] & 0x80) != 0) {
		file[header_n - 1] = 5;
		file[header_n] &= 0x7f;
	}
	from.file = slice_of(file, header_n + n);
	if (import_run(&to, &from, &got, &err))
		ASSERT(seen.records >= got.sessions + got.subscriptions + got.messages + got.retained + got.inbound);
	else
		ASSERT(err.code == ERR_INPUT && err.text[0] != '\0');
	free(file);
	return 0;
}
