// The messages that a page looks at: the worker that hears them, and what it has said.
import { access } from './broker.js';
import { decode, hex, read } from './payload.js';
import { t } from './text.js';
import { plain, useEffect, useRef, useState } from './ui.js';
import { startWorker } from './worker.js';

const KEPT = 500; // rows

/** What is wrong with a topic filter; empty: nothing. */
export function filterFault(/** @type {string} */ f) {
	const levels = f.split('/');
	if (!f || f.length > 1000)
		return t('live.filter-empty');
	return levels.some((l, i) => (l.includes('#') && (l !== '#' || i < levels.length - 1)) || (l.includes('+') && l !== '+')) ? t('live.filter-bad') : '';
}

function prepare(row) {
	row.seen = read(row.payload, row.size > row.payload.length);
	row.decoded = decode(row.topic, row.seen.json);
	row.summary = row.size === 0 ? t('live.nothing') : row.seen.isText ? plain(row.seen.text, 140) : hex(row.payload, 24).slice(8, 56).trimEnd();
	return row;
}

/** The worker and what it has said: one for as long as the page is open, which begins with <filter>. */
export function useFeed(/** @type {string | string[]} */ filter) {
	const [state, set] = useState({ state: 'connecting', why: '', code: 0 });
	const [flow, setFlow] = useState({ rows: [], rate: 0, bytes: 0, total: 0, share: 1 });
	const [tree, setTree] = useState({ tree: [], nodes: 0, beyond: 0 });
	const worker = useRef(null), paused = useRef(false);
	const [isPaused, setPaused] = useState(false);
	const clear = () => setFlow((f) => ({ ...f, rows: [] }));
	useEffect(() => {
		const w = worker.current = startWorker();
		const recent = [];
		w.onmessage = (e) => {
			const m = e.data;
			if (m.kind === 'ready')
				w.postMessage({ do: 'start', ...access(), filter });
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
				const kept = (rows) => paused.current || m.rows.length === 0 ? rows : [...m.rows.map(prepare).reverse(), ...rows].slice(0, KEPT);
				setFlow((old) => ({ rate: sum('arrived') * per, bytes: sum('bytes') * per, total: m.total, share, rows: kept(old.rows) }));
			}
		};
		return () => {
			w.postMessage({ do: 'stop' });
			setTimeout(() => w.terminate(), 500);
		};
	}, []);
	return { state, flow, tree, isPaused, tell: (m) => worker.current.postMessage(m), clear,
		pause: () => setPaused((paused.current = !paused.current)) };
}

