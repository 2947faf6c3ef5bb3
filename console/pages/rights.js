// What people may do by the API, which permission decides, and who would gain or lose what by a change.
import { call, get, part, query } from '../lib/api.js';
import { t } from '../lib/text.js';
import { Busy, Empty, html, Name, plain, Trouble, useEffect, useLoad, useState } from '../lib/ui.js';

/** Who would gain and lose what by <change>, as the API's rights/preview takes it. */
export function Effect({ change }) {
	const key = JSON.stringify(change);
	const { data, error, load } = useLoad(() => call('POST', 'rights/preview', change), key);
	if (!data)
		return error ? html`<${Trouble} error=${error} again=${load} />` : html`<${Busy} />`;
	const list = (title, state, ops) => ops.length > 0 && html`<p class="small"><span class="badge ${state}">${t(title, { n: ops.length })}</span> ${ops.slice(0, 12).map((o) => plain(o.summary, 80)).join(' · ')}${ops.length > 12 ? ' …' : ''}</p>`;
	return html`<div role="status" class="effect">${data.users.length === 0 ? html`<p>${t('effect.nobody', { n: data.people })}</p>` : data.users.map((u) => html`<div key=${u.name}><p><strong><${Name} value=${u.name} /></strong> <span class="dim">${t('in-tenant', { tenant: plain(u.tenant, 64) })}</span></p>
		${list('effect.gains', 'good', u.gains)}${list('effect.loses', 'bad', u.loses)}</div>`)}${data.incomplete && html`<p class="dim small">${t('effect.incomplete', { n: data.people })}</p>`}</div>`;
}

/** The same, when somebody asks for it. */
export function Preview({ change }) {
	const [asked, ask] = useState(''), key = JSON.stringify(change);
	return html`<button type="button" aria-expanded=${asked === key ? 'true' : 'false'} onClick=${() => ask(asked === key ? '' : key)}>${t('effect.show')}</button>${asked === key && html`<${Effect} key=${key} change=${change} />`}`;
}

/** "permission read_devices of group operators" */
function Because({ v }) {
	if (v.other)
		return html`<span class="dim">${t('rights.other.' + v.other)}</span>`;
	if (!v.permission)
		return html`<span class="dim">${t('rights.no-permission')}</span>`;
	return html`<${Name} value=${v.permission} /> <span class="dim">${v.via ? html`${t('rights.via')} <${Name} value=${v.via} />` : t('rights.own')}</span>`;
}

export const Yes = ({ ok }) => html`<span class="badge ${ok ? 'good' : 'bad'}">${t(ok ? 'rights.yes' : 'rights.no')}</span>`;

function Try({ user }) {
	const [asked, ask] = useState(null);
	const path = asked && `users/${part(user)}/rights` + query(asked);
	const { data, error } = useLoad(() => (path ? get(path) : Promise.resolve(null)), path);
	const submit = (e) => {
		e.preventDefault();
		const f = new FormData(e.currentTarget);
		ask({ method: f.get('method'), path: String(f.get('path')).trim() });
	};
	return html`<form class="row" onSubmit=${submit}><label>${t('rights.method')}<select name="method">${['GET', 'POST', 'PUT', 'PATCH', 'DELETE'].map((m) => html`<option>${m}</option>`)}</select></label>
		<label>${t('rights.path')}<input name="path" required maxlength="1000" spellcheck=${false} placeholder="/api/v1/devices/sensor01" /></label><button>${t('rights.ask')}</button></form><${Trouble} error=${error} />
		<div role="status">${data?.question && html`<p><${Yes} ok=${data.question.allowed} /> ${data.question.method} <${Name} value=${data.question.path} most=${300} /> – <${Because} v=${data.question} /></p>`}</div>`;
}

/** Every operation of the API for one user, and why. */
export function Rights({ user, again = 0 }) {
	const [find, setFind] = useState(''), [only, setOnly] = useState('');
	const { data, error, load } = useLoad(() => get(`users/${part(user)}/rights`), user);
	useEffect(() => {
		if (again)
			load();
	}, [again]);
	if (!data)
		return error ? html`<${Trouble} error=${error} again=${load} />` : html`<${Busy} />`;
	const word = find.toLowerCase();
	const shown = data.operations.filter((o) => (!only || String(o.verdict.allowed) === only) && `${o.summary} ${o.path} ${o.verdict.permission ?? ''}`.toLowerCase().includes(word));
	return html`<h2>${t('rights.title')}</h2><p>${t(data.administrator ? 'rights.administrator' : 'rights.count', { n: data.operations.filter((o) => o.verdict.allowed).length, all: data.operations.length })}</p>
		<h3>${t('rights.try')}</h3><${Try} user=${user} />
		<form class="row" onSubmit=${(e) => e.preventDefault()}><label>${t('rights.find')}<input type="search" value=${find} spellcheck=${false} onInput=${(e) => setFind(e.currentTarget.value)} /></label>
			<label>${t('rights.may')}<select onChange=${(e) => setOnly(e.currentTarget.value)}><option value="">${t('all')}</option><option value="true">${t('rights.yes')}</option><option value="false">${t('rights.no')}</option></select></label></form>
		${shown.length === 0 ? html`<${Empty} title=${t('rights.no-match')}>${t('rights.no-match-help')}<//>` : html`<div class="scroll tall" tabindex="0" role="region" aria-label=${t('rights.title')}><table><thead><tr><th>${t('rights.operation')}</th><th>${t('rights.may')}</th><th>${t('rights.because')}</th></tr></thead>
		<tbody>${shown.map((o) => html`<tr key=${o.id}><td>${o.summary}<br /><span class="dim small mono">${o.method} ${o.path}</span></td><td><${Yes} ok=${o.verdict.allowed} /></td><td><${Because} v=${o.verdict} /></td></tr>`)}</tbody></table></div>`}
		<p class="dim small">${t('rights.braces')}</p>`;
}
