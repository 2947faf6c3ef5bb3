// Live messages: what arrives, by topic, as it arrives.
import { access } from '../lib/broker.js';
import { decode, hex, read } from '../lib/payload.js';
import { t } from '../lib/text.js';
import { Badge, bytes, Empty, html, Name, plain, save, useEffect, useRef, useState } from '../lib/ui.js';
import { startWorker } from '../lib/worker.js';

const KEPT = 500; // rows
const time = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hour12: false });
const number = new Intl.NumberFormat('en');

function filterFault(/** @type {string} */ f) {
	const levels = f.split('/');
	if (!f || f.length > 1000)
		return t('live.filter-empty');
	return levels.some((l, i) => (l.includes('#') && (l !== '#' || i < levels.length - 1)) || (l.includes('+') && l !== '+')) ? t('live.filter-bad') : '';
}

function Branches({ list, opened, toggle, under, look }) {
	return html`<ul>${list.map((x) => html`<li key=${x.path}><div class="branch ${x.path === under ? 'chosen' : ''}">
		${x.more ? html`<button type="button" class="quiet twist" aria-expanded=${opened.has(x.path)} aria-label=${t('live.unfold', { name: plain(x.name, 60) })} onClick=${() => toggle(x.path)}>${opened.has(x.path) ? '▾' : '▸'}</button>`
			: html`<span class="twist"></span>`}
		<button type="button" class="quiet leaf" aria-pressed=${x.path === under} onClick=${() => look(x.path === under ? '' : x.path)}><${Name} value=${x.name || '""'} most=${60} /></button>
		<span class="dim number">${number.format(x.n)}${x.rate > 0 ? html` <b>${number.format(x.rate)}/s</b>` : ''}</span></div>
		${x.below && html`<${Branches} list=${x.below} opened=${opened} toggle=${toggle} under=${under} look=${look} />`}
		${x.below && x.cut > 0 && html`<p class="dim small">${t('live.more', { n: number.format(x.cut) })}</p>`}</li>`)}</ul>`;
}

function Json({ name, value, level = 0 }) {
	const [open, set] = useState(level < 2);
	const label = name === null ? null : html`<span class="key">${plain(name, 200)}: </span>`;
	if (value === null || typeof value !== 'object')
		return html`<div class="json">${label}<span class="value-${value === null ? 'null' : typeof value}">${typeof value === 'string' ? plain(JSON.stringify(value), 4000) : String(value)}</span></div>`;
	const entries = Object.entries(value);
	return html`<div class="json">${html`<button type="button" class="quiet twist" aria-expanded=${open} aria-label=${t('live.unfold', { name: plain(name ?? 'JSON', 60) })} onClick=${() => set(!open)}>${open ? '▾' : '▸'}</button>`}
		${label}<span class="dim">${Array.isArray(value) ? t('live.items', { n: entries.length }) : t('live.members', { n: entries.length })}</span>
		${open && html`<div class="inside">${entries.slice(0, 200).map(([k, v]) => html`<${Json} key=${k} name=${k} value=${v} level=${level + 1} />`)}
			${entries.length > 200 && html`<p class="dim">${t('live.more', { n: entries.length - 200 })}</p>`}</div>`}</div>`;
}

function Detail({ row, onClose }) {
	const seen = row.seen;
	const [view, set] = useState(seen.kind);
	useEffect(() => set(seen.kind), [row]);
	const stamp = Object.fromEntries(row.user.filter(([k]) => k.startsWith('signet-')));
	const facts = [
		[t('live.time'), new Date(row.time).toISOString()], [t('live.qos'), `${row.qos}${row.retain ? ', ' + t('live.retained') : ''}`],
		[t('live.size'), row.size > row.payload.length ? t('live.cut', { shown: number.format(row.payload.length), size: number.format(row.size) }) : bytes(row.size)],
		[t('live.publisher'), stamp['signet-publisher'] ? html`<${Name} value=${stamp['signet-publisher']} /> ${stamp['signet-role'] ?? ''} <span class="mono small">${(stamp['signet-fingerprint'] ?? '').slice(0, 16)}</span>` : null],
		[t('live.type'), row.type && html`<${Name} value=${row.type} />`], [t('live.response'), row.response && html`<${Name} value=${row.response} />`],
		[t('live.correlation'), row.correlation && html`<span class="mono">${hex(row.correlation, 32)}</span>`], [t('live.expiry'), row.expiry !== null ? `${row.expiry} s` : null],
		...row.user.filter(([k]) => !k.startsWith('signet-')).slice(0, 50).map(([k, v]) => [plain(k, 60), html`<${Name} value=${v} most=${400} />`]),
	];
	return html`<section class="card detail" aria-label=${t('live.one')}><div class="head"><h2 class="mono"><${Name} value=${row.topic} most=${400} /></h2>
		<button type="button" class="quiet" aria-label=${t('close')} onClick=${onClose}>✕</button></div>
		<dl>${facts.filter(([, v]) => v !== null && v !== undefined && v !== '').map(([k, v]) => html`<dt>${k}</dt><dd>${v}</dd>`)}</dl>
		<div class="row" role="group" aria-label=${t('live.view')}>${['json', 'text', 'hex'].map((v) => html`<button type="button" aria-pressed=${v === view} disabled=${v === 'json' && seen.json === undefined} onClick=${() => set(v)}>${t('live.view-' + v)}</button>`)}</div>
		${view === 'json' && seen.json !== undefined ? html`<div class="box"><${Json} name=${null} value=${seen.json} /></div>`
			: html`<pre tabindex="0" dir=${view === 'hex' ? 'ltr' : 'auto'} aria-label=${t('live.payload')}>${view === 'hex' ? hex(row.payload) : plain(seen.text, 20000).replaceAll('\\u000a', '\n') || t('live.nothing')}</pre>`}</section>`;
}

const Row = ({ row, chosen, choose }) => html`<tr class=${chosen ? 'chosen' : ''}><td class="mono small">${time.format(row.time)}</td>
	<td><button type="button" class="quiet leaf" aria-pressed=${chosen} onClick=${() => choose(row)}><${Name} value=${row.topic} most=${100} /></button></td>
	<td class="what">${row.decoded ? html`<span class="badge ${row.decoded.state}">${row.decoded.word}</span> <bdi>${row.decoded.text}</bdi>` : html`<bdi class="mono small">${row.summary}</bdi>`}</td>
	<td class="number small">${bytes(row.size)}</td><td class="small">${row.qos}${row.retain ? html` <abbr title=${t('live.retained')}>R</abbr>` : ''}</td></tr>`;

function prepare(row) {
	row.seen = read(row.payload, row.size > row.payload.length);
	row.decoded = decode(row.topic, row.seen.json);
	row.summary = row.size === 0 ? t('live.nothing') : row.seen.isText ? plain(row.seen.text, 140) : hex(row.payload, 24).slice(8, 56).trimEnd();
	return row;
}

function asLine(row) {
	let payload = row.seen.isText ? { payload: row.seen.text } : { payload_base64: btoa(String.fromCharCode(...row.payload.subarray(0, 60000))) };
	return JSON.stringify({ time: new Date(row.time).toISOString(), topic: row.topic, qos: row.qos, retain: row.retain, size: row.size, ...payload, user_properties: row.user }) + '\n';
}

/** The worker and what it has said: one for as long as the page is open. */
function useFeed() {
	const [state, set] = useState({ state: 'connecting', why: '', code: 0 });
	const [flow, setFlow] = useState({ rows: [], rate: 0, bytes: 0, total: 0, share: 1 });
	const [tree, setTree] = useState({ tree: [], nodes: 0, beyond: 0 });
	const worker = useRef(null), paused = useRef(false);
	const [isPaused, setPaused] = useState(false);
	useEffect(() => {
		const w = worker.current = startWorker();
		const recent = [];
		w.onmessage = (e) => {
			const m = e.data;
			if (m.kind === 'ready')
				w.postMessage({ do: 'start', ...access(), filter: '#' });
			else if (m.kind === 'state')
				set({ code: 0, why: '', ...m });
			else if (m.kind === 'tree')
				setTree(m);
			else if (m.kind === 'rows') {
				recent.push(m);
				if (recent.length > 1000 / m.ms)
					recent.shift();
				const sum = (k) => recent.reduce((n, x) => n + x[k], 0), shown = recent.reduce((n, x) => n + x.rows.length, 0);
				const per = 1000 / Math.max(1000, recent.length * m.ms);
				setFlow((old) => ({ rate: sum('arrived') * per, bytes: sum('bytes') * per, total: m.total, share: sum('matching') > 0 ? shown / sum('matching') : 1,
					rows: paused.current || m.rows.length === 0 ? old.rows : [...m.rows.map(prepare).reverse(), ...old.rows].slice(0, KEPT) }));
			}
		};
		return () => {
			w.postMessage({ do: 'stop' });
			setTimeout(() => w.terminate(), 500);
		};
	}, []);
	return { state, flow, tree, isPaused, tell: (m) => worker.current.postMessage(m), clear: () => setFlow((f) => ({ ...f, rows: [] })),
		pause: () => setPaused((paused.current = !paused.current)) };
}

function Status({ state, flow }) {
	const word = { open: 'good', connecting: 'warn', closed: 'bad', refused: 'bad', stopped: '' }[state.state];
	return html`<p class="flow"><span role="status"><span class="badge ${word}">${t('live.state-' + state.state)}</span></span>
		<span><b>${number.format(Math.round(flow.rate))}</b> ${t('live.per-second')}</span> <span class="dim">${bytes(Math.round(flow.bytes))}/s · ${t('live.total', { n: number.format(flow.total) })}</span>
		${flow.share < 0.995 && html`<span class="badge warn">${t('live.sampled', { percent: flow.share < 0.01 ? '<1' : Math.round(flow.share * 100) })}</span>`}</p>`;
}

export function Live({ bare = false }) {
	const feed = useFeed();
	const [filter, setFilter] = useState('#'), [fault, setFault] = useState(''), [text, setText] = useState(''), [under, setUnder] = useState('');
	const [opened, setOpened] = useState(() => new Set()), [chosen, choose] = useState(null);
	const look = (/** @type {{ under?: string, text?: string }} */ m) => feed.tell({ do: 'look', under, text, ...m });
	const apply = (e) => {
		e.preventDefault();
		const wrong = filterFault(filter);
		setFault(wrong);
		if (!wrong) {
			feed.tell({ do: 'filter', filter });
			feed.clear();
		}
	};
	const toggle = (path) => {
		const next = new Set(opened);
		if (!next.delete(path))
			next.add(path);
		setOpened(next);
		feed.tell({ do: 'open', paths: [...next] });
	};
	const lookUnder = (path) => (setUnder(path), look({ under: path }));
	const { flow, state } = feed;
	return html`<div class="head"><h1>${t('page.live')}</h1><${Status} state=${state} flow=${flow} /></div>
		<form class="row card" onSubmit=${apply}>
			<label>${t('live.filter')}<input value=${filter} aria-invalid=${!!fault} aria-describedby="filter-fault" spellcheck=${false} autocapitalize="none" onInput=${(e) => setFilter(e.currentTarget.value)} /></label>
			<button>${t('live.subscribe')}</button>
			<label>${t('live.text')}<input type="search" value=${text} onInput=${(e) => (setText(e.currentTarget.value), look({ text: e.currentTarget.value }))} /></label>
			<button type="button" aria-pressed=${feed.isPaused} onClick=${feed.pause}>${feed.isPaused ? t('live.go-on') : t('live.pause')}</button>
			<button type="button" onClick=${() => (feed.clear(), choose(null))}>${t('live.clear')}</button>
			<button type="button" disabled=${flow.rows.length === 0} onClick=${() => save('messages.ndjson', flow.rows.map(asLine).reverse(), 'application/x-ndjson')}>${t('live.export')}</button>
			<p id="filter-fault" class="fault" role="alert">${fault}</p></form>
		${(state.state === 'closed' || state.state === 'refused') && html`<div class="trouble" role="alert"><p>${t(state.state === 'refused' ? 'live.refused' : 'live.lost')} ${plain(state.why, 300)}</p>
			<p class="dim">${t(`${bare ? 'bare' : 'live'}.${state.state === 'refused' ? 'refused' : 'lost'}-help`)}</p></div>`}
		<div class="live"><section class="card topics" aria-label=${t('live.topics')}><h2>${t('live.topics')}</h2>
			${feed.tree.tree.length > 0 ? html`<${Branches} list=${feed.tree.tree} opened=${opened} toggle=${toggle} under=${under} look=${lookUnder} />` : html`<p class="dim">${t('live.no-topics')}</p>`}
			${feed.tree.beyond > 0 && html`<p class="dim small">${t('live.beyond', { n: number.format(feed.tree.beyond) })}</p>`}</section>
		<div class="stream">${chosen && html`<${Detail} row=${chosen} onClose=${() => choose(null)} />`}
			${under && html`<p><button type="button" onClick=${() => lookUnder('')}>${t('live.only')} <${Name} value=${under} most=${60} /> ✕</button></p>`}
			${flow.rows.length > 0 ? html`<div class="scroll messages" tabindex="0" role="region" aria-label=${t('live.messages')}><table><thead><tr><th>${t('live.time')}</th><th>${t('live.topic')}</th><th>${t('live.payload')}</th><th class="number">${t('live.size')}</th><th>${t('live.qos')}</th></tr></thead>
				<tbody>${flow.rows.map((r) => html`<${Row} key=${r.n} row=${r} chosen=${chosen?.n === r.n} choose=${choose} />`)}</tbody></table></div>`
				: html`<${Empty} title=${t('live.none')}>${t('live.none-help')}<//>`}</div></div>`;
}
