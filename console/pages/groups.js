// Groups with what they may, and the permissions as they are.
import { all, call, part } from '../lib/api.js';
import { Fresh } from '../lib/edit.js';
import { go, to } from '../lib/route.js';
import { t } from '../lib/text.js';
import { Busy, Confirm, Empty, field, Form, html, Name, plain, Trouble, useLoad, useState } from '../lib/ui.js';
import { Preview } from './rights.js';

const Permit = ({ effect }) => html`<span class="badge ${effect === 'deny' ? 'bad' : 'good'}">${t('effect.' + effect)}</span>`;
const Ours = ({ system }) => (system ? html` <span class="badge">${t('groups.ours')}</span>` : '');

function PermissionForm({ p = null, again = null, onClose }) {
	const send = (f) => {
		const body = { path: field(f, 'path'), method: field(f, 'method'), effect: field(f, 'effect') };
		return p ? call('PATCH', `permissions/${part(p.name)}`, body, p) : call('POST', 'permissions', { name: field(f, 'name'), ...body });
	};
	const title = t(p ? 'groups.permission-edit' : 'groups.permission-add');
	return html`<${Form} title=${title} action=${t(p ? 'groups.save' : 'groups.permission-add')} send=${send} again=${again} onClose=${onClose}>
		${!p && html`<label>${t('groups.name')}<input name="name" required maxlength="64" pattern="[a-z0-9][a-z0-9_\\-]*" title=${t('groups.name-rule')} autocapitalize="none" autocomplete="off" spellcheck=${false} /></label>`}
		<label>${t('rights.path')}<input name="path" required maxlength="200" spellcheck=${false} defaultValue=${p?.path ?? ''} /></label>
		<label>${t('rights.method')}<input name="method" required maxlength="64" spellcheck=${false} defaultValue=${p?.method ?? 'GET'} /></label>
		<label>${t('groups.effect')}<select name="effect">${['permit', 'deny'].map((e) => html`<option value=${e} selected=${e === p?.effect}>${t('effect.' + e)}</option>`)}</select></label>
		<p class="dim small">${t('groups.expression-help')}</p><//>`;
}

function PermissionTable({ list, label, actions }) {
	return html`<div class="scroll" tabindex="0" role="region" aria-label=${label}><table><thead><tr><th>${t('groups.name')}</th><th>${t('rights.method')}</th><th>${t('rights.path')}</th><th>${t('groups.effect')}</th><th>${t('cert.actions')}</th></tr></thead>
		<tbody>${list.map((p) => html`<tr key=${p.name}><td><${Name} value=${p.name} /><${Ours} system=${p.system} /></td><td class="mono"><${Name} value=${p.method} /></td><td class="mono"><${Name} value=${p.path} most=${200} /></td><td><${Permit} effect=${p.effect} /></td><td class="actions">${actions(p)}</td></tr>`)}</tbody></table></div>`;
}

export function Permissions({ admin }) {
	const { data, error, load } = useLoad(() => all('permissions'), 'permissions'), [asking, ask] = useState(null);
	const done = () => (ask(null), load());
	return html`<div class="head"><h2>${t('groups.permissions')}</h2>${admin && html`<button type="button" onClick=${() => ask({ make: true })}>${t('groups.permission-add')}</button>`}</div>
		<${Trouble} error=${error} again=${load} />${!data && !error && html`<${Busy} />`}
		${data && html`<${PermissionTable} list=${data} label=${t('groups.permissions')} actions=${(p) => admin && !p.system && html`<button type="button" aria-label=${t('groups.edit-one', { name: p.name })} onClick=${() => ask({ edit: p })}>${t('groups.edit')}</button><button type="button" class="danger" aria-label=${t('groups.remove-one', { name: p.name })} onClick=${() => ask({ remove: p })}>${t('device.remove')}</button>`} />`}
		${asking?.make && html`<${PermissionForm} onClose=${done} />`}
		${asking?.edit && html`<${Fresh} path=${`permissions/${part(asking.edit.name)}`} title=${t('groups.permission-edit')} onClose=${done}>${(p, again) => html`<${PermissionForm} p=${p} again=${again} onClose=${done} />`}<//>`}
		${asking?.remove && html`<${Confirm} title=${t('groups.permission-remove')} text=${t('groups.permission-remove-text', { name: plain(asking.remove.name, 64) })} action=${t('device.remove')} onYes=${() => call('DELETE', `permissions/${part(asking.remove.name)}`)} onClose=${done}><${Preview} change=${{ permission: asking.remove.name }} /><//>`}`;
}

/** Which permission is to be given: <have> has it already. */
function Give({ have, change, send, onClose }) {
	const { data, error } = useLoad(() => all('permissions'), 'permissions'), [name, set] = useState('');
	const left = data?.filter((p) => !have.some((h) => h.name === p.name));
	return html`<${Form} title=${t('groups.give')} action=${t('groups.give')} send=${() => send(name)} onClose=${onClose}><${Trouble} error=${error} />
		${left && html`<label>${t('groups.permission')}<select required value=${name} onChange=${(e) => set(e.currentTarget.value)}><option value="">${t('groups.choose')}</option>${left.map((p) => html`<option value=${p.name}>${plain(p.name, 64)}: ${p.effect === 'deny' ? '✕ ' : ''}${plain(p.method, 40)} ${plain(p.path, 80)}</option>`)}</select></label>`}
		${name && html`<${Preview} change=${change(name)} />`}<//>`;
}

/** The permissions of one group or user, to be given and taken. <at>: its path in the API; <whose>: for a preview. */
export function Held({ at, whose, admin, onChange = () => {} }) {
	const { data, error, load } = useLoad(() => all(`${at}/permissions`), at), [asking, ask] = useState(null);
	const done = () => (ask(null), load(), onChange());
	if (!data)
		return error ? html`<${Trouble} error=${error} again=${load} />` : html`<${Busy} />`;
	return html`<div class="head"><h3>${t('groups.permissions')}</h3>${admin && html`<button type="button" onClick=${() => ask({ give: true })}>${t('groups.give')}</button>`}</div>
		${data.length === 0 ? html`<p class="dim">${t(whose.user ? 'groups.none-own' : 'groups.none-held')}</p>` : html`<${PermissionTable} list=${data} label=${t('groups.permissions')} actions=${(p) => admin && html`<button type="button" class="danger" aria-label=${t('groups.take-one', { name: p.name })} onClick=${() => ask({ take: p })}>${t('groups.take')}</button>`} />`}
		${asking?.give && html`<${Give} have=${data} change=${(name) => ({ ...whose, grant: [name] })} send=${(name) => call('PUT', `${at}/permissions/${part(name)}`)} onClose=${done} />`}
		${asking?.take && html`<${Confirm} title=${t('groups.take')} text=${t('groups.take-text', { name: plain(asking.take.name, 64) })} action=${t('groups.take')} onYes=${() => call('DELETE', `${at}/permissions/${part(asking.take.name)}`)} onClose=${done}><${Preview} change=${{ ...whose, revoke: [asking.take.name] }} /><//>`}`;
}

function Group({ name, admin }) {
	const groups = useLoad(() => all('groups'), name), users = useLoad(() => all('users'), 'users'), [asking, ask] = useState(null);
	const path = `groups/${part(name)}`, g = groups.data?.find((x) => x.name === name), members = users.data?.filter((u) => u.groups.includes(name)) ?? [];
	const done = () => (ask(null), groups.load());
	if (!groups.data)
		return groups.error ? html`<${Trouble} error=${groups.error} again=${groups.load} />` : html`<${Busy} />`;
	if (!g)
		return html`<${Empty} title=${t('groups.gone')}><a href=${to('people', 'groups')}>${t('groups.title')}</a><//>`;
	return html`<section class="card"><div class="head"><h2><${Name} value=${g.name} /><${Ours} system=${g.system} /></h2><p class="row"><a class="button" href=${to('people', 'groups')}>${t('back')}</a>
		${admin && !g.system && html`<button type="button" onClick=${() => ask('edit')}>${t('groups.edit')}</button><button type="button" class="danger" onClick=${() => ask('remove')}>${t('device.remove')}</button>`}</p></div>
		<p><${Name} value=${g.description} most=${200} /></p><p>${t('groups.members', { n: members.length })} ${members.slice(0, 50).map((u) => html`<a class="badge" href=${to('people', 'users', u.name)}><${Name} value=${u.name} /></a> `)}</p>
		<${Held} at=${`groups/${part(name)}`} whose=${{ group: name }} admin=${admin} /></section>
		${asking === 'edit' && html`<${Fresh} path=${path} title=${t('groups.edit')} onClose=${done}>${(now, again) => html`<${Form} title=${t('groups.edit')} action=${t('groups.save')} again=${again} onClose=${done}
			send=${(f) => call('PATCH', path, { description: field(f, 'description') }, now)}><label>${t('groups.description')}<input name="description" maxlength="200" defaultValue=${now.description} /></label><//>`}<//>`}
		${asking === 'remove' && html`<${Confirm} title=${t('groups.remove')} text=${t('groups.remove-text', { name: plain(name, 64), n: members.length })} action=${t('device.remove')} onYes=${() => call('DELETE', `groups/${part(name)}`).then(() => go(to('people', 'groups')))} onClose=${done}><${Preview} change=${{ group: name, remove: true }} /><//>`}`;
}

export function Groups({ route, admin }) {
	const { data, error, load } = useLoad(() => all('groups'), 'groups'), [making, make] = useState(false);
	if (route.parts[2] !== undefined)
		return html`<${Group} key=${route.parts[2]} name=${route.parts[2]} admin=${admin} />`;
	return html`<section class="card"><div class="head"><h2>${t('groups.title')}</h2>${admin && html`<button type="button" class="main" onClick=${() => make(true)}>${t('groups.add')}</button>`}</div>
		<p class="dim small">${t('groups.help')}</p><${Trouble} error=${error} again=${load} />${!data && !error && html`<${Busy} />`}
		${data && html`<div class="scroll" tabindex="0" role="region" aria-label=${t('groups.title')}><table><thead><tr><th>${t('groups.name')}</th><th>${t('groups.description')}</th></tr></thead>
		<tbody>${data.map((g) => html`<tr key=${g.name}><td><a href=${to('people', 'groups', g.name)}><${Name} value=${g.name} /></a><${Ours} system=${g.system} /></td><td><${Name} value=${g.description} most=${200} /></td></tr>`)}</tbody></table></div>`}</section>
		<section class="card"><${Permissions} admin=${admin} /></section>
		${making && html`<${Form} title=${t('groups.add')} action=${t('groups.add')} send=${(f) => call('POST', 'groups', { name: field(f, 'name'), description: field(f, 'description') })} onClose=${() => (make(false), load())}>
			<label>${t('groups.name')}<input name="name" required maxlength="64" pattern="[a-z0-9][a-z0-9_\\-]*" title=${t('groups.name-rule')} autocapitalize="none" autocomplete="off" spellcheck=${false} /></label><label>${t('groups.description')}<input name="description" maxlength="200" /></label><//>`}`;
}
