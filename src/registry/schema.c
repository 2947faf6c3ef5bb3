/* The tables, and how a file of an older version comes to have them. docs/registry.md explains them. */
#include "registry/internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* Numbers that are handed to the outside (AUTOINCREMENT) are never used twice. Texts are never NULL. */
static const char version_1[] =
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "INSERT INTO meta VALUES('generation', 0), ('changes_floor', 0), ('attr', 0);"
    "CREATE TABLE settings(name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;"

    "CREATE TABLE tenants(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, quotas TEXT NOT NULL, disabled INTEGER NOT NULL,"
    " first INTEGER NOT NULL, created INTEGER NOT NULL, version INTEGER NOT NULL) STRICT;"
    "CREATE UNIQUE INDEX tenants_name ON tenants(name);"
    "CREATE UNIQUE INDEX tenants_first ON tenants(first) WHERE first = 1;"

    "CREATE TABLE users(id INTEGER PRIMARY KEY AUTOINCREMENT, tenant_id INTEGER NOT NULL REFERENCES tenants, name TEXT NOT NULL,"
    " full_name TEXT NOT NULL, email TEXT NOT NULL, profile TEXT NOT NULL, password TEXT NOT NULL, disabled INTEGER NOT NULL,"
    " generation INTEGER NOT NULL, failures INTEGER NOT NULL, locked_until INTEGER NOT NULL, last_login INTEGER NOT NULL,"
    " password_changed INTEGER NOT NULL, created INTEGER NOT NULL, version INTEGER NOT NULL) STRICT;"
    "CREATE UNIQUE INDEX users_name ON users(name);"
    "CREATE UNIQUE INDEX users_email ON users(email) WHERE email <> '';"
    "CREATE INDEX users_tenant ON users(tenant_id, name);"
    "CREATE TABLE user_passwords(id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,"
    " password TEXT NOT NULL) STRICT;"
    "CREATE INDEX user_passwords_user ON user_passwords(user_id);"

    "CREATE TABLE groups(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL,"
    " system INTEGER NOT NULL, created INTEGER NOT NULL, version INTEGER NOT NULL) STRICT;"
    "CREATE TABLE permissions(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, path TEXT NOT NULL,"
    " method TEXT NOT NULL, deny INTEGER NOT NULL, system INTEGER NOT NULL, created INTEGER NOT NULL, version INTEGER NOT NULL) STRICT;"
    "CREATE TABLE user_groups(user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,"
    " group_id INTEGER NOT NULL REFERENCES groups ON DELETE CASCADE, PRIMARY KEY(user_id, group_id)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX user_groups_group ON user_groups(group_id);"
    "CREATE TABLE user_permissions(user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,"
    " permission_id INTEGER NOT NULL REFERENCES permissions ON DELETE CASCADE, PRIMARY KEY(user_id, permission_id)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX user_permissions_permission ON user_permissions(permission_id);"
    "CREATE TABLE group_permissions(group_id INTEGER NOT NULL REFERENCES groups ON DELETE CASCADE,"
    " permission_id INTEGER NOT NULL REFERENCES permissions ON DELETE CASCADE, PRIMARY KEY(group_id, permission_id)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX group_permissions_permission ON group_permissions(permission_id);"

    "CREATE TABLE templates(id INTEGER PRIMARY KEY AUTOINCREMENT, tenant_id INTEGER NOT NULL REFERENCES tenants, label TEXT NOT NULL,"
    " attrs TEXT NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL, version INTEGER NOT NULL) STRICT;"
    "CREATE INDEX templates_tenant ON templates(tenant_id);"

    "CREATE TABLE devices(id INTEGER PRIMARY KEY AUTOINCREMENT, tenant_id INTEGER NOT NULL REFERENCES tenants, name TEXT NOT NULL,"
    " cn TEXT NOT NULL, label TEXT NOT NULL, state INTEGER NOT NULL CHECK(state BETWEEN 0 AND 3), templates TEXT NOT NULL,"
    " not_after INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL, version INTEGER NOT NULL, attrs TEXT NOT NULL) STRICT;"
    "CREATE UNIQUE INDEX devices_cn ON devices(cn);"
    "CREATE UNIQUE INDEX devices_name ON devices(tenant_id, name);"
    "CREATE INDEX devices_label ON devices(tenant_id, label);"
    "CREATE INDEX devices_end ON devices(tenant_id, not_after) WHERE not_after <> 0;"
    "CREATE INDEX devices_not_enabled ON devices(tenant_id, name) WHERE state <> 0;"
    "CREATE TABLE device_templates(template_id INTEGER NOT NULL REFERENCES templates, name TEXT NOT NULL,"
    " device_id INTEGER NOT NULL REFERENCES devices ON DELETE CASCADE, PRIMARY KEY(template_id, name)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX device_templates_device ON device_templates(device_id);"
    "CREATE TABLE presence(device_id INTEGER PRIMARY KEY REFERENCES devices ON DELETE CASCADE, tenant_id INTEGER NOT NULL,"
    " online INTEGER NOT NULL, since INTEGER NOT NULL, last_seen INTEGER NOT NULL, address TEXT NOT NULL, status TEXT NOT NULL) STRICT;"
    "CREATE INDEX presence_seen ON presence(tenant_id, last_seen);"
    "CREATE INDEX presence_online ON presence(device_id) WHERE online = 1;"

    "CREATE TABLE cas(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, tenant_id INTEGER REFERENCES tenants,"
    " role TEXT NOT NULL, parent_id INTEGER REFERENCES cas, subject TEXT NOT NULL, key BLOB NOT NULL UNIQUE, der BLOB NOT NULL,"
    " not_before INTEGER NOT NULL, not_after INTEGER NOT NULL, own INTEGER NOT NULL, auto_register INTEGER NOT NULL,"
    " retired INTEGER NOT NULL, crl_number INTEGER NOT NULL, crl_this INTEGER NOT NULL, crl_next INTEGER NOT NULL,"
    /* The next number that was given out; how many revocations there were, were when it was, and stand on the last list. */
    " crl_begun INTEGER NOT NULL, revocations INTEGER NOT NULL, revocations_begun INTEGER NOT NULL, revocations_listed INTEGER NOT NULL,"
    " created INTEGER NOT NULL, version INTEGER NOT NULL) STRICT;"
    "CREATE INDEX cas_tenant ON cas(tenant_id);"
    "CREATE INDEX cas_parent ON cas(parent_id);"
    "CREATE TABLE crls(ca_id INTEGER PRIMARY KEY REFERENCES cas ON DELETE CASCADE, der BLOB NOT NULL) STRICT;"

    "CREATE TABLE certificates(id INTEGER PRIMARY KEY AUTOINCREMENT, ca_id INTEGER NOT NULL REFERENCES cas, serial BLOB NOT NULL,"
    " fingerprint BLOB NOT NULL, spki BLOB NOT NULL, cn TEXT NOT NULL, tenant_id INTEGER REFERENCES tenants,"
    " device_id INTEGER REFERENCES devices ON DELETE SET NULL, profile TEXT NOT NULL, origin TEXT NOT NULL, by TEXT NOT NULL,"
    " state INTEGER NOT NULL CHECK(state BETWEEN 0 AND 3), not_before INTEGER NOT NULL, not_after INTEGER NOT NULL,"
    " revoked_at INTEGER NOT NULL, reason INTEGER NOT NULL, created INTEGER NOT NULL, der BLOB NOT NULL) STRICT;"
    "CREATE UNIQUE INDEX certificates_serial ON certificates(ca_id, serial);"
    "CREATE UNIQUE INDEX certificates_fingerprint ON certificates(fingerprint);"
    "CREATE INDEX certificates_device ON certificates(device_id) WHERE device_id IS NOT NULL;"
    "CREATE INDEX certificates_cn ON certificates(cn);"
    "CREATE INDEX certificates_tenant ON certificates(tenant_id);"
    "CREATE INDEX certificates_revoked ON certificates(ca_id, serial) WHERE state >= 2;"
    "CREATE INDEX certificates_ended ON certificates(id) WHERE state <> 0;"
    "CREATE INDEX certificates_end ON certificates(not_after) WHERE state = 0;"
    "CREATE INDEX certificates_tenant_end ON certificates(tenant_id, not_after) WHERE state = 0;"

    "CREATE TABLE entities(id INTEGER PRIMARY KEY, name TEXT NOT NULL, tenant_id INTEGER REFERENCES tenants,"
    " device_id INTEGER REFERENCES devices ON DELETE SET NULL, ca TEXT NOT NULL, profile TEXT NOT NULL, ee_profile TEXT NOT NULL,"
    " token_type TEXT NOT NULL, subject TEXT NOT NULL, password TEXT NOT NULL, other TEXT NOT NULL, state INTEGER NOT NULL,"
    " created INTEGER NOT NULL, updated INTEGER NOT NULL, version INTEGER NOT NULL) STRICT;"
    "CREATE UNIQUE INDEX entities_name ON entities(name);"
    "CREATE INDEX entities_device ON entities(device_id) WHERE device_id IS NOT NULL;"
    "CREATE INDEX entities_tenant ON entities(tenant_id, name);"

    "CREATE TABLE secrets(id INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL, tenant_id INTEGER REFERENCES tenants ON DELETE CASCADE,"
    " device_id INTEGER REFERENCES devices ON DELETE CASCADE, purpose TEXT NOT NULL, note TEXT NOT NULL, max_uses INTEGER NOT NULL,"
    " uses INTEGER NOT NULL, claimed INTEGER NOT NULL CHECK(claimed >= 0), expires INTEGER NOT NULL, revoked INTEGER NOT NULL,"
    " by TEXT NOT NULL, created INTEGER NOT NULL) STRICT;"
    "CREATE UNIQUE INDEX secrets_hash ON secrets(hash);"
    "CREATE INDEX secrets_tenant ON secrets(tenant_id);"
    "CREATE INDEX secrets_device ON secrets(device_id) WHERE device_id IS NOT NULL;"
    "CREATE INDEX secrets_claimed ON secrets(id) WHERE claimed > 0;"
    "CREATE INDEX secrets_expires ON secrets(expires) WHERE expires > 0;"

    "CREATE TABLE changes(generation INTEGER PRIMARY KEY, cn TEXT NOT NULL, tenant TEXT NOT NULL, state INTEGER NOT NULL,"
    " removed INTEGER NOT NULL) STRICT;"
    "CREATE INDEX changes_cn ON changes(cn);"

    "CREATE TABLE replays(scope TEXT NOT NULL, key TEXT NOT NULL, hash BLOB NOT NULL, status INTEGER NOT NULL, head BLOB NOT NULL,"
    " body BLOB NOT NULL, expires INTEGER NOT NULL, PRIMARY KEY(scope, key)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX replays_expires ON replays(expires);"

    /* What is shown as a number is kept, not counted. */
    "CREATE TABLE device_tally(tenant_id INTEGER NOT NULL, state INTEGER NOT NULL, n INTEGER NOT NULL,"
    " PRIMARY KEY(tenant_id, state)) STRICT, WITHOUT ROWID;"
    "CREATE TRIGGER devices_added AFTER INSERT ON devices BEGIN"
    " INSERT INTO device_tally VALUES(NEW.tenant_id, NEW.state, 1) ON CONFLICT DO UPDATE SET n = n + 1; END;"
    "CREATE TRIGGER devices_removed AFTER DELETE ON devices BEGIN"
    " UPDATE device_tally SET n = n - 1 WHERE tenant_id = OLD.tenant_id AND state = OLD.state; END;"
    "CREATE TRIGGER devices_moved AFTER UPDATE OF state ON devices WHEN NEW.state <> OLD.state BEGIN"
    " UPDATE device_tally SET n = n - 1 WHERE tenant_id = OLD.tenant_id AND state = OLD.state;"
    " INSERT INTO device_tally VALUES(NEW.tenant_id, NEW.state, 1) ON CONFLICT DO UPDATE SET n = n + 1; END;"
    "CREATE TABLE user_tally(tenant_id INTEGER PRIMARY KEY, n INTEGER NOT NULL) STRICT;"
    "CREATE TRIGGER users_added AFTER INSERT ON users BEGIN"
    " INSERT INTO user_tally VALUES(NEW.tenant_id, 1) ON CONFLICT DO UPDATE SET n = n + 1; END;"
    "CREATE TRIGGER users_removed AFTER DELETE ON users BEGIN"
    " UPDATE user_tally SET n = n - 1 WHERE tenant_id = OLD.tenant_id; END;"
    /* Active certificates by the day of their end; tenant 0: of none. */
    "CREATE TABLE end_tally(tenant_id INTEGER NOT NULL, day INTEGER NOT NULL, n INTEGER NOT NULL,"
    " PRIMARY KEY(tenant_id, day)) STRICT, WITHOUT ROWID;"
    "CREATE TRIGGER certificates_added AFTER INSERT ON certificates WHEN NEW.state = 0 BEGIN"
    " INSERT INTO end_tally VALUES(COALESCE(NEW.tenant_id, 0), NEW.not_after / 86400, 1) ON CONFLICT DO UPDATE SET n = n + 1; END;"
    "CREATE TRIGGER certificates_left AFTER UPDATE OF state, tenant_id ON certificates WHEN OLD.state = 0 BEGIN"
    " UPDATE end_tally SET n = n - 1 WHERE tenant_id = COALESCE(OLD.tenant_id, 0) AND day = OLD.not_after / 86400; END;"
    "CREATE TRIGGER certificates_came AFTER UPDATE OF state, tenant_id ON certificates WHEN NEW.state = 0 BEGIN"
    " INSERT INTO end_tally VALUES(COALESCE(NEW.tenant_id, 0), NEW.not_after / 86400, 1) ON CONFLICT DO UPDATE SET n = n + 1; END;";

/* The ends of certificates by their CA, too: what is left of one that is replaced, and in which order it ends; and what is to be booked. */
static const char version_2[] =
    "DROP TRIGGER certificates_added; DROP TRIGGER certificates_left; DROP TRIGGER certificates_came; DROP TABLE end_tally;"
    "CREATE TABLE end_tally(tenant_id INTEGER NOT NULL, day INTEGER NOT NULL, ca_id INTEGER NOT NULL, n INTEGER NOT NULL,"
    " PRIMARY KEY(tenant_id, day, ca_id)) STRICT, WITHOUT ROWID;"
    "INSERT INTO end_tally SELECT COALESCE(tenant_id, 0), not_after / 86400, ca_id, COUNT(*) FROM certificates WHERE state = 0 GROUP BY 1, 2, 3;"
    "CREATE TRIGGER certificates_added AFTER INSERT ON certificates WHEN NEW.state = 0 BEGIN"
    " INSERT INTO end_tally VALUES(COALESCE(NEW.tenant_id, 0), NEW.not_after / 86400, NEW.ca_id, 1) ON CONFLICT DO UPDATE SET n = n + 1; END;"
    "CREATE TRIGGER certificates_left AFTER UPDATE OF state, tenant_id ON certificates WHEN OLD.state = 0 BEGIN"
    " UPDATE end_tally SET n = n - 1 WHERE tenant_id = COALESCE(OLD.tenant_id, 0) AND day = OLD.not_after / 86400 AND ca_id = OLD.ca_id; END;"
    "CREATE TRIGGER certificates_came AFTER UPDATE OF state, tenant_id ON certificates WHEN NEW.state = 0 BEGIN"
    " INSERT INTO end_tally VALUES(COALESCE(NEW.tenant_id, 0), NEW.not_after / 86400, NEW.ca_id, 1) ON CONFLICT DO UPDATE SET n = n + 1; END;"
    "CREATE INDEX certificates_ca_end ON certificates(tenant_id, ca_id, not_after) WHERE state = 0;"

    /* Revocations, holds and their ends that stand neither in the CA's index nor in the audit log yet: the signer is to be told. Only of CAs whose
     * key it has. What the index says is taken out again: it is read anew, from its beginning. */
    "CREATE TABLE unbooked(id INTEGER PRIMARY KEY REFERENCES certificates ON DELETE CASCADE) STRICT;"
    "INSERT INTO unbooked SELECT x.id FROM certificates x JOIN cas c ON c.id = x.ca_id WHERE x.state >= 2 AND c.own = 1;"
    "DELETE FROM settings WHERE name LIKE 'index/%';"
    "CREATE TRIGGER certificates_unbooked AFTER UPDATE OF state ON certificates WHEN NEW.state <> OLD.state AND (NEW.state >= 2 OR OLD.state = 2)"
    " AND (SELECT own FROM cas WHERE id = NEW.ca_id) = 1 BEGIN INSERT OR REPLACE INTO unbooked VALUES(NEW.id); END;"

    /* Which key got which certificate for a secret, so that who has not heard the answer may ask again. */
    "CREATE TABLE enrolled(secret INTEGER NOT NULL REFERENCES secrets ON DELETE CASCADE, spki BLOB NOT NULL,"
    " certificate INTEGER NOT NULL REFERENCES certificates ON DELETE CASCADE, PRIMARY KEY(secret, spki)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX enrolled_certificate ON enrolled(certificate);";

/* Who is expected to say how he is (enum registry_beat), and what the audit log does not know yet. Nobody compares with old passwords. */
static const char version_3[] =
    "ALTER TABLE presence ADD COLUMN beat INTEGER NOT NULL DEFAULT 0;"
    "CREATE INDEX presence_expected ON presence(device_id) WHERE beat = 1;"
    "CREATE TABLE records(n INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, object TEXT NOT NULL,"
    " details TEXT NOT NULL) STRICT;"
    "DROP TABLE user_passwords;"
    /* What is kept for each who asks, for which there is a bound. */
    "CREATE TABLE replay_tally(scope TEXT PRIMARY KEY, n INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "INSERT INTO replay_tally SELECT scope, COUNT(*), SUM(length(head) + length(body)) FROM replays GROUP BY scope;"
    "CREATE INDEX replays_oldest ON replays(scope, expires) WHERE expires > 0;"
    "CREATE TRIGGER replays_added AFTER INSERT ON replays BEGIN"
    " INSERT INTO replay_tally VALUES(NEW.scope, 1, length(NEW.head) + length(NEW.body))"
    " ON CONFLICT DO UPDATE SET n = n + 1, bytes = bytes + excluded.bytes; END;"
    "CREATE TRIGGER replays_filled AFTER UPDATE OF head, body ON replays BEGIN"
    " UPDATE replay_tally SET bytes = bytes + length(NEW.head) + length(NEW.body) - length(OLD.head) - length(OLD.body) WHERE scope = NEW.scope; END;"
    "CREATE TRIGGER replays_removed AFTER DELETE ON replays BEGIN"
    " UPDATE replay_tally SET n = n - 1, bytes = bytes - length(OLD.head) - length(OLD.body) WHERE scope = OLD.scope;"
    " DELETE FROM replay_tally WHERE scope = OLD.scope AND n = 0; END;";

const struct migration schema_migrations[] = {
	{ version_1 },
	{ version_2 },
	{ version_3 },
};
const size_t schema_version = ARRAY_LEN(schema_migrations);

/* ---- migrations ---- */

/* What was, so that the older program can go back to it. */
static bool
keep_copy(struct registry *r, int version, struct err *err)
{
	char path[4096 + 16];
	int fd;

	(void)snprintf(path, sizeof path, "%s.v%d", r->path, version);
	(void)unlink(path); /* of an attempt that did not come to its end */
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600); /* SQLite would give it the umask's mode */
	if (fd == -1)
		return err_sys(err, "cannot make %s", path);
	(void)close(fd);
	if (db_run(r, "VACUUM INTO ?1", VALUES(v_text(slice_str(path))), err))
		return true;
	(void)unlink(path);
	return err_prefix(err, "cannot keep a copy as %s before bringing it up to date", path);
}

static bool
step(struct registry *r, const struct migration *m, int to, struct err *err)
{
	char set[96];

	(void)snprintf(set, sizeof set, "PRAGMA application_id = %d; PRAGMA user_version = %d", APPLICATION_ID, to);
	return change_begin(r, err) && change_end(r, db_exec(r, m->sql, err) && db_exec(r, set, err), err);
}

bool
schema_migrate(struct registry *r, const struct migration *m, size_t n, struct err *err)
{
	int version;

	if (!db_version(r, &version, err))
		return false;
	if (version < 0 || (size_t)version > n)
		return err_set(err, ERR_INPUT, "%s has version %d, and this program knows versions up to %zu: use the newer program, "
		    "or put the backup back that was made before it", r->path, version, n);
	if (version > 0 && (size_t)version < n && !keep_copy(r, version, err))
		return false;
	for (; (size_t)version < n; version++)
		if (!step(r, &m[version], version + 1, err))
			return err_prefix(err, "cannot bring the registry to version %d", version + 1);
	return true;
}
