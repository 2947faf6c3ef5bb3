// People and what they may; and the audit log, which says what was done by whom.
import { all, call, get, part, query } from '../lib/api.js';
import { t } from '../lib/text.js';
import { Busy, Confirm, Dialog, Empty, html, Name, plain, Trouble, useLoad, useState, When } from '../lib/ui.js';

function Add({ groups, onClose }) {
	const [state, set] = useState({ busy: false, error: null });
	const submit = async (e) => {
		e.preventDefault();
		const f = new FormData(e.currentTarget);
		set({ busy: true, error: null });
		try {
			await call('POST', 'users', { name: String(f.get('name')).trim(), full_name: String(f.get('full_name')).trim(), password: String(f.get('password')), groups: f.getAll('groups').map(String) });
			onClose();
		} catch (error) {
			set({ busy: false, error });
		}
	};
	return html`<${Dialog} title=${t('people.add')} onClose=${onClose}><form onSubmit=${submit}>
		<label>${t('signin.user')}<input name="name" required maxlength="64" autocapitalize="none" autocomplete="off" spellcheck=${false} /></label>
		<label>${t('people.full')}<input name="full_name" maxlength="200" autocomplete="off" /></label>
		<label>${t('people.password')}<input name="password" type="password" required minlength="10" maxlength="512" autocomplete="new-password" /></label>
		<fieldset><legend>${t('people.groups')}</legend>${groups.map((g) => html`<label class="check"><input type="checkbox" name="groups" value=${g.name} /> <${Name} value=${g.name} /> <span class="dim small">${plain(g.description, 100)}</span></label>`)}</fieldset>
		<${Trouble} error=${state.error} /><footer><button type="button" onClick=${onClose}>${t('cancel')}</button><button class="main" disabled=${state.busy}>${t('people.add')}</button></footer></form><//>`;
}

function Users({ me }) {
	const { data, error, load } = useLoad(() => all('users'), 'users');
	const groups = useLoad(() => (me.platform ? all('groups') : Promise.resolve([])), 'groups');
	const [asking, ask] = useState(null), [failed, setFailed] = useState(null);
	const turn = (u) => call('PATCH', `users/${part(u.name)}`, { disabled: !u.disabled }).then(load, setFailed);
	if (!data)
		return error ? html`<${Trouble} error=${error} again=${load} />` : html`<${Busy} />`;
	return html`<div class="head"><h2>${t('people.users')}</h2><button type="button" class="main" onClick=${() => ask('add')}>${t('people.add')}</button></div><${Trouble} error=${failed} />
		<div class="scroll" tabindex="0" role="region" aria-label=${t('people.users')}><table><thead><tr><th>${t('signin.user')}</th><th>${t('people.full')}</th><th>${t('people.groups')}</th><th>${t('devices.state')}</th><th>${t('people.login')}</th><th>${t('cert.actions')}</th></tr></thead>
		<tbody>${data.map((u) => html`<tr key=${u.name}><td><${Name} value=${u.name} /></td><td><${Name} value=${u.full_name} /></td><td>${u.groups.map((g) => html`<span class="badge">${plain(g, 64)}</span> `)}</td>
			<td><span class="badge ${u.disabled ? 'bad' : 'good'}">${t(u.disabled ? 'state.disabled' : 'state.enabled')}</span></td><td><${When} time=${u.last_login} none=${t('never')} /></td>
			<td class="row"><button type="button" onClick=${() => turn(u)}>${t(u.disabled ? 'device.enable' : 'device.disable')}</button><button type="button" class="danger" onClick=${() => ask(u)}>${t('device.remove')}</button></td></tr>`)}</tbody></table></div>
		${asking === 'add' && html`<${Add} groups=${groups.data ?? []} onClose=${() => (ask(null), load())} />`}
		${asking && asking !== 'add' && html`<${Confirm} title=${t('device.remove')} text=${t('people.remove-text', { name: plain(asking.name, 64) })} action=${t('device.remove')} onYes=${() => call('DELETE', `users/${part(asking.name)}`)} onClose=${() => (ask(null), load())} />`}`;
}

function Verification() {
	const { data, error, load, loading } = useLoad(() => get('audit/verify'), 'verify');
	if (!data)
		return error ? html`<${Trouble} error=${error} again=${load} />` : html`<${Busy} />`;
	return html`<div role="status"><p><span class="badge ${data.ok ? 'good' : 'bad'}">${t(data.ok ? 'audit.good' : 'audit.bad')}</span> ${t('audit.records', { n: data.records, checkpoints: data.checkpoints, behind: data.behind_checkpoint })} <button type="button" disabled=${loading} onClick=${load}>${t('audit.again')}</button></p>${data.fault && html`<p>${plain(data.fault, 600)}</p>`}</div>
		<p class="dim small">${t('audit.hash')} <span class="mono">${plain(data.hash)}</span></p>`;
}

function Audit() {
	const [trail, setTrail] = useState(['']);
	const path = 'audit' + query({ limit: 50, cursor: trail.at(-1) });
	const { data, error, load } = useLoad(() => get(path), path);
	if (!data)
		return error ? html`<${Trouble} error=${error} again=${load} />` : html`<${Busy} />`;
	return html`${data.items.length === 0 ? html`<${Empty} title=${t('audit.none')}>${t('audit.none-help')}<//>` : html`<div class="scroll" tabindex="0" role="region" aria-label=${t('audit.title')}><table><thead><tr><th class="number">${t('audit.n')}</th><th>${t('live.time')}</th><th>${t('audit.actor')}</th><th>${t('audit.action')}</th><th>${t('audit.object')}</th></tr></thead>
		<tbody>${data.items.map((r) => html`<tr key=${r.n}><td class="number">${r.n}</td><td><${When} time=${r.time} /></td><td><${Name} value=${r.actor} /></td><td>${plain(r.action, 60)}</td><td><${Name} value=${r.object} /></td></tr>`)}</tbody></table></div>`}
		${(data.next || trail.length > 1) && html`<p class="row pager"><button type="button" disabled=${trail.length < 2} onClick=${() => setTrail(trail.slice(0, -1))}>${t('back')}</button><button type="button" disabled=${!data.next} onClick=${() => setTrail([...trail, data.next])}>${t('next')}</button></p>`}`;
}

export function People({ me }) {
	return html`<div class="head"><h1>${t('page.people')}</h1></div><section class="card"><${Users} me=${me} /></section>
		${me.platform && html`<section class="card below"><h2>${t('audit.title')}</h2><${Verification} /><${Audit} /></section>`}`;
}
