// What was done by whom, as the signer has written it down; and whether that is as it was written.
import { get, query } from '../lib/api.js';
import { t } from '../lib/text.js';
import { Busy, Empty, html, Name, plain, Trouble, useLoad, useState, When } from '../lib/ui.js';

function Verification() {
	const { data, error, load, loading } = useLoad(() => get('audit/verify'), 'verify');
	if (!data)
		return error ? html`<${Trouble} error=${error} again=${load} />` : html`<${Busy} />`;
	return html`<div role="status"><p><span class="badge ${data.ok ? 'good' : 'bad'}">${t(data.ok ? 'audit.good' : 'audit.bad')}</span> ${t('audit.records', { n: data.records, checkpoints: data.checkpoints, behind: data.behind_checkpoint })} <button type="button" disabled=${loading} onClick=${load}>${t('audit.again')}</button></p>${data.fault && html`<p>${plain(data.fault, 600)}</p>`}</div>
		<p class="dim small">${t('audit.hash')} <span class="mono">${plain(data.hash)}</span></p>`;
}

/** What a field for a time says in this place's time, for the API. */
const utc = (/** @type {string} */ local) => (local && !Number.isNaN(Date.parse(local)) ? new Date(local).toISOString().slice(0, 19) + 'Z' : '');

function Row({ r }) {
	const details = Object.entries(r.details ?? {});
	return html`<tr><td class="number opt">${r.n}</td><td><${When} time=${r.time} /></td><td><${Name} value=${r.actor} /></td><td>${plain(r.action, 60)}</td><td><${Name} value=${r.object} />
		${details.length > 0 && html`<details class="small"><summary>${t('audit.details')}</summary><dl>${details.map(([k, v]) => html`<dt>${plain(k, 60)}</dt><dd><${Name} value=${typeof v === 'string' ? v : JSON.stringify(v)} most=${400} /></dd>`)}</dl></details>`}</td>
		<td>${r.intact ? '' : html`<span class="badge bad">${t('audit.changed')}</span>`}</td></tr>`;
}

export function Audit() {
	const [want, setWant] = useState({ actor: '', action: '', object: '', from: '', until: '' }), [trail, setTrail] = useState(['']);
	const path = 'audit' + query({ ...want, from: utc(want.from), until: utc(want.until), limit: 50, cursor: trail.at(-1) });
	const { data, error, load } = useLoad(() => get(path), path);
	const narrow = (name) => (e) => (setWant({ ...want, [name]: e.currentTarget.value }), setTrail(['']));
	const narrowed = Object.values(want).some(Boolean), some = data?.items.length > 0;
	return html`<section class="card"><h2>${t('audit.verify')}</h2><${Verification} /></section>
		<form class="row card below" onSubmit=${(e) => e.preventDefault()}>${['actor', 'action', 'object'].map((n) => html`<label>${t('audit.' + n)}<input type="search" value=${want[n]} spellcheck=${false} maxlength="64" onInput=${narrow(n)} /></label>`)}
			${['from', 'until'].map((n) => html`<label>${t('audit.' + n)}<input type="datetime-local" value=${want[n]} onInput=${narrow(n)} /></label>`)}</form>
		<${Trouble} error=${error} again=${load} />${!data && !error && html`<${Busy} />`}
		${data && !some && (narrowed || trail.length > 1 ? html`<${Empty} title=${t('audit.no-match')}>${t(data.next ? 'audit.more-help' : 'audit.no-match-help')}<//>` : html`<${Empty} title=${t('audit.none')}>${t('audit.none-help')}<//>`)}
		${some && html`<div class="scroll below" tabindex="0" role="region" aria-label=${t('audit.title')}><table><thead><tr><th class="number opt">${t('audit.n')}</th><th>${t('live.time')}</th><th>${t('audit.actor')}</th><th>${t('audit.action')}</th><th>${t('audit.object')}</th><th><span class="unseen">${t('audit.verify')}</span></th></tr></thead>
		<tbody>${data.items.map((r) => html`<${Row} key=${r.n} r=${r} />`)}</tbody></table></div>`}
		${data && (data.next || trail.length > 1) && html`<p class="row pager"><button type="button" disabled=${trail.length < 2} onClick=${() => setTrail(trail.slice(0, -1))}>${t('back')}</button><button type="button" disabled=${!data.next} onClick=${() => setTrail([...trail, data.next])}>${t('next')}</button></p>`}`;
}
