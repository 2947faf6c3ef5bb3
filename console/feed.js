// The worker that hears the messages: MQTT over WebSocket, counts, the tree of topics, and of what arrives as much as a page can show.
// The page itself never waits for it.
import mqtt from './vendor/mqtt.js';

const TICK = 250; // ms between two deliveries to the page
const ROWS = 40; // of a delivery; if more arrives they are drawn by lot
const KEEP = 64 * 1024; // bytes of a payload that are shown
const NODES = 50000; // of the tree; topics beyond are counted only
const CHILDREN = 200; // of a node that are shown
const AGAIN = 3000; // ms to the next attempt

/** @typedef {{ name: string, n: number, before: number, rate: number, below: Map<string, Node> | null }} Node */
/** @returns {Node} */
const node = (/** @type {string} */ name) => ({ name, n: 0, before: 0, rate: 0, below: null });

let url = '', username, password, tenant = '', under = '', text = '', device = '', wanted = false;
/** @type {string[]} */
let filters = ['#'];
let whole = false; // every message goes to the page as text: for the few topics of which each counts
let client = null, timer = 0;
let asked = 1; // the subscriptions' identifier: what others still bring is of a filter that is not looked through any more
let number = 0, total = 0, bytes = 0, arrived = 0, matching = 0, nodes = 0, beyond = 0;
/** @type {any[]} */
let rows = [];
let root = node('');
let open = new Set(['']);
const decoder = new TextDecoder();
const post = (/** @type {any} */ m) => self.postMessage(m);

function count(topic) {
	let at = root;
	at.n++;
	for (const level of topic.split('/')) {
		at.below ??= new Map();
		let next = at.below.get(level);
		if (!next) {
			if (nodes >= NODES) {
				beyond++;
				return;
			}
			nodes++;
			next = node(level);
			at.below.set(level, next);
		}
		next.n++;
		at = next;
	}
}

/** Is it about this device, or from it: a level of the topic, or the publisher's stamp. */
function isOf(topic, packet) {
	const by = packet.properties?.userProperties?.['signet-publisher'];
	return topic.split('/').includes(device) || by === device || (Array.isArray(by) && by.includes(device));
}

/** Is it of the tenant: below /TENANT/, or of a device whose common name has the tenant in front, by a level of the topic or the stamp. */
function isTenants(topic, packet) {
	const by = [packet.properties?.userProperties?.['signet-publisher']].flat(), mark = tenant + ':';
	return topic.startsWith(`/${tenant}/`) || [...topic.split('/'), ...by].some((x) => x?.startsWith(mark));
}

function matches(topic, payload, packet) {
	if (device && !isOf(topic, packet))
		return false;
	if (under && topic !== under && !topic.startsWith(under + '/'))
		return false;
	if (!text || topic.toLowerCase().includes(text))
		return true;
	return decoder.decode(payload.subarray(0, 4096)).toLowerCase().includes(text);
}

function pairs(user) {
	const list = [];
	for (const [name, value] of Object.entries(user ?? {}))
		for (const one of Array.isArray(value) ? value : [value])
			list.push([name, String(one)]);
	return list;
}

function onMessage(topic, payload, packet) {
	if (whole) {
		post({ kind: 'message', topic, text: decoder.decode(payload) });
		return;
	}
	if (![packet.properties?.subscriptionIdentifier].flat().includes(asked))
		return;
	if (tenant && !isTenants(topic, packet))
		return;
	total++;
	arrived++;
	bytes += payload.length;
	count(topic);
	if (!matches(topic, payload, packet))
		return;
	const place = matching++ < ROWS ? rows.length : Math.floor(Math.random() * matching);
	if (place >= ROWS)
		return;
	const p = packet.properties ?? {};
	rows[place] = { n: ++number, time: Date.now(), topic, payload: payload.slice(0, KEEP), size: payload.length, qos: packet.qos, retain: packet.retain,
		type: p.contentType ?? null, response: p.responseTopic ?? null, correlation: p.correlationData ? new Uint8Array(p.correlationData) : null,
		expiry: p.messageExpiryInterval ?? null, user: pairs(p.userProperties) };
}

/** Each for itself: one that is refused leaves the others. */
function subscribe() {
	let left = filters.length, open = false;
	for (const filter of filters)
		client?.subscribe(filter, { qos: 2, rap: true, rh: 0, properties: { subscriptionIdentifier: asked } }, (error, granted) => {
			const code = error?.code ?? granted?.[0]?.qos;
			open ||= !error && code < 128;
			if (--left === 0 && open)
				post({ kind: 'state', state: 'open' });
			else if (left === 0)
				post({ kind: 'state', state: 'refused', why: error?.message ?? '', code });
		});
}

function connect() {
	clearTimeout(timer);
	if (!wanted)
		return;
	post({ kind: 'state', state: 'connecting' });
	// The broker gives the client id, and another one each time; so a new client stands for each connection.
	const mine = client = mqtt.connect(url, { username, password, protocolVersion: 5, clientId: '', clean: true, keepalive: 30, reconnectPeriod: 0, connectTimeout: 15000,
		resubscribe: false, timerVariant: 'native' });
	let why = '', denied = false;
	mine.on('connect', () => mine === client && subscribe());
	mine.on('message', (topic, payload, packet) => mine === client && onMessage(topic, payload, packet));
	mine.on('error', (error) => {
		why = error.message;
		// A name or password that is not good any more does not become so by itself.
		denied = password !== undefined && (error.code === 0x86 || error.code === 0x87);
	});
	mine.on('disconnect', (packet) => (why = packet.properties?.reasonString ?? why));
	mine.on('close', () => {
		if (mine !== client)
			return;
		client = null;
		mine.end(true);
		post({ kind: 'state', state: 'closed', why });
		if (!denied)
			timer = setTimeout(connect, AGAIN);
	});
}

function stop() {
	const old = client;
	wanted = false;
	client = null;
	clearTimeout(timer);
	old?.end(true);
	post({ kind: 'state', state: 'stopped' });
}

setInterval(() => {
	if (arrived === 0 && !client)
		return;
	rows.sort((a, b) => a.n - b.n);
	const buffers = rows.map((r) => r.payload.buffer);
	post2({ kind: 'rows', rows, arrived, matching, total, bytes, ms: TICK }, [...new Set(buffers)]);
	rows = [];
	arrived = matching = bytes = 0;
}, TICK);

function post2(m, transfer) {
	try {
		self.postMessage(m, { transfer });
	} catch {
		self.postMessage(m);
	}
}

/** The nodes that the page has opened, with their children, the busiest first. */
function tree(at, path) {
	const below = at.below ? [...at.below.values()] : [];
	for (const x of below) {
		x.rate = x.n - x.before;
		x.before = x.n;
	}
	below.sort((a, b) => b.n - a.n || (a.name < b.name ? -1 : 1));
	return below.slice(0, CHILDREN).map((x) => {
		const mine = path === null ? x.name : `${path}/${x.name}`;
		return { name: x.name, path: mine, n: x.n, rate: x.rate, more: x.below !== null, below: x.below && open.has(mine) ? tree(x, mine) : null,
			cut: x.below ? Math.max(0, x.below.size - CHILDREN) : 0 };
	});
}
setInterval(() => post({ kind: 'tree', tree: tree(root, null), nodes, beyond }), 1000);

const orders = {
	start(m) {
		({ url, username, password, tenant } = m);
		filters = [m.filter].flat();
		whole = m.whole === true;
		wanted = true;
		connect();
	},
	stop,
	filter(m) {
		const old = filters;
		filters = [m.filter].flat();
		root = node('');
		rows = [];
		nodes = beyond = total = arrived = matching = bytes = 0;
		asked++;
		post({ kind: 'fresh' });
		if (client?.connected)
			client.unsubscribe(old, () => subscribe());
	},
	look(m) {
		({ under, device } = m);
		text = m.text.toLowerCase();
	},
	open(m) {
		open = new Set(m.paths);
	},
};
self.onmessage = (e) => orders[e.data.do]?.(e.data);
post({ kind: 'ready' });
