// How devices come to be, one or many, and to their first certificate: by a one-time token, as files, or as a bundle.
import { all, call, get, part } from '../lib/api.js';
import { line, parse } from '../lib/csv.js';
import { make, pem } from '../lib/csr.js';
import { go, to } from '../lib/route.js';
import { t } from '../lib/text.js';
import { Dialog, html, Name, plain, save, Trouble, useLoad, useRef, useState, When } from '../lib/ui.js';

const BATCH = 100; // devices of a request
const ROWS_MAX = 100000; // of a file
const SHOWN = 20; // bad rows

// ---- certificates and tokens ----

/** The CA that signed, and those above it. */
async function chainOf(/** @type {string} */ name) {
	const cas = [], known = await all('cas');
	for (let ca = known.find((c) => c.name === name); ca; ca = known.find((c) => c.name === ca.parent && c !== ca))
		cas.push(pem('CERTIFICATE', new Uint8Array(await get(`cas/${part(ca.name)}/certificate`))));
	return cas.join('');
}

/** A new key and certificate for a device, as three files. <path>: what signs it. */
export async function issue(/** @type {{ id: string, cn: string }} */ device, path = `devices/${part(device.id)}/certificates`, more = {}) {
	const { key, csr } = await make(device.cn);
	const certificate = await call('POST', path, { csr, ...more });
	return { certificate, files: { 'key.pem': key, 'cert.pem': certificate.pem, 'ca.pem': await chainOf(certificate.ca) } };
}

export function Files({ name, files }) {
	const safe = name.replace(/[^\w.-]/g, '_');
	const one = ([file, text]) => html`<button type="button" onClick=${() => save(`${safe}-${file}`, [text], 'application/x-pem-file')}>${t('devices.save', { file })}</button>`;
	return html`<p class="row">${Object.entries(files).map(one)}</p><p class="dim small">${t('devices.key-once')}</p>`;
}

export function Token({ device }) {
	const [state, set] = useState({ busy: false, error: null, token: null, qr: '' });
	const start = async () => {
		set({ busy: true, error: null, token: null, qr: '' });
		try {
			const token = await call('POST', `devices/${part(device.id)}/enrolment`, {});
			const qr = await call('POST', 'enrolment/qr', { uri: token.uri });
			set({ busy: false, error: null, token, qr: 'data:image/svg+xml;base64,' + btoa(String.fromCharCode(...new Uint8Array(qr))) });
		} catch (error) {
			set({ busy: false, error, token: null, qr: '' });
		}
	};
	if (!state.token)
		return html`<button type="button" disabled=${state.busy} onClick=${start}>${t('devices.token')}</button><${Trouble} error=${state.error} />`;
	return html`<div class="token"><img src=${state.qr} alt=${t('devices.qr')} width="200" height="200" />
		<div><p>${t('devices.token-help')} <${When} time=${state.token.expires} /></p>
		<pre tabindex="0" aria-label=${t('devices.token')}>signet enrol '${plain(state.token.uri, 2000)}'</pre></div></div>`;
}

function Pem({ device }) {
	const [state, set] = useState({ busy: false, error: null, files: null });
	const start = async () => {
		set({ busy: true, error: null, files: null });
		try {
			set({ busy: false, error: null, files: (await issue(device)).files });
		} catch (error) {
			set({ busy: false, error, files: null });
		}
	};
	return state.files ? html`<${Files} name=${device.id} files=${state.files} />`
		: html`<button type="button" disabled=${state.busy} onClick=${start}>${t('devices.files')}</button><${Trouble} error=${state.error} />`;
}

// ---- bundles ----

const formats = ['zip', 'tar.gz', 'pkcs12', 'header', 'springcore'];
const keys = ['', 'p256', 'p384', 'p521', 'rsa2048', 'rsa3072', 'rsa4096'];

/** What stands in the form, as the API wants it: empty fields are not there. */
function orderOf(/** @type {FormData} */ f) {
	const text = (name) => String(f.get(name) ?? '').trim() || undefined, number = (name) => (text(name) ? Number(text(name)) : undefined);
	const reader = { client_id: text('client_id'), device_id: text('device_id'), prefix: text('prefix') };
	return { format: text('format'), key: text('key'), host: text('host'), port: number('port'), days: number('days'), password: text('password'),
		supersede: f.has('supersede') || undefined, springcore: Object.values(reader).some(Boolean) ? reader : undefined };
}

const Field = ({ name, ...more }) => html`<label>${t('bundle.' + name)}<input name=${name} spellcheck=${false} autocomplete="off" ...${more} /></label>`;

function BundleForm({ busy, submit }) {
	const [format, set] = useState('zip'), issues = format !== 'springcore';
	return html`<form onSubmit=${submit}><div class="fields">
		<label class="full">${t('bundle.format')}<select name="format" value=${format} onChange=${(e) => set(e.currentTarget.value)}>
			${formats.map((f) => html`<option value=${f}>${t('bundle.format-' + f)}</option>`)}</select></label>
		${issues && html`<label>${t('bundle.key')}<select name="key">${keys.map((k) => html`<option value=${k}>${t('bundle.key-' + (k || 'any'))}</option>`)}</select></label>`}
		<${Field} name="host" maxlength="253" placeholder=${location.hostname} /><${Field} name="port" type="number" min="1" max="65535" />
		${issues && html`<${Field} name="days" type="number" min="1" max="36500" />`}
		${(format === 'pkcs12' || format === 'zip') && html`<${Field} name="password" type="password" minlength="4" maxlength="128" autocomplete="new-password" />`}
		${format === 'springcore' && html`<${Field} name="client_id" maxlength="24" /><${Field} name="device_id" maxlength="24" /><${Field} name="prefix" maxlength="32" />`}</div>
		${issues && html`<label class="check"><input type="checkbox" name="supersede" /> ${t('bundle.supersede')}</label>`}
		<button disabled=${busy}>${t('bundle.make')}</button></form>`;
}

/** A bundle: key, certificate and all else, for one download. */
export function Bundle({ device, onMade = () => {} }) {
	const [state, set] = useState({ busy: false, error: null, made: null }), [said, say] = useState('');
	const submit = async (e) => {
		e.preventDefault();
		const order = orderOf(new FormData(e.currentTarget));
		set({ busy: true, error: null, made: null });
		try {
			set({ busy: false, error: null, made: await call('POST', `devices/${part(device.id)}/bundle`, order) });
			onMade();
		} catch (error) {
			set({ busy: false, error, made: null });
		}
	};
	const { made } = state;
	if (!made)
		return html`<${BundleForm} busy=${state.busy} submit=${submit} /><${Trouble} error=${state.error} />`;
	const link = new URL(made.link, location.href).href;
	const copy = () => navigator.clipboard.writeText(link).then(() => say(t('bundle.copied')), () => say(t('bundle.not-copied')));
	return html`<p>${t('bundle.ready')} <${When} time=${made.expires} /></p><p class="row"><a class="button" href=${link} download=${made.file}>${t('bundle.take')} <${Name} value=${made.file} /></a>
		<button type="button" onClick=${copy}>${t('bundle.copy')}</button><button type="button" onClick=${() => set({ busy: false, error: null, made: null })}>${t('bundle.another')}</button></p>
		<p role="status">${said}</p><pre tabindex="0" aria-label=${t('bundle.link')}>${plain(link, 400)}</pre>
		${made.password && html`<p>${t('bundle.password-once')}</p><pre tabindex="0" aria-label=${t('bundle.password')}>${plain(made.password)}</pre>`}
		<p class="dim small">${t(made.private_key ? 'bundle.has-key' : 'bundle.no-key')}</p>`;
}

/** All ways to a certificate. */
export function Ways({ device }) {
	return html`<h3>${t('devices.by-token')}</h3><${Token} device=${device} />
		<h3>${t('devices.by-files')}</h3><${Pem} device=${device} />
		<h3>${t('devices.by-bundle')}</h3><${Bundle} device=${device} />`;
}

// ---- one ----

/** Which templates a device has: ticked in a list. The form's field "template" has their numbers. */
export function Templates({ chosen = [] }) {
	const { data, error, load } = useLoad(() => all('templates?limit=1000', 1000), 'templates');
	if (!data)
		return html`<${Trouble} error=${error} again=${load} />`;
	if (data.length === 0)
		return html`<p class="dim small">${t('templates.none-yet')} <a href=${to('templates')}>${t('page.templates')}</a></p>`;
	const one = (x) => html`<label class="check" key=${x.id}><input type="checkbox" name="template" value=${x.id} defaultChecked=${chosen.includes(x.id)} />
		<${Name} value=${x.label} most=${60} /></label>`;
	return html`<fieldset class="choices"><legend>${t('page.templates')}</legend>${data.map(one)}</fieldset>`;
}
export const chosenTemplates = (/** @type {FormData} */ f) => f.getAll('template').map(Number);

export function Add({ onClose }) {
	const [made, setMade] = useState(null), [error, setError] = useState(null), [busy, setBusy] = useState(false);
	const submit = async (e) => {
		e.preventDefault();
		const f = new FormData(e.currentTarget);
		setBusy(true);
		try {
			setMade(await call('POST', 'devices', { id: String(f.get('id')).trim(), label: String(f.get('label')).trim(), templates: chosenTemplates(f) }));
		} catch (x) {
			setError(x);
		}
		setBusy(false);
	};
	if (made)
		return html`<${Dialog} title=${t('devices.added')} onClose=${() => (onClose(), go(to('devices', made.id)))}>
			<p><${Name} value=${made.id} /> ${t('devices.added-help')}</p><${Ways} device=${made} /></${Dialog}>`;
	return html`<${Dialog} title=${t('devices.add')} onClose=${onClose}><form onSubmit=${submit}>
		<label>${t('devices.id')}<input name="id" required maxlength="64" autocapitalize="none" spellcheck=${false} /></label>
		<label>${t('devices.label')}<input name="label" maxlength="200" /></label><${Templates} /><${Trouble} error=${error} />
		<footer><button type="button" onClick=${onClose}>${t('cancel')}</button><button class="main" disabled=${busy}>${t('devices.add')}</button></footer></form><//>`;
}

// ---- many ----

/** @typedef {{ line: number, device: any, error?: string }} Row */

/**
 * The rows of a file with columns id, label, template (a number or a label; several with "|" between them), which the first line names.
 * @param {string} text
 * @param {{ id: number, label: string }[]} templates
 * @returns {{ rows: Row[], fault: string }}
 */
function read(text, templates) {
	const lines = parse(text), head = (lines.shift()?.cells ?? []).map((c) => c.trim().toLowerCase());
	const at = { id: head.indexOf('id'), label: head.indexOf('label'), template: head.indexOf('template') };
	if (at.id < 0)
		return { rows: [], fault: t('many.no-id') };
	if (lines.length === 0 || lines.length > ROWS_MAX)
		return { rows: [], fault: t(lines.length === 0 ? 'many.no-rows' : 'many.too-many', { n: ROWS_MAX }) };
	const seen = new Map();
	const rows = lines.map(({ line: n, cells }) => {
		const cell = (name) => (at[name] < 0 ? '' : (cells[at[name]] ?? '').trim());
		/** @type {Row} */
		const row = { line: n, device: { id: cell('id'), ...(cell('label') && { label: cell('label') }) } };
		const wanted = cell('template').split('|').map((x) => x.trim()).filter(Boolean);
		const found = wanted.map((w) => templates.find((x) => String(x.id) === w || x.label === w));
		if (!row.device.id)
			return { ...row, error: t('many.empty-id') };
		if (seen.has(row.device.id))
			return { ...row, error: t('many.twice', { line: seen.get(row.device.id) }) };
		if (found.includes(undefined))
			return { ...row, error: t('many.no-template', { name: plain(wanted[found.indexOf(undefined)], 60) }) };
		seen.set(row.device.id, n);
		if (found.length > 0)
			row.device.templates = found.map((x) => x.id);
		return row;
	});
	return { rows, fault: '' };
}

/** Which rows of a batch were refused, and why. Empty: it is not about any row. */
function refused(error) {
	const found = new Map(), whole = /^\/devices\/(\d+):\s*(.*)$/s.exec(error.message);
	for (const e of error.errors ?? []) {
		const n = /^\/devices\/(\d+)(.*)$/.exec(e.pointer ?? '');
		if (n)
			found.set(Number(n[1]), `${n[2].slice(1)} ${e.detail}`.trim());
	}
	if (whole)
		found.set(Number(whole[1]), whole[2]);
	return found;
}

/**
 * A batch is made whole or not at all: what is refused is taken out and told, and the rest is sent again.
 * @param {Row[]} batch
 */
async function addBatch(batch) {
	let left = batch.filter((r) => !r.error);
	while (left.length > 0) {
		try {
			await call('POST', 'devices/bulk', { devices: left.map((r) => r.device) });
			return;
		} catch (error) {
			const bad = refused(error);
			if (bad.size === 0)
				throw error;
			for (const [i, why] of bad)
				left[i].error = why;
			left = left.filter((r) => !r.error);
		}
	}
}

const result = (/** @type {Row[]} */ rows) => [line(['line', 'id', 'result']), ...rows.map((r) => line([r.line, r.device.id, r.error ?? 'added']))];

/** Many at once, from a file of the person's: read in the browser, told row by row. */
export function Many({ onClose }) {
	const [state, set] = useState({ step: 'file', rows: [], done: 0, fault: '', error: null, name: '' });
	const stop = useRef(false);
	const choose = async (e) => {
		const file = e.currentTarget.files[0];
		if (!file)
			return;
		try {
			const { rows, fault } = read(await file.text(), await all('templates?limit=1000', 1000));
			set({ step: fault ? 'file' : 'ready', rows, done: 0, fault, error: null, name: file.name });
		} catch (error) {
			set((s) => ({ ...s, error }));
		}
	};
	const run = async () => {
		stop.current = false;
		let { done } = state, error = null;
		for (; done < state.rows.length && !stop.current && !error; done = Math.min(done + BATCH, state.rows.length)) {
			set((s) => ({ ...s, step: 'running', done, error: null }));
			await addBatch(state.rows.slice(done, done + BATCH)).catch((x) => (error = x));
			if (error)
				break;
		}
		set((s) => ({ ...s, step: done === state.rows.length ? 'done' : 'ready', done, error }));
	};
	const { rows, done, step } = state, bad = rows.filter((r) => r.error), added = rows.slice(0, done).filter((r) => !r.error).length;
	const close = () => (stop.current = true, onClose());
	return html`<${Dialog} title=${t('many.title')} onClose=${close}>
		<p>${t('many.help')}</p><pre tabindex="0" aria-label=${t('many.example')}>id,label,template${'\n'}reader-1,"Door 1, north",Door${'\n'}reader-2,Door 2,</pre>
		<label>${t('many.file')}<input type="file" accept=".csv,text/csv,text/plain" disabled=${step === 'running'} onChange=${choose} /></label>
		${state.fault && html`<p class="fault" role="alert">${state.fault}</p>`}<${Trouble} error=${state.error} />
		${rows.length > 0 && html`<p role="status">${t(step === 'done' ? 'many.added' : 'many.progress', { n: added, of: rows.length, bad: bad.length })}</p>
			<progress max=${rows.length} value=${done} aria-label=${t('many.title')}></progress>`}
		${bad.length > 0 && html`<div class="scroll short" tabindex="0" role="region" aria-label=${t('many.bad')}><table>
			<thead><tr><th class="number">${t('many.line')}</th><th>${t('devices.id')}</th><th>${t('many.why')}</th></tr></thead>
			<tbody>${bad.slice(0, SHOWN).map((r) => html`<tr key=${r.line}><td class="number">${r.line}</td><td><${Name} value=${r.device.id} most=${64} /></td>
				<td>${plain(r.error, 300)}</td></tr>`)}</tbody></table></div>
			${bad.length > SHOWN && html`<p class="dim small">${t('live.more', { n: bad.length - SHOWN })}</p>`}`}
		<footer>${done > 0 && step !== 'running' && html`<button type="button" onClick=${() => save(`${state.name}.result.csv`, result(rows.slice(0, done)), 'text/csv')}>${t('many.save')}</button>`}
			<button type="button" onClick=${close}>${t(step === 'done' ? 'close' : 'cancel')}</button>
			${step !== 'done' && html`<button type="button" class="main" disabled=${step !== 'ready'} onClick=${run}>${t('many.go', { n: rows.length - bad.length })}</button>`}</footer><//>`;
}
