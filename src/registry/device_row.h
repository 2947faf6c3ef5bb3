/* Private to registry/: a device's row, which devices.c looks up and device_list.c lists. */
#ifndef REGISTRY_DEVICE_ROW_H
#define REGISTRY_DEVICE_ROW_H

#include "registry/internal.h"

extern const struct kind device_kind;
/* enum registry_device_certificate: the newest certificate is looked for only where there is no active one. */
#define HAS_CERTIFICATE                                                                                                        \
	"CASE WHEN d.not_after <> 0 THEN 0 ELSE COALESCE((SELECT x.state FROM certificates x INDEXED BY certificates_device"   \
	" WHERE x.device_id = d.id ORDER BY x.id DESC LIMIT 1), 4) END"
/* In the order of device_kind's columns. */
#define DEVICE_SELECT                                                                                                          \
	"SELECT t.name, d.name, d.cn, d.label, d.attrs, d.templates, d.state, d.not_after, " HAS_CERTIFICATE ", COALESCE(p.online, 0)," \
	" COALESCE(p.since, 0), COALESCE(p.last_seen, 0), p.address, p.status, COALESCE(p.beat, 0) = 2, d.created, d.updated, d.version" \
	" FROM devices d JOIN tenants t ON t.id = d.tenant_id LEFT JOIN presence p ON p.device_id = d.id WHERE "

#endif
