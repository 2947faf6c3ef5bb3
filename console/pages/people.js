// People: users, groups with what they may, tenants, and what was done by whom.
import { all, call, get, part } from '../lib/api.js';
import { Fresh } from '../lib/edit.js';
import { go, to } from '../lib/route.js';
import { t } from '../lib/text.js';
import { Badge, Busy, Confirm, Empty, field, Form, Gone, html, Name, plain, Trouble, useLoad, useState, When } from '../lib/ui.js';
import { Audit } from './audit.js';
import { Groups, Held } from './groups.js';
import { Preview, Rights } from './rights.js';
import { Tenants } from './tenants.js';

const GroupBoxes = ({ groups, have, onChange = undefined }) => html`<fieldset onChange=${onChange}><legend>${t('people.groups')}</legend>${groups.map((g) => html`<label class="check"><input type="checkbox" name="groups" value=${g.name} defaultChecked=${have.includes(g.name)} /> <${Name} value=${g.name} /> <span class="dim small">${plain(g.description, 100)}</span></label>`)}</fieldset>`;
const Password = () => html`<label>${t('people.password')}<input name="password" type="password" required minlength="10" maxlength="512" autocomplete="new-password" /></label>`;

function Add({ groups, onClose }) {
	const send = (f) => call('POST', 'users', { name: field(f, 'name'), full_name: field(f, 'full_name'), password: String(f.get('password')), ...(groups.length > 0 ? { groups: f.getAll('groups').map(String) } : {}) });
	return html`<${Form} title=${t('people.add')} action=${t('people.add')} send=${send} onClose=${onClose}>
		<label>${t('signin.user')}<input name="name" required maxlength="64" autocapitalize="none" autocomplete="off" spellcheck=${false} /></label>
		<label>${t('people.full')}<input name="full_name" maxlength="200" autocomplete="off" /></label><${Password} />
		${groups.length > 0 && html`<${GroupBoxes} groups=${groups} have=${[]} />`}<//>`;
}

/** Groups of the platform; who is not of the first tenant does not see them. */
const useGroups = (me) => useLoad(() => (me.platform ? all('groups') : Promise.resolve([])), 'groups').data ?? [];

const removeText = (u) => t('people.remove-text', { name: plain(u.name, 64), groups: u.groups.map((g) => plain(g, 64)).join(', ') || t('none') });
const state = (u) => (u.disabled ? 'disabled' : 'enabled');

function Turn({ u, onClose }) {
	const change = () => call('PATCH', `users/${part(u.name)}`, { disabled: !u.disabled });
	return html`<${Confirm} danger=${!u.disabled} title=${t(u.disabled ? 'device.enable' : 'device.disable')} text=${t(u.disabled ? 'people.enable-text' : 'people.disable-text', { name: plain(u.name, 64) })} action=${t(u.disabled ? 'device.enable' : 'device.disable')} onYes=${change} onClose=${onClose} />`;
}

function ChangeGroups({ u, groups, again, onClose }) {
	const [chosen, choose] = useState(u.groups);
	const read = (e) => choose([...e.currentTarget.querySelectorAll('input:checked')].map((x) => x.value));
	return html`<${Form} title=${t('people.change-groups')} action=${t('groups.save')} send=${() => call('PATCH', `users/${part(u.name)}`, { groups: chosen }, u)} again=${again} onClose=${onClose}>
		<${GroupBoxes} groups=${groups} have=${u.groups} onChange=${read} /><${Preview} change=${{ user: u.name, groups: chosen }} /><//>`;
}

function Facts({ u }) {
	const facts = [['people.full', html`<${Name} value=${u.full_name} most=${200} />`], ['people.email', html`<${Name} value=${u.email} />`], ['people.tenant', html`<${Name} value=${u.tenant} />`], ['people.groups', u.groups.length > 0 ? u.groups.map((g) => html`<span class="badge">${plain(g, 64)}</span> `) : t('none')],
		['people.login', html`<${When} time=${u.last_login} none=${t('never')} />`], ['people.password-changed', html`<${When} time=${u.password_changed} none=${t('never')} />`], ['device.created', html`<${When} time=${u.created} />`]];
	return html`<dl>${facts.map(([k, v]) => html`<dt>${t(k)}</dt><dd>${v}</dd>`)}</dl>`;
}

function User({ name, me, admin }) {
	const { data: u, error, load } = useLoad(() => get(`users/${part(name)}`), name), groups = useGroups(me);
	const [asking, ask] = useState(''), [again, setAgain] = useState(0);
	const done = () => (ask(''), load(), setAgain(again + 1));
	if (!u && error?.status === 404)
		return html`<${Gone} title=${html`<${Name} value=${name} />`} to=${to('people')} list=${t('people.users')} level="h2" />`;
	if (!u)
		return error ? html`<${Trouble} error=${error} again=${load} />` : html`<${Busy} />`;
	return html`<section class="card"><div class="head"><h2><${Name} value=${u.name} /> <${Badge} state=${state(u)} /></h2><p class="row"><a class="button" href=${to('people')}>${t('back')}</a>
		<button type="button" onClick=${() => ask('password')}>${t('people.new-password')}</button>${admin && groups.length > 0 && html`<button type="button" onClick=${() => ask('groups')}>${t('people.change-groups')}</button>`}
		<button type="button" onClick=${() => ask('turn')}>${t(u.disabled ? 'device.enable' : 'device.disable')}</button><button type="button" class="danger" onClick=${() => ask('remove')}>${t('device.remove')}</button></p></div><${Facts} u=${u} />
		${me.platform && html`<${Held} at=${`users/${part(u.name)}`} whose=${{ user: u.name }} admin=${admin} onChange=${() => setAgain(again + 1)} />`}</section>
		<section class="card"><${Rights} user=${u.name} again=${again} /></section>
		${asking === 'turn' && html`<${Turn} u=${u} onClose=${done} />`}${asking === 'groups' && html`<${Fresh} path=${`users/${part(u.name)}`} title=${t('people.change-groups')} onClose=${done}>${(now, again) => html`<${ChangeGroups} u=${now} groups=${groups} again=${again} onClose=${done} />`}<//>`}
		${asking === 'password' && html`<${Form} title=${t('people.new-password')} action=${t('groups.save')} send=${(f) => call('PUT', `users/${part(u.name)}/password`, { password: String(f.get('password')) })} onClose=${done}><p>${t('people.new-password-text', { name: plain(u.name, 64) })}</p><${Password} /><//>`}
		${asking === 'remove' && html`<${Confirm} title=${t('people.remove')} text=${removeText(u)} action=${t('device.remove')} onYes=${() => call('DELETE', `users/${part(u.name)}`).then(() => go(to('people')))} onClose=${() => ask('')} />`}`;
}

function Users({ me }) {
	const { data, error, load } = useLoad(() => all('users'), 'users'), groups = useGroups(me);
	const [asking, ask] = useState(null), done = () => (ask(null), load());
	if (!data)
		return error ? html`<${Trouble} error=${error} again=${load} />` : html`<${Busy} />`;
	return html`<section class="card"><div class="head"><h2>${t('people.users')}</h2><button type="button" class="main" onClick=${() => ask({ add: true })}>${t('people.add')}</button></div><${Trouble} error=${error} />
		${data.length === 0 ? html`<${Empty} title=${t('people.empty')}>${t('people.empty-help')}<//>` : html`<div class="scroll" tabindex="0" role="region" aria-label=${t('people.users')}><table><thead><tr><th>${t('signin.user')}</th><th class="opt">${t('people.full')}</th><th>${t('people.groups')}</th><th>${t('devices.state')}</th><th class="opt">${t('people.login')}</th><th>${t('cert.actions')}</th></tr></thead>
		<tbody>${data.map((u) => html`<tr key=${u.name}><td><a href=${to('people', 'users', u.name)}><${Name} value=${u.name} /></a></td><td class="opt"><${Name} value=${u.full_name} /></td><td>${u.groups.map((g) => html`<span class="badge">${plain(g, 64)}</span> `)}</td>
			<td><${Badge} state=${state(u)} /></td><td class="opt"><${When} time=${u.last_login} none=${t('never')} /></td>
			<td class="actions"><button type="button" aria-label=${t(u.disabled ? 'tenants.enable-one' : 'tenants.disable-one', { name: u.name })} onClick=${() => ask({ turn: u })}>${t(u.disabled ? 'device.enable' : 'device.disable')}</button><button type="button" class="danger" aria-label=${t('tenants.remove-one', { name: u.name })} onClick=${() => ask({ remove: u })}>${t('device.remove')}</button></td></tr>`)}</tbody></table></div>`}</section>
		${asking?.add && html`<${Add} groups=${groups} onClose=${done} />`}${asking?.turn && html`<${Turn} u=${asking.turn} onClose=${done} />`}
		${asking?.remove && html`<${Confirm} title=${t('people.remove')} text=${removeText(asking.remove)} action=${t('device.remove')} onYes=${() => call('DELETE', `users/${part(asking.remove.name)}`)} onClose=${done} />`}`;
}

/** @type {{ name: string, platform?: boolean }[]} */
const tabs = [{ name: 'users' }, { name: 'groups', platform: true }, { name: 'tenants', platform: true }, { name: 'audit', platform: true }];

export function People({ route, me, acting }) {
	const shown = tabs.filter((x) => !x.platform || me.platform), at = shown.find((x) => x.name === route.parts[1]) ?? shown[0];
	const admin = me.kind !== 'user' || (me.groups ?? []).includes('admin');
	return html`<div class="head"><h1>${t('page.people')}</h1>${shown.length > 1 && html`<nav class="tabs" aria-label=${t('page.people')}><ul>${shown.map((x) => html`<li key=${x.name}><a href=${to('people', x.name)} aria-current=${x === at ? 'page' : undefined}>${t('people.tab-' + x.name)}</a></li>`)}</ul></nav>`}</div>
		${at.name === 'users' && (route.parts[2] !== undefined ? html`<${User} key=${route.parts[2]} name=${route.parts[2]} me=${me} admin=${admin} />` : html`<${Users} me=${me} />`)}
		${at.name === 'groups' && html`<${Groups} route=${route} admin=${admin} />`}${at.name === 'tenants' && html`<${Tenants} me=${me} acting=${acting} />`}${at.name === 'audit' && html`<${Audit} />`}`;
}
