/* The configuration as it was read: what the file says, checked, with the place of every word of
 * it. Private to server/. */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include "authz/authz.h"
#include "base/err.h"
#include "base/log.h"
#include "base/slice.h"
#include "bridge/bridge.h"
#include "proxy/proxy.h"
#include "broker/broker.h"

enum {
	CONFIG_OPTIONS_MAX = 256,      /* rows of the options table; checked at compile time */
	CONFIG_FILE_MAX = 1024 * 1024, /* bytes of one file */
	CONFIG_LINE_MAX = 4096,
	CONFIG_FILES_MAX = 256, /* files of one configuration, the included ones too */
	CONFIG_DEPTH_MAX = 16,  /* include_dir within include_dir */
	CONFIG_LISTENERS_MAX = 64,
	CONFIG_ROLE_CAS_MAX = 64,
	CONFIG_ORIGINS_MAX = 64, /* of one listener */
	CONFIG_RANGES_MAX = 64, /* of one listener */
	CONFIG_BRIDGES_MAX = 64,
	CONFIG_ADDRESSES_MAX = 16, /* of one bridge */
	CONFIG_TOPICS_MAX = 1024,  /* of one bridge */
	CONFIG_PORTS_MAX = 10, /* -p, as in mosquitto(8) */
	CONFIG_WORKERS_MAX = 256,
	CONFIG_MOUNT_MAX = 255, /* of a mount point; as much as the broker takes */
	CONFIG_PREFIX_MAX = 64,  /* of client ids; as much as the broker takes */
	CONFIG_HTTPS_MAX = 16, /* listeners of control */
	CONFIG_PLACE_CAP = 320, /* room for "FILE:LINE" in words */
};

/* Where a word stands; line 0: nowhere, the option was not set. */
struct config_place {
	uint16_t file;
	uint32_t line;
};

/* Numbers are int64_t, truths bool, texts char * (owned): options.c writes them by offset. */

/* What per_listener_settings makes a matter of each listener. */
struct config_security {
	struct config_place at[CONFIG_OPTIONS_MAX];
	int64_t allow_anonymous; /* -1: not said */
	bool allow_zero_length_clientid;
	bool refuse_publish_by_close, grant_refused_subscriptions, takeover_same_identity;
	char *acl_file, *policy, *password_file, *psk_file, *auto_id_prefix;
	unsigned plugin; /* 1 + index in config.plugins; 0: none */
};

enum config_auth_method { CONFIG_AUTH_ANY, CONFIG_AUTH_PASSWORD, CONFIG_AUTH_SCRAM };
enum config_protocol { CONFIG_MQTT, CONFIG_WEBSOCKETS, CONFIG_METRICS, CONFIG_CONTROL, CONFIG_CONSOLE };
#define CONFIG_FOR_CONTROL(l) ((l)->protocol == CONFIG_CONTROL || (l)->protocol == CONFIG_CONSOLE) /* sockets that nobody else may open */

/* A plugin of mosquitto; there is only dynamic security. */
struct config_plugin {
	struct config_place place;
	char *name;      /* of plugin_load, or NULL */
	char *file;      /* plugin_opt_config_file */
	char *init_file; /* plugin_opt_password_init_file, or NULL */
	bool used;       /* by a listener */
};
#define CONFIG_PLUGINS_REFUSED \
	"plugins of mosquitto cannot be loaded; the broker itself does what mosquitto_dynamic_security.so does, for all else see `policy`"

/* Who comes into quarantine instead of being refused. */
enum config_quarantine { CONFIG_QUARANTINE_DATES = 1, CONFIG_QUARANTINE_UNREGISTERED = 2 };
enum config_ocsp { CONFIG_OCSP_OFF, CONFIG_OCSP_SOFT, CONFIG_OCSP_HARD };

struct config_listener {
	struct config_place at[CONFIG_OPTIONS_MAX];
	struct config_place place; /* of its `listener` or `port` line */
	uint16_t port;             /* 0: <path> is a unix socket */
	char *host;                /* NULL: every address */
	char *path;
	bool local_only; /* nothing was configured: loopback */
	bool loopback;   /* WebSocket without TLS, or metrics, and no address: loopback too */
	char name[160];  /* "8883", "192.0.2.1:8883", "/run/x.sock": for log lines */

	char *cafile, *capath, *certfile, *keyfile, *crlfile, *ciphers, *ciphersuites,
	    *bind_interface;
	int64_t crl_grace;   /* seconds */
	int64_t ocsp_check;  /* enum config_ocsp */
	char *ocsp_responder, *ocsp_stapling_file, *ocsp_stapling_responder;
	bool ocsp_stapling;
	int64_t tls_version; /* the least minor version: 2 or 3 */
	int64_t max_connections, max_qos, socket_domain;
	int64_t client_rates[BROKER_RATES], rates[BROKER_RATES]; /* by enum broker_rate */
	int64_t connect_rate, address_connect_rate, network_connect_rate;
	int64_t max_per_identity;
	int64_t rate_exceeded; /* 0: wait, 1: disconnect */
	char *dhparamfile;
	bool ignore_dates; /* disable_client_cert_date_checks */
	int64_t quarantine; /* of enum config_quarantine */
	bool require_registration, device_renewal;
	bool session_tickets;
	bool require_certificate, use_identity_as_username, use_subject_as_username,
	    use_username_as_clientid;
	int64_t allow_anonymous; /* listener_allow_anonymous; -1: not said */
	char *mount_point, *response_information;
	char *psk_hint, *auto_id_prefix; /* auto_id_prefix: listener_auto_id_prefix */
	int64_t protocol; /* enum config_protocol */
	int64_t auth_method; /* enum config_auth_method */
	int64_t max_topic_alias, max_topic_alias_broker;
	int64_t key_form; /* PEM; there is no other */
	uint8_t accept_versions; /* accept_protocol_versions: 1 << level for each; 0: all */
	char *http_dir;
	bool console; /* the web console for browsers that come here */
	int64_t proxy_version; /* enable_proxy_protocol: 1, 2; 0: off */
	bool proxy_require_tls;
	/* proxy_protocol_from, with those of _identity_from among them; and those alone */
	struct proxy_range *proxy_from, *proxy_identity_from;
	unsigned n_proxy_from, n_proxy_identity_from;
	char **origins; /* websockets_origin; none: all */
	unsigned n_origins;
	unsigned plugin_use; /* as config_security.plugin */
	const struct config_plugin *dynsec; /* who decides here, or NULL; set by config_finish() */
	struct config_security own;
	const struct config_security
	    *security; /* <own> or the common one; set by config_finish() */
};

enum { CONFIG_SIGNER_PROFILES_MAX = 32 };
struct config_role_ca {
	enum authz_role role;
	bool factory; /* with the client role, for devices that are registered by the certificate itself */
	char *file;
	struct config_place place;
};

enum config_start_type { CONFIG_START_AUTOMATIC, CONFIG_START_LAZY, CONFIG_START_ONCE, CONFIG_START_MANUAL };

struct config_address {
	char *host;
	uint16_t port;
};

struct config_bridge {
	struct config_place at[CONFIG_OPTIONS_MAX];
	struct config_place place; /* of its `connection` line */
	char *name;
	struct config_address addresses[CONFIG_ADDRESSES_MAX];
	unsigned n_addresses;
	struct bridge_topic *topics;
	unsigned n_topics;
	char *remote_clientid, *remote_username, *remote_password, *local_clientid, *local_username,
	    *local_password, *notification_topic, *bind_address, *cafile, *capath, *certfile, *keyfile,
	    *alpn, *ciphers, *ciphersuites, *identity, *psk;
	int64_t keepalive_interval, idle_timeout, threshold, restart_base, restart_cap, restart_stable, max_packet_size,
	    max_topic_alias, receive_maximum, session_expiry;
	int64_t tcp_user_timeout;   /* ms */
	unsigned tcp_keepalive[3];  /* seconds idle, seconds between probes, probes; 0: the system's */
	int64_t start_type; /* enum config_start_type */
	int64_t protocol_version, tls_version, reload_type;
	int64_t local_cleansession; /* -1: not said */
	bool cleansession, round_robin, try_private, notifications, notifications_local_only,
	    attempt_unsubscribe, outgoing_retain, insecure, use_os_certs;
};

enum config_log_dest {
	CONFIG_LOG_STDERR = 1,
	CONFIG_LOG_STDOUT = 2,
	CONFIG_LOG_SYSLOG = 4,
	CONFIG_LOG_NONE = 8,
	CONFIG_LOG_TOPIC = 16,
	CONFIG_LOG_JOURNAL = 32,
};

/* Where control listens. */
struct config_https {
	struct config_place place;
	uint16_t port;   /* 0: <path> is a unix socket */
	char *host;      /* NULL: every address */
	char *path;
	bool plain;      /* no TLS: only what everybody may read */
	char name[160];  /* "https 8443", "/run/api.sock": for log lines */
};

struct config {
	struct config_place at[CONFIG_OPTIONS_MAX];
	char *files[CONFIG_FILES_MAX];
	unsigned n_files;

	bool per_listener_settings;
	struct config_security common;
	struct config_listener fallback; /* options before any `listener` line */
	struct config_listener *listeners;
	unsigned n_listeners;
	int64_t port; /* of the default listener; 0: not set */
	char *bind_address;
	uint16_t ports[CONFIG_PORTS_MAX - 1]; /* of the command line, beside the first */
	unsigned n_ports;

	struct config_bridge *bridges; /* NULL after they were taken over by who runs them */
	unsigned n_bridges;
	struct config_plugin *plugins;
	unsigned n_plugins, global_plugin; /* global_plugin: 1 + index */
	struct config_role_ca *role_cas;
	unsigned n_role_cas;

	int64_t withdrawn_will, withdrawn_session; /* 1: discard, purge */
	int64_t device_data; /* enum broker_data */
	int64_t tls_ticket_lifetime; /* seconds */
	int64_t ocsp_timeout, ocsp_max_age; /* seconds */
	int64_t workers, tls_handshake_timeout, max_handshakes, websockets_headers_size;
	int64_t max_keepalive, max_packet_size, message_size_limit, max_inflight_messages,
	    max_queued_messages, max_queued_bytes, persistent_client_expiration, sys_interval;
	int64_t retain_expiry_interval, max_inflight_bytes, global_max_connections, global_max_clients, drop_log_interval, memory_limit, flapping_connects,
	    flapping_hold;
	bool upgrade_outgoing_qos;
	bool publisher_stamp;
	bool est_serverkeygen; /* of control */
	bool retain_available, check_retain_source, queue_qos0_messages, persistence, set_tcp_nodelay, autosave_on_changes;
	bool ignored_bool;      /* of directives that are accepted without effect */
	int64_t ignored_number;
	int64_t autosave_interval, log_facility; /* log_facility: -1 is daemon */
	char *log_timestamp_format; /* NULL: the usual one */
	char *persistence_key_file;
	int64_t persistence_damage; /* 1: refuse to start */
	char *persistence_file, *persistence_location, *pid_file, *user, *clientid_prefixes;

	unsigned log_dest; /* enum config_log_dest; 0: not said */
	char *log_file;
	enum log_level log_level;
	bool log_type_set, log_none, log_subscribe, log_unsubscribe, log_timestamp,
	    connection_messages;

	/* of control; the broker reads and ignores it */
	struct config_https https[CONFIG_HTTPS_MAX];
	unsigned n_https;
	char *https_certfile, *https_keyfile, *registry_file, *enrol_host, *status_topic, *actuate_topic;
	bool dojot_api, dojot_shared_password;
	char *dojot_ca, *dojot_profile;
	int64_t https_max_connections, https_max_per_address, https_timeout, token_lifetime, ocsp_answer_lifetime, status_interval;
	/* of the signer; the broker alone takes no notice */
	char *signer_user, *control_user, *crl_url, *ocsp_url, *ca_issuers_url, *broker_names;
	int64_t signer_rate, broker_key; /* 1: new */
	struct config_signer_profile {
		char ca[33], profile[16];
	} signer_profiles[CONFIG_SIGNER_PROFILES_MAX];
	unsigned n_signer_profiles;

	char **warnings; /* what is legal and probably not meant */
	unsigned n_warnings;
};

/* How files are reached: the real ones, or a test's. */
struct config_reader {
	void *ctx;
	/* The whole text, to be freed with free(). Says the file in <err>. */
	bool (*read)(void *ctx, const char *path, uint8_t **ret, size_t *ret_n, struct err *err);
	/* The names in a directory, in any order; each and the array to be freed with free(). */
	bool (*list)(void *ctx, const char *dir, char ***ret, size_t *ret_n, struct err *err);
};
extern const struct config_reader config_files;

/* Read <path> and what it includes. NULL and <err> ("FILE:LINE: …") on the first mistake. <path>
 * NULL: the defaults. */
struct config *config_read(const char *path, const struct config_reader *reader, struct err *err);
/* The second half: which listeners there are, and what does not go together. <port> > 0 is the
 * command line's. */
bool config_finish(struct config *c, unsigned port, struct err *err);

/* Does it speak TLS? */
static inline bool
config_is_tls(const struct config_listener *l)
{
	return l->certfile != NULL || l->psk_hint != NULL;
}

/* Is an OCSP response to be shown with certfile? */
static inline bool
config_staples(const struct config_listener *l)
{
	return l->ocsp_stapling || l->ocsp_stapling_file != NULL || l->ocsp_stapling_responder != NULL;
}

const char *config_place_text(const struct config *c, struct config_place p, char *out, size_t cap);
bool config_warn(struct config *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- the options table ---- */

enum option_scope {
	OPTION_GLOBAL,
	OPTION_LISTENER, /* of the `listener` line above it */
	OPTION_SECURITY, /* of the listener with per_listener_settings true, else of all */
	OPTION_BRIDGE,   /* of the `connection` line above it */
};

enum option_type {
	OPTION_BOOL,
	OPTION_INT,
	OPTION_DURATION, /* seconds, written as a number and h, d, w, m or y */
	OPTION_TEXT,
	OPTION_PATH,
	OPTION_CHOICE,
	OPTION_CALL, /* a function of its own reads the value */
};

enum option_flags {
	OPTION_TRISTATE = 1, /* a bool kept as int64_t with -1 for "not said" */
	OPTION_OLD = 2,      /* works, and the documentation names another */
	OPTION_REPEATS = 4,
	OPTION_NEXT_START = 8, /* a change takes effect at the next start, not with SIGHUP */
	OPTION_IS_TLS = 16,    /* needs certfile and keyfile */
	OPTION_CONTROL = 64, /* the control process alone goes by it */
	OPTION_MOOT = 32,      /* accepted without effect; the start says so */
};

struct option_choice {
	const char *name; /* NULL ends the list */
	int64_t value;
	const char *refused; /* not NULL: known, and this is why not */
};

struct parse;
struct option {
	const char *name, *value, *help;
	enum option_scope scope;
	enum option_type type;
	unsigned flags;
	size_t offset;
	int64_t min, max, def;
	const char *def_text; /* what is shown when <def> does not speak for itself */
	const struct option_choice *choices;
	bool (*call)(struct parse *p, struct slice value);
};

extern const struct option options[];
extern const unsigned options_n;
/* NULL: no such option. */
const struct option *option_find(struct slice name);
/* Was it set? <at> belongs to the struct of the option's scope. */
struct config_place option_at(const struct config_place *at, const char *name);
/* Why we do not do a directive of mosquitto's; NULL: it is not one of its. */
const char *option_unsupported(struct slice name);
/* Defaults of all options of <scope> into the struct <base>. False: out of memory. */
void options_default(enum option_scope scope, void *base);
/* Free all texts of <scope> in <base>. */
void options_free(enum option_scope scope, void *base);
/* Each directive as text (for --help) or as a Markdown table (for docs/configuration.md). */
struct server_directive;
void options_each(void (*each)(void *ctx, const struct server_directive *d), void *ctx);
void options_print(bool markdown, void (*line)(void *ctx, const char *text), void *ctx);
/* The value as it would be written in the file. Returns out. */
const char *option_show(const struct option *o, const void *base, char *out, size_t cap);

/* While reading one configuration. */
struct parse {
	struct config *c;
	const struct config_reader *reader;
	struct config_place here;
	int listener; /* index of the current one, -1: the default listener */
	int bridge; /* index of the current one, -1: none yet */
	unsigned plugin; /* 1 + index of the last one; 0: none yet */
	unsigned depth;
	const char *word;   /* the directive being read */
	bool security_seen; /* a security directive was read already */
	struct err *err;
};

/* Set <err> with "FILE:LINE: WORD: " before it; returns false. */
bool parse_fail(struct parse *p, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The first word of <s>, which keeps what follows it. */
struct slice parse_word(struct slice *s);
/* A value of <o> into its field. */
bool parse_value(struct parse *p, const struct option *o, struct slice value, void *field);
void config_listener_default(struct config_listener *l);
void config_listener_done(struct config_listener *l); /* frees what it holds */

bool read_listener(struct parse *p, struct slice value);
bool read_https_listener(struct parse *p, struct slice value);
bool read_http_listener(struct parse *p, struct slice value);
bool read_per_listener(struct parse *p, struct slice value);
bool read_include_dir(struct parse *p, struct slice value);
bool read_log_dest(struct parse *p, struct slice value);
bool read_log_type(struct parse *p, struct slice value);
bool read_timestamp_format(struct parse *p, struct slice value);
bool read_role_ca(struct parse *p, struct slice value);
bool read_signer_profile(struct parse *p, struct slice value);
bool read_crl_url(struct parse *p, struct slice value);
bool read_ocsp_url(struct parse *p, struct slice value);
bool read_ca_issuers_url(struct parse *p, struct slice value);
bool read_versions(struct parse *p, struct slice value);
bool read_websockets_origin(struct parse *p, struct slice value);
bool read_proxy_from(struct parse *p, struct slice value);
bool read_proxy_identity_from(struct parse *p, struct slice value);
/* What a listener behind a proxy needs, and what does not go together. <config_proxy.c> */
bool config_proxy_finish(struct config *c, struct config_listener *l, struct err *err);
bool config_ocsp_finish(const struct config *c, const struct config_listener *l, struct err *err); /* the same of OCSP; config_ocsp.c */
bool read_connection(struct parse *p, struct slice value);
bool read_address(struct parse *p, struct slice value);
bool read_topic(struct parse *p, struct slice value);
bool read_restart(struct parse *p, struct slice value);
bool read_tcp_keepalive(struct parse *p, struct slice value);
/* Does it name CAs, so that it speaks TLS with certificates? */
bool config_bridge_has_anchors(const struct config_bridge *b);
bool read_plugin(struct parse *p, struct slice value);
bool read_global_plugin(struct parse *p, struct slice value);
bool read_plugin_load(struct parse *p, struct slice value);
bool read_plugin_use(struct parse *p, struct slice value);
bool read_plugin_file(struct parse *p, struct slice value);
bool read_plugin_init_file(struct parse *p, struct slice value);
/* Which plugin is whose, and what does not go together. */
bool config_plugins_finish(struct config *c, struct err *err);
void config_plugins_done(struct config *c); /* frees what it holds */
void config_bridge_done(struct config_bridge *b); /* frees what it holds */
/* What a bridge needs, and what does not go together. */
bool config_bridges_finish(struct config *c, struct err *err);
/* A truth that we do not do: whoever sets it would believe in something that is not there. */
bool read_only_false(struct parse *p, struct slice value);
bool read_bool(struct parse *p, struct slice value, bool *ret);
bool read_text(struct parse *p, struct slice value, char **ret);

#endif
