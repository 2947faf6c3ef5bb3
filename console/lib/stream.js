// The messages that a page looks at: the worker that hears them, and what it has said.
import { access } from './broker.js';
import { watch } from './session.js';
import { decode, hex, read } from './payload.js';
import { t } from './text.js';
import { plain, useEffect, useRef, useState } from './ui.js';
import { startWorker } from './worker.js';

const KEPT = 500; // rows
const HEARD = { topics: 2000, rows: 8, bytes: 16e6 }; // what is remembered when the page that heard it is left: rows of a topic, and in all

/** The latest of each topic that any page has heard since this person signed in; what was heard last stands last. @type {Map<string, any[]>} */
const heard = new Map();
let weight = 0; // of their payloads
let since = Date.now();

function forget(/** @type {string} */ topic) {
	for (const row of heard.get(topic) ?? [])
		weight -= row.payload.length;
	heard.delete(topic);
}

function remember(row) {
	const rows = [row, ...(heard.get(row.topic) ?? [])].slice(0, HEARD.rows);
	forget(row.topic);
	heard.set(row.topic, rows);
	for (const r of rows)
		weight += r.payload.length;
	while (heard.size > HEARD.topics || (weight > HEARD.bytes && heard.size > 1))
		forget(heard.keys().next().value);
}

/** Nothing that one person has heard is shown to the next. */
let person = '';
watch(({ me }) => {
	if (me && me.name === person)
		return;
	person = me?.name ?? '';
	heard.clear();
	weight = 0;
	since = Date.now();
});

/** Does a topic fit a filter (MQTT 5, 4.7)? */
export function fitsFilter(/** @type {string} */ filter, /** @type {string} */ topic) {
	const want = filter.split('/'), have = topic.split('/');
	for (const [i, level] of want.entries()) {
		if (level === '#')
			return true;
		if (i >= have.length || (level !== '+' && level !== have[i]))
			return false;
	}
	return want.length === have.length;
}

/** What was heard before on one of these topics, or from this publisher: the newest first, and since when somebody listens at all. */
function before(/** @type {string[]} */ filters, /** @type {string} */ publisher) {
	const rows = [];
	for (const [topic, list] of heard)
		rows.push(...(filters.some((f) => fitsFilter(f, topic)) ? list : list.filter((r) => r.user.some(([k, v]) => k === 'signet-publisher' && v === publisher))));
	return rows.sort((a, b) => b.time - a.time).slice(0, KEPT);
}

/** What is wrong with a topic filter; empty: nothing. */
export function filterFault(/** @type {string} */ f) {
	const levels = f.split('/');
	if (!f || f.length > 1000)
		return t('live.filter-empty');
	return levels.some((l, i) => (l.includes('#') && (l !== '#' || i < levels.length - 1)) || (l.includes('+') && l !== '+')) ? t('live.filter-bad') : '';
}

let numbers = 0;

function prepare(row) {
	row.n = ++numbers; // of this page: each worker begins with 1
	row.seen = read(row.payload, row.size > row.payload.length);
	row.decoded = decode(row.topic, row.seen.json);
	row.summary = row.size === 0 ? t('live.nothing') : row.seen.isText ? plain(row.seen.text, 140) : hex(row.payload, 24).slice(8, 56).trimEnd();
	return row;
}

/** A retained message comes once more with each subscription: what was heard before makes room for the same one. */
const again = (rows, old) => old.retain && rows.some((r) => r.retain && r.topic === old.topic && r.size === old.size && r.seen.text === old.seen.text);

/**
 * The worker and what it has said: one for as long as the page is open, which begins with <filter>.
 * @param {string | string[]} filter
 * @param {{ publisher?: string, tenant?: string }} [whose] publisher: begin with what was heard of it, and on <filter>, before; tenant: only what is its
 */
export function useFeed(filter, { publisher = '', tenant = '' } = {}) {
	const [state, set] = useState({ state: 'connecting', why: '', code: 0 });
	const [flow, setFlow] = useState(() => ({ rows: publisher ? before([filter].flat(), publisher) : [], rate: 0, bytes: 0, total: 0, share: 1 }));
	const [tree, setTree] = useState({ tree: [], nodes: 0, beyond: 0 });
	const worker = useRef(null), paused = useRef(false), first = useRef(numbers); // what has a smaller number was heard before
	const [isPaused, setPaused] = useState(false);
	const clear = () => setFlow((f) => ({ ...f, rows: [] }));
	useEffect(() => {
		const w = worker.current = startWorker();
		const recent = [];
		w.onmessage = (e) => {
			const m = e.data;
			if (m.kind === 'ready')
				w.postMessage({ do: 'start', ...access(), filter, tenant });
			else if (m.kind === 'state')
				set({ code: 0, why: '', ...m });
			else if (m.kind === 'tree')
				setTree(m);
			else if (m.kind === 'fresh')
				clear();
			else if (m.kind === 'rows') {
				recent.push(m);
				if (recent.length > 1000 / m.ms)
					recent.shift();
				const sum = (k) => recent.reduce((n, x) => n + x[k], 0), per = 1000 / Math.max(1000, recent.length * m.ms);
				const shown = recent.reduce((n, x) => n + x.rows.length, 0), share = sum('matching') > 0 ? shown / sum('matching') : 1;
				for (const row of m.rows)
					remember(prepare(row));
				const kept = (rows) => paused.current || m.rows.length === 0 ? rows : [...m.rows.toReversed(), ...rows.filter((r) => r.n > first.current || !again(m.rows, r))].slice(0, KEPT);
				setFlow((old) => ({ rate: sum('arrived') * per, bytes: sum('bytes') * per, total: m.total, share, rows: kept(old.rows) }));
			}
		};
		return () => {
			w.postMessage({ do: 'stop' });
			setTimeout(() => w.terminate(), 500);
		};
	}, []);
	return { state, flow, tree, isPaused, since, tell: (m) => worker.current.postMessage(m), clear,
		pause: () => setPaused((paused.current = !paused.current)) };
}

