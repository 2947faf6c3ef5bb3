// CAs as they hang together, their revocation lists, when certificates end, and the certificates themselves.
import { all, get, part, query } from '../lib/api.js';
import { pem } from '../lib/csr.js';
import { t } from '../lib/text.js';
import { Badge, Busy, Empty, html, Name, plain, save, Trouble, useLoad, useState, When } from '../lib/ui.js';
import { Certificates as Table } from './certificate-list.js';

const DAY = 86400e3;
const bounds = [0, 7, 30, 90, 180, 365, 730, Infinity];

async function forecast() {
	const now = Date.now();
	const items = await all('certificates' + query({ state: 'active', order: 'expiry', limit: 1000, expires_after: new Date(now).toISOString().slice(0, 19) + 'Z' }), 5000);
	const counts = bounds.slice(0, -1).map(() => 0);
	for (const c of items) {
		const days = (Date.parse(c.not_after) - now) / DAY;
		const i = bounds.findIndex((b, k) => days >= b && days < bounds[k + 1]);
		if (i >= 0)
			counts[i]++;
	}
	return { counts, total: items.length };
}

function Forecast() {
	const { data, error, load } = useLoad(forecast, 'forecast');
	if (!data)
		return error ? html`<${Trouble} error=${error} again=${load} />` : html`<${Busy} />`;
	const most = Math.max(1, ...data.counts);
	return html`<table class="bars"><caption class="dim small">${t('ca.forecast-of', { n: data.total })}</caption><tbody>${data.counts.map((n, i) => html`<tr><th scope="row">${bounds[i + 1] === Infinity ? t('ca.days-more', { from: bounds[i] }) : t('ca.days', { from: bounds[i], to: bounds[i + 1] })}</th>
		<td class="number">${n}</td><td class="bar"><meter min="0" max=${most} value=${n} aria-label=${String(n)}></meter></td></tr>`)}</tbody></table>`;
}

function Branch({ ca, list }) {
	const below = list.filter((c) => c.parent === ca.name && c !== ca);
	const late = ca.list.until && Date.parse(ca.list.until) < Date.now();
	const save2 = async () => save(`${ca.name}.pem`, [pem('CERTIFICATE', new Uint8Array(await get(`cas/${part(ca.name)}/certificate`)))], 'application/x-pem-file');
	return html`<li><div class="ca"><p><strong><${Name} value=${ca.name} /></strong> ${ca.role && html`<span class="badge">${plain(ca.role, 30)}</span>`} ${ca.retired && html`<span class="badge warn">${t('ca.retired')}</span>`} ${!ca.own && html`<span class="badge">${t('ca.no-key')}</span>`}</p>
		<p class="dim small"><${Name} value=${ca.subject} /> · ${t('ca.until')} <${When} time=${ca.not_after} /></p>
		<p class="small">${t('ca.list')}: ${ca.list.made ? html`${t('ca.number', { n: ca.list.number })}, ${t('ca.made')} <${When} time=${ca.list.made} />, ${t('ca.until')} <${When} time=${ca.list.until} />` : t('ca.no-list')}
			${late ? html` <span class="badge bad">${t('ca.late')}</span>` : ca.list.due ? html` <span class="badge warn">${t('ca.due')}</span>` : ''} <button type="button" onClick=${save2}>${t('ca.save')}</button></p></div>
		${below.length > 0 && html`<ul>${below.map((c) => html`<${Branch} key=${c.name} ca=${c} list=${list} />`)}</ul>`}</li>`;
}

function Cas() {
	const { data, error, load } = useLoad(() => all('cas'), 'cas', 30000);
	if (!data)
		return error ? html`<${Trouble} error=${error} again=${load} />` : html`<${Busy} />`;
	const tops = data.filter((c) => !c.parent || c.parent === c.name || !data.some((p) => p.name === c.parent));
	return data.length === 0 ? html`<${Empty} title=${t('ca.none')}>${t('ca.none-help')}<//>` : html`<ul class="tree">${tops.map((c) => html`<${Branch} key=${c.name} ca=${c} list=${data} />`)}</ul>`;
}

export function Certificates() {
	const [want, set] = useState({ state: '', cn: '', order: 'expiry' });
	return html`<div class="head"><h1>${t('page.certificates')}</h1></div>
		<div class="cards"><section class="card"><h2>${t('ca.title')}</h2><${Cas} /></section><section class="card"><h2>${t('ca.forecast')}</h2><${Forecast} /></section>
		<section class="card wide"><h2>${t('device.certificates')}</h2><form class="row" onSubmit=${(e) => e.preventDefault()}>
			<label>${t('cert.name')}<input type="search" value=${want.cn} spellcheck=${false} onInput=${(e) => set({ ...want, cn: e.currentTarget.value })} /></label>
			<label>${t('devices.state')}<select onChange=${(e) => set({ ...want, state: e.currentTarget.value })}><option value="">${t('all')}</option>${['active', 'superseded', 'hold', 'revoked'].map((s) => html`<option value=${s}>${t('state.' + s)}</option>`)}</select></label></form>
			<${Table} key=${JSON.stringify(want)} query=${want} /></section></div>`;
}
