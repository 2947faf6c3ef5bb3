// Messages as a table, and one of them as JSON, text and bytes: for the page of live messages and for that of a device.
import { hex } from '../lib/payload.js';
import { language, t } from '../lib/text.js';
import { bytes, html, Name, plain, useEffect, useState } from '../lib/ui.js';

const MEMBERS = 200; // of an object or list that are shown
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hour12: false });
export const number = new Intl.NumberFormat(language);

function Leaf({ label, value }) {
	const kind = value === null ? 'null' : typeof value;
	return html`<div class="json">${label}<span class="value-${kind}">${kind === 'string' ? plain(JSON.stringify(value), 4000) : String(value)}</span></div>`;
}

/** JSON as a tree; what lies deep is folded at first. */
function Json({ name, value, level = 0 }) {
	const [open, set] = useState(level < 2);
	const label = name === null ? null : html`<span class="key">${plain(name, 200)}: </span>`;
	if (value === null || typeof value !== 'object')
		return html`<${Leaf} label=${label} value=${value} />`;
	const entries = Object.entries(value), title = t(open ? 'live.fold' : 'live.unfold', { name: plain(name ?? 'JSON', 60) });
	return html`<div class="json"><button type="button" class="quiet twist" aria-expanded=${open} aria-label=${title} onClick=${() => set(!open)}>${open ? '▾' : '▸'}</button>
		${label}<span class="dim">${t(Array.isArray(value) ? 'live.items' : 'live.members', { n: entries.length })}</span>
		${open && html`<div class="inside">
			${entries.slice(0, MEMBERS).map(([k, v]) => html`<${Json} key=${k} name=${k} value=${v} level=${level + 1} />`)}
			${entries.length > MEMBERS && html`<p class="dim">${t('live.more', { n: entries.length - MEMBERS })}</p>`}</div>`}</div>`;
}

/** What MQTT says about a message, as pairs of a name and something to show. */
function factsOf(row) {
	const stamp = Object.fromEntries(row.user.filter(([k]) => k.startsWith('signet-')));
	const own = row.user.filter(([k]) => !k.startsWith('signet-')).slice(0, 50);
	const size = row.size > row.payload.length ? t('live.cut', { shown: number.format(row.payload.length), size: number.format(row.size) }) : bytes(row.size);
	const all = [
		[t('live.time'), new Date(row.time).toISOString()],
		[t('live.qos'), `${row.qos}${row.retain ? ', ' + t('live.retained') : ''}`],
		[t('live.size'), size],
		[t('live.publisher'), stamp['signet-publisher'] && html`<${Name} value=${stamp['signet-publisher']} /> ${plain(stamp['signet-role'], 40)}${' '}
			<span class="mono small">${plain(stamp['signet-fingerprint'], 16)}</span>`],
		[t('live.type'), row.type && html`<${Name} value=${row.type} />`],
		[t('live.response'), row.response && html`<${Name} value=${row.response} />`],
		[t('live.correlation'), row.correlation && html`<span class="mono">${hex(row.correlation, 32)}</span>`],
		[t('live.expiry'), row.expiry !== null ? t('unit.s', { n: row.expiry }) : null],
		...own.map(([k, v]) => [plain(k, 60), html`<${Name} value=${v} most=${400} />`]),
	];
	return all.filter(([, v]) => v !== null && v !== undefined && v !== '');
}

function Payload({ row, view }) {
	if (view === 'json' && row.seen.json !== undefined)
		return html`<div class="box"><${Json} name=${null} value=${row.seen.json} /></div>`;
	const text = view === 'hex' ? hex(row.payload) : plain(row.seen.text, 20000).replaceAll('\\u000a', '\n');
	return html`<pre tabindex="0" dir=${view === 'hex' ? 'ltr' : 'auto'} aria-label=${t('live.payload')}>${text || t('live.nothing')}</pre>`;
}

export function Detail({ row, onClose }) {
	const [view, set] = useState(row.seen.kind);
	useEffect(() => set(row.seen.kind), [row]);
	const button = (name) => html`<button type="button" key=${name} aria-pressed=${name === view} disabled=${name === 'json' && row.seen.json === undefined}
		onClick=${() => set(name)}>${t('live.view-' + name)}</button>`;
	return html`<section class="card detail" aria-label=${t('live.one')}>
		<div class="head"><h2 class="mono"><${Name} value=${row.topic} most=${400} /></h2>
			<button type="button" class="quiet" aria-label=${t('close')} onClick=${onClose}>✕</button></div>
		<dl>${factsOf(row).map(([k, v]) => html`<dt>${k}</dt><dd>${v}</dd>`)}</dl>
		<div class="row" role="group" aria-label=${t('live.view')}>${['json', 'text', 'hex'].map(button)}</div>
		<${Payload} row=${row} view=${view} /></section>`;
}

const What = ({ row }) => row.decoded ? html`<span class="badge ${row.decoded.state}">${row.decoded.word}</span> <bdi>${row.decoded.text}</bdi>`
	: html`<bdi class="mono small">${row.summary}</bdi>`;

const Row = ({ row, chosen, choose }) => html`<tr class=${chosen ? 'chosen' : ''}><td class="mono small">${clock.format(row.time).slice(0, -4)}<span class="opt">${clock.format(row.time).slice(-4)}</span></td>
	<td><button type="button" class="quiet leaf" aria-pressed=${chosen} onClick=${() => choose(row)}><${Name} value=${row.topic} most=${100} /></button></td>
	<td class="what"><${What} row=${row} /></td><td class="number small opt">${bytes(row.size)}</td>
	<td class="small opt">${row.qos}${row.retain ? html` <abbr title=${t('live.retained')}>${t('live.retained-short')}</abbr>` : ''}</td></tr>`;

/** The newest first; <choose> is told whose topic was pressed. */
export function Messages({ rows, chosen, choose }) {
	return html`<div class="scroll messages" tabindex="0" role="region" aria-label=${t('live.messages')}><table>
		<thead><tr><th>${t('live.time')}</th><th>${t('live.topic')}</th><th>${t('live.payload')}</th><th class="number opt">${t('live.size')}</th><th class="opt">${t('live.qos')}</th></tr></thead>
		<tbody>${rows.map((r) => html`<${Row} key=${r.n} row=${r} chosen=${chosen?.n === r.n} choose=${choose} />`)}</tbody></table></div>`;
}

/** Whether the page hears anything, how much comes, and which share of it is shown. */
export function Status({ state, flow }) {
	const word = { open: 'good', connecting: 'warn', closed: 'bad', refused: 'bad', stopped: '' }[state.state];
	const percent = flow.share < 0.01 ? '<1' : Math.round(flow.share * 100);
	return html`<p class="flow"><span role="status"><span class="badge ${word}">${t('live.state-' + state.state)}</span></span>
		<span><b>${number.format(Math.round(flow.rate))}</b> ${t('live.per-second')}</span>
		<span class="dim">${t('unit.per-second', { n: bytes(Math.round(flow.bytes)) })} · ${t('live.total', { n: number.format(flow.total) })}</span>
		${flow.share < 0.995 && html`<span class="badge warn">${t('live.sampled', { percent })}</span>`}</p>`;
}

/** Why nothing comes, and what to do; nothing while all is well. */
export function Lost({ state, bare = false }) {
	if (state.state !== 'closed' && state.state !== 'refused')
		return null;
	const what = state.state === 'refused' ? 'refused' : 'lost';
	return html`<div class="trouble" role="alert"><p>${t('live.' + what)} ${plain(state.why, 300)}</p>
		<p class="dim">${t(`${bare ? 'bare' : 'live'}.${what}-help`)}</p></div>`;
}
