// Tenants: who has users and devices of his own. Only users of the first one see them.
import { all, call, part } from '../lib/api.js';
import { act } from '../lib/session.js';
import { t } from '../lib/text.js';
import { Badge, Busy, Confirm, field, Form, html, Name, plain, Trouble, useLoad, useState, When } from '../lib/ui.js';

function Row({ x, here, ask }) {
	const name = plain(x.name, 64), full = x.users + x.devices > 0;
	return html`<tr><td><${Name} value=${x.name} />${x.first && html` <span class="badge">${t('tenants.first')}</span>`}${here && html` <span class="badge warn">${t('tenants.here')}</span>`}</td><td class="number opt">${x.users}</td><td class="number opt">${x.devices}</td>
		<td><${Badge} state=${x.disabled ? 'disabled' : 'enabled'} /></td><td class="opt"><${When} time=${x.created} /></td><td class="actions">${!here && !x.disabled && html`<button type="button" onClick=${() => act(x.name)}>${t('tenants.act-in', { name })}</button>`}
		${!x.first && html`<button type="button" aria-label=${t(x.disabled ? 'tenants.enable-one' : 'tenants.disable-one', { name })} onClick=${() => ask({ turn: x })}>${t(x.disabled ? 'device.enable' : 'device.disable')}</button>
		<button type="button" class="danger" disabled=${full} title=${full ? t('tenants.full') : undefined} aria-label=${t('tenants.remove-one', { name })} onClick=${() => ask({ remove: x })}>${t('device.remove')}</button>`}</td></tr>`;
}

export function Tenants({ me, acting }) {
	const { data, error, load } = useLoad(() => all('tenants'), 'tenants'), [asking, ask] = useState(null);
	const done = () => (ask(null), load()), x = asking?.turn ?? asking?.remove;
	const counts = x && { name: plain(x.name, 64), users: x.users, devices: x.devices };
	return html`<section class="card"><div class="head"><h2>${t('tenants.title')}</h2><button type="button" class="main" onClick=${() => ask({ make: true })}>${t('tenants.add')}</button></div><p class="dim small">${t('tenants.help')}</p>
		<${Trouble} error=${error} again=${load} />${!data && !error && html`<${Busy} />`}
		${data && html`<div class="scroll" tabindex="0" role="region" aria-label=${t('tenants.title')}><table><thead><tr><th>${t('groups.name')}</th><th class="number opt">${t('people.users')}</th><th class="number opt">${t('page.devices')}</th><th>${t('devices.state')}</th><th class="opt">${t('device.created')}</th><th>${t('cert.actions')}</th></tr></thead>
		<tbody>${data.map((one) => html`<${Row} key=${one.name} x=${one} here=${one.name === (acting || me.tenant)} ask=${ask} />`)}</tbody></table></div>`}
		${asking?.make && html`<${Form} title=${t('tenants.add')} action=${t('tenants.add')} send=${(f) => call('POST', 'tenants', { name: field(f, 'name') })} onClose=${done}>
			<label>${t('groups.name')}<input name="name" required maxlength="64" pattern="[a-z0-9][a-z0-9_\\-]*" title=${t('groups.name-rule')} autocapitalize="none" autocomplete="off" spellcheck=${false} /></label><p class="dim small">${t('tenants.add-help')}</p><//>`}
		${asking?.turn && html`<${Confirm} danger=${!x.disabled} title=${t(x.disabled ? 'device.enable' : 'device.disable')} text=${t(x.disabled ? 'tenants.enable-text' : 'tenants.disable-text', counts)} action=${t(x.disabled ? 'device.enable' : 'device.disable')} onYes=${() => call('PATCH', `tenants/${part(x.name)}`, { disabled: !x.disabled })} onClose=${done} />`}
		${asking?.remove && html`<${Confirm} title=${t('tenants.remove')} text=${t('tenants.remove-text', counts)} action=${t('device.remove')} onYes=${() => call('DELETE', `tenants/${part(x.name)}`)} onClose=${done} />`}</section>`;
}
