// CAs as they hang together, their revocation lists and successors, when certificates end, and the certificates themselves.
import { all, call, get, part, query } from '../lib/api.js';
import { useAgain, useEvents } from '../lib/events.js';
import { pem } from '../lib/csr.js';
import { replace, to } from '../lib/route.js';
import { t } from '../lib/text.js';
import { Busy, Empty, html, Name, plain, save, Trouble, useLoad, useState, When } from '../lib/ui.js';
import { Certificates as Table } from './certificate-list.js';
import { useTotals } from './device-tabs.js';
import { number } from './messages.js';

// ---- the CAs ----

const isLate = (ca) => ca.list.until && Date.parse(ca.list.until) < Date.now();

function ListState({ ca }) {
	const { list } = ca;
	const word = isLate(ca) ? html`<span class="badge bad">${t('ca.late')}</span>` : list.due ? html`<span class="badge warn">${t('ca.due')}</span>`
		: list.made ? html`<span class="badge good">${t('ca.valid')}</span>` : '';
	return html`<p class="small">${t('ca.list')}: ${list.made ? html`${t('ca.number', { n: list.number })}, ${t('ca.until')} <${When} time=${list.until} />` : t('ca.no-list')} ${word}</p>`;
}

function Box({ ca, show, run, mayList }) {
	const store = async () => save(`${ca.name}.pem`, [pem('CERTIFICATE', new Uint8Array(await get(`cas/${part(ca.name)}/certificate`)))], 'application/x-pem-file');
	return html`<div class="ca"><p><strong><${Name} value=${ca.name} /></strong> ${ca.role && ca.role !== ca.name && html`<span class="badge">${plain(ca.role, 30)}</span>`}
			${ca.retired && html`<span class="badge warn">${t('ca.retired')}</span>`} ${!ca.own && html`<span class="badge">${t('ca.no-key')}</span>`}</p>
		<p class="dim small"><${Name} value=${ca.subject} most=${80} /></p><p class="small">${t('ca.until')} <${When} time=${ca.not_after} /></p>
		<${ListState} ca=${ca} />
		${ca.active > 0 && html`<p class="small"><button type="button" onClick=${() => show(ca.name)}>${t('ca.active', { n: number.format(ca.active) })}</button></p>`}
		<p class="row"><button type="button" onClick=${store}>${t('ca.save')}</button>
			${mayList && ca.own && html`<button type="button" onClick=${() => run(ca)}>${t('ca.make-list')}</button>`}</p></div>`;
}

function Branch({ ca, cas, ...rest }) {
	const below = cas.filter((c) => c.parent === ca.name && c !== ca);
	return html`<li><${Box} ca=${ca} ...${rest} />
		${below.length > 0 && html`<ul>${below.map((c) => html`<${Branch} key=${c.name} ca=${c} cas=${cas} ...${rest} />`)}</ul>`}</li>`;
}

function Cas({ cas, load, ...rest }) {
	const [failed, setFailed] = useState(null);
	const run = (ca) => call('POST', `cas/${part(ca.name)}/crl`).then(() => (setFailed(null), load()), setFailed);
	const hasBelow = (ca) => cas.some((c) => c.parent === ca.name && c !== ca);
	const tops = cas.filter((c) => !c.parent || c.parent === c.name || !cas.some((p) => p.name === c.parent));
	tops.sort((a, b) => Number(hasBelow(b)) - Number(hasBelow(a)));
	if (cas.length === 0)
		return html`<${Empty} title=${t('ca.none')}>${t('ca.none-help')}<//>`;
	return html`<${Trouble} error=${failed} /><div class="tree" tabindex="0" role="region" aria-label=${t('ca.title')}>
		<ul>${tops.map((c) => html`<${Branch} key=${c.name} ca=${c} cas=${cas} run=${run} ...${rest} />`)}</ul></div>`;
}

// ---- from one CA to the next ----

/**
 * CAs of ours that do the same as a younger one of ours: their certificates give way to the younger one's.
 * @param {any[]} cas
 */
function successions(cas) {
	const found = [];
	for (const role of new Set(cas.filter((c) => c.role && c.role !== 'factory').map((c) => c.role))) {
		const same = cas.filter((c) => c.role === role && (c.own || c.retired)).sort((a, b) => Date.parse(b.not_before) - Date.parse(a.not_before));
		const next = same.find((c) => c.own && !c.retired);
		for (const old of same)
			if (next && old !== next && Date.parse(old.not_before) < Date.parse(next.not_before))
				found.push({ old, next });
	}
	return found;
}

function Succession({ old, next, show }) {
	const of = old.active + next.active, name = (ca) => html`<strong><${Name} value=${ca.name} /></strong>`;
	return html`<li><p>${name(old)} → ${name(next)}</p>
		<progress max=${Math.max(1, of)} value=${of === 0 ? 1 : next.active} aria-label=${t('ca.progress-of', { old: plain(old.name, 64), next: plain(next.name, 64) })}></progress>
		<p>${t('ca.progress', { n: number.format(next.active), of: number.format(of), percent: of === 0 ? 100 : Math.floor((next.active / of) * 100) })}
			${old.active > 0 && html` ${t('ca.remain', { n: number.format(old.active) })} <${When} time=${old.active_until} />.`}</p>
		${old.active > 0 ? html`<button type="button" onClick=${() => show(old.name)}>${t('ca.show-remain')}</button>`
			: html`<p class="dim">${t('ca.all-new')}</p>`}</li>`;
}

function Rollover({ cas, show }) {
	const list = successions(cas);
	return list.length === 0 ? html`<p class="dim">${t('ca.no-rollover')}</p>`
		: html`<ul class="plain">${list.map((s) => html`<${Succession} key=${s.old.name} ...${s} show=${show} />`)}</ul>`;
}

// ---- when they end ----

const bounds = [0, 7, 30, 90, 180, 365, 730];
// How far one looks, and how many steps of the answer make a bar.
const scales = { days: { step: 'day', count: 60, of: 1 }, weeks: { step: 'week', count: 53, of: 1 }, quarters: { step: 'week', count: 520, of: 13 } };
const DAY = 86400e3, day = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' });

function Chart({ scale, ca, turn }) {
	const { step, count, of } = scales[scale];
	const { data, error, load } = useLoad(() => get('certificates/expiry' + query({ step, count, ca })), `${scale} ${ca}`);
	useAgain(load, turn);
	if (!data)
		return error ? html`<${Trouble} error=${error} again=${load} />` : html`<${Busy} />`;
	const bars = Array.from({ length: count / of }, (_, i) => data.counts.slice(i * of, (i + 1) * of).reduce((a, b) => a + b, 0));
	const most = Math.max(1, ...bars), long = (step === 'day' ? 1 : 7) * of * DAY, from = (i) => day.format(Date.parse(data.from) + i * long);
	const width = 600 / bars.length, height = (n) => (n === 0 ? 0 : Math.max(2, (n / most) * 150));
	return html`<p class="axis"><span>${number.format(most)}</span></p><svg class="histogram" viewBox="0 0 600 151" role="img" aria-label=${t('ca.chart', { total: number.format(data.total), most: number.format(most) })}>
		<line x1="0" y1="150.5" x2="600" y2="150.5" />
		${bars.map((n, i) => html`<g><rect class="hit" x=${i * width} y="0" width=${width} height="150"><title>${t('ca.bar', { from: from(i), n: number.format(n) })}</title></rect>
			<rect x=${i * width + width * 0.1} y=${150 - height(n)} width=${width * 0.8} height=${height(n)} /></g>`)}
		</svg><p class="axis"><span>${from(0)}</span><span>${from(bars.length / 2)}</span><span>${from(bars.length)}</span></p>`;
}

function Calendar({ ca, turn }) {
	const { data, error, load } = useLoad(() => get('certificates/expiry' + query({ step: 'day', count: 730, ca })), ca);
	useAgain(load, turn);
	if (!data)
		return error ? html`<${Trouble} error=${error} again=${load} />` : html`<${Busy} />`;
	const sums = bounds.map((b, i) => (i === bounds.length - 1 ? data.later : data.counts.slice(b, bounds[i + 1]).reduce((x, y) => x + y, 0)));
	const rows = [[t('ca.over'), data.before], ...sums.map((n, i) => [i === bounds.length - 1 ? t('ca.days-more', { from: bounds[i] })
		: t('ca.days', { from: bounds[i], to: bounds[i + 1] }), n])];
	const most = Math.max(1, ...rows.map(([, n]) => n));
	return html`<table class="bars"><caption class="dim small">${t('ca.forecast-of', { n: number.format(data.total) })}</caption>
		<tbody>${rows.map(([name, n]) => html`<tr><th scope="row">${name}</th><td class="number">${number.format(n)}</td>
			<td class="bar"><meter min="0" max=${most} value=${n} aria-label=${String(n)}></meter></td></tr>`)}</tbody></table>`;
}

function Forecast({ cas, turn }) {
	const [scale, setScale] = useState('weeks'), [ca, setCa] = useState('');
	return html`<form class="row" onSubmit=${(e) => e.preventDefault()}>
			<label>${t('ca.scale')}<select value=${scale} onChange=${(e) => setScale(e.currentTarget.value)}>
				${Object.keys(scales).map((s) => html`<option value=${s}>${t('ca.scale-' + s)}</option>`)}</select></label>
			<label>${t('cert.ca')}<select value=${ca} onChange=${(e) => setCa(e.currentTarget.value)}><option value="">${t('all')}</option>
				${cas.filter((c) => c.active > 0).map((c) => html`<option value=${c.name}>${c.name}</option>`)}</select></label></form>
		<${Chart} scale=${scale} ca=${ca} turn=${turn} /><${Calendar} ca=${ca} turn=${turn} />`;
}

// ---- the page ----

const asked = ['cn', 'state', 'ca'];

function All({ want, cas, turn }) {
	const narrow = (m) => replace('certificates', { ...want, ...m });
	// What ended with a state is in the order of its age: the calendar of ends has active ones only.
	const full = { ...want, order: want.state && want.state !== 'active' ? 'age' : 'expiry' };
	return html`<form class="row" role="search" onSubmit=${(e) => e.preventDefault()}>
		<label>${t('cert.name')}<input type="search" value=${want.cn} spellcheck=${false} autocapitalize="none" maxlength="160" onInput=${(e) => narrow({ cn: e.currentTarget.value })} /></label>
		<label>${t('devices.state')}<select value=${want.state} onChange=${(e) => narrow({ state: e.currentTarget.value })}><option value="">${t('cert.active')}</option>
			${['superseded', 'hold', 'revoked'].map((s) => html`<option value=${s}>${t('state.' + s)}</option>`)}</select></label>
		<label>${t('cert.ca')}<select value=${want.ca} onChange=${(e) => narrow({ ca: e.currentTarget.value })}><option value="">${t('all')}</option>
			${cas.map((c) => html`<option value=${c.name}>${c.name}</option>`)}</select></label></form>
		<${Table} query=${full} turn=${turn} />`;
}

function Waiting({ turn }) {
	const totals = useTotals(turn), n = totals ? totals.pending + totals.quarantined : 0;
	return html`<p class="row">${n > 0 ? html`<span class="badge warn">${number.format(n)}</span> ${t('ca.waiting')}` : html`<span class="dim">${t('ca.nobody-waits')}</span>`}
		<a class="button" href=${to('pending')}>${t('page.pending')}</a></p>`;
}

export function Certificates({ route, me }) {
	const want = Object.fromEntries(asked.map((name) => [name, route.query.get(name) ?? '']));
	const { data: cas, error, load } = useLoad(() => all('cas'), 'cas', 30000), [turn, setTurn] = useState(0);
	useEvents({ kinds: 'certificate,pending,change' }, () => (setTurn((n) => n + 1), load()));
	const show = (ca) => {
		replace('certificates', { cn: '', state: '', ca });
		document.getElementById('all-certificates')?.scrollIntoView();
		document.getElementById('all-certificates')?.focus({ preventScroll: true });
	};
	return html`<div class="head"><h1>${t('page.certificates')}</h1><${Waiting} turn=${turn} /></div>
		<${Trouble} error=${error} again=${load} />${!cas && !error && html`<${Busy} />`}
		${cas && html`<div class="cards"><section class="card wide"><h2>${t('ca.title')}</h2><${Cas} cas=${cas} load=${load} show=${show} mayList=${me?.platform} /></section>
			<section class="card"><h2>${t('ca.forecast')}</h2><${Forecast} cas=${cas} turn=${turn} /></section>
			<section class="card"><h2>${t('ca.rollover')}</h2><${Rollover} cas=${cas} show=${show} /></section>
			<section class="card wide"><h2 id="all-certificates" tabindex="-1">${t('device.certificates')}</h2><${All} want=${want} cas=${cas} turn=${turn} /></section></div>`}`;
}
