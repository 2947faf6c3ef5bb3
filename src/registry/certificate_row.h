/* Private to registry/: a certificate's row, for those who change and those who list. */
#ifndef REGISTRY_CERTIFICATE_ROW_H
#define REGISTRY_CERTIFICATE_ROW_H

#include "registry/internal.h"

extern const struct kind certificate_kind;
/* In the order of certificate_kind's columns; <der>: "x.der", or "x''" for lists that do not show it. */
#define CERTIFICATE_SELECT(der)                                                                                                \
	"SELECT c.name, x.serial, x.fingerprint, x.spki, x.cn, t.name, d.name, x.profile, x.origin, x.by, x.state, x.not_before," \
	" x.not_after, x.revoked_at, x.reason, c.own, x.created, " der " FROM certificates x JOIN cas c ON c.id = x.ca_id"             \
	" LEFT JOIN tenants t ON t.id = x.tenant_id LEFT JOIN devices d ON d.id = x.device_id WHERE "

#endif
