/* Private to registry/: a device's row, which devices.c looks up and device_list.c lists. */
#ifndef REGISTRY_DEVICE_ROW_H
#define REGISTRY_DEVICE_ROW_H

#include "registry/internal.h"

extern const struct kind device_kind;
/* In the order of device_kind's columns. */
#define DEVICE_SELECT                                                                                                          \
	"SELECT t.name, d.name, d.cn, d.label, d.attrs, d.templates, d.state, d.not_after, COALESCE(p.online, 0),"             \
	" COALESCE(p.since, 0), COALESCE(p.last_seen, 0), p.address, p.status, d.created, d.updated, d.version"                \
	" FROM devices d JOIN tenants t ON t.id = d.tenant_id LEFT JOIN presence p ON p.device_id = d.id WHERE "

#endif
