// Live messages: what arrives, by topic, as it arrives.
import { filterFault, useFeed } from '../lib/stream.js';
import { t } from '../lib/text.js';
import { Empty, html, Name, plain, save, useState } from '../lib/ui.js';
import { Detail, Lost, Messages, number, Status } from './messages.js';

function Twist({ x, open, toggle }) {
	if (!x.more)
		return html`<span class="twist"></span>`;
	const title = t(open ? 'live.fold' : 'live.unfold', { name: plain(x.name, 60) });
	return html`<button type="button" class="quiet twist" aria-expanded=${open} aria-label=${title} onClick=${() => toggle(x.path)}>${open ? '▾' : '▸'}</button>`;
}

function Branches({ list, opened, toggle, under, look }) {
	return html`<ul>${list.map((x) => html`<li key=${x.path}><div class="branch ${x.path === under ? 'chosen' : ''}">
		<${Twist} x=${x} open=${opened.has(x.path)} toggle=${toggle} />
		<button type="button" class="quiet leaf" aria-pressed=${x.path === under} onClick=${() => look(x.path === under ? '' : x.path)}>
			<${Name} value=${x.name || '""'} most=${60} /></button>
		<span class="dim number">${number.format(x.n)}${x.rate > 0 ? html` <b>${t('unit.per-second', { n: number.format(x.rate) })}</b>` : ''}</span></div>
		${x.below && html`<${Branches} list=${x.below} opened=${opened} toggle=${toggle} under=${under} look=${look} />`}
		${x.below && x.cut > 0 && html`<p class="dim small">${t('live.more', { n: number.format(x.cut) })}</p>`}</li>`)}</ul>`;
}

function Topics({ tree, ...rest }) {
	return html`<section class="card topics" aria-label=${t('live.topics')}><h2>${t('live.topics')}</h2>
		${tree.tree.length > 0 ? html`<${Branches} list=${tree.tree} ...${rest} />` : html`<p class="dim">${t('live.no-topics')}</p>`}
		${tree.beyond > 0 && html`<p class="dim small">${t('live.beyond', { n: number.format(tree.beyond) })}</p>`}</section>`;
}

function asLine(row) {
	const payload = row.seen.isText ? { payload: row.seen.text } : { payload_base64: btoa(String.fromCharCode(...row.payload.subarray(0, 60000))) };
	return JSON.stringify({ time: new Date(row.time).toISOString(), topic: row.topic, qos: row.qos, retain: row.retain, size: row.size, ...payload,
		user_properties: row.user }) + '\n';
}

const decoder = new TextDecoder(), BY = 'signet-publisher';

/** Is it what is looked for: as the worker judges what comes next (feed.js). */
const fits = ({ under, device, text }) => {
	const words = text.toLowerCase();
	const said = (row) => `${row.topic}\n${row.seen.isText ? row.seen.text : decoder.decode(row.payload)}`.toLowerCase();
	return (row) => (!under || row.topic === under || row.topic.startsWith(under + '/'))
		&& (!device || row.topic.split('/').includes(device) || row.user.some(([name, value]) => name === BY && value === device))
		&& (!words || said(row).includes(words));
};

/** What the person signed in may hear: all of it, or what is the tenant's. */
const mine = (me) => (me?.platform === false ? `/${me.tenant}/#` : '#');

export function Live({ me = undefined, bare = false, acting = '' }) {
	const feed = useFeed(mine(me), { tenant: acting }), { flow, state } = feed;
	const [filter, setFilter] = useState(mine(me)), [fault, setFault] = useState('');
	const [sight, setSight] = useState({ under: '', text: '', device: '' }), [opened, setOpened] = useState(() => new Set()), [chosen, choose] = useState(null);
	const look = (/** @type {{ under?: string, text?: string, device?: string }} */ m) => {
		const next = { ...sight, ...m };
		setSight(next);
		feed.tell({ do: 'look', ...next });
	};
	const apply = (e) => {
		e.preventDefault();
		const wrong = filterFault(filter);
		setFault(wrong);
		if (!wrong)
			feed.tell({ do: 'filter', filter });
	};
	const toggle = (path) => {
		const next = new Set(opened);
		if (!next.delete(path))
			next.add(path);
		setOpened(next);
		feed.tell({ do: 'open', paths: [...next] });
	};
	const store = () => save('messages.ndjson', rows.map(asLine).reverse(), 'application/x-ndjson');
	const rows = flow.rows.filter(fits(sight));
	const { under } = sight, lookUnder = (path) => look({ under: path });
	return html`<div class="head"><h1>${t('page.live')}</h1><${Status} state=${state} flow=${flow} /></div>
		${acting && html`<p>${t('live.acting', { tenant: acting })}</p>`}
		<form class="row card" onSubmit=${apply}>
			<label>${t('live.filter')}<input value=${filter} aria-invalid=${!!fault} aria-describedby="filter-fault" spellcheck=${false} autocapitalize="none"
				onInput=${(e) => setFilter(e.currentTarget.value)} /></label>
			<button>${t('live.subscribe')}</button>
			<label>${t('live.device')}<input type="search" value=${sight.device} spellcheck=${false} autocapitalize="none"
				onInput=${(e) => look({ device: e.currentTarget.value.trim() })} /></label>
			<label>${t('live.text')}<input type="search" value=${sight.text} onInput=${(e) => look({ text: e.currentTarget.value })} /></label>
			<button type="button" aria-pressed=${feed.isPaused} onClick=${feed.pause}>${feed.isPaused ? t('live.go-on') : t('live.pause')}</button>
			<button type="button" onClick=${() => (feed.clear(), choose(null))}>${t('live.clear')}</button>
			<button type="button" disabled=${rows.length === 0} onClick=${store}>${t('live.export')}</button>
			<p id="filter-fault" class="fault" role="alert">${fault}</p></form>
		<${Lost} state=${state} bare=${bare} />
		<div class="live"><${Topics} tree=${feed.tree} opened=${opened} toggle=${toggle} under=${under} look=${lookUnder} />
		<div class="stream">${chosen && html`<${Detail} row=${chosen} onClose=${() => choose(null)} />`}
			${under && html`<p><button type="button" onClick=${() => lookUnder('')}>${t('live.only')} <${Name} value=${under} most=${60} /> ✕</button></p>`}
			${rows.length > 0 ? html`<${Messages} rows=${rows} chosen=${chosen} choose=${choose} />`
				: html`<${Empty} title=${t('live.none')}>${t('live.none-help')}<//>`}</div></div>`;
}
