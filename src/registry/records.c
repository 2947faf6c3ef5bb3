/* What the audit log is to say of what was done here, until the process that keeps it has written it down. */
#include "registry/internal.h"

static const struct column columns[] = {
	{ COL_INT, offsetof(struct registry_record, n) },
	{ COL_INT, offsetof(struct registry_record, at) },
	{ COL_TEXT, offsetof(struct registry_record, actor) },
	{ COL_TEXT, offsetof(struct registry_record, action) },
	{ COL_TEXT, offsetof(struct registry_record, object) },
	{ COL_TEXT, offsetof(struct registry_record, details) },
};
static const struct kind kind = { columns, ARRAY_LEN(columns), sizeof(struct registry_record), offsetof(struct registry_record, mem), "record" };

EACH_ROW(registry_record_fn)

/* From the first to the last, whatever is missing between them: it costs nothing to know. */
static bool
span(struct registry *r, int64_t *ret, struct err *err)
{
	return db_int(r, "SELECT COALESCE((SELECT MAX(n) FROM records) - (SELECT MIN(n) FROM records) + 1, 0)", NULL, ret, err);
}

bool
registry_records_room(struct registry *r, bool *ret, struct err *err)
{
	int64_t n;

	if (!span(r, &n, err))
		return false;
	*ret = n < REGISTRY_RECORDS_MAX;
	return true;
}

bool
registry_record_add(struct registry *r, const struct registry_record *x, struct err *err)
{
	if (!word_text(x->actor, REGISTRY_LABEL_MAX, "actor", err) || !word_text(x->action, REGISTRY_LABEL_MAX, "action", err) ||
	    !word_text(x->object, REGISTRY_OBJECT_MAX, "object", err) || !word_json(x->details, "details", err))
		return false;
	return change_begin(r, err) &&
	    change_end(r,
	        db_run(r, "INSERT INTO records(at, actor, action, object, details) VALUES(?1, ?2, ?3, ?4, ?5)",
	            VALUES(v_int(registry_now(r)), v_text(x->actor), v_text(x->action), v_text(x->object), v_text(x->details)), err), err);
}

bool
registry_record_each(struct registry *r, unsigned limit, registry_record_fn *each, void *ctx, struct err *err)
{
	return row_each(r,
	    &(struct row_query){ &kind, "SELECT n, at, actor, action, object, details FROM records ORDER BY n LIMIT ?1", VALUES(v_int(limit)), SL("") },
	    each_row, &(struct shown){ each, ctx }, err);
}

bool
registry_record_done(struct registry *r, int64_t n, struct err *err)
{
	return change_begin(r, err) && change_end(r, db_run(r, "DELETE FROM records WHERE n = ?1", VALUES(v_int(n)), err), err);
}
