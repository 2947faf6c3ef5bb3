// Who was refused, why, and what to do about it: the broker's latest.
import { get, query } from '../lib/api.js';
import { t } from '../lib/text.js';
import { Busy, Empty, html, Name, plain, Trouble, useLoad, useState, When } from '../lib/ui.js';

function One({ r }) {
	const facts = [['refusals.who', r.client_id ?? r.subject], ['refusals.from', r.address], ['device.listener', r.listener], ['refusals.subject', r.subject], ['refusals.issuer', r.issuer], ['cert.serial', r.serial],
		['refusals.valid', r.not_after ? `${r.not_before ?? ''} – ${r.not_after}` : null], ['refusals.tls', [r.tls_version, r.tls_alert, r.sni].filter(Boolean).join(' · ')]].filter(([, v]) => v);
	return html`<li class="card refusal"><div class="head"><p><span class="badge bad">${plain(r.cause, 60)}</span> <strong><bdi>${plain(r.text, 400)}</bdi></strong></p><${When} time=${r.time} /></div>
		${r.remedy && html`<p class="remedy">${t('what-to-do')}: <bdi>${plain(r.remedy, 600)}</bdi></p>`}
		<dl>${facts.map(([k, v]) => html`<dt>${t(k)}</dt><dd><${Name} value=${v} most=${300} /></dd>`)}</dl></li>`;
}

/** Those about an address, name, client id, serial number or cause. */
export function Refused({ about, count = 20 }) {
	const path = 'refusals' + query({ about, count });
	const { data, error, load } = useLoad(() => get(path), path, 5000);
	if (!data)
		return error ? html`<${Trouble} error=${error} again=${load} />` : html`<${Busy} />`;
	return html`<${Trouble} error=${error} />${data.items.length === 0 ? html`<${Empty} title=${t('refusals.none')}>${t('refusals.none-help')}<//>` : html`<ul class="plain">${data.items.map((r) => html`<${One} r=${r} />`)}</ul>`}`;
}

export function Refusals() {
	const [about, set] = useState('');
	return html`<div class="head"><h1>${t('page.refusals')}</h1></div>
		<form class="row card" onSubmit=${(e) => e.preventDefault()}><label>${t('refusals.about')}<input type="search" value=${about} spellcheck=${false} onInput=${(e) => set(e.currentTarget.value)} /></label></form>
		<div class="below"><${Refused} about=${about} count=${100} /></div>`;
}
